"""Agents that say what a test wants, a gate to hold them with, and a service of bare sockets."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from llama_cloud_chat.local import AgentTurn, WireEvent, speak

WAIT = 20


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


class BareService:
    """The few operations a turn needs, over bare sockets: what it sends is held, and it notices who hangs up.

    Attributes:
        left: Set when the client has hung up on a stream that was held.
        held: Set when the events were sent and the stream is being held.
        requests: The requests so far, as method and path.
        prompts: The prompts so far.
    """

    def __init__(self, events: list[WireEvent]) -> None:
        self.events = events
        self.left = threading.Event()
        self.held = threading.Event()
        self.go_on = threading.Event()
        self.requests: list[str] = []
        self.prompts: list[str] = []
        service = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while service.answer(self.rfile, self.wfile):
                    pass

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False

        self.server = Server(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self.server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator[BareService]:
        thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.go_on.set()
            self.server.shutdown()
            self.server.server_close()
            thread.join(WAIT)

    def answer(self, incoming: Any, outgoing: Any) -> bool:
        line = incoming.readline().decode()
        if not line:
            return False
        method, path, _ = line.split(" ")
        self.requests.append(f"{method} {path}")
        length = 0
        while header := incoming.readline().decode().strip():
            name, _, value = header.partition(":")
            length = int(value) if name.lower() == "content-length" else length
        body = json.loads(incoming.read(length) or b"null")
        if path.endswith("/stream"):
            self.prompts.append(body["prompt"])
            self.stream(incoming, outgoing)
            return False
        summary = {"session_id": "ses-1", "last_updated_at": "2025-01-01T00:00:00Z", "events": []}
        content = b"" if method == "DELETE" else json.dumps(summary).encode()
        outgoing.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(content)
        )
        outgoing.write(content)
        return True

    def stream(self, incoming: Any, outgoing: Any) -> None:
        outgoing.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        for event in self.events:
            outgoing.write(f"data: {json.dumps(event)}\n\n".encode())
        outgoing.flush()
        self.held.set()
        if self.events[-1]["type"] != "stop":
            with suppress(ConnectionError):  # some hang up with a reset
                incoming.read(1)
            self.left.set()


def text_of(deltas: list[str]) -> list[WireEvent]:
    return [{"type": "text_delta", "content": delta} for delta in deltas]
