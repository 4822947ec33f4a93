"""A value that is asked for, as one turn that arrives: what both askings add up to, and the stream for threads.

`_async_structured_stream.py` holds the twin.
"""

from __future__ import annotations

import contextlib
import logging
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

from ._async_stream import AsyncTurnStream
from ._errors import (
    APIConnectionError,
    ChatError,
    PromptTooLongError,
    StreamInterruptedError,
    StructuredOutputError,
)
from ._session.conversation import Message, asked_at, check_messages
from ._stream import TurnStream
from ._structured.output import StructuredOutput
from ._transport.line import Line
from ._turn.events import Event, Stop, Text, TextDelta, ThinkingDelta, UnknownEvent, Usage, UserInput
from ._turn.turn import BLANK_LINE, Turn, TurnReader

_LOGGER = logging.getLogger("llama_cloud_chat")

S = TypeVar("S", TurnStream, AsyncTurnStream)
Ask: TypeAlias = Callable[[Sequence[Message], str | None], S]


@dataclass(slots=True)
class AnswerDraft(UnknownEvent):
    """An answer that is to hold a value, as far as it has come: it may still be corrected, or be thrown away.

    Attributes:
        raw: The answer's text until now.
        name: Empty.
        index: Of no meaning; a draft is no part of a turn.
    """

    raw: str


class StructuredAsking:
    """The askings for one value as one turn, without the I/O.

    What the agent thinks and does is handed on as it comes; its text is held back until it is known to count.

    Args:
        output: What the answer is to hold.
        messages: The conversation.
        session_id: The session to use as it is, if one is named.
        keep_session: Whether a session that is opened for this outlives it.
        key: What the question is called.

    Attributes:
        turn: What the askings add up to. Its text is the value's JSON alone, or the last answer if that does not fit;
            its number, known only then, that of the last answer; its usage what all of them took.

    Raises:
        ConfigurationError: There is nothing to ask.
        PromptTooLongError: The question and the schema do not fit.
    """

    def __init__(
        self,
        output: StructuredOutput,
        messages: Sequence[Message],
        *,
        session_id: str | None,
        keep_session: bool,
        key: str | None,
    ) -> None:
        check_messages(messages)
        self._messages = list(messages)
        self._place = asked_at(messages)
        self._play = output.play(messages[self._place].text)
        self._keep_session = keep_session
        self._key = key
        self._not_ours = {session_id, *(message.session_id for message in messages)}
        self._opened: set[str] = set()
        self._in_vain: set[str] = set()
        self._answered: list[Turn] = []
        self._asked: Turn | None = None
        self._offset = 0
        self._thinks = False  # whether this asking has thought aloud yet
        self.turn = Turn(messages[self._place].text)
        self._reader = TurnReader(self.turn)

    def open(self, ask: Ask[S]) -> S:
        """Return the stream of what is to be asked now.

        Raises:
            PromptTooLongError: Nothing that fits can be asked.
        """
        while True:
            try:
                key = self._key if self._key is None or not self._answered else f"{self._key} (corrected)"
                return ask(self._now(), key)
            except PromptTooLongError as error:  # noqa: PERF203  # as often as it takes
                self._play.refuse(error)

    def _now(self) -> list[Message]:
        prompt = self._play.prompt
        assert prompt is not None
        if not self._answered:
            self._messages[self._place] = replace(self._messages[self._place], text=prompt)
            return self._messages
        turn = self._answered[-1]
        said = Message("assistant", turn.text, None, turn.session_id, turn.number, turn.instructions)
        return [*self._messages, said, Message("user", prompt)]

    @contextlib.contextmanager
    def watch(self, turn: Turn) -> Iterator[None]:
        """Take note of how an asking ends."""
        self._asked = turn
        try:
            yield
        except PromptTooLongError as error:
            # The service's own word, which came once a session was opened; the next try opens another one.
            self._in_vain |= self._own(turn)
            self._asked = None
            self._play.refuse(error)
        except BaseException as error:
            is_awaited = not isinstance(error, (ChatError, GeneratorExit))
            if not (is_awaited or isinstance(error, (StreamInterruptedError, APIConnectionError))):
                self._opened |= self._own(turn)
            raise
        else:
            self._opened |= self._own(turn)

    def _own(self, turn: Turn) -> set[str]:
        return {turn.session_id} - self._not_ours if turn.session_id else set()

    def take(self, event: Event) -> Sequence[Event]:
        """Take the next event of an asking; return what it adds to the turn."""
        asked = self._asked
        assert asked is not None
        self.turn.session_id = asked.session_id
        kind = type(event)
        if kind is TextDelta:
            return (AnswerDraft(asked.text),)
        if isinstance(event, Stop):
            if not event.is_error:
                return ()
            self._answered.append(asked)
            return list(self.conclude())
        if isinstance(event, (Text, UserInput)):
            return ()
        if isinstance(event, ThinkingDelta):
            if self._answered and self.turn.thinking and not self._thinks:
                event = replace(event, content=BLANK_LINE + event.content)
            self._thinks = True
        elif not self._reader.feed(copy(event)):
            return ()
        event = copy(event)
        event.index += self._offset
        return (event,)

    def is_over(self) -> bool:
        """Whether nothing more is to be asked, now that a stream has come to its end."""
        if self._asked is None:
            return False
        turn, self._asked = self._asked, None
        self._answered.append(turn)
        self._offset += len(turn.events)
        self._thinks = False
        with contextlib.suppress(StructuredOutputError):  # whoever reads the text learns that it does not fit
            self._play.take(turn.text)
            return self._play.answer is not None
        return True

    def conclude(self) -> Iterator[Event]:
        """Complete the turn; yield the events of that."""
        last = self._answered[-1]
        self.turn.number, self.turn.instructions = last.number, last.instructions
        self.turn.left_out = self._answered[0].left_out
        text = last.text if self._play.answer is None else self._play.answer.json
        index = self._offset + len(last.events)  # behind all that was handed on
        if text:
            self._reader.feed(Text(text))
            yield TextDelta(text, index)
            yield Text(text, index)
        skipped = dict.fromkeys(index_id for turn in self._answered for index_id in turn.skipped_index_ids)
        usage = sum((turn.usage for turn in self._answered), Usage())
        stop = Stop(last.is_error, last.error, usage, [*skipped], index + 1)
        self._reader.feed(copy(stop))
        yield stop

    def passing(self) -> set[str]:
        """Return the sessions that are not to outlive this."""
        return self._in_vain if self._keep_session else self._in_vain | self._opened


@contextlib.contextmanager
def reporting() -> Iterator[None]:
    """Say that a session could not be deleted, if that is so."""
    try:
        yield
    except ChatError as error:
        _LOGGER.warning("A session that was not to be kept could not be deleted: %s", error)


class StructuredTurnStream(TurnStream):
    """A turn that is to hold a value, asked once or twice; else as any `TurnStream`.

    Args:
        asking: What is asked.
        ask: Asks.
        delete: Deletes a session.

    Raises:
        ConfigurationError: It cannot be asked.
    """

    def __init__(self, asking: StructuredAsking, ask: Ask[TurnStream], delete: Callable[[str], None]) -> None:
        self.turn = asking.turn
        self._line = Line()
        self._unclaimed = _events(asking, asking.open(ask), ask, delete, self._line)
        self._events = weakref.ref(self._unclaimed)


def _events(
    asking: StructuredAsking, stream: TurnStream, ask: Ask[TurnStream], delete: Callable[[str], None], line: Line
) -> Generator[Event, None, None]:
    try:
        while True:
            line.wake = stream._line.cut
            with asking.watch(stream.turn), stream:
                for event in stream:
                    yield from asking.take(event)
            if line.is_cut() or asking.is_over():
                break
            stream = asking.open(ask)
    finally:
        for session_id in asking.passing():
            with reporting():
                delete(session_id)
    if not line.is_cut():
        yield from asking.conclude()
