"""What an answer says of itself beside its content: who made it, where it stands, what it rests on, what it took."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any
from uuid import uuid4

from langchain_core.messages.ai import UsageMetadata

from llama_cloud_chat import Source, ToolCall, ToolResult, ToolRun, Turn, Usage

PROVIDER = "llama_cloud"
MODEL_NAME = "llama-cloud-chat"


def new_message_id() -> str:
    """Return the id of an answer that is given now.

    It rests on nothing that two answers could share. While a turn runs, its number is what one process believes, and
    LangGraph replaces a message by another one with its id: a wrong number would lose an answer.
    """
    return f"{PROVIDER}-{uuid4()}"


def history_message_id(turn: Turn) -> str:
    """Return the id of an answer that a history tells: the same however often it is read."""
    return f"{PROVIDER}-{turn.session_id}-{turn.number}"


def opening_metadata(turn: Turn) -> dict[str, Any]:
    """Return what an answer's first chunk says: where it stands, so that even a part of it can be continued."""
    metadata = {"model_provider": PROVIDER, "session_id": turn.session_id, "turn": turn.number}
    if turn.instructions is not None:
        metadata["instructions"] = turn.instructions
    if turn.left_out:
        metadata["left_out"] = turn.left_out
    return metadata


def closing_metadata(turn: Turn) -> dict[str, Any]:
    """Return what is known only at the end. Each key is on one chunk alone, for adding chunks up joins strings."""
    return {
        "model_provider": PROVIDER,
        "model_name": MODEL_NAME,
        "duration_ms": turn.usage.duration_ms,
        "skipped_index_ids": list(turn.skipped_index_ids),
        "sources": source_dicts(sources_in(turn)),
        **_failing(turn),
    }


def _failing(turn: Turn) -> dict[str, Any]:
    """Return what a history says of a turn that came to no good end."""
    if turn.is_error:
        return {"error": turn.error or ""}
    return {} if turn.is_complete else {"is_complete": False}


def sources_in(turn: Turn) -> list[Source]:
    """Return what a turn's tools retrieved, in the order in which their results came, as a stream tells them."""
    arguments: dict[str, dict[str, Any]] = {}
    sources: list[Source] = []
    for event in turn.events:
        if isinstance(event, ToolCall):
            arguments[event.call_id] = event.arguments
        elif isinstance(event, ToolResult):
            told = arguments.get(event.call_id, {})
            sources += ToolRun(event.call_id, event.name, told, result=event.result).sources
    return sources


def source_dicts(sources: Iterable[Source]) -> list[dict[str, Any]]:
    """Return sources as plain dicts, which checkpoints and traces can hold."""
    return [asdict(source) for source in sources]


def usage_metadata(usage: Usage) -> UsageMetadata | None:
    """Return a turn's token counts; None if the service gave none."""
    read, written = usage.total_input_tokens, usage.total_output_tokens
    if read is None and written is None:
        return None
    return UsageMetadata(input_tokens=read or 0, output_tokens=written or 0, total_tokens=(read or 0) + (written or 0))
