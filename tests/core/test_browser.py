"""What a page reads of a turn, frame by frame, and what is read of a page's request.

`tests/browser` holds both against the AI SDK itself.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from llama_cloud_chat import (
    UI_MESSAGE_STREAM_HEADERS,
    ChatError,
    ConfigurationError,
    Message,
    Stop,
    Text,
    TextDelta,
    ToolCall,
    ToolResult,
    Turn,
    UnknownEvent,
    UserInput,
    aui_message_stream,
    messages_from_ui,
    ui_message_stream,
)
from llama_cloud_chat._browser.harmless import harmless
from llama_cloud_chat._browser.writer import UIMessageWriter
from llama_cloud_chat._turn.events import parse_event

from ..support.clients import Blocking
from ..support.server import Gate
from ..support.service import ChatService, Play
from ..support.turns import RECORDED, RECORDED_TEXT, RECORDED_THINKING, segment, stop, tool
from .strategies import turns

Chunk = dict[str, Any]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def frames_of(stream: Any, **settings: Any) -> Iterator[str]:
    """Write a stream of either colour."""
    if isinstance(stream, Blocking):
        return stream._iterate(aui_message_stream(stream._wrapped, **settings))
    return ui_message_stream(stream, **settings)


def read(frames: str) -> list[Chunk]:
    """Read whole frames; the last one says that it is over."""
    assert frames.endswith("data: [DONE]\n\n")
    return [json.loads(frame.removeprefix("data: ")) for frame in frames.split("\n\n")[:-2]]


def chunks_of(stream: Any, **settings: Any) -> list[Chunk]:
    return read("".join(frames_of(stream, **settings)))


def kinds(chunks: list[Chunk]) -> list[str]:
    return [chunk["type"] for chunk in chunks]


def metadata_of(chunks: list[Chunk]) -> Chunk:
    merged: Chunk = {}
    for chunk in chunks:
        merged |= chunk.get("messageMetadata", {})
    return merged


def written(*events: Any, prompt: str = "Q?") -> list[Chunk]:
    """Write a turn of a history."""
    return chunks_of(Turn.from_events(prompt, events, session_id="ses-1", number=1))


def test_a_turn_is_told_in_order_with_whole_frames(service: ChatService, client: Any) -> None:
    service.plays.append(Play(RECORDED))
    pieces = list(frames_of(client.create(index_ids=["idx-1"]).stream("Where is the lion?")))
    assert all(piece.startswith("data: ") and piece.endswith("\n\n") for piece in pieces)
    chunks = read("".join(pieces))
    assert kinds(chunks) == [
        "start",
        "message-metadata",
        *["reasoning-start", "reasoning-delta", "reasoning-delta", "reasoning-end"],
        *["text-start", "text-delta", "text-delta", "text-end"],
        *["tool-input-available", "tool-output-available", "source-document"],
        *["text-start", "text-delta", "text-delta", "text-end"],
        "message-metadata",
        "finish",
    ]
    assert "".join(chunk["delta"] for chunk in chunks if chunk["type"] == "text-delta") == RECORDED_TEXT
    assert "".join(chunk["delta"] for chunk in chunks if chunk["type"] == "reasoning-delta") == RECORDED_THINKING
    assert metadata_of(chunks[:2]) == {"session_id": "ses-1", "turn": 1}
    assert metadata_of(chunks)["usage"] == {
        "duration_ms": 12.5,
        "total_input_tokens": 30,
        "total_output_tokens": 7,
        "turns": 2,
    }
    assert chunks[-1] == {"type": "finish", "finishReason": "stop"}


@given(turns())
def test_the_pieces_of_any_turn_add_up_and_every_part_is_open_while_it_grows(events: list[Chunk]) -> None:
    turn = Turn.from_events("Q?", [parse_event(event) for event in events], session_id="ses-1", number=1)
    open_parts: set[str] = set()
    text = ""
    for chunk in chunks_of(turn):
        kind, _, step = chunk["type"].partition("-")
        if step == "start":
            assert chunk["id"] not in open_parts
            open_parts.add(chunk["id"])
        elif step == "delta":
            assert chunk["id"] in open_parts
            text += chunk["delta"] if kind == "text" else ""
        elif step == "end":
            open_parts.remove(chunk["id"])
    assert text == turn.text
    assert not open_parts


def test_the_first_frame_comes_before_anything_is_asked(service: ChatService, client: Any) -> None:
    frames = frames_of(client.create(index_ids=["idx-1"]).stream("Q?"))
    assert next(frames) == 'data: {"type":"start"}\n\n'
    assert service.prompts == []
    frames.close()  # type: ignore[attr-defined]
    assert service.prompts == []


def test_letting_go_of_the_frames_lets_go_of_the_turn(service: ChatService, client: Any) -> None:
    service.plays.append(Play(RECORDED, steps=lambda pieces: [b"".join(pieces[:3]), Gate()]))
    stream = client.create(index_ids=["idx-1"]).stream("Q?")
    frames = frames_of(stream)
    while "reasoning-delta" not in next(frames):
        pass
    frames.close()  # type: ignore[attr-defined]
    [request] = service.received("stream")
    assert request.hung_up.wait(60)
    assert stream.turn.thinking


def test_a_history_is_written_as_its_stream_was(service: ChatService, client: Any) -> None:
    service.plays.append(Play(RECORDED))
    session = client.create(index_ids=["idx-1"])
    live = chunks_of(session.stream("Q?"))
    [turn] = session.turns()
    told = chunks_of(turn)
    assert [kind for kind in kinds(told) if "delta" not in kind] == [
        kind for kind in kinds(live) if "delta" not in kind
    ]
    assert [chunk for chunk in told if "tool" in chunk["type"]] == [chunk for chunk in live if "tool" in chunk["type"]]
    texts = ["".join(chunk["delta"] for chunk in one if chunk["type"] == "text-delta") for one in (live, told)]
    assert texts == [RECORDED_TEXT, RECORDED_TEXT]
    assert metadata_of(told) == metadata_of(live)


def test_an_agents_failure_is_one_error_after_all_that_came(service: ChatService, client: Any) -> None:
    failed = stop(is_error=True, error="The model is \ud83d overloaded.", skipped_index_ids=["idx-2"])
    service.plays.append(Play([*segment("text", "Let me"), tool("c1", "find", {}, None)[0], failed]))
    session = client.create(index_ids=["idx-1"])
    live = chunks_of(session.stream("Q?"))
    assert kinds(live)[-6:] == [
        *["text-end", "tool-input-available", "tool-output-error"],
        *["message-metadata", "error", "finish"],
    ]
    assert "The model is \ufffd overloaded." in live[-2]["errorText"]
    assert live[-1]["finishReason"] == "error"
    assert metadata_of(live)["skipped_index_ids"] == ["idx-2"]
    assert metadata_of(live)["usage"]["turns"] == 2
    assert chunks_of(session.turns()[0])[-2:] == live[-2:]


def test_a_refusal_is_an_error_without_an_answer(client: Any) -> None:
    chunks = chunks_of(client.stream("ses-9", "Q?", index_ids=["idx-1"]))
    assert kinds(chunks)[0] == "start"
    assert kinds(chunks)[-2:] == ["error", "finish"]
    assert "No such session" in chunks[-2]["errorText"]


def test_a_turn_that_breaks_off_ends_its_parts_and_says_so(service: ChatService, make: Any) -> None:
    half = [*segment("text", "Let me"), *tool("c1", "find", {"q": 1}, None)[:1], *segment("text", "See: ")[:1]]
    whole = b"".join(Play(half).pieces())
    service.plays.append(Play(half, cut_after=len(whole) - 5, history=[half]))
    client = make(recovery_timeout=3)
    chunks = chunks_of(client.create(index_ids=["idx-1"]).stream("Q?"))
    assert kinds(chunks)[-4:] == ["text-end", "tool-output-error", "error", "finish"]
    assert metadata_of(chunks) == {"session_id": "ses-1", "turn": 1}


def test_only_errors_of_ours_become_a_chunk(service: ChatService, client: Any) -> None:
    def refuse(anchor: Chunk) -> Chunk:
        raise KeyError(anchor["session_id"])

    with pytest.raises(KeyError, match="ses-1"):
        chunks_of(client.create(index_ids=["idx-1"]).stream("Q?"), sign=refuse)


def test_what_is_signed_goes_out_instead(client: Any) -> None:
    stream = client.create(index_ids=["idx-1"]).stream("Q?")
    chunks = chunks_of(stream, sign=lambda anchor: {**anchor, "signature": f"{anchor['session_id']}/{anchor['turn']}"})
    assert metadata_of(chunks)["signature"] == "ses-1/1"


def test_where_an_answer_stands_is_told_anew_when_it_changes() -> None:
    turn = Turn("Q?")
    writer = UIMessageWriter(turn)
    assert writer.feed(TextDelta("a", 0)).count("message-metadata") == 0
    turn.session_id = "ses-1"
    assert '{"session_id":"ses-1","turn":null}' in writer.feed(TextDelta("b", 0))
    turn.number = 3
    assert '{"session_id":"ses-1","turn":3}' in writer.feed(TextDelta("c", 0))
    assert "message-metadata" not in writer.feed(TextDelta("d", 0))


def test_what_the_session_was_told_and_what_was_left_out_travel_as_well() -> None:
    turn = Turn("Q?", session_id="ses-1", number=2)
    turn.instructions, turn.left_out = "digest", 3
    chunks = chunks_of(turn)
    assert metadata_of(chunks) == {"session_id": "ses-1", "turn": 2, "instructions": "digest", "left_out": 3}
    [message] = messages_from_ui(request(said("assistant", "A.", metadata=metadata_of(chunks))))
    assert (message.session_id, message.turn, message.instructions) == ("ses-1", 2, "digest")


def test_text_that_goes_on_after_its_end_begins_a_part_again() -> None:
    writer = UIMessageWriter(Turn("Q?"))
    writer.feed(TextDelta("a", 0))
    writer.feed(Text("a", 0))
    assert kinds(read(writer.feed(TextDelta("b", 0)) + writer.finish())) == [
        "text-start",
        "text-delta",
        "text-end",
        "finish",
    ]


def test_an_unfinished_turn_of_a_history_ends_as_other() -> None:
    assert written(Text("Let me"))[-1] == {"type": "finish", "finishReason": "other"}


def test_a_tool_is_one_that_the_provider_executed() -> None:
    called, answered = written(ToolCall("c1", "find", {"q": "é"}), ToolResult("c1", "find", {"items": []}))[2:4]
    shared = {"toolCallId": "c1", "providerExecuted": True, "dynamic": True}
    assert called == {"type": "tool-input-available", **shared, "toolName": "find", "input": {"q": "é"}}
    assert answered == {"type": "tool-output-available", **shared, "output": {"items": []}}


def test_a_result_without_its_call_gets_one_and_the_late_call_keeps_the_result() -> None:
    chunks = written(ToolResult("c1", "find", 1), ToolCall("c1", "find", {"q": 2}))[2:-1]
    assert [(chunk["type"], chunk.get("input"), chunk.get("output")) for chunk in chunks] == [
        ("tool-input-available", {}, None),
        ("tool-output-available", None, 1),
        ("tool-input-available", {"q": 2}, None),
        ("tool-output-available", None, 1),
    ]


def test_a_call_id_that_is_used_again_is_another_tool_of_the_page() -> None:
    chunks = written(
        ToolCall("c1", "find", {"q": 1}),
        ToolResult("c1", "find", 1),
        ToolCall("c1", "find", {"q": 2}),
        ToolResult("c1", "find", 2),
    )[2:-1]
    assert [(chunk["toolCallId"], chunk.get("output")) for chunk in chunks] == [
        ("c1", None),
        ("c1", 1),
        ("c1#2", None),
        ("c1#2", 2),
    ]


PASSAGE = {
    "content": "Keep it dry.",
    "score": 0.5,
    "metadata": {"file_name": "handbook.pdf", "deep": {"__proto__": 1, "nan": float("nan")}},
    "static_fields": {
        "page_range_start": 2,
        "page_range_end": 3,
        "attachments": [{"attachment_name": "screenshots/page_2.jpg", "source_id": "file-1", "type": "screenshot"}],
    },
}


def test_a_source_is_a_document_with_its_pages_and_page_pictures() -> None:
    [source] = [
        chunk
        for chunk in written(ToolCall("c1", "retrieve", {}), ToolResult("c1", "retrieve", {"results": [PASSAGE]}))
        if chunk["type"].startswith("source")
    ]
    assert source == {
        "type": "source-document",
        "sourceId": "source-1",
        "mediaType": "application/pdf",
        "title": "handbook.pdf, page 2-3",
        "filename": "handbook.pdf",
        "providerMetadata": {
            "llama_cloud": {
                "text": "Keep it dry.",
                "score": 0.5,
                "file_name": "handbook.pdf",
                "page_start": 2,
                "page_end": 3,
                "metadata": {"file_name": "handbook.pdf", "deep": {"nan": None}},
                "attachments": [
                    {"attachment_name": "screenshots/page_2.jpg", "source_id": "file-1", "type": "screenshot"}
                ],
                "tool_call_id": "c1",
            }
        },
    }


@pytest.mark.parametrize(
    "passage",
    [
        {"content": "a", "metadata": {"url": "https://example.org/a", "file_name": "a.html"}},
        {"content": "a", "metadata": {"file_name": "https://example.org/a"}},
    ],
)
def test_a_source_on_the_web_is_an_address(passage: Chunk) -> None:
    [source] = [
        chunk
        for chunk in written(ToolResult("c1", "retrieve", {"results": [passage]}))
        if chunk["type"].startswith("source")
    ]
    assert (source["type"], source["url"]) == ("source-url", "https://example.org/a")


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", 5, None])
def test_what_is_no_web_address_is_none(url: Any) -> None:
    result = {"results": [{"content": "a", "metadata": {"url": url}}]}
    [source] = [chunk for chunk in written(ToolResult("c1", "retrieve", result)) if chunk["type"].startswith("source")]
    assert (source["type"], source["title"]) == ("source-document", "unknown")
    assert "filename" not in source


def test_the_picture_that_a_tool_names_is_with_its_result(service: ChatService, client: Any) -> None:
    call, result = tool("c1", "read_page", {}, "see")
    result["image_attachment"] = {"attachment_name": "screenshots/page_2.jpg", "source_id": "file-1"}
    service.plays.append(Play([call, result, stop()]))
    chunks = chunks_of(client.create(index_ids=["idx-1"]).stream("Q?"))
    [answered] = [chunk for chunk in chunks if chunk["type"] == "tool-output-available"]
    assert answered["providerMetadata"] == {
        "llama_cloud": {"image_attachment": {"attachment_name": "screenshots/page_2.jpg", "source_id": "file-1"}}
    }


def test_what_is_unknown_passes_through_and_is_not_kept() -> None:
    chunks = written(UnknownEvent({"type": "mood", "__proto__": 1}), Stop())
    assert chunks[2] == {"type": "data-event", "data": {"type": "mood"}, "transient": True}


def test_a_prompt_that_is_echoed_adds_nothing(service: ChatService, client: Any) -> None:
    service.plays.append(Play([*segment("text", "A."), {"type": "user_input", "content": "Q?"}, stop()]))
    pieces = list(frames_of(client.create(index_ids=["idx-1"]).stream("Q?")))
    assert "" not in pieces
    assert kinds(read("".join(pieces)))[2:4] == ["text-start", "text-delta"]


def test_an_echo_and_the_whole_of_a_segment_without_a_piece_are_no_frames() -> None:
    writer = UIMessageWriter(Turn("Q?"))
    assert writer.feed(UserInput("Q?")) == writer.feed(Text("", 0)) == ""


def is_harmless(value: Any) -> bool:
    if isinstance(value, dict):
        maker = value.get("constructor")
        is_attack = "__proto__" in value or (isinstance(maker, dict) and "prototype" in maker)
        return not is_attack and all(map(is_harmless, value.values()))
    return all(map(is_harmless, value)) if isinstance(value, list) else True


ATTACKS = st.recursive(
    st.sampled_from([1, None, "a", float("nan"), float("-inf"), "\ud83d"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["__proto__", "constructor", "prototype", "a"]), inner, max_size=4)
    ),
)


@example({"__proto__": 1, "constructor": {"prototype": {}}})
@given(ATTACKS)
def test_a_harmless_value_can_be_read_strictly(value: Any) -> None:
    cleaned = harmless(value)
    assert is_harmless(cleaned)
    json.dumps(cleaned, allow_nan=False, ensure_ascii=False).encode()


@given(json_values)
def test_an_ordinary_value_stays_as_it_is(value: Any) -> None:
    assume("__proto__" not in repr(value))
    assert harmless(value) == value


def test_a_value_that_is_too_deep_is_cut_off() -> None:
    deep: Any = "bottom"
    for _ in range(5000):
        deep = {"a": [deep]}
    assert "bottom" not in json.dumps(harmless(deep))


def test_the_headers_are_those_of_the_protocol() -> None:
    assert dict(UI_MESSAGE_STREAM_HEADERS) == {
        "content-type": "text/event-stream",
        "cache-control": "no-cache",
        "x-vercel-ai-ui-message-stream": "v1",
        "x-accel-buffering": "no",
    }


# Requests


def said(role: str, *texts: str, **fields: Any) -> Chunk:
    return {"id": "1", "role": role, "parts": [{"type": "text", "text": text} for text in texts], **fields}


def answered(*texts: str, session_id: Any = "ses-1", turn: Any = 1, **fields: Any) -> Chunk:
    return said("assistant", *texts, metadata={"session_id": session_id, "turn": turn}, **fields)


def request(*messages: Any) -> Chunk:
    return {"id": "chat-1", "trigger": "submit-message", "messages": list(messages)}


def test_a_request_is_a_conversation_with_its_anchors() -> None:
    body = request(said("system", "Be brief."), said("user", "Q?"), answered("A.", "\n\nB."), said("user", "And?"))
    expected = [
        Message("system", "Be brief."),
        Message("user", "Q?"),
        Message("assistant", "A.\n\nB.", session_id="ses-1", turn=1),
        Message("user", "And?"),
    ]
    assert messages_from_ui(body) == expected
    assert messages_from_ui(json.dumps(body)) == expected
    assert messages_from_ui(json.dumps(body).encode()) == expected


def test_the_next_request_goes_on_in_the_session_and_an_edited_one_forks(service: ChatService, client: Any) -> None:
    first = client.converse(messages_from_ui(request(said("user", "One?"))), index_ids=["idx-1"])
    parts = [{"type": "text", "text": "You said: One?"}]
    answer = {"id": "2", "role": "assistant", "parts": parts, "metadata": metadata_of(chunks_of(first))}
    body = request(said("user", "One?"), answer, said("user", "Two?"))
    chunks = chunks_of(client.converse(messages_from_ui(body), index_ids=["idx-1"]))
    assert {**metadata_of(chunks), "usage": None} == {"session_id": "ses-1", "turn": 2, "usage": None}
    assert service.prompts == ["One?", "Two?"]
    body["messages"][-1] = said("user", "Other?")
    chunks = chunks_of(client.converse(messages_from_ui(body), index_ids=["idx-1"]))
    assert {**metadata_of(chunks), "usage": None} == {"session_id": "ses-2", "turn": 1, "usage": None}


def test_what_an_answer_holds_beside_its_words_is_not_sent_again() -> None:
    answer = answered("A.")
    answer["parts"] += [
        {"type": "reasoning", "text": "Hm."},
        {"type": "step-start"},
        {"type": "dynamic-tool", "toolName": "find", "providerExecuted": True, "output": 1},
        {"type": "source-document", "sourceId": "1", "mediaType": "text/plain", "title": "a"},
        {"type": "data-mood", "data": 1},
    ]
    assert messages_from_ui(request(answer)) == [Message("assistant", "A.", session_id="ses-1", turn=1)]


def test_what_another_models_tools_gave_back_is_told_with_their_names() -> None:
    other = said("assistant", "Let me see.", "It is 4.")
    other["parts"] += [
        {"type": "tool-add", "output": {"sum": 4}},
        {"type": "dynamic-tool", "toolName": "look", "output": "sunny"},
        {"type": "tool-ask", "state": "input-available"},
    ]
    assert messages_from_ui(request(other, said("user", "Q?"))) == [
        Message("tool", '{"sum": 4}', "add"),
        Message("tool", "sunny", "look"),
        Message("assistant", "Let me see.\n\nIt is 4."),
        Message("user", "Q?"),
    ]


def file(media_type: Any, **fields: Any) -> Chunk:
    return {"type": "file", "mediaType": media_type, "url": "data:,", **fields}


def test_a_file_is_told_by_name_in_an_earlier_message() -> None:
    shown = said("user", "See.")
    shown["parts"] += [file("image/png"), file("application/pdf", filename="a.pdf"), file(None), file("audio/ogg")]
    [first, _] = messages_from_ui(request(shown, said("user", "Q?")))
    assert first.text == "See.\n\n[image]\n\n[document: a.pdf]\n\n[document]\n\n[audio]"


def test_a_file_in_what_is_asked_is_refused(service: ChatService, client: Any) -> None:
    shown = said("user", "See.")
    shown["parts"].append(file("image/png"))
    messages = messages_from_ui(request(said("user", "Q?"), shown))
    assert messages[-1].media == ("image",)
    with pytest.raises(ChatError, match="image"):
        chunks_of(client.converse(messages, index_ids=["idx-1"]))
    assert service.operations() == []


@pytest.mark.parametrize(
    "metadata",
    [
        *[None, "x", {}, {"turn": 1}, {"session_id": None, "turn": 1}, {"session_id": "ses-1"}, {"other": "thing"}],
        *[{"session_id": 5, "turn": 1}, {"session_id": "ses-1", "turn": "1"}, {"session_id": ["ses-1"], "turn": True}],
    ],
)
def test_an_answer_that_does_not_say_where_it_stands_is_no_anchor(metadata: Any) -> None:
    [message] = messages_from_ui(request(said("assistant", "A.", metadata=metadata)))
    assert not message.is_anchor


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        "[" * 100_000,
        "\ud83d",
        "null",
        "[]",
        "{}",
        {"messages": []},
        {"messages": {}},
        {"messages": "Q?"},
        {"prompt": "Q?"},
        request(None),
        request("Q?"),
        request({}),
        request({"role": "user"}),
        request({"role": "user", "content": "Q?"}),
        request({"role": "user", "parts": "Q?"}),
        request({"role": "user", "parts": [None]}),
        request({"role": "user", "parts": [{"text": "Q?"}]}),
        request({"role": "user", "parts": [{"type": 5}]}),
        request({"role": "user", "parts": [{"type": "text"}]}),
        request({"role": "user", "parts": [{"type": "text", "text": 5}]}),
        request({"role": "tool", "parts": []}),
        request({"role": ["user"], "parts": []}),
    ],
    ids=lambda body: repr(body)[:60],
)
def test_a_malformed_request_is_refused(body: Any) -> None:
    with pytest.raises(ChatError):
        messages_from_ui(body)


@pytest.mark.parametrize(
    "body",
    [
        request(answered("A.")),
        request(said("user")),
        request(said("user", " ")),
    ],
    ids=["an answer last", "no part", "white space"],
)
def test_a_request_that_asks_nothing_is_refused_before_anything_is_asked(
    service: ChatService, client: Any, body: Chunk
) -> None:
    with pytest.raises(ChatError):
        chunks_of(client.converse(messages_from_ui(json.dumps(body)), index_ids=["idx-1"]))
    assert service.operations() == []


def test_half_a_character_is_mended() -> None:
    assert messages_from_ui(json.dumps(request(said("user", "Q\ud83d")))) == [Message("user", "Q\ufffd")]


@given(json_values)
def test_any_request_is_read_or_refused(value: Any) -> None:
    for body in (value, {"messages": value}, request(value), request({"role": "user", "parts": value})):
        with contextlib.suppress(ConfigurationError):
            messages_from_ui(body)


def test_metadata_can_be_checked_and_replaced() -> None:
    def verify(metadata: Chunk) -> Chunk:
        if metadata.get("signature") != "good":
            raise PermissionError("not yours")
        return {"session_id": metadata["session_id"], "turn": 7}

    good = answered("A.")
    good["metadata"]["signature"] = "good"
    [message] = messages_from_ui(request(good), verify=verify)
    assert (message.session_id, message.turn) == ("ses-1", 7)
    with pytest.raises(PermissionError, match="not yours"):
        messages_from_ui(request(answered("A.")), verify=verify)
    assert messages_from_ui(request(said("assistant", "A.")), verify=verify) == [Message("assistant", "A.")]
