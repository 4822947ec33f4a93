"""The workflow agent: alone, with others, over several runs, cancelled, and refused what it cannot do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.agent.workflow import (
    AgentOutput,
    AgentStream,
    AgentWorkflow,
    FunctionAgent,
    ToolCall,
    ToolCallResult,
)
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.memory import ChatMemoryBuffer, Memory, StaticMemoryBlock
from llama_index.core.workflow import Context, JsonPickleSerializer, JsonSerializer
from pydantic import BaseModel

from llama_cloud_chat import AsyncChatClient, ConfigurationError, TurnFailedError
from llama_index_ext import LlamaCloudAgent, LlamaCloudChatEngine
from tests.llama_index.harness import WAIT, Gate, HoldingService, echo, failing, researcher, text_of
from tests.llama_index.models import Says, Writer

# LlamaIndex's workflows look at every attribute of an agent, among them pydantic's deprecated ones.
# They cannot serialise a memory, and say so between two runs of one context.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Skipping serialization of known unserializable key"),
]

AServe = Callable[..., AsyncChatClient]
Hold = Callable[..., HoldingService]

WHOLE = "There are 30 days.\n\nThey expire."


def writer(**options: Any) -> Any:
    return FunctionAgent(name="Writer", description="Writes.", llm=Writer(), **options)


async def _run(agent: Any, *args: Any, **options: Any) -> tuple[AgentOutput, list[Any]]:
    handler = agent.run(*args, **options)
    events = [event async for event in handler.stream_events()]
    return await handler, events


async def _turns(client: AsyncChatClient) -> dict[str, int]:
    return {one.session_id: len((await client.retrieve(one.session_id)).turns) async for one in client.list()}


async def test_a_run_streams_thinking_text_and_server_tools(aserve: AServe) -> None:
    agent = LlamaCloudAgent(async_client=aserve(researcher))
    output, events = await _run(agent, "How many?")
    assert str(output) == WHOLE
    streamed = [event for event in events if isinstance(event, AgentStream)]
    assert "".join(event.delta for event in streamed) == WHOLE == streamed[-1].response
    assert "".join(event.thinking_delta or "" for event in streamed) == "Let me look."
    assert {event.current_agent_name for event in streamed} == {"LlamaCloud"}
    kinds = [type(event) for event in events if isinstance(event, (ToolCall, ToolCallResult))]
    assert kinds == [ToolCall, ToolCallResult, ToolCall, ToolCallResult]
    call, result = (event for event in events if getattr(event, "tool_id", "") == "c1")
    assert (call.tool_name, call.tool_kwargs) == ("retrieve", {"query": "leave"})
    assert result.tool_output.raw_output["results"][0]["content"] == "Everyone has 30 days of leave."


async def test_the_output_lists_the_tool_calls_which_are_not_run_again(aserve: AServe) -> None:
    output, events = await _run(LlamaCloudAgent(async_client=aserve(researcher)), "How many?")
    assert [call.tool_name for call in output.tool_calls] == ["retrieve", "grep"]
    assert sum(isinstance(event, ToolCallResult) for event in events) == 2
    again, _ = await _run(LlamaCloudAgent(async_client=aserve(echo)), "a")
    assert again.tool_calls == []


async def test_without_streaming_only_tools_are_told(aserve: AServe) -> None:
    agent = LlamaCloudAgent(async_client=aserve(researcher), streaming=False)
    output, events = await _run(agent, "How many?")
    assert str(output) == WHOLE
    assert not any(isinstance(event, AgentStream) for event in events)
    assert any(isinstance(event, ToolCallResult) for event in events)


async def test_the_session_lives_in_the_context(aserve: AServe) -> None:
    client = aserve(echo)
    agent = LlamaCloudAgent(async_client=client)
    context = Context(agent)
    for number, prompt in enumerate("ab", 1):
        output, _ = await _run(agent, prompt, ctx=context)
        assert str(output) == f"{number}: {prompt}"
    session_id = await context.store.get("session_id")
    assert await _turns(client) == {session_id: 2}


async def test_the_session_survives_the_contexts_serialisation(aserve: AServe) -> None:
    client = aserve(echo)
    agent = LlamaCloudAgent(async_client=client, system_prompt="Be brief.")
    context = Context(agent)
    await _run(agent, "a", ctx=context, memory=ChatMemoryBuffer.from_defaults())
    other = LlamaCloudAgent(async_client=client, system_prompt="Be brief.")
    restored = Context.from_dict(other, context.to_dict())
    output, _ = await _run(other, "b", ctx=restored, memory=ChatMemoryBuffer.from_defaults())
    assert str(output) == "2: b"
    assert len(await _turns(client)) == 1


async def test_the_contexts_session_is_used_where_memory_was_dropped(aserve: AServe) -> None:
    client = aserve(echo)
    agent = LlamaCloudAgent(async_client=client, system_prompt="Be brief.")
    context = Context(agent)
    await _run(agent, "a", ctx=context)
    await context.store.set("memory", None)
    output, _ = await _run(agent, "b", ctx=context)
    assert str(output) == "2: b"


async def test_without_a_context_every_run_has_a_session_of_its_own(aserve: AServe) -> None:
    client = aserve(echo)
    agent = LlamaCloudAgent(async_client=client)
    assert [str((await _run(agent, prompt))[0]) for prompt in "ab"] == ["1: a", "1: b"]
    assert len(await _turns(client)) == 2


async def test_a_named_session_is_gone_on_in(aserve: AServe) -> None:
    client = aserve(echo)
    engine = LlamaCloudChatEngine(async_client=client)
    await engine.achat("a")
    agent = LlamaCloudAgent(async_client=client, session_id=engine.session_id)
    assert str((await _run(agent, "b"))[0]) == "2: b"
    assert await _turns(client) == {engine.session_id: 2}


async def test_messages_that_carry_a_session_come_before_all_others(aserve: AServe) -> None:
    client = aserve(echo)
    engine = LlamaCloudChatEngine(async_client=client)
    await engine.achat("a")
    agent = LlamaCloudAgent(async_client=client, session_id=(await client.create()).session_id)
    output, _ = await _run(agent, "b", chat_history=engine.chat_history)
    assert str(output) == "2: b"
    assert output.response.additional_kwargs["session_id"] == engine.session_id


async def test_the_answer_is_in_memory_afterwards(aserve: AServe) -> None:
    memory = ChatMemoryBuffer.from_defaults()
    agent = LlamaCloudAgent(async_client=aserve(researcher))
    output, _ = await _run(agent, "How many?", memory=memory)
    messages = memory.get_all()
    assert [message.content for message in messages] == ["How many?", WHOLE]
    assert messages[-1] == output.response
    assert messages[-1].additional_kwargs["turn"] == 1


async def test_memory_is_continued_by_its_last_answer(aserve: AServe) -> None:
    client = aserve(echo)
    memory = ChatMemoryBuffer.from_defaults()
    agent = LlamaCloudAgent(async_client=client)
    for number, prompt in enumerate("ab", 1):
        assert str((await _run(agent, prompt, memory=memory))[0]) == f"{number}: {prompt}"
    assert len(await _turns(client)) == 1


async def test_no_model_is_needed(aserve: AServe, monkeypatch: pytest.MonkeyPatch) -> None:
    from llama_index.core.settings import Settings

    def resolve(_: Any) -> Any:
        raise AssertionError("a model was asked for")

    monkeypatch.setattr(type(Settings), "llm", property(resolve))
    assert str((await _run(LlamaCloudAgent(async_client=aserve(echo)), "a"))[0]) == "1: a"


async def test_a_failed_turn_raises(aserve: AServe) -> None:
    handler = LlamaCloudAgent(async_client=aserve(failing)).run("a")
    text = "".join([event.delta async for event in _streams(handler)])
    assert text == "So far "
    with pytest.raises(TurnFailedError, match="on fire"):
        await handler


async def _streams(handler: Any) -> Any:
    try:
        async for event in handler.stream_events():
            if isinstance(event, AgentStream):
                yield event
    except TurnFailedError:
        pass


async def test_cancelling_the_run_closes_the_connection(hold: Hold) -> None:
    service = hold(text_of(["one"]))
    async with AsyncChatClient("key", base_url=service.base_url) as client:
        handler = LlamaCloudAgent(async_client=client).run("a")
        assert await asyncio.to_thread(service.held.wait, WAIT)
        await handler.cancel_run()
        assert await asyncio.to_thread(service.left.wait, WAIT)
        with pytest.raises(BaseException):  # noqa: B017  # which one depends on the version
            await asyncio.wait_for(handler, WAIT)


async def test_a_system_prompt_is_told_once(aserve: AServe) -> None:
    agent = LlamaCloudAgent(async_client=aserve(echo), system_prompt="Be brief.")
    context = Context(agent)
    first, _ = await _run(agent, "a", ctx=context)
    assert "> Be brief." in str(first)
    assert str(first).endswith("a")
    assert str((await _run(agent, "b", ctx=context))[0]) == "2: b"


async def test_the_initial_state_is_told_with_the_prompt(aserve: AServe) -> None:
    agent = LlamaCloudAgent(async_client=aserve(echo), initial_state={"team": "people"})
    assert "people" in str((await _run(agent, "Who?"))[0])


class Days(BaseModel):
    days: int


async def test_an_output_class_is_filled_by_the_model_that_is_given(aserve: AServe) -> None:
    agent = LlamaCloudAgent(async_client=aserve(researcher), output_cls=Days, llm=Says(answer='{"days": 30}'))
    output, _ = await _run(agent, "How many?")
    assert str(output) == WHOLE
    assert output.get_pydantic_model(Days) == Days(days=30)


async def test_an_output_function_needs_no_model(aserve: AServe) -> None:
    def count(messages: list[ChatMessage]) -> dict[str, Any]:
        return {"days": int("30" in (messages[-1].content or "")) * 30}

    agent = LlamaCloudAgent(async_client=aserve(researcher), structured_output_fn=count)
    output, _ = await _run(agent, "How many?")
    assert output.structured_response == {"days": 30}


async def test_what_cannot_work_is_refused_with_the_reason(aserve: AServe) -> None:
    client = aserve(echo)

    def local(x: int) -> int:
        return x

    with pytest.raises(ConfigurationError, match="cannot call what runs here"):
        LlamaCloudAgent(async_client=client, tools=[local])
    with pytest.raises(ConfigurationError, match="must be a class of pydantic"):
        LlamaCloudAgent(async_client=client, output_cls=dict)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="must name one agent"):
        LlamaCloudAgent(async_client=client, can_handoff_to=["a", "b"])
    with pytest.raises(ConfigurationError, match=r"does not take api_key, outputcls\. What says whom to ask"):
        LlamaCloudAgent(async_client=client, api_key="key", outputcls=Days)
    with pytest.raises(ConfigurationError, match="Pass the client as async_client="):
        LlamaCloudAgent(client)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="Pass the client as client="):
        LlamaCloudAgent("Researcher", client.as_sync())  # type: ignore[arg-type]


async def test_what_llamaindex_takes_of_an_agent_is_taken(aserve: AServe) -> None:
    class Mine(LlamaCloudAgent):
        """An agent with a field of its own."""

        team: str = ""

    options = {"initial_state": {"a": 1}, "state_prompt": "{state} {msg}", "timeout": 3.0, "verbose": False}
    agent = Mine(async_client=aserve(echo), team="people", streaming=False, num_concurrent_runs=2, **options)
    assert (agent.team, agent.streaming, agent.initial_state) == ("people", False, {"a": 1})


async def test_a_workflows_output_class_that_needs_a_model_is_said_to_belong_to_the_agent(aserve: AServe) -> None:
    agent = LlamaCloudAgent(async_client=aserve(echo))
    with pytest.warns(UserWarning, match="the agent's own, not its workflow's"):
        await AgentWorkflow([agent], root_agent="LlamaCloud", output_cls=Days).run("a")


async def test_it_is_handed_to_and_answers_the_users_request(aserve: AServe) -> None:
    client = aserve(echo)
    knows = LlamaCloudAgent("Researcher", "Knows.", async_client=client)
    workflow = AgentWorkflow([writer(), knows], root_agent="Writer")
    output, events = await _run(workflow, "How many days?")
    assert (output.current_agent_name, str(output)) == ("Researcher", "1: How many days?")
    calls = [event.tool_name for event in events if isinstance(event, ToolCall)]
    assert calls == ["handoff"]


async def test_it_hands_back_where_it_is_told_to(aserve: AServe) -> None:
    client = aserve(researcher)
    knows = LlamaCloudAgent("Researcher", "Knows.", async_client=client, can_handoff_to=["Writer"])
    writes = writer(can_handoff_to=["Researcher"])
    workflow = AgentWorkflow([writes, knows], root_agent="Writer")
    output, events = await _run(workflow, "Write a note.")
    assert (output.current_agent_name, str(output)) == ("Writer", f"Note: {WHOLE}")
    seen = [message.content for message in writes.llm.seen[-1]]
    assert seen[0] == "Write a note."
    assert seen[-2] == WHOLE
    assert "Researcher has answered." in (seen[-1] or "")
    results = [event.tool_name for event in events if isinstance(event, ToolCallResult)]
    assert results == ["handoff", "retrieve", "grep", "handoff"]


async def test_two_remote_agents_keep_their_sessions_apart(aserve: AServe) -> None:
    client = aserve(echo)
    first = LlamaCloudAgent("First", "Begins.", async_client=client, can_handoff_to=["Second"])
    second = LlamaCloudAgent("Second", "Ends.", async_client=client)
    workflow = AgentWorkflow([first, second], root_agent="First")
    context = Context(workflow)
    output, _ = await _run(workflow, "Go.", ctx=context)
    assert output.current_agent_name == "Second"
    assert "> 1: Go." in str(output)
    assert str(output).endswith("\nGo.")
    assert "handling the request" not in str(output)
    sessions = await context.store.get("session_ids")
    assert sessions["First"] != sessions["Second"]
    assert await _turns(client) == dict.fromkeys(sessions.values(), 1)


async def test_alone_it_does_not_hand_over(aserve: AServe) -> None:
    agent = LlamaCloudAgent(async_client=aserve(echo), can_handoff_to=["Nobody"])
    output, events = await _run(agent, "a")
    assert str(output) == "1: a"
    assert not any(isinstance(event, ToolCall) for event in events)


async def test_an_agent_shows_no_secret(aserve: AServe) -> None:
    client = aserve(echo)
    agent = LlamaCloudAgent(async_client=client)
    key = client.config.api_key.get_secret_value()
    context = Context(agent)
    await _run(agent, "a", ctx=context)
    assert key not in repr(agent)
    assert key not in str(context.to_dict())


@pytest.mark.rule("design-4")
async def test_two_runs_from_one_restored_context_fork(aserve: AServe) -> None:
    client = aserve(echo)
    agent = LlamaCloudAgent(async_client=client, system_prompt="Be brief.")
    context = Context(agent)
    await _run(agent, "a", ctx=context)
    kept = json.loads(json.dumps(context.to_dict()))
    branches = [Context.from_dict(agent, kept) for _ in range(2)]
    assert str((await _run(agent, "b", ctx=branches[0]))[0]) == "2: b"
    other = str((await _run(agent, "c", ctx=branches[1]))[0])
    assert other.startswith("1: ")
    assert all(told in other for told in ("> Be brief.", "> a", "> 1: This conversation"))
    assert "> b" not in other
    assert sorted((await _turns(client)).values()) == [1, 2]
    assert str((await _run(agent, "d", ctx=branches[0]))[0]) == "3: d"
    assert str((await _run(agent, "e", ctx=branches[1]))[0]) == "2: e"


@pytest.mark.rule("design-4")
async def test_a_context_whose_session_was_deleted_goes_on(aserve: AServe) -> None:
    client = aserve(echo)
    agent = LlamaCloudAgent(async_client=client)
    context = Context(agent)
    await _run(agent, "a", ctx=context)
    await client.delete(await context.store.get("session_id"))
    restored = Context.from_dict(agent, context.to_dict())
    for ctx in (context, restored):
        answer = str((await _run(agent, "b", ctx=ctx))[0])
        assert "> a" in answer
        assert answer.endswith("b")


async def test_a_changed_system_prompt_reaches_the_agent(aserve: AServe) -> None:
    agent = LlamaCloudAgent(async_client=aserve(echo), system_prompt="Be brief.")
    context = Context(agent)
    await _run(agent, "a", ctx=context)
    agent.system_prompt = "Be kind."
    second = str((await _run(agent, "b", ctx=context))[0])
    assert second.startswith("2: ")
    assert "> Be kind." in second
    assert str((await _run(agent, "c", ctx=context))[0]) == "3: c"


async def test_a_memory_block_reaches_the_agent_in_every_turn(aserve: AServe) -> None:
    memory = Memory.from_defaults(session_id="s", memory_blocks=[StaticMemoryBlock(static_content="Ann is new.")])
    agent = LlamaCloudAgent(async_client=aserve(echo))
    first = str((await _run(agent, "a", memory=memory))[0])
    assert "Ann is new." in first
    assert str((await _run(agent, "b", memory=memory))[0]) == "2: b"  # it has been told, and holds
    memory.memory_blocks[0].static_content = [TextBlock(text="Ann has left.")]  # type: ignore[attr-defined]
    third = str((await _run(agent, "c", memory=memory))[0])
    assert third.startswith("3: ")
    assert "Ann has left." in third
    await memory.sql_store._async_engine.dispose()  # type: ignore[union-attr]


async def _cancel(agent: LlamaCloudAgent, gate: Gate) -> tuple[Context, dict[str, Any]]:
    """Ask, and cancel the run in mid-turn; return its Context, and what that was in mid-run."""
    context = Context(agent)
    handler = agent.run("a", ctx=context)
    assert await asyncio.to_thread(gate.waiting.wait, WAIT)
    written = context.to_dict()
    await handler.cancel_run()
    with pytest.raises(BaseException):  # noqa: B017  # which one depends on the version
        await asyncio.wait_for(handler, WAIT)
    gate.open.set()
    return context, written


async def _cancelled(agent: LlamaCloudAgent, gate: Gate, serializer: JsonSerializer | None = None) -> Context:
    context, _ = await _cancel(agent, gate)
    if serializer is None:
        return context
    return Context.from_dict(agent, json.loads(json.dumps(context.to_dict(serializer))), serializer)


PLACES = pytest.mark.parametrize(
    "serializer", [None, JsonSerializer(), JsonPickleSerializer()], ids=["here", "restored", "restored from pickles"]
)


@pytest.mark.rule("design-3")
@PLACES
async def test_a_run_cancelled_in_mid_turn_asks_once(aserve: AServe, serializer: JsonSerializer | None) -> None:
    gate = Gate()
    client = aserve(gate)
    agent = LlamaCloudAgent(async_client=client)
    context = await _cancelled(agent, gate, serializer)
    output, _ = await _run(agent, "a", ctx=context)
    assert str(output) == "a one two"
    assert list((await _turns(client)).values()) == [1]


@PLACES
async def test_a_run_after_a_cancelled_one_answers_its_own_question(
    aserve: AServe, serializer: JsonSerializer | None
) -> None:
    gate = Gate()
    agent = LlamaCloudAgent(async_client=aserve(gate))
    context = await _cancelled(agent, gate, serializer)
    answers = [str((await _run(agent, prompt, ctx=context))[0]) for prompt in "bc"]
    kept = isinstance(serializer, JsonPickleSerializer)  # with the memory, which knows what was left unanswered
    assert answers == ["a\n\nb one two" if kept else "b one two", "c one two"]


async def test_a_context_keeps_its_state_and_its_serializer_over_runs(aserve: AServe) -> None:
    agent = LlamaCloudAgent(async_client=aserve(echo))
    context = Context.from_dict(agent, {}, JsonPickleSerializer())
    await context.store.set("theirs", frozenset("x"))  # which JSON cannot hold
    for prompt in "ab":
        await _run(agent, prompt, ctx=context)
    assert await context.store.get("theirs") == frozenset("x")


async def test_a_second_run_in_a_context_that_runs_is_refused_and_disturbs_nothing(aserve: AServe) -> None:
    gate = Gate()
    agent = LlamaCloudAgent(async_client=aserve(gate))
    context = Context(agent)
    handler = agent.run("a", ctx=context)
    assert await asyncio.to_thread(gate.waiting.wait, WAIT)
    with pytest.raises(Exception, match="already running"):
        agent.run("b", ctx=context)
    gate.open.set()
    assert str(await handler) == "a one two"


async def test_a_context_written_down_in_mid_run_goes_on_with_that_run(aserve: AServe) -> None:
    gate = Gate()
    client = aserve(gate)
    agent = LlamaCloudAgent(async_client=client)
    _, written = await _cancel(agent, gate)
    output, _ = await _run(agent, ctx=Context.from_dict(agent, json.loads(json.dumps(written))))
    assert str(output) == "a one two"
    assert list((await _turns(client)).values()) == [1]


async def test_a_key_names_a_runs_question(aserve: AServe) -> None:
    client = aserve(echo)
    agent = LlamaCloudAgent(async_client=client)
    assert [str((await _run(agent, "a", key="q1"))[0]) for _ in range(2)] == ["1: a", "1: a"]
    assert list((await _turns(client)).values()) == [1]


@pytest.mark.rule("design-12")
async def test_a_key_of_the_request_names_every_question_of_a_teams_run(aserve: AServe) -> None:
    client = aserve(echo)

    def team() -> AgentWorkflow:
        first = LlamaCloudAgent("First", "Begins.", async_client=client, can_handoff_to=["Second"])
        second = LlamaCloudAgent("Second", "Ends.", async_client=client)
        return AgentWorkflow([first, second], root_agent="First")

    request = ChatMessage(role="user", content="Go.", additional_kwargs={"question_key": "q1"})
    answers = [str((await _run(team(), request.model_copy(deep=True)))[0]) for _ in range(2)]
    assert answers[0] == answers[1]
    assert sorted((await _turns(client)).values()) == [1, 1]
    other = str((await _run(team(), "Go."))[0])
    assert other == answers[0]
    assert sorted((await _turns(client)).values()) == [1, 1, 1, 1]


def test_two_agents_without_a_name_are_refused_in_one_workflow(aserve: AServe) -> None:
    first, second = (LlamaCloudAgent(async_client=aserve(echo)) for _ in range(2))
    with pytest.raises(ConfigurationError, match=r"Give each LlamaCloudAgent of a workflow a name= of its own"):
        AgentWorkflow([first, second], root_agent="LlamaCloud")
    assert AgentWorkflow([first, writer()], root_agent="LlamaCloud").agents["LlamaCloud"] is first
    assert (first.name, repr(first.name)) == ("LlamaCloud", "'LlamaCloud'")


async def test_other_agents_are_told_with_their_names(aserve: AServe) -> None:
    first = LlamaCloudAgent("First", "Begins.", async_client=aserve(echo), can_handoff_to=["Second"])
    second = LlamaCloudAgent("Second", "Ends.", async_client=aserve(echo))
    output, _ = await _run(AgentWorkflow([first, second], root_agent="First"), "Go.")
    assert "[assistant First]\n> 1: Go." in str(output) or "First" in str(output)


async def test_a_picture_in_the_request_is_refused(aserve: AServe) -> None:
    picture = ImageBlock(image=b"\x89PNG\r\n\x1a\n", image_mimetype="image/png")
    message = ChatMessage(role="user", blocks=[TextBlock(text="What is this?"), picture])
    with pytest.raises(ConfigurationError, match="image"):
        await LlamaCloudAgent(async_client=aserve(echo)).run(message)
