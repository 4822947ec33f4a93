"""The indexes, and the four tools an agent reads them with.

Passages are ranked by SQLite's FTS5 (BM25, Porter stems) in a database in memory: the documents are read anew
at every start, so nothing of them needs to be kept. The tools answer in the shapes of LlamaCloud's retrieval
API.
"""

from __future__ import annotations

import hashlib
import math
import re
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ._documents import Collection, Document
from ._passages import Passage, split, tokens_in

MAX_RESULTS = 100
# How much a word counts in the text, in the heading above it, and in the name of the file.
_WEIGHTS = (1.0, 2.0, 3.0)
_CANDIDATES = 60
_MAX_TERMS = 24
_MAX_NEEDLES = 24
_WORD = re.compile(r"\w+(?:[./+\-']\w+)*")
_STOP_WORDS = frozenset(
    """a about above after again all also am an and any anybody are as at be because been before being
    below between both but by can could did do does doing done down during each else even few for
    from further get gets give gives go got had has have having he her here hers him his how however
    i if in into is it its itself just know let like make makes many may me might mine more most
    much must my need no nor not now of off on once one only onto or other our out over own please
    put really same say says shall she should show since so some something still such tell than that
    the their them then there these they thing things this those through to too under until up upon
    us use used using very want was way we well were what whatever when where whether which while
    who whom whose why will with within without work works would yes yet you your""".split()  # noqa: SIM905 - two hundred quoted words are no easier to read
)


def content_words(text: str) -> list[str]:
    """Return the words of `text` that say what it is about: lower case, each once, in order, at most 24."""
    words = (match[0].lower() for match in _WORD.finditer(text))
    return list(dict.fromkeys(word for word in words if word not in _STOP_WORDS))[:_MAX_TERMS]


@dataclass(frozen=True)
class _File:
    file_id: str
    index_id: str
    document: Document


class Library:
    """All indexes of a service. Safe to use from any thread."""

    def __init__(self, collections: Iterable[Collection]) -> None:
        self._lock = threading.Lock()
        self._files: dict[str, _File] = {}
        self._names: dict[str, str] = {}
        self._passages: list[tuple[str, Passage]] = []
        self._db = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._db.execute(
            "CREATE VIRTUAL TABLE passages USING fts5"
            "(content, heading, file_name, index_id UNINDEXED, tokenize = 'porter unicode61')"
        )
        self._db.execute("BEGIN")
        for collection in collections:
            self._add(collection)
        self._db.execute("COMMIT")

    @property
    def index_ids(self) -> list[str]:
        """The ids of the indexes, in the order they were given."""
        return list(self._names)

    def tools(self, index_ids: Sequence[str]) -> Tools:
        """Return the tools, seeing only the given indexes."""
        return Tools(self, index_ids)

    def close(self) -> None:
        """Let go of the indexes; nothing can be searched afterwards."""
        with self._lock:
            self._db.close()

    def files(self, index_ids: Sequence[str]) -> list[_File]:
        return [file for file in self._files.values() if file.index_id in index_ids]

    def file(self, file_id: str, index_ids: Sequence[str]) -> _File | None:
        file = self._files.get(file_id)
        return file if file is not None and file.index_id in index_ids else None

    def rank(self, query: str, index_ids: Sequence[str], top_k: int) -> list[dict[str, Any]]:
        terms = [_phrase(word) for word in content_words(query) or _WORD.findall(query.lower())[:_MAX_TERMS]]
        if not terms or not index_ids or top_k < 1:
            return []
        with self._lock:
            candidates = self._candidates(terms, index_ids)
            rows_by_term = [self._rows_with(term) for term in terms]
        weights = [_rarity(len(rows), len(self._passages)) for rows in rows_by_term]

        def coverage(row: int) -> float:
            found = sum(weight for weight, rows in zip(weights, rows_by_term, strict=True) if row in rows)
            return found / sum(weights)

        # BM25 alone lets one rare word repeated often outrank a passage that speaks of everything asked for.
        ranked = sorted(
            ((row, score, coverage(row)) for row, score in candidates),
            key=lambda candidate: (-candidate[1] * candidate[2] ** 2, candidate[0]),
        )
        return [self._result(row, score, share) for row, score, share in ranked[: min(top_k, MAX_RESULTS)]]

    def _add(self, collection: Collection) -> None:
        self._names[collection.index_id] = collection.name
        for document in collection.documents:
            file = _File(_file_id(collection.index_id, document.name), collection.index_id, document)
            self._files[file.file_id] = file
            for passage in split(document.text):
                self._passages.append((file.file_id, passage))
                self._db.execute(
                    "INSERT INTO passages (rowid, content, heading, file_name, index_id) VALUES (?, ?, ?, ?, ?)",
                    (
                        len(self._passages),
                        passage.content,
                        passage.heading,
                        document.name,
                        collection.index_id,
                    ),
                )

    def _candidates(self, terms: Sequence[str], index_ids: Sequence[str]) -> list[tuple[int, float]]:
        marks = ", ".join("?" * len(index_ids))
        rows = self._db.execute(
            # Only question marks are put in; FTS5 gives better passages a smaller rank.
            f"SELECT rowid, -bm25(passages, ?, ?, ?) AS score FROM passages"  # noqa: S608
            f" WHERE passages MATCH ? AND index_id IN ({marks}) ORDER BY score DESC LIMIT ?",
            (*_WEIGHTS, " OR ".join(terms), *index_ids, _CANDIDATES),
        )
        # With few passages BM25 may weigh a word that most of them hold at nothing or less.
        return [(row, max(score, 1e-6)) for row, score in rows]

    def _rows_with(self, term: str) -> set[int]:
        return {row for (row,) in self._db.execute("SELECT rowid FROM passages WHERE passages MATCH ?", (term,))}

    def _result(self, row: int, score: float, share: float) -> dict[str, Any]:
        file_id, passage = self._passages[row - 1]
        return {
            "content": passage.content,
            "score": round(score, 4),
            "rerank_score": round(share, 4),
            "metadata": {"file_name": self._files[file_id].document.name, "heading": passage.heading},
            "static_fields": {
                "parsed_directory_file_id": file_id,
                "page_range_start": passage.page,
                "page_range_end": passage.page,
                "chunk_index": passage.index,
                "chunk_start_char": passage.start,
                "chunk_end_char": passage.end,
                "chunk_token_count": tokens_in(len(passage.content)),
                "attachments": [],
            },
        }


class Tools:
    """What an agent looks things up with. Every answer is plain JSON, fit to be a `tool_result`."""

    def __init__(self, library: Library, index_ids: Sequence[str]) -> None:
        self._library = library
        self._index_ids = tuple(index_ids)

    @property
    def index_ids(self) -> tuple[str, ...]:
        """The indexes these tools see."""
        return self._index_ids

    def retrieve(self, query: str, top_k: int = 6) -> dict[str, Any]:
        """Find the passages that speak most of the words of `query`.

        Returns:
            `{"results": [{"content", "score", "rerank_score", "metadata", "static_fields"}]}`, best first.
            `score` is BM25; `rerank_score` the share (0 to 1) of the query's words that the passage, its
            heading or its file's name holds, rare words counting more.
        """
        return {"results": self._library.rank(query, self._index_ids, top_k)}

    def find(self, name: str = "") -> dict[str, Any]:
        """List the files whose name holds `name`, in any case.

        Returns:
            `{"items": [{"file_id", "file_name"}]}`, in the order of their names.
        """
        wanted = name.lower()
        files = self._library.files(self._index_ids)
        return {
            "items": [
                {"file_id": file.file_id, "file_name": file.document.name}
                for file in files
                if wanted in file.document.name.lower()
            ]
        }

    def grep(self, file_id: str, pattern: str, context_chars: int = 0, max_items: int = 50) -> dict[str, Any]:
        """Find `pattern` in a file, in any case.

        A `|` separates alternatives; everything else is taken literally, so no pattern can run away.

        Returns:
            `{"items": [{"content", "start_char", "end_char"}]}`: the matches with `context_chars` characters
            on either side. The offsets are those of `content`. Empty if the file is unknown.
        """
        file = self._library.file(file_id, self._index_ids)
        needles = [re.escape(needle) for needle in pattern.split("|") if needle][:_MAX_NEEDLES]
        items: list[dict[str, Any]] = []
        if file is None or not needles:
            return {"items": items}
        text = file.document.text
        for match in re.finditer("|".join(needles), text, re.IGNORECASE):
            start, end = max(match.start() - context_chars, 0), min(match.end() + context_chars, len(text))
            items.append({"content": text[start:end], "start_char": start, "end_char": end})
            if len(items) >= max_items:
                break
        return {"items": items}

    def read(self, file_id: str, offset: int = 0, max_length: int | None = None) -> dict[str, Any]:
        """Read a file from `offset` on.

        Returns:
            `{"content": ...}`; "" if the file is unknown or the offset lies behind its end.
        """
        file = self._library.file(file_id, self._index_ids)
        if file is None:
            return {"content": ""}
        offset = max(offset, 0)
        end = None if max_length is None else offset + max(max_length, 0)
        return {"content": file.document.text[offset:end]}


def _phrase(word: str) -> str:
    """Quote a word for FTS5; `http/2` becomes the phrase `http 2`, and no operator is left in it."""
    return '"' + word.replace('"', "") + '"'


def _rarity(holding: int, total: int) -> float:
    # A word that no passage holds weighs most: an answer that leaves it out has missed the question.
    return math.log(1 + (total + 1) / (holding + 0.5))


def _file_id(index_id: str, name: str) -> str:
    return "dfl-" + hashlib.sha256(f"{index_id}\0{name}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
