"""A fake service, endpoints over it in both colours, and the AI SDK that talks to them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the endpoints need the extra local")

from ..support.clients import FakeClock, make_client
from ..support.service import ChatService
from .support import Page, endpoints, install, serve


@pytest.fixture(scope="session")
def ai_sdk() -> Path:
    """Where the package `ai` is; without Node or the registry, what needs it is skipped."""
    try:
        return install()
    except LookupError as reason:
        pytest.skip(str(reason))


@pytest.fixture
def service() -> Iterator[ChatService]:
    with ChatService() as service:
        yield service


@pytest.fixture
def address(service: ChatService) -> Iterator[str]:
    clients = [make_client(colour, service.base_url, FakeClock(), recovery_timeout=3) for colour in ("sync", "async")]
    with serve(endpoints(clients[0], clients[1], ["idx-1"])) as address:
        yield address


@pytest.fixture(params=["sync", "async"])
def page(request: pytest.FixtureRequest, ai_sdk: Path, address: str) -> Page:
    """Every test that uses this runs for both colours of our stream."""
    return Page(ai_sdk, f"{address}/{request.param}")
