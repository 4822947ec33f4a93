"""A conversation goes on from one framework to the other and back, by its session's id and by its messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage

from llama_cloud_chat import ChatClient
from llama_index_ext import LlamaCloudChatEngine
from tests.llama_index.harness import echo

messages = pytest.importorskip("langchain_core.messages")

from langchain_ext import ChatLlamaCloud  # noqa: E402  # only with LangChain installed

Serve = Callable[..., ChatClient]


def to_langchain(history: list[ChatMessage]) -> list[Any]:
    """Carry messages over by hand: where an answer stands goes from `additional_kwargs` to `response_metadata`."""
    kinds = {"user": messages.HumanMessage, "assistant": messages.AIMessage, "system": messages.SystemMessage}
    return [
        kinds[message.role.value](message.content, response_metadata=dict(message.additional_kwargs))
        for message in history
    ]


def to_llama_index(history: list[Any]) -> list[ChatMessage]:
    roles = {"human": "user", "ai": "assistant", "system": "system"}
    carried = ("session_id", "turn")
    return [
        ChatMessage(
            role=roles[message.type],
            content=message.text,
            additional_kwargs={
                key: message.response_metadata[key] for key in carried if key in message.response_metadata
            },
        )
        for message in history
    ]


@pytest.fixture
def client(serve: Serve) -> ChatClient:
    return serve(echo)


def test_by_session_id(client: ChatClient) -> None:
    first = ChatLlamaCloud(client=client).invoke("a")
    session_id = first.response_metadata["session_id"]
    engine = LlamaCloudChatEngine(client, session_id=session_id)
    assert str(engine.chat("b")) == "2: b"
    back = ChatLlamaCloud(client=client, session_id=engine.session_id).invoke("c")
    assert back.text == "3: c"
    assert [message.content for message in engine.chat_history] == ["a", "1: a", "b", "2: b"]


def test_by_messages(client: ChatClient) -> None:
    model = ChatLlamaCloud(client=client)
    asked = messages.HumanMessage("a")
    answered = model.invoke([asked])
    engine = LlamaCloudChatEngine(client)
    assert str(engine.chat("b", chat_history=to_llama_index([asked, answered]))) == "2: b"
    assert engine.session_id == answered.response_metadata["session_id"]
    history = to_langchain(engine.chat_history)
    back = model.invoke([*history, messages.HumanMessage("c")])
    assert (back.text, back.response_metadata["turn"]) == ("3: c", 3)
    assert len(list(client.list())) == 1


def test_what_the_other_framework_moved_on_is_forked(client: ChatClient) -> None:
    engine = LlamaCloudChatEngine(client)
    engine.chat("a")
    before = engine.chat_history
    ChatLlamaCloud(client=client).invoke([*to_langchain(before), messages.HumanMessage("b")])
    old = engine.session_id
    engine.chat("c", chat_history=before)
    assert engine.session_id != old


def test_a_conversation_goes_on_in_another_process(client: ChatClient) -> None:
    engine = LlamaCloudChatEngine(client)
    engine.chat("a")
    with ChatClient(client.config.api_key, base_url=client.config.base_url) as elsewhere:
        answer = ChatLlamaCloud(client=elsewhere).invoke(
            [*to_langchain(engine.chat_history), messages.HumanMessage("b")]
        )
    assert answer.text == "2: b"
    forked = str(engine.chat("c"))  # the engine never heard "b"
    assert forked.startswith("1: ")
    assert "> 1: a" in forked
    assert "> b" not in forked
