"""LangChain's middleware around the model: what shortens a thread, and what tries again."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core import exceptions
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_ext import ChatLlamaCloud
from llama_cloud_chat import AuthenticationError, ChatClient, PromptTooLongError, StreamInterruptedError

from ..support.server import in_json
from ..support.service import ChatService
from .harness import broken_off, driver

agents = pytest.importorskip("langchain.agents")
middleware = pytest.importorskip("langchain.agents.middleware")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def talk(agent: Any, *questions: str) -> list[Any]:
    messages: list[Any] = []
    for question in questions:
        messages = agent.invoke({"messages": [*messages, HumanMessage(question)]})["messages"]
    return messages


def summarising(model: Any, keep: int, **fields: Any) -> Any:
    return middleware.SummarizationMiddleware(model=model, trigger=("messages", 5), keep=("messages", keep), **fields)


def answers(messages: list[Any]) -> list[AIMessage]:
    return [message for message in messages if message.type == "ai"]


needs_triggers = pytest.mark.skipif(
    not hasattr(exceptions, "ModelError"), reason="this LangChain has other arguments, and no errors of models"
)


@needs_triggers
def test_a_thread_that_another_model_summarises_keeps_its_session(model: ChatLlamaCloud) -> None:
    agent = agents.create_agent(model, tools=[], middleware=[summarising(driver(AIMessage("So far: one.")), keep=3)])
    messages = talk(agent, "one", "two", "three")
    assert "So far: one." in messages[0].text
    assert [answer.response_metadata["turn"] for answer in answers(messages)] == [2, 3]
    assert answers(messages)[-1].text == "turn 3: three"


@needs_triggers
def test_where_no_answer_is_kept_a_new_session_is_told_the_summary(model: ChatLlamaCloud) -> None:
    agent = agents.create_agent(model, tools=[], middleware=[summarising(driver(AIMessage("So far: one.")), keep=1)])
    messages = talk(agent, "one", "two", "three")
    (answer,) = answers(messages)
    assert answer.text.startswith("turn 1: ")
    assert "So far: one." in answer.text
    assert answer.text.endswith("three")


@needs_triggers
def test_it_can_summarise_by_itself_what_fits_into_a_prompt(model: ChatLlamaCloud) -> None:
    short = summarising(model, keep=3, summary_prompt="Summarise:\n{messages}")
    messages = talk(agents.create_agent(model, tools=[], middleware=[short]), "one", "two", "three")
    assert "Summarise:" in messages[0].text
    assert answers(messages)[-1].response_metadata["turn"] == 3
    with pytest.raises(PromptTooLongError) as caught:  # LangChain's own prompt alone is longer
        talk(agents.create_agent(model, tools=[], middleware=[summarising(model, keep=3)]), "one", "two", "three")
    assert isinstance(caught.value, exceptions.ContextOverflowError)


@needs_triggers
@pytest.mark.parametrize("interrupted", [False, True])
def test_a_summary_is_not_asked_for_again_where_that_cannot_help(
    raw: ChatService, raw_client: ChatClient, interrupted: bool
) -> None:
    if interrupted:
        raw.reply = lambda _: broken_off("Half a ")
    else:
        raw.instead["create"].append([in_json({"detail": "No such key."}, 401)])
    summary = summarising(ChatLlamaCloud(client=raw_client), keep=1, summary_prompt="Summarise:\n{messages}")
    thread = [HumanMessage("one"), AIMessage("1"), HumanMessage("two"), AIMessage("2"), HumanMessage("three")]
    with pytest.raises(StreamInterruptedError if interrupted else AuthenticationError):
        summary.before_model({"messages": thread}, None)
    assert len(raw.prompts) == int(interrupted)
    assert len(raw.received("create")) == 1


@pytest.mark.parametrize("method", ["approximate", "model"])
def test_the_results_of_old_tools_are_cleared_without_a_tokenizer(model: ChatLlamaCloud, method: str) -> None:
    edit = middleware.ClearToolUsesEdit(trigger=20, keep=0)
    editing = middleware.ContextEditingMiddleware(edits=[edit], token_count_method=method)
    call = AIMessage("", tool_calls=[{"name": "weather", "args": {}, "id": "1"}])
    thread = [HumanMessage("one"), call, ToolMessage("It rains. " * 20, tool_call_id="1", name="weather")]
    agent = agents.create_agent(model, tools=[], middleware=[editing])
    said = agent.invoke({"messages": thread})["messages"][-1].text
    assert "[cleared]" in said
    assert "It rains." not in said


@pytest.mark.parametrize("retries", [0, 2])
def test_a_call_that_is_limited_or_retried_asks_once(model: ChatLlamaCloud, client: ChatClient, retries: int) -> None:
    around = [middleware.ModelCallLimitMiddleware(run_limit=1)]
    if hasattr(middleware, "ModelRetryMiddleware"):
        around.append(middleware.ModelRetryMiddleware(max_retries=retries))
    agent = agents.create_agent(model, tools=[], middleware=around)
    answer = talk(agent, "one")[-1]
    assert [turn.prompt for turn in client.session(answer.response_metadata["session_id"]).turns()] == ["one"]
