"""Bytes to messages: the interpretation of an event stream, whatever the packets."""

from __future__ import annotations

import re
from itertools import pairwise

import httpx_sse._decoders as judge
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_cloud_chat import ProtocolError
from llama_cloud_chat._turn.sse import MessageDecoder, Named

from ..support.turns import take

MAX = 10_000
Message = tuple[bytes, bytes]


def read(*packets: bytes) -> list[Message]:
    decoder = MessageDecoder(MAX)
    return [named(message) for packet in packets for message in take(decoder, packet)]


def named(message: bytes) -> Message:
    return (message.name, bytes(message)) if isinstance(message, Named) else (b"delta", message)


def read_by_the_book(stream: str) -> list[Message]:
    """Interpret a stream as the specification says it, sentence by sentence."""
    lines = stream.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]
    messages, data, event = [], "", ""
    for line in lines:
        if not line:
            if data:
                messages.append((event.encode() or b"message", data[:-1].encode()))
            data, event = "", ""
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            value = value[1:] if value.startswith(" ") else value
            if name == "event":
                event = value
            elif name == "data":
                data += value + "\n"
    return messages


def read_with_httpx_sse(stream: str) -> list[Message]:
    lines = judge.SSELineDecoder()
    decoder = judge.SSEDecoder()
    found = [decoder.decode(line) for line in [*lines.decode(stream), *lines.flush()]]
    return [(one.event.encode(), one.data.encode()) for one in found if one is not None]


SPECIFICATION = [
    ("data: YHOO\ndata: +2\ndata: 10\n\n", [b"YHOO\n+2\n10"]),
    (
        ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
        [b"first event", b"second event"],
    ),
    ("data\n\ndata\ndata\n\ndata:", [b"", b"\n"]),
    ("data:test\n\ndata: test\n\n", [b"test", b"test"]),
]


@pytest.mark.parametrize("newline", ["\n", "\r", "\r\n"], ids=["LF", "CR", "CRLF"])
@pytest.mark.parametrize(("stream", "expected"), SPECIFICATION)
def test_the_examples_of_the_specification(stream: str, expected: list[bytes], newline: str) -> None:
    assert [data for _, data in read(stream.replace("\n", newline).encode())] == expected


def test_a_message_has_a_name_and_data() -> None:
    assert read(b'event: delta\ndata: {"a": 1}\n\n') == [(b"delta", b'{"a": 1}')]


def test_a_message_without_a_name_is_called_message_also_after_one_that_had_a_name() -> None:
    assert read(b"event: delta\ndata: 1\n\ndata: 2\n\n") == [(b"delta", b"1"), (b"message", b"2")]


def test_fields_may_come_in_any_order_and_only_the_last_name_counts() -> None:
    assert read(b"data: 1\nevent: a\nid: 7\nevent: b\nretry: 10\ndata: 2\n\n") == [(b"b", b"1\n2")]


def test_only_one_space_after_the_colon_is_no_part_of_a_value() -> None:
    assert read(b"event:  x\ndata:  y\n\n") == [(b" x", b" y")]


@pytest.mark.rule("wire-3")
def test_comments_between_and_inside_messages_say_nothing() -> None:
    assert read(b": ping\n\n:\n\ndata: 1\n: ping\ndata: 2\n\n") == [(b"message", b"1\n2")]


@pytest.mark.parametrize("fields", [b"id: 5\n", b"retry: 100\n", b"event: ping\n", b"id: 5\nretry: 1\nevent: x\n", b""])
def test_a_message_without_data_is_no_message(fields: bytes) -> None:
    assert read(b"id: 1\ndata: 1\n\n" + fields + b"\n: keep-alive\n\n" + fields + b"\ndata: 2\n\n") == [
        (b"message", b"1"),
        (b"message", b"2"),
    ]


@pytest.mark.parametrize("line", [b"Data: 1\n", b"dataa: 1\n", b" data: 1\n", b"\xef\xbb\xbfdata: 1\n"])
def test_other_fields_are_left_out(line: bytes) -> None:
    assert read(b"event: x\n" + line + b"data: 2\n\n") == [(b"x", b"2")]


def test_what_the_end_leaves_incomplete_is_no_message() -> None:
    assert read(b"data: 1\n\ndata: 2\n") == [(b"message", b"1")]


def test_a_byte_order_mark_opens_the_stream_only_once() -> None:
    assert read(b"\xef\xbb\xbfdata: 1\n\n\xef\xbb\xbfdata: 2\n\n") == [(b"message", b"1")]


def test_a_line_separator_of_unicode_ends_no_line() -> None:
    data = "data: a\u2028b\u2029c\x0bd\x0ce\x85f\x1cg".encode()
    assert read(data + b"\n\n") == [(b"message", data[6:])]


@pytest.mark.parametrize("before", ["", "\ufeff", "data: 0\n", "data: 0", "event: x\n", ": ping\n", "\n", "data: 0\r"])
@pytest.mark.parametrize("packet", ["event: delta\ndata: 1\n\n", "event: delta\ndata: 1\rdata: 2\n\n"])
@pytest.mark.parametrize("after", ["data: 3\n\n", "\ufeffdata: 3\n\ndata: 4\n\n", "\n\ndata: 3\n\n"])
def test_a_packet_that_is_one_delta_is_read_like_any_other(before: str, packet: str, after: str) -> None:
    assert read(before.encode(), packet.encode(), after.encode()) == read_by_the_book(before + packet + after)


STREAMS = [
    "\ufeffevent: delta\r\ndata: 1\r\n\r\nevent: message\r\ndata: 2\r\n\r\n",
    "\ufeff\ndata: é\n\n\n\n: x\n\ndata: 🦁\ndata\nid: 3\n\n\n",
    "data: 1\r\rdata: 2\r\n\rdata: 3\n\r\ndata: 4\r\n\n\r\r",
    "\r\n\r\nevent: a\rdata:1\n\rdata:2\r\r\n\n\r\n",
]


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.rule("design-2")
def test_every_split_into_packets_gives_the_same_messages(stream: str) -> None:
    data = stream.encode()
    whole = read(data)
    assert whole == read_by_the_book(stream)
    assert read(*(bytes([byte]) for byte in data)) == whole
    for first in range(len(data) + 1):
        for second in range(first, len(data) + 1):
            assert read(data[:first], data[first:second], data[second:]) == whole


LINES = st.sampled_from(
    [
        "",
        "",
        "",
        "data: a",
        "data:é",
        "data",
        "event: delta",
        "event",
        ": ping",
        ":",
        "id: 1",
        "retry: 5",
        "data: 🦁 b",
        "x",
    ]
)


@given(
    st.lists(st.tuples(LINES, st.sampled_from(["\n", "\r", "\r\n"])), max_size=30),
    st.booleans(),
    st.lists(st.integers(0, 300), max_size=8),
)
def test_any_stream_in_any_packets_reads_as_the_specification_says(
    lines: list[tuple[str, str]], has_mark: bool, cuts: list[int]
) -> None:
    stream = ("\ufeff" if has_mark else "") + "".join(line + end for line, end in lines)
    if stream.endswith("\r"):
        stream += "\n"
    data = stream.encode()
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    assert read(*(data[start:end] for start, end in pairwise(places))) == read_by_the_book(stream)


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(["event: delta", ": ping", "event:x", ""]).filter(bool), max_size=2),
            st.lists(
                st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0")), min_size=1, max_size=3
            ),
        ),
        max_size=5,
    )
)
def test_httpx_sse_reads_the_same_where_it_follows_the_specification(
    messages: list[tuple[list[str], list[str]]],
) -> None:
    stream = "".join("\n".join([*fields, *(f"data: {one}" for one in data), "", ""]) for fields, data in messages)
    assert read(stream.encode()) == read_with_httpx_sse(stream)


@pytest.mark.parametrize("packet_size", [1, 7, 100, MAX * 3])
@pytest.mark.parametrize("end", [b"", b"\n\n"], ids=["endless", "whole"])
def test_a_message_over_the_limit_is_refused_however_it_arrives(packet_size: int, end: bytes) -> None:
    stream = b"data: 1\n\ndata: " + b"x" * MAX + end
    decoder = MessageDecoder(MAX)
    seen: list[Message] = []
    for place in range(0, len(stream), packet_size):
        seen += map(named, take(decoder, stream[place : place + packet_size]))
        if decoder.failure is not None:
            break
    assert re.search(f"more than {MAX} bytes.*max_event_bytes", str(decoder.failure))
    assert seen == [(b"message", b"1")]


def test_a_message_of_exactly_the_limit_passes_and_the_limit_is_for_each_message() -> None:
    message = b"data: " + b"x" * (MAX - 6)
    assert len(read(*[message + b"\n\n"] * 3)) == 3


def test_a_packet_of_many_messages_and_a_bad_one_hands_on_the_good_ones_first() -> None:
    decoder = MessageDecoder(20)
    assert decoder.feed(b"data: 1\n\ndata: 2\n\ndata: " + b"x" * 30 + b"\n\n") == [b"1", b"2"]
    assert isinstance(decoder.failure, ProtocolError)


def test_a_delta_that_is_a_packet_of_its_own_may_be_as_large_as_allowed_and_no_larger() -> None:
    decoder = MessageDecoder(60)
    packet = b"event: delta\ndata: " + b"x" * 39 + b"\n\n"
    assert len(packet) == 60
    assert take(decoder, packet) == [b"x" * 39]
    take(decoder, packet.replace(b"\n\n", b"x" * 30 + b"\n\n"))
    assert isinstance(decoder.failure, ProtocolError)
