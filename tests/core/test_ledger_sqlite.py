"""A ledger in a file, for the processes of a machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llama_cloud_chat import ChatError, ConfigurationError, SqliteLedger

from ..support.ledgers import NOTE, SharedLedgerContract

pytest.importorskip("filelock")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqliteLedger]:
    ledger = SqliteLedger(path)
    yield ledger
    ledger.close()


class TestSqlite(SharedLedgerContract):
    @pytest.fixture
    def expression(self, path: Path) -> str:
        return f"SqliteLedger({str(path)!r})"


def pragma(path: Path, name: str) -> Any:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute(f"PRAGMA {name}").fetchone()[0]


def test_it_is_durable_before_a_write_returns(ledger: SqliteLedger, path: Path) -> None:
    ledger.write("key", NOTE)
    assert pragma(path, "journal_mode") == "wal"
    assert ledger._connection().execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL


def test_it_says_which_file_it_is(ledger: SqliteLedger, path: Path) -> None:
    assert repr(ledger) == f"SqliteLedger({str(path)!r})"


@pytest.mark.parametrize("path", ["", "a\0b", None, 7, b"ledger.db"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(ConfigurationError, match="takes the path of a file"):
        SqliteLedger(path)


def test_memory_is_another_ledger() -> None:
    with pytest.raises(ConfigurationError, match=r"MemoryLedger\(\)"):
        SqliteLedger(":memory:")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing/ledger.db' cannot be made: its folder is not there"):
        SqliteLedger(tmp_path / "missing" / "ledger.db")
    assert not (tmp_path / "missing").exists()


def test_a_folder_is_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"{tmp_path.name}' cannot be used"):
        SqliteLedger(tmp_path)


def test_an_empty_file_is_a_new_ledger(path: Path) -> None:
    path.touch()
    ledger = SqliteLedger(path)
    ledger.write("key", NOTE)
    ledger.close()
    ledger.close()


def other_database(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")


@pytest.mark.parametrize("make", [other_database, lambda path: path.write_text("a letter")], ids=["sqlite", "text"])
def test_a_file_of_something_else_is_refused_and_left_alone(path: Path, make: Any) -> None:
    make(path)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=r"ledger.db' is no ledger, but a file of something else"):
        SqliteLedger(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_ledger_of_a_newer_version_is_refused(path: Path) -> None:
    SqliteLedger(path).close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 2")
    with pytest.raises(ConfigurationError, match=r"newer version of llama-cloud-chat \(format 2, this one knows 1\)"):
        SqliteLedger(path)


def test_a_damaged_file_is_refused(path: Path) -> None:
    SqliteLedger(path).close()
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    with pytest.raises(ChatError, match=r"ledger.db' cannot be used"):
        SqliteLedger(path).read("key")


@pytest.mark.parametrize("body", ["{", '{"unknown": 1}', "[]"])
def test_a_note_that_cannot_be_read_is_one_error(ledger: SqliteLedger, body: str) -> None:
    ledger._put("note", "key", body)
    with pytest.raises(ChatError, match=r"ledger.db' holds a note that cannot be read"):
        ledger.read("key")


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Run as a user who may not write everywhere, as root may."""
    if sys.platform == "win32" or os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(sys.platform == "win32", reason="folders have other rights there")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_cannot_be_written_is_refused(what: str) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        path = Path(folder) / "ledger.db"
        if what == "file":
            SqliteLedger(path).close()
            path.chmod(0o444)
            path.with_name("ledger.db.locks").chmod(0o777)
            path.with_name("ledger.db.locks").joinpath("open").chmod(0o666)
        Path(folder).chmod(0o777 if what == "file" else 0o555)
        try:
            with (
                as_nobody(),
                pytest.raises(ConfigurationError, match=r"ledger.db' cannot be used: .*(readonly|denied)"),
            ):
                SqliteLedger(path)
        finally:
            Path(folder).chmod(0o755)


def test_a_full_disk_is_one_error_and_what_was_written_stays(ledger: SqliteLedger) -> None:
    ledger.write("key", NOTE)
    db = ledger._connection()
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(ChatError, match=r"ledger.db' cannot be used: database or disk is full\. Nothing was written"):
        for number in range(1000):
            ledger.write(str(number) * 100, NOTE)
    assert ledger.read("key") == NOTE


def test_a_hold_whose_folder_cannot_be_made_is_one_error(ledger: SqliteLedger, path: Path) -> None:
    locks = path.with_name("ledger.db.locks")
    locks.joinpath("open").unlink()
    locks.rmdir()
    with ledger.hold("name"):
        pass  # the folder was tidied away, and is made again
    for file in locks.iterdir():
        file.unlink()
    locks.rmdir()
    locks.touch()
    for _ in range(2):  # whoever could not hold it is not in its own way
        with pytest.raises(ChatError, match=r"ledger.db' cannot be used"), ledger.hold("name"):
            raise AssertionError


def test_a_count_from_the_future_is_none(ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.remember("s", 3)
    monkeypatch.setattr("time.time", lambda: 1000.0)
    assert ledger.recall("s") is None


def test_without_filelock_the_error_says_what_to_install(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "filelock", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'llama-cloud-chat\[sqlite\]'"):
        SqliteLedger(path)


async def test_a_write_that_is_cancelled_is_over_when_the_task_is(ledger: SqliteLedger) -> None:
    begun, go = threading.Event(), threading.Event()
    put = ledger._put

    def slow(*values: str) -> None:
        begun.set()
        go.wait(30)
        put(*values)

    ledger._put = slow  # type: ignore[method-assign]
    writing = asyncio.create_task(ledger.awrite("key", NOTE))
    await asyncio.to_thread(begun.wait, 30)
    writing.cancel()
    await asyncio.sleep(0)
    assert not writing.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert ledger.read("key") == NOTE


def test_a_child_of_a_fork_opens_it_anew(ledger: SqliteLedger) -> None:
    before = ledger._connection()
    ledger._begin_anew()
    ledger.write("key", NOTE)
    assert ledger._connection() is not before
    before.close()
