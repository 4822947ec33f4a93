"""Turns as the service may stream them: what every way of reading must agree on."""

from __future__ import annotations

from typing import Any

Event = dict[str, Any]


def text_delta(content: str) -> Event:
    return {"type": "text_delta", "content": content}


def thinking_delta(content: str) -> Event:
    return {"type": "thinking_delta", "content": content}


def text(content: str) -> Event:
    return {"type": "text", "content": content}


def thinking(content: str) -> Event:
    return {"type": "thinking", "content": content}


def call(call_id: str, name: str = "retrieve", **arguments: Any) -> Event:
    return {"type": "tool_call", "call_id": call_id, "name": name, "arguments": arguments}


def result(call_id: str, value: Any, name: str = "retrieve", **fields: Any) -> Event:
    return {"type": "tool_result", "call_id": call_id, "name": name, "result": value, **fields}


def stop(**fields: Any) -> Event:
    usage = {"duration_ms": 12.5, "total_input_tokens": 7, "total_output_tokens": 5, "turns": 2}
    return {"type": "stop", "is_error": False, "usage": usage, **fields}


PASSAGE = {
    "content": "Everyone has 30 days of leave.",
    "score": 3.5,
    "rerank_score": 0.75,
    "metadata": {"file_name": "leave.md", "team": "people"},
    "static_fields": {
        "parsed_directory_file_id": "file-1",
        "page_range_start": 2,
        "page_range_end": 3,
        "chunk_start_char": 10,
        "chunk_end_char": 40,
        "attachments": [{"attachment_name": "screenshots/page_2.jpg", "source_id": "file-1", "type": "screenshot"}],
    },
}
PICTURE = {"attachment_name": "screenshots/page_7.jpg", "source_id": "file-1"}

THINK_LOOK_ANSWER = [
    thinking_delta("Let me "),
    thinking_delta("look."),
    thinking("Let me look."),
    call("c1", query="leave"),
    result("c1", {"results": [PASSAGE]}, image_attachment=PICTURE),
    text_delta("30 "),
    text_delta("days."),
    text("30 days."),
    stop(),
]

# Those whose deltas add up to what the history keeps: streams and `invoke` agree on them to the letter.
CONSISTENT: dict[str, list[Event]] = {
    "think, look, answer": THINK_LOOK_ANSWER,
    "text alone": [text_delta("Hel"), text_delta("lo"), text("Hello"), stop()],
    "many pieces": [*map(text_delta, ["One", " two", " three", " four"]), text("One two three four"), stop()],
    "several segments": [
        thinking_delta("First"),
        thinking("First"),
        text_delta("One"),
        text("One"),
        call("c1"),
        result("c1", "nothing"),
        thinking_delta("Second"),
        thinking("Second"),
        text_delta("Two"),
        text_delta(" three"),
        text("Two three"),
        stop(),
    ],
    "two texts side by side": [text_delta("A"), text("A"), text_delta("B"), text("B"), stop()],
    "three texts": [text_delta("A"), call("c1"), result("c1", 1), text("B"), text_delta("C"), text("C"), stop()],
    "parallel tools": [
        call("c1", q=1),
        call("c2", q=2),
        result("c2", {"items": [{"file_id": "file-2", "file_name": "b.md"}]}, name="find"),
        result("c1", {"results": [PASSAGE]}),
        text_delta("Done."),
        text("Done."),
        stop(),
    ],
    "wholes alone": [thinking("Hm."), call("c1"), result("c1", None), text("All at once."), stop()],
    "deltas alone": [thinking_delta("Hm"), thinking_delta("."), text_delta("Bit "), text_delta("by bit."), stop()],
    "a whole that says more": [text_delta("Hel"), text("Hello, you."), stop()],
    "late wholes": [
        thinking_delta("Hm"),
        text_delta("An"),
        thinking("Hmm."),
        text_delta("swer"),
        text("Answer."),
        stop(),
    ],
    "an answer in two around a tool, whole late": [
        text_delta("Look"),
        call("c1"),
        result("c1", [1, 2]),
        text("Look"),
        text_delta("found"),
        text("found"),
        stop(),
    ],
    "a late whole amid the next text": [
        text_delta("A"),
        call("c1"),
        result("c1", 1),
        text_delta("be"),
        text("A"),
        text_delta("et"),
        text("beet"),
        stop(),
    ],
    "an empty answer": [stop()],
    "thinking and no answer": [thinking_delta("Hm."), thinking("Hm."), stop()],
    "empty segments": [text_delta(""), thinking(""), text_delta("Hi"), text("Hi"), stop()],
    "unknown events": [
        {"type": "plan", "steps": 3},
        text_delta("Hi"),
        {"type": "weather", "content": "fine"},
        text_delta(" there"),
        text("Hi there"),
        stop(novelty=True),
    ],
    "an emoji cut in two": [text_delta("ok \ud83d"), text_delta("\ude00"), text("ok \U0001f600"), stop()],
    "skipped indexes and no usage": [
        text_delta("Hi"),
        text("Hi"),
        {"type": "stop", "is_error": False, "skipped_index_ids": ["idx-9"], "usage": {}},
    ],
    "a call without arguments": [call("c1"), result("c1", ""), text_delta("Hi"), text("Hi"), stop()],
    "an empty result that is an object": [call("c1"), result("c1", {}), text("Hi"), stop()],
}

CONTRADICTION = [text_delta("Twenty"), text("Thirty"), stop()]

ERROR = [
    thinking_delta("Hm."),
    text_delta("I was "),
    text_delta("about to"),
    {"type": "stop", "is_error": True, "error": "the model is out", "usage": {}},
]

ALL = {**CONSISTENT, "a contradiction": CONTRADICTION, "an error": ERROR}
