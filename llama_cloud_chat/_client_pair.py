"""Both kinds of client, for whoever may be asked from threads and from tasks; having one is enough."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._async_client import AsyncChatClient
from ._client import ChatClient
from ._errors import ConfigurationError

if TYPE_CHECKING:
    from typing_extensions import Self


class ClientPair:
    """A client for threads and its twin for asyncio.

    Examples:
        >>> from llama_cloud_chat import ChatClient, ClientPair
        >>> with ChatClient() as client:
        ...     pair = ClientPair(client)
        ...     pair.async_client is client.as_async()
        True

    Args:
        client: The client for threads.
        async_client: The client for asyncio. One kind is enough: its twin is made when it is first needed.
        make: Makes the client where neither is given; by default, from the environment. What it makes is closed when
            nobody uses the pair any more.

    Raises:
        ConfigurationError: An argument is of the wrong kind, or no client can be made.

    Copies made in a process are the same pair. A pickled one holds its clients as they are pickled: without their keys
    and their connections.
    """

    def __init__(
        self,
        client: ChatClient | None = None,
        async_client: AsyncChatClient | None = None,
        make: Callable[[], ChatClient] = ChatClient,
    ) -> None:
        _check("client", client, ChatClient)
        _check("async_client", async_client, AsyncChatClient)
        if client is None and async_client is None:
            client = make()
            weakref.finalize(self, client.close)
        self._client = client
        self._async_client = async_client

    @property
    def client(self) -> ChatClient:
        """The client for threads."""
        if self._client is None:
            assert self._async_client is not None
            self._client = self._async_client.as_sync()
        return self._client

    @property
    def async_client(self) -> AsyncChatClient:
        """The client for asyncio."""
        if self._async_client is None:
            assert self._client is not None
            self._async_client = self._client.as_async()
        return self._async_client

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # Twins know of each other's sessions; pickled side by side they would arrive as strangers.
        are_twins = self._client is not None and self._client.as_async() is self._async_client
        return type(self), (self._client, None if are_twins else self._async_client)

    def __repr__(self) -> str:
        return repr(self._client or self._async_client)


def _check(name: str, value: object, kind: type) -> None:
    if value is not None and not isinstance(value, kind):
        raise ConfigurationError(f"{name} must be of type {kind.__name__}, not {type(value).__name__}.")
