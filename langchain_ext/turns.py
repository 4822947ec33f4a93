"""Messages back to the core's turns, for whatever works on turns: views, exports, statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage, message_chunk_to_message
from langchain_core.messages.ai import add_ai_message_chunks

from llama_cloud_chat import (
    Anchor,
    Attachment,
    Event,
    Stop,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Turn,
    UnknownEvent,
    Usage,
)

from ._blocks import Block
from ._messages import anchor_of
from ._metadata import PROVIDER


def as_turns(messages: BaseMessage | Sequence[BaseMessage]) -> list[Turn]:
    """Read a conversation into turns.

    An answer of `ChatLlamaCloud` gives the turn it was made of, its events in order. Answers of other models are read
    as far as they say: their tools' calls, and the messages that hold the results, are part of their turn.

    Args:
        messages: A message, also the sum of a stream's chunks; or a conversation, in which the questions are known,
            too.

    Returns:
        A turn for each run of answers. A turn is complete unless its answer is a part of one.
    """
    turns: list[Turn] = []
    asked: list[str] = []
    answers: list[BaseMessage] = []
    for message in [messages] if isinstance(messages, BaseMessage) else messages:
        if isinstance(message, (AIMessage, ToolMessage)):
            answers.append(message)
            continue
        if answers:
            turns.append(_turn(asked, answers))
            asked, answers = [], []
        if message.type != "system":
            asked.append(str(message.text))
    if asked or answers:
        turns.append(_turn(asked, answers))
    return turns


def _turn(asked: Sequence[str], answers: Sequence[BaseMessage]) -> Turn:
    last = answers[-1] if answers else None
    anchor = Anchor() if last is None else anchor_of(last)
    events = [event for answer in answers for event in _events(answer)]
    if isinstance(last, AIMessage) and not _is_partial(last):
        events.append(_stop(last))
    return Turn.from_events("\n\n".join(asked), events, session_id=anchor.session_id, number=anchor.turn)


def _is_partial(message: AIMessage) -> bool:
    """Whether it is a part of an answer: what comes with the last chunk is not there."""
    if isinstance(message, AIMessageChunk):
        return message.chunk_position != "last"
    metadata = message.response_metadata
    is_ours = metadata.get("model_provider") == PROVIDER
    return is_ours and ("model_name" not in metadata or metadata.get("is_complete") is False)


def _stop(message: AIMessage) -> Stop:
    metadata = message.response_metadata
    usage: Mapping[str, Any] = message.usage_metadata or {}
    figures = {
        "duration_ms": metadata.get("duration_ms"),
        "total_input_tokens": usage.get("input_tokens"),
        "total_output_tokens": usage.get("output_tokens"),
    }
    error = metadata.get("error") if metadata.get("model_provider") == PROVIDER else None
    return Stop(
        is_error=error is not None,
        error=error or None,
        usage=Usage.parse(figures),
        skipped_index_ids=list(metadata.get("skipped_index_ids") or []),
    )


def _events(message: BaseMessage) -> Iterator[Event]:
    if isinstance(message, ToolMessage):
        yield ToolResult(message.tool_call_id, message.name or "", message.content)
        return
    names: dict[str, str] = {}
    said: set[type] = set()
    for block in message.content_blocks:
        event = _event(dict(block), names)
        if isinstance(event, (Text, Thinking)):
            if type(event) in said:
                event.content = event.content.removeprefix("\n\n")
            said.add(type(event))
        yield event


def _event(block: Block, names: dict[str, str]) -> Event:
    kind = block.get("type")
    if kind == "text":
        return Text(str(block.get("text", "")))
    if kind == "reasoning":
        return Thinking(str(block.get("reasoning", "")))
    if kind in {"server_tool_call", "tool_call"}:
        call = ToolCall(str(block.get("id")), str(block.get("name")), block.get("args") or {})
        names[call.call_id] = call.name
        return call
    if kind == "server_tool_result":
        call_id, extras = str(block.get("tool_call_id")), block.get("extras") or {}
        name = extras.get("name") or names.get(call_id, "")
        picture = Attachment.parse(extras.get("image_attachment"))
        return ToolResult(call_id, name, block.get("output"), image_attachment=picture)
    return UnknownEvent(block)


class AnswerReader:
    """Adds up what a model streams, chunks or the events of version v3, into the answer so far.

    Pieces are fed by one thread; another one may look at `turn` meanwhile.
    """

    def __init__(self) -> None:
        self._sum: AIMessageChunk | None = None
        self._chunks: list[AIMessageChunk] = []
        self._blocks: dict[int, Block] = {}
        self._head: dict[str, Any] = {}
        self._tail: dict[str, Any] = {}

    def feed(self, piece: Any) -> None:
        """Take up a chunk or an event.

        Args:
            piece: What the stream gave next.

        Raises:
            TypeError: It is neither.
        """
        if isinstance(piece, AIMessageChunk):
            self._chunks.append(piece)
        elif isinstance(piece, Mapping) and "event" in piece:
            self._feed_event(piece)
        else:
            raise TypeError(
                f"A stream of {type(piece).__name__} does not say what the agent did. Give what stream, astream or "
                "stream_events(version='v3') of the model give, before a parser has turned it into something else."
            )

    def _feed_event(self, event: Mapping[str, Any]) -> None:
        kind, index = event["event"], event.get("index", -1)
        if kind == "message-start":
            self._head = {"id": event.get("id"), **(event.get("metadata") or {})}
        elif kind == "content-block-delta":
            delta = event["delta"]
            name = delta["type"].removesuffix("-delta")
            if name in {"text", "reasoning"}:
                block = self._blocks[index]
                self._blocks[index] = {**block, name: block[name] + delta[name]}
        elif kind in {"content-block-start", "content-block-finish"}:
            self._blocks[index] = dict(event["content"])
        elif kind == "message-finish":
            self._tail = {"usage": event.get("usage"), **(event.get("metadata") or {})}

    @property
    def message(self) -> AIMessage:
        """The answer so far."""
        message = message_chunk_to_message(self._answer())
        assert isinstance(message, AIMessage)
        return message

    @property
    def turn(self) -> Turn:
        """The answer so far, as a turn whose question is not known."""
        (turn,) = as_turns(self._answer())
        return turn

    def _answer(self) -> AIMessage:
        count = len(self._chunks)
        if count:
            first, *rest = [*([] if self._sum is None else [self._sum]), *self._chunks[:count]]
            self._sum = add_ai_message_chunks(first, *rest)
            del self._chunks[:count]
        return self._answer_of_events() if self._sum is None else self._sum

    def _answer_of_events(self) -> AIMessage:
        head, tail = dict(self._head), dict(self._tail)
        identifier, provider, model = head.pop("id", None), head.pop("provider", PROVIDER), head.pop("model", None)
        usage = tail.pop("usage", None)
        metadata = {"model_provider": provider, "model_name": model, **head, **tail, "output_version": "v1"}
        content: list[str | dict[Any, Any]] = [block for _, block in sorted(self._blocks.items())]
        kind = AIMessage if self._tail else AIMessageChunk
        return kind(content=content, id=identifier, response_metadata=metadata, usage_metadata=usage)
