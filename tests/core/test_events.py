"""Messages to typed events: known, unknown, nameless and malformed ones."""

from __future__ import annotations

import json
import sys
from typing import Any, get_args

import pytest

from llama_cloud_chat import (
    Attachment,
    Event,
    ProtocolError,
    Stop,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolResult,
    UnknownEvent,
    Usage,
    UserInput,
)
from llama_cloud_chat._turn.events import parse_event, read_message
from llama_cloud_chat._turn.sse import Named

KNOWN: list[tuple[dict[str, Any], Event]] = [
    ({"type": "thinking_delta", "content": "a"}, ThinkingDelta("a")),
    ({"type": "text_delta", "content": "a"}, TextDelta("a")),
    ({"type": "thinking", "content": "a"}, Thinking("a")),
    ({"type": "text", "content": "a"}, Text("a")),
    ({"type": "user_input", "content": "a"}, UserInput("a")),
    ({"type": "tool_call", "call_id": "1", "name": "grep", "arguments": {"x": 1}}, ToolCall("1", "grep", {"x": 1})),
    ({"type": "tool_result", "call_id": "1", "name": "grep", "result": [1]}, ToolResult("1", "grep", [1])),
    ({"type": "stop", "is_error": False, "usage": {}}, Stop()),
]


def read(value: Any, name: bytes = b"message") -> Event | None:
    return read_message(Named(json.dumps(value).encode(), name))


@pytest.mark.parametrize(("message", "expected"), KNOWN, ids=[message["type"] for message, _ in KNOWN])
def test_every_type_has_its_class_and_keeps_its_message(message: dict[str, Any], expected: Event) -> None:
    event = parse_event(message)
    assert type(event) is type(expected)
    assert event == expected
    assert event.type == message["type"]
    assert event.raw == message
    assert read(message) == expected


def test_every_class_of_the_union_is_known_or_unknown() -> None:
    assert {type(event) for _, event in KNOWN} | {UnknownEvent} == set(get_args(Event))


@pytest.mark.parametrize(("message", "expected"), KNOWN, ids=[message["type"] for message, _ in KNOWN])
@pytest.mark.rule("wire-3")
def test_unknown_fields_change_nothing_and_stay_reachable(message: dict[str, Any], expected: Event) -> None:
    event = parse_event({**message, "novelty": {"deep": [1]}})
    assert event == expected
    assert event.raw["novelty"] == {"deep": [1]}


@pytest.mark.parametrize(
    "message",
    [
        {"type": "citation", "content": "a"},
        {"type": None, "content": "a"},
        {"type": 7, "content": "a"},
        {"type": ["text"], "content": "a"},
        {"type": "", "content": "a"},
        {"content": "could be thinking or text"},
        {"call_id": "1", "name": "x"},
        {"call_id": "1", "name": "x", "arguments": {}, "result": 1},
        {"is_error": False, "content": "a"},
        {},
        [],
        ["text"],
        "text",
        3,
        1.5,
        True,
        None,
    ],
)
@pytest.mark.rule("wire-3")
def test_what_is_not_known_is_passed_on_as_it_is(message: Any) -> None:
    assert parse_event(message) == UnknownEvent(message)
    assert read(message) == UnknownEvent(message)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({"call_id": "1", "name": "x", "arguments": {}}, ToolCall),
        ({"call_id": "1", "name": "x", "result": None}, ToolResult),
        ({"is_error": False, "usage": {}}, Stop),
        ({"is_error": True, "error": "no", "type": None}, Stop),
    ],
)
@pytest.mark.rule("wire-3")
def test_a_missing_type_is_inferred_where_the_fields_allow_one_reading(message: dict[str, Any], kind: type) -> None:
    assert type(parse_event(message)) is kind


@pytest.mark.parametrize(
    ("message", "field"),
    [
        *(({"type": kind}, "content") for kind in ("text", "thinking", "text_delta", "thinking_delta", "user_input")),
        *(({"type": kind, "content": None}, "content") for kind in ("text", "text_delta", "thinking_delta")),
        ({"type": "text", "content": ["a"]}, "content"),
        ({"type": "tool_call", "name": "x", "arguments": {}}, "call_id"),
        ({"type": "tool_call", "call_id": "1", "arguments": {}}, "name"),
        ({"type": "tool_call", "call_id": "1", "name": "x"}, "arguments"),
        ({"type": "tool_call", "call_id": "1", "name": "x", "arguments": "{}"}, "arguments"),
        ({"type": "tool_result", "name": "x", "result": 1}, "call_id"),
        ({"type": "tool_result", "call_id": 1, "name": "x", "result": 1}, "call_id"),
        ({"type": "stop"}, "is_error"),
        ({"type": "stop", "is_error": "no"}, "is_error"),
    ],
)
def test_a_known_type_without_its_required_field_is_a_protocol_error(message: dict[str, Any], field: str) -> None:
    with pytest.raises(ProtocolError, match=f"'{message['type']}' event that .*'{field}'"):
        parse_event(message)


@pytest.mark.parametrize("result", [{"a": 1}, [1], '{"a": 1}', "plain", "", 0, False, None])
def test_a_result_is_any_json_as_the_service_sent_it(result: Any) -> None:
    event = read({"type": "tool_result", "call_id": "1", "name": "x", "result": result})
    assert isinstance(event, ToolResult)
    assert event.result == result


def test_a_result_that_is_left_out_is_null() -> None:
    assert parse_event({"type": "tool_result", "call_id": "1", "name": "x"}) == ToolResult("1", "x", None)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"attachment_name": "screenshots/page_7.jpg", "source_id": "f1"}, Attachment("screenshots/page_7.jpg", "f1")),
        ({"attachment_name": "a", "source_id": "f1", "type": "screenshot"}, Attachment("a", "f1", "screenshot")),
        ({"attachment_name": "a"}, None),
        ({"source_id": "a"}, None),
        ({"attachment_name": 1, "source_id": "a"}, None),
        ("a", None),
        (None, None),
    ],
)
def test_the_picture_of_a_result_is_read_if_it_is_complete(given: Any, expected: Attachment | None) -> None:
    event = parse_event({"type": "tool_result", "call_id": "1", "name": "x", "result": 1, "image_attachment": given})
    assert isinstance(event, ToolResult)
    assert event.image_attachment == expected


def test_a_stop_tells_how_the_turn_ended() -> None:
    usage = {"duration_ms": 1.5, "total_input_tokens": 2, "total_output_tokens": 3, "turns": 4, "new": 5}
    event = parse_event(
        {"type": "stop", "is_error": True, "error": "bad", "usage": usage, "skipped_index_ids": ["a", 1, "b"]}
    )
    assert event == Stop(True, "bad", Usage(1.5, 2, 3, 4), ["a", "b"])


@pytest.mark.parametrize(
    "fields",
    [{}, {"usage": None}, {"usage": []}, {"usage": {"duration_ms": "1", "turns": True}}, {"skipped_index_ids": None}],
)
def test_a_stop_with_odd_figures_still_ends_the_turn(fields: dict[str, Any]) -> None:
    assert parse_event({"type": "stop", "is_error": False, **fields}) == Stop()


@pytest.mark.parametrize(
    "data", [b"{", b"nothing", b'{"type": "text", "content": "a}', b'"\xff', b"{}{}", b"[" * 100_000]
)
@pytest.mark.parametrize("name", [b"message", b"delta"])
@pytest.mark.rule("design-7")
def test_malformed_json_is_a_protocol_error(name: bytes, data: bytes) -> None:
    with pytest.raises(ProtocolError, match="not JSON"):
        read_message(Named(data, name))


@pytest.mark.rule("design-7")
def test_malformed_json_under_an_unknown_name_is_the_future() -> None:
    assert read_message(Named(b"2026-04-22 \xff", b"ping")) == UnknownEvent("2026-04-22 \ufffd")


def test_an_unknown_name_over_a_known_type_is_that_type() -> None:
    assert read({"type": "text", "content": "a"}, b"novelty") == Text("a")


@pytest.mark.parametrize("data", [b"", b" ", b"\n"])
def test_a_message_of_white_space_is_a_keep_alive(data: bytes) -> None:
    assert read_message(Named(data, b"message")) is None


def test_deep_nesting_is_no_recursion_error() -> None:
    for depth in (50, sys.getrecursionlimit() + 100, 200_000):
        data = b'{"type": "text", "content": "a", "deep": ' + b"[" * depth + b"]" * depth + b"}"
        try:
            assert read_message(Named(data, b"message")) == Text("a")
        except ProtocolError:
            assert depth > 50


def test_half_an_emoji_in_a_delta_is_kept_for_the_other_half() -> None:
    event = read_message(rb'{"type": "text_delta", "content": "a\ud83e"}')
    assert event == TextDelta("a\ud83e")


@pytest.mark.parametrize(
    ("sent", "content"),
    [
        (rb"\ud83e\udd81", "🦁"),
        ("🦁".encode(), "🦁"),
        (rb"a\ud83eb", "a\ufffdb"),
        (rb"\udd81", "\ufffd"),
        (rb"\u0000", "\0"),
        ("a\u2028b\u2029c\x85d".encode(), "a\u2028b\u2029c\x85d"),
        (rb"\u2028\r\n\t", "\u2028\r\n\t"),
    ],
)
def test_unicode_of_every_kind_is_read(sent: bytes, content: str) -> None:
    assert read_message(Named(b'{"type": "text", "content": "' + sent + b'"}', b"message")) == Text(content)


def test_halves_inside_a_tool_s_values_are_mended_so_that_they_can_be_written_again() -> None:
    data = rb'{"type": "tool_result", "call_id": "1", "name": "x", "result": {"a\ud83e": ["\ud83e", {"b": "\udd81"}]}}'
    event = read_message(Named(data, b"message"))
    assert isinstance(event, ToolResult)
    assert event.result == {"a\ufffd": ["\ufffd", {"b": "\ufffd"}]}


def test_bytes_that_are_not_utf_8_are_replaced() -> None:
    assert read_message(b'{"type": "text_delta", "content": "a\xffb"}') == TextDelta("a\ufffdb")


def test_a_number_too_large_or_not_a_number_breaks_nothing() -> None:
    event = read_message(
        Named(b'{"type": "tool_result", "call_id": "1", "name": "x", "result": [1e999, NaN]}', b"message")
    )
    assert isinstance(event, ToolResult)


@pytest.mark.parametrize("content", ["5", "null", "[]", "true"])
def test_a_delta_in_a_stream_whose_content_is_no_text_is_a_protocol_error(content: str) -> None:
    with pytest.raises(ProtocolError, match="malformed 'content'"):
        read_message(f'{{"type": "text_delta", "content": {content}}}'.encode())
