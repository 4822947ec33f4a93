"""Sessions and their events in one SQLite file. All SQL about sessions is here.

One connection, one lock: every public method is one transaction and may be called from any thread, but not
from the event loop's. One that cannot be written raises `StorageError` and has changed nothing. Events are kept as
the JSON text that goes over the wire, in ASCII, so that they come back to the letter.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from llama_cloud_chat._errors import ConfigurationError
from llama_cloud_chat._turn.prompts import unfold_transcript
from llama_cloud_chat.local._sqlite import FileFormat, NotOursError

from .pages import decode_token, encode_token

MAX_TITLE_CHARS = 60

_SCHEMA = """
CREATE TABLE sessions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id TEXT NOT NULL UNIQUE,
    organization_id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    shared_access TEXT NOT NULL,
    index_ids TEXT,
    title TEXT,
    updated_at TEXT NOT NULL,
    job TEXT,
    turns INTEGER NOT NULL DEFAULT 0,
    is_running INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX sessions_by_project ON sessions (organization_id, project_id, number);
CREATE TABLE events (
    session_number INTEGER NOT NULL REFERENCES sessions (number) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (session_number, position)
) WITHOUT ROWID;
"""
_FORMAT = FileFormat(application_id=int.from_bytes(b"LCC1", "big"), version=1, schema=_SCHEMA)


@dataclass(frozen=True)
class Scope:
    """Whose sessions are meant; "" stands for the default organisation and the default project."""

    organization_id: str = ""
    project_id: str = ""


@dataclass(frozen=True)
class BegunTurn:
    """A turn that the store has taken in: its prompt is in the history, its answer is not.

    Attributes:
        session_number: What the store calls the session.
        number: The turn's number in its session, from 1.
        index_ids: What it is answered from, as it was named: the session's own indexes, else those of the message.
        history: The session's events before this turn, each as JSON.
        next_position: Where the turn's first event goes.
    """

    session_number: int
    number: int
    index_ids: list[str]
    history: list[str]
    next_position: int


class UnknownSessionError(Exception):
    """No such session in this scope."""


class SessionRunningError(Exception):
    """The session's last turn has not ended."""


class LockedIndexesError(Exception):
    """The session is bound to other indexes."""


class StorageError(Exception):
    """The data file cannot be written to (or read); nothing was changed."""


class Store:
    """The data file.

    Attributes:
        is_new: Whether it was made just now, by this store.

    Raises:
        ConfigurationError: The file cannot be used; it has not been changed.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        # The stops of turns that are over, but could not be written down when they ended.
        self._owed: dict[int, dict[str, Any]] = {}
        self._db, self.is_new = _open(path)
        try:
            self._close_interrupted_turns()
        except StorageError as error:
            self._db.close()
            raise ConfigurationError(
                f"The data file {str(path)!r} cannot be written: {error}; make room, or allow writing to it."
            ) from None

    def close(self) -> None:
        """Write everything into the one file and let go of it."""
        with contextlib.suppress(StorageError), self._writing():
            pass
        with self._lock:
            self._db.close()

    def create(self, scope: Scope, index_ids: Sequence[str] | None, shared_access: str | None) -> dict[str, Any]:
        """Open a session and return its summary."""
        session_id = "ses-" + secrets.token_hex(16)
        with self._writing() as db:
            db.execute(
                "INSERT INTO sessions"
                " (session_id, organization_id, project_id, shared_access, index_ids, updated_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (
                    session_id,
                    scope.organization_id,
                    scope.project_id,
                    shared_access or "query",
                    json.dumps(list(index_ids)) if index_ids else None,
                    _now(),
                ),
            )
            return self._summary(self._find(db, scope, session_id))

    def page(self, scope: Scope, page_size: int, page_token: str | None) -> dict[str, Any]:
        """Return one page of summaries, the newest session first.

        Raises:
            BadPageTokenError: `page_token` is not one of ours.
        """
        before = decode_token(page_token) if page_token else 2**63 - 1
        with self._reading() as db:
            rows = db.execute(
                "SELECT * FROM sessions WHERE organization_id = ? AND project_id = ? AND number < ?"
                " ORDER BY number DESC LIMIT ?",
                (scope.organization_id, scope.project_id, before, page_size + 1),
            ).fetchall()
        page = rows[:page_size]
        more = len(rows) > page_size
        return {
            "items": [self._summary(row) for row in page],
            "next_page_token": encode_token(page[-1]["number"]) if more else None,
        }

    def summary(self, scope: Scope, session_id: str) -> dict[str, Any]:
        """Return a session's summary.

        Raises:
            UnknownSessionError: There is none in this scope.
        """
        with self._reading() as db:
            return self._summary(self._find(db, scope, session_id))

    def detail(self, scope: Scope, session_id: str) -> tuple[dict[str, Any], list[str]]:
        """Return a session's summary and its events, each as JSON.

        Raises:
            UnknownSessionError: There is none in this scope.
        """
        with self._reading() as db:
            row = self._find(db, scope, session_id)
            owed = self._owed.get(row["number"])
            return self._summary(row), _events(db, row["number"]) + ([encode(owed)] if owed else [])

    def set_title(self, scope: Scope, session_id: str, first_message: str) -> dict[str, Any]:
        """Name a session after its first message and return its summary.

        Raises:
            UnknownSessionError: There is none in this scope.
        """
        with self._writing() as db:
            row = self._find(db, scope, session_id)
            db.execute(
                "UPDATE sessions SET title = ?, updated_at = ? WHERE number = ?",
                (make_title(first_message), _now(), row["number"]),
            )
            return self._summary(self._find(db, scope, session_id))

    def delete(self, scope: Scope, session_id: str) -> None:
        """Delete a session and its events.

        Raises:
            UnknownSessionError: There is none in this scope.
        """
        with self._writing() as db:
            row = self._find(db, scope, session_id)
            db.execute("DELETE FROM sessions WHERE number = ?", (row["number"],))

    def begin_turn(
        self,
        scope: Scope,
        session_id: str,
        prompt: str,
        index_ids: Sequence[str],
        identify: Callable[[str], str] = str,
    ) -> BegunTurn:
        """Take a prompt in: from now on the session is running, until `write` is given a `job`.

        Args:
            scope: Whose session it is.
            session_id: The session.
            prompt: The prompt.
            index_ids: The indexes that the message names.
            identify: Gives what two names of one index have in common.

        Raises:
            UnknownSessionError: There is no such session in this scope.
            LockedIndexesError: The session is bound to a set, and the message names another.
            SessionRunningError: The turn before has not ended; nothing was taken in.
        """
        with self._writing() as db:
            row = self._find(db, scope, session_id)
            bound = _bound_indexes(row, index_ids, identify)
            if row["is_running"]:
                raise SessionRunningError
            number = row["number"]
            history = _events(db, number)
            position = _next_position(db, number)
            db.execute(
                "INSERT INTO events VALUES (?, ?, ?)",
                (number, position, encode({"type": "user_input", "content": prompt})),
            )
            db.execute(
                "UPDATE sessions SET is_running = 1, turns = turns + 1, updated_at = ?,"
                " title = coalesce(title, ?) WHERE number = ?",
                (_now(), make_title(prompt), number),
            )
            return BegunTurn(number, row["turns"] + 1, bound, history, position + 1)

    def write(
        self,
        session_number: int,
        puts: Sequence[tuple[int, str]],
        drops: Sequence[int],
        job: dict[str, Any] | None = None,
    ) -> bool:
        """Put events at their positions, then drop others; with a `job` the turn is over.

        Returns:
            Whether the session is still there; one deleted in the meantime stays deleted.
        """
        with self._writing() as db:
            if not db.execute("SELECT 1 FROM sessions WHERE number = ?", (session_number,)).fetchone():
                return False
            db.executemany("INSERT OR REPLACE INTO events VALUES (?, ?, ?)", [(session_number, *put) for put in puts])
            db.executemany(
                "DELETE FROM events WHERE session_number = ? AND position = ?",
                [(session_number, position) for position in drops],
            )
            if job is not None:
                _finish(db, session_number, job)
            return True

    def owe(self, session_number: int, stop: dict[str, Any]) -> None:
        """Take note that a turn is over whose end could not be written: readers see its `stop` from now on.

        It is written down before whatever is written next.
        """
        with self._lock:
            self._owed[session_number] = stop

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._transaction("BEGIN IMMEDIATE") as db:
            owed = list(self._owed.items())
            for number, stop in owed:
                _close_turn(db, number, stop)
            yield db
        for number, stop in owed:
            if self._owed.get(number) is stop:
                del self._owed[number]

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        # A full disk can still be read.
        with self._transaction("BEGIN") as db:
            yield db

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._db.execute(begin)
                yield self._db
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                raise StorageError(str(error)) from None
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def _summary(self, row: sqlite3.Row) -> dict[str, Any]:
        owed = self._owed.get(row["number"])
        job = job_metadata(owed) if owed else json.loads(row["job"]) if row["job"] else None
        return {
            "session_id": row["session_id"],
            "last_updated_at": row["updated_at"],
            "generated_title": row["title"],
            "index_ids": json.loads(row["index_ids"]) if row["index_ids"] else None,
            "shared_access": row["shared_access"],
            "job_metadata": job,
        }

    def _find(self, db: sqlite3.Connection, scope: Scope, session_id: str) -> sqlite3.Row:
        row: sqlite3.Row | None = db.execute(
            "SELECT * FROM sessions WHERE session_id = ? AND organization_id = ? AND project_id = ?",
            (session_id, scope.organization_id, scope.project_id),
        ).fetchone()
        if row is None:
            raise UnknownSessionError
        return row

    def _close_interrupted_turns(self) -> None:
        """End the turns that were running when the process died, so that nobody waits for them."""
        reason = "The service was restarted before the turn ended; ask again."
        with self._writing() as db:
            for (number,) in db.execute("SELECT number FROM sessions WHERE is_running").fetchall():
                _close_turn(db, number, {"type": "stop", "is_error": True, "error": reason, "usage": {}})


def encode(event: dict[str, Any]) -> str:
    """Write an event as the JSON that is stored and sent: one line of ASCII, whatever it holds.

    Raises:
        ValueError: It holds NaN, an infinity, or itself.
        TypeError: It holds something that JSON does not know.
    """
    return json.dumps(event, separators=(",", ":"), allow_nan=False)


def job_metadata(stop: dict[str, Any]) -> dict[str, Any]:
    """Return the summary's account of a run that ended with `stop`."""
    usage = stop.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return {
        "duration_ms": usage.get("duration_ms") or 0.0,
        "is_error": bool(stop.get("is_error")),
        "error": stop.get("error"),
        "export_config_ids": None,
        "total_input_tokens": usage.get("total_input_tokens"),
        "total_output_tokens": usage.get("total_output_tokens"),
        "turns": usage.get("turns") or 1,
    }


def make_title(message: str) -> str:
    """Shorten a message to a title: one line, cut at a word where one ends in time.

    Of one that tells a conversation again, what is asked is what counts.
    """
    line = " ".join(unfold_transcript(message)[1].split())
    if len(line) <= MAX_TITLE_CHARS:
        return line
    head = line[: MAX_TITLE_CHARS - 1]
    words, _, rest = head.rpartition(" ")
    return (words if words and len(rest) < MAX_TITLE_CHARS // 2 else head).rstrip(" ,;:.") + "…"


def _open(path: Path) -> tuple[sqlite3.Connection, bool]:
    """Open the data file, or make a new one, and say which; a file of somebody else is never written to."""
    if path.is_dir():
        raise ConfigurationError(f"The data file {str(path)!r} is a folder; name a file in it.")
    if not path.parent.is_dir():
        raise ConfigurationError(f"The folder of the data file {str(path)!r} does not exist; create it first.")
    if not os.access(path.parent, os.W_OK):
        # SQLite keeps a log beside the file.
        raise ConfigurationError(
            f"The folder of the data file {str(path)!r} is read-only; allow writing to it, or name another."
        )
    is_new = not path.exists()
    if not is_new and not os.access(path, os.W_OK):
        raise ConfigurationError(f"The data file {str(path)!r} is read-only; allow writing to it, or name another.")
    try:
        if not is_new:
            _check_ours(path)
        return _connect(path)
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise ConfigurationError(
                f"The data file {str(path)!r} is in use by another service; stop it, or name another file."
            ) from None
        # Not before: a file that is locked was made by the other service, a moment ago.
        if is_new:
            path.unlink(missing_ok=True)
        raise ConfigurationError(f"The data file {str(path)!r} cannot be opened: {error}.") from None
    except (sqlite3.DatabaseError, OSError) as error:
        raise ConfigurationError(f"The data file {str(path)!r} cannot be used: {error}; name another file.") from None


def _check_ours(path: Path) -> None:
    try:
        version = _FORMAT.version_of(path)
    except NotOursError:
        raise ConfigurationError(
            f"{str(path)!r} is not a data file of this service; name another file, or a new one."
        ) from None
    if version not in (None, _FORMAT.version):
        raise ConfigurationError(
            f"The data file {str(path)!r} was written by another version (format {version}, this one reads"
            f" {_FORMAT.version}); name another file."
        )


def _connect(path: Path) -> tuple[sqlite3.Connection, bool]:
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=0)
    try:
        db.row_factory = sqlite3.Row
        # Held for good: a second service on this file would take our running turns for interrupted ones.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("BEGIN EXCLUSIVE")
        is_new = _FORMAT.make_tables(db)
        db.execute("COMMIT")
        # Only now, so that what marks the file as ours is in the file itself and not in the log beside it.
        db.execute("PRAGMA journal_mode = WAL")
    except BaseException:
        db.close()
        raise
    return db, is_new


def _bound_indexes(session: sqlite3.Row, index_ids: Sequence[str], identify: Callable[[str], str]) -> list[str]:
    if session["index_ids"] is None:
        return list(index_ids)
    bound: list[str] = json.loads(session["index_ids"])
    if set(map(identify, index_ids)) != set(map(identify, bound)):
        raise LockedIndexesError
    return bound


def _finish(db: sqlite3.Connection, session_number: int, job: dict[str, Any]) -> None:
    db.execute(
        "UPDATE sessions SET is_running = 0, updated_at = ?, job = ? WHERE number = ?",
        (_now(), json.dumps(job), session_number),
    )


def _close_turn(db: sqlite3.Connection, session_number: int, stop: dict[str, Any]) -> None:
    """End a turn that nobody will end otherwise; does nothing if the session is gone or its turn is over."""
    row = db.execute("SELECT is_running FROM sessions WHERE number = ?", (session_number,)).fetchone()
    if row is not None and row[0]:
        position = _next_position(db, session_number)
        db.execute("INSERT INTO events VALUES (?, ?, ?)", (session_number, position, encode(stop)))
        _finish(db, session_number, job_metadata(stop))


def _events(db: sqlite3.Connection, session_number: int) -> list[str]:
    rows = db.execute("SELECT data FROM events WHERE session_number = ? ORDER BY position", (session_number,))
    return [data for (data,) in rows]


def _next_position(db: sqlite3.Connection, session_number: int) -> int:
    row = db.execute("SELECT max(position) FROM events WHERE session_number = ?", (session_number,)).fetchone()
    return 0 if row[0] is None else row[0] + 1


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")
