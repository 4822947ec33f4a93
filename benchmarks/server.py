"""The service the contestants talk to: raw bytes, made beforehand, from a process of its own.

It speaks the LlamaCloud Chat API, OpenAI's chat completions and Anthropic's messages, and says the same tokens in each.
What it says is decided by the first segment of the path, a `Script`:

    http://127.0.0.1:<port>/deltas=10000,framing=packet/api/v1/chat/<session>/messages/stream

Two framings: `packet` sends each event by itself, as one chunk of the body in one `send`, as services that answer
token by token do; `block` sends the same bytes in pieces of 64 KiB, cut wherever that falls, as proxies do.

It keeps no conversations: whatever is asked is answered, and the history is as long as the script says.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import cache
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import parse_qs, urlsplit

BLOCK_BYTES = 64 * 1024

_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_HEAD_END = b"\r\n\r\n"
_MODEL = "bench-model"


@dataclass(frozen=True)
class Script:
    """What the service says.

    Attributes:
        deltas: How many pieces of text an answer has.
        framing: `packet` or `block`.
        pace: Seconds between two events.
        quiet: Seconds of silence in the middle of an answer.
        turns: How many turns a session's history has.
        sessions: How many sessions there are.
    """

    deltas: int = 10_000
    framing: str = "packet"
    pace: float = 0.0
    quiet: float = 0.0
    turns: int = 0
    sessions: int = 0

    def __str__(self) -> str:
        return ",".join(f"{name}={value}" for name, value in asdict(self).items())

    @classmethod
    def parse(cls, text: str) -> Script:
        """Read what `str` made."""
        given = dict(part.split("=") for part in text.split(","))
        return cls(**{field.name: type(field.default)(given[field.name]) for field in fields(cls)})


def tokens(count: int) -> Iterator[str]:
    """Yield the pieces of an answer of `count` pieces."""
    return (f" word{number % 100}" for number in range(count))


@contextmanager
def serve() -> Iterator[str]:
    """Run the service in a process of its own; yield its address."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_main, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()


def _main(pipe: Connection) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.setblocking(False)
    pipe.send(listener.getsockname()[1])
    asyncio.run(_accept(listener))


async def _accept(listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    lines: set[asyncio.Task[None]] = set()
    while True:
        connection, _ = await loop.sock_accept(listener)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = loop.create_task(_answer_all(connection))
        lines.add(task)
        task.add_done_callback(lines.discard)


async def _answer_all(connection: socket.socket) -> None:
    """Answer one request after another until the client hangs up."""
    loop = asyncio.get_running_loop()
    received = b""
    try:
        while True:
            while _HEAD_END not in received:
                data = await loop.sock_recv(connection, BLOCK_BYTES)
                if not data:
                    return
                received += data
            head, _, received = received.partition(_HEAD_END)
            length = _body_length(head)
            while len(received) < length:
                received += await loop.sock_recv(connection, BLOCK_BYTES)
            received = received[length:]
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
            await _answer(connection, method, target)
    except ConnectionError:
        pass
    finally:
        connection.close()


def _body_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def _answer(connection: socket.socket, method: str, target: str) -> None:
    url = urlsplit(target)
    _, script_text, path = url.path.split("/", 2)
    script = Script.parse(script_text)
    if method == "GET":
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        is_list = path == "api/v1/chat"
        await _send(connection, _page(script, query) if is_list else _history(script, path.rpartition("/")[2]))
    elif path == "api/v1/chat":
        await _send(connection, _json_answer(_summary(_next_session())))
    else:
        await _stream(connection, script, path)


async def _stream(connection: socket.socket, script: Script, path: str) -> None:
    protocol = next(protocol for ending, protocol in _PROTOCOLS.items() if path.endswith(ending))
    packets = _packets(protocol, script.deltas, script.framing)
    silence_before = len(packets) // 2 if script.quiet else None
    await _send(connection, _STREAM_HEAD)
    for number, packet in enumerate(packets):
        if number == silence_before:
            await asyncio.sleep(script.quiet)
        elif script.pace:
            await asyncio.sleep(script.pace)
        await _send(connection, packet)


async def _send(connection: socket.socket, packet: bytes) -> None:
    try:
        sent = connection.send(packet)
    except BlockingIOError:
        sent = 0
    if sent < len(packet):
        await asyncio.get_running_loop().sock_sendall(connection, packet[sent:])


Protocol = Callable[[Sequence[str]], Iterator[bytes]]


@cache
def _packets(protocol: Protocol, deltas: int, framing: str) -> list[bytes]:
    events = list(protocol(list(tokens(deltas))))
    if framing == "block":
        body = b"".join(events)
        events = [body[start : start + BLOCK_BYTES] for start in range(0, len(body), BLOCK_BYTES)]
    packets = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
    return [*packets[:-1], packets[-1] + b"0\r\n\r\n"]


def _event(data: Any, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def _llama_cloud(pieces: Sequence[str]) -> Iterator[bytes]:
    for piece in pieces:
        yield _event({"type": "text_delta", "content": piece}, "delta")
    usage = {"duration_ms": 1234.5, "total_input_tokens": 10, "total_output_tokens": len(pieces), "turns": 1}
    yield _event({"type": "text", "content": "".join(pieces)}, "message")
    yield _event({"type": "stop", "is_error": False, "error": None, "usage": usage}, "message")


def _openai(pieces: Sequence[str]) -> Iterator[bytes]:
    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        return _event(
            {
                "id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
                "object": "chat.completion.chunk",
                "created": 1700000000,
                "model": _MODEL,
                "service_tier": "default",
                "system_fingerprint": "fp_44709d6fcb",
                "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
            }
        )

    yield chunk({"role": "assistant", "content": "", "refusal": None})
    for piece in pieces:
        yield chunk({"content": piece})
    yield chunk({}, "stop")
    yield b"data: [DONE]\n\n"


def _anthropic(pieces: Sequence[str]) -> Iterator[bytes]:
    def event(kind: str, **data: Any) -> bytes:
        return _event({"type": kind, **data}, kind)

    yield event(
        "message_start",
        message={
            "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
            "type": "message",
            "role": "assistant",
            "model": _MODEL,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 10, "output_tokens": 1},
        },
    )
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    for piece in pieces:
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
    yield event("content_block_stop", index=0)
    yield event(
        "message_delta",
        delta={"stop_reason": "end_turn", "stop_sequence": None},
        usage={"output_tokens": len(pieces)},
    )
    yield event("message_stop")


_PROTOCOLS: dict[str, Protocol] = {
    "/messages/stream": _llama_cloud,
    "chat/completions": _openai,
    "v1/messages": _anthropic,
}


_sessions_made = 0


def _next_session() -> str:
    global _sessions_made  # noqa: PLW0603  # the one thing this service remembers
    _sessions_made += 1
    return f"session-{_sessions_made}"


def _summary(session_id: str) -> dict[str, Any]:
    return {
        "session_id": session_id,
        "last_updated_at": "2026-01-01T00:00:00Z",
        "generated_title": "A title",
        "index_ids": ["index-1"],
    }


def _json_answer(value: Any) -> bytes:
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


@cache
def _history(script: Script, session_id: str) -> bytes:
    events = [event for number in range(script.turns) for event in _turn(number)]
    return _json_answer({**_summary(session_id), "events": events})


def _turn(number: int) -> list[dict[str, Any]]:
    call = {"call_id": f"call-{number}", "name": "retrieve"}
    passage = {"content": "A passage. " * 10, "score": 0.5, "metadata": {"file_name": "a.pdf"}}
    return [
        {"type": "user_input", "content": f"Question {number}?"},
        {"type": "thinking", "content": "I should look that up. " * 3},
        {"type": "tool_call", **call, "arguments": {"query": f"question {number}"}},
        {"type": "tool_result", **call, "result": {"results": [passage] * 3}},
        {"type": "text", "content": "An answer. " * 20},
        {"type": "stop", "is_error": False, "usage": {"total_input_tokens": 10, "total_output_tokens": 60}},
    ]


@cache
def _sessions(count: int) -> list[dict[str, Any]]:
    return [_summary(f"listed-{number}") for number in range(count)]


def _page(script: Script, query: dict[str, str]) -> bytes:
    start, size = int(query.get("page_token", 0)), int(query.get("page_size", 100))
    end = start + size
    token = str(end) if end < script.sessions else None
    return _json_answer({"items": _sessions(script.sessions)[start:end], "next_page_token": token})
