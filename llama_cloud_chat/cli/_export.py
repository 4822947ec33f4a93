"""`llama-cloud-chat export`: a session as a file of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llama_cloud_chat import ConfigurationError, SessionDetail, ToolRun, Turn
from llama_cloud_chat.notebook import to_html, to_markdown

from ._connection import Connection, connect
from ._safe import json_text, print_document


def run_export(connection: Connection, session_id: str, format_: str, output: Path | None, *, force: bool) -> None:
    """Write a session to `output`, or to stdout.

    Raises:
        ChatError: The session cannot be read, or the file not be written.
    """
    with connect(connection.without_documents()) as service:
        detail = service.client.retrieve(session_id)
    text = _WRITERS[format_](detail)
    if output is not None:
        _write(output, text, force=force)
    else:
        print_document(text)


def as_json(detail: SessionDetail) -> dict[str, Any]:
    """Return a session with its turns as plain values."""
    summary = detail.model_dump(mode="json", exclude={"messages"})
    return {**summary, "turns": [turn_as_json(turn) for turn in detail.turns]}


def turn_as_json(turn: Turn) -> dict[str, Any]:
    """Return a turn as plain values."""
    return {
        "number": turn.number,
        "prompt": turn.prompt,
        "text": turn.text,
        "thinking": turn.thinking,
        "tool_calls": [_run_as_json(run) for run in turn.tool_calls],
        "sources": [asdict(source) for source in turn.sources],
        "usage": asdict(turn.usage),
        "skipped_index_ids": turn.skipped_index_ids,
        "is_complete": turn.is_complete,
        "is_error": turn.is_error,
        "error": turn.error,
    }


def _run_as_json(run: ToolRun) -> dict[str, Any]:
    return {
        "call_id": run.call_id,
        "name": run.name,
        "arguments": run.arguments,
        "has_result": run.has_result,
        "result": run.result,
        "image_attachment": None if run.image_attachment is None else asdict(run.image_attachment),
    }


_WRITERS: dict[str, Callable[[SessionDetail], str]] = {
    "md": lambda detail: to_markdown(detail, shortened=False),
    "html": lambda detail: to_html(detail, standalone=True, shortened=False),
    "json": lambda detail: json_text(as_json(detail)) + "\n",
}


def _write(output: Path, text: str, *, force: bool) -> None:
    try:
        with output.open("w" if force else "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigurationError(f"{output} exists already; add --force to replace it.") from None
    except OSError as error:
        raise ConfigurationError(f"{output} cannot be written ({error.strerror}); choose another file.") from None
