"""What tracers see of a turn: LlamaIndex's spans and events, and its older callbacks.

One span per turn, entered when it is asked for and ended with it; under it one span per server tool, and under that, if
it retrieved anything, a retriever's. Everything is sent in a copy of the context of whoever asked, so that a turn may
be read in another thread, task or context, and nothing stays behind in theirs.

A method that hands on an answer before it is there would end its span too early: what fails later would look as if it
had worked, and some tracers wait for an event on it that never comes. The span of a streaming method of ours lasts as
long as its turn, therefore; one that LlamaIndex has in its hands is told of the end.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast
from uuid import uuid4

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, trace_method
from llama_index.core.instrumentation.events.agent import AgentToolCallEvent
from llama_index.core.instrumentation.events.chat_engine import (
    StreamChatDeltaReceivedEvent,
    StreamChatEndEvent,
    StreamChatErrorEvent,
    StreamChatStartEvent,
)
from llama_index.core.instrumentation.events.exception import ExceptionEvent
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent, LLMChatStartEvent
from llama_index.core.instrumentation.events.retrieval import RetrievalEndEvent, RetrievalStartEvent
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.tools import BaseTool, ToolMetadata, ToolOutput
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.dispatcher import DISPATCHER_SPAN_DECORATED_ATTR, active_instrument_tags
from llama_index_instrumentation.event_handlers import NullEventHandler
from llama_index_instrumentation.events.span import SpanDropEvent
from llama_index_instrumentation.span import active_span_id
from llama_index_instrumentation.span_handlers import NullSpanHandler

from llama_cloud_chat import ToolRun, Turn

from ._converter import answer_message, tracer_usage

F = TypeVar("F", bound=Callable[..., Any])

_dispatcher = get_dispatcher(__name__)


def as_trace(method: F) -> F:
    """Have callbacks see a method's calls as traces; LlamaIndex's decorator alone would take its type away."""
    return cast("F", trace_method("chat")(method))


def untraced(method: F) -> F:
    """Have LlamaIndex give a method no span: `trace_turn` gives it one that lasts as long as the turn."""
    setattr(method, DISPATCHER_SPAN_DECORATED_ATTR, True)
    return method


class ServerTool(BaseTool):
    """One of the agent's own tools, as tracers know tools. It runs on the service and cannot be called here."""

    def __init__(self, name: str) -> None:
        self._metadata = ToolMetadata(
            name=name, description="A tool of LlamaCloud's chat agent. It runs on the service.", fn_schema=None
        )

    @property
    def metadata(self) -> ToolMetadata:
        """What it is called."""
        return self._metadata

    def __call__(self, input: Any) -> ToolOutput:  # noqa: A002  # BaseTool's signature
        """Refuse.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(f"{self._metadata.name} runs on the service; only its agent calls it.")


class ServerRetriever(BaseRetriever):
    """What one of the agent's tools retrieved with, as tracers know retrievers. It cannot be called here either."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        raise NotImplementedError("This retriever runs on the service; only its agent calls it.")


class _Span:
    """A span in a context of its own.

    Attributes:
        context: What is sent in it, and where spans below it begin.
        parent_id: The span that encloses it.
    """

    def __init__(self, name: str, instance: Any, arguments: dict[str, Any], context: Context) -> None:
        self.context = context.copy()
        self.parent_id: str | None = None
        self._id = f"{name}-{uuid4()}"
        self._instance = instance
        self._arguments = _SIGNATURE.bind(**arguments)
        self.context.run(self._enter)

    def _enter(self) -> None:
        self.parent_id = active_span_id.get()
        active_span_id.set(self._id)
        _dispatcher.span_enter(
            id_=self._id,
            bound_args=self._arguments,
            instance=self._instance,
            parent_id=self.parent_id,
            tags=active_instrument_tags.get(),
        )

    def send(self, kind: Callable[..., BaseEvent], **fields: Any) -> None:
        """Send an event of the span."""
        self.context.run(self._send, kind, fields)

    def _send(self, kind: Callable[..., BaseEvent], fields: dict[str, Any]) -> None:
        _dispatcher.event(kind(**fields))

    def end(self, result: Any, error: BaseException | None = None) -> None:
        """End the span."""
        self.context.run(self._end, result, error)

    def _end(self, result: Any, error: BaseException | None) -> None:
        if error is None:
            _dispatcher.span_exit(id_=self._id, bound_args=self._arguments, instance=self._instance, result=result)
        else:
            _dispatcher.event(SpanDropEvent(span_id=self._id, err_str=str(error)))
            _dispatcher.span_drop(id_=self._id, bound_args=self._arguments, instance=self._instance, err=error)


class _Step:
    """An event of the older callbacks, from its start to its end; nothing, where there are none."""

    def __init__(
        self, callbacks: CallbackManager | None, context: Context, kind: CBEventType, payload: dict[Any, Any]
    ) -> None:
        self._callbacks = callbacks
        self._context = context
        self._kind = kind
        self._id = "" if callbacks is None else context.run(callbacks.on_event_start, kind, payload)

    def end(self, payload: dict[Any, Any]) -> None:
        """End it with what came of it."""
        if self._callbacks is not None:
            self._context.run(self._callbacks.on_event_end, self._kind, payload, event_id=self._id)


@dataclass
class _Tool:
    """A call of a tool that is being told."""

    span: _Span
    step: _Step


def trace_turn(
    asker: Any,
    prompt: ChatMessage,
    *,
    callbacks: CallbackManager | None,
    is_streaming: bool,
    method: str | None = None,
    arguments: dict[str, Any] | None = None,
) -> TurnTrace:
    """Return what tells of one turn, if anybody listens.

    Args:
        asker: The engine or agent that asks.
        prompt: What it asks.
        callbacks: Where to send callback events, if anywhere.
        is_streaming: Whether the answer is handed on as it comes.
        method: The method whose span is to last as long as the turn; its own must be left to us (`untraced`).
        arguments: What it was called with.
    """
    if (
        not (callbacks and callbacks.handlers)
        and not _has_handlers("event_handlers")
        and not _has_handlers("span_handlers")
    ):
        return TurnTrace()
    return _ToldTurn(asker, prompt, callbacks, is_streaming, method, arguments or {})


class TurnTrace:
    """What is told of one turn: here nothing, for events that nobody hears would cost more than the turn.

    Attributes:
        wants_deltas: Whether anybody listens to each piece of text.
    """

    wants_deltas = False

    def begin(self) -> None:
        """The turn is being asked."""

    def receive(self, delta: str) -> None:
        """A piece of text has come."""

    def begin_tool(self, run: ToolRun) -> None:
        """The agent has called a tool."""

    def end_tool(self, run: ToolRun, output: ToolOutput, nodes: list[NodeWithScore]) -> None:
        """The tool has given something back."""

    def end(self, turn: Turn, error: BaseException | None) -> None:
        """The turn is over: complete, let go, or failed with `error`."""


class _ToldTurn(TurnTrace):
    """The spans and events of one turn."""

    def __init__(
        self,
        asker: Any,
        prompt: ChatMessage,
        callbacks: CallbackManager | None,
        is_streaming: bool,
        method: str | None,
        arguments: dict[str, Any],
    ) -> None:
        self._prompt = prompt
        self._callbacks = callbacks
        self._is_streaming = is_streaming
        self._tools: dict[str, _Tool] = {}
        self._model: _Step | None = None
        self.wants_deltas = is_streaming and _has_handlers("event_handlers")
        name, self._context = type(asker).__name__, copy_context()
        self._step = self._start(self._context, CBEventType.AGENT_STEP, {EventPayload.MESSAGES: [prompt]})
        self._method = _Span(f"{name}.{method}", asker, arguments, self._context) if method else None
        inside = self._method.context if self._method else self._context
        self._span = _Span(f"{name}.turn", asker, {"message": prompt.content}, inside)
        enclosing = (self._method or self._span).parent_id or ""
        self._waiting = enclosing if is_streaming and enclosing.startswith(_handing_on(name)) else None

    def _start(self, context: Context, kind: CBEventType, payload: dict[Any, Any]) -> _Step:
        return _Step(self._callbacks, context, kind, payload)

    def begin(self) -> None:
        asked = {"messages": [self._prompt], "additional_kwargs": {}}
        self._span.send(LLMChatStartEvent, model_dict=_MODEL, **asked)
        if self._is_streaming:
            self._span.send(StreamChatStartEvent)
        payload = {
            EventPayload.MESSAGES: [self._prompt],
            EventPayload.ADDITIONAL_KWARGS: {},
            EventPayload.SERIALIZED: _MODEL,
        }
        self._model = self._start(self._context, CBEventType.LLM, payload)

    def receive(self, delta: str) -> None:
        self._span.send(StreamChatDeltaReceivedEvent, delta=delta)

    def begin_tool(self, run: ToolRun) -> None:
        tool = ServerTool(run.name)
        arguments = json.dumps(run.arguments, ensure_ascii=False)
        span = _Span(f"{type(tool).__name__}.{run.name}", tool, run.arguments, self._span.context)
        span.send(AgentToolCallEvent, arguments=arguments, tool=tool.metadata)
        payload = {EventPayload.FUNCTION_CALL: arguments, EventPayload.TOOL: tool.metadata}
        self._tools[run.call_id] = _Tool(span, self._start(span.context, CBEventType.FUNCTION_CALL, payload))

    def end_tool(self, run: ToolRun, output: ToolOutput, nodes: list[NodeWithScore]) -> None:
        if run.call_id not in self._tools:
            self.begin_tool(run)
        tool = self._tools.pop(run.call_id)
        if nodes:
            asked = run.arguments.get("query")
            self._tell_retrieval(tool.span, asked if isinstance(asked, str) else self._prompt.content or "", nodes)
        tool.span.end(output)
        tool.step.end({EventPayload.FUNCTION_OUTPUT: output.content})

    def _tell_retrieval(self, tool: _Span, query: str, nodes: list[NodeWithScore]) -> None:
        """Tell what a tool retrieved. That it did is known by its result, so this takes no time of its own."""
        span = _Span("ServerRetriever.retrieve", ServerRetriever(), {"str_or_query_bundle": query}, tool.context)
        span.send(RetrievalStartEvent, str_or_query_bundle=query)
        span.send(RetrievalEndEvent, str_or_query_bundle=query, nodes=nodes)
        span.end(nodes)
        self._start(span.context, CBEventType.RETRIEVE, {EventPayload.QUERY_STR: query}).end(
            {EventPayload.NODES: nodes}
        )

    def end(self, turn: Turn, error: BaseException | None) -> None:
        usage = tracer_usage(turn)
        answer = ChatResponse(message=answer_message(turn), raw={"usage": usage})
        tools, self._tools = list(self._tools.values()), {}
        self._end_spans(tools, answer, error)
        told: dict[Any, Any] = {EventPayload.MESSAGES: [self._prompt], EventPayload.RESPONSE: answer}
        if error is not None:
            # What a turn that failed has used is used; where nobody knows, handlers must not be made to guess.
            told = {**(told if usage else {}), EventPayload.EXCEPTION: error}
        self._end_steps(tools, told)

    def _end_spans(self, tools: Sequence[_Tool], answer: ChatResponse, error: BaseException | None) -> None:
        for tool in tools:
            tool.span.end(None)
        self._span.send(LLMChatEndEvent, messages=[self._prompt], response=answer)
        if self._is_streaming and error is None:
            self._span.send(StreamChatEndEvent)
        elif self._is_streaming and isinstance(error, Exception):
            self._span.send(StreamChatErrorEvent, exception=error)
        self._span.end(answer, error)
        if self._method is not None:
            self._method.end(answer.message.content, error)
        if self._waiting is not None and error is None:
            # Without its usage, which would count twice.
            told = ChatResponse(message=answer.message)
            self._span.send(LLMChatEndEvent, messages=[self._prompt], response=told, span_id=self._waiting)
        elif self._waiting is not None:
            self._span.send(ExceptionEvent, exception=error, span_id=self._waiting)

    def _end_steps(self, tools: Sequence[_Tool], told: dict[Any, Any]) -> None:
        try:
            for tool in tools:
                tool.step.end({})
            if self._model is not None:
                self._model.end(told)
        finally:
            self._step.end(told)


_MODEL = {"class_name": "LlamaCloud", "model": "llama-cloud-chat"}


def _handing_on(name: str) -> tuple[str, ...]:
    """Return how ids of spans begin whose method hands on an answer before it is there."""
    return tuple(f"{name}.{method}-" for method in ("stream_chat", "astream_chat", "_query", "_aquery"))


def _any_arguments(**arguments: Any) -> None:
    """Stand for what is called, for tracers show the arguments of a call by its signature."""


_SIGNATURE = inspect.signature(_any_arguments)


def _has_handlers(kind: Literal["event_handlers", "span_handlers"]) -> bool:
    dispatcher = _dispatcher
    while all(isinstance(handler, (NullEventHandler, NullSpanHandler)) for handler in getattr(dispatcher, kind)):
        if not dispatcher.propagate:
            return False
        dispatcher = dispatcher.parent
    return True
