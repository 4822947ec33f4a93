"""A PostgreSQL of the tests' own, where the program is installed; and a pooler before it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

USER = "tests"
_IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def program(name: str) -> str | None:
    """Return the newest program of that name, where Debian keeps PostgreSQL's or on the path."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    return str(found[-1]) if found else shutil.which(name) or shutil.which(name, path="/usr/sbin")


def _as_a_user(folder: Path) -> dict[str, Any]:
    """PostgreSQL does not run as root."""
    if not _IS_ROOT:
        return {}
    os.chown(folder, 65534, 65534)
    return {"user": 65534, "group": 65534, "extra_groups": []}


@dataclass
class Cluster:
    """A server on a socket in a folder, which trusts whoever comes by it, and on a port, where a password is asked."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    def dsn(self, database: str = "postgres") -> str:
        return f"host={self.folder} port={self.port} user={USER} dbname={database}"

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        import psycopg

        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type, call-overload]
            return cursor.fetchall() if cursor.description else []

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """Make a database, and give its name."""
        name = f"t{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name}")
        yield name
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def cluster(*, is_durable: bool = False) -> Iterator[Cluster]:
    """Start a server; skip the test where there is none. A durable one waits for the disk, as real ones do."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    initdb, postgres = program("initdb"), program("postgres")
    if initdb is None or postgres is None:
        pytest.skip("PostgreSQL is not installed here (Debian: apt install postgresql)")
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        who = _as_a_user(folder)
        options = ["-U", USER, "--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--no-sync"]
        password = folder / "password"
        password.write_text("right\n")
        password.chmod(0o644)
        subprocess.run(
            [initdb, "-D", str(folder / "data"), *options, f"--pwfile={password}"],
            check=True, stdout=subprocess.DEVNULL, cwd=folder, **who,
        )  # fmt: skip
        running = start(folder, free_port(), who, is_durable=is_durable)
        try:
            yield running
        finally:
            running.process.terminate()
            running.process.wait(30)


def start(folder: Path, port: int, who: dict[str, Any] | None = None, *, is_durable: bool = False) -> Cluster:
    postgres = program("postgres")
    assert postgres is not None
    settings = [f"unix_socket_directories={folder}", f"port={port}", "listen_addresses=127.0.0.1"]
    settings += [] if is_durable else ["fsync=off"]
    process = subprocess.Popen(
        [postgres, "-D", str(folder / "data"), *(f"--{setting}" for setting in settings)],
        stderr=subprocess.DEVNULL, cwd=folder, **(_as_a_user(folder) if who is None else who),
    )  # fmt: skip
    running = Cluster(folder, port, process)
    wait_until_it_answers(running.dsn())
    return running


def wait_until_it_answers(dsn: str) -> None:
    import psycopg

    def answers() -> bool:
        try:
            psycopg.connect(dsn).close()
        except psycopg.OperationalError:
            return False
        return True

    deadline = time.monotonic() + 30
    while not answers():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def pooler(server: Cluster, database: str, mode: str) -> Iterator[str]:
    """Start a PgBouncer before a database, and give its address; skip the test where there is none."""
    pgbouncer = program("pgbouncer")
    if pgbouncer is None:
        pytest.skip("PgBouncer is not installed here (Debian: apt install pgbouncer)")
    with tempfile.TemporaryDirectory(prefix="pgb-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder, port = Path(name), free_port()
        (folder / "users").write_text(f'"{USER}" ""\n')
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n{database} = host={server.folder} port={server.port} user={USER}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
            f"auth_file = {folder}/users\npool_mode = {mode}\nserver_reset_query_always = 0\n"
            "ignore_startup_parameters = extra_float_digits\n"
        )
        with subprocess.Popen(
            [pgbouncer, "-q", str(folder / "pgbouncer.ini")], stderr=subprocess.DEVNULL, **_as_a_user(folder)
        ) as running:
            try:
                dsn = f"host=127.0.0.1 port={port} user={USER} dbname={database}"
                wait_until_it_answers(dsn)
                yield dsn
            finally:
                running.kill()
