"""The clients behind the models and tools, shared by all that are made with the same settings.

LangChain rebuilds a model whenever a configurable field is set; what the first one knows of its sessions, and its
open connections, must serve the second. So both live here, for as long as anything uses them.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Hashable
from typing import Any

from llama_cloud_chat import AsyncChatClient, ChatClient


class Clients:
    """A client and its twin.

    Attributes:
        sync_client: For threads.
        async_client: For asyncio.
    """

    def __init__(self, sync_client: ChatClient, async_client: AsyncChatClient) -> None:
        self.sync_client = sync_client
        self.async_client = async_client

    def __copy__(self) -> Clients:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Clients:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_pickle, (self.sync_client,)


_shared: weakref.WeakValueDictionary[Hashable, Clients] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def clients_for(client: ChatClient | None, async_client: AsyncChatClient | None, **settings: Any) -> Clients:
    """Return the clients to use: those given, each the other's twin where one is missing, else shared ones.

    Args:
        client: The user's client.
        async_client: The user's async client.
        **settings: What a `ChatClient` takes, for where neither is given.

    Raises:
        ConfigurationError: The settings cannot work.
    """
    if client is not None or async_client is not None:
        return _share((id(client), id(async_client)), client, async_client)
    made = ChatClient(**settings)
    # Two configurations that differ in their key alone compare equal.
    clients = _share((made.config, made.config.api_key.get_secret_value()), made, None)
    if clients.sync_client is made:
        weakref.finalize(clients, made.close)
    return clients


def _share(key: Hashable, client: ChatClient | None, async_client: AsyncChatClient | None) -> Clients:
    with _lock:
        clients = _shared.get(key)
        if clients is None:
            clients = _shared[key] = _pair(client, async_client)
        return clients


def _pair(client: ChatClient | None, async_client: AsyncChatClient | None) -> Clients:
    if client is not None:
        return Clients(client, async_client or client.as_async())
    assert async_client is not None
    return Clients(async_client.as_sync(), async_client)


def _from_pickle(client: ChatClient) -> Clients:
    return Clients(client, client.as_async())
