"""The four tools an agent looks things up with, in the shapes of LlamaCloud's retrieval API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

from .grep import RefusedPatternError, find_pattern
from .index import File, Index
from .passages import page_at, tokens_in
from .pictures import picture_name
from .search import Hit, search

MAX_RESULTS = 100
MAX_FILES = 1000
# What a model is given of a file at once; a session keeps all that its tools answered.
READ_CHARS = 8000
_WORKERS = 4


class Library:
    """All indexes of a service. Safe to use from any thread."""

    def __init__(self, index: Index, index_ids: Sequence[str]) -> None:
        self._index = index
        self.index_ids = list(index_ids)

    def tools(self, index_ids: Sequence[str]) -> Tools:
        """Return the tools, seeing only the given indexes."""
        return Tools(self._index, index_ids)

    def file(self, file_id: str) -> File | None:
        """Return a file of any index; None if there is none of this id."""
        return self._index.file(file_id, self.index_ids)


@dataclass(frozen=True)
class ToolUse:
    """One use of a tool.

    Attributes:
        name: The tool's name.
        arguments: What it was called with.
        result: What it answered, plain JSON; `{"error": ...}` if it could not.
        image_attachment: Where the picture of the page it speaks of is, if there is one.
    """

    name: str
    arguments: dict[str, Any]
    result: dict[str, Any]
    image_attachment: dict[str, str] | None = None

    def report(self, call_id: str) -> dict[str, Any]:
        """Return the `tool_result` that tells of it.

        Args:
            call_id: The call it answers.
        """
        event: dict[str, Any] = {"type": "tool_result", "call_id": call_id, "name": self.name, "result": self.result}
        if self.image_attachment is not None:
            event["image_attachment"] = self.image_attachment
        return event


class Tools:
    """What an agent looks things up with, made by the service for each `AgentTurn`.

    Every answer is plain JSON, fit to be a `tool_result`. Call them directly, or by name with `use`, which also finds
    the page picture that belongs to an answer and never raises.
    """

    def __init__(self, index: Index, index_ids: Sequence[str]) -> None:
        self._index = index
        self._index_ids = tuple(index_ids)

    @property
    def index_ids(self) -> tuple[str, ...]:
        """The indexes these tools see."""
        return self._index_ids

    def retrieve(self, query: str, top_k: int = 6) -> dict[str, Any]:
        """Find the passages that speak most of the words of `query`; `word*` stands for all that begin so.

        Args:
            query: What to look for.
            top_k: How many passages at most.

        Returns:
            `{"results": [{"content", "score", "rerank_score", "metadata", "static_fields"}]}`, best first.
            `score` is BM25; `rerank_score` the share (0 to 1) of the query's words that the passage, its
            heading or its file's name holds, rare words counting more.
        """
        return {
            "results": [_result(hit) for hit in search(self._index, query, self._index_ids, min(top_k, MAX_RESULTS))]
        }

    def find(self, name: str = "") -> dict[str, Any]:
        """List the files whose name holds `name`, in any case; of very many, the first thousand.

        Args:
            name: A part of the name; "" lists all.

        Returns:
            `{"items": [{"file_id", "file_name"}]}`, in the order of their names.
        """
        files = self._index.files(self._index_ids, name, MAX_FILES)
        return {"items": [{"file_id": file.file_id, "file_name": file.name} for file in files]}

    def grep(self, file_id: str, pattern: str, context_chars: int = 0, max_items: int = 50) -> dict[str, Any]:
        """Find a regular expression in a file, in any case.

        Args:
            file_id: The file.
            pattern: The regular expression.
            context_chars: How many characters to give on either side of a match.
            max_items: How many matches at most.

        Returns:
            `{"items": [{"content", "start_char", "end_char"}]}`: the matches with `context_chars` characters
            on either side. The offsets are those of `content`. Empty if the file is unknown. A pattern that is
            none, or that takes longer than a second, is refused: no items, and an `error` that says why.
        """
        text = self._text(file_id)
        try:
            found = list(islice(find_pattern(pattern, text), max(max_items, 0)))
        except RefusedPatternError as error:
            return {"items": [], "error": str(error)}
        context = max(context_chars, 0)
        spans = [(max(start - context, 0), min(end + context, len(text))) for start, end in found]
        return {"items": [{"content": text[start:end], "start_char": start, "end_char": end} for start, end in spans]}

    def read(self, file_id: str, offset: int = 0, max_length: int | None = None) -> dict[str, Any]:
        """Read a file from `offset` on.

        Args:
            file_id: The file.
            offset: Where to begin, in characters.
            max_length: How many characters at most; None reads to the end.

        Returns:
            `{"content": ...}`; "" if the file is unknown or the offset lies behind its end.
        """
        offset = max(offset, 0)
        end = None if max_length is None else offset + max(max_length, 0)
        return {"content": self._text(file_id)[offset:end]}

    def use(self, name: str, arguments: Mapping[str, Any]) -> ToolUse:
        """Use a tool by its name, as a model does; whatever is wrong with that is the result's `error`.

        `read` answers at most 8000 characters at once.

        Args:
            name: The tool.
            arguments: What to call it with.

        Returns:
            What it was called with, and what it answered.
        """
        given = dict(arguments)
        if name not in TOOL_SCHEMAS:
            return ToolUse(name, given, {"error": f"There is no tool {name!r}; there are {', '.join(TOOL_SCHEMAS)}."})
        problem = _problem(name, given)
        if problem:
            return ToolUse(name, given, {"error": problem})
        bounded = {"max_length": _at_most(READ_CHARS, given.get("max_length"))} if name == "read" else {}
        try:
            result: dict[str, Any] = getattr(self, name)(**given | bounded)
        except Exception as error:
            return ToolUse(name, given, {"error": f"The tool failed: {type(error).__name__}: {error}"})
        return ToolUse(name, given, result, self._picture(name, given, result))

    def use_all(self, calls: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[ToolUse]:
        """Use several tools at once.

        Args:
            calls: The name and the arguments of each.

        Yields:
            What they answer, in the order of the calls.
        """
        if len(calls) < 2:
            yield from (self.use(*call) for call in calls)
            return
        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="tools") as pool:
            yield from pool.map(lambda call: self.use(*call), calls)

    def _text(self, file_id: str) -> str:
        return "" if self._index.file(file_id, self._index_ids) is None else self._index.text(file_id)

    def _picture(self, name: str, given: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, str] | None:
        """Return where the picture of the page is that a result is about: for passages, that of the best."""
        if name == "retrieve":
            attachments = [each for found in result["results"] for each in found["static_fields"]["attachments"][:1]]
            return {key: attachments[0][key] for key in ("attachment_name", "source_id")} if attachments else None
        if name == "read" and result["content"]:
            file = self._index.file(given["file_id"], self._index_ids)
            if file is not None and file.pages:
                page = page_at(self._index.text(file.file_id), max(given.get("offset", 0), 0))
                return {"attachment_name": picture_name(page), "source_id": file.file_id}
        return None


def _result(hit: Hit) -> dict[str, Any]:
    passage = hit.passage
    attachments = []
    if passage.file_pages and passage.page is not None:
        name = picture_name(passage.page)
        attachments.append({"attachment_name": name, "source_id": passage.file_id, "type": "screenshot"})
    return {
        "content": passage.content,
        "score": round(hit.score, 4),
        "rerank_score": round(hit.share, 4),
        "metadata": {"file_name": passage.file_name, "heading": passage.heading},
        "static_fields": {
            "parsed_directory_file_id": passage.file_id,
            "page_range_start": passage.page,
            "page_range_end": passage.page,
            "chunk_index": passage.place,
            "chunk_start_char": passage.start,
            "chunk_end_char": passage.end,
            "chunk_token_count": tokens_in(len(passage.content)),
            "attachments": attachments,
        },
    }


def _at_most(limit: int, wanted: int | None) -> int:
    return limit if wanted is None else min(wanted, limit)


def _schema(description: str, required: Sequence[str], **properties: tuple[str, str]) -> dict[str, Any]:
    return {
        "description": description,
        "parameters": {
            "type": "object",
            "properties": {name: {"type": kind, "description": text} for name, (kind, text) in properties.items()},
            "required": list(required),
        },
    }


TOOL_SCHEMAS: dict[str, dict[str, Any]] = {
    "retrieve": _schema(
        "Search the documents for passages about something. Start with this.",
        ["query"],
        query=("string", "The words to look for; the more telling, the better."),
        top_k=("integer", "How many passages to return; 6 if left out."),
    ),
    "find": _schema(
        "List the files whose name contains something.",
        [],
        name=("string", "A part of the file's name; all files if left out."),
    ),
    "grep": _schema(
        "Find a regular expression in one file, in any case.",
        ["file_id", "pattern"],
        file_id=("string", "The file's id, as find or retrieve gave it."),
        pattern=("string", "The regular expression."),
        context_chars=("integer", "How many characters around each match to return; 0 if left out."),
        max_items=("integer", "How many matches to return at most; 50 if left out."),
    ),
    "read": _schema(
        "Read a part of one file.",
        ["file_id"],
        file_id=("string", "The file's id, as find or retrieve gave it."),
        offset=("integer", "The character to start from; 0 if left out."),
        max_length=("integer", f"How many characters to read, at most {READ_CHARS}; read on with a larger offset."),
    ),
}
"""What a model has to know of each tool, its parameters as JSON Schema."""


def _problem(name: str, given: Mapping[str, Any]) -> str:
    """Say what is wrong with a tool's arguments, "" if nothing is; models get them wrong often enough."""
    parameters = TOOL_SCHEMAS[name]["parameters"]
    for missing in (each for each in parameters["required"] if each not in given):
        return f"{name} needs the argument {missing!r}."
    for argument, value in given.items():
        known = parameters["properties"].get(argument)
        if known is None:
            return f"{name} has no argument {argument!r}."
        fits = isinstance(value, str) if known["type"] == "string" else type(value) is int and abs(value) < 2**53
        if not fits and not (value is None and argument == "max_length"):
            return f"{name}: {argument!r} must be of type {known['type']}."
    return ""
