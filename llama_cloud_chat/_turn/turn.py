"""A turn, and the reader that builds it from events: from a live stream, from the history, or from both.

The service says every segment twice, as deltas and then whole; some services and histories say it only once. The
`TurnReader` reconciles that: each segment is handed on as its deltas, then whole, whatever came, so that the
deltas of a turn add up to `Turn.text` and nothing is said twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from io import StringIO
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeAlias

from llama_cloud_chat._display import Displayable

from .events import (
    Attachment,
    Event,
    Stop,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolResult,
    UnknownEvent,
    Usage,
    UserInput,
)
from .json import split_trailing_half, well_formed
from .prompts import count_parts, instructions_digest, join_parts, unfold, users_words
from .sources import Source, read_sources

if TYPE_CHECKING:
    from typing_extensions import Self

BLANK_LINE = "\n\n"
"""What parts two segments of one turn, in its text and in its thinking."""

SegmentKind: TypeAlias = type[Text] | type[Thinking]


class _Segment:
    """A run of thinking or text.

    A delta's text costs a few bytes, the string object around it dozens: a buffer keeps the text alone. Other threads
    may read while one writes: each is a single step of the interpreter.
    """

    __slots__ = ("buffer", "half", "index", "kind", "next_delta", "parting")

    def __init__(self, kind: SegmentKind, index: int, parting: str) -> None:
        self.kind = kind
        self.index = index
        self.parting = parting  # what its first delta still has to begin with
        self.half = ""  # a high surrogate whose other half comes with the next delta
        self.next_delta: type[TextDelta] | type[ThinkingDelta] | None = None  # the class of those that simply go on
        self.buffer = StringIO()

    @property
    def text(self) -> str:
        return self.buffer.getvalue()

    def replace(self, text: str) -> None:
        buffer = StringIO()
        buffer.write(text)
        self.buffer = buffer

    def as_event(self) -> Text | Thinking:
        return self.kind(self.text, self.index)


_DELTA_OF: dict[SegmentKind, type[TextDelta] | type[ThinkingDelta]] = {Text: TextDelta, Thinking: ThinkingDelta}
_CLOSED = _Segment(Text, -1, "")
"""What stands for the open segment where there is none; no delta goes on with it."""

_Block: TypeAlias = _Segment | ToolCall | ToolResult | UnknownEvent | Stop


@dataclass(slots=True)
class ToolRun:
    """A call of one of the agent's tools, with its result once it is there.

    Attributes:
        call_id: What joins call and result.
        name: The tool.
        arguments: What it was called with.
        result: What it gave back: any JSON value, as the service sent it.
        has_result: Whether it has given anything back yet; a result may be None.
        image_attachment: The page picture it names, if any.
        is_uncalled: Whether its call is yet to come, although its result is there.
    """

    call_id: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    result: Any = None
    has_result: bool = False
    image_attachment: Attachment | None = None
    is_uncalled: bool = field(default=True, repr=False, compare=False)

    def take(self, event: ToolCall | ToolResult) -> None:
        """Take up the call or its result, whichever comes first.

        Args:
            event: One of the two.
        """
        if isinstance(event, ToolCall):
            self.arguments, self.is_uncalled = event.arguments, False
        else:
            self.image_attachment = event.image_attachment
            self.result, self.has_result = event.result, True

    @property
    def sources(self) -> list[Source]:
        """What it retrieved."""
        return read_sources(self.call_id, self.arguments, self.result)


Step: TypeAlias = Thinking | Text | ToolRun | UnknownEvent
"""A thing the agent did in a turn."""


class Turn(Displayable):
    """One prompt and everything that answers it. A turn that is being streamed grows.

    Attributes:
        prompt: What the user asked.
        session_id: The session it belongs to.
        number: Which turn of its session it is, from 1; None while that is unknown. A prompt that was told in several
            parts has the number of the last one.
        instructions: What stands for the system text that its session has been told (a digest); None if it was told
            none, as far as is known.
        left_out: How many earlier messages of the conversation its prompt does not tell whole.
        usage: What it took; empty until it is over.
        is_error: Whether the agent ended it with an error.
        error: The agent's reason.
        is_complete: Whether the agent ended it. False for a turn still running, let go, or cut off.
        skipped_index_ids: Indexes that could not be queried.
    """

    __slots__ = (
        "_blocks",
        "_runs",
        "_steps",
        "error",
        "instructions",
        "is_complete",
        "is_error",
        "left_out",
        "number",
        "prompt",
        "session_id",
        "skipped_index_ids",
        "usage",
    )

    def __init__(self, prompt: str, *, session_id: str | None = None, number: int | None = None) -> None:
        self.prompt = prompt
        self.session_id = session_id
        self.number = number
        self.instructions: str | None = None
        self.left_out = 0
        self.usage = Usage()
        self.is_error = False
        self.error: str | None = None
        self.is_complete = False
        self.skipped_index_ids: list[str] = []
        self._blocks: list[_Block] = []
        self._steps: list[_Segment | ToolRun | UnknownEvent] = []
        self._runs: dict[str, ToolRun] = {}

    @classmethod
    def from_events(
        cls, prompt: str, events: Iterable[Event], *, session_id: str | None = None, number: int | None = None
    ) -> Self:
        """Return a turn built from what is known of its events, such as those another turn's `events` gave.

        Args:
            prompt: What the user asked.
            events: The events, in order.
            session_id: The session it belongs to.
            number: Which turn of its session it is, from 1.
        """
        turn = cls(prompt, session_id=session_id, number=number)
        reader = TurnReader(turn)
        for event in events:
            reader.feed(copy(event))
        return turn

    def __setstate__(self, state: tuple[None, dict[str, Any]]) -> None:
        """Take over what was pickled, by this version or by one that kept less."""
        values = state[1]
        self.__init__(values["prompt"])  # type: ignore[misc]
        for name, value in values.items():
            setattr(self, name, value)
        if "_steps" not in values:
            self._blocks = []
            for block in values["_blocks"]:
                self._add(block)

    @property
    def question(self) -> str:
        """What the user asked, in their own words: without earlier messages and a schema that the prompt tells."""
        return users_words(self.prompt)

    @property
    def text(self) -> str:
        """The answer: its text segments, joined by a blank line."""
        return self._joined(Text)

    @property
    def thinking(self) -> str:
        """The agent's thinking: its segments, joined by a blank line."""
        return self._joined(Thinking)

    @property
    def tool_calls(self) -> list[ToolRun]:
        """The agent's tool calls in the order they were made, each with its result."""
        return [step for step in self._steps if isinstance(step, ToolRun)]

    def run_of(self, call_id: str) -> ToolRun:
        """Return the tool call that a call's or a result's event belongs to; it grows as they come.

        Args:
            call_id: What the event says; the latest call counts, should the agent have used an id twice.

        Raises:
            KeyError: No such call or result has come.
        """
        return self._runs[call_id]

    @property
    def steps(self) -> list[Step]:
        """What the agent did, in order: it thinks, says something, calls a tool; a result is with its call."""
        return [step.as_event() if isinstance(step, _Segment) else step for step in self._steps]

    def _add(self, block: _Block) -> None:
        self._blocks.append(block)
        if isinstance(block, (ToolCall, ToolResult)):
            self._join(block)
        elif not isinstance(block, Stop):
            self._steps.append(block)

    def _join(self, event: ToolCall | ToolResult) -> None:
        """Bring a call and its result together, whichever comes first."""
        run = self._runs.get(event.call_id)
        if run is not None and (isinstance(event, ToolResult) or run.is_uncalled):
            run.take(event)
            return
        run = self._runs[event.call_id] = ToolRun(event.call_id, event.name)
        run.take(event)
        self._steps.append(run)

    @property
    def sources(self) -> list[Source]:
        """What the agent retrieved, in the order it retrieved it."""
        return [source for run in self.tool_calls for source in run.sources]

    @property
    def events(self) -> list[Event]:
        """Everything in order: whole segments, calls, results, unknown events, and `Stop` at the end."""
        return [block.as_event() if isinstance(block, _Segment) else block for block in self._blocks]

    def deltas(self) -> Iterator[Event]:
        """Iterate over everything in order, as a stream tells it that says nothing twice.

        Each segment is one delta, which begins with the blank line that parts it from the one before of its kind: the
        deltas add up to `text` and to `thinking`. All else is as in `events`.
        """
        said: set[SegmentKind] = set()
        for block in self._blocks:
            if not isinstance(block, _Segment):
                yield block
            elif text := block.text:
                parting = BLANK_LINE if block.kind in said else ""
                said.add(block.kind)
                yield _DELTA_OF[block.kind](parting + text, block.index)

    def _joined(self, kind: SegmentKind) -> str:
        return BLANK_LINE.join(text for segment in self._segments(kind) if (text := segment.text))

    def _segments(self, kind: SegmentKind) -> Iterator[_Segment]:
        return (block for block in self._blocks if isinstance(block, _Segment) and block.kind is kind)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Turn):
            return NotImplemented
        return (self.prompt, self.session_id, self.number, self.events) == (
            other.prompt,
            other.session_id,
            other.number,
            other.events,
        )

    __hash__ = None  # type: ignore[assignment]  # it grows

    def __repr__(self) -> str:
        state = "complete" if self.is_complete else "incomplete"
        return f"Turn({state}, number={self.number}, prompt={self.prompt!r}, text={self.text!r})"


class HistoryConflictError(Exception):
    """The history does not continue what a stream delivered."""


class TurnReader:
    """Builds one `Turn` from events.

    Args:
        turn: The turn to build; it grows with every event.

    Attributes:
        at_end: Called when the turn is complete, before its end is handed on.
        usage_before: What was used up before, by earlier parts of the prompt.
    """

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.at_end: Callable[[], None] = lambda: None
        self.usage_before: Usage | None = None
        self._open = _CLOSED
        self._said: set[SegmentKind] = set()
        # Segments whose whole has not come; of those, the ones begun since the last tool event.
        self._unconfirmed: list[_Segment] = []
        self._recent: list[_Segment] = []
        self._seen: dict[tuple[type, str], ToolCall | ToolResult] = {}

    def feed(self, event: Any) -> Sequence[Event]:
        """Take the next event; return what it adds to what was handed on before.

        Events after the end of the turn add nothing, and neither does None.
        """
        segment = self._open
        if type(event) is segment.next_delta:  # nearly every event
            content = event.content
            if content and (content.isascii() or content.isprintable()):  # which no half of a character is
                segment.buffer.write(content)
                event.index = segment.index
                return (event,)
        if self.turn.is_complete:
            return ()
        return _READERS[type(event)](self, event)

    def _read_delta(self, event: TextDelta | ThinkingDelta) -> Sequence[Event]:
        kind: SegmentKind = Text if type(event) is TextDelta else Thinking
        content = event.content
        if not content:
            return ()
        segment = self._open
        if segment is _CLOSED or segment.kind is not kind:
            segment = self._begin(kind)
        if segment.half or not content.isascii():
            content, segment.half = split_trailing_half(segment.half + content)
        segment.next_delta = None if segment.half else type(event)
        if not content:
            return ()
        if segment.parting or content is not event.content:
            return (self._extend(segment, content, event.raw),)
        segment.buffer.write(content)
        event.index = segment.index
        return (event,)

    def _begin(self, kind: SegmentKind) -> _Segment:
        segment = _Segment(kind, len(self.turn._blocks), BLANK_LINE if kind in self._said else "")
        self._said.add(kind)
        self.turn._add(segment)
        self._unconfirmed.append(segment)
        self._recent.append(segment)
        self._open = segment
        return segment

    def _extend(self, segment: _Segment, content: str, raw: dict[str, Any]) -> TextDelta | ThinkingDelta:
        segment.buffer.write(content)
        parting, segment.parting = segment.parting, ""
        return _DELTA_OF[segment.kind](parting + content, segment.index, raw)

    def _read_whole(self, event: Text | Thinking) -> Sequence[Event]:
        text = well_formed(event.content)
        segment = self._match(type(event), text)
        if segment is None:
            if not text:
                return ()
            segment = self._begin(type(event))
        return self._confirm(segment, text, event.raw)

    def _match(self, kind: SegmentKind, text: str) -> _Segment | None:
        """Find the segment that a whole completes; it may have come late.

        Across a tool's call or result only a segment that said exactly this counts: a service that sends some
        segments only whole must not have them taken for corrections of earlier ones.
        """
        recent = [segment for segment in self._recent if segment.kind is kind]
        earlier = [segment for segment in self._unconfirmed if segment.kind is kind]
        for segment in [*recent, *earlier]:
            if segment.text == text:
                return segment
        for segment in recent:
            if text.startswith(segment.text):
                return segment
        return recent[0] if recent else None

    def _confirm(self, segment: _Segment, text: str, raw: dict[str, Any]) -> Sequence[Event]:
        """Complete `segment` as `text`: hand on what its deltas left out, then the whole."""
        said = segment.text
        updates: list[Event] = []
        if text.startswith(said) and self._is_last_of_its_kind(segment):
            if len(text) > len(said):
                updates.append(self._extend(segment, text[len(said) :], raw))
        else:
            segment.replace(text)
        self._unconfirmed.remove(segment)
        if segment in self._recent:
            self._recent.remove(segment)
        if self._open is segment:
            self._open = _CLOSED
        updates.append(segment.kind(text, segment.index, raw))
        return updates

    def _is_last_of_its_kind(self, segment: _Segment) -> bool:
        return all(later.index <= segment.index for later in self.turn._segments(segment.kind))

    def _read_tool_event(self, event: ToolCall | ToolResult) -> Sequence[Event]:
        key = type(event), event.call_id
        if self._seen.get(key) == event:
            return ()
        self._seen[key] = event
        self._open = _CLOSED
        self._recent.clear()
        return self._place(event)

    def _place(self, event: ToolCall | ToolResult | UnknownEvent | Stop) -> Sequence[Event]:
        event.index = len(self.turn._blocks)
        self.turn._add(event)
        return (event,)

    def _read_stop(self, event: Stop) -> Sequence[Event]:
        updates: list[Event] = []
        for segment in list(self._unconfirmed):
            updates += self._confirm(segment, segment.text + ("\ufffd" if segment.half else ""), {})
        turn = self.turn
        turn.is_complete = True
        if self.usage_before is not None:
            event = replace(event, usage=self.usage_before + event.usage)
        turn.is_error, turn.error = event.is_error, event.error
        turn.usage, turn.skipped_index_ids = event.usage, event.skipped_index_ids
        self.at_end()
        return [*updates, *self._place(event)]

    def fits(self, history: Turn) -> bool:
        """Whether a turn of the history may be this one: it holds all that was handed on, or is still behind it."""
        try:
            self._count_told(Text, history)
        except HistoryConflictError:
            return False
        told = {(type(block), block.call_id) for block in history._blocks if isinstance(block, (ToolCall, ToolResult))}
        return not history.is_complete or history.is_error or told.issuperset(self._seen)

    def catch_up(self, history: Turn) -> list[Event]:
        """Take what the session's history says of this turn; return what was not handed on before.

        Text is compared as one string, whatever its segments, for a history may keep only deltas, in which two
        segments side by side cannot be told apart. Thinking that the history leaves out or tells differently is no
        conflict. A history may also be behind what was streamed, as long as the turn runs.

        Raises:
            HistoryConflictError: It contradicts what was handed on.
        """
        told = {kind: self._count_told(kind, history) for kind in (Text, Thinking)}
        self.usage_before = None  # which the history counts in
        updates: list[Event] = []
        heard = {kind: iter(list(self.turn._segments(kind))) for kind in (Text, Thinking)}
        last = None if history.is_complete else history._blocks[-1:]
        for block in list(history._blocks):
            if isinstance(block, _Segment):
                known, same = next(told[block.kind]), next(heard[block.kind], None)
                if known < len(block.text):
                    updates.append(self._continue(block.kind, block.text[known:], starts_anew=known == 0))
                if last != [block] and not self._is_confirmed(same, block.text):
                    updates += self._confirm_as_told(block)
            elif isinstance(block, Stop) or (
                isinstance(block, (ToolCall, ToolResult)) and (type(block), block.call_id) not in self._seen
            ):
                updates += self.feed(copy(block))
        return updates

    def _is_confirmed(self, segment: _Segment | None, text: str) -> bool:
        """Whether a segment was handed on whole: one that says the same later, and is not yet over, is another."""
        return segment is not None and segment not in self._unconfirmed and segment.text == text

    def _confirm_as_told(self, told: _Segment) -> Sequence[Event]:
        """Hand on the whole of a segment that the history shows to be over."""
        for segment in self._unconfirmed:
            if segment.kind is told.kind and segment.text == told.text:
                return self._confirm(segment, told.text, {})
        return ()

    def _count_told(self, kind: SegmentKind, history: Turn) -> Iterator[int]:
        """Tell for each segment of the history how many of its characters were handed on."""
        here = [segment.text for segment in self.turn._segments(kind)]
        there = [segment.text for segment in history._segments(kind)]
        said, kept = "".join(here), "".join(there)
        is_behind = said.startswith(kept) and not history.is_complete
        if kind is Text and not (kept.startswith(said) or is_behind or history.is_error):
            raise HistoryConflictError
        if kept.startswith(said):
            starts = accumulate((len(text) for text in there), initial=0)
            return (min(max(len(said) - start, 0), len(text)) for start, text in zip(starts, there, strict=False))
        if is_behind or kind is Text:
            return (len(text) for text in there)
        return (len(text) if place < len(here) else 0 for place, text in enumerate(there))

    def _continue(self, kind: SegmentKind, rest: str, *, starts_anew: bool) -> Event:
        latest = None if starts_anew else max(self.turn._segments(kind), key=lambda one: one.index, default=None)
        segment = latest or self._begin(kind)
        segment.half = ""
        return self._extend(segment, rest, {})


def _pass_on(_: TurnReader, event: Event) -> Sequence[Event]:
    return (event,)


_READERS: dict[type, Callable[[TurnReader, Any], Sequence[Event]]] = {
    TextDelta: TurnReader._read_delta,
    ThinkingDelta: TurnReader._read_delta,
    Text: TurnReader._read_whole,
    Thinking: TurnReader._read_whole,
    ToolCall: TurnReader._read_tool_event,
    ToolResult: TurnReader._read_tool_event,
    Stop: TurnReader._read_stop,
    UserInput: _pass_on,
    UnknownEvent: TurnReader._place,
    type(None): lambda _, __: (),
}


def read_history(events: Iterable[Event], session_id: str) -> list[Turn]:
    """Read a session's history into its turns.

    A turn begins with its prompt; where a history leaves prompts out, with the first event after a `Stop`. A long
    prompt that was told in parts is one turn, as it was for whoever asked it: what the agent said to earlier parts is
    left out, and what they took is added up.
    """
    turns: list[Turn] = []
    reader: TurnReader | None = None
    number = 0
    for event in events:
        if isinstance(event, UserInput) or (
            (reader is None or reader.turn.is_complete) and not isinstance(event, (UnknownEvent, Stop))
        ):
            number += 1
            reader = TurnReader(
                Turn(event.content if isinstance(event, UserInput) else "", session_id=session_id, number=number)
            )
            _join_with_earlier_parts(reader, turns)
            reader.turn.instructions = turns[-1].instructions if turns else None
            folded = unfold(reader.turn.prompt)
            reader.turn.left_out = folded.left_out
            if folded.system is not None:
                reader.turn.instructions = instructions_digest(folded.system)
            turns.append(reader.turn)
        if reader is not None:
            reader.feed(event)
    return turns


def _join_with_earlier_parts(reader: TurnReader, turns: list[Turn]) -> None:
    """Take the turns of earlier parts away if this one is the last part of a long prompt, and count what they took."""
    count = count_parts(reader.turn.prompt)
    earlier = turns[len(turns) - count + 1 :] if 1 < count <= len(turns) + 1 else []
    whole = join_parts([*(turn.prompt for turn in earlier), reader.turn.prompt]) if count else None
    if whole is not None:
        reader.turn.prompt = whole
        reader.usage_before = sum((turn.usage for turn in earlier), Usage())
        del turns[len(turns) - len(earlier) :]


def count_turns(turns: Sequence[Turn]) -> int:
    """Return how many turns the service counts in a history; a prompt told in parts has one for each."""
    return (turns[-1].number or 0) if turns else 0
