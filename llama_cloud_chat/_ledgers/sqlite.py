"""A ledger in one SQLite file, for all processes of one machine."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from llama_cloud_chat._errors import ChatError, ConfigurationError
from llama_cloud_chat._session.ledger import Hold, Ledger, Note, SessionCount

from .fork import FreshInChild
from .hold import QueuedHold, Queues

if TYPE_CHECKING:
    from filelock import BaseFileLock

T = TypeVar("T")

# "LCCL": marks the file as ours, so that no other program's database is ever written to.
_APPLICATION_ID = 0x4C43434C
_VERSION = 1
_TABLE = """
CREATE TABLE entries (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    written_at REAL NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID
"""
_PATIENCE = 60.0
"""For how many seconds other processes may write before a write of ours is given up."""
_PAUSE = 0.02
"""Seconds between two looks whether another process has freed a name: no operating system wakes a task for that."""


class SqliteLedger(Ledger, FreshInChild):
    """A ledger for all processes of one machine, in one file. Needs the extra `sqlite`.

    The file may be shared by any number of threads and processes, and survives each of them being killed; what was
    written is on the disk. Names are held by locks of the operating system on empty files in a folder beside it,
    `<path>.locks`. Both must be on a disk of this machine: file locks over a network are not to be relied on. A note
    takes a few hundred bytes, and is kept until the file is deleted.

    Args:
        path: The file; it is made if it is not there. Its folder must be.

    Raises:
        ConfigurationError: The file is of something else or of a newer version, or cannot be read and written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = _checked(path)
        self._locks = self._path.with_name(f"{self._path.name}.locks")
        self._queues = Queues()
        super().__init__()
        with self._lock:
            self._connection()

    def _begin_anew(self) -> None:
        self._lock = threading.RLock()
        # SQLite wants a connection neither used nor closed in a child.
        _PARENTS.append(getattr(self, "_open", None))
        self._open: sqlite3.Connection | None = None
        self._worker: ThreadPoolExecutor | None = None

    def read(self, key: str) -> Note | None:
        row = self._execute("SELECT body FROM entries WHERE kind = 'note' AND name = ?", key)
        return None if row is None else self._note(row[0])

    async def aread(self, key: str) -> Note | None:
        return await self._in_thread(lambda: self.read(key))

    def write(self, key: str, note: Note) -> None:
        self._put("note", key, note.to_json())

    async def awrite(self, key: str, note: Note) -> None:
        await self._in_thread(lambda: self.write(key, note))

    def recall(self, session: str) -> SessionCount | None:
        row = self._execute("SELECT body, written_at FROM entries WHERE kind = 'session' AND name = ?", session)
        if row is None or (age := time.time() - row[1]) < 0:  # the clock was set back: nothing is known of that time
            return None
        return SessionCount(int(row[0]), age)

    async def arecall(self, session: str) -> SessionCount | None:
        return await self._in_thread(lambda: self.recall(session))

    def remember(self, session: str, turns: int | None) -> None:
        if turns is None:
            self._execute("DELETE FROM entries WHERE kind = 'session' AND name = ?", session)
        else:
            self._put("session", session, str(turns))

    async def aremember(self, session: str, turns: int | None) -> None:
        await self._in_thread(lambda: self.remember(session, turns))

    def hold(self, name: str) -> Hold:
        return _FileHold(self._queues, name, self._locks, self._path)

    def close(self) -> None:
        with self._lock:
            if self._open is not None:
                self._open.close()
                self._open = None
            if self._worker is not None:
                self._worker.shutdown(wait=False)
                self._worker = None

    async def aclose(self) -> None:
        await self._in_thread(lambda: None)  # what is being written
        self.close()

    def __repr__(self) -> str:
        return f"SqliteLedger({str(self._path)!r})"

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the path alone: the connection is made anew."""
        return SqliteLedger, (str(self._path),)

    def _put(self, kind: str, name: str, body: str) -> None:
        self._execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)", kind, name, body, time.time())

    def _execute(self, statement: str, *values: object) -> tuple[str, float] | None:
        """Run one statement, which is one transaction; return its first row."""
        with self._lock, _named(self._path, ChatError):
            row: tuple[str, float] | None = self._connection().execute(statement, values).fetchone()
            return row

    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            with _named(self._path, ConfigurationError):
                self._open = _open(self._path, self._locks)
        return self._open

    def _note(self, text: str) -> Note:
        try:
            return Note.from_json(text)
        except (ValueError, TypeError):
            raise ChatError(
                f"The ledger {str(self._path)!r} holds a note that cannot be read: {text[:80]!r}."
            ) from None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Do `work` off the event loop. Once begun it is finished, cancelled or not: nothing is written later.

        The thread is the ledger's own. In the loop's pool it could stand behind threads that wait for a hold of ours.
        """
        with self._lock:
            if self._worker is None:
                self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="llama-cloud-chat ledger")
            future = asyncio.get_running_loop().run_in_executor(self._worker, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.gather(future, return_exceptions=True)
            raise


_PARENTS: list[object] = []


class _FileHold(QueuedHold):
    """A hold among the processes of this machine."""

    def __init__(self, queues: Queues, name: str, locks: Path, ledger: Path) -> None:
        super().__init__(queues, name)
        self._file = locks / hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        self._ledger = ledger
        self._lock: BaseFileLock | None = None

    def _take(self) -> None:
        while not self._try():
            time.sleep(_PAUSE)

    async def _atake(self) -> None:
        while not self._try():  # noqa: ASYNC110  # the other one is in another process
            await asyncio.sleep(_PAUSE)

    def _try(self) -> bool:
        with _named(self._ledger, ChatError):
            self._file.parent.mkdir(exist_ok=True)
            lock = _file_lock(self._file)
            if not _acquire(lock):
                return False
        self._lock = lock
        return True

    def _give_back(self) -> None:
        lock, self._lock = self._lock, None
        assert lock is not None
        lock.release()

    async def _agive_back(self) -> None:
        self._give_back()


def _checked(path: str | os.PathLike[str]) -> Path:
    if not isinstance(path, (str, os.PathLike)) or not str(path) or "\0" in str(path):
        raise ConfigurationError(f"SqliteLedger takes the path of a file, not {path!r}.")
    if str(path) == ":memory:":
        raise ConfigurationError("A ledger in memory is a MemoryLedger(); SqliteLedger takes the path of a file.")
    return Path(path).absolute()


def _open(path: Path, locks: Path) -> sqlite3.Connection:
    if not path.parent.is_dir():
        raise ConfigurationError(f"The ledger {str(path)!r} cannot be made: its folder is not there. Make it first.")
    _check_ours(path)
    locks.mkdir(exist_ok=True)
    # Two processes must not make it at once: SQLite does not wait for the change to a write-ahead log.
    with _file_lock(locks / "open"):
        _check_ours(path)
        return _connect(path)


def _check_ours(path: Path) -> None:
    """Refuse a file of somebody else. Its header is read by hand: SQLite would put files beside it."""
    if not path.exists():
        return
    with path.open("rb") as file:
        header = file.read(100)
    if not header:
        return
    version, application_id = int.from_bytes(header[60:64], "big"), int.from_bytes(header[68:72], "big")
    if not header.startswith(b"SQLite format 3\0") or application_id != _APPLICATION_ID:
        raise ConfigurationError(
            f"{str(path)!r} is no ledger, but a file of something else. Name another, or a new one."
        )
    if version > _VERSION:
        raise ConfigurationError(
            f"The ledger {str(path)!r} was written by a newer version of llama-cloud-chat (format {version}, this one"
            f" knows {_VERSION}). Update llama-cloud-chat, or name another file."
        )


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=_PATIENCE)
    try:
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN EXCLUSIVE")
        if db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
            db.execute(_TABLE)
            db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {_VERSION}")
        db.execute("DELETE FROM entries WHERE kind = ''")  # nothing: a file that cannot be written says so now
        db.execute("COMMIT")
        # Only now, so that what marks the file as ours is in the file itself and not in the log beside it.
        db.execute("PRAGMA journal_mode = WAL")
    except BaseException:
        db.close()
        raise
    return db


def _file_lock(path: Path) -> BaseFileLock:
    try:
        from filelock import FileLock  # noqa: PLC0415  # comes with the extra
    except ImportError:
        raise ConfigurationError(
            "SqliteLedger needs the package filelock; install it with: pip install 'llama-cloud-chat[sqlite]'"
        ) from None
    # Whoever leaves may be another thread. A lock that is a mere file would outlive its process.
    return FileLock(path, thread_local=False, fallback_to_soft=False)


def _acquire(lock: BaseFileLock) -> bool:
    """Try once."""
    from filelock import Timeout  # noqa: PLC0415

    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True


@contextmanager
def _named(path: Path, kind: type[ChatError]) -> Iterator[None]:
    """Raise what goes wrong with the file as one error that names it."""
    try:
        yield
    except (sqlite3.Error, OSError, NotImplementedError) as error:
        raise kind(
            f"The ledger {str(path)!r} cannot be used: {error}. Nothing was written. See that file and folder"
            " can be written and the disk has room, or name another file."
        ) from error
