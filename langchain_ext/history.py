"""A session's history as a LangChain message history."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from llama_cloud_chat import AsyncChatClient, ChatClient, NotFoundError, Turn

from ._clients import shared_clients
from ._converter import message_of
from ._messages import anchor_of
from ._metadata import history_message_id


class LlamaCloudChatMessageHistory(BaseChatMessageHistory):
    """The conversation of one session, as the service keeps it.

    The service writes the history itself, by answering. So nothing is ever added here: adding what a session
    already holds does nothing, and adding anything else is refused.

    Examples:
        Under `RunnableWithMessageHistory` the model must ask on the same session, which takes a configurable field:

        >>> from langchain_core.runnables import ConfigurableField
        >>> from langchain_core.runnables.history import RunnableWithMessageHistory
        >>> from langchain_ext import ChatLlamaCloud, LlamaCloudChatMessageHistory
        >>> from llama_cloud_chat import ChatClient
        >>> client = ChatClient()
        >>> model = ChatLlamaCloud(client=client).configurable_fields(session_id=ConfigurableField(id="session_id"))
        >>> chat = RunnableWithMessageHistory(
        ...     model, lambda session_id: LlamaCloudChatMessageHistory(session_id, client=client)
        ... )
        >>> session = client.create(index_ids)
        >>> config = {"configurable": {"session_id": session.session_id}}
        >>> first = chat.invoke("How many days of leave do I have?", config)
        >>> second = chat.invoke("And when do they expire?", config)
        >>> [message.type for message in LlamaCloudChatMessageHistory(session.session_id, client=client).messages]
        ['human', 'ai', 'human', 'ai']
        >>> client.close()

    Args:
        session_id: The session.
        client: The client to read it with; by default one made from the environment.
        async_client: The same for asyncio. One kind is enough; its twin is made.
        output_version: `v1` for answers whose `content` holds blocks, as of a model of that version.

    Raises:
        ConfigurationError: There is no client, and the environment holds no key.
    """

    def __init__(
        self,
        session_id: str,
        client: ChatClient | None = None,
        *,
        async_client: AsyncChatClient | None = None,
        output_version: str | None = None,
    ) -> None:
        self.session_id = session_id
        self._clients = shared_clients(client, async_client)
        self._output_version = output_version
        self._is_cleared = False

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]  # LangChain's own histories do the same
        """Every question, in the user's words, and every answer, read anew each time; empty once cleared.

        Raises:
            NotFoundError: There is no such session.
        """
        return self._as_messages(self._turns())

    async def aget_messages(self) -> list[BaseMessage]:
        """Return `messages`, without blocking."""
        return self._as_messages(await self._aturns())

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Do nothing, for the session's own messages are there already.

        Args:
            messages: Messages of the session.

        Raises:
            ValueError: One of them is not the session's own.
        """
        if _first_foreign(messages, self.session_id, ()) is not None:
            self._refuse(_first_foreign(messages, self.session_id, self._turns()))

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Do as `add_messages`, without blocking."""
        if _first_foreign(messages, self.session_id, ()) is not None:
            self._refuse(_first_foreign(messages, self.session_id, await self._aturns()))

    def clear(self) -> None:
        """Delete the session."""
        with contextlib.suppress(NotFoundError):
            self._clients.client.delete(self.session_id)
        self._is_cleared = True

    async def aclear(self) -> None:
        """Delete the session, without blocking."""
        with contextlib.suppress(NotFoundError):
            await self._clients.async_client.delete(self.session_id)
        self._is_cleared = True

    def _turns(self) -> list[Turn]:
        return [] if self._is_cleared else self._clients.client.retrieve(self.session_id).turns

    async def _aturns(self) -> list[Turn]:
        return [] if self._is_cleared else (await self._clients.async_client.retrieve(self.session_id)).turns

    def _as_messages(self, turns: Sequence[Turn]) -> list[BaseMessage]:
        messages: list[BaseMessage] = []
        for turn in turns:
            if turn.prompt:
                messages.append(HumanMessage(turn.question))
            messages.append(message_of(turn, output_version=self._output_version, message_id=history_message_id(turn)))
        return messages

    def _refuse(self, foreign: BaseMessage | None) -> None:
        if foreign is None:
            return
        given_in = anchor_of(foreign).session_id
        where = f" It was given in session {given_in!r}." if given_in else ""
        raise ValueError(
            f"A {foreign.type} message is not part of session {self.session_id!r} and cannot be added to it:{where} "
            "The service writes a session's history itself, by answering. Ask on this session (session_id=), or give "
            "the earlier messages to ChatLlamaCloud, which begins a new session with them."
        )


def _first_foreign(messages: Sequence[BaseMessage], session_id: str, turns: Sequence[Turn]) -> BaseMessage | None:
    """Return the first message that is not the session's own, as far as the messages and `turns` tell."""
    asked: list[BaseMessage] = []
    for message in messages:
        if not isinstance(message, AIMessage):
            asked.append(message)
        elif _is_answer(message, session_id, turns):
            asked.clear()  # whatever led to one of its answers went into that turn's prompt
        else:
            return message
    prompts = {said.strip() for turn in turns for said in (turn.prompt, turn.question)}
    return next((message for message in asked if str(message.text).strip() not in prompts), None)


def _is_answer(message: AIMessage, session_id: str, turns: Sequence[Turn]) -> bool:
    given_in = anchor_of(message).session_id
    if given_in is not None:
        return given_in == session_id
    return any(turn.text == message.text for turn in turns)
