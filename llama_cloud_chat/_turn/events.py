"""The events of a turn: one class for each type of wire message, and `parse_event`, which reads them.

Unknown types and fields are the future, not errors: an unknown event becomes an `UnknownEvent`, and every event
keeps the message it was read from in `.raw`. A message of a known type that lacks what makes it that type is a
`ProtocolError`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass, field
from typing import Any, ClassVar, TypeAlias

from pydantic_core import from_json

from llama_cloud_chat._errors import ProtocolError

from .json import read_json
from .sse import Named


@dataclass(slots=True)
class Attachment:
    """Where a page picture lies; `client.get_attachment` resolves it to a URL.

    Attributes:
        attachment_name: Its name, such as `screenshots/page_7.jpg`.
        source_id: The file it belongs to.
        type: What it is, if the service says so.
    """

    attachment_name: str
    source_id: str
    type: str | None = None

    @classmethod
    def parse(cls, data: Any) -> Attachment | None:
        """Read the coordinates of a page picture.

        Args:
            data: A JSON value, as the service or a message holds it.

        Returns:
            The coordinates, or None if they are not complete.
        """
        if not isinstance(data, dict):
            return None
        name, source_id = data.get("attachment_name"), data.get("source_id")
        if not isinstance(name, str) or not isinstance(source_id, str):
            return None
        return cls(name, source_id, _optional(data.get("type"), str))


@dataclass(slots=True)
class Usage:
    """What a turn took, as far as the service says.

    Attributes:
        duration_ms: Milliseconds from prompt to end.
        total_input_tokens: Tokens the agent read.
        total_output_tokens: Tokens the agent wrote.
        turns: Steps the agent took.
    """

    duration_ms: float | None = None
    total_input_tokens: int | None = None
    total_output_tokens: int | None = None
    turns: int | None = None

    @classmethod
    def parse(cls, data: Any) -> Usage:
        """Read the figures, leaving out what is not a number.

        Args:
            data: A JSON value, as the service or a message holds it.

        Returns:
            The figures that are there.
        """
        if not isinstance(data, dict):
            return cls()
        return cls(
            duration_ms=_optional(data.get("duration_ms"), (int, float)),
            total_input_tokens=_optional(data.get("total_input_tokens"), int),
            total_output_tokens=_optional(data.get("total_output_tokens"), int),
            turns=_optional(data.get("turns"), int),
        )

    def __add__(self, other: Usage) -> Usage:
        """Return what two turns took together; what neither says stays unsaid."""
        return Usage(
            *(
                None if mine is None and theirs is None else (mine or 0) + (theirs or 0)
                for mine, theirs in zip(astuple(self), astuple(other), strict=True)
            )
        )


# `index` is the place of an event's segment, call or result in `Turn.events`: deltas that share it belong together,
# also where the service finishes a segment late. It is -1 until a turn has taken the event up.


@dataclass(slots=True)
class ThinkingDelta:
    """A piece of the agent's thinking.

    Attributes:
        content: The piece. The first one of a later segment begins with the blank line that parts them.
        index: The place of its segment in `Turn.events`.
        raw: The message as it came.
    """

    type: ClassVar[str] = "thinking_delta"
    content: str
    index: int = field(default=-1, compare=False)
    raw: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(slots=True)
class TextDelta:
    """A piece of the answer.

    Attributes:
        content: The piece. The first one of a later segment begins with the blank line that parts them.
        index: The place of its segment in `Turn.events`.
        raw: The message as it came.
    """

    type: ClassVar[str] = "text_delta"
    content: str
    index: int = field(default=-1, compare=False)
    raw: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(slots=True)
class Thinking:
    """A whole segment of thinking; its deltas came before it.

    Attributes:
        content: All of it.
        index: Its place in `Turn.events`.
        raw: The message as it came; empty if the service sent only deltas.
    """

    type: ClassVar[str] = "thinking"
    content: str
    index: int = field(default=-1, compare=False)
    raw: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(slots=True)
class Text:
    """A whole segment of the answer; its deltas came before it.

    Attributes:
        content: All of it.
        index: Its place in `Turn.events`.
        raw: The message as it came; empty if the service sent only deltas.
    """

    type: ClassVar[str] = "text"
    content: str
    index: int = field(default=-1, compare=False)
    raw: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(slots=True)
class ToolCall:
    """The agent calls one of its own tools, on the server. A report, not a request.

    Attributes:
        call_id: What its result will name.
        name: The tool.
        arguments: What it is called with.
        index: Its place in `Turn.events`.
        raw: The message as it came.
    """

    type: ClassVar[str] = "tool_call"
    call_id: str
    name: str
    arguments: dict[str, Any]
    index: int = field(default=-1, compare=False)
    raw: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(slots=True)
class ToolResult:
    """What a tool gave back, on the server.

    Attributes:
        call_id: The call it answers.
        name: The tool.
        result: Any JSON value, as the service sent it; sometimes JSON inside a string.
        image_attachment: The page picture it names, if any.
        index: Its place in `Turn.events`.
        raw: The message as it came.
    """

    type: ClassVar[str] = "tool_result"
    call_id: str
    name: str
    result: Any
    image_attachment: Attachment | None = None
    index: int = field(default=-1, compare=False)
    raw: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(slots=True)
class Stop:
    """The end of the turn.

    Attributes:
        is_error: Whether the agent failed.
        error: Its reason.
        usage: What the turn took.
        skipped_index_ids: Indexes that could not be queried.
        index: Its place in `Turn.events`.
        raw: The message as it came.
    """

    type: ClassVar[str] = "stop"
    is_error: bool = False
    error: str | None = None
    usage: Usage = field(default_factory=Usage)
    skipped_index_ids: list[str] = field(default_factory=list)
    index: int = field(default=-1, compare=False)
    raw: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(slots=True)
class UserInput:
    """A prompt: it opens each turn of a history, and some services repeat it in the stream.

    Attributes:
        content: The prompt.
        raw: The message as it came.
    """

    type: ClassVar[str] = "user_input"
    content: str
    raw: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(slots=True)
class UnknownEvent:
    """Something this version does not know.

    Attributes:
        raw: Its data: parsed JSON, or text where the message was not JSON.
        index: Its place in `Turn.events`.
        name: What the stream calls the message; empty where it came from elsewhere.
    """

    type: ClassVar[str] = "unknown"
    raw: Any
    index: int = field(default=-1, compare=False)
    name: str = field(default="", compare=False)

    @property
    def is_error(self) -> bool:
        """Whether the service says that something went wrong."""
        return self.name == "error" or (isinstance(self.raw, dict) and self.raw.get("type") == "error")


Event: TypeAlias = ThinkingDelta | TextDelta | Thinking | Text | ToolCall | ToolResult | Stop | UserInput | UnknownEvent
"""Any event of a turn."""


# The names the service gives its messages; the type is in the data.
_KNOWN_NAMES = frozenset({b"message", b"delta"})


def read_message(data: bytes) -> Event | None:
    """Read one message of an event stream.

    Args:
        data: Its data; a `Named` unless it is a delta.

    Returns:
        Its event; None for a message of white space, which some servers keep a connection alive with.

    Raises:
        ProtocolError: It is malformed, and its name says that it should not be.
    """
    try:  # the hot path: nearly every message is a delta of text
        value = from_json(data)
        if value["type"] == "text_delta" and type(content := value["content"]) is str:
            return TextDelta(content, -1, value)
    except (ValueError, LookupError, TypeError):
        return _named(_read_odd_message(data), data)
    return _named(parse_event(value), data)


def _named(event: Event | None, data: bytes) -> Event | None:
    if type(event) is UnknownEvent and isinstance(data, Named):
        event.name = data.name.decode("utf-8", "replace")
    return event


def _read_odd_message(data: bytes) -> Event | None:
    try:
        return parse_event(read_json(data))
    except ValueError as error:
        if not data.strip():
            return None
        if not isinstance(data, Named) or data.name in _KNOWN_NAMES:
            raise ProtocolError(f"The service sent an event that is not JSON: {error}.") from None
        return UnknownEvent(data.decode("utf-8", "replace"))


def parse_event(data: Any) -> Event:
    """Read one wire message.

    Args:
        data: The JSON value of the message.

    Raises:
        ProtocolError: It is of a known type but lacks one of the type's required fields.
    """
    if type(data) is not dict:
        return UnknownEvent(data)
    kind = data.get("type")
    if kind is None:
        kind = _infer_type(data)
    parser = _PARSERS.get(kind) if isinstance(kind, str) else None
    if parser is None:
        return UnknownEvent(data)
    return parser(data)


def _infer_type(data: dict[str, Any]) -> str | None:
    """The reference makes `type` optional: name it where the fields allow only one reading."""
    if "call_id" in data and "name" in data:
        if "arguments" in data and "result" not in data:
            return "tool_call"
        if "result" in data and "arguments" not in data:
            return "tool_result"
    elif "is_error" in data and "content" not in data:
        return "stop"
    return None


def _require(data: dict[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    value = data.get(name)
    if not isinstance(value, kind):
        problem = "lacks" if name not in data else "has a malformed"
        raise ProtocolError(
            f"The service sent a {data.get('type') or 'nameless'!r} event that {problem} {name!r}. "
            "Is this address really the LlamaCloud Chat API?"
        )
    return value


def _optional(value: Any, kind: type | tuple[type, ...]) -> Any:
    return value if isinstance(value, kind) and not isinstance(value, bool) else None


def _text_delta(data: dict[str, Any]) -> TextDelta:
    return TextDelta(_require(data, "content", str), -1, data)


def _thinking_delta(data: dict[str, Any]) -> ThinkingDelta:
    return ThinkingDelta(_require(data, "content", str), -1, data)


def _text(data: dict[str, Any]) -> Text:
    return Text(_require(data, "content", str), -1, data)


def _thinking(data: dict[str, Any]) -> Thinking:
    return Thinking(_require(data, "content", str), -1, data)


def _user_input(data: dict[str, Any]) -> UserInput:
    return UserInput(_require(data, "content", str), data)


def _tool_call(data: dict[str, Any]) -> ToolCall:
    return ToolCall(
        call_id=_require(data, "call_id", str),
        name=_require(data, "name", str),
        arguments=_require(data, "arguments", dict),
        raw=data,
    )


def _tool_result(data: dict[str, Any]) -> ToolResult:
    # `result` may be null, and a serialiser that leaves nulls out may drop it.
    return ToolResult(
        call_id=_require(data, "call_id", str),
        name=_require(data, "name", str),
        result=data.get("result"),
        image_attachment=Attachment.parse(data.get("image_attachment")),
        raw=data,
    )


def _stop(data: dict[str, Any]) -> Stop:
    # A turn that is over is over: a missing or odd `usage` costs the figures, not the answer.
    skipped = data.get("skipped_index_ids")
    return Stop(
        is_error=_require(data, "is_error", bool),
        error=_optional(data.get("error"), str),
        usage=Usage.parse(data.get("usage")),
        skipped_index_ids=[item for item in skipped if isinstance(item, str)] if isinstance(skipped, list) else [],
        raw=data,
    )


_PARSERS: dict[str, Callable[[dict[str, Any]], Event]] = {
    "text_delta": _text_delta,
    "thinking_delta": _thinking_delta,
    "text": _text,
    "thinking": _thinking,
    "user_input": _user_input,
    "tool_call": _tool_call,
    "tool_result": _tool_result,
    "stop": _stop,
}
