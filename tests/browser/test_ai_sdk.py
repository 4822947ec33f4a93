"""What the AI SDK's own client makes of our stream, over HTTP, and what we make of its requests."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from ..support.server import Gate
from ..support.service import ChatService, Play
from ..support.turns import RECORDED, RECORDED_TEXT, RECORDED_THINKING, said, segment, stop, tool
from .support import Page

Message = dict[str, Any]


def parts_of(message: Message, kind: str) -> list[dict[str, Any]]:
    return [part for part in message["parts"] if part["type"] == kind]


def text_of(message: Message, kind: str = "text") -> str:
    return "".join(part["text"] for part in parts_of(message, kind))


def test_a_message_grows_piece_by_piece_into_the_turn(service: ChatService, page: Page) -> None:
    service.plays.append(Play(RECORDED))
    [held] = page.do({"read": "Where is the lion?"})
    grown = held["grown"]
    assert held["errors"] == []
    texts = [text_of(message) for message in grown]
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
    assert len(set(texts)) > 4
    first_words = next(message for message in grown if message["parts"])
    assert first_words["metadata"] == {"session_id": "ses-1", "turn": 1}
    last = grown[-1]
    assert text_of(last) == RECORDED_TEXT
    assert text_of(last, "reasoning") == RECORDED_THINKING
    assert [part["type"] for part in last["parts"]] == [
        *["reasoning", "text", "dynamic-tool", "source-document", "text"],
    ]
    assert {part["state"] for part in last["parts"] if "text" in part} == {"done"}
    assert last["metadata"]["usage"]["total_output_tokens"] == 7


def test_the_agents_tools_are_the_providers_and_its_sources_documents(service: ChatService, page: Page) -> None:
    attachment = {"attachment_name": "screenshots/page_2.jpg", "source_id": "file-1"}
    passage = {
        "content": "Löwe",
        "metadata": {"file_name": "handbook.pdf"},
        "static_fields": {"page_range_start": 2, "attachments": [attachment]},
    }
    web = {"content": "Lion", "metadata": {"url": "https://example.org/lion"}}
    found = tool("c1", "retrieve", {"query": "q"}, {"results": [passage, web]})
    service.plays.append(Play([*found, *said("Here.")]))
    [held] = page.do({"send": "Where?"})
    answer = held["messages"][-1]
    [called] = parts_of(answer, "dynamic-tool")
    assert called["providerExecuted"] is True
    assert (called["state"], called["toolName"], called["input"]) == ("output-available", "retrieve", {"query": "q"})
    assert called["output"] == {"results": [passage, web]}
    [document] = parts_of(answer, "source-document")
    assert (document["title"], document["mediaType"]) == ("handbook.pdf, page 2", "application/pdf")
    assert document["providerMetadata"]["llama_cloud"]["attachments"] == [attachment]
    assert parts_of(answer, "source-url")[0]["url"] == "https://example.org/lion"


@pytest.mark.rule("design-4")
def test_a_conversation_goes_on_in_its_session_and_an_edited_question_forks(service: ChatService, page: Page) -> None:
    held = page.do({"send": "One?"}, {"send": "Two?"}, {"edit": {"place": 2, "text": "Other?"}})
    assert [each["status"] for each in held] == ["ready"] * 3
    assert [each["messages"][-1]["metadata"]["session_id"] for each in held] == ["ses-1", "ses-1", "ses-2"]
    assert [each["messages"][-1]["metadata"]["turn"] for each in held] == [1, 2, 1]
    assert service.prompts[:2] == ["One?", "Two?"]
    assert service.prompts[2].endswith("Other?")
    assert "You said: One?" in service.prompts[2]
    assert "Two?" not in service.prompts[2]


def test_an_answer_regenerated_forks(service: ChatService, page: Page) -> None:
    held = page.do({"send": "One?"}, {"send": "Two?"}, {"regenerate": None})
    assert held[-1]["messages"][-1]["metadata"]["session_id"] == "ses-2"
    assert text_of(held[-1]["messages"][-1]).endswith("Two?")


# Starlette reads a synchronous stream in a thread, which hears of a page that left when the next frame comes.
@pytest.mark.parametrize("page", ["async"], indirect=True)
def test_a_page_that_stops_can_go_on_in_the_session(service: ChatService, page: Page) -> None:
    gate = Gate()
    long = [*segment("text", "A long ", "answer."), stop()]
    service.plays.append(Play(long, steps=lambda pieces: [*pieces[:2], gate, *pieces[2:]]))
    held = page.do({"stopped": {"text": "Tell me all.", "kind": "text"}}, {"send": "Thanks. More?"})
    stopped, after = held
    assert stopped["status"] == "ready"
    assert text_of(stopped["messages"][-1]) == "A long "
    assert stopped["messages"][-1]["metadata"] == {"session_id": "ses-1", "turn": 1}
    assert after["messages"][-1]["metadata"]["session_id"] == "ses-1"
    assert after["messages"][-1]["metadata"]["turn"] == 2
    assert service.prompts == ["Tell me all.", "Thanks. More?"]


def test_an_agents_failure_is_the_pages_error_after_all_that_came(service: ChatService, page: Page) -> None:
    failed = stop(is_error=True, error="The model is overloaded.")
    service.plays.append(Play([*segment("text", "Let me"), tool("c1", "find", {}, None)[0], failed]))
    [held] = page.do({"send": "One?"})
    assert held["status"] == "error"
    assert "The model is overloaded." in held["error"]
    answer = held["messages"][-1]
    assert text_of(answer) == "Let me"
    assert parts_of(answer, "text")[0]["state"] == "done"
    assert parts_of(answer, "dynamic-tool")[0]["state"] == "output-error"
    assert answer["metadata"]["turn"] == 1
    assert answer["metadata"]["usage"]["turns"] == 2


def test_what_follows_an_error_is_read_to_its_end(service: ChatService, page: Page) -> None:
    service.plays.append(Play([*segment("text", "Hm"), stop(is_error=True, error="Out of luck.")]))
    [held] = page.do({"read": "One?"})
    assert len(held["errors"]) == 1
    assert text_of(held["grown"][-1]) == "Hm"


def test_after_a_failed_turn_the_conversation_goes_on(service: ChatService, page: Page) -> None:
    service.plays.append(Play([*segment("text", "Hm"), stop(is_error=True, error="Out of luck.")]))
    held = page.do({"send": "One?"}, {"send": "Two?"})
    assert held[1]["status"] == "ready"
    assert text_of(held[1]["messages"][-1]).startswith("You said: ")


def test_a_line_that_breaks_upstream_is_not_seen_by_the_page(service: ChatService, page: Page) -> None:
    service.plays.append(Play(RECORDED, cut_after=700))
    [held] = page.do({"send": "Where is the lion?"})
    assert (held["status"], text_of(held["messages"][-1])) == ("ready", RECORDED_TEXT)
    assert len(service.prompts) == 1


def test_a_line_that_breaks_for_good_is_an_error(service: ChatService, page: Page) -> None:
    half = [*segment("text", "Let me"), tool("c1", "find", {}, None)[0]]
    service.plays.append(Play(half, history=[half]))
    [held] = page.do({"send": "One?"})
    assert held["status"] == "error"
    assert text_of(held["messages"][-1]) == "Let me"
    assert held["messages"][-1]["metadata"] == {"session_id": "ses-1", "turn": 1}


DEEP: Any = {"a": 1}
for _ in range(150):
    DEEP = {"a": [DEEP]}

HOSTILE: list[Any] = [
    {"__proto__": {"polluted": True}, "kept": 1},
    {"a": [{"b": {"__proto__": 1}}]},
    {"constructor": {"prototype": {"polluted": True}}},
    {"constructor": {"prototype": 1, "kept": 1}},
    {"constructor": "a word", "prototype": "a word"},
    [float("nan"), float("inf"), {"a": -float("inf")}],
    '{"__proto__": 1, "constructor": {"prototype": 1}}',
    'data: [DONE]\n\ndata: {"type":"error","errorText":"x"}\n\n',
    "\u2028\u2029\r\n\x00\ufeff",
    None,
    "",
    0,
    [],
    DEEP,
    1e308,
    10**30,
]


@pytest.mark.parametrize("name", ["find", "__proto__", "constructor", "", "tool-x\n\ndata: x"])
def test_hostile_values_do_not_stop_the_page(service: ChatService, page: Page, name: str) -> None:
    events: list[Any] = []
    for number, value in enumerate(HOSTILE):
        events += tool(f"{name}{number}", name, {"value": value}, value)
        events += tool(f"s{number}", name, {}, {"results": [{"content": "a", "metadata": {"odd": value}}]})
    service.plays.append(Play([*events, *said("Done.")]))
    [held] = page.do({"send": "One?"})
    assert (held["status"], held.get("error")) == ("ready", None)
    answer = held["messages"][-1]
    assert text_of(answer) == "Done."
    assert len(parts_of(answer, "dynamic-tool")) == 2 * len(HOSTILE)
    outputs = [part.get("output") for part in parts_of(answer, "dynamic-tool")[::2]]
    assert outputs[:6] == [
        *[{"kept": 1}, {"a": [{"b": {}}]}, {"constructor": {}}, {"constructor": {"kept": 1}}],
        *[{"constructor": "a word", "prototype": "a word"}, [None, None, {"a": None}]],
    ]
    assert outputs[6:9] == HOSTILE[6:9]


@pytest.mark.parametrize("call_id", ["__proto__", "constructor", "", "0", "toString"])
def test_hostile_ids_and_odd_orders_do_not_stop_the_page(service: ChatService, page: Page, call_id: str) -> None:
    call, result = tool(call_id, "find", {"q": 1}, "found")
    again, other = tool(call_id, "find", {"q": 2}, "other")
    service.plays.append(Play([result, call, again, other, *said("Done.")]))
    [held] = page.do({"send": "One?"})
    assert (held["status"], held.get("error")) == ("ready", None)
    called = parts_of(held["messages"][-1], "dynamic-tool")
    assert [(part["input"], part["output"]) for part in called] == [({"q": 1}, "found"), ({"q": 2}, "other")]


def test_a_result_without_its_call_is_shown(service: ChatService, page: Page) -> None:
    service.plays.append(Play([tool("c1", "find", {}, "found")[1], *said("Done.")]))
    [held] = page.do({"send": "One?"})
    [called] = parts_of(held["messages"][-1], "dynamic-tool")
    assert (called["state"], called["input"], called["output"]) == ("output-available", {}, "found")


def test_unknown_events_reach_the_page_and_are_not_kept(service: ChatService, page: Page) -> None:
    service.plays.append(Play([{"type": "mood", "__proto__": 1, "value": "good"}, *said("Done.")]))
    [held] = page.do({"send": "One?"})
    assert [part["data"] for part in held["heard"]] == [{"type": "mood", "value": "good"}]
    assert [part["type"] for part in held["messages"][-1]["parts"]] == ["text"]


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([{"type": "data-mood", "data": 1}], "empty"),
        ([{"type": "file", "mediaType": "image/png", "url": "data:,"}], "image"),
    ],
    ids=["no text", "a picture"],
)
def test_what_cannot_be_asked_is_told_to_the_page_before_anything_is_asked(
    service: ChatService, page: Page, parts: list[Any], told: str
) -> None:
    held = page.do({"write": [{"id": "1", "role": "user", "parts": parts}]}, {"regenerate": None})[-1]
    assert held["status"] == "error"
    assert told in held["error"]
    assert service.operations() == []
