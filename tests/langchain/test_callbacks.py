"""What callbacks and tracers are told."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_core.outputs import ChatGenerationChunk, LLMResult
from langchain_core.runnables import RunnablePassthrough
from langchain_core.tracers import BaseTracer, Run
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler

from langchain_ext import ChatLlamaCloud
from llama_cloud_chat import ChatClient, ChatError, StreamInterruptedError, TurnFailedError

from ..support.service import ChatService
from . import scripts
from .harness import added_up, broken_off, needs_listeners_in_tasks

HAS_V3 = hasattr(BaseChatModel, "_chat_model_stream_v3")
needs_v3 = pytest.mark.skipif(not HAS_V3, reason="this langchain-core has no stream_events v3")
pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")


class Recorder(BaseCallbackHandler):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.chunks: list[Any] = []
        self.custom: list[tuple[str, Any, Any]] = []
        self.results: list[LLMResult] = []
        self.errors: list[tuple[BaseException, list[str]]] = []
        self.run_ids: set[Any] = set()

    def on_chat_model_start(self, *_: Any, run_id: Any, **__: Any) -> None:
        self.run_ids.add(run_id)

    def on_llm_new_token(self, token: str, *, chunk: Any = None, **_: Any) -> None:
        self.tokens.append(token)
        self.chunks.append(chunk)

    def on_llm_end(self, response: LLMResult, **_: Any) -> None:
        self.results.append(response)

    def on_llm_error(self, error: BaseException, **_: Any) -> None:
        self.errors.append((error, list(self.tokens)))

    def on_custom_event(self, name: str, data: Any, *, run_id: Any, **_: Any) -> None:
        self.custom.append((name, data, run_id))


class AsyncRecorder(AsyncCallbackHandler):
    """Writes down what it is told, for asyncio."""

    def __init__(self) -> None:
        self.custom: list[str] = []
        self.tokens: list[str] = []

    async def on_custom_event(self, name: str, data: Any, **_: Any) -> None:
        self.custom.append(name)

    async def on_llm_new_token(self, token: str, **_: Any) -> None:
        self.tokens.append(token)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def test_each_piece_of_text_is_a_token_with_its_chunk(model: ChatLlamaCloud, recorder: Recorder) -> None:
    list(model.stream("think, look, answer", {"callbacks": [recorder]}))
    assert [token for token in recorder.tokens if token] == ["30 ", "days."]
    assert all(isinstance(chunk, ChatGenerationChunk) for chunk in recorder.chunks)
    assert [chunk.text for chunk in recorder.chunks] == recorder.tokens


def test_a_stream_that_is_given_a_run_manager_tells_it(model: ChatLlamaCloud, recorder: Recorder) -> None:
    from langchain_core.callbacks import CallbackManager

    (run_manager,) = CallbackManager.configure([recorder]).on_chat_model_start({}, [[HumanMessage("x")]])
    list(model._stream([HumanMessage("think, look, answer")], run_manager=run_manager))
    assert [token for token in recorder.tokens if token] == ["30 ", "days."]
    assert [name for name, *_ in recorder.custom] == ["llama_cloud.tool_call", "llama_cloud.tool_result"]


def test_the_end_comes_with_usage(model: ChatLlamaCloud, recorder: Recorder) -> None:
    list(model.stream("text alone", {"callbacks": [recorder]}))
    model.invoke("text alone", {"callbacks": [recorder]})
    for response in recorder.results:
        assert response.generations[0][0].message.usage_metadata["total_tokens"] == 12  # type: ignore[union-attr]
    assert len(recorder.results) == 2


def test_the_agents_error_is_told_after_the_text_so_far(model: ChatLlamaCloud, recorder: Recorder) -> None:
    with pytest.raises(TurnFailedError):
        list(model.stream("an error", {"callbacks": [recorder]}))
    ((error, before),) = recorder.errors
    assert isinstance(error, TurnFailedError)
    assert "".join(before) == "I was about to"
    assert recorder.results == []


def test_an_interruption_is_told_after_the_text_so_far(
    raw: ChatService, raw_client: ChatClient, recorder: Recorder
) -> None:
    raw.reply = lambda _: broken_off("Half an ")
    with pytest.raises(StreamInterruptedError):
        list(ChatLlamaCloud(client=raw_client).stream("one", {"callbacks": [recorder]}))
    ((error, before),) = recorder.errors
    assert isinstance(error, StreamInterruptedError)
    assert before == ["Half an "]


@pytest.mark.parametrize("prompt", ["an error", "one"])
def test_a_failing_invoke_is_told_once(
    raw: ChatService, raw_client: ChatClient, recorder: Recorder, prompt: str
) -> None:
    raw.reply = lambda _: broken_off("Half an ")
    with pytest.raises(ChatError):
        ChatLlamaCloud(client=raw_client).invoke(prompt, {"callbacks": [recorder]})
    assert len(recorder.errors) == 1


def test_tools_are_told_as_custom_events(model: ChatLlamaCloud, recorder: Recorder) -> None:
    model.invoke("think, look, answer", {"callbacks": [recorder]})
    (called, call, run_id), (answered, result, _) = recorder.custom
    assert (called, answered) == ("llama_cloud.tool_call", "llama_cloud.tool_result")
    assert (call["id"], call["name"], call["args"]) == ("c1", "retrieve", {"query": "leave"})
    assert result["tool_call_id"] == "c1"
    assert result["output"] == {"results": [scripts.PASSAGE]}
    assert {run_id} == recorder.run_ids


async def test_tools_are_told_to_async_handlers(amodel: ChatLlamaCloud) -> None:
    recorder = AsyncRecorder()
    await amodel.ainvoke("think, look, answer", {"callbacks": [recorder]})
    assert recorder.custom == ["llama_cloud.tool_call", "llama_cloud.tool_result"]


@needs_v3
def test_v3_tells_tokens_and_tools(model: ChatLlamaCloud, recorder: Recorder) -> None:
    list(model.stream_events("think, look, answer", {"callbacks": [recorder]}, version="v3"))
    assert recorder.tokens == ["30 ", "days."]
    assert [name for name, *_ in recorder.custom] == ["llama_cloud.tool_call", "llama_cloud.tool_result"]
    assert len(recorder.results) == 1


@needs_v3
async def test_async_v3_tells_tokens_and_tools(amodel: ChatLlamaCloud) -> None:
    recorder = AsyncRecorder()
    stream = await amodel.astream_events("think, look, answer", {"callbacks": [recorder]}, version="v3")
    await stream.output
    assert recorder.tokens == ["30 ", "days."]
    assert recorder.custom == ["llama_cloud.tool_call", "llama_cloud.tool_result"]


class Tracer(BaseTracer):
    """Keeps the runs, as LangSmith's tracer would send them."""

    def __init__(self) -> None:
        super().__init__(_schema_format="original+chat")
        self.runs: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.runs.append(run)


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_a_tracer_sees_one_clean_run(model: ChatLlamaCloud, way: str) -> None:
    tracer = Tracer()
    answer = getattr(model, way)("think, look, answer", {"callbacks": [tracer]})
    if way == "stream":
        list(answer)
    (run,) = tracer.runs
    assert run.error is None
    assert run.child_runs == []
    assert run.inputs["messages"][0][0]["kwargs"]["content"] == "think, look, answer"
    message = run.outputs["generations"][0][0]["message"]["kwargs"]  # type: ignore[index]
    assert message["content"] == "30 days."
    assert message["usage_metadata"]["total_tokens"] == 12
    assert run.extra["metadata"]["ls_provider"] == "llama_cloud"  # type: ignore[index]
    assert run.extra["metadata"]["ls_model_type"] == "chat"  # type: ignore[index]


def test_the_run_collector_sees_one_run(model: ChatLlamaCloud) -> None:
    collector = RunCollectorCallbackHandler()
    model.invoke("text alone", {"callbacks": [collector]})
    assert [run.error for run in collector.traced_runs] == [None]


def test_a_failed_run_is_traced_as_failed(model: ChatLlamaCloud) -> None:
    tracer = Tracer()
    with pytest.raises(TurnFailedError):
        list(model.stream("an error", {"callbacks": [tracer]}))
    assert "the model is out" in str(tracer.runs[0].error)


def chain_of(model: ChatLlamaCloud) -> Any:
    return RunnablePassthrough() | model


TOOL_EVENTS = ["llama_cloud.tool_call", "llama_cloud.tool_result"]


def test_a_stream_inside_a_run_tells_of_tools(model: ChatLlamaCloud, recorder: Recorder) -> None:
    list(chain_of(model).stream("think, look, answer", {"callbacks": [recorder]}))
    assert [name for name, *_ in recorder.custom] == TOOL_EVENTS


async def test_a_stream_inside_a_run_tells_of_tools_by_asyncio(amodel: ChatLlamaCloud, recorder: Recorder) -> None:
    async for _ in chain_of(amodel).astream("think, look, answer", {"callbacks": [recorder]}):
        pass
    assert [name for name, *_ in recorder.custom] == TOOL_EVENTS


def test_a_stream_by_itself_has_nobody_to_tell_and_goes_on(model: ChatLlamaCloud, recorder: Recorder) -> None:
    list(model.stream("think, look, answer", {"callbacks": [recorder]}))
    assert recorder.custom == []
    assert recorder.results


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_the_events_of_a_chain_hold_the_tools(amodel: ChatLlamaCloud, version: Any) -> None:
    seen = [
        event["name"]
        async for event in chain_of(amodel).astream_events("think, look, answer", version=version)
        if event["event"] == "on_custom_event"
    ]
    # Version v1 knows no custom events.
    assert seen == ([] if version == "v1" else TOOL_EVENTS)


@pytest.mark.parametrize("modes", [["custom"], ["custom", "messages"]])
@pytest.mark.parametrize("asks", ["invoke", "stream"])
def test_a_graphs_custom_stream_holds_the_tools(model: ChatLlamaCloud, asks: str, modes: list[str]) -> None:
    graphs = pytest.importorskip("langgraph.graph")

    def answer(state: Any) -> Any:
        if asks == "invoke":
            return {"messages": [model.invoke(state["messages"])]}
        return {"messages": [added_up(model.stream(state["messages"]))]}

    builder = graphs.StateGraph(graphs.MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(graphs.START, "answer")
    question = {"messages": [("user", "think, look, answer")]}
    pieces = [piece for mode, piece in builder.compile().stream(question, stream_mode=modes) if mode == "custom"]
    assert [piece["name"] for piece in pieces] == TOOL_EVENTS
    assert pieces[0]["data"]["type"] == "server_tool_call"
    assert pieces[0]["data"]["args"] == {"query": "leave"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@needs_listeners_in_tasks
async def test_ag_ui_tells_a_front_end_of_the_tools(amodel: ChatLlamaCloud) -> None:
    ag_ui = pytest.importorskip("ag_ui_langgraph")
    core = pytest.importorskip("ag_ui.core")
    agents = pytest.importorskip("langchain.agents")
    memory = pytest.importorskip("langgraph.checkpoint.memory")
    graph = agents.create_agent(amodel, tools=[], checkpointer=memory.InMemorySaver())
    agent = ag_ui.LangGraphAgent(name="handbook", graph=graph)
    asked = core.RunAgentInput(
        thread_id="t",
        run_id="r",
        state={},
        messages=[core.UserMessage(id="1", role="user", content="think, look, answer")],
        tools=[],
        context=[],
        forwarded_props={},
    )
    events = [event async for event in agent.run(asked)]
    assert [event.name for event in events if event.type == "CUSTOM"] == TOOL_EVENTS
    assert "".join(event.delta for event in events if event.type == "TEXT_MESSAGE_CONTENT") == "30 days."
