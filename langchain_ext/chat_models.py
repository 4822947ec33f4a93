"""`ChatLlamaCloud`: LlamaCloud's chat agent as a LangChain chat model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Literal, Protocol, TypeVar

from langchain_core.caches import BaseCache
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr, model_validator
from typing_extensions import Self

from llama_cloud_chat import (
    DEFAULT_FRESHNESS,
    DEFAULT_MAX_RETRIES,
    DEFAULT_RECOVERY_TIMEOUT,
    AsyncChatClient,
    AsyncTurnStream,
    ChatClient,
    ChatError,
    ClientPair,
    ConverseOptions,
    Event,
    HttpTimeout,
    Timeouts,
    Turn,
    TurnStream,
)

from ._callbacks import areport_tool, report_tool
from ._clients import shared_clients
from ._converter import ChunkWriter, ProtocolWriter, message_of
from ._errors import BothFamilies
from ._messages import to_core
from ._metadata import MODEL_NAME, PROVIDER
from ._names import check_names, field_names
from ._structured import DraftWriter, by_second_model, output_of, structured_model, wants_drafts

T = TypeVar("T")

_BOTH_FAMILIES = BothFamilies()

_CALL_NAMES = frozenset({"session_id", "index_ids", "require_all_indexes", "key", "response_format"})
"""What can be given per call."""


class ChatLlamaCloud(BaseChatModel):
    """LlamaCloud's chat agent: it keeps the conversation, searches your indexes with its own tools, and answers.

    Examples:
        In a chain:

        >>> from langchain_core.output_parsers import StrOutputParser
        >>> from langchain_core.prompts import ChatPromptTemplate
        >>> from langchain_ext import ChatLlamaCloud
        >>> model = ChatLlamaCloud(index_ids=index_ids)
        >>> prompt = ChatPromptTemplate.from_messages([("human", "How many days of {topic} are there?")])
        >>> chain = prompt | model | StrOutputParser()
        >>> for text in chain.stream({"topic": "leave"}):
        ...     print(text, end="")
        Everyone has 30 days of paid leave each year. ...

        In an agent whose threads outlive the process. A thread goes on in its session; resuming from an older
        checkpoint begins another one, and leaves the first as it is:

        >>> from langchain.agents import create_agent
        >>> from langgraph.checkpoint.sqlite import SqliteSaver
        >>> with SqliteSaver.from_conn_string("threads.db") as checkpointer:
        ...     agent = create_agent(model, tools=[], checkpointer=checkpointer)
        ...     thread = {"configurable": {"thread_id": "ada"}}
        ...     first = agent.invoke({"messages": [("user", "How many days of leave are there?")]}, thread)
        ...     second = agent.invoke({"messages": [("user", "And when do they expire?")]}, thread)
        >>> answers = [message for message in second["messages"] if message.type == "ai"]
        >>> [answer.response_metadata["turn"] for answer in answers]
        [1, 2]

    Args:
        api_key: The key; by default LLAMA_CLOUD_API_KEY, else LLAMA_PARSE_API_KEY.
        base_url: Where the service is; by default LLAMA_CLOUD_BASE_URL, else LlamaCloud in North America.
        project_id: The project; by default LLAMA_CLOUD_PROJECT_ID, else the key's default project.
        organization_id: The organisation; by default LLAMA_CLOUD_ORGANIZATION_ID, else the key's default one.
        index_ids: The indexes to search, ten at most. Other ones than a conversation began with make it fork.
        session_id: A session to use as it is: only what came after the last answer is sent to it. Without one the
            messages themselves say which session they belong to.
        require_all_indexes: Whether an index that cannot be queried fails the turn; else it is named in
            `response_metadata["skipped_index_ids"]`.
        keep_sessions: Whether sessions this model opens stay. If not, each is deleted once its answer is there,
            also after an error.
        timeout: Seconds of silence to bear, or `Timeouts`, or an `httpx.Timeout` or `httpx2.Timeout`.
        max_retries: How often a request is repeated after its first time. A prompt is never asked twice.
        recovery_timeout: For how many seconds an answer whose stream broke is looked for in the session's history.
        freshness: After how many seconds a session must be read again, for another process may have moved it on.
        client: A client to use instead of the settings above.
        async_client: The same for asyncio. One kind is enough; its twin is made.

    `session_id`, `index_ids` and `require_all_indexes` can also be given per call: with `bind`, as keyword arguments
    of `invoke` and the others, or through `configurable_fields`. So can `key`, which names a question: under one key
    the service is asked once, whoever asks and however often. Names that are not known are a `ConfigurationError`;
    what frameworks pass to any model, such as `temperature`, has no effect.

    An answer says where it stands: `session_id` and `turn` in its `response_metadata`. Given messages, the model
    goes on from the last answer that does, and sends only what came after it; that an earlier message was edited is
    not noticed. If the answer is no longer its session's last turn (a retry, time travel, another branch), it
    forks: a new session is given the transcript so far. So a turn that failed is asked again on a fork.

    `content` is the answer's text. `content_blocks` holds everything in order: `reasoning`, `server_tool_call` and
    `server_tool_result`, for the agent's tools run on the server, and `text`; `output_version="v1"` makes that the
    `content`. `tool_calls` is always empty. `response_metadata` also holds `sources`, see `sources_as_documents`.
    `stop` ends the text that is delivered; the agent itself cannot be stopped by words.

    Raises:
        ConfigurationError: There is no key, or a setting cannot work.
    """

    model_config = ConfigDict(populate_by_name=True)

    # Text is for type checkers, which know nothing of pydantic's conversions; what is stored is a secret.
    llama_cloud_api_key: SecretStr | str | None = Field(default=None, alias="api_key", union_mode="left_to_right")
    base_url: str | None = None
    project_id: str | None = None
    organization_id: str | None = None
    index_ids: list[str] | None = None
    session_id: str | None = None
    require_all_indexes: bool | None = None
    keep_sessions: bool = True
    timeout: float | Timeouts | HttpTimeout | None = None
    max_retries: int = DEFAULT_MAX_RETRIES
    recovery_timeout: float = DEFAULT_RECOVERY_TIMEOUT
    freshness: float = DEFAULT_FRESHNESS
    client: ChatClient | None = Field(default=None, exclude=True, repr=False)
    async_client: AsyncChatClient | None = Field(default=None, exclude=True, repr=False)

    # The framework's global cache knows nothing of sessions: two conversations would share an answer.
    cache: BaseCache | bool | None = Field(default=False, exclude=True)

    _clients: ClientPair = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, given: Any) -> Any:
        if isinstance(given, dict):
            check_names(given, field_names(cls), cls.__name__)
        return given

    @model_validator(mode="after")
    def _set_up_clients(self) -> Self:
        self._clients = shared_clients(self.client, self.async_client, self._make_client)
        config = self._clients.client.config
        self.llama_cloud_api_key = config.api_key
        self.base_url = config.base_url
        self.project_id = config.project_id
        self.organization_id = config.organization_id
        return self

    def _make_client(self) -> ChatClient:
        return ChatClient(
            self.llama_cloud_api_key,
            base_url=self.base_url,
            project_id=self.project_id,
            organization_id=self.organization_id,
            timeout=self.timeout,
            max_retries=self.max_retries,
            recovery_timeout=self.recovery_timeout,
        )

    @property
    def api_key(self) -> SecretStr | None:
        """The key; None where the model came from a pickle, which leaves it behind."""
        key = self.llama_cloud_api_key
        return SecretStr(key) if isinstance(key, str) else key

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return that LangChain can write it down: the key is left out, and its variable named instead."""
        return True

    @property
    def lc_secrets(self) -> dict[str, str]:
        """The fields that hold secrets, and the variables they are read from."""
        return {"llama_cloud_api_key": "LLAMA_CLOUD_API_KEY"}

    @property
    def _llm_type(self) -> str:
        return MODEL_NAME

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {
            "model_name": MODEL_NAME,
            "base_url": self.base_url,
            "project_id": self.project_id,
            "organization_id": self.organization_id,
            "index_ids": self.index_ids,
            "session_id": self.session_id,
            "require_all_indexes": self.require_all_indexes,
            "keep_sessions": self.keep_sessions,
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = PROVIDER
        params["ls_model_name"] = kwargs.get("model") or MODEL_NAME
        return params

    def _resolve_model_profile(self) -> Any:
        return {
            "text_inputs": True,
            "image_inputs": False,
            "pdf_inputs": False,
            "audio_inputs": False,
            "video_inputs": False,
            "text_outputs": True,
            "reasoning_output": True,
            "tool_calling": False,
            "structured_output": True,  # `create_agent` then needs no tool for a response format
        }

    def get_num_tokens(self, text: str) -> int:
        """Estimate how many tokens a text has. Nobody tells which model the agent runs on, so nobody can count them.

        Args:
            text: The text.

        Returns:
            About a quarter of its characters, unless `custom_get_token_ids` counts them.
        """
        return self.get_num_tokens_from_messages([HumanMessage(text)])

    def get_token_ids(self, text: str) -> list[int]:
        """Return the tokens of a text, as far as there is somebody who knows them.

        Args:
            text: The text.

        Returns:
            The tokens, by the user's `custom_get_token_ids`.

        Raises:
            NotImplementedError: It is not given. LangChain would download another model's tokenizer.
        """
        if self.custom_get_token_ids is None:
            raise NotImplementedError(
                "Nobody tells which model LlamaCloud's agent runs on, so its tokens are not known. Pass "
                "custom_get_token_ids=, or use get_num_tokens, which estimates how many there are."
            )
        return self.custom_get_token_ids(text)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Estimate how many tokens messages have.

        Args:
            messages: The messages.
            tools: Of no meaning: the agent has its own.

        Returns:
            What LangChain's approximate counter says, unless `custom_get_token_ids` counts them.
        """
        if self.custom_get_token_ids is not None:
            return sum(len(self.get_token_ids(str(message.text))) for message in messages)
        return count_tokens_approximately(messages)

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        return {**state, "__dict__": {**state["__dict__"], "llama_cloud_api_key": None}}

    def bind(self, **kwargs: Any) -> Any:  # the framework's own type is private, and newer than its oldest version
        """Return the model with arguments for its calls bound to it.

        Args:
            **kwargs: As of `invoke`: `session_id`, `index_ids`, `require_all_indexes`, `key`, `stop`.

        Returns:
            The bound model.

        Raises:
            ConfigurationError: There is an argument that is not known.
        """
        with _BOTH_FAMILIES:
            check_names(kwargs, _CALL_NAMES, "A call of the model")
        return super().bind(**kwargs)

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Accept an empty list of tools, as agents without tools pass it.

        Args:
            tools: An empty list.
            tool_choice: Of no meaning without tools.
            **kwargs: What to bind to the model, as with `bind`.

        Returns:
            The model.

        Raises:
            NotImplementedError: There are tools. The agent runs its own, on the server.
        """
        _refuse_tools(tools)
        with _BOTH_FAMILIES:
            output_of(kwargs.get("response_format"))
        bound: Runnable[LanguageModelInput, AIMessage] = self.bind(**kwargs)
        return bound

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        method: Literal["json_schema", "function_calling", "json_mode"] | None = None,
        model: BaseChatModel | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a model whose answers are values of `schema`.

        The schema is asked for in the prompt, in a compact notation, and the JSON object with which the answer ends is
        validated. If it does not fit, the agent is asked once more, in the same session, and told what is wrong. With
        `model=` the agent answers in text instead, and that model puts answer and sources into the schema.

        Args:
            schema: A pydantic class (of version 2 or 1), a TypedDict, a dataclass, or a JSON schema or OpenAI function
                as a dict. Streams of TypedDicts and dicts are drafts that grow.
            include_raw: Whether to give a dict of `raw` (the last answer, which says its session and turn), `parsed`
                and `parsing_error` instead of the value.
            method: For the second model. Alone, all methods are the same.
            model: Another chat model, which fills the schema.
            strict: For the second model.
            **kwargs: Nothing else is taken.

        Returns:
            What takes the same input as the model, and gives the value, or the dict.

        Raises:
            ConfigurationError: The schema or an argument cannot work.
            ValueError: There is an argument that is not known.
            OutputParserException: When it is run: neither answer fits. `llm_output` is the last one.
        """
        if kwargs:
            raise ValueError(f"with_structured_output does not know {', '.join(kwargs)}.")
        with _BOTH_FAMILIES:
            if model is not None:
                return by_second_model(self, model, schema, include_raw=include_raw, method=method, strict=strict)
            return structured_model(self, schema, include_raw=include_raw, method=method, strict=strict)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with _BOTH_FAMILIES, self._ask(messages, kwargs) as stream:
            for event in stream:
                report_tool(run_manager, event)
        return self._result(stream, stop)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with _BOTH_FAMILIES:
            async with self._aask(messages, kwargs) as stream:
                async for event in stream:
                    await areport_tool(run_manager, event)
        return self._result(stream, stop)

    def _result(self, stream: TurnStream | AsyncTurnStream, stop: list[str] | None) -> ChatResult:
        message = message_of(stream.turn, stop=stop, output_version=self.output_version)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        stream = self._ask(messages, kwargs)
        return _deliver(stream, self._chunk_writer(stream.turn, stop, kwargs), run_manager)

    def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        stream = self._aask(messages, kwargs)
        return _adeliver(stream, self._chunk_writer(stream.turn, stop, kwargs), run_manager)

    def _chunk_writer(self, turn: Turn, stop: list[str] | None, kwargs: dict[str, Any]) -> ChunkWriter:
        response_format = kwargs.get("response_format")
        output = output_of(response_format) if wants_drafts(response_format) else None
        if output is not None:
            return DraftWriter(turn, stop, self.output_version, output)
        return ChunkWriter(turn, stop, self.output_version)

    # The framework looks for the next two by name; versions of langchain-core that do not know them never call them.

    def _stream_chat_model_events(
        self,
        messages: list[BaseMessage],
        *,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[dict[str, Any]]:
        stream = self._ask(messages, kwargs)
        return _deliver(stream, ProtocolWriter(stream.turn, stop), run_manager)

    def _astream_chat_model_events(
        self,
        messages: list[BaseMessage],
        *,
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[dict[str, Any]]:
        stream = self._aask(messages, kwargs)
        return _adeliver(stream, ProtocolWriter(stream.turn, stop), run_manager)

    def _ask(self, messages: list[BaseMessage], kwargs: dict[str, Any]) -> TurnStream:
        with _BOTH_FAMILIES:
            return self._clients.client.converse(to_core(messages), **self._how_to_ask(kwargs))

    def _aask(self, messages: list[BaseMessage], kwargs: dict[str, Any]) -> AsyncTurnStream:
        with _BOTH_FAMILIES:
            return self._clients.async_client.converse(to_core(messages), **self._how_to_ask(kwargs))

    def _how_to_ask(self, kwargs: dict[str, Any]) -> ConverseOptions:
        _refuse_tools(kwargs.get("tools"))
        check_names(kwargs, _CALL_NAMES, "A call of the model")
        return {
            "session_id": kwargs.get("session_id", self.session_id),
            "index_ids": kwargs.get("index_ids", self.index_ids),
            "require_all_indexes": kwargs.get("require_all_indexes", self.require_all_indexes),
            "keep_session": self.keep_sessions,
            "freshness": self.freshness,
            "key": kwargs.get("key"),
            "output": output_of(kwargs.get("response_format")),
        }


def _refuse_tools(tools: Sequence[Any] | None) -> None:
    if tools:
        raise NotImplementedError(
            "LlamaCloud's chat agent runs its own tools, on the server, and takes none from here. Let another model "
            "drive, and ask this one as its sub-agent: create_agent(model, tools=[LlamaCloudChatTool(), *your_tools]). "
            "For structured output use with_structured_output, or create_agent with ProviderStrategy(schema): "
            "ToolStrategy and unions of schemas need tools."
        )


class _Writer(Protocol[T]):
    def feed(self, event: Event, /) -> Iterator[T]: ...

    def flush(self) -> Iterator[T]: ...

    def finish(self) -> Iterator[T]: ...

    def token(self, item: T, /) -> ChatGenerationChunk | None: ...


def _deliver(stream: TurnStream, writer: _Writer[T], run_manager: CallbackManagerForLLMRun | None) -> Iterator[T]:
    """Write a turn as it arrives. What ends it comes after the session is free again, or deleted."""
    with _BOTH_FAMILIES, stream:
        try:
            for event in stream:
                report_tool(run_manager, event)
                for item in writer.feed(event):
                    if run_manager is not None and (chunk := writer.token(item)) is not None:
                        run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield item
        except ChatError:
            yield from writer.flush()
            raise
    yield from writer.finish()


async def _adeliver(
    stream: AsyncTurnStream, writer: _Writer[T], run_manager: AsyncCallbackManagerForLLMRun | None
) -> AsyncIterator[T]:
    """Write a turn as it arrives, asynchronously."""
    with _BOTH_FAMILIES:
        async with stream:
            events = aiter(stream)  # held here, for an async generator that is dropped is closed only later
            try:
                async for event in events:
                    await areport_tool(run_manager, event)
                    for item in writer.feed(event):
                        if run_manager is not None and (chunk := writer.token(item)) is not None:
                            await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                        yield item
            except ChatError:
                for item in writer.flush():
                    yield item
                raise
    for item in writer.finish():
        yield item
