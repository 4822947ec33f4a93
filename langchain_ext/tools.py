"""LlamaCloud's chat agent as a tool, for agents that another model drives."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Literal

from langchain_core.callbacks import AsyncCallbackManagerForToolRun, CallbackManagerForToolRun
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config, patch_config
from langchain_core.tools import BaseTool, ToolException
from langchain_core.tools.base import ArgsSchema
from pydantic import BaseModel, Field, PrivateAttr, model_validator
from typing_extensions import Self

from llama_cloud_chat import AsyncChatClient, ChatClient, ClientPair, PromptTooLongError

from ._errors import BothFamilies
from ._names import check_names, field_names
from ._threads import (
    Exchange,
    Threads,
    asking_message,
    conversation,
    messages_of,
    read_exchanges,
    told_in,
)
from .chat_models import ChatLlamaCloud
from .documents import sources_of

_TOOL_ERRORS = BothFamilies(ToolException)


class Question(BaseModel):
    """What the driving model passes."""

    question: str = Field(description="A complete question, in plain language.")


def _schema() -> type[BaseModel]:
    """Return what the tool takes: with the graph's state where there can be one."""
    try:
        from ._questions import QuestionInState  # noqa: PLC0415  # LangGraph is loaded when it is needed
    except ImportError:
        return Question
    return QuestionInState


class LlamaCloudChatTool(BaseTool):
    """Asks LlamaCloud's chat agent. The answer is the tool's content; its sources, as plain dicts, the artifact.

    The agent is a sub-agent: it is asked through `ChatLlamaCloud` inside the tool's run, so that its tokens stream from
    there, traces show it with its usage, and its tools' calls are told. A question that cannot be asked, an empty one,
    is answered by saying so. Errors are `ToolException`s, too: `handle_tool_error` makes answers of them.

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
        session_per: `thread` asks all questions of one conversation in one session, one after the other. Where it
            stands lies in the tool's messages, so a LangGraph thread goes on after a restart and on another worker;
            without a graph's state, a thread (`configurable["thread_id"]`) goes on as long as this process lives.
            `call` opens a session for each question, as does a question of no conversation.
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
    args_schema: ArgsSchema | None = Field(default_factory=_schema)
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    index_ids: list[str] | None = None
    session_per: Literal["thread", "call"] = "thread"
    keep_sessions: bool = True
    client: ChatClient | None = Field(default=None, exclude=True, repr=False)
    async_client: AsyncChatClient | None = Field(default=None, exclude=True, repr=False)

    _model: ChatLlamaCloud = PrivateAttr()
    _threads: Threads = PrivateAttr(default_factory=Threads)

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, given: Any) -> Any:
        if isinstance(given, dict):
            check_names(given, field_names(cls), cls.__name__)
        return given

    @model_validator(mode="after")
    def _set_up_model(self) -> Self:
        self._model = ChatLlamaCloud(
            client=self.client,
            async_client=self.async_client,
            index_ids=self.index_ids,
            keep_sessions=self.keep_sessions,
        )
        return self

    @property
    def _clients(self) -> ClientPair:
        return self._model._clients

    def _to_args_and_kwargs(
        self, tool_input: str | dict[str, Any], tool_call_id: str | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        # The framework would keep the id to itself, but it is asked for where questions of one message are lined up.
        args, kwargs = super()._to_args_and_kwargs(tool_input, tool_call_id)
        return args, {**kwargs, "tool_call_id": tool_call_id}

    def _run(
        self,
        question: str,
        config: RunnableConfig,
        state: Any = None,
        tool_call_id: str | None = None,
        run_manager: CallbackManagerForToolRun | None = None,
    ) -> tuple[str | ToolMessage, list[dict[str, Any]]]:
        call = _Call(self, question, config, state, tool_call_id)
        with _TOOL_ERRORS:
            if call.complaint is not None:
                return call.answer_with(call.complaint)
            with self._threads.turn(call.thread):
                try:
                    answer = self._model.invoke(call.messages(), _inside(config, run_manager))
                except PromptTooLongError as error:
                    return call.answer_with(error.message)
                return call.conclude(answer)

    async def _arun(
        self,
        question: str,
        config: RunnableConfig,
        state: Any = None,
        tool_call_id: str | None = None,
        run_manager: AsyncCallbackManagerForToolRun | None = None,
    ) -> tuple[str | ToolMessage, list[dict[str, Any]]]:
        call = _Call(self, question, config, state, tool_call_id)
        with _TOOL_ERRORS:
            if call.complaint is not None:
                return call.answer_with(call.complaint)
            async with self._threads.aturn(call.thread):
                try:
                    answer = await self._model.ainvoke(call.messages(), _inside(config, run_manager))
                except PromptTooLongError as error:
                    return call.answer_with(error.message)
                return call.conclude(answer)


def _inside(
    config: RunnableConfig | None, run_manager: CallbackManagerForToolRun | AsyncCallbackManagerForToolRun | None
) -> RunnableConfig:
    """Return the config of what runs inside the tool's run."""
    if run_manager is None:
        return ensure_config(config)
    return patch_config(config, callbacks=run_manager.get_child())


class _Call:
    """One question that the tool is asked: what came before it, and what its answer is made into."""

    def __init__(
        self,
        tool: LlamaCloudChatTool,
        question: str,
        config: RunnableConfig | None,
        state: Any,
        call_id: str | None,
    ) -> None:
        self._tool = tool
        self._question = question
        self._call_id = call_id
        self._told = messages_of(state) if tool.session_per == "thread" else None
        self._asking = asking_message(self._told or [], call_id)
        self.thread = self._thread_of(config) if tool.session_per == "thread" else None

    @property
    def complaint(self) -> str | None:
        """What is wrong with the question, for the model that drives; None if it can be asked."""
        return None if self._question.strip() else "The question is empty. Ask a complete question, in plain language."

    def _thread_of(self, config: RunnableConfig | None) -> Hashable:
        thread_id = ((config or {}).get("configurable") or {}).get("thread_id")
        if self._asking is None or self._asking.id is None:
            return thread_id
        # What is asked in one message is lined up, also without a thread; sub-agents of one thread do not meet there.
        return thread_id, self._asking.id

    def messages(self) -> list[Any]:
        """Return the conversation that ends with the question."""
        self._before = self._asked_before()
        return conversation(self._before, self._question)

    def _asked_before(self) -> list[Exchange]:
        known = self._tool._threads.recall(self.thread)
        if self._told is None:
            return known
        together = self._together()
        self._kept = [one for one in known if one.call_id in together]
        told = read_exchanges(self._told, self._tool.name)
        return [*told, *(one for one in self._kept if one.call_id not in {other.call_id for other in told})]

    def _together(self) -> set[str | None]:
        """Return the ids of the tool's calls that were made in one message with this one."""
        calls = [] if self._asking is None else self._asking.tool_calls
        return {call["id"] for call in calls if call["name"] == self._tool.name} - {self._call_id}

    def conclude(self, answer: AIMessage) -> tuple[str | ToolMessage, list[dict[str, Any]]]:
        """Return what the tool answers, and keep it for what is asked next."""
        exchange = Exchange(self._call_id, self._question, answer)
        self._tool._threads.remember(self.thread, self._still_to_tell(exchange))
        sources = sources_of(answer)
        if self._call_id is None:
            return str(answer.text), sources
        message = ToolMessage(
            str(answer.text),
            artifact=sources,
            tool_call_id=self._call_id,
            name=self._tool.name,
            response_metadata=told_in(answer),
        )
        return message, sources

    def _still_to_tell(self, exchange: Exchange) -> list[Exchange]:
        """Return what no message says when the thread is asked next; once all that was asked together is, they do."""
        if self._told is None:
            return [*self._before, exchange]
        return [*self._kept, exchange] if len(self._kept) < len(self._together()) else []

    def answer_with(self, complaint: str) -> tuple[str | ToolMessage, list[dict[str, Any]]]:
        """Return an answer from which the driving model sees what to do better."""
        if self._call_id is None:
            return complaint, []
        return ToolMessage(complaint, tool_call_id=self._call_id, name=self._tool.name, status="error"), []
