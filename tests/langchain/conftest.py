"""A service that plays scripts, and models that talk to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio

from langchain_ext import ChatLlamaCloud
from llama_cloud_chat import AsyncChatClient, ChatClient
from llama_cloud_chat.local import LocalService

from ..support.service import ChatService
from .harness import scripted_agent

Make = Callable[..., ChatLlamaCloud]


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LLAMA_CLOUD_API_KEY", "LLAMA_PARSE_API_KEY", "LLAMA_CLOUD_BASE_URL", "LC_OUTPUT_VERSION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):
        monkeypatch.setenv(name, "false")
    monkeypatch.setenv("LLAMA_CLOUD_INDEX_IDS", "idx-empty")  # the index of a service without documents


@pytest.fixture(scope="session")
def service() -> Iterator[LocalService]:
    with LocalService([], agent=scripted_agent) as service:
        yield service


@pytest.fixture
def client(service: LocalService) -> Iterator[ChatClient]:
    with ChatClient(service.api_key, base_url=service.base_url) as client:
        yield client


@pytest.fixture
def make(client: ChatClient) -> Make:
    """Make a model for threads."""

    def make_model(**fields: Any) -> ChatLlamaCloud:
        return ChatLlamaCloud(client=client, **fields)

    return make_model


@pytest.fixture
def model(make: Make) -> ChatLlamaCloud:
    return make()


@pytest_asyncio.fixture
async def async_client(client: ChatClient) -> AsyncIterator[AsyncChatClient]:
    async with client.as_async() as async_client:
        yield async_client


@pytest.fixture
def amake(client: ChatClient, async_client: AsyncChatClient) -> Make:
    """Make a model for asyncio."""

    def make_model(**fields: Any) -> ChatLlamaCloud:
        return ChatLlamaCloud(client=client, async_client=async_client, **fields)

    return make_model


@pytest.fixture
def amodel(amake: Make) -> ChatLlamaCloud:
    return amake()


@pytest.fixture
def raw() -> Iterator[ChatService]:
    """A service that breaks off where it is told to."""
    with ChatService() as service:
        yield service


@pytest.fixture
def raw_client(raw: ChatService) -> Iterator[ChatClient]:
    with ChatClient("key", base_url=raw.base_url, max_retries=0, recovery_timeout=0.1) as client:
        yield client
