"""Connections: one pool for little work, several small ones for much, and no more than are needed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest

from llama_cloud_chat import APITimeoutError, AsyncChatClient, ChatClient, ChatError, Stop, Timeouts
from llama_cloud_chat._transport.pools import STREAMS_PER_POOL, Pools

from ..support.clients import make_client
from ..support.http import httpx
from ..support.server import CHUNKED, Cut, Gate, head, plain
from ..support.service import ChatService, Held, Play
from ..support.turns import message, said
from .conftest import MakeClient


def begin(client: Any) -> Any:
    stream = client.create().stream("What?")
    next(stream)
    return stream


def requests_in_pools(client: Any) -> list[int]:
    """Return how many requests each pool believes to be under way, on whatever event loop."""
    client = getattr(client, "_wrapped", client)
    connections = client._transport._connections
    every: Any = connections._pools_of_loops.values() if isinstance(client, AsyncChatClient) else [connections._pools]
    return [pool.in_use for pools in every for pool in pools._pools]


def test_turns_one_after_the_other_share_one_connection(client: Any, service: ChatService) -> None:
    session = client.create()
    for _ in range(3):
        session.ask("What?")
    assert service.connections_made == 1


def test_more_turns_than_a_pool_holds_run_at_once_and_leave_no_more_open_than_it_keeps(
    client: Any, service: ChatService
) -> None:
    gate = Gate()
    many = STREAMS_PER_POOL + 5
    service.plays.extend([Held(gate=gate)] * many)
    streams = [begin(client) for _ in range(many)]
    assert service.open_connections >= many
    gate.open()
    for stream in streams:
        for _ in stream:
            pass
        assert stream.turn.is_complete
    service.wait_until(lambda: service.open_connections <= STREAMS_PER_POOL)
    assert client.create().ask("And?").is_complete


def test_when_every_pool_is_full_the_error_says_so(
    make: MakeClient, service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llama_cloud_chat._transport.pools.MOST_POOLS", 1)
    client = make(timeout=Timeouts(pool=0.05))
    last = client.create()
    gate = Gate()
    service.plays.extend([Held(gate=gate)] * STREAMS_PER_POOL)
    streams = [begin(client) for _ in range(STREAMS_PER_POOL)]
    with pytest.raises(APITimeoutError, match="connections were in use"):
        last.ask("What?")
    gate.open()
    for stream in streams:
        stream.close()
    assert last.ask("What?").is_complete


def test_closing_forgets_every_pool_and_streams_that_end_later_do_no_harm(client: Any, service: ChatService) -> None:
    gate = Gate()
    service.plays.extend([Held(gate=gate)] * (STREAMS_PER_POOL + 1))
    streams = [begin(client) for _ in range(STREAMS_PER_POOL + 1)]
    client.close()
    service.wait_until(lambda: service.open_connections == 0)
    gate.open()
    for stream in streams:
        stream.close()
    assert client.create().ask("And?").is_complete


def test_a_client_that_was_given_serves_everything_and_is_never_closed() -> None:
    with httpx.Client() as http:
        pools = Pools(httpx.Client, http)
        entered = [pools.enter() for _ in range(STREAMS_PER_POOL + 1)]
        assert {pool.http for pool in entered} == {http}
        assert [pools.leave(pool) for pool in entered] == [None] * len(entered)
        assert pools.clear() == []


async def test_a_task_cancelled_while_the_service_holds_the_line_after_the_end_leaves_its_pool(
    service: ChatService,
) -> None:
    play = Play(said("Yes."))
    gate = Gate()
    play.steps = lambda pieces: [b"".join(pieces[:-1]), gate]
    service.plays.append(play)
    async with make_client("async", service.base_url) as client:
        stream = (await client.create()).stream("What?")

        async def read() -> None:
            async for event in stream:
                if isinstance(event, Stop):
                    task.get_loop().call_soon(task.cancel)  # while what follows is waited for

        task = asyncio.create_task(read())
        with pytest.raises(asyncio.CancelledError):
            await task
        assert stream.turn.is_complete
        assert requests_in_pools(client) == [0]
        gate.open()
        assert (await (await client.create()).ask("And?")).is_complete


class Interrupted(httpx.SyncByteStream):
    """Brings a whole turn; then somebody presses Ctrl-C."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"".join(map(message, said("Yes.")))
        raise KeyboardInterrupt


def test_an_interrupt_after_the_end_leaves_its_pool() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=Interrupted())

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        client = ChatClient("llx-1", base_url="http://127.0.0.1:1", http_client=http)
        client._known.get("ses-1").note(None, [], time.monotonic())
        stream = client.stream("ses-1", "What?")
        with pytest.raises(KeyboardInterrupt):
            list(stream)
        assert stream.turn.is_complete
        assert requests_in_pools(client) == [0]


FAILURES = {
    "no head": [Cut()],
    "a reset": [Cut(reset=True)],
    "a cut error": [head(500, {"Content-Length": "9"}) + b"abc", Cut()],
    "a cut success": [head(202, {"Content-Length": "9"}) + b"abc", Cut()],
    "another type": [plain(200, b"Hi.", {"Content-Type": "text/html"})],
    "packed in an unknown way": [head(200, {**CHUNKED, "Content-Encoding": "lz5"})],
    "an error packed in an unknown way": [head(500, {**CHUNKED, "Content-Encoding": "lz5"})],
    "badly packed": [plain(200, b"no gzip", {"Content-Type": "text/event-stream", "Content-Encoding": "gzip"})],
    "a badly packed error": [plain(500, b"no gzip", {"Content-Encoding": "gzip"})],
    "a cut head": [b"HTTP/1.1 200 OK\r\nContent-", Cut()],
    "no HTTP": [b"SSH-2.0\r\n\r\n", Cut()],
}


@pytest.mark.parametrize("operation", ["stream", "retrieve", "create"])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_request_that_fails_leaves_its_pool_once_and_raises_only_our_errors(
    client: Any, service: ChatService, failure: str, operation: str
) -> None:
    session = client.create()
    if operation == "stream":
        service.plays.append(Play(instead=FAILURES[failure], is_taken=False))
    else:
        service.instead[operation].append(FAILURES[failure])
    ask = {"stream": lambda: session.ask("What?"), "retrieve": session.turns, "create": client.create}[operation]
    with contextlib.suppress(ChatError):
        ask()
    assert requests_in_pools(client) == [0]
    assert client.create().ask("And?").is_complete


def test_when_every_pool_is_full_the_least_used_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llama_cloud_chat._transport.pools.MOST_POOLS", 2)
    monkeypatch.setattr("llama_cloud_chat._transport.pools.STREAMS_PER_POOL", 1)
    pools = Pools(httpx.Client)
    first, second, third, fourth = (pools.enter() for _ in range(4))
    assert first is not second
    assert third is not fourth
    for http in pools.clear():
        http.close()
