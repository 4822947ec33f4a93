"""Recorded turns, as wire messages, and the ways in which streams and histories tell them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

from llama_cloud_chat._turn.sse import MessageDecoder

WireEvent: TypeAlias = dict[str, Any]
Style: TypeAlias = Literal["both", "deltas", "whole"]
STYLES: tuple[Style, ...] = ("both", "deltas", "whole")


def segment(kind: str, *pieces: str) -> list[WireEvent]:
    """Return a segment as the service streams it: its deltas, then the whole."""
    deltas = [{"type": f"{kind}_delta", "content": piece} for piece in pieces]
    return [*deltas, {"type": kind, "content": "".join(pieces)}]


def tool(call_id: str, name: str, arguments: dict[str, Any], result: Any) -> list[WireEvent]:
    """Return a tool's call and its result."""
    return [
        {"type": "tool_call", "call_id": call_id, "name": name, "arguments": arguments},
        {"type": "tool_result", "call_id": call_id, "name": name, "result": result},
    ]


def stop(**fields: Any) -> WireEvent:
    """Return the end of a turn."""
    usage = {"duration_ms": 12.5, "total_input_tokens": 30, "total_output_tokens": 7, "turns": 2}
    return {"type": "stop", "is_error": False, "usage": usage, **fields}


def said(text: str) -> list[WireEvent]:
    """Return a turn of one segment."""
    return [*segment("text", *(text[place : place + 4] for place in range(0, len(text), 4))), stop()]


RECORDED: list[WireEvent] = [
    *segment("thinking", "Hm, ", "look."),
    *segment("text", "Let me ", "see\u2028…"),
    *tool("c1", "retrieve", {"query": "q"}, {"results": [{"content": "Löwe"}]}),
    *segment("text", "It is ", "🦁."),
    stop(),
]
"""Thinking, text, a tool, more text: with characters of one to four bytes and a line separator inside JSON."""

RECORDED_TEXT = "Let me see\u2028…\n\nIt is 🦁."
RECORDED_THINKING = "Hm, look."
RECORDED_DELTAS = ["Let me ", "see\u2028…", "\n\nIt is ", "🦁."]


def told(events: Iterable[WireEvent], style: Style) -> list[WireEvent]:
    """Return what a history in this style keeps of a stream that had both."""
    left_out = {"both": (), "deltas": ("text", "thinking"), "whole": ("text_delta", "thinking_delta")}[style]
    return [event for event in events if event["type"] not in left_out]


def data_of(event: Any) -> bytes:
    """Return an event's JSON as the service writes it: not escaped, except for half characters."""
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(event, separators=(",", ":")).encode()


def message(event: Any, newline: bytes = b"\n") -> bytes:
    """Return an event as a message of the stream."""
    kind = event.get("type", "") if isinstance(event, dict) else ""
    name = b"delta" if kind.endswith("_delta") else b"message"
    return newline.join([b"event: " + name, b"data: " + data_of(event), b"", b""])


def messages(events: Sequence[Any]) -> list[bytes]:
    """Return the messages of a stream."""
    return [message(event) for event in events]


def take(decoder: MessageDecoder, packet: bytes) -> list[bytes]:
    """Return the messages that a packet completes, read as an exchange reads them."""
    return list(decoder.feed(packet))
