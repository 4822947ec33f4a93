"""LlamaCloud's chat agent as a tool, for agents that another model drives."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Literal

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langchain_core.tools.base import ArgsSchema
from pydantic import BaseModel, Field, PrivateAttr, model_validator
from typing_extensions import Self

from llama_cloud_chat import AsyncChatClient, ChatClient, ClientPair, ConverseOptions, Message, Turn

from ._clients import shared_clients
from ._metadata import source_dicts

_MOST_THREADS = 10_000


class _Question(BaseModel):
    question: str = Field(description="A complete question, in plain language.")


class _Threads:
    """What was asked and answered on each thread: that is all it takes to go on. Shared by a tool's copies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._conversations: OrderedDict[str, list[Message]] = OrderedDict()

    def recall(self, thread: str | None) -> list[Message]:
        with self._lock:
            return self._conversations.get(thread, []) if thread is not None else []

    def remember(self, thread: str | None, conversation: list[Message]) -> None:
        if thread is None:
            return
        with self._lock:
            self._conversations[thread] = conversation
            self._conversations.move_to_end(thread)
            if len(self._conversations) > _MOST_THREADS:
                self._conversations.popitem(last=False)

    def __copy__(self) -> _Threads:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> _Threads:
        return self

    def __reduce__(self) -> tuple[type[_Threads], tuple[()]]:
        return _Threads, ()


class LlamaCloudChatTool(BaseTool):
    """Asks LlamaCloud's chat agent. The answer is the tool's content; its sources, as plain dicts, the artifact.

    Examples:
        An agent that another model drives, `driver`, which is any chat model that calls tools:

        >>> from langchain.agents import create_agent
        >>> from langchain_ext import LlamaCloudChatTool, sources_as_documents
        >>> handbook = LlamaCloudChatTool(
        ...     index_ids=index_ids,
        ...     name="ask_handbook",
        ...     description="Answers questions about the company's handbook, with sources.",
        ... )
        >>> agent = create_agent(driver, tools=[handbook])
        >>> state = agent.invoke({"messages": [("user", "How many days of leave do I have?")]})
        >>> print(state["messages"][-1].text)
        You have 30 days.
        >>> told = state["messages"][-2]
        >>> [document.metadata["file_name"] for document in sources_as_documents(told)]
        ['leave.md']

    Args:
        client: The client to ask with; by default one made from the environment.
        async_client: The same for asyncio. One kind is enough; its twin is made.
        index_ids: The indexes to search, ten at most.
        name: What the driving model calls the tool.
        description: When the driving model is to use it: say what the indexes hold.
        session_per: `thread` asks all questions of one LangGraph thread (`configurable["thread_id"]`) in one
            session, as long as this process lives; `call`, and calls outside of a thread, have a session each.
        keep_sessions: Whether sessions stay once a question is answered. If not, a thread's next question is told
            of the earlier ones.

    Raises:
        ConfigurationError: There is no client, and the environment holds no key.
    """

    name: str = "llama_cloud_chat"
    description: str = (
        "Answers questions about the documents in the user's LlamaCloud indexes. It searches them by itself and "
        "understands follow-up questions."
    )
    args_schema: ArgsSchema | None = _Question
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    index_ids: list[str] | None = None
    session_per: Literal["thread", "call"] = "thread"
    keep_sessions: bool = True
    client: ChatClient | None = Field(default=None, exclude=True, repr=False)
    async_client: AsyncChatClient | None = Field(default=None, exclude=True, repr=False)

    _clients: ClientPair = PrivateAttr()
    _threads: _Threads = PrivateAttr(default_factory=_Threads)

    @model_validator(mode="after")
    def _set_up_clients(self) -> Self:
        self._clients = shared_clients(self.client, self.async_client)
        return self

    def _run(self, question: str, config: RunnableConfig) -> tuple[str, list[dict[str, Any]]]:
        thread = self._thread_of(config)
        messages = [*self._threads.recall(thread), Message("user", question)]
        with self._clients.client.converse(messages, **self._how_to_ask()) as stream:
            for _ in stream:
                pass
        return self._conclude(thread, messages, stream.turn)

    async def _arun(self, question: str, config: RunnableConfig) -> tuple[str, list[dict[str, Any]]]:
        thread = self._thread_of(config)
        messages = [*self._threads.recall(thread), Message("user", question)]
        async with self._clients.async_client.converse(messages, **self._how_to_ask()) as stream:
            async for _ in stream:
                pass
        return self._conclude(thread, messages, stream.turn)

    def _thread_of(self, config: RunnableConfig) -> str | None:
        thread_id = (config.get("configurable") or {}).get("thread_id")
        return None if thread_id is None or self.session_per == "call" else str(thread_id)

    def _how_to_ask(self) -> ConverseOptions:
        return {"index_ids": self.index_ids, "keep_session": self.keep_sessions}

    def _conclude(self, thread: str | None, messages: list[Message], turn: Turn) -> tuple[str, list[dict[str, Any]]]:
        answer = Message("assistant", turn.text, session_id=turn.session_id, turn=turn.number)
        self._threads.remember(thread, [*messages, answer])
        return turn.text, source_dicts(turn.sources)
