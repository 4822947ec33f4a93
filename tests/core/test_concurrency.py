"""One client for many threads and tasks: turns of one session in order, sessions apart, a pool with an end."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from llama_cloud_chat import (
    APITimeoutError,
    AsyncChatClient,
    ChatClient,
    SessionBusyError,
    Timeouts,
)
from llama_cloud_chat._config import make_config
from llama_cloud_chat._session.exchange import Exchange
from llama_cloud_chat._session.flows import AwaitTurn, Send
from llama_cloud_chat._session.knowledge import KnownSessions
from llama_cloud_chat._session.queue import Ticket, TurnQueue, current_owner

from ..support.clients import KEY, FakeClock, make_client
from ..support.http import httpx
from ..support.server import PATIENCE, Gate, Step
from ..support.service import ChatService, Held, Play
from ..support.turns import said

PATIENT = Timeouts(connect=60)  # a busy machine may take its time with very many connections at once


@pytest.fixture
def sync_client(service: ChatService) -> Iterator[ChatClient]:
    with make_client("sync", service.base_url, timeout=PATIENT) as client:
        yield client


@pytest.fixture
async def async_client(service: ChatService) -> Any:
    async with make_client("async", service.base_url, timeout=PATIENT) as client:
        yield client


@pytest.mark.rule("design-10")
def test_a_hundred_threads_share_a_client(sync_client: ChatClient, service: ChatService) -> None:
    start = threading.Barrier(100)

    def work(number: int) -> list[tuple[str, int | None]]:
        start.wait(PATIENCE)
        session = sync_client.create()
        turns = [session.ask(f"{number}, {turn}") for turn in range(3)]
        return [(turn.text, turn.number) for turn in turns]

    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(work, range(100)))
    assert answers == [[(f"You said: {number}, {turn}", turn + 1) for turn in range(3)] for number in range(100)]
    assert len(service.sessions) == 100


@pytest.mark.rule("design-10")
async def test_a_thousand_tasks_share_a_client(async_client: AsyncChatClient, service: ChatService) -> None:
    sessions = await asyncio.gather(*(async_client.create() for _ in range(40)))
    turns = await asyncio.gather(*(sessions[number % 40].ask(str(number)) for number in range(1000)))
    assert [turn.text for turn in turns] == [f"You said: {number}" for number in range(1000)]
    assert [turn.number for turn in turns] == [number // 40 + 1 for number in range(1000)]
    assert len(service.sessions) == 40


class Overlap:
    """Watches that a service is asked one prompt of a session at a time."""

    def __init__(self, service: ChatService) -> None:
        self.running: Counter[str] = Counter()
        self.most = 0
        service.reply = self.reply

    def reply(self, prompt: str) -> Play:
        def steps(pieces: list[bytes]) -> Iterator[Step]:
            self.running["all"] += 1
            self.most = max(self.most, self.running["all"])
            yield from pieces[:-2]
            self.running["all"] -= 1
            yield from pieces[-2:]

        return Play(said(f"You said: {prompt}"), steps=steps)


def test_threads_on_one_session_take_turns(sync_client: ChatClient, service: ChatService) -> None:
    session = sync_client.create()
    overlap = Overlap(service)
    with ThreadPoolExecutor(20) as pool:
        turns = list(pool.map(lambda number: session.ask(f"{number}?"), range(60)))
    assert [turn.text for turn in turns] == [f"You said: {number}?" for number in range(60)]
    assert sorted(turn.number or 0 for turn in turns) == list(range(1, 61))
    assert overlap.most == 1
    for turn in turns:
        assert service.prompts[(turn.number or 0) - 1] == turn.prompt


async def test_tasks_on_one_session_take_turns_in_the_order_they_asked(
    async_client: AsyncChatClient, service: ChatService
) -> None:
    session = await async_client.create()
    overlap = Overlap(service)
    turns = await asyncio.gather(*(session.ask(f"{number}?") for number in range(60)))
    assert [turn.number for turn in turns] == list(range(1, 61))
    assert service.prompts == [f"{number}?" for number in range(60)]
    assert overlap.most == 1


def test_twins_share_what_they_know_and_the_queue(sync_client: ChatClient, service: ChatService) -> None:
    session = sync_client.create()
    session.ask("One?")
    twin = sync_client.as_async()
    assert twin.as_sync().config is twin.config is sync_client.config

    async def ask() -> int | None:
        async with twin:
            return (await twin.session(session.session_id).ask("Two?")).number

    assert asyncio.run(ask()) == 2
    assert service.operations() == ["create", "stream", "stream"]


@pytest.mark.rule("design-10")
def test_a_thread_and_a_task_on_one_session_take_turns(sync_client: ChatClient, service: ChatService) -> None:
    gate = Gate()
    service.plays.append(Held(gate=gate))
    session = sync_client.create()
    twin = sync_client.as_async()
    first = threading.Thread(target=session.ask, args=["One?"])
    first.start()
    assert gate.reached.wait(PATIENCE)

    async def ask() -> int | None:
        async with twin:
            task = asyncio.create_task(twin.session(session.session_id).ask("Two?"))
            queue = sync_client._known.get(session.session_id).queue
            while len(queue._tickets) < 2:  # noqa: ASYNC110  # nothing tells when somebody queues up
                await asyncio.sleep(0)
            gate.open()
            return (await task).number

    assert asyncio.run(ask()) == 2
    first.join(PATIENCE)
    assert service.prompts == ["One?", "Two?"]


def test_sessions_never_wait_for_each_other(client: Any, service: ChatService) -> None:
    gate = Gate()
    service.plays.append(Held(gate=gate))
    slow, quick = client.create(), client.create()
    with slow.stream("One?") as stream:
        next(stream)
        assert quick.ask("Two?").text == "You said: Two?"
        gate.open()
        assert [event.type for event in stream][-1] == "stop"
    assert stream.turn.text == "Held."


def test_asking_inside_a_turn_of_the_same_session_says_busy_at_once(
    sync_client: ChatClient, service: ChatService
) -> None:
    gate = Gate()
    service.plays.append(Held(gate=gate))
    session = sync_client.create()
    with session.stream("One?") as stream:
        for _ in stream:
            with pytest.raises(SessionBusyError, match="busy"):
                session.ask("Two?")
            with pytest.raises(SessionBusyError):
                sync_client.session(session.session_id).ask("Two?")
            break
    gate.open()
    assert service.prompts == ["One?"]
    assert session.ask("Three?").number == 2


async def test_asking_inside_a_turn_of_the_same_session_in_one_task_says_busy_at_once(
    async_client: AsyncChatClient, service: ChatService
) -> None:
    gate = Gate()
    service.plays.append(Held(gate=gate))
    session = await async_client.create()
    async with session.stream("One?") as stream:
        async for _ in stream:
            begun = asyncio.get_running_loop().time()
            with pytest.raises(SessionBusyError, match="busy"):
                await session.ask("Two?")
            assert asyncio.get_running_loop().time() - begun < 5
            break
    gate.open()
    assert (await session.ask("Three?")).number == 2


def test_a_turn_that_another_thread_holds_without_reading_is_busy_after_ten_seconds(
    service: ChatService, clock: FakeClock
) -> None:
    gate = Gate()
    service.plays.append(Held(gate=gate))
    with make_client("sync", service.base_url, clock) as client:
        session = client.create()
        stream = session.stream("One?")
        with ThreadPoolExecutor(1) as pool:
            pool.submit(next, iter_of := iter(stream)).result(PATIENCE)
        with pytest.raises(SessionBusyError):
            session.ask("Two?")
        assert sum(clock.waits) == pytest.approx(10)
        gate.open()
        assert list(iter_of)[-1].type == "stop"
        assert session.ask("Three?").number == 2


def test_a_full_pool_is_a_clear_error(service: ChatService) -> None:
    gate = Gate()
    service.plays.append(Held(gate=gate))
    limits = httpx.Limits(max_connections=1)
    with httpx.Client(limits=limits) as http:
        client = ChatClient(KEY, base_url=service.base_url, http_client=http, timeout=Timeouts(pool=0.05))
        one, other = client.create(), client.create()
        with one.stream("One?") as stream:
            next(stream)
            with pytest.raises(APITimeoutError, match=r"connections were in use for 0.05 seconds.*httpx.Limits"):
                other.ask("Two?")
            gate.open()
        assert other.ask("Three?").is_complete
        client.close()
        assert not http.is_closed
    assert service.prompts == ["One?", "Three?"]


async def test_a_full_pool_is_a_clear_error_for_tasks_too(service: ChatService) -> None:
    gate = Gate()
    service.plays.append(Held(gate=gate))
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=1)) as http:
        client = AsyncChatClient(KEY, base_url=service.base_url, http_client=http, timeout=Timeouts(pool=0.05))
        one, other = await client.create(), await client.create()
        async with one.stream("One?") as stream:
            await stream.__anext__()
            with pytest.raises(APITimeoutError, match="connections were in use"):
                await other.ask("Two?")
            gate.open()
        assert (await other.ask("Three?")).is_complete
        await client.aclose()
        assert not http.is_closed


@pytest.mark.rule("design-9")
def test_an_idle_stream_burns_no_time_and_needs_no_thread(sync_client: ChatClient, service: ChatService) -> None:
    gate = Gate()
    service.plays.append(Held(gate=gate))
    before = threading.active_count()
    with sync_client.create().stream("One?") as stream:
        next(stream)
        assert threading.active_count() == before
    gate.open()


def test_knowledge_of_very_many_sessions_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from llama_cloud_chat._session import knowledge

    monkeypatch.setattr(knowledge, "_MOST_SESSIONS", 3)
    sessions = knowledge.KnownSessions()
    ticket = Ticket("me", lambda: None, lambda: False, lambda: 0)
    sessions.get("busy").queue.enter(ticket)
    for number in range(10):
        known = sessions.get(f"ses-{number}")
        known.index_ids = []
        known.learn(number, 0.0)
    assert sessions.get("busy").queue.is_idle is False
    assert sessions.get("ses-9").turn_count == 9
    assert sessions.get("ses-1").turn_count is None
    for name in ("a", "b", "c", "d"):
        sessions.get(name).queue.enter(Ticket(name, lambda: None, lambda: False, lambda: 0))
    assert len(sessions._sessions) <= 6


# The queue alone.


class Waiting:
    def __init__(self, owner: object) -> None:
        self.woken = 0
        self.is_read = False
        self.received = 0
        self.ticket = Ticket(owner, self.wake, lambda: self.is_read, lambda: self.received)

    def wake(self) -> None:
        self.woken += 1


def test_the_queue_is_first_come_first_served() -> None:
    queue = TurnQueue()
    a, b, c = Waiting("a"), Waiting("b"), Waiting("c")
    assert queue.is_idle
    assert [queue.enter(one.ticket) for one in (a, b, c)] == [True, False, False]
    assert not queue.is_idle
    queue.leave(a.ticket)
    queue.leave(a.ticket)
    assert (b.woken, c.woken) == (1, 0)
    queue.leave(b.ticket)
    assert c.woken == 1
    queue.leave(c.ticket)
    assert queue.is_idle


def test_whoever_leaves_the_line_before_their_turn_wakes_nobody() -> None:
    queue = TurnQueue()
    a, b, c = Waiting("a"), Waiting("b"), Waiting("c")
    for one in (a, b, c):
        queue.enter(one.ticket)
    queue.leave(b.ticket)
    assert (b.woken, c.woken) == (0, 0)
    queue.leave(a.ticket)
    assert c.woken == 1


def test_the_holder_cannot_queue_up_behind_itself_unless_somebody_else_reads() -> None:
    queue = TurnQueue()
    a, again = Waiting("a"), Waiting("a")
    queue.enter(a.ticket)
    with pytest.raises(SessionBusyError):
        queue.enter(again.ticket)
    a.is_read = True
    assert queue.enter(again.ticket) is False


def test_a_sample_changes_as_long_as_the_holder_gets_on() -> None:
    queue = TurnQueue()
    assert queue.sample() != queue.sample()
    a = Waiting("a")
    queue.enter(a.ticket)
    before = queue.sample()
    assert queue.sample() == before
    a.received = 5
    assert queue.sample() != before
    a.is_read = True
    assert queue.sample() != queue.sample()


async def test_an_owner_is_a_task_or_else_a_thread() -> None:
    async def another() -> object:
        return current_owner()

    assert current_owner() == current_owner() != await asyncio.create_task(another())
    assert await asyncio.to_thread(current_owner) != threading.get_ident()


def test_a_wake_up_that_comes_as_the_wait_runs_out_is_not_lost() -> None:
    sessions, clock = KnownSessions(), FakeClock().as_clock()
    config = make_config(api_key=KEY)
    exchange = Exchange(("ses-1", "What?"), None, None, sessions=sessions, config=config, clock=clock)
    queue = sessions.get("ses-1").queue
    holder, waiting = Waiting("holder"), Waiting("waiting")
    waiting.is_read = True
    queue.enter(holder.ticket)
    flow = exchange.run(waiting.ticket)
    assert isinstance(next(flow), AwaitTurn)
    queue.leave(holder.ticket)
    assert isinstance(flow.send(False), Send)
    flow.close()
    assert queue.is_idle
