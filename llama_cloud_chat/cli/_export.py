"""`llama-cloud-chat export`: a session as a file of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llama_cloud_chat import ConfigurationError, SessionDetail, Source, ToolRun, Turn

from ._connection import Connection, connect
from ._safe import clean, clean_line, json_text, print_json


def run_export(connection: Connection, session_id: str, format_: str, output: Path | None, *, force: bool) -> None:
    """Write a session to `output`, or to stdout.

    Raises:
        ChatError: The session cannot be read, or the file not be written.
    """
    with connect(connection.without_documents()) as service:
        detail = service.client.retrieve(session_id)
    if output is not None:
        text = json_text(as_json(detail)) + "\n" if format_ == "json" else as_markdown(detail)
        _write(output, text, force=force)
    elif format_ == "json":
        print_json(as_json(detail))
    else:
        print(as_markdown(detail), end="")


def as_json(detail: SessionDetail) -> dict[str, Any]:
    """Return a session with its turns as plain values."""
    summary = detail.model_dump(mode="json", exclude={"messages"})
    return {**summary, "turns": [_turn_as_json(turn) for turn in detail.turns]}


def _turn_as_json(turn: Turn) -> dict[str, Any]:
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


def as_markdown(detail: SessionDetail) -> str:
    """Return a session as a Markdown document: prompts quoted, answers as they are, their sources listed."""
    title = clean_line(detail.generated_title or f"Session {detail.session_id}")
    parts = [f"# {title}", f"Session `{detail.session_id}`, last updated {clean_line(detail.last_updated_at)}."]
    for turn in detail.turns:
        parts += _turn_as_markdown(turn)
    return clean("\n\n".join(parts)) + "\n"


def _turn_as_markdown(turn: Turn) -> Iterator[str]:
    yield f"## Turn {turn.number}"
    if turn.prompt.strip():
        yield "\n".join(f"> {line}".rstrip() for line in turn.prompt.splitlines())
    if turn.text:
        yield turn.text
    if turn.is_error:
        yield f"*The agent failed: {clean_line(turn.error or 'it gave no reason')}*"
    elif not turn.is_complete:
        yield "*This turn is not finished.*"
    if turn.sources:
        lines = dict.fromkeys(_source_as_markdown(source) for source in turn.sources)
        yield "\n".join(["Sources:", "", *lines])


def _source_as_markdown(source: Source) -> str:
    name = clean_line(source.file_name or source.file_id or "unknown").replace("`", "'")
    if source.page_start is None:
        return f"- `{name}`"
    is_one = source.page_end in {None, source.page_start}
    return f"- `{name}`, " + (f"page {source.page_start}" if is_one else f"pages {source.page_start}-{source.page_end}")


def _write(output: Path, text: str, *, force: bool) -> None:
    try:
        with output.open("w" if force else "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigurationError(f"{output} exists already; add --force to replace it.") from None
    except OSError as error:
        raise ConfigurationError(f"{output} cannot be written ({error.strerror}); choose another file.") from None
