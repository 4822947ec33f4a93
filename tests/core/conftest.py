"""A fake service, and clients of both colours for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ..support.clients import Blocking, FakeClock, make_client
from ..support.service import ChatService

MakeClient = Callable[..., Any]


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "BASE_URL", "PROJECT_ID", "ORGANIZATION_ID"):
        monkeypatch.delenv(f"LLAMA_CLOUD_{name}", raising=False)
    monkeypatch.delenv("LLAMA_PARSE_API_KEY", raising=False)


@pytest.fixture
def service() -> Iterator[ChatService]:
    with ChatService() as service:
        yield service


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> str:
    """Every test that uses this, or a client, runs for both."""
    return str(request.param)


@pytest.fixture
def make(colour: str, service: ChatService, clock: FakeClock) -> Iterator[MakeClient]:
    """Make a client of the service that never really waits, whatever its colour, as if it were synchronous."""
    loop = asyncio.new_event_loop()
    made: list[Any] = []

    def make_one(**settings: Any) -> Any:
        client = make_client(colour, **{"base_url": service.base_url, "clock": clock, **settings})
        made.append(client if colour == "sync" else Blocking(client, loop))
        return made[-1]

    yield make_one
    for client in made:
        client.close()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


@pytest.fixture
def client(make: MakeClient) -> Any:
    return make()
