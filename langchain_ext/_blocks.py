"""A turn as LangChain shows it: content blocks, metadata, and the message that holds them.

An answer's `content` is its text, one string, unless `output_version="v1"` asks for blocks. The other blocks then
lie in `additional_kwargs`, each text block among them as a marker that says where in the string it starts;
`content_blocks` puts both together again. Numbers in `index` make pieces of one block find each other when chunks
are added up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata

from llama_cloud_chat import Attachment, Source, Text, Thinking, ToolCall, ToolResult, ToolRun, Turn, Usage

PROVIDER = "llama_cloud"
MODEL_NAME = "llama-cloud-chat"
BLOCKS_KEY = "llama_cloud_blocks"

Block: TypeAlias = dict[str, Any]


def text_block(text: str, index: int) -> Block:
    """Return a text block, or a piece of one."""
    return {"type": "text", "text": text, "index": index}


def reasoning_block(reasoning: str, index: int) -> Block:
    """Return a reasoning block, or a piece of one."""
    return {"type": "reasoning", "reasoning": reasoning, "index": index}


def call_block(call: ToolCall, index: int) -> Block:
    """Return the block that reports a call of one of the agent's tools."""
    return {"type": "server_tool_call", "id": call.call_id, "name": call.name, "args": call.arguments, "index": index}


def result_block(result: ToolResult, index: int) -> Block:
    """Return the block that reports a tool's result; the pictures it names are in `extras`."""
    return {
        "type": "server_tool_result",
        "tool_call_id": result.call_id,
        "status": "success",
        "output": result.result,
        "extras": _extras(result),
        "index": index,
    }


def _extras(result: ToolResult) -> dict[str, Any]:
    extras: dict[str, Any] = {"name": result.name}
    if result.image_attachment is not None:
        extras["image_attachment"] = _coordinates(result.image_attachment)
    run = ToolRun(result.call_id, result.name, result=result.result)
    attachments = [_coordinates(attachment) for source in run.sources for attachment in source.attachments]
    if attachments:
        extras["attachments"] = attachments
    return extras


def _coordinates(attachment: Attachment) -> dict[str, str]:
    return {name: value for name, value in asdict(attachment).items() if value is not None}


def blocks_of(turn: Turn, stop: Sequence[str] | None = None) -> Iterator[Block]:
    """Yield the blocks of a turn, in event order, up to the first of the `stop` sequences."""
    said: set[type] = set()
    index = 0
    for event in turn.events:
        if isinstance(event, (Text, Thinking)):
            if not event.content:
                continue
            content = "\n\n" + event.content if type(event) in said else event.content
            said.add(type(event))
            if isinstance(event, Thinking):
                yield reasoning_block(content, index)
            else:
                end = find_stop(content, stop or ())
                if end is not None:
                    if end > 0:
                        yield text_block(content[:end], index)
                    return
                yield text_block(content, index)
        elif isinstance(event, ToolCall):
            yield call_block(event, index)
        elif isinstance(event, ToolResult):
            yield result_block(event, index)
        else:
            continue
        index += 1


def find_stop(text: str, stop: Sequence[str]) -> int | None:
    """Return where the first of the `stop` sequences begins; None if there is none of them."""
    places = [place for sequence in stop if sequence and (place := text.find(sequence)) >= 0]
    return min(places, default=None)


def message_of(turn: Turn, *, stop: Sequence[str] | None = None, output_version: str | None = None) -> AIMessage:
    """Return a turn's answer as a message."""
    metadata = {**opening_metadata(turn), **closing_metadata(turn)}
    blocks = list(blocks_of(turn, stop))
    usage = usage_metadata(turn.usage)
    if output_version == "v1":
        metadata["output_version"] = "v1"
        content: list[str | dict[Any, Any]] = [*blocks]
        return AIMessage(content, id=message_id(turn), response_metadata=metadata, usage_metadata=usage)
    text, kept = _fold(blocks)
    return AIMessage(
        text,
        id=message_id(turn),
        additional_kwargs={BLOCKS_KEY: kept} if kept else {},
        response_metadata=metadata,
        usage_metadata=usage,
    )


def message_id(turn: Turn) -> str:
    """Return the id of a turn's answer: the same whichever way, and however often, it is read."""
    return f"{PROVIDER}-{turn.session_id}-{turn.number}"


def opening_metadata(turn: Turn) -> dict[str, Any]:
    """Return what an answer's first chunk says: where it stands, so that even a part of it can be continued."""
    return {"model_provider": PROVIDER, "session_id": turn.session_id, "turn": turn.number}


def closing_metadata(turn: Turn) -> dict[str, Any]:
    """Return what is known only at the end. Each key is on one chunk alone, for adding chunks up joins strings."""
    return {
        "model_provider": PROVIDER,
        "model_name": MODEL_NAME,
        "duration_ms": turn.usage.duration_ms,
        "skipped_index_ids": list(turn.skipped_index_ids),
        "sources": source_dicts(turn.sources),
        **_failing(turn),
    }


def _failing(turn: Turn) -> dict[str, Any]:
    """Return what a history says of a turn that came to no good end."""
    if turn.is_error:
        return {"error": turn.error or ""}
    return {} if turn.is_complete else {"is_complete": False}


def source_dicts(sources: Iterable[Source]) -> list[dict[str, Any]]:
    """Return sources as plain dicts, which checkpoints and traces can hold."""
    return [asdict(source) for source in sources]


def usage_metadata(usage: Usage) -> UsageMetadata | None:
    """Return a turn's token counts; None if the service gave none."""
    read, written = usage.total_input_tokens, usage.total_output_tokens
    if read is None and written is None:
        return None
    return UsageMetadata(input_tokens=read or 0, output_tokens=written or 0, total_tokens=(read or 0) + (written or 0))


def text_marker(index: int, start: int) -> Block:
    """Return what stands for a text block whose text is in `content`, from character `start` on."""
    return {"type": "text", "index": index, "start": start}


def _fold(blocks: Sequence[Block]) -> tuple[str, list[Block]]:
    texts: list[str] = []
    kept: list[Block] = []
    length = 0
    for block in blocks:
        if block["type"] == "text":
            kept.append(text_marker(block["index"], length))
            texts.append(block["text"])
            length += len(block["text"])
        else:
            kept.append(block)
    return "".join(texts), kept


def unfold(message: AIMessage) -> list[Any]:
    """Return the content blocks of one of our messages, of a chunk, or of a sum of chunks."""
    content = message.content
    if isinstance(content, list):
        return [{"type": "text", "text": item} if isinstance(item, str) else item for item in content]
    kept: list[Block] = message.additional_kwargs.get(BLOCKS_KEY) or []
    starts = [block["start"] for block in kept if block["type"] == "text"]
    if not starts:
        return [*kept, {"type": "text", "text": content}] if content else [*kept]
    # A chunk from the middle holds the text from its first marker on. What is left over belongs to the last block.
    ends = iter([*(start - starts[0] for start in starts[1:]), len(content)])
    blocks: list[Block] = []
    position = 0
    for block in kept:
        if block["type"] != "text":
            blocks.append(block)
            continue
        end = next(ends)
        blocks.append(text_block(content[position:end], block["index"]))
        position = end
    return blocks
