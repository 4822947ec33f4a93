"""A ledger in PostgreSQL, for many machines.

What is said to the database is said by flows: generators that yield what to ask, on which connection, and are sent the
rows. Both colours drive the same ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from llama_cloud_chat._errors import ChatError, ConfigurationError
from llama_cloud_chat._session.ledger import Hold, Ledger, Note, SessionCount

from .fork import FreshInChild
from .hold import QueuedHold, Queues

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection
    from psycopg.sql import Composable, Composed
    from psycopg_pool import AsyncConnectionPool, ConnectionPool
    from typing_extensions import LiteralString

T = TypeVar("T")

_VERSION = 1
_MARK = "llama-cloud-chat ledger, version "
_SPARES = 4
"""How many idle connections to keep, per event loop and for all threads together."""

_DEFAULTS: dict[str, Any] = {
    "application_name": "llama-cloud-chat ledger",
    "connect_timeout": 10,
    # A machine that vanishes without a word, here or there, is noticed in 40 seconds and not in two hours.
    "keepalives_idle": 10,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
_SET_UP = (
    "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0;"
    " SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3"
)
_BACKEND = "SELECT pg_backend_pid()"
_LOCK = "SELECT pg_advisory_lock(%s)"
_UNLOCK = "SELECT pg_advisory_unlock(%s)"
_IS_HELD = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted AND objsubid = 1"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND (classid::bigint << 32) | objid::bigint = %s"
)


class _Ask(NamedTuple):
    """A statement, its values, and on which of the flow's connections it runs."""

    statement: str | Composed
    values: tuple[object, ...] = ()
    on: int = 0


Flow = Generator[_Ask, list[Any], T]


class PostgresLedger(Ledger, FreshInChild):
    """A ledger for many machines, in one table of PostgreSQL. Needs the extra `postgres`, which is psycopg 3.

    The table is made when it is first needed and is not there, as its schema is; a role that may not make it can be
    given one that is. A note takes a few hundred bytes and stays until somebody deletes its row. How durable a commit
    is, is the database's setting (`synchronous_commit`).

    A name is held by an advisory lock on a connection of its own: when the process dies, its connection goes, and the
    name is free at once. So a turn takes up to three connections while it runs, and a few idle ones are kept.
    A pooler in transaction mode (PgBouncer, Supabase's port 6543, Neon's `-pooler` address) would give the lock to
    somebody else's connection; one that is noticed is refused. Give the direct address, or one in session mode.

    On Windows, psycopg's async connections need the selector event loop: `asyncio.run(main(),
    loop_factory=asyncio.SelectorEventLoop)`.

    Args:
        dsn: Which database, as a URL or as `key=value` words; None takes what libpq takes (`PGHOST`, `PGDATABASE`,
            `PGPASSWORD`, `~/.pgpass` and so on), or the pool's address.
        schema: The table's schema; None for the first of the role's `search_path`.
        table: The table's name.
        pool: A `psycopg_pool.ConnectionPool` of yours for reading and writing notes; it stays yours to open and close.
            Holds still open connections of their own, to `dsn` or else to the pool's address: one lasts a whole turn,
            and would starve the pool.
        async_pool: The same for asyncio: a `psycopg_pool.AsyncConnectionPool`.

    Raises:
        ConfigurationError: psycopg is not installed, or an argument is not what it should be. No connection is made
            before the ledger is first used.
    """

    holds_sessions = True

    def __init__(
        self,
        dsn: str | None = None,
        *,
        schema: str | None = None,
        table: str = "llama_cloud_chat_ledger",
        pool: ConnectionPool[Any] | None = None,
        async_pool: AsyncConnectionPool[Any] | None = None,
    ) -> None:
        _check_psycopg()
        self._parameters = _parameters(dsn, pool, async_pool)
        self._schema, self._table = schema, table
        self._pool, self._async_pool = pool, async_pool
        self._flows = _Flows(schema, table, str(self))
        self._queues = Queues()
        self._connections: weakref.WeakSet[Connection[Any] | AsyncConnection[Any]] = weakref.WeakSet()
        super().__init__()

    def _begin_anew(self) -> None:
        self._lock = threading.RLock()
        self._spares: list[_Own] = []
        self._async_spares: dict[asyncio.AbstractEventLoop, list[_Own]] = {}
        self._is_ready = False
        for connection in list(self._connections):
            _leave_to_the_parent(connection)
        self._connections.clear()

    def read(self, key: str) -> Note | None:
        return self._run(lambda: self._flows.read(key))

    async def aread(self, key: str) -> Note | None:
        return await self._arun(lambda: self._flows.read(key))

    def write(self, key: str, note: Note) -> None:
        self._run(lambda: self._flows.put("note", key, note.to_json()))

    async def awrite(self, key: str, note: Note) -> None:
        await self._arun(lambda: self._flows.put("note", key, note.to_json()))

    def recall(self, session: str) -> SessionCount | None:
        return self._run(lambda: self._flows.recall(session))

    async def arecall(self, session: str) -> SessionCount | None:
        return await self._arun(lambda: self._flows.recall(session))

    def remember(self, session: str, turns: int | None) -> None:
        self._run(lambda: self._flows.remember(session, turns))

    async def aremember(self, session: str, turns: int | None) -> None:
        await self._arun(lambda: self._flows.remember(session, turns))

    def hold(self, name: str) -> Hold:
        return _DatabaseHold(self._queues, name, self)

    def close(self) -> None:
        with self._lock:
            idle = [*self._spares, *(own for spares in self._async_spares.values() for own in spares)]
            self._spares.clear()
            self._async_spares.clear()
        for own in idle:
            own.close()

    async def aclose(self) -> None:
        self.close()  # closing an idle connection is one short word to the database

    def __repr__(self) -> str:
        shown = ("host", "hostaddr", "port", "dbname", "user", "service")
        words = [f"{name}={self._parameters[name]}" for name in shown if self._parameters.get(name)]
        table = f"{self._schema}.{self._table}" if self._schema else self._table
        return f"PostgresLedger({' '.join([*words, f'table={table}'])})"

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle all but the password, which is to come from the environment where it arrives."""
        if self._pool is not None or self._async_pool is not None:
            raise ConfigurationError("A PostgresLedger with a pool cannot be pickled; give it a dsn instead.")
        return _unpickled, (_without_secrets(self._parameters), self._schema, self._table)

    # How the two colours reach the database.

    def _run(self, flow: Callable[[], Flow[T]]) -> T:
        """Run a flow on some connection, and give that back."""
        if self._pool is None:
            own, result = self._begin(lambda _: flow())
            self._give(own)
            return result
        with self._named(), self._pool.connection() as connection:
            self._make_ready(connection)
            return _drive((connection,), flow())

    async def _arun(self, flow: Callable[[], Flow[T]]) -> T:
        if self._async_pool is None:
            own, result = await self._abegin(lambda _: flow())
            self._agive(own)
            return result
        with self._named():
            async with self._async_pool.connection() as connection:
                await self._amake_ready(connection)
                return await _adrive((connection,), flow())

    def _begin(self, flow: Callable[[_Own], Flow[T]]) -> tuple[_Own, T]:
        """Run a flow on a connection of the ledger's own, and return that too.

        An idle one may have been lost since. Whatever is asked of it can be asked again, on another one.
        """
        from psycopg import OperationalError  # noqa: PLC0415  # comes with the extra

        with self._named():
            while True:
                with self._lock:
                    spare = self._spares.pop() if self._spares else None
                own = spare or self._connect()
                try:
                    self._make_ready(own.connection)
                    return own, _drive((own.connection,), flow(own))
                except OperationalError:
                    own.close()
                    if spare is None:
                        raise
                except BaseException:
                    own.close()
                    raise

    async def _abegin(self, flow: Callable[[_Own], Flow[T]]) -> tuple[_Own, T]:
        from psycopg import OperationalError  # noqa: PLC0415  # comes with the extra

        with self._named():
            while True:
                with self._lock:
                    spares = self._async_spares.get(asyncio.get_running_loop())
                    spare = spares.pop() if spares else None
                own = spare or await self._aconnect()
                try:
                    await self._amake_ready(own.connection)
                    return own, await _adrive((own.connection,), flow(own))
                except OperationalError:
                    own.close()
                    if spare is None:
                        raise
                except BaseException:
                    own.close()
                    raise

    def _connect(self) -> _Own:
        from psycopg import connect  # noqa: PLC0415  # comes with the extra

        with contextlib.ExitStack() as undo:
            connection = connect(**self._parameters)
            undo.callback(connection.close)
            own = _Own(connection, connection.info.backend_pid)
            own.is_pooled = _drive((connection,), self._flows.is_pooled(own.backend))
            if own.is_pooled:
                with connect(**self._parameters) as other:
                    _drive((connection, other), self._flows.refuse_shifting_backends())
            _drive((connection,), self._flows.set_up())
            undo.pop_all()
        self._connections.add(connection)
        return own

    async def _aconnect(self) -> _Own:
        from psycopg import AsyncConnection  # noqa: PLC0415  # comes with the extra

        async with contextlib.AsyncExitStack() as undo:
            connection = await AsyncConnection.connect(**self._parameters)
            undo.push_async_callback(connection.close)
            own = _Own(connection, connection.info.backend_pid)
            own.is_pooled = await _adrive((connection,), self._flows.is_pooled(own.backend))
            if own.is_pooled:
                async with await AsyncConnection.connect(**self._parameters) as other:
                    await _adrive((connection, other), self._flows.refuse_shifting_backends())
            await _adrive((connection,), self._flows.set_up())
            undo.pop_all()
        self._connections.add(connection)
        with self._lock:
            for loop in [loop for loop in self._async_spares if loop.is_closed()]:
                for left in self._async_spares.pop(loop):
                    left.close()
        return own

    def _make_ready(self, connection: Any) -> None:
        if not self._is_ready:
            with connection.transaction():
                _drive((connection,), self._flows.make_table())
            self._is_ready = True

    async def _amake_ready(self, connection: Any) -> None:
        if not self._is_ready:
            async with connection.transaction():
                await _adrive((connection,), self._flows.make_table())
            self._is_ready = True

    def _give(self, own: _Own) -> None:
        with self._lock:
            own.keep_or_close(self._spares)

    def _agive(self, own: _Own) -> None:
        with self._lock:
            own.keep_or_close(self._async_spares.setdefault(asyncio.get_running_loop(), []))

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Raise what goes wrong as one error that names the database, and not its password."""
        from psycopg import Error  # noqa: PLC0415  # comes with the extra

        try:
            yield
        except (Error, OSError, UnicodeEncodeError) as error:
            text = " ".join(str(error).split())
            for secret in _SECRETS:
                if value := self._parameters.get(secret):
                    text = text.replace(str(value), "***")
            raise ChatError(f"The ledger {self} cannot be used: {text or type(error).__name__}") from None


@dataclass(eq=False)
class _Own:
    """A connection of the ledger's own.

    Attributes:
        connection: It, in either colour.
        backend: The database's process behind it, as it said when the connection was made.
        is_pooled: Whether a pooler stands between.
        pid: The process that opened it.
    """

    connection: Any
    backend: int
    is_pooled: bool = False
    pid: int = field(default_factory=os.getpid)

    def close(self) -> None:
        """Close it, whatever colour it has; nobody waits for it."""
        self.connection.pgconn.finish()

    def keep_or_close(self, spares: list[_Own]) -> None:
        """Keep it for whoever comes next, unless there are enough."""
        if len(spares) < _SPARES and not self.connection.closed:
            spares.append(self)
        else:
            self.close()


class _DatabaseHold(QueuedHold):
    """A hold among all machines: an advisory lock, and the connection it lives on."""

    def __init__(self, queues: Queues, name: str, ledger: PostgresLedger) -> None:
        super().__init__(queues, name)
        self._ledger = ledger
        self._number = ledger._flows.number_of(name)
        self._own: _Own | None = None

    def _take(self) -> None:
        self._own, _ = self._ledger._begin(lambda own: self._ledger._flows.lock(self._number, own.is_pooled))

    async def _atake(self) -> None:
        self._own, _ = await self._ledger._abegin(lambda own: self._ledger._flows.lock(self._number, own.is_pooled))

    def _give_back(self) -> None:
        own = self._mine()
        if own is not None:
            with self._closing_unless_unlocked(own):
                _drive((own.connection,), self._ledger._flows.unlock(self._number))
                self._ledger._give(own)

    async def _agive_back(self) -> None:
        own = self._mine()
        if own is not None:
            with self._closing_unless_unlocked(own):
                await _adrive((own.connection,), self._ledger._flows.unlock(self._number))
                self._ledger._agive(own)

    def _mine(self) -> _Own | None:
        own, self._own = self._own, None
        assert own is not None
        return own if own.pid == os.getpid() else None  # in the child of a fork it is the parent's

    @contextlib.contextmanager
    def _closing_unless_unlocked(self, own: _Own) -> Iterator[None]:
        from psycopg import Error  # noqa: PLC0415  # comes with the extra

        try:
            yield
        except Error:
            own.close()  # the lock goes with the connection, if it has not gone already
        except BaseException:
            own.close()
            raise


class _Flows:
    """What is asked of the database, and what its answers mean."""

    def __init__(self, schema: str | None, table: str, ledger: str) -> None:
        from psycopg import sql  # noqa: PLC0415  # comes with the extra

        for what, name in (("schema", schema), ("table", table)):
            if not (name is None and what == "schema") and not (isinstance(name, str) and 0 < len(name.encode()) < 64):
                raise ConfigurationError(f"{what} is a name of 1 to 63 bytes, not {name!r}.")
        self._ledger = ledger
        self._identifier = sql.Identifier(*([schema] if schema else []), table)
        self._name = self._identifier.as_string(None)
        self._schema = sql.Identifier(schema) if schema else None
        self._mark = sql.Literal(f"{_MARK}{_VERSION}")

    def number_of(self, name: str) -> int:
        """Return the number of a name's advisory lock; other tables of the database have others."""
        scoped = f"{self._name}\0{name}".encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.sha256(scoped).digest()[:8], "big", signed=True)

    def read(self, key: str) -> Flow[Note | None]:
        rows = yield self._on_table("SELECT body FROM {} WHERE kind = 'note' AND name = %s", key)
        if not rows:
            return None
        try:
            return Note.from_json(rows[0][0])
        except (ValueError, TypeError):
            message = f"The ledger {self._ledger} holds a note that cannot be read: {rows[0][0][:80]!r}."
            raise ChatError(message) from None

    def put(self, kind: str, name: str, body: str) -> Flow[None]:
        yield self._on_table(
            "INSERT INTO {} (kind, name, body, written_at) VALUES (%s, %s, %s, clock_timestamp())"
            " ON CONFLICT (kind, name) DO UPDATE SET body = excluded.body, written_at = excluded.written_at",
            kind, name, body,
        )  # fmt: skip

    def recall(self, session: str) -> Flow[SessionCount | None]:
        rows = yield self._on_table(
            "SELECT body, extract(epoch FROM clock_timestamp() - written_at)::float8 FROM {}"
            " WHERE kind = 'session' AND name = %s",
            session,
        )
        if not rows or rows[0][1] < 0:  # the database's clock was set back: nothing is known of that time
            return None
        return SessionCount(int(rows[0][0]), rows[0][1])

    def remember(self, session: str, turns: int | None) -> Flow[None]:
        if turns is None:
            yield self._on_table("DELETE FROM {} WHERE kind = 'session' AND name = %s", session)
        else:
            yield from self.put("session", session, str(turns))

    def lock(self, number: int, is_pooled: bool) -> Flow[None]:
        """Wait for an advisory lock. Behind a pooler, see that it is where the next statement arrives."""
        yield _Ask(_LOCK, (number,))
        if is_pooled:
            [(held,)] = yield _Ask(_IS_HELD, (number,))
            if not held:
                raise self._shifting()

    def unlock(self, number: int) -> Flow[None]:
        yield _Ask(_UNLOCK, (number,))

    def set_up(self) -> Flow[None]:
        """Let locks be waited for without end, and dead machines be noticed."""
        yield _Ask(_SET_UP)

    def is_pooled(self, backend: int) -> Flow[bool]:
        """Find out whether a pooler answered the connection: it cannot know which process will serve it."""
        [(actual,)] = yield _Ask(_BACKEND)
        return bool(actual != backend)

    def refuse_shifting_backends(self) -> Flow[None]:
        """See on a second connection whether the pooler lends a process out while the first still has it."""
        for _ in range(3):
            [(mine,)] = yield _Ask(_BACKEND)
            [(other,)] = yield _Ask(_BACKEND, on=1)
            [(again,)] = yield _Ask(_BACKEND)
            if mine != again or mine == other:
                raise self._shifting()

    def _shifting(self) -> ConfigurationError:
        return ConfigurationError(
            f"The ledger {self._ledger} is behind a connection pooler in transaction mode, which gives its locks to"
            " other connections. Give the database's direct address, or the pooler's in session mode."
        )

    def make_table(self) -> Flow[None]:
        """Make the table unless it is there; inside a transaction, so that of many workers one makes it.

        Not looked for again behind the lock: within a transaction a name that was not there may go on missing.
        """
        if (yield from self._is_there()):
            return
        yield _Ask("SELECT pg_advisory_xact_lock(%s)", (self.number_of("the table"),))
        if self._schema is not None:
            [(schema,)] = yield _Ask("SELECT to_regnamespace(%s)::text", (self._schema.as_string(None),))
            if schema is None:
                yield _ask("CREATE SCHEMA IF NOT EXISTS {}", self._schema)
        yield self._on_table(
            "CREATE TABLE IF NOT EXISTS {} (kind text NOT NULL, name text NOT NULL, body text NOT NULL,"
            " written_at timestamptz NOT NULL, PRIMARY KEY (kind, name))"
        )
        yield _ask("COMMENT ON TABLE {} IS {}", self._identifier, self._mark)

    def _is_there(self) -> Flow[bool]:
        [(found, comment)] = yield _Ask(
            "SELECT to_regclass(%s)::text, obj_description(to_regclass(%s), 'pg_class')", (self._name, self._name)
        )
        if found is None:
            return False
        mark, _, version = (comment or "").partition(_MARK)
        if mark or not version.isdecimal():
            raise ConfigurationError(
                f"The table of {self._ledger} is no ledger, but something else's. Name another one: table=."
            )
        if int(version) > _VERSION:
            raise ConfigurationError(
                f"The ledger {self._ledger} was written by a newer version of llama-cloud-chat (format {version}, this"
                f" one knows {_VERSION}). Update llama-cloud-chat, or name another table."
            )
        return True

    def _on_table(self, statement: LiteralString, *values: object) -> _Ask:
        return _ask(statement, self._identifier, values=values)


def _ask(statement: LiteralString, *parts: Composable, values: tuple[object, ...] = ()) -> _Ask:
    from psycopg import sql  # noqa: PLC0415  # comes with the extra

    return _Ask(sql.SQL(statement).format(*parts), values)


def _drive(connections: tuple[Any, ...], flow: Flow[T]) -> T:
    from psycopg.rows import tuple_row  # noqa: PLC0415  # comes with the extra

    try:
        ask = next(flow)
        while True:
            with connections[ask.on].cursor(row_factory=tuple_row) as cursor:
                cursor.execute(ask.statement, ask.values or None, prepare=False)
                rows = cursor.fetchall() if cursor.description else []
            ask = flow.send(rows)
    except StopIteration as end:
        result: T = end.value
        return result


async def _adrive(connections: tuple[Any, ...], flow: Flow[T]) -> T:
    from psycopg.rows import tuple_row  # noqa: PLC0415  # comes with the extra

    try:
        ask = next(flow)
        while True:
            async with connections[ask.on].cursor(row_factory=tuple_row) as cursor:
                await cursor.execute(ask.statement, ask.values or None, prepare=False)
                rows = await cursor.fetchall() if cursor.description else []
            ask = flow.send(rows)
    except StopIteration as end:
        result: T = end.value
        return result


_SECRETS = ("password", "sslpassword")
_PARENTS: list[object] = []


def _leave_to_the_parent(connection: Any) -> None:
    """Let go of a parent's connection in its child: the database is told nothing, and sees it end with the parent.

    The child's copy of the socket would keep the connection, and its lock, when the parent is killed.
    """
    _PARENTS.append(connection)  # collecting it would warn that it is open
    if not connection.closed:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, connection.fileno(), inheritable=False)
        os.close(null)


def _check_psycopg() -> None:
    try:
        import psycopg  # noqa: F401, PLC0415  # comes with the extra
    except ImportError as error:
        raise ConfigurationError(
            "PostgresLedger needs psycopg, and psycopg the library libpq; install both with:"
            f" pip install 'llama-cloud-chat[postgres]' 'psycopg[binary]' ({error})"
        ) from None


def _parameters(dsn: str | None, *pools: Any) -> dict[str, Any]:
    """Return what connections are made with: of `dsn`, else of the first pool."""
    from psycopg import ProgrammingError  # noqa: PLC0415  # comes with the extra
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    given: dict[str, Any] = {}
    for pool in reversed([pool for pool in pools if pool is not None]):
        if not hasattr(pool, "connection") or not hasattr(pool, "conninfo"):
            raise ConfigurationError("pool and async_pool take the pools of psycopg_pool.")
        if dsn is None:
            dsn = pool.conninfo
            given = pool.kwargs or {}
    if not isinstance(dsn, str | None) or not isinstance(given, dict):
        raise ConfigurationError("dsn must say which database: 'postgresql://user@host/database', or 'dbname=...'.")
    try:
        parameters = conninfo_to_dict(dsn or "")
    except ProgrammingError:  # its words may quote the password
        raise ConfigurationError(
            "dsn cannot be read; it is 'postgresql://user@host/database', or 'dbname=...'."
        ) from None
    ours = {"autocommit", "row_factory", "cursor_factory", "prepare_threshold", "context"}
    own = {name: value for name, value in given.items() if name not in ours}
    return {**_DEFAULTS, **parameters, **own, "autocommit": True, "prepare_threshold": None}


def _without_secrets(parameters: dict[str, Any]) -> str:
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415  # comes with the extra

    left_out = {*_SECRETS, "autocommit", "prepare_threshold"}
    return make_conninfo(**{name: value for name, value in parameters.items() if name not in left_out})


def _unpickled(dsn: str, schema: str | None, table: str) -> PostgresLedger:
    return PostgresLedger(dsn, schema=schema, table=table)
