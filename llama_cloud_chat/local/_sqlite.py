"""Which SQLite files are ours, and in which format: sessions and index are told from others' files alike."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

_MAGIC = b"SQLite format 3\0"


class NotOursError(Exception):
    """The file is somebody else's; it is never to be written to or thrown away."""


@dataclass(frozen=True)
class FileFormat:
    """A kind of SQLite file that this service makes.

    Attributes:
        application_id: What marks such a file.
        version: The format it is written in.
        schema: The statements that make its tables, with semicolons between them.
    """

    application_id: int
    version: int
    schema: str = field(repr=False)

    def version_of(self, path: Path) -> int | None:
        """Return the version that a file is written in; None if it is empty or not there.

        Its header is read by hand: SQLite would put files beside it.

        Raises:
            NotOursError: It is no such file.
            OSError: It cannot be opened.
        """
        try:
            with path.open("rb") as file:
                header = file.read(100)
        except FileNotFoundError:
            return None
        if not header:
            return None
        if not header.startswith(_MAGIC) or int.from_bytes(header[68:72], "big") != self.application_id:
            raise NotOursError
        return int.from_bytes(header[60:64], "big")

    def make_tables(self, db: sqlite3.Connection) -> bool:
        """Make the tables and the mark in a file that is new, within the transaction that is open.

        Commit it without a log (WAL): the mark is then in the file itself, where `version_of` looks.

        Returns:
            Whether the file is new.
        """
        if db.execute("PRAGMA application_id").fetchone()[0] == self.application_id:
            return False
        for statement in filter(str.strip, self.schema.split(";")):
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {self.application_id}")
        db.execute(f"PRAGMA user_version = {self.version}")
        return True
