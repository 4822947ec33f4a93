"""What tracers see of a turn: LlamaIndex's spans and events, and its older callbacks.

One span per turn, entered when it is asked for and ended with it; under it one span per server tool. Everything is
sent in a copy of the context of whoever asked, so that a turn may be read in another thread, task or context, and
nothing stays behind in theirs.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, Literal, TypeVar, cast
from uuid import uuid4

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, trace_method
from llama_index.core.instrumentation.events.agent import AgentToolCallEvent
from llama_index.core.instrumentation.events.chat_engine import (
    StreamChatDeltaReceivedEvent,
    StreamChatEndEvent,
    StreamChatErrorEvent,
    StreamChatStartEvent,
)
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent, LLMChatStartEvent
from llama_index.core.instrumentation.events.retrieval import RetrievalEndEvent, RetrievalStartEvent
from llama_index.core.schema import NodeWithScore
from llama_index.core.tools import BaseTool, ToolMetadata, ToolOutput
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent
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


class _Span:
    """A span in a context of its own, with the callback event that goes with it."""

    def __init__(
        self,
        name: str,
        instance: Any,
        arguments: dict[str, Any],
        *,
        parent: _Span | None,
        callbacks: CallbackManager | None,
        kind: CBEventType,
        payload: dict[str, Any],
    ) -> None:
        self._id = f"{name}-{uuid4()}"
        self._instance = instance
        self._arguments = _SIGNATURE.bind(**arguments)
        self._context: Context = parent._context.copy() if parent else copy_context()
        self._callbacks = callbacks
        self._kind = kind
        self._callback_id = ""
        self._context.run(self._enter, payload)

    def _enter(self, payload: dict[str, Any]) -> None:
        parent_id = active_span_id.get()
        active_span_id.set(self._id)
        _dispatcher.span_enter(
            id_=self._id, bound_args=self._arguments, instance=self._instance, parent_id=parent_id, tags={}
        )
        if self._callbacks is not None:
            self._callback_id = self._callbacks.on_event_start(self._kind, payload)

    def send(self, kind: Callable[..., BaseEvent], **fields: Any) -> None:
        """Send an event of the span."""
        self._context.run(self._send, kind, fields)

    def _send(self, kind: Callable[..., BaseEvent], fields: dict[str, Any]) -> None:
        _dispatcher.event(kind(**fields))

    def end(self, result: Any, payload: dict[str, Any], error: BaseException | None = None) -> None:
        """End the span, and the callback event with `payload`."""
        self._context.run(self._end, result, payload, error)

    def _end(self, result: Any, payload: dict[str, Any], error: BaseException | None) -> None:
        if self._callbacks is not None:
            told: dict[Any, Any] = payload if error is None else {EventPayload.EXCEPTION: error}
            self._callbacks.on_event_end(self._kind, told, event_id=self._callback_id)
        if error is None:
            _dispatcher.span_exit(id_=self._id, bound_args=self._arguments, instance=self._instance, result=result)
        else:
            _dispatcher.event(SpanDropEvent(span_id=self._id, err_str=str(error)))
            _dispatcher.span_drop(id_=self._id, bound_args=self._arguments, instance=self._instance, err=error)


def trace_turn(asker: Any, prompt: ChatMessage, *, callbacks: CallbackManager | None, is_streaming: bool) -> TurnTrace:
    """Return what tells of one turn, if anybody listens.

    Args:
        asker: The engine or agent that asks.
        prompt: What it asks.
        callbacks: Where to send callback events, if anywhere.
        is_streaming: Whether the answer is handed on as it comes.
    """
    if (
        not (callbacks and callbacks.handlers)
        and not _has_handlers("event_handlers")
        and not _has_handlers("span_handlers")
    ):
        return TurnTrace()
    return _ToldTurn(asker, prompt, callbacks=callbacks, is_streaming=is_streaming)


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
        self, asker: Any, prompt: ChatMessage, *, callbacks: CallbackManager | None, is_streaming: bool
    ) -> None:
        self._prompt = prompt
        self._callbacks = callbacks
        self._is_streaming = is_streaming
        self._tools: dict[str, _Span] = {}
        self.wants_deltas = is_streaming and _has_handlers("event_handlers")
        self._span = _Span(
            f"{type(asker).__name__}.turn",
            asker,
            {"message": prompt.content},
            parent=None,
            callbacks=callbacks,
            kind=CBEventType.AGENT_STEP,
            payload={EventPayload.MESSAGES: [prompt]},
        )

    def begin(self) -> None:
        self._span.send(
            LLMChatStartEvent,
            messages=[self._prompt],
            additional_kwargs={},
            model_dict={"model": "llama-cloud-chat"},
        )
        if self._is_streaming:
            self._span.send(StreamChatStartEvent)

    def receive(self, delta: str) -> None:
        self._span.send(StreamChatDeltaReceivedEvent, delta=delta)

    def begin_tool(self, run: ToolRun) -> None:
        tool = ServerTool(run.name)
        arguments = json.dumps(run.arguments, ensure_ascii=False)
        self._tools[run.call_id] = span = _Span(
            f"{type(tool).__name__}.{run.name}",
            tool,
            run.arguments,
            parent=self._span,
            callbacks=self._callbacks,
            kind=CBEventType.FUNCTION_CALL,
            payload={EventPayload.FUNCTION_CALL: arguments, EventPayload.TOOL: tool.metadata},
        )
        span.send(AgentToolCallEvent, arguments=arguments, tool=tool.metadata)

    def end_tool(self, run: ToolRun, output: ToolOutput, nodes: list[NodeWithScore]) -> None:
        if run.call_id not in self._tools:
            self.begin_tool(run)
        span = self._tools.pop(run.call_id)
        if nodes:
            asked = run.arguments.get("query")
            query = asked if isinstance(asked, str) else self._prompt.content or ""
            span.send(RetrievalStartEvent, str_or_query_bundle=query)
            span.send(RetrievalEndEvent, str_or_query_bundle=query, nodes=nodes)
        span.end(output, {EventPayload.FUNCTION_OUTPUT: output.content})

    def end(self, turn: Turn, error: BaseException | None) -> None:
        for span in self._tools.values():
            span.end(None, {})
        self._tools.clear()
        answer = ChatResponse(message=answer_message(turn), raw={"usage": tracer_usage(turn)})
        self._span.send(LLMChatEndEvent, messages=[self._prompt], response=answer)
        if self._is_streaming and error is None:
            self._span.send(StreamChatEndEvent)
        elif self._is_streaming and isinstance(error, Exception):
            self._span.send(StreamChatErrorEvent, exception=error)
        self._span.end(answer, {EventPayload.RESPONSE: answer}, error)


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
