"""The agent as another model's tool, and its sources as documents."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import subprocess
import sys
from typing import Any

import pytest
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import ToolException
from langchain_core.tracers.context import collect_runs
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_ext import ChatLlamaCloud, LlamaCloudChatTool, sources_as_documents
from langchain_ext._threads import Threads
from langchain_ext.tools import Question
from llama_cloud_chat import AsyncChatClient, ChatClient, TurnFailedError
from llama_cloud_chat.local import LocalService

from .harness import Driver, added_up, driver


@pytest.fixture
def tool(client: ChatClient) -> LlamaCloudChatTool:
    return LlamaCloudChatTool(client=client)


def ask(tool: LlamaCloudChatTool, question: str, thread: str | None = None) -> ToolMessage:
    call = {"name": tool.name, "args": {"question": question}, "id": "1", "type": "tool_call"}
    config: Any = {"configurable": {"thread_id": thread}} if thread else None
    message = tool.invoke(call, config)
    assert isinstance(message, ToolMessage)
    return message


def test_the_answer_is_the_content_and_the_sources_are_the_artifact(tool: LlamaCloudChatTool) -> None:
    message = ask(tool, "think, look, answer")
    assert message.content == "30 days."
    assert [source["file_name"] for source in message.artifact] == ["leave.md"]
    assert tool.invoke("text alone") == "Hello"


async def test_it_is_native_to_asyncio(client: ChatClient, async_client: AsyncChatClient) -> None:
    tool = LlamaCloudChatTool(client=client, async_client=async_client)
    assert await tool.ainvoke({"question": "text alone"}) == "Hello"


def test_the_driving_model_sees_the_users_words(client: ChatClient) -> None:
    tool = LlamaCloudChatTool(client=client, name="ask_handbook", description="Knows the handbook.")
    assert (tool.name, tool.description) == ("ask_handbook", "Knows the handbook.")
    shown = convert_to_openai_tool(tool)["function"]["parameters"]
    assert list(shown["properties"]) == shown["required"] == ["question"]


def test_each_thread_has_a_session_and_each_call_outside_of_one(tool: LlamaCloudChatTool) -> None:
    assert ask(tool, "one", "a").content == "turn 1: one"
    assert ask(tool, "two", "a").content == "turn 2: two"
    assert ask(tool, "one", "b").content == "turn 1: one"
    assert ask(copy.deepcopy(tool), "three", "a").content == "turn 3: three"
    assert ask(tool, "one").content == "turn 1: one"
    assert ask(tool, "two").content == "turn 1: two"


def test_a_session_per_call_can_be_asked_for(client: ChatClient) -> None:
    tool = LlamaCloudChatTool(client=client, session_per="call")
    assert ask(tool, "one", "a").content == "turn 1: one"
    assert ask(tool, "two", "a").content == "turn 1: two"


def test_parallel_questions_of_one_thread_are_all_answered(tool: LlamaCloudChatTool) -> None:
    ask(tool, "zero", "a")
    call = {"name": tool.name, "id": "1", "type": "tool_call"}
    answers = tool.batch(
        [{**call, "args": {"question": word}} for word in ("one", "two", "three")],
        {"configurable": {"thread_id": "a"}},
    )
    assert [answer.content.splitlines()[-1][-5:].split()[-1] for answer in answers] == ["one", "two", "three"]


def test_sessions_need_not_be_kept(client: ChatClient) -> None:
    before = {summary.session_id for summary in client.list()}
    tool = LlamaCloudChatTool(client=client, keep_sessions=False)
    ask(tool, "one", "a")
    assert "turn 1: one" in ask(tool, "two", "a").content
    assert {summary.session_id for summary in client.list()} <= before


def test_the_agents_error_reaches_the_driver(tool: LlamaCloudChatTool) -> None:
    with pytest.raises(TurnFailedError):
        ask(tool, "an error")


def test_a_pickled_tool_leaves_the_key_behind(
    tool: LlamaCloudChatTool, service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    pickled = pickle.dumps(tool)
    assert service.api_key.encode() not in pickled
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", service.api_key)
    arrived: LlamaCloudChatTool = pickle.loads(pickled)
    assert ask(arrived, "text alone").content == "Hello"
    arrived._clients.client.close()
    assert arrived._clients is not tool._clients
    assert service.api_key not in repr(tool)


def calling(tool: LlamaCloudChatTool, **questions: str) -> AIMessage:
    """Return a message that asks the tool questions, by the ids of the calls."""
    return AIMessage(
        "",
        tool_calls=[
            {"name": tool.name, "args": {"question": asked}, "id": call_id} for call_id, asked in questions.items()
        ],
    )


def drive(tool: LlamaCloudChatTool, question: str = "think, look, answer") -> Driver:
    return driver(calling(tool, c1=question), AIMessage("It is 30 days."))


def told(state: Any) -> list[ToolMessage]:
    return [message for message in state["messages"] if isinstance(message, ToolMessage)]


def test_another_model_drives_it(client: ChatClient) -> None:
    agents = pytest.importorskip("langchain.agents")
    tool = LlamaCloudChatTool(client=client, name="ask_handbook", description="Knows the handbook.")
    agent = agents.create_agent(drive(tool), tools=[tool])
    state = agent.invoke({"messages": [HumanMessage("How many days of leave?")]})
    (answer,) = told(state)
    assert answer.content == "30 days."
    assert sources_as_documents(answer)[0].metadata["file_name"] == "leave.md"
    assert state["messages"][-1].content == "It is 30 days."


def test_sources_become_documents(model: ChatLlamaCloud) -> None:
    for answer in (model.invoke("think, look, answer"), added_up(model.stream("think, look, answer"))):
        (document,) = sources_as_documents(answer)
        assert document.page_content == "Everyone has 30 days of leave."
        assert document.metadata == {
            "file_name": "leave.md",
            "file_id": "file-1",
            "page_start": 2,
            "page_end": 3,
            "start_char": 10,
            "end_char": 40,
            "score": 3.5,
            "rerank_score": 0.75,
            "metadata": {"file_name": "leave.md", "team": "people"},
            "attachments": [{"attachment_name": "screenshots/page_2.jpg", "source_id": "file-1", "type": "screenshot"}],
            "tool_call_id": "c1",
        }


def test_a_message_without_sources_has_no_documents() -> None:
    assert sources_as_documents(HumanMessage("Hi")) == sources_as_documents(ToolMessage("Hi", tool_call_id="1")) == []


def test_it_runs_without_a_config(tool: LlamaCloudChatTool) -> None:
    assert tool.run("text alone") == "Hello"
    assert tool.run({"question": "text alone"}) == "Hello"


async def test_it_runs_without_a_config_for_asyncio(client: ChatClient, async_client: AsyncChatClient) -> None:
    tool = LlamaCloudChatTool(client=client, async_client=async_client)
    assert await tool.arun("text alone") == "Hello"


def test_its_run_has_a_child_that_counts_its_tokens(tool: LlamaCloudChatTool) -> None:
    with collect_runs() as runs, get_usage_metadata_callback() as usage:
        tool.invoke("think, look, answer")
    (run,) = runs.traced_runs
    (child,) = run.child_runs
    assert (run.run_type, child.run_type, child.extra["metadata"]["ls_provider"]) == ("tool", "llm", "llama_cloud")
    assert usage.usage_metadata["llama-cloud-chat"]["total_tokens"] == 12


def test_it_streams_from_inside_a_graph(tool: LlamaCloudChatTool) -> None:
    agents = pytest.importorskip("langchain.agents")
    agent = agents.create_agent(drive(tool), tools=[tool])
    said, told_of = [], []
    for mode, piece in agent.stream({"messages": [HumanMessage("hi")]}, stream_mode=["messages", "custom"]):
        if mode == "custom":
            told_of.append(piece["name"])
        elif piece[1]["langgraph_node"] == "tools" and not isinstance(piece[0], ToolMessage):
            said.append(piece[0].text)
    assert [text for text in said if text] == ["30 ", "days."]
    assert told_of == ["llama_cloud.tool_call", "llama_cloud.tool_result"]


async def test_its_events_are_the_agents_events(client: ChatClient, async_client: AsyncChatClient) -> None:
    agents = pytest.importorskip("langchain.agents")
    tool = LlamaCloudChatTool(client=client, async_client=async_client)
    agent = agents.create_agent(drive(tool), tools=[tool])
    seen = [
        (event["event"], event["name"])
        async for event in agent.astream_events({"messages": [HumanMessage("hi")]}, version="v2")
    ]
    assert ("on_custom_event", "llama_cloud.tool_call") in seen
    assert seen.count(("on_chat_model_stream", "ChatLlamaCloud")) > 2


def test_errors_can_be_made_answers_of(client: ChatClient) -> None:
    tool = LlamaCloudChatTool(client=client, handle_tool_error=True)
    message = ask(tool, "an error")
    assert message.status == "error"
    assert "the model is out" in message.text
    with pytest.raises(ToolException):
        ask(LlamaCloudChatTool(client=client), "an error")


@pytest.mark.parametrize("question", ["", "  ", "x" * 1001])
def test_a_question_that_cannot_be_asked_is_told_to_the_driver(tool: LlamaCloudChatTool, question: str) -> None:
    agents = pytest.importorskip("langchain.agents")
    state = agents.create_agent(drive(tool, question), tools=[tool]).invoke({"messages": [HumanMessage("hi")]})
    (answer,) = told(state)
    assert answer.status == "error"
    assert "question" in answer.text or "Shorten" in answer.text
    assert state["messages"][-1].text == "It is 30 days."
    assert "empty" in tool.invoke("  ")


async def test_asyncio_tells_of_a_question_that_cannot_be_asked_too(
    client: ChatClient, async_client: AsyncChatClient
) -> None:
    tool = LlamaCloudChatTool(client=client, async_client=async_client)
    assert "empty" in await tool.ainvoke(" ")
    assert "Shorten" in await tool.ainvoke("x" * 1001)


def test_a_thread_goes_on_after_a_restart_and_on_another_worker(client: ChatClient) -> None:
    agents = pytest.importorskip("langchain.agents")
    memory = pytest.importorskip("langgraph.checkpoint.memory")
    checkpointer = memory.InMemorySaver()
    config = {"configurable": {"thread_id": "t"}}
    for number in (1, 2, 3):
        tool = LlamaCloudChatTool(client=client)  # each time one that remembers nothing
        model = driver(calling(tool, **{f"c{number}": f"question {number}"}), AIMessage("So it is."))
        agent = agents.create_agent(model, tools=[tool], checkpointer=checkpointer)
        state = agent.invoke({"messages": [HumanMessage("hi")]}, config)
    assert [answer.text for answer in told(state)] == [f"turn {n}: question {n}" for n in (1, 2, 3)]
    assert len({answer.response_metadata["session_id"] for answer in told(state)}) == 1


@pytest.mark.parametrize("thread", [None, "t"])
def test_questions_asked_together_queue_up(tool: LlamaCloudChatTool, thread: str | None) -> None:
    agents = pytest.importorskip("langchain.agents")
    model = driver(calling(tool, a="one", b="two", c="three"), calling(tool, d="four"), AIMessage("So it is."))
    agent = agents.create_agent(model, tools=[tool])
    state = agent.invoke(
        {"messages": [HumanMessage("hi")]}, {"configurable": {"thread_id": thread}} if thread else None
    )
    assert sorted(answer.text[:7] for answer in told(state)) == ["turn 1:", "turn 2:", "turn 3:", "turn 4:"]
    assert [answer.text[8:] for answer in told(state)] == ["one", "two", "three", "four"]


def test_sub_agents_of_one_thread_that_ask_at_once_keep_a_session_each(tool: LlamaCloudChatTool) -> None:
    sessions: dict[str, list[str]] = {"a": [], "b": []}
    asking = {name: calling(tool, **{f"{name}{number}": "?" for number in (1, 2, 3)}) for name in sessions}
    for number in (1, 2, 3):
        for name, message in asking.items():
            state = {"messages": [message.model_copy(update={"id": name})]}
            call = {"type": "tool_call", "id": f"{name}{number}", "name": tool.name}
            answer = tool.invoke(
                {**call, "args": {"question": "?", "state": state}}, {"configurable": {"thread_id": "t"}}
            )
            assert answer.response_metadata["turn"] == number
            sessions[name].append(answer.response_metadata["session_id"])
    one, other = (set(of_one) for of_one in sessions.values())
    assert len(one) == len(other) == 1
    assert one != other


async def test_questions_asked_together_queue_up_by_asyncio(client: ChatClient, async_client: AsyncChatClient) -> None:
    tool = LlamaCloudChatTool(client=client, async_client=async_client)
    config: Any = {"configurable": {"thread_id": "t"}}
    answers = await asyncio.gather(*(tool.ainvoke(word, config) for word in ("one", "two", "three")))
    assert sorted(answer[:7] for answer in answers) == ["turn 1:", "turn 2:", "turn 3:"]


async def test_one_that_gives_up_waiting_lets_the_next_one_wait_on() -> None:
    threads = Threads()
    first, second, third = (threads.aturn("t") for _ in range(3))
    await first.__aenter__()
    waiting = asyncio.ensure_future(second.__aenter__())
    await asyncio.sleep(0)
    after = asyncio.ensure_future(third.__aenter__())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert not after.done()
    await first.__aexit__(None, None, None)
    await after
    await third.__aexit__(None, None, None)


CHILD = """
import os, signal, sys
from langchain_ext._threads import Threads
threads = Threads()
with threads.turn("t"):
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        with threads.turn("t"):
            os._exit(0)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="There is no fork here.")
def test_the_child_of_a_fork_waits_for_nobody_of_its_parent() -> None:
    subprocess.run([sys.executable, "-c", CHILD], check=True, timeout=60)


def test_a_tool_needs_no_langgraph(client: ChatClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain_ext._questions", None)
    tool = LlamaCloudChatTool(client=client)
    assert tool.args_schema is Question
    assert ask(tool, "text alone").content == "Hello"
    assert tool.tool_call_schema.model_json_schema()["required"] == ["question"]  # type: ignore[union-attr]


def test_sources_are_read_from_a_message_and_not_from_a_text() -> None:
    with pytest.raises(TypeError, match="tool call"):
        sources_as_documents("30 days.")  # type: ignore[arg-type]
