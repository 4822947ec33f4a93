"""From the core's turns and events to what LangChain gives: whole messages, chunks, or protocol events. Pure.

    turn   -> blocks_of   -> content blocks           -> message_of     -> messages of `invoke` and of histories
    events -> BlockReader -> pieces of content blocks -> ChunkWriter    -> chunks of `stream` and `astream`
                                                      -> ProtocolWriter -> events of `stream_events(version="v3")`

Both writers have the same three methods: `feed` an event; `flush` what a stop sequence may have held back when the
stream breaks off; `finish`, once everything is over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from pydantic import BaseModel

from llama_cloud_chat import Event, Text, Thinking, Turn

from ._blocks import BLOCKS_KEY, LENGTH_KEY, Block, block_reader, blocks_of, fold, text_marker, without_passages
from ._metadata import (
    MODEL_NAME,
    PROVIDER,
    closing_metadata,
    new_message_id,
    opening_metadata,
    source_dicts,
    usage_metadata,
)

M = TypeVar("M", bound=BaseModel)


def message_of(
    turn: Turn, *, stop: Sequence[str] | None = None, output_version: str | None = None, message_id: str | None = None
) -> AIMessage:
    """Return a turn's answer as a message, under a new id if none is given."""
    message_id = message_id or new_message_id()
    metadata = {**opening_metadata(turn), **closing_metadata(turn)}
    blocks = blocks_of(turn, stop)
    usage = usage_metadata(turn.usage)
    if output_version == "v1":
        metadata["output_version"] = "v1"
        content: list[str | dict[Any, Any]] = [*blocks]
        return AIMessage(content, id=message_id, response_metadata=metadata, usage_metadata=usage)
    text, kept = fold([without_passages(block) for block in blocks])
    return AIMessage(
        text,
        id=message_id,
        additional_kwargs={BLOCKS_KEY: kept, **_length_of(len(text))} if kept else {},
        response_metadata=metadata,
        usage_metadata=usage,
    )


def _length_of(length: int) -> dict[str, Any]:
    return {LENGTH_KEY: length} if length else {}


class ChunkWriter:
    """Writes a turn as chunks that add up to the message `invoke` returns.

    Args:
        turn: The turn that the events belong to; it grows with them.
        stop: Sequences that end the text.
        output_version: `v1` for chunks that hold blocks; else they hold text, and the blocks beside it.
    """

    def __init__(self, turn: Turn, stop: Sequence[str] | None, output_version: str | None) -> None:
        self._turn = turn
        self._reader = block_reader(stop)
        self._is_v1 = output_version == "v1"
        self._id = new_message_id()
        self._template: ChatGenerationChunk | None = None
        self._says_whose = False
        self._length = 0
        self._text_index = -1
        self._told_sources = 0

    def feed(self, event: Event) -> Iterator[ChatGenerationChunk]:
        """Yield the chunks that an event adds."""
        return map(self._chunk, self._reader.feed(event))

    def flush(self) -> Iterator[ChatGenerationChunk]:
        """Yield what was held back."""
        return map(self._chunk, self._reader.flush())

    def finish(self) -> Iterator[ChatGenerationChunk]:
        """Yield the last chunk, with what is known only now."""
        metadata = closing_metadata(self._turn)
        del metadata["sources"][: self._told_sources]
        if self._is_v1:
            metadata["output_version"] = "v1"
        if not self._says_whose:
            metadata.update(opening_metadata(self._turn))
        message = AIMessageChunk(
            content=[] if self._is_v1 else "",
            additional_kwargs={} if self._is_v1 else _length_of(self._length),
            id=self._id,
            response_metadata=metadata,
            usage_metadata=usage_metadata(self._turn.usage),
            chunk_position="last",
        )
        yield ChatGenerationChunk(message=message)

    @staticmethod
    def token(chunk: ChatGenerationChunk) -> ChatGenerationChunk | None:
        """Return what callbacks are told of a chunk."""
        return chunk

    def _chunk(self, block: Block) -> ChatGenerationChunk:
        if self._is_v1:
            return self._with_metadata({"output_version": "v1", **self._sources_of(block)}, content=[block])
        if block["type"] != "text":
            metadata = {"model_provider": PROVIDER, **self._sources_of(block)}
            return self._with_metadata(metadata, content="", additional_kwargs={BLOCKS_KEY: [without_passages(block)]})
        text: str = block["text"]
        start, self._length = self._length, self._length + len(text)
        if block["index"] == self._text_index and self._template is not None:  # the hot path
            return _like(self._template, text)
        self._text_index = block["index"]
        marker = text_marker(block["index"], start)
        return self._with_metadata({"model_provider": PROVIDER}, content=text, additional_kwargs={BLOCKS_KEY: [marker]})

    def _sources_of(self, block: Block) -> dict[str, Any]:
        """Return what a chunk's metadata says of sources: those of the result in it. Added up, they are a list."""
        if block["type"] != "server_tool_result":
            return {}
        sources = source_dicts(self._turn.run_of(block["tool_call_id"]).sources)
        self._told_sources += len(sources)
        return {"sources": sources} if sources else {}

    def _with_metadata(self, metadata: dict[str, Any], **fields: Any) -> ChatGenerationChunk:
        if self._template is None:
            self._template = ChatGenerationChunk(message=AIMessageChunk(content="", id=self._id))
            if self._turn.number is not None:  # else which answer it will be is known only at the end
                self._says_whose = True
                metadata.update(opening_metadata(self._turn))
        return ChatGenerationChunk(message=AIMessageChunk(id=self._id, response_metadata=metadata, **fields))


def _like(template: ChatGenerationChunk, text: str) -> ChatGenerationChunk:
    """Return an empty chunk's copy with a text. Validating the same fields again would take twice the time."""
    message = _copy(
        template.message,
        content=text,
        additional_kwargs={},
        response_metadata={},
        tool_calls=[],
        invalid_tool_calls=[],
        tool_call_chunks=[],
    )
    return _copy(template, message=message, text=text)


def _copy(model: M, **changed: Any) -> M:
    """Copy a pydantic model without extra or private values as its own `__copy__` does, in half the time."""
    copied = object.__new__(type(model))
    object.__setattr__(copied, "__dict__", {**model.__dict__, **changed})
    object.__setattr__(copied, "__pydantic_fields_set__", set(model.__pydantic_fields_set__))
    object.__setattr__(copied, "__pydantic_extra__", None)
    object.__setattr__(copied, "__pydantic_private__", None)
    return copied


class ProtocolWriter:
    """Writes a turn as content-block events (`stream_events`, version v3).

    A tool's call and result are finished the moment they happen. Text and reasoning are finished when the service
    says the whole of them, which may be late; other blocks may come between.

    Args:
        turn: The turn that the events belong to; it grows with them.
        stop: Sequences that end the text.
    """

    def __init__(self, turn: Turn, stop: Sequence[str] | None) -> None:
        self._turn = turn
        self._id = new_message_id()
        self._reader = block_reader(stop)
        self._is_started = False
        self._wire_indexes = 0
        self._open: dict[int, _OpenBlock] = {}

    def feed(self, event: Event) -> Iterator[dict[str, Any]]:
        """Yield the protocol events that an event adds."""
        yield from self._write(self._reader.feed(event))
        if isinstance(event, (Text, Thinking)):
            yield from self._close(self._reader.number(event.index))

    def flush(self) -> Iterator[dict[str, Any]]:
        """Yield what was held back."""
        return self._write(self._reader.flush())

    def finish(self) -> Iterator[dict[str, Any]]:
        """Yield what ends the message."""
        yield from self._begin()
        for number in list(self._open):
            yield from self._close(number)
        finish: dict[str, Any] = {
            "event": "message-finish",
            "metadata": {**opening_metadata(self._turn), **closing_metadata(self._turn)},
        }
        usage = usage_metadata(self._turn.usage)
        if usage is not None:
            finish["usage"] = usage
        yield finish

    def token(self, event: dict[str, Any]) -> ChatGenerationChunk | None:
        """Return what callbacks that know only tokens are told of an event."""
        delta = event.get("delta")
        if delta is None or delta["type"] != "text-delta":
            return None
        return ChatGenerationChunk(message=AIMessageChunk(content=delta["text"], id=self._id))

    def _write(self, blocks: Sequence[Block]) -> Iterator[dict[str, Any]]:
        for block in blocks:
            yield from self._begin()
            kind = block["type"]
            if kind in {"text", "reasoning"}:
                yield from self._extend(block["index"], kind, block[kind])
            else:
                wire_index = self._next_index()
                skeleton = {name: value for name, value in block.items() if name not in {"args", "output", "index"}}
                if kind == "server_tool_call":
                    skeleton["args"] = {}
                yield _event("content-block-start", wire_index, content=skeleton)
                yield _event("content-block-finish", wire_index, content={**block, "index": wire_index})

    def _begin(self) -> Iterator[dict[str, Any]]:
        if not self._is_started:
            self._is_started = True
            metadata = {**opening_metadata(self._turn), "provider": PROVIDER, "model": MODEL_NAME}
            del metadata["model_provider"]
            yield {"event": "message-start", "role": "ai", "id": self._id, "metadata": metadata}

    def _extend(self, number: int, kind: str, piece: str) -> Iterator[dict[str, Any]]:
        if number not in self._open:
            yield from self._start(number, kind)
        block = self._open[number]
        block.pieces.append(piece)
        yield _event("content-block-delta", block.wire_index, delta={"type": f"{kind}-delta", kind: piece})

    def _start(self, number: int, kind: str) -> Iterator[dict[str, Any]]:
        block = self._open[number] = _OpenBlock(self._next_index(), kind)
        yield _event("content-block-start", block.wire_index, content={"type": kind, kind: ""})

    def _close(self, number: int) -> Iterator[dict[str, Any]]:
        block = self._open.pop(number, None)
        if block is not None:
            content = {"type": block.kind, block.kind: "".join(block.pieces), "index": block.wire_index}
            yield _event("content-block-finish", block.wire_index, content=content)

    def _next_index(self) -> int:
        self._wire_indexes += 1
        return self._wire_indexes - 1


class _OpenBlock:
    __slots__ = ("kind", "pieces", "wire_index")

    def __init__(self, wire_index: int, kind: str) -> None:
        self.wire_index = wire_index
        self.kind = kind
        self.pieces: list[str] = []


def _event(name: str, index: int, **payload: Any) -> dict[str, Any]:
    return {"event": name, "index": index, **payload}
