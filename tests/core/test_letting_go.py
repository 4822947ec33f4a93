"""Letting go closes: however a turn is left, its connection ends at once and what came stays readable."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from llama_cloud_chat import AsyncChatClient, ChatClient, Message, Stop, TextDelta
from llama_cloud_chat._session.knowledge import KnownSessions, SessionKnowledge
from llama_cloud_chat._session.queue import Ticket, TurnQueue

from ..support.clients import make_client
from ..support.server import PATIENCE, Gate, chunk, plain
from ..support.service import ChatService, Held, Play
from ..support.turns import RECORDED, message, said, stop

SO_FAR = "Let me see\u2028…"


def endless(before: int = 6, **fields: Any) -> Held:
    """Stop in the middle of the text and go on when the gate is opened, if ever."""
    return Held(RECORDED, before, **fields)


@pytest.fixture
def play(service: ChatService) -> Play:
    service.plays.append(endless())
    return service.plays[0]


def assert_let_go(service: ChatService, stream: Any) -> None:
    """Check that the service saw the connection close, and that the turn says how far it came."""
    assert service.received("stream")[-1].hung_up.wait(PATIENCE)
    assert stream.turn.text == SO_FAR
    assert not stream.turn.is_complete


def read_so_far(stream: Any) -> None:
    """Read until nothing more comes."""
    text = ""
    for event in stream:
        if isinstance(event, TextDelta):
            text += event.content
        if text == SO_FAR:
            break


def leave_by_break(stream: Any) -> None:
    with stream:
        read_so_far(stream)


def leave_by_close(stream: Any) -> None:
    read_so_far(stream)
    stream.close()
    stream.close()


def leave_by_exception(stream: Any) -> None:
    with pytest.raises(ZeroDivisionError), stream:
        read_so_far(stream)
        raise ZeroDivisionError


def leave_by_breaking_out_of_the_text(stream: Any) -> None:
    for text in stream.text_deltas():
        if text.endswith("…"):
            break


def leave_an_iterator_by_close(stream: Any) -> None:
    while stream.turn.text != SO_FAR:
        next(stream)
    stream.close()


@pytest.mark.parametrize(
    "leave",
    [leave_by_break, leave_by_close, leave_by_exception, leave_by_breaking_out_of_the_text, leave_an_iterator_by_close],
)
@pytest.mark.usefixtures("play")
@pytest.mark.rule("design-6")
def test_leaving_closes_and_the_client_goes_on(client: Any, service: ChatService, leave: Callable[[Any], None]) -> None:
    session = client.create()
    stream = session.stream("What?")
    leave(stream)
    assert_let_go(service, stream)
    assert list(stream) == []
    turn = client.session(session.session_id).ask("And?")
    assert turn.is_complete
    assert turn.number == 2


@pytest.mark.usefixtures("play")
def test_the_text_received_so_far_is_whole_when_a_stream_is_left(client: Any, service: ChatService) -> None:
    with client.create().stream("What?") as stream:
        read_so_far(stream)
    assert stream.turn.thinking == "Hm, look."
    assert [event.type for event in stream.turn.events] == ["thinking", "text"]


def test_a_stream_that_was_never_read_asks_nothing(client: Any, service: ChatService) -> None:
    session = client.create()
    with session.stream("What?"):
        pass
    session.stream("What?").close()
    session.stream("What?")
    stream = session.stream("What?")
    stream.close()
    assert list(stream) == []
    assert service.prompts == []
    assert session.ask("What?").number == 1


def test_a_turn_that_was_let_go_is_waited_for_before_the_next(client: Any, service: ChatService) -> None:
    running: list[Any] = [RECORDED[:5]] * 3
    service.plays.append(endless(history=[*running, RECORDED]))
    session = client.create()
    with session.stream("What?") as stream:
        read_so_far(stream)
    assert session.ask("And?").number == 2
    assert service.operations() == ["create", "stream", *["retrieve"] * 4, "stream"]


def test_a_turn_that_was_let_go_before_it_was_taken_does_not_count(client: Any, service: ChatService) -> None:
    service.plays.append(endless(is_taken=False))
    session = client.create()
    with session.stream("What?") as stream:
        read_so_far(stream)
    assert session.ask("And?").number == 1


@pytest.mark.rule("design-6")
def test_leaving_many_times_leaks_nothing(client: Any, service: ChatService) -> None:
    session = client.create()
    objects = 0
    for number in range(300):
        service.plays.append(endless(is_taken=False))
        with session.stream("What?") as stream:
            read_so_far(stream)
        if number == 100:
            gc.collect()
            objects = len(gc.get_objects())
            del service.requests[:], service._asked[:]
    service.wait_until(lambda: service.open_connections <= 2)
    del service.requests[:], service._asked[:]
    gc.collect()
    assert len(gc.get_objects()) < objects + 2_000
    assert session.ask("And?").is_complete


def test_an_error_in_the_middle_closes_too(client: Any, service: ChatService) -> None:
    gate = Gate()
    service.plays.append(Play(RECORDED, steps=lambda pieces: [*pieces[:6], chunk(b"data: {\n\n"), gate]))
    with pytest.raises(Exception, match="not JSON"):
        list(client.create().stream("What?"))
    assert service.received("stream")[-1].hung_up.wait(PATIENCE)


def test_a_client_that_was_closed_opens_new_connections(client: Any, service: ChatService) -> None:
    session = client.create()
    client.close()
    client.close()
    service.wait_until(lambda: service.open_connections == 0)
    assert session.ask("What?").is_complete
    with client:
        assert session.ask("And?").number == 2
    service.wait_until(lambda: service.open_connections == 0)


def test_a_connection_whose_turn_ended_is_kept_and_one_that_was_left_is_not(client: Any, service: ChatService) -> None:
    session = client.create()
    session.ask("What?")
    assert service.open_connections == 1
    service.plays.append(endless())
    with session.stream("What?") as stream:
        read_so_far(stream)
    service.wait_until(lambda: service.open_connections == 0)


# Threads.


@pytest.fixture
def sync_client(service: ChatService) -> Iterator[ChatClient]:
    with make_client("sync", service.base_url) as client:
        yield client


class Reader(threading.Thread):
    """Reads a stream to its end in a thread."""

    def __init__(self, stream: Any) -> None:
        super().__init__(daemon=True)
        self.stream = stream
        self.error: BaseException | None = None
        self.has_read = threading.Event()
        self.start()

    def run(self) -> None:
        try:
            for _ in self.stream:
                if self.stream.turn.text == SO_FAR:
                    self.has_read.set()
        except BaseException as error:  # noqa: BLE001, RUF100
            self.error = error

    def ended(self) -> bool:
        self.join(PATIENCE)
        return not self.is_alive() and self.error is None


@pytest.mark.rule("design-6")
def test_dropping_a_stream_closes_it(sync_client: ChatClient, service: ChatService) -> None:
    service.plays.append(endless())
    for _ in sync_client.create().stream("What?"):
        break
    assert service.received("stream")[-1].hung_up.wait(PATIENCE)


def test_dropping_an_iterator_closes_it(sync_client: ChatClient, service: ChatService) -> None:
    service.plays.append(endless())
    stream: Any = sync_client.create().stream("What?")
    events = iter(stream)
    next(events)
    del events
    assert service.received("stream")[-1].hung_up.wait(PATIENCE)
    assert not stream.turn.is_complete


@pytest.mark.rule("design-6")
def test_closing_from_another_thread_ends_a_reader_that_waits(sync_client: ChatClient, service: ChatService) -> None:
    play = endless()
    service.plays.append(play)
    stream = sync_client.create().stream("What?")
    reader = Reader(stream)
    assert reader.has_read.wait(PATIENCE)
    stream.close()
    assert reader.ended()
    assert_let_go(service, stream)
    play.gate.open()


@pytest.mark.parametrize("before", [0, 1], ids=["that does not come", "that comes at this moment"])
def test_closing_from_another_thread_ends_a_reader_that_waits_for_the_head(
    sync_client: ChatClient, service: ChatService, before: int
) -> None:
    play = endless(before)
    service.plays.append(play)
    stream = sync_client.create().stream("What?")
    reader = Reader(stream)
    assert play.gate.reached.wait(PATIENCE)
    stream.close()
    play.gate.open()
    assert reader.ended()
    assert not stream.turn.is_complete


def test_closing_from_another_thread_ends_a_reader_to_whom_the_head_comes_and_nothing_else(
    sync_client: ChatClient, service: ChatService
) -> None:
    before, after = Gate(), Gate()
    service.plays.append(Play(RECORDED, steps=lambda pieces: [before, pieces[0], after]))
    stream = sync_client.create().stream("What?")
    reader = Reader(stream)
    assert before.reached.wait(PATIENCE)
    stream.close()
    before.open()
    assert reader.ended()
    after.open()


def test_closing_from_another_thread_ends_a_reader_that_waits_to_try_again(
    sync_client: ChatClient, service: ChatService
) -> None:
    service.plays.append(Play(instead=[plain(429, headers={"Retry-After": "50"})], is_taken=False))
    stream = sync_client.create().stream("What?")
    reader = Reader(stream)
    service.wait_until(lambda: len(service.prompts) == 1)
    stream.close()
    assert reader.ended()
    assert len(service.prompts) == 1


def test_closing_from_another_thread_ends_a_reader_that_queues_up(
    sync_client: ChatClient, service: ChatService
) -> None:
    play = endless()
    service.plays.append(play)
    session = sync_client.create()
    first = Reader(session.stream("One?"))
    assert play.gate.reached.wait(PATIENCE)
    second = session.stream("Two?")
    reader = Reader(second)
    queue = sync_client._known.get(session.session_id).queue
    while len(queue._tickets) < 2:
        pass
    second.close()
    assert reader.ended()
    assert service.prompts == ["One?"]
    play.gate.open()
    assert first.ended()
    assert session.ask("Three?").number == 2


def test_closing_from_another_thread_ends_a_reader_that_recovers(sync_client: ChatClient, service: ChatService) -> None:
    service.plays.append(Play(RECORDED, cut_after=480, history=[[]]))
    stream = sync_client.create().stream("What?")
    reader = Reader(stream)
    service.wait_until(lambda: len(service.received("retrieve")) == 1)
    stream.close()
    assert reader.ended()
    assert len(service.received("retrieve")) <= 2


def ends(act: Callable[[], object]) -> bool:
    """Whether something ends, which if it went wrong would wait for itself."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return not thread.is_alive()


def test_a_stream_collected_while_another_pool_is_made_hangs_nobody(
    sync_client: ChatClient, service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, other = sync_client.create(), sync_client.create()
    service.plays.append(endless())
    stream: Any = session.stream("What?")
    next(stream)
    pools = sync_client._transport._connections._pools
    make = pools._makers[True]

    def make_and_collect() -> Any:
        dropped.clear()  # as the garbage collector may at any moment
        return make()

    dropped = [stream]
    del stream
    monkeypatch.setattr("llama_cloud_chat._transport.pools.STREAMS_PER_POOL", 1)
    monkeypatch.setitem(pools._makers, True, make_and_collect)
    assert ends(lambda: other.ask("What?"))
    assert service.received("stream")[0].hung_up.wait(PATIENCE)
    assert [pool.in_use for pool in pools._pools] == [0]


def test_a_stream_collected_while_its_session_is_asked_hangs_nobody() -> None:
    queue = TurnQueue()
    first = Ticket("owner", lambda: None, lambda: queue.leave(first) is None, lambda: 0)
    second = Ticket("owner", lambda: None, lambda: True, lambda: 0)
    queue.enter(first)
    assert ends(lambda: queue.enter(second))
    assert queue.holds(second)


def test_a_stream_collected_while_a_session_is_looked_up_hangs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    class Collecting(SessionKnowledge):
        def __init__(self) -> None:
            super().__init__()
            sessions.drop("ses-passing")

    sessions = KnownSessions()
    monkeypatch.setattr("llama_cloud_chat._session.knowledge.SessionKnowledge", Collecting)
    assert ends(lambda: sessions.get("ses-1"))


# Tasks.


@pytest.fixture
async def async_client(service: ChatService) -> Any:
    async with make_client("async", service.base_url) as client:
        yield client


async def read_on(stream: Any, has_read: asyncio.Event | None = None) -> None:
    async for _ in stream:
        if has_read is not None and stream.turn.text == SO_FAR:
            has_read.set()


async def happens(event: threading.Event) -> bool:
    return await asyncio.to_thread(event.wait, PATIENCE)


@pytest.mark.parametrize("before", [0, 1, 6])
@pytest.mark.rule("design-6")
async def test_cancelling_a_task_closes(async_client: AsyncChatClient, service: ChatService, before: int) -> None:
    play = endless(before)
    service.plays.append(play)
    stream = (await async_client.create()).stream("What?")
    task = asyncio.create_task(read_on(stream))
    assert await happens(play.gate.reached)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await happens(service.received("stream")[-1].hung_up)
    assert not stream.turn.is_complete
    assert (await (await async_client.create()).ask("And?")).is_complete


async def test_a_deadline_closes_and_what_came_is_readable(async_client: AsyncChatClient, service: ChatService) -> None:
    service.plays.append(endless())
    session = await async_client.create()
    stream = session.stream("What?")
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(read_on(stream), 0.3)
    assert await happens(service.received("stream")[-1].hung_up)
    assert stream.turn.text == SO_FAR
    assert (await session.ask("And?")).number == 2


async def test_cancelling_while_waiting_to_try_again_asks_no_more(
    async_client: AsyncChatClient, service: ChatService
) -> None:
    service.plays.append(Play(instead=[plain(429, headers={"Retry-After": "50"})], is_taken=False))
    session = await async_client.create()
    task = asyncio.create_task(session.ask("What?"))
    await asyncio.to_thread(service.wait_until, lambda: len(service.prompts) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await session.ask("And?")).number == 1
    assert service.prompts == ["What?", "And?"]


async def test_breaking_out_of_a_loop_closes_when_the_loop_s_generator_is_dropped(
    async_client: AsyncChatClient, service: ChatService
) -> None:
    service.plays.append(endless())
    async for _ in (await async_client.create()).stream("What?"):
        break
    gc.collect()
    assert await happens(service.received("stream")[-1].hung_up)


@pytest.mark.parametrize("before", [0, 1, 6])
async def test_closing_from_another_task_ends_a_reader_that_waits(
    async_client: AsyncChatClient, service: ChatService, before: int
) -> None:
    play = endless(before)
    service.plays.append(play)
    stream = (await async_client.create()).stream("What?")
    has_read = asyncio.Event()
    reader = asyncio.create_task(read_on(stream, has_read))
    assert await happens(play.gate.reached)
    if before == 6:
        await has_read.wait()
    await stream.aclose()
    try:
        await asyncio.wait_for(reader, PATIENCE)
    finally:
        play.gate.open()
    assert not stream.turn.is_complete


async def test_a_cancelled_task_leaves_the_queue(async_client: AsyncChatClient, service: ChatService) -> None:
    play = endless()
    service.plays.append(play)
    session = await async_client.create()
    first = asyncio.create_task(session.ask("One?"))
    assert await happens(play.gate.reached)
    waiting = [asyncio.create_task(session.ask(f"{number}?")) for number in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    play.gate.open()
    done = await asyncio.gather(first, *waiting, return_exceptions=True)
    assert [getattr(turn, "number", None) for turn in done] == [1, 2, None, 3]
    assert service.prompts == ["One?", "0?", "2?"]


async def test_one_client_lives_through_several_event_loops(service: ChatService) -> None:
    client: AsyncChatClient = make_client("async", service.base_url)

    async def once() -> int | None:
        try:
            return (await (await client.create()).ask("What?")).number
        finally:
            await client.aclose()

    assert await once() == 1
    for _ in range(3):
        assert await asyncio.to_thread(asyncio.run, once()) == 1


async def test_a_session_that_is_not_kept_is_deleted_when_its_turn_is_let_go(
    async_client: AsyncChatClient, service: ChatService
) -> None:
    service.plays.append(endless())
    async with async_client.converse([Message("user", "What?")], keep_session=False) as stream:
        async for _ in stream:
            break
    assert service.sessions == {}


def test_stop_and_more_in_one_packet_ends_the_turn(client: Any, service: ChatService) -> None:
    packet = b"".join(map(message, [*said("Yes."), *said("No."), stop(is_error=True)])) + b"data: {\n\n"
    service.plays.append(Play(steps=lambda pieces: [pieces[0], chunk(packet), chunk(b"")]))
    turn = client.create().ask("What?")
    assert (turn.text, turn.is_error) == ("Yes.", False)


async def test_a_stream_that_a_finished_task_gave_back_closes_when_it_is_dropped(
    async_client: AsyncChatClient, service: ChatService
) -> None:
    service.plays.append(endless())
    session = await async_client.create()

    async def begin() -> Any:
        stream = session.stream("What?")
        await stream.__anext__()
        return stream

    await asyncio.create_task(begin())
    gc.collect()
    assert await happens(service.received("stream")[-1].hung_up)
    assert (await session.ask("And?")).number == 2


UNCLOSED = ("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.filterwarnings(*UNCLOSED)
def test_a_stream_dropped_when_its_loop_is_closed_holds_up_nobody(service: ChatService) -> None:
    service.plays.append(endless())
    client: AsyncChatClient = make_client("async", service.base_url)

    async def begin() -> tuple[Any, Any]:
        session = await client.create()
        stream = session.stream("What?")
        await stream.__anext__()
        return session, stream

    loop = asyncio.new_event_loop()
    session, stream = loop.run_until_complete(begin())
    loop.close()  # without its shutdown_asyncgens, which would close the stream
    del stream
    gc.collect()
    assert client._known.get(session.session_id).queue.is_idle

    async def ask() -> int | None:
        async with client:
            return (await session.ask("And?")).number  # type: ignore[no-any-return]

    assert asyncio.run(ask()) == 2
    gc.collect()


@pytest.mark.filterwarnings(*UNCLOSED)
def test_the_connections_of_loops_that_were_closed_are_not_kept(service: ChatService) -> None:
    client: AsyncChatClient = make_client("async", service.base_url)

    async def ask() -> None:
        await (await client.create()).ask("What?")

    for _ in range(5):
        asyncio.run(ask())
    gc.collect()
    assert len(client._transport._connections._pools_of_loops) == 1
    service.wait_until(lambda: service.open_connections <= 1)

    async def say_goodbye() -> None:
        await ask()
        await client.aclose()

    asyncio.run(say_goodbye())
    gc.collect()


def test_at_its_end_a_turn_no_longer_holds_the_session(client: Any, service: ChatService) -> None:
    session = client.create()
    numbers = [session.ask("And?").number for event in session.stream("What?") if isinstance(event, Stop)]
    assert numbers == [2]


async def test_a_block_has_closed_its_stream_when_it_is_left(
    async_client: AsyncChatClient, service: ChatService
) -> None:
    service.plays.append(endless())
    session = await async_client.create()
    async with session.stream("What?") as stream:
        async for _ in stream:
            break
    assert async_client._known.get(session.session_id).queue.is_idle


@pytest.mark.skipif(sys.version_info < (3, 11), reason="who else cancels a task is not known before Python 3.11")
async def test_a_reader_that_is_cancelled_as_its_stream_is_closed_is_cancelled(
    async_client: AsyncChatClient, service: ChatService
) -> None:
    play = endless(0)
    service.plays.append(play)
    stream = (await async_client.create()).stream("What?")
    reader = asyncio.create_task(read_on(stream))
    assert await happens(play.gate.reached)
    await stream.aclose()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
