"""The agent as another model's tool, and its sources as documents."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import Runnable

from langchain_ext import ChatLlamaCloud, LlamaCloudChatTool, sources_as_documents
from llama_cloud_chat import AsyncChatClient, ChatClient, TurnFailedError
from llama_cloud_chat.local import LocalService

from .harness import added_up


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
    assert list(tool.args) == ["question"]


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


class Driver(GenericFakeChatModel):
    """A model that asks the tool first, then repeats what it was told."""

    def bind_tools(self, tools: Any, **_: Any) -> Runnable[Any, AIMessage]:
        return self


def drive(tool: LlamaCloudChatTool) -> Driver:
    def messages() -> Iterator[AIMessage]:
        yield AIMessage("", tool_calls=[{"name": tool.name, "args": {"question": "think, look, answer"}, "id": "1"}])
        yield AIMessage("It is 30 days.")

    return Driver(messages=messages())


def test_another_model_drives_it(client: ChatClient) -> None:
    agents = pytest.importorskip("langchain.agents")
    tool = LlamaCloudChatTool(client=client, name="ask_handbook", description="Knows the handbook.")
    agent = agents.create_agent(drive(tool), tools=[tool])
    state = agent.invoke({"messages": [HumanMessage("How many days of leave?")]})
    (told,) = [message for message in state["messages"] if isinstance(message, ToolMessage)]
    assert told.content == "30 days."
    assert sources_as_documents(told)[0].metadata["file_name"] == "leave.md"
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
