"""Structured output: an output class without a model, on the agent, in a workflow and on the query engine."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentOutput, AgentStreamStructuredOutput, AgentWorkflow, ToolCallResult
from llama_index.core.base.response.schema import PydanticResponse
from llama_index.core.tools import QueryEngineTool
from llama_index.core.workflow import Context, JsonSerializer
from pydantic import BaseModel, Field

from llama_cloud_chat import AsyncChatClient, ChatClient, ConfigurationError, StructuredOutputError
from llama_cloud_chat.local import AgentTurn, WireEvent, speak
from llama_index_ext import LlamaCloudAgent, LlamaCloudChatEngine, LlamaCloudQueryEngine
from tests.llama_index.harness import passage, retrieve
from tests.llama_index.test_agent import writer

pytestmark = [
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Skipping serialization of known unserializable key"),
]

Serve = Callable[..., ChatClient]
AServe = Callable[..., AsyncChatClient]


class Days(BaseModel):
    """How many days there are."""

    days: int = Field(ge=0)


JSON = '{"days": 30}'


class Says:
    """An agent that retrieves a passage in each turn and says what is next."""

    def __init__(self, *answers: str) -> None:
        self.answers = answers
        self.prompts: list[str] = []

    def __call__(self, turn: AgentTurn) -> Iterable[WireEvent]:
        self.prompts.append(turn.prompt)
        return self._say(turn.number)

    def _say(self, number: int) -> Iterator[WireEvent]:
        yield from retrieve(f"c{number}", "leave", passage(f"Passage {number}."))
        yield from speak("text", ["It is so: ", self.answers[min(number, len(self.answers)) - 1]])


async def _run(agent: Any, *args: Any, **options: Any) -> tuple[AgentOutput, list[Any]]:
    handler = agent.run(*args, **options)
    events = [event async for event in handler.stream_events()]
    return await handler, events


async def test_an_agent_fills_its_output_class_without_a_model(aserve: AServe) -> None:
    says = Says(JSON)
    client = aserve(says)
    output, events = await _run(LlamaCloudAgent(async_client=client, output_cls=Days), "How many?")
    assert str(output) == JSON
    assert output.structured_response == {"days": 30}
    assert output.get_pydantic_model(Days) == Days(days=30)
    assert [event.output for event in events if isinstance(event, AgentStreamStructuredOutput)] == [{"days": 30}]
    [prompt] = says.prompts
    assert prompt.startswith("How many?\n\nEnd with one JSON object of this type:\n{days: integer // >=0\n}")
    session_id = output.response.additional_kwargs["session_id"]
    shown = await LlamaCloudChatEngine(async_client=client, session_id=session_id).aload_history()
    assert [message.content for message in shown] == ["How many?", f"It is so: {JSON}"]


async def test_an_answer_that_does_not_fit_is_corrected_in_its_session(aserve: AServe) -> None:
    says = Says('{"days": -1}', JSON)
    client = aserve(says)
    agent = LlamaCloudAgent(async_client=client, output_cls=Days)
    output, events = await _run(agent, "How many?", ctx=(ctx := Context(agent)))
    assert output.structured_response == {"days": 30}
    assert output.response.additional_kwargs["turn"] == 2
    assert says.prompts[1].startswith("That did not fit: days: ")
    found = [event.tool_output.content for event in events if isinstance(event, ToolCallResult)]
    assert ["Passage 1." in found[0], "Passage 2." in found[1]] == [True, True]
    later, _ = await _run(
        agent, "Really?", ctx=Context.from_dict(agent, ctx.to_dict(JsonSerializer()), JsonSerializer())
    )
    assert later.response.additional_kwargs["turn"] == 3
    assert len([one async for one in client.list()]) == 1


async def test_a_run_whose_answers_do_not_fit_raises_with_the_last_one(aserve: AServe) -> None:
    agent = LlamaCloudAgent(async_client=aserve(Says("no", "no!")), output_cls=Days)
    with pytest.raises(StructuredOutputError) as caught:
        await agent.run("How many?")
    assert caught.value.answer == "It is so: no!"


async def test_a_member_of_a_workflow_fills_its_output_class(aserve: AServe) -> None:
    knows = LlamaCloudAgent("Researcher", "Knows.", async_client=aserve(Says(JSON)), output_cls=Days)
    workflow = AgentWorkflow([writer(), knows], root_agent="Writer")
    output, events = await _run(workflow, "How many?")
    assert (output.current_agent_name, output.structured_response) == ("Researcher", {"days": 30})
    assert len([event for event in events if isinstance(event, AgentStreamStructuredOutput)]) <= 1


async def test_copies_of_an_agent_keep_its_output_class(aserve: AServe) -> None:
    agent = copy.copy(LlamaCloudAgent(async_client=aserve(Says(JSON)), output_cls=Days))
    output: AgentOutput = await agent.run("How many?")
    assert output.structured_response == {"days": 30}


def test_a_query_gives_what_other_engines_give(serve: Serve) -> None:
    says = Says('{"days": -1}', JSON)
    answer = LlamaCloudQueryEngine(serve(says), output_cls=Days).query("How many?")
    assert isinstance(answer, PydanticResponse)
    assert answer.response == Days(days=30)
    assert answer.days == 30
    assert str(answer) == '{"days":30}'
    assert [node.get_content() for node in answer.source_nodes] == ["Passage 1.", "Passage 2."]
    assert answer.metadata is not None
    assert (answer.metadata["turn"], answer.metadata["usage"]["turns"]) == (2, 4)
    assert answer.metadata["session_id"]


async def test_queries_may_be_asynchronous_and_through_a_tool(serve: Serve) -> None:
    client = serve(Says(JSON))
    async with client.as_async() as async_client:
        engine = LlamaCloudQueryEngine(client, async_client=async_client, output_cls=Days, keep_sessions=False)
        answers = await asyncio.gather(engine.aquery("How many?"), engine.aquery("And now?"))
    assert [answer.response for answer in answers] == [Days(days=30)] * 2
    tool = QueryEngineTool.from_defaults(engine, name="handbook", description="Knows about work.")
    assert str(tool.call("How many?")) == '{"days":30}'
    assert [*client.list()] == []


def test_a_query_whose_answers_do_not_fit_raises_with_the_last_one(serve: Serve) -> None:
    engine = LlamaCloudQueryEngine(serve(Says("no", "no!")), output_cls=Days)
    with pytest.raises(StructuredOutputError) as caught:
        engine.query("How many?")
    assert caught.value.answer == "It is so: no!"


def test_an_engine_with_an_output_class_travels(serve: Serve) -> None:
    client = serve(Says(JSON))
    engine = LlamaCloudQueryEngine(client, output_cls=Days)
    assert copy.copy(engine).query("How many?").response == Days(days=30)
    assert pickle.loads(pickle.dumps(engine))._output_cls is Days


def test_what_cannot_work_is_refused_at_once(serve: Serve) -> None:
    client = serve(Says(JSON))

    class Nothing(BaseModel):
        pass

    with pytest.raises(ConfigurationError, match=r"derives from pydantic\.BaseModel"):
        LlamaCloudQueryEngine(client, output_cls=dict[str, int])  # type: ignore[arg-type]
    for wrong in (Nothing, {"type": "object"}, Days(days=1)):
        with pytest.raises(ConfigurationError):
            LlamaCloudQueryEngine(client, output_cls=wrong)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError):
            LlamaCloudAgent(client=client, output_cls=wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="streaming"):
        LlamaCloudQueryEngine(client, output_cls=Days, streaming=True)
    with pytest.raises(ConfigurationError, match="sub-agent: AgentWorkflow"):
        LlamaCloudAgent(client=client, tools=[print])
