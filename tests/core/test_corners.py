"""What hardly ever happens, and must not go wrong when it does."""

from __future__ import annotations

import asyncio
import copy
import time
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest

from llama_cloud_chat import AsyncChatClient, ChatClient, Message, SessionBusyError, TextDelta, Turn
from llama_cloud_chat._config import make_config
from llama_cloud_chat._session.clock import Clock, wait_for_event
from llama_cloud_chat._session.conversation import Snapshot
from llama_cloud_chat._session.exchange import Exchange
from llama_cloud_chat._session.flows import AwaitTurn
from llama_cloud_chat._session.knowledge import KnownSessions, SessionKnowledge
from llama_cloud_chat._session.queue import Ticket
from llama_cloud_chat._session.settling import Settling
from llama_cloud_chat._transport.line import shut_down

from ..support.clients import make_client
from ..support.http import httpx
from ..support.service import ChatService

URL = "http://127.0.0.1:1"


def somebody_elses_ticket() -> Ticket:
    return Ticket(object(), lambda: None, lambda: True, lambda: 0)


def test_after_the_end_there_is_no_next_event(client: Any) -> None:
    stream = client.create().stream("What?")
    for _ in stream:
        pass
    with pytest.raises((StopIteration, StopAsyncIteration)):
        next(stream)


def test_what_is_read_while_a_turn_runs_does_not_replace_what_the_turn_knows() -> None:
    known = SessionKnowledge()
    known.queue.enter(somebody_elses_ticket())
    known.note(["idx-1"], [], time.monotonic())
    assert known.index_ids == ["idx-1"]
    assert known.turn_count is None


def test_a_running_turn_in_what_is_read_leaves_the_count_open() -> None:
    known = SessionKnowledge()
    known.note(None, [Turn("Still running?")], time.monotonic())
    assert known.turn_count is None


def test_sessions_that_are_in_use_are_never_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llama_cloud_chat._session.knowledge._MOST_SESSIONS", 2)
    sessions = KnownSessions()
    held = [sessions.get(f"ses-{number}") for number in range(2)]
    for known in held:
        known.queue.enter(somebody_elses_ticket())
    newcomer = sessions.get("ses-new")
    assert sessions.get("ses-new") is newcomer
    newcomer.queue.enter(somebody_elses_ticket())
    assert [sessions.get(f"ses-{number}") for number in range(2)] == held
    held[0].queue.leave(held[0].queue._tickets[0])
    sessions.get("ses-newer")
    assert sessions.get("ses-0") is not held[0]
    assert sessions.get("ses-1") is held[1]


def test_of_sessions_the_longest_unused_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llama_cloud_chat._session.knowledge._MOST_SESSIONS", 2)
    sessions = KnownSessions()
    first, second = sessions.get("ses-1"), sessions.get("ses-2")
    assert sessions.get("ses-1") is first
    sessions.get("ses-3")
    assert sessions.get("ses-1") is first
    assert sessions.get("ses-2") is not second


def test_a_copied_configuration_keeps_its_key() -> None:
    config = make_config(api_key="llx-1", base_url=URL)
    for copied in (copy.copy(config), copy.deepcopy(config), copy.copy(config._api_key)):
        secret = copied.api_key if copied is not config._api_key else copied.reveal()
        assert secret.get_secret_value() == "llx-1"


def test_a_twin_is_the_same_each_time() -> None:
    client = ChatClient("llx-1", base_url=URL)
    twin = client.as_async()
    assert client.as_async() is twin
    assert twin.as_sync() is client
    other = AsyncChatClient("llx-1", base_url=URL)
    assert other.as_sync() is other.as_sync()
    assert other.as_sync().as_async() is other


def test_a_message_of_white_space_in_a_stream_is_nothing() -> None:
    exchange = Exchange(
        ("ses-1", "What?"),
        None,
        None,
        sessions=KnownSessions(),
        config=make_config(api_key="llx-1", base_url=URL),
        clock=Clock(),
    )
    assert list(exchange.read(b'data:   \n\ndata: {"type":"text_delta","content":"Hi"}\n\n')) == [TextDelta("Hi")]


def test_an_anchor_whose_session_somebody_takes_at_the_last_moment_forks(
    service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_client("sync", service.base_url) as sync_client:
        first = sync_client.create().ask("One?")
        assert first.session_id is not None
        sync_client._known.get(first.session_id).queue.enter(somebody_elses_ticket())
        monkeypatch.setattr(Settling, "_snapshot", lambda self: Snapshot(turn_count=1))
        answer = Message("assistant", first.text, session_id=first.session_id, turn=1)
        with sync_client.converse([answer, Message("user", "Two?")]) as stream:
            for _ in stream:
                pass
        assert stream.turn.session_id != first.session_id


def test_a_response_without_a_socket_has_nothing_to_shut() -> None:
    shut_down(httpx.Response(200))


async def test_an_error_of_the_stream_s_own_while_it_is_closed_is_not_swallowed() -> None:
    async def stubborn() -> AsyncIterator[Any]:
        try:
            yield TextDelta("Hi")
        finally:
            raise RuntimeError("own")

    stream: Any = AsyncChatClient("llx-1", base_url=URL).stream("ses-1", "What?")
    await stream.aclose()
    events: Any = stubborn()
    await events.__anext__()
    stream._events = weakref.ref(events)
    with pytest.raises(RuntimeError, match="own"):
        await stream.aclose()


async def test_a_task_reads_text_as_it_is_customary(service: ChatService) -> None:
    async with make_client("async", service.base_url) as client:
        session = await client.create()
        stream = session.stream("What?")
        assert "".join([text async for text in stream.text_deltas()]) == stream.turn.text


async def test_a_wait_that_nothing_ends_runs_out() -> None:
    assert not await wait_for_event(asyncio.Event(), 0.001)


def test_a_turn_that_gets_on_is_waited_for_however_long_it_takes() -> None:
    sessions = KnownSessions()
    received: list[bytes] = []
    holder = Ticket(object(), lambda: None, lambda: False, lambda: len(received))
    sessions.get("ses-1").queue.enter(holder)
    exchange = Exchange(
        ("ses-1", "What?"),
        None,
        None,
        sessions=sessions,
        config=make_config(api_key="llx-1", base_url=URL),
        clock=Clock(),
    )
    flow = exchange.run(somebody_elses_ticket())
    assert isinstance(next(flow), AwaitTurn)
    for _ in range(4):
        received.append(b"more")
        assert isinstance(flow.send(False), AwaitTurn)
    with pytest.raises(SessionBusyError):
        flow.send(False)


class Chunks(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        for number in range(5):
            yield b'data: {"type":"text_delta","content":"%d"}\n\n' % number


async def test_what_arrives_after_the_line_was_cut_is_not_read() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=Chunks())

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        client = AsyncChatClient("llx-1", base_url=URL, http_client=http)
        client._known.get("ses-1").note(None, [], time.monotonic())
        stream = client.stream("ses-1", "What?")
        heard = []
        async for event in stream:
            heard.append(event)
            stream._line.cut()
    assert heard == [TextDelta("0")]
