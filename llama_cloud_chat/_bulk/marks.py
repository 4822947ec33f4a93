"""What is known of each question of a file, by its id: on the disk, so that memory does not grow with the file."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

from llama_cloud_chat._turn.prompts import digest_of


@dataclass(frozen=True)
class Mark:
    """What an output file says of a question.

    Attributes:
        place: Which row of the file says so.
        words: A digest of the question's words.
        error_type: How it failed; None if it was answered.
        asking: Which asking of it that was.
        session_id: Where it was asked.
    """

    place: int
    words: str
    error_type: str | None
    asking: int
    session_id: str | None

    @classmethod
    def of_row(cls, place: int, row: Mapping[str, Any]) -> Mark:
        """Return what a row says.

        Args:
            place: Which row it is.
            row: The row.
        """
        failed = row.get("error") is not None
        return cls(
            place,
            digest_of(str(row["question"])),
            (row.get("error_type") or "ChatError") if failed else None,
            row.get("asking") or 1,
            row.get("session_id"),
        )

    @property
    def next_asking(self) -> int:
        """Which asking comes next: a turn that failed stays the answer of this one; all else may still be answered."""
        return self.asking + (self.error_type == "TurnFailedError")


class Marks:
    """Marks by id. Any thread may use them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # A file of SQLite's own, which is gone when it is closed.
        self._db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._db.execute(
            "CREATE TABLE marks (id TEXT PRIMARY KEY, place, words, error_type, asking, session_id) WITHOUT ROWID"
        )
        self._db.execute("BEGIN")  # for good: nobody else reads it
        self.close = weakref.finalize(self, self._db.close)
        """Forget everything. What nobody uses any more forgets by itself."""

    def get(self, question_id: object) -> Mark | None:
        """Return what is known of a question; None if nothing is."""
        with self._lock:
            found = self._db.execute("SELECT * FROM marks WHERE id = ?", (str(question_id),)).fetchone()
        return None if found is None else Mark(*found[1:])

    def put(self, question_id: object, mark: Mark) -> None:
        """Take note of what is known of a question, in place of what was."""
        values = (str(question_id), *astuple(mark))
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?, ?, ?)", values)

    def __len__(self) -> int:
        with self._lock:
            return int(self._db.execute("SELECT count(*) FROM marks").fetchone()[0])
