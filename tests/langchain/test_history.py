"""A session's history under LangChain's interface."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import ConfigurableField
from langchain_core.runnables.history import RunnableWithMessageHistory

from langchain_ext import ChatLlamaCloud, LlamaCloudChatMessageHistory
from llama_cloud_chat import AsyncChatClient, ChatClient, NotFoundError, TurnFailedError

from . import scripts
from .conftest import Make
from .harness import added_up

pytestmark = [
    # langchain-core 1.0 on loading the messages of a run.
    pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning"),
    pytest.mark.filterwarnings("ignore::langchain_core._api.deprecation.LangChainDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:RunnableWithMessageHistory:DeprecationWarning"),
]


def without_id(message: BaseMessage) -> BaseMessage:
    """Return a message without its id: a live answer's must not rest on a number, which a history's does."""
    return message.model_copy(update={"id": None})


@pytest.mark.parametrize("script", scripts.CONSISTENT)
@pytest.mark.parametrize("output_version", [None, "v1"])
def test_the_history_equals_what_the_live_runs_returned(
    make: Make, client: ChatClient, script: str, output_version: str | None
) -> None:
    session_id = client.create().session_id
    model = make(session_id=session_id, output_version=output_version)
    live = [model.invoke(script), added_up(model.stream(script)), model.invoke("a contradiction")]
    history = LlamaCloudChatMessageHistory(session_id, client, output_version=output_version)
    prompts = [HumanMessage(script), HumanMessage(script), HumanMessage("a contradiction")]
    expected = [message for pair in zip(prompts, live, strict=True) for message in pair]
    assert [without_id(message) for message in history.messages] == [without_id(message) for message in expected]
    assert history.messages == history.messages
    assert len({message.id for message in [*live, *history.messages[1::2]]}) == 6
    assert [m.content_blocks for m in history.messages[1::2]] == [m.content_blocks for m in live]


async def test_the_history_can_be_read_without_blocking(client: ChatClient, async_client: AsyncChatClient) -> None:
    session = client.create()
    session.ask("one")
    history = LlamaCloudChatMessageHistory(session.session_id, async_client=async_client)
    messages = await history.aget_messages()
    assert [message.content for message in messages] == ["one", "turn 1: one"]
    await history.aadd_messages([messages[1], HumanMessage("one")])
    with pytest.raises(ValueError, match="cannot be added"):
        await history.aadd_messages([HumanMessage("two")])
    await history.aclear()
    assert await history.aget_messages() == []
    with pytest.raises(NotFoundError):
        client.retrieve(session.session_id)


def test_adding_what_is_there_does_nothing(make: Make, client: ChatClient) -> None:
    session_id = client.create().session_id
    answer = make(session_id=session_id).invoke("one")
    history = LlamaCloudChatMessageHistory(session_id, client)
    before = history.messages
    history.add_messages(before)
    history.add_messages([HumanMessage("said before a system message was folded in"), answer])
    history.add_messages([HumanMessage("one")])
    history.add_messages([HumanMessage("one"), AIMessage("turn 1: one")])
    history.add_user_message("one")
    assert history.messages == before


@pytest.mark.parametrize(
    "foreign",
    [
        HumanMessage("never asked"),
        AIMessage("never said"),
        AIMessage("turn 1: one", response_metadata={"session_id": "another", "turn": 1}),
    ],
)
def test_adding_anything_else_is_refused_with_the_reason(client: ChatClient, foreign: Any) -> None:
    session = client.create()
    session.ask("one")
    history = LlamaCloudChatMessageHistory(session.session_id, client)
    with pytest.raises(ValueError, match="writes a session's history itself"):
        history.add_messages([HumanMessage("one"), foreign])


def test_clear_deletes_the_session(client: ChatClient) -> None:
    session = client.create()
    session.ask("one")
    history = LlamaCloudChatMessageHistory(session.session_id, client)
    history.clear()
    history.clear()
    assert history.messages == []
    with pytest.raises(NotFoundError):
        client.retrieve(session.session_id)
    with pytest.raises(NotFoundError):
        _ = LlamaCloudChatMessageHistory(session.session_id, client).messages


def test_a_failed_turn_is_part_of_the_history(make: Make, client: ChatClient) -> None:
    session_id = client.create().session_id
    with pytest.raises(TurnFailedError):
        make(session_id=session_id).invoke("an error")
    history = LlamaCloudChatMessageHistory(session_id, client)
    assert [message.content for message in history.messages] == ["an error", "I was about to"]


def test_the_recipe_works_over_many_turns_with_nothing_added_twice(
    client: ChatClient, caplog: pytest.LogCaptureFixture
) -> None:
    model = ChatLlamaCloud(client=client).configurable_fields(session_id=ConfigurableField(id="session_id"))
    chat = RunnableWithMessageHistory(
        model,  # type: ignore[arg-type]
        lambda session_id: LlamaCloudChatMessageHistory(session_id, client=client),
    )
    session = client.create()
    config: Any = {"configurable": {"session_id": session.session_id}}
    for number in range(1, 6):
        answer = chat.invoke([HumanMessage(f"question {number}")], config)
        assert answer.content == f"turn {number}: question {number}"
        streamed = added_up(chat.stream([HumanMessage("text alone")], config)) if number == 5 else None
    assert streamed is not None
    assert streamed.response_metadata["turn"] == 6
    assert [turn.prompt for turn in session.turns()] == [*(f"question {n}" for n in range(1, 6)), "text alone"]
    assert caplog.records == []


async def test_the_recipe_works_for_asyncio(
    client: ChatClient, async_client: AsyncChatClient, caplog: pytest.LogCaptureFixture
) -> None:
    model = ChatLlamaCloud(client=client, async_client=async_client)
    chat = RunnableWithMessageHistory(
        model.configurable_fields(session_id=ConfigurableField(id="session_id")),  # type: ignore[arg-type]
        lambda session_id: LlamaCloudChatMessageHistory(session_id, client=client, async_client=async_client),
    )
    session = client.create()
    config: Any = {"configurable": {"session_id": session.session_id}}
    for number in range(1, 4):
        answer = await chat.ainvoke([HumanMessage(f"question {number}")], config)
        assert answer.content == f"turn {number}: question {number}"
    assert caplog.records == []


def test_the_recipe_works_behind_a_prompt_and_before_a_parser(
    client: ChatClient, caplog: pytest.LogCaptureFixture
) -> None:
    prompt = ChatPromptTemplate.from_messages(
        [("system", "Be brief."), MessagesPlaceholder("history"), ("human", "{question}")]
    )
    model = ChatLlamaCloud(client=client).configurable_fields(session_id=ConfigurableField(id="session_id"))
    chat = RunnableWithMessageHistory(
        prompt | model | StrOutputParser(),
        lambda session_id: LlamaCloudChatMessageHistory(session_id, client=client),
        input_messages_key="question",
        history_messages_key="history",
    )
    session = client.create()
    config: Any = {"configurable": {"session_id": session.session_id}}
    assert "Be brief." in chat.invoke({"question": "one"}, config)
    assert chat.invoke({"question": "two"}, config) == "turn 2: two"
    assert chat.invoke({"question": "three"}, config) == "turn 3: three"
    assert caplog.records == []


def test_a_fold_is_shown_as_the_users_words(model: ChatLlamaCloud, client: ChatClient) -> None:
    answer = model.invoke([HumanMessage("one"), AIMessage("eins"), HumanMessage("two")])
    history = LlamaCloudChatMessageHistory(answer.response_metadata["session_id"], client)
    assert [message.text for message in history.messages] == ["two", answer.text]
    history.add_messages([HumanMessage("two")])
