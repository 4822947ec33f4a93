"""Under OpenInference's instrumentor: no orphans, tools as tools, tokens counted."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from llama_cloud_chat import AsyncChatClient, ChatClient, TurnFailedError
from llama_index_ext import LlamaCloudAgent, LlamaCloudChatEngine, LlamaCloudQueryEngine
from tests.llama_index.harness import echo, failing, researcher

instrumentation = pytest.importorskip("openinference.instrumentation.llama_index")
pytest.importorskip("opentelemetry.sdk")

Serve = Callable[..., ChatClient]
AServe = Callable[..., AsyncChatClient]
KIND = "openinference.span.kind"

follows_streams = pytest.mark.skipif(
    importlib.util.find_spec("openinference.instrumentation.llama_index._stream") is None,
    reason="this instrumentor ends the span of a streaming query when the stream is handed on",
)


@pytest.fixture
def spans() -> Iterator[Callable[[], dict[str, Any]]]:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = instrumentation.LlamaIndexInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    if not instrumentor.is_instrumented_by_opentelemetry:
        pytest.skip("this instrumentor does not support this llama-index-core")

    def finished() -> dict[str, Any]:
        """Return the spans by name, having seen that they are one tree."""
        found = exporter.get_finished_spans()
        ids = {span.context.span_id for span in found}
        roots = [span for span in found if span.parent is None]
        assert len(roots) == 1, [span.name for span in roots]
        assert all(span.parent.span_id in ids for span in found if span.parent is not None)
        return {span.name: span for span in found}

    yield finished
    instrumentor.uninstrument()
    provider.shutdown()
    gc.collect()


def _check_turn(found: dict[str, Any], owner: str) -> None:
    turn, tool = found[f"{owner}.turn"], found["ServerTool.retrieve"]
    assert turn.attributes[KIND] == "LLM"
    assert turn.attributes["llm.input_messages.0.message.content"] == "How many?"
    assert "There are 30 days." in turn.attributes["output.value"]
    assert turn.attributes["llm.token_count.prompt"] > 0
    assert turn.attributes["llm.token_count.completion"] > 0
    assert tool.parent.span_id == turn.context.span_id
    assert tool.attributes[KIND] == found["ServerTool.grep"].attributes[KIND] == "TOOL"
    assert tool.attributes["tool.name"] == "retrieve"
    assert "leave" in tool.attributes["input.value"]
    retriever = found["ServerRetriever.retrieve"]
    assert retriever.parent.span_id == tool.context.span_id
    assert retriever.attributes[KIND] == "RETRIEVER"
    assert retriever.attributes["input.value"] == "leave"
    assert retriever.attributes["retrieval.documents.0.document.content"] == "Everyone has 30 days of leave."
    counted = [span.name for span in found.values() if "llm.token_count.prompt" in span.attributes]
    assert counted == [turn.name]
    assert all(span.status.is_ok for span in found.values())


def test_a_streamed_turn_is_one_tree(serve: Serve, spans: Callable[[], dict[str, Any]]) -> None:
    list(LlamaCloudChatEngine(serve(researcher)).stream_chat("How many?").response_gen)
    found = spans()
    _check_turn(found, "LlamaCloudChatEngine")
    assert found["LlamaCloudChatEngine.stream_chat"].parent is None


async def test_a_turn_streamed_by_another_task_is_one_tree(aserve: AServe, spans: Callable[[], dict[str, Any]]) -> None:
    response = await LlamaCloudChatEngine(async_client=aserve(researcher)).astream_chat("How many?")

    async def read() -> list[str]:
        return [text async for text in response.async_response_gen()]

    await asyncio.create_task(read())
    _check_turn(spans(), "LlamaCloudChatEngine")


async def test_a_turn_streamed_in_another_thread_is_one_tree(serve: Serve, spans: Callable[[], dict[str, Any]]) -> None:
    response = LlamaCloudChatEngine(serve(researcher)).stream_chat("How many?")
    await asyncio.to_thread(lambda: list(response.response_gen))
    _check_turn(spans(), "LlamaCloudChatEngine")


async def test_whole_answers_are_one_tree(aserve: AServe, spans: Callable[[], dict[str, Any]]) -> None:
    await LlamaCloudChatEngine(async_client=aserve(researcher)).achat("How many?")
    _check_turn(spans(), "LlamaCloudChatEngine")


@pytest.mark.parametrize("streaming", [True, False])
def test_queries_are_one_tree(serve: Serve, spans: Callable[[], dict[str, Any]], streaming: bool) -> None:
    str(LlamaCloudQueryEngine(serve(researcher), streaming=streaming).query("How many?"))
    _check_turn(spans(), "LlamaCloudQueryEngine")


def test_an_error_marks_the_turn(serve: Serve, spans: Callable[[], dict[str, Any]]) -> None:
    with pytest.raises(TurnFailedError):
        list(LlamaCloudChatEngine(serve(failing)).stream_chat("a").response_gen)
    found = spans()
    for name in ("LlamaCloudChatEngine.turn", "LlamaCloudChatEngine.stream_chat"):
        assert not found[name].status.is_ok
        assert "on fire" in found[name].status.description


@pytest.mark.parametrize("streaming", [pytest.param(True, marks=follows_streams), False])
def test_an_error_marks_a_query_from_its_root_down(
    serve: Serve, spans: Callable[[], dict[str, Any]], streaming: bool
) -> None:
    with pytest.raises(TurnFailedError):
        str(LlamaCloudQueryEngine(serve(failing), streaming=streaming).query("a"))
    assert [span.status.is_ok for span in spans().values()] == [False, False, False]


@follows_streams
def test_an_open_span_is_never_missed(
    serve: Serve, spans: Callable[[], dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    client = serve(researcher)
    list(LlamaCloudChatEngine(client).stream_chat("How many?").response_gen)
    str(LlamaCloudQueryEngine(client, streaming=True).query("How many?"))
    assert [record.getMessage() for record in caplog.records if record.name.startswith("openinference")] == []


def test_spans_of_the_caller_are_not_adopted_by_a_turn_that_is_read_meanwhile(
    serve: Serve, spans: Callable[[], dict[str, Any]]
) -> None:
    from opentelemetry.trace import INVALID_SPAN, get_current_span

    pieces = LlamaCloudChatEngine(serve(echo)).stream_chat("a").response_gen
    next(pieces)
    assert get_current_span() is INVALID_SPAN
    list(pieces)
    assert get_current_span() is INVALID_SPAN
    assert set(spans()) == {"LlamaCloudChatEngine.stream_chat", "LlamaCloudChatEngine.turn"}


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
async def test_an_agents_turn_hangs_under_its_step(aserve: AServe, spans: Callable[[], dict[str, Any]]) -> None:
    handler = LlamaCloudAgent(async_client=aserve(researcher)).run("How many?")
    async for _ in handler.stream_events():
        pass
    await handler
    found = spans()
    _check_turn(found, "LlamaCloudAgent")
    assert found["LlamaCloudAgent.turn"].parent is not None
