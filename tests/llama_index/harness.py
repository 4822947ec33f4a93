"""Agents that say what a test wants, a gate to hold them with, and a service that holds its streams."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from llama_cloud_chat.local import AgentTurn, WireEvent, speak
from tests.support.service import ChatService, Held

WAIT = 60


def passage(text: str, name: str = "leave.md", score: float = 0.5, **static: Any) -> dict[str, Any]:
    return {
        "content": text,
        "score": score,
        "rerank_score": 0.9,
        "metadata": {"file_name": name, "team": "people"},
        "static_fields": {
            "parsed_directory_file_id": "file-1",
            "page_range_start": 1,
            "page_range_end": 2,
            "chunk_start_char": 10,
            "chunk_end_char": 30,
            **static,
        },
    }


def retrieve(call_id: str = "c1", query: str = "leave", *passages: dict[str, Any]) -> Iterator[WireEvent]:
    yield {"type": "tool_call", "call_id": call_id, "name": "retrieve", "arguments": {"query": query}}
    found = {"results": list(passages or [passage("Everyone has 30 days of leave.")])}
    yield {"type": "tool_result", "call_id": call_id, "name": "retrieve", "result": found}


def echo(turn: AgentTurn) -> Iterator[WireEvent]:
    """Say which turn of the session this is, and what was asked."""
    yield from speak("text", [f"{turn.number}: ", turn.prompt])


def researcher(turn: AgentTurn) -> Iterator[WireEvent]:
    """Think, retrieve, answer, look again, and answer some more."""
    yield from speak("thinking", ["Let me ", "look."])
    yield from retrieve()
    yield from speak("text", ["There are ", "30 days."])
    yield {"type": "tool_call", "call_id": "c2", "name": "grep", "arguments": {"pattern": "expire"}}
    yield {"type": "tool_result", "call_id": "c2", "name": "grep", "result": {"items": []}}
    yield from speak("text", ["They ", "expire."])


def failing(turn: AgentTurn) -> Iterator[WireEvent]:
    """Begin to answer, and fail."""
    yield from speak("text", ["So far "])
    raise RuntimeError("the index is on fire")


class Gate:
    """An agent that says one word, waits to be let on, and says another."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.waiting = threading.Event()

    def __call__(self, turn: AgentTurn) -> Iterator[WireEvent]:
        yield {"type": "text_delta", "content": f"{turn.prompt} one "}
        self.waiting.set()
        assert self.open.wait(WAIT)
        yield {"type": "text_delta", "content": "two"}
        yield {"type": "text", "content": f"{turn.prompt} one two"}


class HoldingService(ChatService):
    """A service whose turns say the same and are then held.

    Attributes:
        held: Set when the events were sent and the stream is being held.
    """

    def __init__(self, events: list[WireEvent]) -> None:
        super().__init__()
        play = Held(events, before=-1)
        self.reply = lambda prompt: play
        self.held = play.gate.reached

    @property
    def left(self) -> threading.Event:
        """Set when the client has hung up on the last stream."""
        return self.received("stream")[-1].hung_up


def text_of(deltas: list[str]) -> list[WireEvent]:
    return [{"type": "text_delta", "content": delta} for delta in deltas]
