"""Sources: what the agent's retrieval tools brought back, in one shape.

The service's tools answer in the shapes of its retrieval API (retrieve, find, grep, read). Whatever has another
shape is no source and stays reachable as the tool's raw result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .events import Attachment
from .json import read_json


@dataclass(slots=True)
class Source:
    """A passage or a file that the agent retrieved.

    Attributes:
        text: The passage; empty for a file that was only found.
        score: The retrieval's score.
        rerank_score: The reranker's score.
        file_id: The file's id.
        file_name: The file's name.
        page_start: The first page, counted from 1.
        page_end: The last page.
        start_char: Where the passage begins in the file's text, in characters.
        end_char: Where it ends.
        metadata: The file's metadata, as the service keeps it.
        attachments: Its page pictures.
        tool_call_id: The call that retrieved it.
    """

    text: str
    score: float | None = None
    rerank_score: float | None = None
    file_id: str | None = None
    file_name: str | None = None
    page_start: int | None = None
    page_end: int | None = None
    start_char: int | None = None
    end_char: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    attachments: list[Attachment] = field(default_factory=list)
    tool_call_id: str | None = None


def read_sources(call_id: str, arguments: dict[str, Any], result: Any) -> list[Source]:
    """Read the sources out of one tool's result.

    Args:
        call_id: The call they answer.
        arguments: What the tool was called with: for a tool that works on one file, which file that is.
        result: Any JSON value, or JSON inside a string.
    """
    result = _unwrap(result)
    if not isinstance(result, dict):
        return []
    sources = list(_read_items(result))
    for source in sources:
        source.tool_call_id = call_id
        source.file_id = source.file_id or _text(arguments.get("file_id"))
        source.file_name = source.file_name or _text(arguments.get("file_name"))
    return sources


def _unwrap(result: Any) -> Any:
    if isinstance(result, str) and result.lstrip().startswith("{"):
        try:
            return read_json(result.encode("utf-8", "replace"))
        except ValueError:
            return None
    return result


def _read_items(result: dict[str, Any]) -> Iterator[Source]:
    passages, files = result.get("results"), result.get("items")
    if isinstance(passages, list):
        yield from (_passage(item) for item in passages if _is_passage(item))
    elif isinstance(files, list):
        for item in files:
            if _is_passage(item):
                yield _excerpt(item)
            elif isinstance(item, dict) and (_text(item.get("file_id")) or _text(item.get("file_name"))):
                yield Source("", file_id=_text(item.get("file_id")), file_name=_text(item.get("file_name")))
    elif _is_passage(result):
        yield _excerpt(result)


def _is_passage(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("content"), str)


def _passage(item: dict[str, Any]) -> Source:
    metadata = _mapping(item.get("metadata"))
    static = _mapping(item.get("static_fields"))
    attachments = static.get("attachments")
    parsed = [Attachment.parse(one) for one in attachments] if isinstance(attachments, list) else []
    return Source(
        text=item["content"],
        score=_number(item.get("score")),
        rerank_score=_number(item.get("rerank_score")),
        file_id=_text(static.get("parsed_directory_file_id")) or _text(metadata.get("file_id")),
        file_name=_text(metadata.get("file_name")),
        page_start=_integer(static.get("page_range_start")),
        page_end=_integer(static.get("page_range_end")),
        start_char=_integer(static.get("chunk_start_char")),
        end_char=_integer(static.get("chunk_end_char")),
        metadata=metadata,
        attachments=[one for one in parsed if one is not None],
    )


def _excerpt(item: dict[str, Any]) -> Source:
    return Source(
        text=item["content"],
        file_id=_text(item.get("file_id")),
        file_name=_text(item.get("file_name")),
        start_char=_integer(item.get("start_char")),
        end_char=_integer(item.get("end_char")),
    )


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
