"""Under MLflow's own tracer: every trace ends as its turn did, with its tokens counted once and its contexts found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentOutput

from llama_cloud_chat import ChatClient, ChatError, TurnFailedError
from llama_index_ext import LlamaCloudAgent, LlamaCloudChatEngine, LlamaCloudQueryEngine
from tests.llama_index.harness import failing, researcher

mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed: pip install -e '.[mlflow]'")
pytest.importorskip("mlflow.llama_index")

pytestmark = pytest.mark.filterwarnings("ignore")  # what MLflow does that warns is its own

Serve = Callable[..., ChatClient]
Ask = Callable[[ChatClient], Any]


@pytest.fixture(scope="module", autouse=True)
def _tracer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        environment.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
        place = tmp_path_factory.mktemp("mlflow")
        mlflow.set_tracking_uri(f"sqlite:///{place}/traces.db")
        mlflow.set_experiment(experiment_id=mlflow.create_experiment("turns", str(place / "traces")))
        mlflow.llama_index.autolog()
        yield
        mlflow.llama_index.autolog(disable=True)


def in_a_task(client: ChatClient, ask: Callable[[Any], Any]) -> None:
    async def go() -> None:
        async with client.as_async() as async_client:
            await ask(async_client)

    asyncio.run(go())


def chat(client: ChatClient) -> None:
    LlamaCloudChatEngine(client).chat("How many?")


def stream_chat(client: ChatClient) -> None:
    list(LlamaCloudChatEngine(client).stream_chat("How many?").response_gen)


def astream_chat(client: ChatClient) -> None:
    async def ask(async_client: Any) -> None:
        response = await LlamaCloudChatEngine(async_client=async_client).astream_chat("How many?")
        [text async for text in response.async_response_gen()]

    in_a_task(client, ask)


def query(client: ChatClient) -> None:
    LlamaCloudQueryEngine(client).query("How many?")


def stream_query(client: ChatClient) -> None:
    answer: Any = LlamaCloudQueryEngine(client, streaming=True).query("How many?")
    list(answer.response_gen)


def astream_query(client: ChatClient) -> None:
    async def ask(async_client: Any) -> None:
        answer: Any = await LlamaCloudQueryEngine(async_client=async_client, streaming=True).aquery("How many?")
        [text async for text in answer.async_response_gen()]

    in_a_task(client, ask)


def run_agent(client: ChatClient) -> None:
    async def ask(async_client: Any) -> AgentOutput:
        output: AgentOutput = await LlamaCloudAgent(async_client=async_client).run("How many?")
        return output

    in_a_task(client, ask)


class OwnEngine(LlamaCloudChatEngine):
    """An engine of a user, whose span LlamaIndex ends when the stream is handed on."""

    def stream_chat(self, *args: Any, **options: Any) -> Any:
        """Ask as the engine does."""
        return super().stream_chat(*args, **options)


def stream_own_engine(client: ChatClient) -> None:
    list(OwnEngine(client).stream_chat("How many?").response_gen)


def read_in_part(client: ChatClient) -> None:
    pieces = LlamaCloudChatEngine(client).stream_chat("How many?").response_gen
    next(pieces)
    pieces.close()


def never_read(client: ChatClient) -> None:
    LlamaCloudChatEngine(client).stream_chat("How many?")


EVERY_WAY = [chat, stream_chat, astream_chat, query, stream_query, astream_query, run_agent, stream_own_engine]


_seen: set[str] = set()


def trace() -> Any:
    """Return the trace that has just ended; MLflow knows none that has not."""
    trace_id = mlflow.get_last_active_trace_id()
    assert trace_id not in _seen, "the trace has not ended"
    _seen.add(trace_id)
    return mlflow.get_trace(trace_id)


@pytest.mark.parametrize("ask", EVERY_WAY)
def test_a_trace_ends_with_its_tokens_and_what_was_retrieved(serve: Serve, ask: Ask) -> None:
    ask(serve(researcher))
    seen = trace()
    assert seen.info.state == "OK"
    assert all(span.status.status_code == "OK" for span in seen.data.spans)
    (turn,) = (span for span in seen.data.spans if span.name.endswith(".turn"))
    assert turn.span_type == "CHAT_MODEL"
    assert seen.info.token_usage == turn.attributes["mlflow.chat.tokenUsage"]
    assert seen.info.token_usage["input_tokens"] > 0
    (retriever,) = seen.search_spans(span_type="RETRIEVER")
    assert [found["page_content"] for found in retriever.outputs] == ["Everyone has 30 days of leave."]
    tools = seen.search_spans(span_type="TOOL")
    assert [tool.name for tool in tools] == ["ServerTool.retrieve", "ServerTool.grep"]
    assert retriever.parent_id == tools[0].span_id


@pytest.mark.parametrize("ask", EVERY_WAY)
def test_the_trace_of_a_turn_that_failed_says_so(serve: Serve, ask: Ask) -> None:
    with pytest.raises(TurnFailedError):
        ask(serve(failing))
    seen = trace()
    assert seen.info.state == "ERROR"
    root, turn = seen.data.spans[0], next(span for span in seen.data.spans if span.name.endswith(".turn"))
    assert root.status.status_code == turn.status.status_code == "ERROR"
    assert "on fire" in str(turn.events[0].attributes)


@pytest.mark.parametrize("ask", [read_in_part, never_read])
def test_the_trace_of_an_answer_that_was_let_go_ends(serve: Serve, ask: Ask) -> None:
    ask(serve(researcher))
    assert trace().info.state == "OK"


def silent(turn: Any) -> Iterator[dict[str, Any]]:
    yield {"type": "thinking", "content": "Hm"}


@pytest.mark.parametrize("ask", [query, stream_query, astream_query])
def test_the_trace_of_an_answer_without_text_ends(serve: Serve, ask: Ask) -> None:
    with pytest.raises(ChatError, match="no text"):
        ask(serve(silent))
    assert trace().info.state == "ERROR"
