"""What tracers see: spans that nest, events in order, callbacks around turns and tools."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core import Settings
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import (
    CallbackManager,
    CBEventType,
    EventPayload,
    LlamaDebugHandler,
    TokenCountingHandler,
)
from llama_index.core.chat_engine.types import StreamingAgentChatResponse
from llama_index.core.tools import BaseTool
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.dispatcher import instrument_tags
from llama_index_instrumentation.event_handlers import BaseEventHandler
from llama_index_instrumentation.span import SimpleSpan, active_span_id
from llama_index_instrumentation.span_handlers import BaseSpanHandler
from pydantic import Field

from llama_cloud_chat import AsyncChatClient, ChatClient, NotFoundError, TurnFailedError
from llama_index_ext import LlamaCloudAgent, LlamaCloudChatEngine, LlamaCloudQueryEngine
from tests.llama_index.harness import Gate, echo, failing, researcher

Serve = Callable[..., ChatClient]
AServe = Callable[..., AsyncChatClient]

TURN = "LlamaCloudChatEngine.turn"
STREAM = "LlamaCloudChatEngine.stream_chat"
RETRIEVER = "ServerRetriever.retrieve"


class Events(BaseEventHandler):
    seen: list[Any] = Field(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        return "Events"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        self.seen.append(event)

    def named(self, span: str) -> list[str]:
        return [type(event).__name__ for event in self.seen if (event.span_id or "").startswith(span)]


class Spans(BaseSpanHandler[SimpleSpan]):
    entered: list[Any] = Field(default_factory=list)
    ended: list[Any] = Field(default_factory=list)
    orphans: list[str] = Field(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        return "Spans"

    def new_span(self, id_: str, bound_args: Any, instance: Any = None, parent_span_id: Any = None, **_: Any) -> Any:
        if parent_span_id is not None and parent_span_id not in {one.id_ for one in self.entered}:
            self.orphans.append(id_)
        span = SimpleSpan(id_=id_, parent_id=parent_span_id)
        self.entered.append(span)
        self.ended.append((f"enter {_name(id_)}", instance, bound_args))
        return span

    def prepare_to_exit_span(
        self, id_: str, bound_args: Any, instance: Any = None, result: Any = None, **_: Any
    ) -> Any:
        is_stream = isinstance(result, StreamingAgentChatResponse)  # not kept alive, so that it can be dropped
        self.ended.append((f"exit {_name(id_)}", instance, None if is_stream else result))
        return self.open_spans[id_]

    def prepare_to_drop_span(self, id_: str, bound_args: Any, instance: Any = None, err: Any = None, **_: Any) -> Any:
        self.ended.append((f"drop {_name(id_)}", instance, err))
        return self.open_spans[id_]

    @property
    def steps(self) -> list[str]:
        return [step for step, *_ in self.ended]

    def parent_of(self, name: str) -> str | None:
        parents = {_name(one.id_): one.parent_id for one in self.entered}
        return None if parents[name] is None else _name(parents[name])


def _name(id_: str) -> str:
    return id_.partition("-")[0]


@pytest.fixture
def events() -> Iterator[Events]:
    handler = Events()
    root = get_dispatcher()
    root.add_event_handler(handler)
    yield handler
    root.event_handlers.remove(handler)


@pytest.fixture
def spans() -> Iterator[Spans]:
    handler = Spans()
    root = get_dispatcher()
    root.add_span_handler(handler)
    yield handler
    root.span_handlers.remove(handler)
    assert handler.orphans == []


STREAMED = [
    "LLMChatStartEvent",
    "StreamChatStartEvent",
    "StreamChatDeltaReceivedEvent",
    "StreamChatDeltaReceivedEvent",
    "StreamChatDeltaReceivedEvent",
    "StreamChatDeltaReceivedEvent",
    "LLMChatEndEvent",
    "StreamChatEndEvent",
]


def test_a_streamed_turn_tells_its_events_in_order(serve: Serve, events: Events) -> None:
    response = LlamaCloudChatEngine(serve(researcher)).stream_chat("How many?")
    assert events.named(TURN) == []
    text = "".join(response.response_gen)
    assert events.named(TURN) == STREAMED
    deltas = [one.delta for one in events.seen if type(one).__name__ == "StreamChatDeltaReceivedEvent"]
    assert "".join(deltas) == text


async def test_a_turn_streamed_by_a_task_tells_the_same_events(aserve: AServe, events: Events) -> None:
    response = await LlamaCloudChatEngine(async_client=aserve(researcher)).astream_chat("How many?")
    async for _ in response.async_response_gen():
        pass
    assert events.named(TURN) == STREAMED


def test_a_whole_answer_tells_only_the_model_call(serve: Serve, events: Events) -> None:
    LlamaCloudChatEngine(serve(researcher)).chat("How many?")
    assert events.named(TURN) == ["LLMChatStartEvent", "LLMChatEndEvent"]


def test_the_model_call_carries_messages_and_usage(serve: Serve, events: Events) -> None:
    answer = LlamaCloudChatEngine(serve(researcher)).chat("How many?")
    start, end = (one for one in events.seen if (one.span_id or "").startswith(TURN))
    assert [message.content for message in start.messages] == ["How many?"]
    assert end.response.message.content == str(answer)
    assert answer.metadata is not None
    usage = answer.metadata["usage"]
    assert end.response.raw["usage"] == {
        "prompt_tokens": usage["total_input_tokens"],
        "completion_tokens": usage["total_output_tokens"],
        "total_tokens": usage["total_input_tokens"] + usage["total_output_tokens"],
    }


def test_a_retrieval_tells_its_nodes_in_a_retrievers_span_under_its_tools(
    serve: Serve, events: Events, spans: Spans
) -> None:
    answer = LlamaCloudChatEngine(serve(researcher)).chat("How many?")
    assert events.named("ServerTool.retrieve") == events.named("ServerTool.grep") == ["AgentToolCallEvent"]
    assert events.named(RETRIEVER) == ["RetrievalStartEvent", "RetrievalEndEvent"]
    assert spans.parent_of(RETRIEVER) == "ServerTool.retrieve"
    (_, retriever, arguments), (_, _, nodes) = (one for one in spans.ended if one[0].endswith(RETRIEVER))
    assert isinstance(retriever, BaseRetriever)
    assert arguments.kwargs == {"str_or_query_bundle": "leave"}
    assert nodes == answer.source_nodes
    with pytest.raises(NotImplementedError, match="runs on the service"):
        retriever.retrieve("leave")
    end = next(one for one in events.seen if type(one).__name__ == "RetrievalEndEvent")
    assert (end.str_or_query_bundle, end.nodes) == ("leave", answer.source_nodes)


def test_a_streams_spans_are_entered_before_returning_and_end_with_the_turn(serve: Serve, spans: Spans) -> None:
    response = LlamaCloudChatEngine(serve(researcher)).stream_chat("How many?")
    assert spans.steps == [f"enter {STREAM}", f"enter {TURN}"]
    list(response.response_gen)
    assert spans.steps[2:] == [
        "enter ServerTool.retrieve",
        f"enter {RETRIEVER}",
        f"exit {RETRIEVER}",
        "exit ServerTool.retrieve",
        "enter ServerTool.grep",
        "exit ServerTool.grep",
        f"exit {TURN}",
        f"exit {STREAM}",
    ]
    assert spans.ended[0][2].kwargs == {"message": "How many?", "chat_history": None}
    assert spans.ended[-1][2] == response.response
    assert spans.parent_of(TURN) == STREAM
    assert spans.parent_of("ServerTool.retrieve") == spans.parent_of("ServerTool.grep") == TURN
    assert spans.open_spans == {}


def test_a_tools_span_has_a_tool_its_arguments_and_its_output(serve: Serve, spans: Spans) -> None:
    answer = LlamaCloudChatEngine(serve(researcher)).chat("How many?")
    (_, tool, arguments), (_, _, output) = (one for one in spans.ended if one[0].endswith("ServerTool.retrieve"))
    assert isinstance(tool, BaseTool)
    assert tool.metadata.name == "retrieve"
    assert arguments.kwargs == {"query": "leave"}
    assert output is answer.sources[0]
    with pytest.raises(NotImplementedError, match="runs on the service"):
        tool("leave")


def test_nothing_stays_behind_in_the_callers_context(serve: Serve, spans: Spans) -> None:
    engine = LlamaCloudChatEngine(serve(researcher))
    pieces = engine.stream_chat("How many?").response_gen
    assert active_span_id.get() is None
    next(pieces)
    assert active_span_id.get() is None
    list(pieces)
    assert active_span_id.get() is None


def test_a_failed_turn_tells_the_error_and_drops_its_span(serve: Serve, events: Events, spans: Spans) -> None:
    with pytest.raises(TurnFailedError):
        list(LlamaCloudChatEngine(serve(failing)).stream_chat("a").response_gen)
    assert events.named(TURN)[-3:] == ["LLMChatEndEvent", "StreamChatErrorEvent", "SpanDropEvent"]
    assert spans.steps[-2:] == [f"drop {TURN}", f"drop {STREAM}"]
    assert all(isinstance(error, TurnFailedError) for _, _, error in spans.ended[-2:])
    assert spans.open_spans == {}


def test_a_turn_let_go_ends_its_span_without_an_error(serve: Serve, events: Events, spans: Spans) -> None:
    gate = Gate()
    pieces = LlamaCloudChatEngine(serve(gate)).stream_chat("a").response_gen
    next(pieces)
    pieces.close()
    gate.open.set()
    assert spans.steps[-2:] == [f"exit {TURN}", f"exit {STREAM}"]
    assert events.named(TURN)[-2:] == ["LLMChatEndEvent", "StreamChatEndEvent"]


def test_an_answer_that_nobody_reads_ends_its_span(serve: Serve, spans: Spans) -> None:
    response = LlamaCloudChatEngine(serve(echo)).stream_chat("a")
    del response
    assert spans.steps[-2:] == [f"exit {TURN}", f"exit {STREAM}"]
    assert spans.open_spans == {}


def test_parallel_tools_are_children_of_the_turn_whatever_order_they_end_in(serve: Serve, spans: Spans) -> None:
    def agent(turn: Any) -> Iterator[dict[str, Any]]:
        for name in ("a", "b"):
            yield {"type": "tool_call", "call_id": name, "name": name, "arguments": {"self": name}}
        for name in ("a", "b"):
            yield {"type": "tool_result", "call_id": name, "name": name, "result": name}
        yield {"type": "tool_call", "call_id": "c", "name": "c", "arguments": {}}
        yield {"type": "text", "content": "done"}

    debug = LlamaDebugHandler(print_trace_on_end=False)
    engine = LlamaCloudChatEngine(serve(agent), callback_manager=CallbackManager([debug]))
    assert [one.content for one in engine.chat("go").sources] == ["a", "b", ""]
    assert {spans.parent_of(f"ServerTool.{name}") for name in "abc"} == {TURN}
    assert spans.open_spans == {}
    starts = [one for one in debug.get_events(CBEventType.FUNCTION_CALL) if EventPayload.TOOL in (one.payload or {})]
    assert len(starts) == 3
    under = [set(children) for children in engine.callback_manager.trace_map.values()]
    assert any({one.id_ for one in starts} < children for children in under)


def test_deltas_are_not_told_when_nobody_listens(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llama_index_ext._tracing.StreamChatDeltaReceivedEvent", None)
    response = LlamaCloudChatEngine(serve(echo)).stream_chat("a")
    assert "".join(response.response_gen) == "1: a"


@pytest.mark.parametrize("is_streaming", [True, False])
def test_callbacks_surround_the_turn_and_each_tool(serve: Serve, is_streaming: bool) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    engine = LlamaCloudChatEngine(serve(researcher), callback_manager=CallbackManager([debug]))
    text = "".join(engine.stream_chat("How many?").response_gen) if is_streaming else str(engine.chat("How many?"))
    kinds = [one.event_type for one in debug.get_events()]
    assert kinds == [
        CBEventType.AGENT_STEP,
        CBEventType.LLM,
        CBEventType.FUNCTION_CALL,
        CBEventType.RETRIEVE,
        CBEventType.RETRIEVE,
        CBEventType.FUNCTION_CALL,
        CBEventType.FUNCTION_CALL,
        CBEventType.FUNCTION_CALL,
        CBEventType.LLM,
        CBEventType.AGENT_STEP,
    ]
    (start, end), (call, output) = debug.get_event_pairs(CBEventType.AGENT_STEP)[0], _tool_pairs(debug)[0]
    assert start.payload is not None
    assert start.payload[EventPayload.MESSAGES][0].content == "How many?"
    assert end.payload is not None
    assert end.payload[EventPayload.RESPONSE].message.content == text
    assert call.payload is not None
    assert (call.payload[EventPayload.FUNCTION_CALL], call.payload[EventPayload.TOOL].name) == (
        '{"query": "leave"}',
        "retrieve",
    )
    assert output.payload is not None
    assert "30 days" in output.payload[EventPayload.FUNCTION_OUTPUT]


@pytest.mark.parametrize("is_streaming", [True, False])
def test_a_counter_of_tokens_counts_each_turn_once(serve: Serve, is_streaming: bool) -> None:
    counter = TokenCountingHandler(tokenizer=str.split)
    engine = LlamaCloudChatEngine(serve(researcher), callback_manager=CallbackManager([counter]))
    answer = engine.stream_chat("How many?") if is_streaming else engine.chat("How many?")
    str(answer)
    usage = answer.metadata["usage"]  # type: ignore[index]
    assert (counter.prompt_llm_token_count, counter.completion_llm_token_count) == (
        usage["total_input_tokens"],
        usage["total_output_tokens"],
    )
    (told,) = counter.llm_token_counts
    assert (told.prompt, told.completion) == ("user: How many?", f"assistant: {answer}")


def test_a_turn_that_failed_counts_what_it_used_and_one_that_was_refused_counts_nothing(serve: Serve) -> None:
    counter = TokenCountingHandler(tokenizer=str.split)
    client = serve(failing)
    engine = LlamaCloudChatEngine(client, callback_manager=CallbackManager([counter]))
    with pytest.raises(TurnFailedError) as failed:
        engine.chat("a")
    assert failed.value.turn is not None
    assert counter.prompt_llm_token_count == failed.value.turn.usage.total_input_tokens
    with pytest.raises(NotFoundError):
        LlamaCloudChatEngine(client, session_id="none", callback_manager=CallbackManager([counter])).chat("a")
    assert counter.prompt_llm_token_count == failed.value.turn.usage.total_input_tokens


@pytest.mark.skipif(
    "token_budget" not in inspect.signature(TokenCountingHandler.__init__).parameters,
    reason="this llama-index-core knows no budget",
)
def test_a_budget_of_tokens_that_is_used_up_stops_the_next_turn_before_it_is_asked(serve: Serve, spans: Spans) -> None:
    client = serve(echo)
    counter = TokenCountingHandler(tokenizer=str.split, token_budget=1)
    engine = LlamaCloudChatEngine(client, callback_manager=CallbackManager([counter]))
    for _ in range(2):
        with pytest.raises(ValueError, match="budget exceeded"):
            engine.chat("a")
    assert [len(client.retrieve(one.session_id).turns) for one in client.list()] == [1]
    assert spans.open_spans == {}


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
async def test_a_counter_in_the_settings_counts_an_agents_turns(
    aserve: AServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = TokenCountingHandler(tokenizer=str.split)
    monkeypatch.setattr(Settings, "_callback_manager", CallbackManager([counter]))
    output = await LlamaCloudAgent(async_client=aserve(researcher)).run("How many?")
    assert counter.prompt_llm_token_count == output.raw["usage"]["prompt_tokens"]
    assert len(counter.llm_token_counts) == 1


def test_a_retrieval_is_a_callback_with_its_query_and_nodes(serve: Serve) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    engine = LlamaCloudQueryEngine(serve(researcher), callback_manager=CallbackManager([debug]))
    answer = engine.query("How many?")
    ((start, end),) = debug.get_event_pairs(CBEventType.RETRIEVE)
    assert start.payload == {EventPayload.QUERY_STR: "leave"}
    assert end.payload == {EventPayload.NODES: answer.source_nodes}


class Tags(Spans):
    seen: list[Any] = Field(default_factory=list)

    def new_span(self, id_: str, *args: Any, tags: Any = None, **options: Any) -> Any:
        self.seen.append((_name(id_), tags))
        return super().new_span(id_, *args, **options)


@pytest.mark.parametrize("is_streaming", [True, False])
def test_tags_reach_every_span_and_event(serve: Serve, events: Events, is_streaming: bool) -> None:
    root, handler = get_dispatcher(), Tags()
    root.add_span_handler(handler)
    engine = LlamaCloudChatEngine(serve(researcher))
    try:
        with instrument_tags({"user": "Ann"}):
            answer = engine.stream_chat("How many?") if is_streaming else engine.chat("How many?")
        str(answer)
    finally:
        root.span_handlers.remove(handler)
    assert len(handler.seen) == 5
    assert all(tags == {"user": "Ann"} for _, tags in handler.seen)
    assert all(event.tags == {"user": "Ann"} for event in events.seen)


def _tool_pairs(debug: LlamaDebugHandler) -> Any:
    return debug.get_event_pairs(CBEventType.FUNCTION_CALL)


def test_a_failed_turn_ends_its_callback_with_the_error(serve: Serve) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    engine = LlamaCloudChatEngine(serve(failing), callback_manager=CallbackManager([debug]))
    with pytest.raises(TurnFailedError):
        engine.chat("a")
    end = debug.get_event_pairs(CBEventType.AGENT_STEP)[0][1]
    assert end.payload is not None
    assert isinstance(end.payload[EventPayload.EXCEPTION], TurnFailedError)


def test_turns_on_many_threads_keep_their_spans_apart(serve: Serve, spans: Spans) -> None:
    client = serve(researcher)

    async def ask() -> None:
        engines = [LlamaCloudChatEngine(client) for _ in range(6)]
        await asyncio.gather(*(asyncio.to_thread(engine.chat, "How many?") for engine in engines))

    asyncio.run(ask())
    turns = {one.id_ for one in spans.entered if _name(one.id_) == TURN}
    tools = [one for one in spans.entered if one.id_.startswith("ServerTool")]
    assert len(turns) == 6
    assert all([one.parent_id for one in tools].count(turn) == 2 for turn in turns)
    assert spans.open_spans == {}


def test_a_query_is_traced_from_its_engine_down_to_its_tools(serve: Serve, spans: Spans) -> None:
    LlamaCloudQueryEngine(serve(researcher)).query("How many?")
    assert spans.parent_of("ServerTool.retrieve") == "LlamaCloudQueryEngine.turn"
    assert spans.parent_of("LlamaCloudQueryEngine.turn") == "LlamaCloudQueryEngine._query"
    assert spans.parent_of("LlamaCloudQueryEngine._query") == "LlamaCloudQueryEngine.query"


def test_no_secret_reaches_a_tracer(serve: Serve, events: Events, spans: Spans) -> None:
    client = serve(researcher)
    list(LlamaCloudChatEngine(client).stream_chat("How many?").response_gen)
    key = client.config.api_key.get_secret_value()
    assert key not in "".join(event.model_dump_json() for event in events.seen)
    assert key not in repr(spans.ended)
