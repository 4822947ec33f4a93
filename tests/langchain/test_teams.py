"""A member of teams: supervisors, swarms, agents that share a thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_ext import ChatLlamaCloud
from llama_cloud_chat import ChatClient

from .conftest import Make
from .harness import driver, needs_listeners_in_tasks

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def call(name: str, call_id: str) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": {}, "id": call_id}])


def answers(messages: Sequence[BaseMessage]) -> list[AIMessage]:
    """Return what our model said."""
    return [
        message
        for message in messages
        if isinstance(message, AIMessage) and message.response_metadata.get("model_provider") == "llama_cloud"
    ]


def test_a_hand_over_is_told_and_the_user_is_answered(model: ChatLlamaCloud) -> None:
    said = model.invoke(
        [
            HumanMessage("How long is leave?"),
            call("transfer_to_handbook", "1"),
            ToolMessage("Successfully transferred to handbook", tool_call_id="1", name="transfer_to_handbook"),
        ]
    ).text
    assert said.endswith("How long is leave?")
    assert "[tool: transfer_to_handbook]\n> Successfully transferred to handbook" in said


def test_a_trailing_reminder_is_told(model: ChatLlamaCloud) -> None:
    said = model.invoke([HumanMessage("How long is leave?"), SystemMessage("Answer in French.")]).text
    assert "> Answer in French." in said
    assert said.endswith("How long is leave?")


def test_an_agent_of_a_supervisor_answers_and_goes_on_when_it_is_called_again(model: ChatLlamaCloud) -> None:
    supervisor = pytest.importorskip("langgraph_supervisor")
    agents = pytest.importorskip("langchain.agents")
    memory = pytest.importorskip("langgraph.checkpoint.memory")
    handbook = agents.create_agent(model, tools=[], name="handbook", system_prompt="You know the handbook.")
    boss = driver(
        call("transfer_to_handbook", "1"), AIMessage("30."), call("transfer_to_handbook", "2"), AIMessage("May.")
    )
    team = supervisor.create_supervisor([handbook], model=boss).compile(checkpointer=memory.InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    team.invoke({"messages": [("user", "How long is leave?")]}, config)
    state = team.invoke({"messages": [("user", "When does it end?")]}, config)
    first, second = answers(state["messages"])
    assert first.name == "handbook"
    assert "You know the handbook." in first.text
    assert first.text.endswith("How long is leave?")
    assert second.text.startswith("turn 2: ")
    assert "You know the handbook." not in second.text
    assert second.text.endswith("When does it end?")
    assert state["messages"][-1].text == "May."


@needs_listeners_in_tasks
async def test_an_agent_of_a_supervisor_streams_from_inside(amodel: ChatLlamaCloud) -> None:
    supervisor = pytest.importorskip("langgraph_supervisor")
    agents = pytest.importorskip("langchain.agents")
    handbook = agents.create_agent(amodel, tools=[], name="handbook")
    team = supervisor.create_supervisor([handbook], model=driver(call("transfer_to_handbook", "1"), AIMessage("30.")))
    said = [
        chunk.text
        async for _, (chunk, _) in team.compile().astream(
            {"messages": [("user", "think, look, answer")]}, stream_mode="messages", subgraphs=True
        )
        if chunk.response_metadata.get("model_provider") == "llama_cloud" or chunk.id
    ]
    assert "days." in said


def test_an_agent_of_a_swarm_keeps_the_conversation(model: ChatLlamaCloud) -> None:
    swarm = pytest.importorskip("langgraph_swarm")
    agents = pytest.importorskip("langchain.agents")
    memory = pytest.importorskip("langgraph.checkpoint.memory")
    desk = agents.create_agent(
        driver(call("transfer_to_handbook", "1")),
        tools=[swarm.create_handoff_tool(agent_name="handbook")],
        name="desk",
    )
    handbook = agents.create_agent(model, tools=[], name="handbook")
    team = swarm.create_swarm([desk, handbook], default_active_agent="desk")
    app = team.compile(checkpointer=memory.InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    app.invoke({"messages": [("user", "How long is leave?")]}, config)
    state = app.invoke({"messages": [("user", "When does it end?")]}, config)
    first, second = answers(state["messages"])
    assert first.text.endswith("How long is leave?")
    assert "> Successfully transferred to handbook" in first.text
    assert second.text == "turn 2: When does it end?"


def test_deep_agents_have_it_as_a_sub_agent(client: ChatClient) -> None:
    deepagents = pytest.importorskip("deepagents")
    agents = pytest.importorskip("langchain.agents")
    handbook = agents.create_agent(ChatLlamaCloud(client=client), tools=[], name="handbook")
    task = AIMessage(
        "",
        tool_calls=[
            {"name": "task", "args": {"description": "text alone", "subagent_type": "handbook"}, "id": "1"},
        ],
    )
    app = deepagents.create_deep_agent(
        model=driver(task, AIMessage("It says hello.")),
        subagents=[{"name": "handbook", "description": "Knows the handbook.", "runnable": handbook}],
    )
    state = app.invoke({"messages": [("user", "What does it say?")]})
    (told,) = [message for message in state["messages"] if isinstance(message, ToolMessage)]
    assert told.text == "Hello"
    assert state["messages"][-1].text == "It says hello."


def test_two_agents_on_one_thread_hear_each_its_own_instructions(model: ChatLlamaCloud) -> None:
    agents = pytest.importorskip("langchain.agents")
    formal, casual = (
        agents.create_agent(model, tools=[], system_prompt=prompt) for prompt in ("Be formal.", "Be casual.")
    )
    messages: list[Any] = [HumanMessage("one")]
    said = []
    for agent, question in ((formal, "two"), (formal, "three"), (casual, "four"), (formal, None)):
        messages = agent.invoke({"messages": messages})["messages"]
        said.append(messages[-1].text)
        messages = [*messages, HumanMessage(question)] if question else messages
    assert [("Be formal." in text, "Be casual." in text) for text in said] == [
        (True, False),
        (False, False),
        (False, True),
        (True, False),
    ]
    assert [message.response_metadata["turn"] for message in answers(messages)] == [1, 2, 3, 4]


def test_a_dynamic_prompt_is_heard_when_it_changes(model: ChatLlamaCloud) -> None:
    agents = pytest.importorskip("langchain.agents")
    middleware = pytest.importorskip("langchain.agents.middleware")
    moods = iter(["Be formal.", "Be formal.", "Be casual."])
    agent = agents.create_agent(model, tools=[], middleware=[middleware.dynamic_prompt(lambda _: next(moods))])
    messages: list[Any] = []
    for question in ("one", "two", "three"):
        messages = agent.invoke({"messages": [*messages, HumanMessage(question)]})["messages"]
    first, second, third = (message.text for message in answers(messages))
    assert "Be formal." in first
    assert second == "turn 2: two"
    assert "Be casual." in third
    assert third.startswith("turn 3: ")


def test_two_workers_on_one_named_session_lose_no_message(client: ChatClient) -> None:
    graphs = pytest.importorskip("langgraph.graph")
    session_id = client.create().session_id
    config = client.config
    other = ChatClient(config.api_key, base_url=config.base_url)
    with other:
        workers = []
        for one in (client, other):
            builder = graphs.StateGraph(graphs.MessagesState)
            # A worker that believes what it knows for ever is one that the other has overtaken.
            model = ChatLlamaCloud(client=one, session_id=session_id, freshness=3600)
            builder.add_node("answer", lambda state, model=model: {"messages": [model.invoke(state["messages"])]})
            builder.add_edge(graphs.START, "answer")
            workers.append(builder.compile())
        messages: list[Any] = []
        for number in range(6):
            messages = workers[number % 2].invoke({"messages": [*messages, HumanMessage("yes")]})["messages"]
    assert [message.text for message in messages[1::2]] == [f"turn {number}: yes" for number in range(1, 7)]
    assert [turn.prompt for turn in client.session(session_id).turns()] == ["yes"] * 6


def test_the_same_wrong_number_is_not_the_same_message(make: Make) -> None:
    from langchain_ext._converter import message_of
    from llama_cloud_chat import Text, Turn

    one, other = (message_of(Turn.from_events("yes", [Text(said)], session_id="s", number=2)) for said in "ab")
    assert one.id != other.id
