"""The clients behind the models and tools, shared by all that are made with the same settings.

LangChain rebuilds a model whenever a configurable field is set; what the first one knows of its sessions, and its
open connections, must serve the second. So both live here, for as long as anything uses them.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable

from llama_cloud_chat import AsyncChatClient, ChatClient, ClientPair

_shared: weakref.WeakValueDictionary[Hashable, ClientPair] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def shared_clients(
    client: ChatClient | None, async_client: AsyncChatClient | None, make: Callable[[], ChatClient] = ChatClient
) -> ClientPair:
    """Return the pair of the clients that are given, else the one pair of all that are made alike.

    Args:
        client: The user's client.
        async_client: The user's async client.
        make: Makes the client where neither is given.

    Raises:
        ConfigurationError: It cannot be made.
    """
    pair = ClientPair(client, async_client, make)
    key: Hashable = id(client), id(async_client)
    if client is None and async_client is None:
        config = pair.client.config
        key = config, config.api_key.get_secret_value()  # two that differ in their key alone compare equal
    with _lock:
        return _shared.setdefault(key, pair)
