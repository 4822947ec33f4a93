"""LlamaCloud's chat agent as a LlamaIndex query engine: every query is a session of its own."""

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, closing
from typing import Any, cast

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import AsyncStreamingResponse, PydanticResponse, Response, StreamingResponse
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.prompts.mixin import PromptMixinType
from llama_index.core.schema import QueryBundle, QueryType
from pydantic import BaseModel

from llama_cloud_chat import AsyncChatClient, ChatClient, ChatError, ClientPair, ConfigurationError, ConverseOptions

from ._answers import AsyncLlamaCloudStreamingQuery, LlamaCloudResponse, LlamaCloudStreamingQuery
from ._conversation import Conversation
from ._live_turn import LiveTurn
from ._messages import check_text, user_message
from ._portable import Portable
from ._streaming import LlamaCloudStreamingResponse
from ._structured import output_of, structured_response
from ._tracing import trace_turn, untraced


class _NamedQuery(QueryBundle):
    """A question under a key."""

    key: str


def _named(query: QueryType, key: str | None) -> QueryType:
    if not isinstance(query, QueryBundle):
        check_text(query)
    if key is None:
        return query
    bundle = QueryBundle(query) if isinstance(query, str) else query
    named = _NamedQuery(**vars(bundle))
    named.key = key
    return named


class LlamaCloudQueryEngine(Portable, BaseQueryEngine):
    """Single questions to LlamaCloud's chat agent.

    Examples:
        >>> from llama_index_ext import LlamaCloudQueryEngine
        >>> handbook = LlamaCloudQueryEngine(index_ids=index_ids)
        >>> print(handbook.query("How many days of leave are there?"))
        Everyone has 30 days of paid leave each year. ...

        As a tool of other agents, or of `RouterQueryEngine` and `SubQuestionQueryEngine`:

        >>> from llama_index.core.tools import QueryEngineTool
        >>> tool = QueryEngineTool.from_defaults(handbook, name="handbook", description="Answers questions about work.")
        >>> print(tool.call("When do unused days expire?"))
        Unused days expire in March. ...

        Evaluators find their contexts in the answers' `source_nodes`; `judge` is any LlamaIndex LLM:

        >>> from llama_index.core.evaluation import FaithfulnessEvaluator
        >>> answer = handbook.query("How many days of leave are there?")
        >>> FaithfulnessEvaluator(llm=judge).evaluate_response(response=answer).passing
        True

    Args:
        client: The client for threads.
        async_client: The client for asyncio. One kind is enough; with neither, the environment's key is used.
        index_ids: The indexes to ask.
        require_all_indexes: Whether an index that cannot be queried fails the query.
        keep_sessions: Whether the sessions of queries are kept; else each is deleted once it is answered, errors
            included.
        streaming: Whether answers are handed on as they come, from their first text on; what the agent looked up before
            that is in `source_nodes` then, and both they and `metadata` grow with the text.
        output_cls: A pydantic class that answers are to hold. They are then `PydanticResponse`: the agent is asked for
            the class in the prompt, and once more in the same session if its answer does not fit.
        page_images: Whether `source_nodes` hold page pictures, too, as image nodes that are fetched when resolved.
        callback_manager: Where to send callback events.

    Raises:
        ConfigurationError: An argument cannot work, or there is no key.

    Queries raise `ChatError`: an answer that failed, broke off or holds no text is no answer. Where it does not fit
    `output_cls`, that is its `StructuredOutputError`.
    """

    def __init__(
        self,
        client: ChatClient | None = None,
        *,
        async_client: AsyncChatClient | None = None,
        index_ids: Sequence[str] | None = None,
        require_all_indexes: bool | None = None,
        keep_sessions: bool = True,
        streaming: bool = False,
        output_cls: type[BaseModel] | None = None,
        page_images: bool = False,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        super().__init__(callback_manager)
        self._clients = ClientPair(client, async_client)
        self._options: ConverseOptions = {
            "index_ids": index_ids,
            "require_all_indexes": require_all_indexes,
            "keep_session": keep_sessions,
        }
        if streaming and output_cls is not None:
            raise ConfigurationError("output_cls and streaming do not go together: a value is there or is not.")
        output_of(output_cls)  # which may say that it cannot work
        self._output_cls = output_cls
        self._page_images = page_images
        self._streaming = streaming

    def _get_prompt_modules(self) -> PromptMixinType:
        return {}

    @untraced  # the base class traces it already
    def query(
        self, str_or_query_bundle: QueryType, *, key: str | None = None
    ) -> Response | StreamingResponse | PydanticResponse:
        """Ask, and wait for the answer; with `streaming`, for its first text.

        Args:
            str_or_query_bundle: The question.
            key: What the question is called. Under one key it is asked once, however often this is called.

        Returns:
            A `LlamaCloudResponse`, with `streaming` a `LlamaCloudStreamingQuery`, with `output_cls` a
            `PydanticResponse`.

        Raises:
            ChatError: There is no answer, or none with text.
        """
        answer = super().query(_named(str_or_query_bundle, key))
        return cast("Response | StreamingResponse | PydanticResponse", answer)

    @untraced
    async def aquery(
        self, str_or_query_bundle: QueryType, *, key: str | None = None
    ) -> Response | AsyncStreamingResponse | PydanticResponse:
        """Ask, and wait for the answer; see `query`. With `streaming` it is an `AsyncLlamaCloudStreamingQuery`."""
        answer = await super().aquery(_named(str_or_query_bundle, key))
        return cast("Response | AsyncStreamingResponse | PydanticResponse", answer)

    def _query(self, query_bundle: QueryBundle) -> Response | StreamingResponse | PydanticResponse:
        response: Response | StreamingResponse | PydanticResponse
        with self._event(query_bundle) as event:
            live = self._prepare(query_bundle)
            if self._streaming:
                answer = LlamaCloudStreamingResponse(live)
                pieces = answer.response_gen
                # What LlamaIndex reads of an answer when it gets it comes before its text.
                if (first := next(pieces, None)) is None:
                    _check(answer.response)
                response = LlamaCloudStreamingQuery.of(answer, _read(answer, first, pieces))
            else:
                live.run()
                response = self._response(live)
            event.on_end({EventPayload.RESPONSE: response})
        return response

    async def _aquery(self, query_bundle: QueryBundle) -> Response | AsyncStreamingResponse | PydanticResponse:
        response: Response | AsyncStreamingResponse | PydanticResponse
        with self._event(query_bundle) as event:
            live = self._prepare(query_bundle)
            if self._streaming:
                answer = LlamaCloudStreamingResponse(live)
                apieces = answer.async_response_gen()
                if (first := await anext(apieces, None)) is None:
                    _check(answer.response)
                response = AsyncLlamaCloudStreamingQuery.of(answer, _aread(answer, first, apieces))
            else:
                await live.arun()
                response = self._response(live)
            event.on_end({EventPayload.RESPONSE: response})
        return response

    def _prepare(self, query: QueryBundle) -> LiveTurn:
        prompt = user_message(query.query_str)
        trace = trace_turn(self, prompt, callbacks=self.callback_manager, is_streaming=self._streaming)
        key = query.key if isinstance(query, _NamedQuery) else None
        options: ConverseOptions = {**self._options, "key": key, "output": output_of(self._output_cls)}
        return LiveTurn(self._clients, Conversation(), [prompt], options, trace, page_images=self._page_images)

    def _response(self, live: LiveTurn) -> Response | PydanticResponse:
        _check(live.turn.text)
        output = output_of(self._output_cls)
        if output is not None:
            return structured_response(live, output)
        return LlamaCloudResponse.of(live.turn, live.findings.source_nodes, live.findings.metadata)

    def _event(self, query: QueryBundle) -> Any:
        return self.callback_manager.event(CBEventType.QUERY, {EventPayload.QUERY_STR: query.query_str})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._clients!r}, index_ids={self._options.get('index_ids')!r})"


def _read(
    answer: LlamaCloudStreamingResponse, first: str | None, pieces: Generator[str, None, None]
) -> Generator[str, None, None]:
    with closing(pieces):
        if first is not None:
            yield first
        yield from pieces
    _check(answer.response)


async def _aread(
    answer: LlamaCloudStreamingResponse, first: str | None, pieces: AsyncGenerator[str, None]
) -> AsyncGenerator[str, None]:
    async with aclosing(pieces):
        if first is not None:
            yield first
        async for piece in pieces:
            yield piece
    _check(answer.response)


def _check(text: str) -> None:
    if not text.strip():
        raise ChatError("The agent's answer holds no text. Its session shows what it did instead; ask it to say more.")
