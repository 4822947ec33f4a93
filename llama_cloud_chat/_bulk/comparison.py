"""Two runs of the same questions: what became of each since the run before."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Row: TypeAlias = Mapping[str, Any]
Change: TypeAlias = Literal["same", "changed", "answered", "failed", "new", "gone"]


@dataclass(frozen=True)
class Pair:
    """A question in two runs.

    Attributes:
        row: Its row; None if it is in the run before only.
        before: Its row in the run before; None if it is not there.
        change: What became of it: it has the `same` answer, a `changed` one, was `answered` or has `failed` unlike
            before; it is `new`, or `gone`.
    """

    row: Row | None
    before: Row | None
    change: Change


def compare(rows: Iterable[Row], before: Iterable[Row]) -> Iterator[Pair]:
    """Pair the rows of a run with those of the run before; those that are gone come last.

    Args:
        rows: The run.
        before: The run before; it is kept on the disk, however long it is.
    """
    with contextlib.closing(sqlite3.connect("", isolation_level=None)) as db:
        db.execute("CREATE TABLE rows (id TEXT PRIMARY KEY, body TEXT) WITHOUT ROWID")
        db.execute("BEGIN")
        for row in before:
            db.execute("INSERT OR REPLACE INTO rows VALUES (?, ?)", (str(row["id"]), json.dumps(row)))
        for row in rows:
            name = (str(row["id"]),)
            found = db.execute("SELECT body FROM rows WHERE id = ?", name).fetchone()
            db.execute("DELETE FROM rows WHERE id = ?", name)
            other = None if found is None else json.loads(found[0])
            yield Pair(row, other, _change(row, other))
        for (body,) in db.execute("SELECT body FROM rows ORDER BY id"):
            yield Pair(None, json.loads(body), "gone")


def _change(row: Row, before: Row | None) -> Change:
    if before is None:
        return "new"
    fails, failed = row.get("error") is not None, before.get("error") is not None
    if fails != failed:
        return "failed" if fails else "answered"
    return "same" if fails or row.get("answer") == before.get("answer") else "changed"
