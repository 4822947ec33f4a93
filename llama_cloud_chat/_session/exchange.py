"""One turn from asking to its end: settle where it is asked, ask, read, recover. Everything but the I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from llama_cloud_chat._config import ClientConfig
from llama_cloud_chat._errors import APIConnectionError, APITimeoutError, NotFoundError, ProtocolError, TurnFailedError
from llama_cloud_chat._turn.events import Event, read_message
from llama_cloud_chat._turn.sse import MessageDecoder
from llama_cloud_chat._turn.turn import Turn, TurnReader

from .clock import Clock
from .conversation import Conversation
from .flows import Flow, OpenStream, Wait
from .knowledge import KnownSessions
from .operations import Operation
from .patience import Patience
from .queue import Ticket
from .recovery import Recovery
from .retry import Answer, Failed, FindOut, GiveUp, Outcome, RetryPolicy
from .settling import Settling


@dataclass(frozen=True)
class StreamEnded:
    """The service had begun to answer; then the stream ended.

    Attributes:
        error: What ended it; None if it ended by itself.
    """

    error: APIConnectionError | None = None


class Exchange:
    """One prompt and its answer.

    Args:
        asked: A session's id and the prompt for it; or a conversation that decides both.
        index_ids: The indexes to ask, or to bind a new session to.
        require_all_indexes: Whether an index that cannot be queried fails the turn.
        sessions: What is known of sessions.
        config: The client's configuration.
        clock: What the time is.

    Attributes:
        turn: The turn; it grows as it is read.
        received_bytes: How much of its stream has come.

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
        self.received_bytes = 0
        self._clock = clock
        self._most_bytes = config.max_body_bytes
        self._most_seconds = config.timeout.total
        self._started_at = 0.0
        self._policy = RetryPolicy(config.max_retries)
        self._patience = Patience(config.recovery_timeout, clock)
        self._settling = Settling(
            asked,
            index_ids,
            require_all_indexes,
            sessions=sessions,
            patience=self._patience,
            policy=self._policy,
            clock=clock,
        )
        self.turn = Turn(self._settling.seat.prompt, session_id=self._settling.seat.session_id or None)
        self._reader = TurnReader(self.turn)
        self._decoder = MessageDecoder(config.max_event_bytes)

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
        self._started_at = self._clock.monotonic()
        try:
            yield from self._settling.settle(ticket)
            try:
                yield from self._ask(ticket)
            except NotFoundError:
                if not self._settling.may_fork:
                    raise
                yield from self._settling.fork(ticket)
                yield from self._ask(ticket)
        finally:
            self._settling.seat.knowledge.queue.leave(ticket)
        if self.turn.is_error:
            raise TurnFailedError(f"The agent ended its turn with an error: {self.turn.error}", self.turn)

    def farewell(self) -> Operation[None] | None:
        """Return what is left to do when the exchange is over, however it ended."""
        return self._settling.cleanup()

    def _ask(self, ticket: Ticket) -> Flow[None]:
        """Send the prompt, as often as it takes until the service takes it, and see the turn to its end."""
        seat = self._settling.seat
        request = self._settling.request()
        turns_before = seat.knowledge.turn_count
        assert turns_before is not None
        turn = self.turn
        turn.prompt, turn.session_id, turn.number = seat.prompt, seat.session_id, turns_before + 1
        self._reader.at_end = lambda: self._finish(ticket, turns_before)
        recovery = Recovery(
            self._reader, turns_before, patience=self._patience, check_limits=self._check_limits, clock=self._clock
        )
        attempt = 0
        while True:
            attempt += 1
            seat.knowledge.forget()
            outcome: StreamEnded | Outcome = yield OpenStream(request)
            if self._is_over():
                return
            if isinstance(outcome, StreamEnded):
                yield from recovery.run(outcome.error, was_taken=True)
                return
            decision = self._policy.decide_prompt(attempt, outcome, jitter=self._clock.jitter(), now=self._clock.time())
            if isinstance(decision, FindOut):
                yield from recovery.run(decision.error, was_taken=False)
                if self._is_over():
                    return
                if attempt > self._policy.max_retries:
                    decision = GiveUp(decision.error)
            if not _may_be_running(outcome):
                seat.knowledge.learn(turns_before, self._clock.monotonic())
            if isinstance(decision, GiveUp):
                raise decision.error
            yield Wait(decision.delay)

    def _is_over(self) -> bool:
        return self.turn.is_complete

    def _check_limits(self) -> None:
        if self.received_bytes > self._most_bytes:
            raise ProtocolError(
                f"The turn holds more than {self._most_bytes} bytes. If that can be right, give the "
                "client a larger max_event_bytes; a turn may hold sixteen times that."
            )
        if self._most_seconds is not None and self._clock.monotonic() - self._started_at > self._most_seconds:
            raise APITimeoutError(f"The turn took longer than {self._most_seconds:g} seconds (timeout.total).")

    def _finish(self, ticket: Ticket, turns_before: int) -> None:
        """The turn is over for the service; whether it is for the caller is another matter."""
        knowledge = self._settling.seat.knowledge
        if self.turn.is_error:
            knowledge.turn_count = None
            knowledge.may_be_running = False
        else:
            knowledge.learn(turns_before + 1, self._clock.monotonic())
        knowledge.queue.leave(ticket)


def _may_be_running(outcome: Answer | Failed) -> bool:
    """Whether a turn may be under way on the session, after a prompt that was not taken."""
    return isinstance(outcome, Answer) and outcome.status in {404, 409}
