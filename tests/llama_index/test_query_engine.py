"""The query engine: a session per query, as a tool, under routers, sub-questions and evaluators."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.base.response.schema import AsyncStreamingResponse, Response, StreamingResponse
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.evaluation import FaithfulnessEvaluator, RelevancyEvaluator
from llama_index.core.query_engine import RouterQueryEngine, SubQuestionQueryEngine
from llama_index.core.question_gen.types import SubQuestion
from llama_index.core.response_synthesizers import CompactAndRefine
from llama_index.core.schema import QueryBundle
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.tools import FunctionTool, QueryEngineTool

from llama_cloud_chat import AsyncChatClient, ChatClient, ChatError, ConfigurationError, TurnFailedError
from llama_cloud_chat.local import AgentTurn, WireEvent
from llama_index_ext import LlamaCloudQueryEngine
from tests.llama_index.harness import WAIT, HoldingService, echo, failing, researcher, text_of
from tests.llama_index.models import Says

Serve = Callable[..., ChatClient]
AServe = Callable[..., AsyncChatClient]
Hold = Callable[..., HoldingService]

WHOLE = "There are 30 days.\n\nThey expire."


class Splits:
    """A question generator that asks two things of the tool."""

    def generate(self, tools: Any, query: Any) -> list[SubQuestion]:
        return [SubQuestion(sub_question=part, tool_name="handbook") for part in ("first?", "second?")]

    async def agenerate(self, tools: Any, query: Any) -> list[SubQuestion]:
        return self.generate(tools, query)


def silent(turn: AgentTurn) -> Iterator[WireEvent]:
    yield {"type": "thinking", "content": "I would rather not say."}


def tool_of(engine: LlamaCloudQueryEngine) -> QueryEngineTool:
    return QueryEngineTool.from_defaults(engine, name="handbook", description="Knows about work.")


def test_a_query_is_answered_with_its_nodes_and_metadata(serve: Serve) -> None:
    answer = LlamaCloudQueryEngine(serve(researcher)).query("How many?")
    assert isinstance(answer, Response)
    assert answer.response == WHOLE == str(answer)
    assert [node.get_content() for node in answer.source_nodes] == ["Everyone has 30 days of leave."]
    assert answer.metadata is not None
    assert answer.metadata["turn"] == 1
    assert "Everyone has 30 days" in answer.get_formatted_sources()


async def test_a_task_can_query(aserve: AServe) -> None:
    answer = await LlamaCloudQueryEngine(async_client=aserve(researcher)).aquery("How many?")
    assert isinstance(answer, Response)
    assert (answer.response, len(answer.source_nodes)) == (WHOLE, 1)


def test_every_query_has_a_session_of_its_own(serve: Serve) -> None:
    client = serve(echo)
    engine = LlamaCloudQueryEngine(client)
    assert [str(engine.query(prompt)) for prompt in "ab"] == ["1: a", "1: b"]
    assert len(list(client.list())) == 2


@pytest.mark.parametrize("streaming", [True, False])
def test_sessions_that_are_not_kept_are_deleted_once_answered(serve: Serve, streaming: bool) -> None:
    client = serve(echo)
    engine = LlamaCloudQueryEngine(client, keep_sessions=False, streaming=streaming)
    assert str(engine.query("a")) == "1: a"
    assert list(client.list()) == []


def test_sessions_that_are_not_kept_are_deleted_after_errors_too(serve: Serve) -> None:
    client = serve(failing)
    with pytest.raises(TurnFailedError):
        LlamaCloudQueryEngine(client, keep_sessions=False).query("a")
    assert list(client.list()) == []


def test_a_streaming_query_hands_on_pieces_and_fills_its_nodes_meanwhile(serve: Serve) -> None:
    answer = LlamaCloudQueryEngine(serve(researcher), streaming=True).query("How many?")
    assert isinstance(answer, StreamingResponse)
    assert (len(answer.source_nodes), answer.metadata["turn"]) == (1, 1)  # type: ignore[index]
    seen = [(text, len(answer.source_nodes)) for text in answer.response_gen]
    assert seen == [("There are ", 1), ("30 days.", 1), ("\n\nThey ", 1), ("expire.", 1)]
    assert answer.metadata is not None
    assert answer.metadata["thinking"] == "Let me look."


async def test_a_streaming_query_works_for_a_task(aserve: AServe) -> None:
    answer = await LlamaCloudQueryEngine(async_client=aserve(researcher), streaming=True).aquery("How many?")
    assert isinstance(answer, AsyncStreamingResponse)
    assert "".join([text async for text in answer.async_response_gen()]) == WHOLE
    assert len(answer.source_nodes) == 1


def test_a_streaming_query_that_was_begun_still_gives_its_whole_answer(serve: Serve) -> None:
    answer = LlamaCloudQueryEngine(serve(researcher), streaming=True).query("How many?")
    assert isinstance(answer, StreamingResponse)
    assert next(answer.response_gen) == "There are "
    whole = answer.get_response()
    assert (whole.response, whole.turn.text, len(whole.source_nodes)) == (WHOLE, WHOLE, 1)
    assert answer.get_response().response == WHOLE


async def test_a_tasks_streaming_query_that_was_begun_still_gives_its_whole_answer(aserve: AServe) -> None:
    answer: Any = await LlamaCloudQueryEngine(async_client=aserve(researcher), streaming=True).aquery("How many?")
    assert await anext(answer.response_gen) == "There are "
    whole = await answer.get_response()
    assert (whole.response, whole.turn.text, len(whole.source_nodes)) == (WHOLE, WHOLE, 1)


def test_dropping_a_streaming_query_closes_the_connection(hold: Hold) -> None:
    service = hold(text_of(["one", "two"]))
    with ChatClient("key", base_url=service.base_url) as client:
        answer = LlamaCloudQueryEngine(client, streaming=True, keep_sessions=False).query("a")
        assert isinstance(answer, StreamingResponse)
        for _ in answer.response_gen:
            break
        answer.response_gen.close()  # type: ignore[attr-defined]
        assert service.left.wait(WAIT)
        last = service.requests[-1]
        assert f"{last.method} {last.target}" == "DELETE /api/v1/chat/ses-1"


async def test_dropping_a_tasks_streaming_query_closes_the_connection(hold: Hold) -> None:
    service = hold(text_of(["one", "two"]))
    async with AsyncChatClient("key", base_url=service.base_url) as client:
        answer = await LlamaCloudQueryEngine(async_client=client, streaming=True).aquery("a")
        assert isinstance(answer, AsyncStreamingResponse)
        pieces: Any = answer.response_gen
        await anext(pieces)
        await pieces.aclose()
        assert await asyncio.to_thread(service.left.wait, WAIT)


def test_an_empty_answer_is_an_error_instead_of_none(serve: Serve) -> None:
    client = serve(silent)
    with pytest.raises(ChatError, match="holds no text"):
        LlamaCloudQueryEngine(client).query("a")
    with pytest.raises(ChatError, match="holds no text"):
        str(LlamaCloudQueryEngine(client, streaming=True).query("a"))


async def test_an_empty_answer_is_an_error_for_a_task_too(aserve: AServe) -> None:
    client = aserve(silent)
    with pytest.raises(ChatError, match="holds no text"):
        await LlamaCloudQueryEngine(async_client=client).aquery("a")
    with pytest.raises(ChatError, match="holds no text"):
        await LlamaCloudQueryEngine(async_client=client, streaming=True).aquery("a")


def test_it_works_as_a_tool(serve: Serve) -> None:
    tool = tool_of(LlamaCloudQueryEngine(serve(researcher)))
    output = tool.call("How many?")
    assert (output.content, output.tool_name) == (WHOLE, "handbook")
    assert len(output.raw_output.source_nodes) == 1


async def test_it_works_as_a_tool_of_a_task(aserve: AServe) -> None:
    tool = tool_of(LlamaCloudQueryEngine(async_client=aserve(researcher)))
    assert (await tool.acall("How many?")).content == WHOLE


def test_a_router_can_choose_it(serve: Serve) -> None:
    choice = Says(answer='[{"choice": 1, "reason": "It knows."}]')
    tools = [tool_of(LlamaCloudQueryEngine(serve(researcher)))]
    router = RouterQueryEngine(LLMSingleSelector.from_defaults(llm=choice), tools, llm=choice)
    answer = router.query("How many?")
    assert isinstance(answer, Response)
    assert (answer.response, len(answer.source_nodes)) == (WHOLE, 1)


@pytest.mark.parametrize("use_async", [True, False])
def test_sub_questions_can_be_asked_of_it(serve: Serve, use_async: bool) -> None:
    model = Says(answer="Both.")
    queries = LlamaCloudQueryEngine(serve(echo))
    engine = SubQuestionQueryEngine(
        question_gen=Splits(),  # type: ignore[arg-type]
        response_synthesizer=CompactAndRefine(llm=model),
        query_engine_tools=[tool_of(queries)],
        verbose=False,
        use_async=use_async,
    )

    async def ask() -> Any:
        answer = await engine.aquery("Two things?")
        await queries._clients.async_client.aclose()
        return answer

    answer = asyncio.run(ask()) if use_async else engine.query("Two things?")
    assert str(answer) == "Both."
    texts = [node.get_content() for node in answer.source_nodes]
    assert sorted(texts) == ["Sub question: first?\nResponse: 1: first?", "Sub question: second?\nResponse: 1: second?"]
    assert "1: second?" in model.asked[-1]


@pytest.mark.filterwarnings("ignore:There is no current event loop:DeprecationWarning")
@pytest.mark.parametrize("kind", [FaithfulnessEvaluator, RelevancyEvaluator])
async def test_evaluators_find_their_contexts_in_its_nodes(aserve: AServe, kind: Any) -> None:
    answer = await LlamaCloudQueryEngine(async_client=aserve(researcher)).aquery("How many?")
    judge = Says(answer="YES")
    result = await kind(llm=judge).aevaluate_response(query="How many?", response=answer)
    assert result.passing
    assert result.contexts == ["Everyone has 30 days of leave."]
    assert any("Everyone has 30 days of leave." in prompt for prompt in judge.asked)


def test_a_query_is_a_callback_event_around_the_turn(serve: Serve) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    LlamaCloudQueryEngine(serve(echo), callback_manager=CallbackManager([debug])).query("a")
    kinds = [one.event_type for one in debug.get_events()]
    inside = [CBEventType.AGENT_STEP, CBEventType.LLM, CBEventType.LLM, CBEventType.AGENT_STEP]
    assert kinds == [CBEventType.QUERY, *inside, CBEventType.QUERY]
    assert str(debug.get_events()[-1].payload[EventPayload.RESPONSE]) == "1: a"  # type: ignore[index]


@pytest.mark.rule("design-12")
@pytest.mark.parametrize("streaming", [True, False])
async def test_a_key_names_a_query(aserve: AServe, streaming: bool) -> None:
    client = aserve(echo)
    engine = LlamaCloudQueryEngine(async_client=client, streaming=streaming)
    sessions = []
    for question, key in (("a", "q1"), (QueryBundle("a"), "q1"), ("a", None)):
        answer: Any = await engine.aquery(question, key=key)
        assert (await answer.get_response() if streaming else answer).response == "1: a"
        sessions.append(answer.metadata["session_id"])
    assert sessions[0] == sessions[1] != sessions[2]
    assert [len((await client.retrieve(one.session_id)).turns) async for one in client.list()] == [1, 1]


def test_a_key_names_a_query_of_a_thread_too(serve: Serve) -> None:
    client = serve(echo)
    assert [str(LlamaCloudQueryEngine(client).query("a", key="q1")) for _ in range(2)] == ["1: a", "1: a"]
    assert len(list(client.list())) == 1


def test_it_can_be_pickled_without_its_key(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    client = serve(echo)
    key = client.config.api_key.get_secret_value()
    engine = LlamaCloudQueryEngine(client, callback_manager=CallbackManager([LlamaDebugHandler()]))
    pickled = pickle.dumps(engine)
    assert key.encode() not in pickled
    assert key not in repr(engine)
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", key)
    copy = pickle.loads(pickled)
    assert str(copy.query("a")) == "1: a"
    copy._clients.client.close()


def test_its_methods_are_tools_of_a_function(serve: Serve) -> None:
    engine = LlamaCloudQueryEngine(serve(researcher))
    tool = FunctionTool.from_defaults(engine.query, async_fn=engine.aquery, name="handbook")
    assert "str_or_query_bundle" in tool.metadata.get_parameters_dict()["properties"]
    assert tool.call(str_or_query_bundle="How many?").content == WHOLE


@pytest.mark.parametrize(
    "query", [None, 3, b"a", ChatMessage(role="user", content="a")], ids=lambda one: type(one).__name__
)
async def test_what_is_no_question_is_refused_before_anything_is_asked(aserve: AServe, query: Any) -> None:
    client = aserve(echo)
    engine = LlamaCloudQueryEngine(async_client=client)
    with pytest.raises(ConfigurationError, match="The prompt must be a str"):
        engine.query(query)
    with pytest.raises(ConfigurationError, match="The prompt must be a str"):
        await engine.aquery(query, key="q1")
    assert [one async for one in client.list()] == []
