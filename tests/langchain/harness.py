"""An agent that plays scripts, a raw service that misbehaves on demand, and ways to take a stream apart."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, message_chunk_to_message

from llama_cloud_chat.local import AgentTurn, speak

from . import scripts

WireEvent = dict[str, Any]


def scripted_agent(turn: AgentTurn) -> Iterable[WireEvent]:
    """Play the script that the prompt names in its last line; else say which turn this is and what was asked."""
    asked = turn.prompt.splitlines()[-1]
    if asked in scripts.ALL:
        return scripts.ALL[asked]
    return [*speak("text", [f"turn {turn.number}: ", turn.prompt])]


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


@dataclass
class RawService:
    """A service that answers as it is told.

    Attributes:
        base_url: Where it listens.
        turn: The bytes of a prompt's answer, piece by piece; the connection is cut after them.
        history: The events of the session's history.
        requests: Method and path of each request.
        hung_up: Set when a client closed the connection of a turn before it was over.
    """

    base_url: str = ""
    turn: Callable[[], Iterator[bytes]] = lambda: iter(())
    history: list[WireEvent] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    hung_up: threading.Event = field(default_factory=threading.Event)


def frame(event: WireEvent) -> bytes:
    return f"event: message\ndata: {json.dumps(event)}\n\n".encode()


@contextmanager
def raw_service() -> Iterator[RawService]:
    service = RawService()
    summary = {"session_id": "s-1", "last_updated_at": "2026-01-01T00:00:00Z"}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._note()
            self._json({**summary, "events": service.history})

        def do_DELETE(self) -> None:
            self._note()
            self._json(None)

        def do_POST(self) -> None:
            self._note()
            self.rfile.read(int(self.headers["Content-Length"]))
            if not self.path.endswith("/messages/stream"):
                self._json(summary)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            try:
                for piece in service.turn():
                    self.wfile.write(piece)
                    self.wfile.flush()
            except OSError:
                service.hung_up.set()
            self.close_connection = True

        def _note(self) -> None:
            service.requests.append(f"{self.command} {self.path}")

        def _json(self, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    service.base_url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
