"""One turn from asking to its end: queueing, streaming, recovery. Everything but the I/O.

A prompt that the service may have taken is never sent again blindly. When a stream breaks, the session's history
tells: the prompt is not there, and is asked again; or the turn is there, and what is missing is delivered as if
nothing had happened, however long the turn still takes, up to `recovery_timeout`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from llama_cloud_chat._config import ClientConfig, check_id, check_prompt, check_seconds
from llama_cloud_chat._errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ChatError,
    ConfigurationError,
    ConflictError,
    InternalServerError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    StreamInterruptedError,
    TurnFailedError,
)
from llama_cloud_chat._turn.events import Event, read_message
from llama_cloud_chat._turn.sse import MessageDecoder
from llama_cloud_chat._turn.turn import HistoryConflictError, Turn, TurnReader

from . import operations
from .answers import SessionDetail
from .conversation import (
    Continue,
    Fork,
    Known,
    Look,
    Message,
    Plan,
    Renderer,
    Start,
    decide,
    render_transcript,
)
from .flows import AwaitTurn, Clock, Deliver, Flow, OpenStream, Wait, call
from .knowledge import KnownSessions, SessionKnowledge
from .operations import Operation
from .queue import PATIENCE, Ticket, busy_error
from .retry import Answer, Failed, FindOut, GiveUp, Outcome, RetryPolicy

_PAUSES = (0.5, 1.0, 2.0)
_LONGEST_PAUSE = 3.0
_NOT_THERE_TWICE = 2


@dataclass(frozen=True)
class StreamEnded:
    """The service had begun to answer; then the stream ended.

    Attributes:
        error: What ended it; None if it ended by itself.
    """

    error: APIConnectionError | None = None


@dataclass(frozen=True)
class Conversation:
    """Messages to go on from, when the session is to be decided by them.

    Attributes:
        messages: The conversation; its last message is the user's.
        session_id: A session to use as it is.
        freshness: After how many seconds knowledge of a session must be looked up again.
        render: Turns messages into a prompt.
        keep_session: Whether a session that is opened for this outlives it.
    """

    messages: Sequence[Message]
    session_id: str | None = None
    freshness: float = 10.0
    render: Renderer = render_transcript
    keep_session: bool = True


class Exchange:
    """One prompt and its answer.

    Args:
        asked: A session's id and the prompt for it; or a conversation that decides both.
        index_ids: The indexes to ask, or to bind a new session to.
        require_all_indexes: Whether an index that cannot be queried fails the turn.
        sessions: What the client knows of its sessions.
        config: The client's configuration.
        clock: Time and chance.

    Raises:
        ConfigurationError: An argument cannot work.
    """

    def __init__(
        self,
        asked: tuple[str, str] | Conversation,
        index_ids: list[str] | None,
        require_all_indexes: bool | None,
        *,
        sessions: KnownSessions,
        config: ClientConfig,
        clock: Clock,
    ) -> None:
        self.turn = Turn("")
        self.received_bytes = 0
        self._index_ids = index_ids
        self._require_all_indexes = require_all_indexes
        self._sessions = sessions
        self._known = SessionKnowledge()
        self._config = config
        self._clock = clock
        self._most_bytes = config.max_body_bytes
        self._most_seconds = config.timeout.total
        self._policy = RetryPolicy(config.max_retries)
        self._reader = TurnReader(self.turn, self._finish)
        self._decoder = MessageDecoder(config.max_event_bytes)
        self._turns_before = 0
        self._deadline: float | None = None
        self._started_at = 0.0
        self._opened_session = False
        self._conversation = asked if isinstance(asked, Conversation) else None
        if isinstance(asked, Conversation):
            check_seconds("freshness", asked.freshness)
            self._decide(Known())  # so that messages with nothing to ask are noticed before any request
        else:
            self._use(check_id("session_id", asked[0]), check_prompt(asked[1]))

    def read(self, chunk: bytes) -> Iterable[Event]:
        """Take the next bytes of the stream; return the events they bring, each read when it is asked for.

        Raises:
            ProtocolError: They are not this API's; here, or while the events are read.
            APITimeoutError: The turn takes longer than allowed.
        """
        self.received_bytes += len(chunk)
        if self.received_bytes > self._most_bytes or self._most_seconds is not None:
            self._check_limits()
        delta = self._decoder.read_delta(chunk)
        if delta is not None:  # as nearly all come, from a service that says what it has at once
            return self._reader.feed(read_message(delta))
        return self._read_on(self._decoder.feed(chunk))

    def _read_on(self, messages: Iterable[bytes]) -> Iterator[Event]:
        for message in messages:
            yield from self._reader.feed(read_message(message))
            if self.turn.is_complete:
                return
        if self._decoder.failure is not None:
            raise self._decoder.failure

    def run(self, ticket: Ticket) -> Flow[None]:
        """Ask, and see to it that the whole turn is delivered, once.

        Raises:
            ChatError: It could not be.
        """
        self._ticket = ticket
        self._started_at = self._clock.monotonic()
        try:
            yield from self._settle(ticket)
            try:
                yield from self._ask(self._make_request())
            except NotFoundError:
                if not self._may_fork():
                    raise
                self._sessions.drop(self._session_id)
                yield from self._open_session(ticket, self._decide(Known(is_gone=True)))
                yield from self._ask(self._make_request())
        finally:
            self._known.queue.leave(ticket)
        if self.turn.is_error:
            raise TurnFailedError(f"The agent ended its turn with an error: {self.turn.error}", self.turn)

    def farewell(self) -> Operation[None] | None:
        """Return what is left to do when the exchange is over, however it ended: delete a passing session."""
        if self._opened_session and self._conversation and not self._conversation.keep_session:
            self._sessions.drop(self._session_id)
            return operations.delete(self._session_id)
        return None

    def _settle(self, ticket: Ticket) -> Flow[None]:
        """Find the session to ask on, wait until it is free, and know how many turns it has."""
        if self._conversation is None or self._conversation.session_id is not None:
            if self._conversation is not None:
                plan = self._decide(Known())
                assert isinstance(plan, Continue)
                self._use(plan.session_id, plan.prompt)
            yield from self._take_turn(ticket)
            if self._known.turns is None:
                yield from self._look()
            return
        plan = yield from self._settle_on_anchor(ticket)
        if isinstance(plan, Continue):
            self.turn.prompt = plan.prompt
        else:
            yield from self._open_session(ticket, plan)

    def _open_session(self, ticket: Ticket, plan: Plan) -> Flow[None]:
        assert isinstance(plan, (Start, Fork))
        self._known.queue.leave(ticket)
        # A fork keeps the indexes of the session it leaves.
        index_ids = self._index_ids or (self._known.index_ids if isinstance(plan, Fork) else None)
        summary = yield from call(operations.create(index_ids, None), self._policy, self._clock)
        self._opened_session = True
        self._use(summary.session_id, plan.prompt)
        self._known.note(summary.index_ids or index_ids, [], self._clock.monotonic())
        self._known.queue.enter(ticket)

    def _settle_on_anchor(self, ticket: Ticket) -> Flow[Continue | Start | Fork]:
        """Decide, with the anchor's session held from before it is looked at until it is asked."""
        assert self._conversation is not None
        plan = self._decide(Known())
        if isinstance(plan, Look):
            self._use(plan.session_id, "")
            plan = self._decide(self._recall())
            if isinstance(plan, (Look, Continue)) and not self._known.queue.enter(ticket):
                plan = self._decide(Known(is_in_use=True))
            if isinstance(plan, Look):
                plan = self._decide((yield from self._look_for_anchor()))
        assert not isinstance(plan, Look)
        return plan

    def _may_fork(self) -> bool:
        """Whether the session at hand was only taken up because an answer named it."""
        conversation = self._conversation
        return conversation is not None and conversation.session_id is None and not self._opened_session

    def _decide(self, known: Known) -> Plan:
        assert self._conversation is not None
        return decide(
            self._conversation.messages,
            session_id=self._conversation.session_id,
            index_ids=self._index_ids,
            known=known,
            freshness=self._conversation.freshness,
            render=self._conversation.render,
        )

    def _use(self, session_id: str, prompt: str) -> None:
        self._session_id = self.turn.session_id = session_id
        self._known = self._sessions.get(session_id)
        self.turn.prompt = prompt

    def _recall(self) -> Known:
        known = self._known
        return Known(
            turns=known.turns,
            age=self._clock.monotonic() - known.known_at,
            index_ids=known.index_ids,
            is_in_use=not known.queue.is_idle,
        )

    def _look_for_anchor(self) -> Flow[Known]:
        try:
            yield from self._look()
        except NotFoundError:
            return Known(is_gone=True)
        return Known(turns=self._known.turns, index_ids=self._known.index_ids, was_read=True)

    def _take_turn(self, ticket: Ticket) -> Flow[None]:
        queue = self._known.queue
        if queue.enter(ticket):
            return
        before = queue.sample()
        # The queue is asked as well: a wake-up may come just as the wait runs out.
        while not ((yield AwaitTurn(ticket, PATIENCE)) or queue.holds(ticket)):
            now = queue.sample()
            if now == before:
                raise busy_error()
            before = now

    def _look(self) -> Flow[None]:
        """Find out how many turns the session has, and wait for one that was let go while it ran."""
        for pause in _pauses():  # pragma: no branch  # they do not end
            detail = yield from call(operations.retrieve(self._session_id), self._policy, self._clock)
            is_running = bool(detail.turns) and not detail.turns[-1].is_complete
            if not (is_running and self._known.may_be_running) or self._is_too_late(pause):
                self._deadline = None
                self._known.learn(len(detail.turns), self._clock.monotonic())
                self._known.index_ids = detail.index_ids
                return
            yield Wait(pause)

    def _make_request(self) -> operations.Request:
        bound = self._known.index_ids
        if bound and self._index_ids and set(bound) != set(self._index_ids):
            raise ConfigurationError(
                f"The session is bound to the indexes {bound}, which cannot be changed. Leave index_ids out, or "
                "create a session for the others."
            )
        return operations.stream(
            self._session_id, self.turn.prompt, bound or self._index_ids or [], self._require_all_indexes
        )

    def _ask(self, request: operations.Request) -> Flow[None]:
        assert self._known.turns is not None
        self._turns_before = self._known.turns
        self.turn.number = self._turns_before + 1
        attempt = 0
        while not self._is_over():
            attempt += 1
            self._known.forget()
            outcome: StreamEnded | Outcome = yield OpenStream(request)
            if self._is_over():
                return
            if isinstance(outcome, StreamEnded):
                yield from self._recover(outcome.error, was_taken=True)
                continue
            decision = self._policy.decide_prompt(attempt, outcome, chance=self._clock.chance(), now=self._clock.time())
            if isinstance(decision, FindOut):
                yield from self._recover(decision.error, was_taken=False)
                if self._is_over():
                    return
                if attempt > self._policy.max_retries:
                    decision = GiveUp(decision.error)
            if not _may_be_running(outcome):
                self._known.learn(self._turns_before, self._clock.monotonic())
            if isinstance(decision, GiveUp):
                raise decision.error
            yield Wait(decision.delay)

    def _recover(self, error: ChatError | None, *, was_taken: bool) -> Flow[None]:
        """Look for the turn in the history, and deliver what is missing.

        Returns with the turn complete, or, if the service never took the prompt, with nothing delivered.

        Raises:
            StreamInterruptedError: What is there cannot be joined to what was delivered, or never ends.
        """
        times_absent = 0
        for pause in _pauses():  # pragma: no branch  # they do not end
            self._check_limits()
            detail = yield from self._peek()
            if detail is not None:
                if len(detail.turns) > self._turns_before:
                    yield from self._catch_up(detail.turns[self._turns_before], error)
                    if self._is_over():
                        return
                    if len(detail.turns) > self._turns_before + 1:
                        raise self._interrupted("another turn followed before this one had ended", error)
                elif len(detail.turns) < self._turns_before:
                    raise self._interrupted("the session's history has lost turns", error)
                else:
                    times_absent += 1
                    if not was_taken and times_absent == _NOT_THERE_TWICE:
                        self._known.learn(self._turns_before, self._clock.monotonic())
                        return
            if self._is_too_late(pause):
                raise self._interrupted(
                    f"the turn was not finished {self._config.recovery_timeout:g} seconds later "
                    "(recovery_timeout); it may still end, and the session's history will show it",
                    error,
                )
            yield Wait(pause)

    def _peek(self) -> Flow[SessionDetail | None]:
        """Read the history once; None if that failed in a way that may pass."""
        try:
            return (yield from call(operations.retrieve(self._session_id), RetryPolicy(max_retries=0), self._clock))
        except (RateLimitError, ConflictError, InternalServerError):
            return None
        except APIStatusError as error:
            raise self._interrupted("the session's history cannot be read", error) from error
        except APIConnectionError:
            return None

    def _catch_up(self, history: Turn, error: ChatError | None) -> Flow[None]:
        if history.prompt.strip() != self.turn.prompt.strip():
            raise self._interrupted("somebody else asked something on this session meanwhile", error)
        try:
            updates = self._reader.catch_up(history)
        except HistoryConflictError:
            raise self._interrupted("the session's history contradicts what was received", error) from error
        if updates:
            yield Deliver(updates)

    def _is_over(self) -> bool:
        return self.turn.is_complete

    def _is_too_late(self, pause: float) -> bool:
        """Whether waiting `pause` seconds more would overrun the turn's one budget of patience."""
        now = self._clock.monotonic()
        if self._deadline is None:
            self._deadline = now + self._config.recovery_timeout
        return now + pause > self._deadline

    def _check_limits(self) -> None:
        if self.received_bytes > self._most_bytes:
            raise ProtocolError(
                f"The turn holds more than {self._most_bytes} bytes. If that can be right, give the "
                "client a larger max_event_bytes; a turn may hold sixteen times that."
            )
        if self._most_seconds is not None and self._clock.monotonic() - self._started_at > self._most_seconds:
            raise APITimeoutError(f"The turn took longer than {self._most_seconds:g} seconds (timeout.total).")

    def _finish(self) -> None:
        """The turn is over for the service; whether it is for the caller is another matter."""
        if self.turn.is_error:
            self._known.turns = None
            self._known.may_be_running = False
        else:
            self._known.learn(self._turns_before + 1, self._clock.monotonic())
        self._known.queue.leave(self._ticket)

    def _interrupted(self, reason: str, cause: ChatError | None) -> StreamInterruptedError:
        because = f" ({cause.message.rstrip('.')})" if cause is not None else ""
        return StreamInterruptedError(
            f"The answer's stream broke off{because}, and it could not be recovered: {reason}. "
            "What was received is in `.turn`; the session's history has the rest, if there is one.",
            self.turn,
        )


def _may_be_running(outcome: Answer | Failed) -> bool:
    """Whether a turn may be under way on the session, after a prompt that was not taken."""
    return isinstance(outcome, Answer) and outcome.status in {404, 409}


def _pauses() -> Iterator[float]:
    yield from _PAUSES
    while True:
        yield _LONGEST_PAUSE
