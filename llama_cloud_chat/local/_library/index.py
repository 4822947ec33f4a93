"""The indexed documents in one SQLite file. All SQL about documents is here.

The file is a copy of what the documents say, made so that they are read once: beside the sessions' file, not in
it, because it can be thrown away and made again at any time, may be written for minutes without holding up a
session, and changes its format when a reader does.

Everything is kept on disk, texts too; memory holds one document at a time while indexing, and nothing after it.
"""

from __future__ import annotations

import hashlib
import os
import queue
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llama_cloud_chat._errors import ConfigurationError
from llama_cloud_chat.local._sqlite import FileFormat, NotOursError

from .documents import Collection, Entry, Skipped, nothing_to_read
from .passages import split
from .readers import Document, UnreadableError
from .words import further_forms
from .worth import worth_of_passage

OnProgress = Callable[[int, int, str], object]
"""Called with how many documents are read, how many there are to read, and the name of the next."""

_READERS = 4
# A transaction for each small file would take longer than reading it.
_COMMIT_FILES = 100
_COMMIT_CHARS = 4 * 2**20
# How much a word counts in the text, in the heading above it, in the file's name, and in another form.
_WEIGHTS = "1.0, 2.0, 3.0, 0.5"
# One more whenever readers, passages or words change: what older ones made is then thrown away.
_VERSION = 3
_SCHEMA = """
CREATE TABLE files (
    number INTEGER PRIMARY KEY,
    file_id TEXT NOT NULL UNIQUE,
    index_id TEXT NOT NULL,
    name TEXT NOT NULL,
    stamp TEXT NOT NULL,
    path BLOB NOT NULL,
    fault TEXT,
    pages INTEGER NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX files_by_name ON files (index_id, name);
CREATE TABLE passages (
    number INTEGER PRIMARY KEY,
    file INTEGER NOT NULL REFERENCES files (number),
    place INTEGER NOT NULL,
    start INTEGER NOT NULL,
    end INTEGER NOT NULL,
    heading TEXT NOT NULL,
    page INTEGER,
    worth REAL NOT NULL
);
CREATE INDEX passages_by_file ON passages (file);
CREATE VIRTUAL TABLE words USING fts5 (
    content, heading, file_name, forms, tokenize = 'porter unicode61 remove_diacritics 2'
);
"""
_FORMAT = FileFormat(application_id=int.from_bytes(b"LCI1", "big"), version=_VERSION, schema=_SCHEMA)


@dataclass(frozen=True)
class File:
    """A document of an index.

    Attributes:
        file_id: The same for the same file every time.
        name: What it is cited by.
        path: Where it was read from.
        stamp: What `Entry.stamp` was then.
        pages: How many of its pages can be shown as pictures.
    """

    file_id: str
    name: str
    path: Path
    stamp: str
    pages: int


@dataclass(frozen=True)
class FoundPassage:
    """A passage, and the file it is in; offsets count in the file's text."""

    file_id: str
    file_name: str
    file_pages: int
    content: str
    start: int
    end: int
    place: int
    heading: str
    page: int | None


class Index:
    """The file. `update` it once, then read it from any thread.

    Raises:
        ConfigurationError: The file cannot be used; if it is not ours, it has not been changed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        _check_ours(path)
        self._readers: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._all_readers: list[sqlite3.Connection] = []
        self.passages = 0

    def update(self, collections: Sequence[Collection], on_progress: OnProgress | None = None) -> list[Skipped]:
        """Make the index hold exactly these collections, reading only what is new or has changed.

        Returns:
            What was passed over, collection by collection.

        Raises:
            ConfigurationError: A collection has nothing that can be read, or the file cannot be written.
        """
        try:
            try:
                skipped = _update(self._path, collections, on_progress)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                # Damaged, or of another format: nothing in it is worth more than reading the documents again.
                remove_index(self._path)
                skipped = _update(self._path, collections, on_progress)
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"The index {str(self._path)!r} cannot be written: {error}; make room, or name another data file."
            ) from None
        self._open_readers()
        return skipped

    def close(self) -> None:
        """Let go of the file; nothing can be searched afterwards."""
        for db in self._all_readers:
            db.close()

    def files(self, index_ids: Sequence[str], name: str = "", limit: int = -1) -> list[File]:
        """Return the files whose name holds `name` in any case, in the order of their names."""
        with self._reading() as db:
            rows = db.execute(
                # Only question marks are put in.
                "SELECT file_id, name, path, stamp, pages FROM files WHERE fault IS NULL"  # noqa: S608
                f" AND index_id IN ({_marks(index_ids)}) AND holds(name, ?) ORDER BY name, number LIMIT ?",
                (*index_ids, name.casefold(), limit),
            )
            return [_file(row) for row in rows]

    def file(self, file_id: str, index_ids: Sequence[str] | None = None) -> File | None:
        """Return a file; None if there is none of this id, or it is in another index than those given."""
        with self._reading() as db:
            row = db.execute(
                "SELECT file_id, name, path, stamp, pages, index_id FROM files WHERE file_id = ? AND fault IS NULL",
                (_bindable(file_id),),
            ).fetchone()
        return None if row is None or (index_ids is not None and row[5] not in index_ids) else _file(row[:5])

    def text(self, file_id: str) -> str:
        """Return the text of a file that is there."""
        with self._reading() as db:
            text: str = db.execute("SELECT text FROM files WHERE file_id = ?", (file_id,)).fetchone()[0]
            return text

    def candidates(self, match: str, index_ids: Sequence[str], limit: int) -> list[tuple[int, float]]:
        """Return the best passages by BM25, and what each is worth (`worth_of_passage`)."""
        with self._reading() as db:
            rows = db.execute(
                # FTS5 gives better passages a smaller rank.
                f"SELECT words.rowid, worth FROM words"  # noqa: S608
                " JOIN passages ON passages.number = words.rowid JOIN files ON files.number = passages.file"
                f" WHERE words MATCH ? AND files.index_id IN ({_marks(index_ids)})"
                f" ORDER BY bm25(words, {_WEIGHTS}), words.rowid LIMIT ?",
                (match, *index_ids, limit),
            )
            return rows.fetchall()

    def count(self, match: str) -> int:
        """Return how many passages match."""
        with self._reading() as db:
            count: int = db.execute("SELECT count(*) FROM words WHERE words MATCH ?", (match,)).fetchone()[0]
            return count

    def scores(self, match: str, numbers: Sequence[int]) -> dict[int, float]:
        """Return which of the given passages match, and how well by BM25."""
        with self._reading() as db:
            rows = db.execute(
                f"SELECT rowid, -bm25(words, {_WEIGHTS}) FROM words WHERE words MATCH ?"  # noqa: S608
                f" AND rowid IN ({_marks(numbers)})",
                (match, *numbers),
            )
            return dict(rows.fetchall())

    def passage(self, number: int) -> FoundPassage:
        """Return a passage that is there."""
        with self._reading() as db:
            row = db.execute(
                "SELECT file_id, name, pages, content, start, end, place, passages.heading, page FROM passages"
                " JOIN files ON files.number = passages.file JOIN words ON words.rowid = passages.number"
                " WHERE passages.number = ?",
                (number,),
            ).fetchone()
            return FoundPassage(*row)

    def _open_readers(self) -> None:
        # More than one, so that a search need not wait for another one's.
        for _ in range(_READERS):
            db = sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False)
            db.create_function("holds", 2, lambda name, part: part in name.casefold(), deterministic=True)
            self._all_readers.append(db)
            self._readers.put(db)
        with self._reading() as db:
            self.passages = db.execute("SELECT count(*) FROM passages").fetchone()[0]

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        db = self._readers.get()
        try:
            yield db
        finally:
            self._readers.put(db)


def _update(path: Path, collections: Sequence[Collection], on_progress: OnProgress | None) -> list[Skipped]:
    db = sqlite3.connect(path, isolation_level=None)
    try:
        _prepare(db)
        skipped = _Writer(db, on_progress).update(collections)
        # So that readers find everything in the one file.
        db.execute("PRAGMA journal_mode = DELETE")
    finally:
        db.close()
    return skipped


def _prepare(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("BEGIN IMMEDIATE")
    is_new = _FORMAT.make_tables(db)
    db.execute("COMMIT")
    if not is_new and db.execute("PRAGMA user_version").fetchone()[0] != _FORMAT.version:
        raise sqlite3.DatabaseError("another format")
    # Only now, so that what marks the file as ours is in the file itself and not in the log beside it.
    db.execute("PRAGMA journal_mode = WAL")


class _Writer:
    """Brings the file up to date, some files to a transaction."""

    def __init__(self, db: sqlite3.Connection, on_progress: OnProgress | None) -> None:
        self._db = db
        self._report = on_progress or (lambda done, total, name: None)
        self._waiting_files = 0
        self._waiting_chars = 0

    def update(self, collections: Sequence[Collection]) -> list[Skipped]:
        known = {
            file_id: (stamp, fault)
            for file_id, stamp, fault in self._db.execute("SELECT file_id, stamp, fault FROM files")
        }
        ids = [[_file_id(each.index_id, entry) for entry in each.entries] for each in collections]
        changed = [
            entry
            for each, file_ids in zip(collections, ids, strict=True)
            for entry, file_id in zip(each.entries, file_ids, strict=True)
            if known.get(file_id, ("",))[0] != entry.stamp
        ]
        total, done = len(changed), 0
        self._db.execute("BEGIN")
        self._forget(set(known).difference(*ids))
        skipped: list[Skipped] = []
        for collection, file_ids in zip(collections, ids, strict=True):
            passed_over = list(collection.skipped)
            for entry, file_id in zip(collection.entries, file_ids, strict=True):
                stamp, fault = known.get(file_id, ("", None))
                if stamp != entry.stamp:
                    self._report(done, total, entry.name)
                    fault = self._read(collection.index_id, file_id, entry)
                    done += 1
                if fault is not None:
                    passed_over.append(Skipped(entry.path, fault))
            if len(passed_over) - len(collection.skipped) == len(collection.entries):
                self._db.execute("COMMIT")
                raise nothing_to_read(collection, passed_over)
            skipped += passed_over
        self._db.execute("COMMIT")
        if total:
            self._report(total, total, "")
        return skipped

    def _read(self, index_id: str, file_id: str, entry: Entry) -> str | None:
        """Read a document into the index; returns what is wrong with it, if anything is."""
        fault = None
        try:
            document = entry.read()
        except UnreadableError as error:
            document, fault = Document(""), str(error)
        except Exception as error:
            # Whatever a broken file does to its reader, the other files are still to be read.
            document, fault = Document(""), f"cannot be read ({type(error).__name__})"
        self._forget({file_id})
        number = self._db.execute(
            "INSERT INTO files (file_id, index_id, name, stamp, path, fault, pages, text)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                file_id,
                index_id,
                _bindable(entry.name),
                entry.stamp,
                os.fsencode(entry.path),
                fault,
                document.pages,
                document.text,
            ),
        ).lastrowid
        for passage in split(document.text, paged=document.is_paged):
            row = self._db.execute(
                "INSERT INTO passages (file, place, start, end, heading, page, worth) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    number,
                    passage.index,
                    passage.start,
                    passage.end,
                    passage.heading,
                    passage.page,
                    worth_of_passage(passage.content, passage.heading, entry.name),
                ),
            ).lastrowid
            self._db.execute(
                "INSERT INTO words (rowid, content, heading, file_name, forms) VALUES (?, ?, ?, ?, ?)",
                (
                    row,
                    passage.content,
                    passage.heading,
                    _bindable(entry.name),
                    further_forms(f"{passage.heading}\n{passage.content}"),
                ),
            )
        self._commit_some(len(document.text))
        return fault

    def _forget(self, file_ids: set[str]) -> None:
        for file_id in file_ids:
            row = self._db.execute("SELECT number FROM files WHERE file_id = ?", (file_id,)).fetchone()
            if row is not None:
                self._db.execute("DELETE FROM words WHERE rowid IN (SELECT number FROM passages WHERE file = ?)", row)
                self._db.execute("DELETE FROM passages WHERE file = ?", row)
                self._db.execute("DELETE FROM files WHERE number = ?", row)

    def _commit_some(self, chars: int) -> None:
        self._waiting_files += 1
        self._waiting_chars += chars
        if self._waiting_files >= _COMMIT_FILES or self._waiting_chars >= _COMMIT_CHARS:
            self._db.execute("COMMIT")
            self._db.execute("BEGIN")
            self._waiting_files = self._waiting_chars = 0


def _check_ours(path: Path) -> None:
    """Refuse a file of somebody else."""
    try:
        _FORMAT.version_of(path)
    except NotOursError:
        raise ConfigurationError(f"{str(path)!r} is not an index of this service; move it away.") from None
    except OSError as error:
        raise ConfigurationError(f"The index {str(path)!r} cannot be opened ({error.strerror}).") from None
    if path.exists() and not os.access(path, os.W_OK):
        raise ConfigurationError(f"The index {str(path)!r} is read-only; allow writing to it, or delete it.")


def remove_index(path: Path) -> None:
    """Remove an index and what SQLite has put beside it; a full disk keeps it from doing so itself."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _file(row: tuple[str, str, bytes, str, int]) -> File:
    file_id, name, path, stamp, pages = row
    return File(file_id, name, Path(os.fsdecode(path)), stamp, pages)


def _file_id(index_id: str, entry: Entry) -> str:
    return "dfl-" + hashlib.sha256(f"{index_id}\0{entry.name}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _bindable(name: str) -> str:
    # A file's name may hold bytes that are no characters; SQLite takes none of these.
    return name.encode("utf-8", "replace").decode("utf-8")


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
