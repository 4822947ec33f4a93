"""LlamaCloud's sessions as a LlamaIndex chat store, for reading."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.storage.chat_store.base import BaseChatStore
from pydantic import BaseModel, PrivateAttr

from llama_cloud_chat import AsyncChatClient, ChatClient, ClientPair, NotFoundError, SessionSummary

from ._converter import history_messages


class LlamaCloudChatStore(BaseChatStore):
    """The sessions of a project: each is a key, its conversation the messages.

    Examples:
        >>> from llama_index_ext import LlamaCloudChatEngine, LlamaCloudChatStore
        >>> answer = LlamaCloudChatEngine(index_ids=index_ids).chat("How many days of leave are there?")
        >>> store = LlamaCloudChatStore()
        >>> for session_id in store.get_keys():
        ...     print(store.get_messages(session_id)[0])
        user: How many days of leave are there?
        >>> messages = store.delete_messages(session_id)
        >>> store.get_keys()
        []

    A session is written by asking its agent, so everything that writes is refused. For the same reason a memory over
    this store (`ChatMemoryBuffer(chat_store=store, chat_store_key=session_id)`) can be read, which shows a session to
    another model, but not put to. `Memory` keeps its messages in a database of its own and takes no chat store. To go
    on with a session, use `LlamaCloudChatEngine(session_id=...)`.

    Args:
        client: The client for threads.
        async_client: The client for asyncio. One kind is enough; with neither, the environment's key is used.
        index_ids: Only sessions that are bound to exactly these indexes count as keys; None means all.

    Raises:
        ConfigurationError: An argument cannot work, or there is no key.
    """

    _clients: ClientPair = PrivateAttr()
    _index_ids: frozenset[str] | None = PrivateAttr()

    def __init__(
        self,
        client: ChatClient | None = None,
        *,
        async_client: AsyncChatClient | None = None,
        index_ids: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self._clients = ClientPair(client, async_client)
        self._index_ids = None if index_ids is None else frozenset(index_ids)

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows this class."""
        return "LlamaCloudChatStore"

    def get_keys(self) -> list[str]:
        """Return the ids of all sessions."""
        return [summary.session_id for summary in self._clients.client.list() if self._counts(summary)]

    async def aget_keys(self) -> list[str]:
        """Return the ids of all sessions."""
        return [summary.session_id async for summary in self._clients.async_client.list() if self._counts(summary)]

    def get_messages(self, key: str) -> list[ChatMessage]:
        """Return a session's conversation; nothing if there is no such session.

        Args:
            key: The session's id.

        Raises:
            ChatError: It could not be read.
        """
        try:
            return history_messages(self._clients.client.retrieve(key).turns)
        except NotFoundError:
            return []

    async def aget_messages(self, key: str) -> list[ChatMessage]:
        """Return a session's conversation; nothing if there is no such session.

        Args:
            key: The session's id.

        Raises:
            ChatError: It could not be read.
        """
        try:
            return history_messages((await self._clients.async_client.retrieve(key)).turns)
        except NotFoundError:
            return []

    def delete_messages(self, key: str) -> list[ChatMessage] | None:
        """Delete a session, for good.

        Args:
            key: The session's id.

        Returns:
            Its conversation, or None if there is no such session.

        Raises:
            ChatError: It could not be deleted.
        """
        try:
            turns = self._clients.client.retrieve(key).turns
            self._clients.client.delete(key)
        except NotFoundError:
            return None
        return history_messages(turns)

    async def adelete_messages(self, key: str) -> list[ChatMessage] | None:
        """Delete a session, for good.

        Args:
            key: The session's id.

        Returns:
            Its conversation, or None if there is no such session.

        Raises:
            ChatError: It could not be deleted.
        """
        try:
            turns = (await self._clients.async_client.retrieve(key)).turns
            await self._clients.async_client.delete(key)
        except NotFoundError:
            return None
        return history_messages(turns)

    def set_messages(self, key: str, messages: list[ChatMessage]) -> NoReturn:
        """Refuse.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(_READ_ONLY)

    def add_message(self, key: str, message: ChatMessage) -> NoReturn:
        """Refuse.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(_READ_ONLY)

    def delete_message(self, key: str, idx: int) -> NoReturn:
        """Refuse.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(_WHOLE)

    def delete_last_message(self, key: str) -> NoReturn:
        """Refuse.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(_WHOLE)

    def _counts(self, summary: SessionSummary) -> bool:
        return self._index_ids is None or frozenset(summary.index_ids or ()) == self._index_ids

    def __setstate__(self, state: dict[str, Any]) -> None:
        BaseModel.__setstate__(self, state)  # LlamaIndex would call the constructor, which knows no private state

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._clients!r})"


_READ_ONLY = (
    "LlamaCloud's sessions cannot be written: the service keeps what was really asked and answered. Ask on the "
    "session instead, with LlamaCloudChatEngine(session_id=...)."
)
_WHOLE = "LlamaCloud deletes whole sessions, not single messages. Use delete_messages(session_id)."
