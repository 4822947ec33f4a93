"""A client for threads and its twin for asyncio: whoever has one has both."""

from __future__ import annotations

import weakref
from typing import Any

from typing_extensions import Self

from llama_cloud_chat import AsyncChatClient, ChatClient, ConfigurationError


class Clients:
    """Both kinds of client.

    Args:
        client: The client for threads.
        async_client: The client for asyncio. One kind is enough: its twin is made when it is needed. With neither,
            the environment says how to reach the service.

    Raises:
        ConfigurationError: An argument is of the wrong kind, or the environment holds no key.
    """

    def __init__(self, client: ChatClient | None = None, async_client: AsyncChatClient | None = None) -> None:
        _check("client", client, ChatClient)
        _check("async_client", async_client, AsyncChatClient)
        self._async_client = async_client
        self._client = client
        if client is None and async_client is None:
            self._client = self._own(ChatClient())

    @property
    def sync(self) -> ChatClient:
        """The client for threads."""
        if self._client is None:
            assert self._async_client is not None
            self._client = self._async_client.as_sync()
        return self._client

    @property
    def aio(self) -> AsyncChatClient:
        """The client for asyncio."""
        if self._async_client is None:
            assert self._client is not None
            self._async_client = self._client.as_async()
        return self._async_client

    def _own(self, client: ChatClient) -> ChatClient:
        """Close a client that was made here when nobody needs it any more."""
        weakref.finalize(self, client.close)
        return client

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __repr__(self) -> str:
        return repr(self._client or self._async_client)


def _check(name: str, value: object, kind: type) -> None:
    if value is not None and not isinstance(value, kind):
        raise ConfigurationError(f"{name} must be of type {kind.__name__}, not {type(value).__name__}.")
