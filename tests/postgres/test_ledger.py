"""A ledger in PostgreSQL, for many machines."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from llama_cloud_chat import ChatError, ConfigurationError, PostgresLedger

from ..support import postgres
from ..support.ledgers import NOTE, SharedLedgerContract, chances, entered, soon
from ..support.postgres import Cluster

psycopg = pytest.importorskip("psycopg", exc_type=ImportError)


@pytest.fixture
def ledger(dsn: str) -> Iterator[PostgresLedger]:
    ledger = PostgresLedger(dsn)
    yield ledger
    ledger.close()


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class TestPostgres(SharedLedgerContract):
    @pytest.fixture
    def expression(self, dsn: str) -> str:
        return f"PostgresLedger({dsn!r})"


async def use(colour: str, ledger: PostgresLedger) -> None:
    if colour == "sync":
        ledger.write("key", NOTE)
        assert ledger.read("key") == NOTE
    else:
        await ledger.awrite("key", NOTE)
        assert await ledger.aread("key") == NOTE
    async with entered(colour, ledger.hold("name")):
        pass


def test_it_keeps_the_sessions_of_clients_too(ledger: PostgresLedger) -> None:
    assert ledger.holds_sessions


async def test_its_schema_and_table_are_the_user_s_to_name(cluster: Cluster, database: str, colour: str) -> None:
    ledger = PostgresLedger(cluster.dsn(database), schema='my "schema"', table="notes; --")
    await use(colour, ledger)
    assert cluster.execute('SELECT count(*) FROM "my ""schema"""."notes; --"', database) == [(1,)]
    ledger.close()


async def test_a_table_that_is_there_needs_no_right_to_make_one(cluster: Cluster, database: str, colour: str) -> None:
    dsn = cluster.dsn(database)
    await use("sync", owner := PostgresLedger(dsn, schema="ours"))
    owner.close()
    for statement in (
        f"CREATE ROLE w{database} LOGIN",
        f"GRANT USAGE ON SCHEMA ours TO w{database}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ours.llama_cloud_chat_ledger TO w{database}",
    ):
        cluster.execute(statement, database)
    worker = PostgresLedger(dsn.replace(f"user={postgres.USER}", f"user=w{database}"), schema="ours")
    await use(colour, worker)
    worker.close()
    refused = PostgresLedger(dsn.replace(f"user={postgres.USER}", f"user=w{database}"), schema="another")
    with pytest.raises(ChatError, match="permission denied"):
        await use(colour, refused)
    refused.close()


async def test_two_tables_of_a_database_are_two_ledgers(dsn: str) -> None:
    one, two = PostgresLedger(dsn), PostgresLedger(dsn, table="another")
    one.write("key", NOTE)
    assert two.read("key") is None
    with one.hold("name"), two.hold("name"):
        pass
    one.close()
    two.close()


@pytest.mark.parametrize("comment", ["NULL", "'their notes'", "'about: llama-cloud-chat ledger, version 1'"])
def test_a_table_of_something_else_is_refused(cluster: Cluster, database: str, comment: str) -> None:
    cluster.execute("CREATE TABLE llama_cloud_chat_ledger (theirs int)", database)
    cluster.execute(f"COMMENT ON TABLE llama_cloud_chat_ledger IS {comment}", database)
    with pytest.raises(ConfigurationError, match="is no ledger, but something else's"):
        PostgresLedger(cluster.dsn(database)).read("key")


def test_a_table_of_a_newer_version_is_refused(cluster: Cluster, database: str, ledger: PostgresLedger) -> None:
    ledger.read("key")
    cluster.execute("COMMENT ON TABLE llama_cloud_chat_ledger IS 'llama-cloud-chat ledger, version 2'", database)
    with pytest.raises(ConfigurationError, match=r"newer version of llama-cloud-chat \(format 2, this one knows 1\)"):
        PostgresLedger(cluster.dsn(database)).read("key")


@pytest.mark.parametrize("body", ["{", '{"unknown": 1}', "[]"])
def test_a_note_that_cannot_be_read_is_one_error(ledger: PostgresLedger, body: str) -> None:
    ledger._run(lambda: ledger._flows.put("note", "key", body))
    with pytest.raises(ChatError, match="holds a note that cannot be read"):
        ledger.read("key")


async def test_a_count_from_the_future_is_none(cluster: Cluster, database: str, ledger: PostgresLedger) -> None:
    ledger.remember("s", 3)
    cluster.execute("UPDATE llama_cloud_chat_ledger SET written_at = now() + interval '1 hour'", database)
    assert ledger.recall("s") is None
    cluster.execute("UPDATE llama_cloud_chat_ledger SET written_at = now() - interval '1 hour'", database)
    count = await ledger.arecall("s")
    assert count is not None
    assert 3600 <= count.age < 3660


async def test_a_role_s_timeouts_do_not_end_a_wait(cluster: Cluster, database: str, colour: str) -> None:
    cluster.execute(f"ALTER DATABASE {database} SET statement_timeout = 50")
    cluster.execute(f"ALTER DATABASE {database} SET lock_timeout = 50")
    one, two = PostgresLedger(cluster.dsn(database)), PostgresLedger(cluster.dsn(database))
    one.read("key")

    async def take() -> None:
        if colour == "async":
            async with two.hold("name"):
                return
        await asyncio.to_thread(lambda: two.hold("name").__enter__().__exit__())

    with one.hold("name"):
        taking = asyncio.create_task(take())
        await chances()
        assert not taking.done()
    await soon(taking)
    one.close()
    two.close()


def backends(cluster: Cluster, database: str) -> int:
    return int(cluster.execute(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'")[0][0])


async def test_idle_connections_are_few_and_go_with_the_ledger(cluster: Cluster, database: str, dsn: str) -> None:
    ledger = PostgresLedger(dsn)
    async with contextlib.AsyncExitStack() as stack:
        for number in range(8):
            await stack.enter_async_context(ledger.hold(str(number)))
    with contextlib.ExitStack() as threads:
        for number in range(8):
            threads.enter_context(ledger.hold(str(number)))
    for _ in range(200):
        if backends(cluster, database) == 8:
            break
        await asyncio.sleep(0.05)
    assert backends(cluster, database) == 8
    await ledger.aclose()
    for _ in range(200):
        if backends(cluster, database) == 0:
            break
        await asyncio.sleep(0.05)
    assert backends(cluster, database) == 0


async def test_an_idle_connection_that_was_lost_is_made_anew(
    cluster: Cluster, database: str, colour: str, dsn: str
) -> None:
    ledger = PostgresLedger(dsn)
    for _ in range(2):
        await use(colour, ledger)
        cluster.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
        async with entered(colour, ledger.hold("name")):
            cluster.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
    await use(colour, ledger)
    ledger.close()


async def test_a_server_that_goes_away_is_one_error_and_is_used_again_when_it_comes_back(colour: str) -> None:
    with postgres.cluster() as own:
        ledger = PostgresLedger(own.dsn())
        await use(colour, ledger)
        async with entered(colour, ledger.hold("name")):
            own.process.kill()
            own.process.wait()
            with pytest.raises(ChatError, match=r"The ledger PostgresLedger\(host=.* cannot be used: "):
                await use(colour, ledger)
        own.process = postgres.start(own.folder, own.port).process
        await use(colour, ledger)
        ledger.close()


async def test_a_server_that_is_not_there_is_one_error(colour: str) -> None:
    ledger = PostgresLedger(f"postgresql://me:secret@127.0.0.1:{postgres.free_port()}/db")
    with pytest.raises(ChatError, match=r"The ledger PostgresLedger\(host=127.0.0.1 .*refused") as raised:
        await use(colour, ledger)
    assert "secret" not in str(raised.value)
    for _ in range(2):  # whoever could not hold it is not in its own way
        with pytest.raises(ChatError, match="refused"):
            async with entered(colour, ledger.hold("name")):
                raise AssertionError


async def test_a_wrong_password_is_one_error_and_is_not_told(cluster: Cluster, database: str, colour: str) -> None:
    def address(password: str) -> str:
        return f"postgresql://{postgres.USER}:{password}@127.0.0.1:{cluster.port}/{database}"

    await use(colour, right := PostgresLedger(address("right")))
    right.close()
    wrong = PostgresLedger(address("s3cret"))
    with pytest.raises(ChatError, match="password authentication failed") as raised:
        await use(colour, wrong)
    assert f"dbname={database}" in str(raised.value)
    assert "s3cret" not in f"{raised.value!r} {wrong!r} {pickle.dumps(wrong)!r} {raised.value.__cause__}"


def test_an_error_that_quotes_the_password_is_told_without_it() -> None:
    ledger = PostgresLedger("postgresql://me:s3cret@127.0.0.1/db")
    with pytest.raises(ChatError, match=r"cannot be used: no entry for \*\*\*") as raised, ledger._named():
        raise psycopg.OperationalError("no entry for s3cret")
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("dsn", ["postgresql://me:s3cret@[", "nonsense s3cret", 7, b"dbname=x"])
def test_a_dsn_that_cannot_be_read_is_refused_and_not_told(dsn: Any) -> None:
    with pytest.raises(ConfigurationError, match="dsn") as raised:
        PostgresLedger(dsn)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("names", [{"table": ""}, {"table": "x" * 64}, {"schema": ""}, {"table": None}, {"schema": 7}])
def test_names_that_cannot_be_names_are_refused(names: Any) -> None:
    with pytest.raises(ConfigurationError, match="is a name of 1 to 63 bytes"):
        PostgresLedger("dbname=x", **names)


def test_what_is_no_pool_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="pools of psycopg_pool"):
        PostgresLedger(pool=object())  # type: ignore[arg-type]


def test_without_psycopg_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'llama-cloud-chat\[postgres\]'"):
        PostgresLedger()


async def test_a_pool_of_the_user_s_is_used_for_notes_and_never_for_holds(dsn: str, colour: str) -> None:
    psycopg_pool = pytest.importorskip("psycopg_pool")
    settings = {"min_size": 1, "max_size": 1, "kwargs": {"row_factory": psycopg.rows.dict_row}}
    with psycopg_pool.ConnectionPool(dsn, open=False, **settings) as pool:
        async with psycopg_pool.AsyncConnectionPool(dsn, open=False, **settings) as async_pool:
            ledger = PostgresLedger(pool=pool, async_pool=async_pool)
            async with entered(colour, ledger.hold("one")), entered(colour, ledger.hold("two")):
                await use(colour, ledger)
            used = (pool if colour == "sync" else async_pool).get_stats()["requests_num"]
            assert used >= 2
            with pytest.raises(ConfigurationError, match="cannot be pickled"):
                pickle.dumps(ledger)
            ledger.close()
            await use(colour, ledger)  # the pools are still open
            ledger.close()


async def test_a_pooler_in_transaction_mode_is_noticed(cluster: Cluster, database: str, colour: str) -> None:
    with postgres.pooler(cluster, database, "transaction") as dsn:
        ledger = PostgresLedger(dsn)
        for _ in range(3):
            with pytest.raises(ConfigurationError, match="pooler in transaction mode"):
                async with entered(colour, ledger.hold("name")):
                    raise AssertionError
            with pytest.raises(ConfigurationError, match="direct address, or the pooler's in session mode"):
                await use(colour, ledger)


async def test_a_pooler_in_session_mode_is_as_good_as_none(cluster: Cluster, database: str, colour: str) -> None:
    with postgres.pooler(cluster, database, "session") as dsn:
        ledger = PostgresLedger(dsn)
        await use(colour, ledger)
        async with entered(colour, ledger.hold("name")):
            await use_elsewhere(dsn)
        ledger.close()


async def use_elsewhere(dsn: str) -> None:
    other = PostgresLedger(dsn)
    taking = asyncio.create_task(other.hold("name").__aenter__())
    await chances()
    assert not taking.done()
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(taking)
    other.close()


def test_a_lock_that_went_to_another_connection_is_noticed(ledger: PostgresLedger) -> None:
    flow = ledger._flows.lock(1, is_pooled=True)
    next(flow)
    flow.send([])
    with pytest.raises(ConfigurationError, match="pooler in transaction mode"):
        flow.send([(0,)])
