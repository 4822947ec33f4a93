"""Answers, events and contexts are plain data: LlamaIndex, FastAPI and pydantic write them down."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.encoders import jsonable_encoder
from llama_index.core.agent.workflow import AgentOutput, AgentWorkflow, FunctionAgent, ToolCallResult
from llama_index.core.base.response.schema import Response
from llama_index.core.chat_engine import CondenseQuestionChatEngine
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.query_engine import RouterQueryEngine
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.tools import FunctionTool, QueryEngineTool
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict
from llama_index.core.workflow import Context, JsonSerializer
from pydantic import TypeAdapter

from llama_cloud_chat import AsyncChatClient, ChatClient
from llama_cloud_chat.local import AgentTurn, WireEvent, speak
from llama_index_ext import LlamaCloudAgent, LlamaCloudChatEngine, LlamaCloudQueryEngine, as_turns
from tests.llama_index.harness import passage, researcher, retrieve
from tests.llama_index.models import Says, Writer

pytestmark = [
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Skipping serialization of known unserializable key"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),
]

Serve = Callable[..., ChatClient]
AServe = Callable[..., AsyncChatClient]

WHOLE = "There are 30 days.\n\nThey expire."


def answers(client: ChatClient) -> list[Any]:
    return [LlamaCloudChatEngine(client).chat("How many?"), LlamaCloudQueryEngine(client).query("How many?")]


def test_answers_are_written_down_as_llamaindexs_own(serve: Serve) -> None:
    for answer in answers(serve(researcher)):
        told = jsonable_encoder(answer)
        assert (told["response"], len(told["source_nodes"])) == (WHOLE, 1)
        kind: Any = TypeAdapter(type(answer))
        written = kind.dump_json(answer)
        assert json.loads(written).keys() == told.keys() == json.loads(TypeAdapter(Any).dump_json(answer)).keys()
        assert "turn" not in told
        assert json.loads(json.dumps(dataclasses.asdict(answer), default=jsonable_encoder))["response"] == WHOLE


def test_answers_come_back_with_their_turn(serve: Serve) -> None:
    for answer in answers(serve(researcher)):
        for again in (copy.deepcopy(answer), pickle.loads(pickle.dumps(answer))):
            assert as_turns(again)[0] == answer.turn
        again = dataclasses.replace(answer)
        turn = as_turns(again)[0]
        assert (turn.text, turn.thinking, turn.number) == (WHOLE, "Let me look.", 1)
        assert turn.usage == answer.turn.usage
        assert turn.session_id == answer.turn.session_id
    assert [run.name for run in dataclasses.replace(answers(serve(researcher))[0]).turn.tool_calls] == [
        "retrieve",
        "grep",
    ]


def test_tools_outputs_are_written_down(serve: Serve) -> None:
    client = serve(researcher)
    tools = [
        FunctionTool.from_defaults(LlamaCloudChatEngine(client).chat, name="ask"),
        QueryEngineTool.from_defaults(LlamaCloudQueryEngine(client), name="handbook"),
    ]
    for tool in tools:
        given = {"message": "How many?"} if tool.metadata.name == "ask" else {"input": "How many?"}
        event = ToolCallResult(
            tool_name="t", tool_kwargs=given, tool_id="1", tool_output=tool.call(**given), return_direct=False
        )
        told = json.loads(event.model_dump_json())
        assert told["tool_output"]["raw_output"]["response"] == WHOLE
        assert JsonSerializer().deserialize(JsonSerializer().serialize(event)).tool_output.content == WHOLE


def pictured(turn: AgentTurn) -> Iterator[WireEvent]:
    picture = {"attachment_name": "screenshots/page_1.jpg", "source_id": "file-1"}
    found = passage("30 days.", attachments=[picture])
    found["metadata"] |= {"tags": ["a", "b"], "owner": {"name": "Ann"}, "is_public": True}
    yield from retrieve("c1", "leave", found)
    yield from speak("text", ["30"])


def test_nodes_go_flat_into_a_vector_store(serve: Serve) -> None:
    answer = LlamaCloudChatEngine(serve(pictured), page_images=True).chat("How many?")
    assert len(answer.source_nodes) == 2
    for found in answer.source_nodes:
        stored = node_to_metadata_dict(found.node, flat_metadata=True)
        assert metadata_dict_to_node(stored).metadata == found.node.metadata
    metadata = answer.source_nodes[0].node.metadata
    assert json.loads(metadata["attachments"])[0]["source_id"] == "file-1"
    assert (json.loads(metadata["tags"]), json.loads(metadata["owner"])) == (["a", "b"], {"name": "Ann"})
    assert metadata["is_public"] is True


async def _run(agent: Any, *args: Any, **options: Any) -> tuple[AgentOutput, list[Any]]:
    handler = agent.run(*args, **options)
    events = [event async for event in handler.stream_events()]
    return await handler, events


async def test_an_agents_tools_and_its_run_have_their_source_nodes(aserve: AServe) -> None:
    output, events = await _run(LlamaCloudAgent(async_client=aserve(researcher)), "How many?")
    results = [event for event in events if isinstance(event, ToolCallResult)]
    # This is how LlamaIndex's user interfaces and examples read them.
    assert [[node.text for node in one.tool_output.raw_output.source_nodes] for one in results] == [
        ["Everyone has 30 days of leave."],
        [],
    ]
    assert [node for one in output.tool_calls for node in one.tool_output.raw_output.source_nodes]  # type: ignore[attr-defined]
    assert [node.text for node in output.source_nodes] == ["Everyone has 30 days of leave."]
    told = json.loads(results[0].model_dump_json())["tool_output"]["raw_output"]
    assert told["source_nodes"][0]["node"]["text"] == "Everyone has 30 days of leave."
    assert told["results"][0]["content"] == "Everyone has 30 days of leave."
    assert "Everyone has 30 days" in json.dumps(json.loads(output.model_dump_json())["_data"]["source_nodes"])
    again = AgentOutput.model_validate_json(output.model_dump_json())
    assert str(again) == WHOLE
    raw = pickle.loads(pickle.dumps(results[0].tool_output)).raw_output
    assert raw.source_nodes == results[0].tool_output.raw_output.source_nodes


async def test_a_run_is_a_turn_with_its_sources(aserve: AServe) -> None:
    output, _ = await _run(LlamaCloudAgent(async_client=aserve(researcher)), "How many?")
    (turn,) = as_turns(output)
    assert turn.text == WHOLE
    assert [source.text for source in turn.sources] == ["Everyone has 30 days of leave."]
    assert [run.name for run in turn.tool_calls] == ["retrieve", "grep"]


async def test_a_teams_run_has_the_sources_of_all_its_agents(aserve: AServe) -> None:
    knows = LlamaCloudAgent("Researcher", "Knows.", async_client=aserve(researcher), can_handoff_to=["Writer"])
    writes = FunctionAgent(name="Writer", description="Writes.", llm=Writer(), can_handoff_to=["Researcher"])
    output, _ = await _run(AgentWorkflow([writes, knows], root_agent="Writer"), "Write a note.")
    (turn,) = as_turns(output)
    assert turn.text == f"Note: {WHOLE}"
    assert [source.text for source in turn.sources] == ["Everyone has 30 days of leave."]


async def test_a_context_is_written_down_while_a_run_is_at_work(aserve: AServe) -> None:
    agent = LlamaCloudAgent(async_client=aserve(researcher))
    context = Context(agent)
    handler = agent.run("How many?", ctx=context)
    async for event in handler.stream_events():
        if isinstance(event, (ToolCallResult, AgentOutput)):
            json.dumps(context.to_dict(serializer=JsonSerializer()))
    await handler
    json.dumps(context.to_dict(serializer=JsonSerializer()))


def test_a_streaming_query_has_its_nodes_when_it_is_returned(serve: Serve) -> None:
    engine = LlamaCloudQueryEngine(serve(researcher), streaming=True)
    memory = ChatMemoryBuffer.from_defaults(token_limit=1000)
    chat = CondenseQuestionChatEngine.from_defaults(engine, llm=Says(answer="How many?"), memory=memory)
    answer = chat.stream_chat("How many?")
    assert [node.text for node in answer.source_nodes] == ["Everyone has 30 days of leave."]
    assert "".join(answer.response_gen).strip() == WHOLE


def test_a_router_keeps_a_streaming_querys_metadata(serve: Serve) -> None:
    choice = Says(answer='[{"choice": 1, "reason": "It knows."}]')
    tool = QueryEngineTool.from_defaults(
        LlamaCloudQueryEngine(serve(researcher), streaming=True), name="handbook", description="Answers."
    )
    answer: Any = RouterQueryEngine(LLMSingleSelector.from_defaults(llm=choice), [tool], llm=choice).query("How many?")
    assert answer.get_response().metadata["usage"]["total_output_tokens"] > 0
    assert answer.metadata["turn"] == 1
    assert isinstance(answer.get_response(), Response)
