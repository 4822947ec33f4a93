"""Connections: one pool for little work, several small ones for much, and no more than are needed."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from llama_cloud_chat import APITimeoutError, Timeouts
from llama_cloud_chat._pools import STREAMS_PER_POOL, Pools

from ..support.server import Gate
from ..support.service import ChatService, Play
from ..support.turns import said
from .conftest import MakeClient


def held(gate: Gate) -> Play:
    """Make a turn that begins and then waits."""
    return Play(said("Held."), steps=lambda pieces: [b"".join(pieces[:2]), gate, b"".join(pieces[2:])])


def begin(client: Any) -> Any:
    stream = client.create().stream("What?")
    next(stream)
    return stream


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
    service.plays.extend([held(gate)] * many)
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
    monkeypatch.setattr("llama_cloud_chat._pools.MOST_POOLS", 1)
    client = make(timeout=Timeouts(pool=0.05))
    last = client.create()
    gate = Gate()
    service.plays.extend([held(gate)] * STREAMS_PER_POOL)
    streams = [begin(client) for _ in range(STREAMS_PER_POOL)]
    with pytest.raises(APITimeoutError, match="connections were in use"):
        last.ask("What?")
    gate.open()
    for stream in streams:
        stream.close()
    assert last.ask("What?").is_complete


def test_closing_forgets_every_pool_and_streams_that_end_later_do_no_harm(client: Any, service: ChatService) -> None:
    gate = Gate()
    service.plays.extend([held(gate)] * (STREAMS_PER_POOL + 1))
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
