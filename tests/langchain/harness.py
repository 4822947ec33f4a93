"""An agent that plays scripts, turns that go wrong, and ways to take a stream apart."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, message_chunk_to_message
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from pydantic import Field

from llama_cloud_chat.local import AgentTurn, speak

from ..support.service import Play
from . import scripts

WireEvent = dict[str, Any]

needs_listeners_in_tasks = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="LangGraph hands its listeners to no async agent's model before 3.11."
)


def scripted_agent(turn: AgentTurn) -> Iterable[WireEvent]:
    """Play the script that the prompt names in its last line; else say which turn this is and what was asked."""
    asked = turn.prompt.splitlines()[-1]
    if asked in scripts.ALL:
        return scripts.ALL[asked]
    return [*speak("text", [f"turn {turn.number}: ", turn.prompt])]


class Driver(BaseChatModel):
    """A model that calls tools, and says what it is given to say."""

    says: Iterator[AIMessage]
    heard: list[list[BaseMessage]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "driver"

    def bind_tools(self, tools: Any, **_: Any) -> Runnable[Any, AIMessage]:
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self.heard.append(messages)
        return ChatResult(generations=[ChatGeneration(message=next(self.says))])


def driver(*messages: AIMessage) -> Driver:
    """Return a model that says these messages, one after the other."""
    return Driver(says=iter(messages))


def added_up(chunks: Iterable[AIMessageChunk]) -> AIMessage:
    """Add chunks up as users do, and make a message of the sum."""
    total: AIMessageChunk | None = None
    for chunk in chunks:
        total = chunk if total is None else total + chunk
    assert total is not None
    message = message_chunk_to_message(total)
    assert isinstance(message, AIMessage)
    return message


def read_until(error: type[Exception], stream: Iterable[Any]) -> list[Any]:
    """Read a stream that must end with an error; return what came before it."""
    received: list[Any] = []
    try:
        for item in stream:
            received.append(item)  # noqa: PERF402  # what came before the error counts
    except error:
        return received
    raise AssertionError(f"The stream ended without {error.__name__}.")


def comparable(message: AIMessage) -> dict[str, Any]:
    """Return what two readings of the same script must agree on: all but the session and how long it took."""
    fields = message.model_dump()
    for name in ("session_id", "duration_ms"):
        fields["response_metadata"].pop(name)
    del fields["id"]
    return {**fields, "content_blocks": message.content_blocks}


def broken_off(text: str) -> Play:
    """Begin to say this and cut the connection; of the prompt the history knows nothing."""
    return Play([scripts.text_delta(text)], chunked=False, is_taken=False)


def endless() -> Play:
    """Go on for ever."""
    return Play(
        [scripts.text_delta("and so on " * 100)],
        steps=lambda pieces: itertools.chain(pieces[:1], itertools.repeat(pieces[1])),
    )
