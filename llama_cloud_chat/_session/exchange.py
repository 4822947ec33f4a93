"""One turn from asking to its end: settle where it is asked, ask, read, recover. Everything but the I/O.

A turn goes through these states; what may have been taken is never sent again blindly:

    settled     the session is held, its turns are counted, and word is left of where the turn will be
    sent        the service may have taken the prompt: only the history tells
    answered    it has begun to answer, so it has taken it
    over        its `stop` was read, here or in the history
    left        nobody reads on: where it was asked is remembered, for whoever asks the same again
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from llama_cloud_chat._config import ClientConfig
from llama_cloud_chat._errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ChatError,
    ConfigurationError,
    NotFoundError,
    ProtocolError,
    TurnFailedError,
    UnprocessableEntityError,
)
from llama_cloud_chat._turn.events import Event, UnknownEvent, Usage, read_message
from llama_cloud_chat._turn.plain import read_plain, write_plain
from llama_cloud_chat._turn.prompts import digest_of
from llama_cloud_chat._turn.sse import MessageDecoder
from llama_cloud_chat._turn.turn import Turn, TurnReader

from . import operations
from .brake import Caution
from .clock import Clock
from .conversation import Conversation
from .flows import Consult, Deliver, Enter, Flow, OpenStream, Wait, call, explain_indexes
from .knowledge import KnownSessions
from .ledger import Ledger, Note
from .patience import Patience
from .question import Question
from .queue import Ticket
from .recovery import Recovery
from .retry import Answer, Failed, FindOut, GiveUp, Outcome, RetryPolicy, reason_in
from .settling import Settling

_LOGGER = logging.getLogger("llama_cloud_chat")


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
        key: What the user calls the question.
        sessions: What is known of sessions.
        config: The client's configuration.
        ledger: Where keys are kept.
        clock: What the time is.
        caution: What holds its requests back, if anything does.

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
        ledger: Ledger | None = None,
        key: str | None = None,
        caution: Caution | None = None,
    ) -> None:
        self.received_bytes = 0
        self._caution = caution
        self._process = os.getpid()
        self._clock = clock
        self._ledger = ledger
        self._max_event_bytes = config.max_event_bytes
        self._most_bytes = config.max_body_bytes
        self._most_seconds = config.timeout.total
        self._started_at = 0.0
        self._sessions = sessions
        self._policy = RetryPolicy(config.max_retries)
        self._patience = Patience(config.recovery_timeout, clock)
        self._question = Question(asked, index_ids, key, config)
        self._settling = Settling(
            asked,
            index_ids,
            require_all_indexes,
            sessions=sessions,
            config=config,
            ledger=ledger,
            patience=self._patience,
            policy=self._policy,
            clock=clock,
        )
        self.turn = Turn(self._settling.seat.prompt.text, session_id=self._settling.seat.session_id or None)
        self._reader = TurnReader(self.turn)
        self._decoder = MessageDecoder(config.max_event_bytes)
        self._note: Note | None = None
        self._former_note: Note | None = None
        self._turns_before_all = 0
        self._is_told_in_parts = False
        self._is_in_doubt = False
        self._is_awaited = False

    @property
    def answering(self) -> Turn:
        """The turn that is being read: this one, or that of an earlier part of its prompt."""
        return self._reader.turn

    def read(self, chunk: bytes) -> Iterable[Event]:
        """Take the next bytes of the stream; return the events they bring, each read when it is asked for.

        Raises:
            ProtocolError: They are not this API's; here, or while the events are read.
            APITimeoutError: The turn takes longer than allowed.
        """
        self.received_bytes += len(chunk)
        if self.received_bytes > self._most_bytes or self._most_seconds is not None:
            self._check_limits()
        messages = self._decoder.feed(chunk)
        events: Iterable[Event]
        if len(messages) == 1 and self._decoder.failure is None:  # as nearly all come: one message, one packet
            events = self._reader.feed(read_message(messages[0]))
        else:
            events = self._read_on(messages)
        if self._is_told_in_parts:  # what the agent says to a part of a prompt is nobody's answer
            for _ in events:
                pass
            return ()
        return events

    def _read_on(self, messages: Iterable[bytes]) -> Iterator[Event]:
        reader = self._reader
        for message in messages:
            yield from reader.feed(read_message(message))
            if reader.turn.is_complete:
                return
        if self._decoder.failure is not None:
            raise self._decoder.failure

    def run(self, ticket: Ticket) -> Flow[None]:
        """Ask, and see to it that the whole turn is delivered, once.

        Raises:
            ChatError: It could not be.
        """
        return self._guarded(self._run(ticket))

    def _guarded(self, flow: Flow[None]) -> Flow[None]:
        return flow if self._caution is None else self._caution.guard(flow, self._was_held_back)

    def _was_held_back(self, seconds: float) -> None:
        """Time in which nothing could be sent is not the turn's."""
        self._patience.extend(seconds)
        self._started_at += seconds

    def _run(self, ticket: Ticket) -> Flow[None]:
        self._started_at = self._clock.monotonic()
        try:
            note = yield from self._find_note()
            if note is not None:
                note = yield from self._answer_again(ticket, note)
            if not self.turn.is_complete:
                yield from self._answer(ticket, note)
        finally:
            self._settling.seat.knowledge.queue.leave(ticket)
        if self.turn.is_error:
            raise TurnFailedError(f"The agent ended its turn with an error: {self.turn.error}", self.turn)

    def cleanup(self) -> Flow[None]:
        """Do what is left to do when the exchange is over, however it ended.

        A finished turn is written down. A passing session is deleted; one whose turn nobody heard to its end stays for
        whoever asks again, for a while. In the child of a fork nothing is left to do: the turn is the parent's.
        """
        flow = self._cleanup()
        # Who leaves early does not want to wait.
        return self._guarded(flow) if self.turn.is_complete else flow

    def _cleanup(self) -> Flow[None]:
        if os.getpid() != self._process:
            return
        try:
            if self._note is not None and self.turn.is_complete:
                yield from self._write(self._finished(self._note))
            yield from self._settling.remember()
        except ChatError as error:
            _LOGGER.warning("The answer could not be written down in the ledger: %s", error)
            if self._note is not None:  # what it says stays true, and the session is where it says
                return
        passing = [note.session_id for note in self._sessions.interruptions.take_expired(self._clock.monotonic())]
        if self._settling.is_passing and not self._is_awaited:
            passing.append(self._settling.seat.session_id)
        for session_id in passing:
            self._sessions.drop(session_id)
            try:
                yield from call(operations.delete(session_id), RetryPolicy(max_retries=1), self._clock)
            except ChatError as error:
                _LOGGER.warning("A session that was not to be kept could not be deleted: %s", error)

    def leave(self) -> None:
        """Take note that the turn was broken off by an error or a cancellation, for whoever asks the same again."""
        if not self._is_in_doubt:
            return
        self._is_awaited = True
        if self._question.name is None:
            note = self._note or self._make_note()
            self._sessions.interruptions.add(self._question.likeness, note, self._clock.monotonic())

    def _find_note(self) -> Flow[Note | None]:
        """Return where this question was asked before, if it was. Others who ask it under its key wait meanwhile."""
        name = self._question.name
        if name is None:
            interruptions = self._sessions.interruptions
            return interruptions.take(self._question.likeness, self._clock.monotonic()) if interruptions else None
        assert self._ledger is not None
        yield Enter(self._ledger.hold(name))
        note: Note | None = yield Consult(partial(self._ledger.read, name), partial(self._ledger.aread, name))
        if note is not None and note.question not in {_NOT_TAKEN, self._question.words}:
            raise ConfigurationError("This key belongs to another question. Give each question a key of its own.")
        return note

    def _answer_again(self, ticket: Ticket, note: Note) -> Flow[Note | None]:
        """Deliver the turn of a question that was asked before; return where to ask it if the service never took it."""
        turn = self.turn
        turn.session_id, turn.number = note.session_id, note.number
        reader = self._reader = TurnReader(turn)
        if note.turn is not None:
            yield Deliver(read_plain(note.turn, reader))
            return None
        self._note, self._is_in_doubt = note, True
        yield from self._settling.sit_at(ticket, note)
        recovery = Recovery(
            reader,
            note.turns_before,
            is_our_prompt=lambda prompt: digest_of(prompt.strip()) == note.prompt,
            patience=self._patience,
            check_limits=self._check_limits,
            clock=self._clock,
        )
        reader.at_end = partial(self._finish, ticket, reader, recovery)
        try:
            yield from recovery.run(None, was_taken=False)
        except NotFoundError as error:
            if note.is_finished:
                raise _gone(note, error) from error
            self._sessions.drop(note.session_id)
            self._settling.seat.knowledge.queue.leave(ticket)
            self._note, self._is_in_doubt = None, False
            return None
        if not turn.is_complete:
            self._note, self._former_note, self._is_in_doubt = None, note, False
            self._patience.renew()
            self._settling.seat.turns_before = recovery.turns_before
        return note

    def _answer(self, ticket: Ticket, note: Note | None) -> Flow[None]:
        """Settle and ask; on another session if the one that an answer names is gone."""
        yield from self._settling.settle(ticket, note)
        try:
            yield from self._ask_what_fits(ticket)
        except APIStatusError as error:
            if not self._settling.may_fork(error):
                raise
            yield from self._settling.fork(ticket)
            yield from self._ask_what_fits(ticket)

    def _ask_what_fits(self, ticket: Ticket) -> Flow[None]:
        """Ask, and once more within the limit if the service names one that the prompt exceeds."""
        try:
            yield from self._ask_whole(ticket)
        except UnprocessableEntityError as error:
            if not (yield from self._settling.shorten(error)):
                raise
            yield from self._ask_whole(ticket)

    def _ask_whole(self, ticket: Ticket) -> Flow[None]:
        """Ask the prompt, in parts where it is long; only what answers the last one is handed on."""
        seat, turn = self._settling.seat, self.turn
        turn.prompt, turn.session_id = seat.prompt.text, seat.session_id
        turn.left_out, turn.instructions = seat.prompt.left_out, seat.instructions
        *parts, last = seat.prompt.parts or (seat.prompt.text,)
        told_since = self._told_since() if parts else None
        self._turns_before_all = seat.turns_before if told_since is None else told_since
        if self._question.name is not None:
            self._note = self._make_note()
            yield from self._write(self._note)
        usage: Usage | None = None
        for part in parts:
            told = Turn(part, session_id=seat.session_id)
            yield from self._ask(ticket, TurnReader(told), part, told_since)
            if told.is_error:
                self._is_in_doubt = False
                raise TurnFailedError(f"The agent failed at a part of a long prompt: {told.error}", turn)
            usage = told.usage + (usage or Usage())
            assert told.number is not None
            told_since = told.number if told_since is not None else None
            seat.turns_before = told.number
        reader = TurnReader(turn)
        reader.usage_before = usage
        yield from self._ask(ticket, reader, last, told_since)

    def _told_since(self) -> int | None:
        """Return after which turn of the session parts of the prompt may stand; None where none can."""
        note = self._former_note
        return note.turns_before if note is not None and note.session_id == self._settling.seat.session_id else None

    def _ask(self, ticket: Ticket, reader: TurnReader, prompt: str, told_since: int | None = None) -> Flow[None]:
        """Send a prompt, as often as it takes until the service takes it, and see its turn to the end.

        Args:
            ticket: The place in the queue.
            reader: Builds the turn.
            prompt: What to send.
            told_since: After which turn to look first whether it was sent before; None if it cannot have been.
        """
        seat = self._settling.seat
        request = self._settling.request(prompt)
        self._reader, self._decoder = reader, MessageDecoder(self._max_event_bytes)
        self._is_told_in_parts = reader.turn is not self.turn
        ours = {prompt.strip(), reader.turn.prompt.strip()}
        recovery = Recovery(
            reader,
            seat.turns_before if told_since is None else told_since,
            is_our_prompt=lambda prompt: prompt.strip() in ours,
            patience=self._patience,
            check_limits=self._check_limits,
            clock=self._clock,
            is_heard=not self._is_told_in_parts,
        )
        reader.at_end = partial(self._finish, ticket, reader, recovery)
        if told_since is not None:
            self._is_in_doubt = True
            yield from recovery.run(None, was_taken=False)
            if self._is_answered():
                return
            seat.turns_before = recovery.turns_before
        attempt = 0
        while True:
            attempt += 1
            reader.turn.number = seat.turns_before + 1
            seat.knowledge.forget()
            self._is_in_doubt = True
            outcome: StreamEnded | Outcome = yield OpenStream(request)
            if self._is_answered():
                return
            if isinstance(outcome, StreamEnded):
                yield from recovery.run(outcome.error or _told_error(reader.turn), was_taken=True)
                return
            decision = self._policy.decide_prompt(attempt, outcome, jitter=self._clock.jitter(), now=self._clock.time())
            if isinstance(decision, FindOut):
                yield from recovery.run(decision.error, was_taken=False)
                if self._is_answered():
                    return
                seat.turns_before = recovery.turns_before
                if attempt > self._policy.max_retries:
                    decision = GiveUp(decision.error)
            self._is_in_doubt = False
            if not _may_be_running(outcome):
                seat.knowledge.learn(seat.turns_before, self._clock.monotonic())
            if isinstance(decision, GiveUp):
                yield from self._free_key()
                indexes = (request.body or {}).get("index_ids", ())
                raise (yield from explain_indexes(decision.error, indexes, self._clock))
            yield Wait(decision.delay)

    def _is_answered(self) -> bool:
        return self._reader.turn.is_complete

    def _finish(self, ticket: Ticket, reader: TurnReader, recovery: Recovery) -> None:
        """The turn is over for the service; whether it is for the caller is another matter."""
        knowledge = self._settling.seat.knowledge
        if reader.turn.is_error:
            knowledge.turn_count = None
            knowledge.may_be_running = False
        else:
            knowledge.learn(max(reader.turn.number or 0, recovery.turn_count), self._clock.monotonic())
        if reader.turn is self.turn:
            self._is_in_doubt = False
            knowledge.queue.leave(ticket)

    def _check_limits(self) -> None:
        if self.received_bytes > self._most_bytes:
            raise ProtocolError(
                f"The turn holds more than {self._most_bytes} bytes. If that can be right, give the "
                "client a larger max_event_bytes; a turn may hold sixteen times that."
            )
        if self._most_seconds is not None and self._clock.monotonic() - self._started_at > self._most_seconds:
            raise APITimeoutError(f"The turn took longer than {self._most_seconds:g} seconds (timeout.total).")

    def _make_note(self) -> Note:
        seat = self._settling.seat
        return Note(
            self._question.words,
            seat.session_id,
            self._turns_before_all,
            digest_of(seat.prompt.text.strip()),
            is_kept=not self._settling.is_passing,
        )

    def _finished(self, note: Note) -> Note:
        turn = None if note.is_kept else write_plain(self.turn)
        return replace(note, number=self.turn.number, turn=turn)

    def _free_key(self) -> Flow[None]:
        """Let another question have the key: the service did not take this one."""
        if self._note is not None:
            yield from self._write(replace(self._note, question=_NOT_TAKEN))
            self._note = None

    def _write(self, note: Note) -> Flow[None]:
        name, ledger = self._question.name, self._ledger
        if name is not None and ledger is not None:
            yield Consult(partial(ledger.write, name, note), partial(ledger.awrite, name, note))


_NOT_TAKEN = ""
"""What stands for the question in a note whose prompt the service did not take."""


def _gone(note: Note, error: NotFoundError) -> NotFoundError:
    """Return what says of an answered question that its answer is no longer there."""
    return NotFoundError(
        f"The question was answered in session {note.session_id}, which is gone, and its answer with it. It is not "
        "asked again; to have it asked, give it another key.",
        status_code=error.status_code,
        body=error.body,
        request_id=error.request_id,
    )


def _may_be_running(outcome: Answer | Failed) -> bool:
    """Whether a turn may be under way on the session, after a prompt that was not taken."""
    return isinstance(outcome, Answer) and outcome.status in {404, 409}


def _told_error(turn: Turn) -> ChatError | None:
    """Return what the service told in place of the rest of a turn, if it did."""
    told = next((event for event in reversed(turn.events) if type(event) is UnknownEvent and event.is_error), None)
    if told is None:
        return None
    return ProtocolError(f"The service reported an error: {reason_in(told.raw) or 'it does not say which'}")
