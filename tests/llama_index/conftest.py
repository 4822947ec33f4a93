"""Running services and clients for them, closed after each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from llama_cloud_chat import AsyncChatClient, ChatClient
from llama_cloud_chat.local import Agent, LocalService
from tests.llama_index.harness import HoldingService


@pytest.fixture(autouse=True)
def _index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_CLOUD_INDEX_IDS", "idx-empty")  # the index of a service without documents


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def serve(opened: ExitStack) -> Callable[..., ChatClient]:
    """Start a service whose agent is given, and return a client of it."""

    def start(agent: Agent | None = None, docs: Any = (), **options: Any) -> ChatClient:
        service = opened.enter_context(LocalService(docs, agent=agent))
        return opened.enter_context(ChatClient(service.api_key, base_url=service.base_url, **options))

    return start


@pytest.fixture
async def aserve(opened: ExitStack) -> AsyncIterator[Callable[..., AsyncChatClient]]:
    """Start a service whose agent is given, and return an asynchronous client of it."""
    clients: list[AsyncChatClient] = []

    def start(agent: Agent | None = None, docs: Any = (), **options: Any) -> AsyncChatClient:
        service = opened.enter_context(LocalService(docs, agent=agent))
        clients.append(AsyncChatClient(service.api_key, base_url=service.base_url, **options))
        return clients[-1]

    yield start
    for client in clients:
        await client.aclose()


@pytest.fixture
def hold(opened: ExitStack) -> Callable[..., HoldingService]:
    """Start a service that sends these events and then holds the stream."""

    def start(events: list[dict[str, Any]]) -> HoldingService:
        return opened.enter_context(HoldingService(events))

    return start
