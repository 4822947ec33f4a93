"""The extractive agent: it really looks things up, quotes them with their source, and says when it cannot."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from llama_cloud_chat import Message, render_transcript
from llama_cloud_chat.local import AgentTurn, extractive_agent
from llama_cloud_chat.local._library.tools import Library
from llama_cloud_chat.local._server.store import encode
from tests.local.harness import HANDBOOK, library_of

LIBRARY = library_of(handbook=HANDBOOK)
INDEXES = ["handbook"]


class Conversation:
    """Asks the agent, turn after turn."""

    def __init__(self, index_ids: Sequence[str] = INDEXES, library: Library = LIBRARY) -> None:
        self.history: list[dict[str, Any]] = []
        self.index_ids = index_ids
        self.library = library
        self.number = 0

    def ask(self, prompt: str) -> list[dict[str, Any]]:
        self.number += 1
        past = [encode(event) for event in self.history]
        turn = AgentTurn("ses-1", self.number, prompt, self.library.tools(self.index_ids), past=past)
        events = [event for event in extractive_agent(turn) if not event["type"].endswith("_delta")]
        self.history += [{"type": "user_input", "content": prompt}, *events, {"type": "stop"}]
        return events


@pytest.fixture
def chat() -> Conversation:
    return Conversation()


def text_of(events: list[dict[str, Any]]) -> str:
    return str(events[-1]["content"])


def thinking_of(events: list[dict[str, Any]]) -> str:
    return str(events[0]["content"])


def calls_in(events: list[dict[str, Any]]) -> list[str]:
    return [event["name"] for event in events if event["type"] == "tool_call"]


def test_an_answer_is_made_of_sentences_with_their_source(chat: Conversation) -> None:
    events = chat.ask("How many days of paid leave are there?")
    assert [event["type"] for event in events] == ["thinking", "tool_call", "tool_result", "text"]
    assert events[1]["name"] == events[2]["name"] == "retrieve"
    assert events[1]["call_id"] == events[2]["call_id"]
    for paragraph in text_of(events).split("\n\n"):
        sentence, _, source = paragraph.rpartition(" (")
        name = source.rstrip(")").split(",")[0]
        assert sentence in HANDBOOK[name]
    assert text_of(events).startswith("Everyone has 30 days of paid leave each year. (leave.md)")


def test_a_source_with_pages_names_the_page(chat: Conversation) -> None:
    assert "(travel.txt, page 2)" in text_of(chat.ask("Who books the hotels?"))


@pytest.mark.parametrize("prompt", ["What is the capital of Mongolia?", "Quantum chromodynamics?", "¿?", "the"])
def test_it_says_plainly_when_nothing_matches(chat: Conversation, prompt: str) -> None:
    events = chat.ask(prompt)
    assert calls_in(events) == ["retrieve"]
    assert text_of(events).startswith("I found nothing in the indexes")


def test_a_follow_up_knows_what_was_asked_and_says_something_new(chat: Conversation) -> None:
    first = text_of(chat.ask("How many days of paid leave are there?"))
    second = chat.ask("What else does it say about that?")
    assert 'It follows on from "How many days of paid leave are there?"' in thinking_of(second)
    assert "leave" in second[1]["arguments"]["query"]
    assert text_of(second) not in first
    third = chat.ask("And what else?")
    assert 'It follows on from "How many days of paid leave are there?"' in thinking_of(third)
    for _ in range(5):
        last = text_of(chat.ask("And what else?"))
    assert last.startswith("I found nothing further in the indexes about")


def test_a_follow_up_with_words_of_its_own_adds_them(chat: Conversation) -> None:
    chat.ask("How many days of paid leave are there?")
    events = chat.ask("And when sick?")
    assert events[1]["arguments"]["query"].split()[0] == "sick"
    assert "leave" in events[1]["arguments"]["query"]
    assert "doctor's note" in text_of(events)


def test_a_new_question_is_not_mixed_with_the_old_one(chat: Conversation) -> None:
    chat.ask("How many days of paid leave are there?")
    events = chat.ask("Which editor licences does the office buy?")
    assert "leave" not in events[1]["arguments"]["query"]
    assert "follows" not in thinking_of(events)


@pytest.mark.parametrize("name", ["tools/editor.rst", "editor.rst", "Editor.RST"])
def test_a_question_that_names_a_file_looks_into_it(chat: Conversation, name: str) -> None:
    events = chat.ask(f"What does {name} say about licences?")
    assert calls_in(events) == ["grep", "read"]
    assert text_of(events) == "Licences are bought by the office. (tools/editor.rst)"


def test_a_file_named_without_a_question_is_read(chat: Conversation) -> None:
    events = chat.ask("What does travel.txt say?")
    assert calls_in(events) == ["read"]
    assert "Trains are preferred" in text_of(events)


def test_a_file_that_does_not_hold_the_words_is_said_to_say_nothing(chat: Conversation) -> None:
    events = chat.ask("What does travel.txt say about zebras?")
    assert calls_in(events) == ["grep"]
    assert text_of(events) == "I found nothing in travel.txt about zebras."


def test_without_an_index_it_says_how_to_give_one() -> None:
    events = Conversation([]).ask("How many days?")
    assert calls_in(events) == []
    assert "index_ids" in text_of(events)


@pytest.mark.parametrize(
    ("document", "prompt", "answer"),
    [
        ("The sky is blue today.", "What colour is the sky?", "The sky is blue today."),
        ("# Refunds\n\nThey take five days.\n", "How long do refunds take?", "They take five days."),
        ("Refunds: five days.", "How long do refunds take?", "Refunds: five days."),
        ("wifi password: hunter2", "What is the wifi password?", "wifi password: hunter2"),
        ("Elephants", "What about elephants?", "Elephants"),
        ("| fruit | price |\n|---|---|\n| apple | 3 |\n", "the price of an apple", "apple | 3"),
        ("年假为三十天。未使用的天数在三月底到期。", "年假有几天?", "年假为三十天。"),
        ("設定ファイルは zephyr.toml です。", "設定ファイルは何ですか", "設定ファイルは zephyr.toml です。"),
        ("Гостиницы бронирует офис. Отпуск составляет месяц.", "Кто бронирует гостиницы?", "Гостиницы бронирует офис."),
    ],
)
def test_words_that_are_there_are_found_in_a_single_short_document(document: str, prompt: str, answer: str) -> None:
    chat = Conversation(["tiny"], library_of(tiny={"a.txt": document}))
    events = chat.ask(prompt)
    assert f"{answer} (a.txt)" in text_of(events).split("\n\n")
    assert all(result["score"] >= 0.1 for result in events[2]["result"]["results"])


def test_a_word_in_another_script_is_shown_as_it_was_written(chat: Conversation) -> None:
    assert text_of(chat.ask("年假有几天?")) == "I found nothing in the indexes about 年假有几天."


@pytest.mark.parametrize("prompt", ["What about hotels?", "What does breakfast cost?"])
def test_a_follow_up_that_the_old_question_has_nothing_to_do_with_is_answered_by_itself(
    chat: Conversation, prompt: str
) -> None:
    chat.ask("How many days of paid leave are there?")
    events = chat.ask(prompt)
    assert "travel.txt" in text_of(events)
    assert "leave.md" not in text_of(events)


def test_a_conversation_told_in_one_prompt_is_understood_as_one(chat: Conversation) -> None:
    told = [Message("user", "How many days of paid leave are there?"), Message("assistant", "Thirty (leave.md)")]
    events = chat.ask(render_transcript([*told, Message("user", "And when sick?")]))
    assert thinking_of(events).startswith('The question is about sick. It follows on from "How many days of paid leave')
    assert "doctor's note" in text_of(events)
    again = chat.ask("And what else?")
    assert 'It follows on from "How many days of paid leave are there?"' in thinking_of(again)


def test_the_same_question_is_answered_the_same_way() -> None:
    assert Conversation().ask("Who books the hotels?") == Conversation().ask("Who books the hotels?")


def test_a_prompt_that_is_one_endless_word_is_answered_in_bounded_time(chat: Conversation) -> None:
    began = time.process_time()
    assert text_of(chat.ask("a" * 200_000)).startswith("I found nothing")
    assert text_of(chat.ask("1.5 " * 200_000)).startswith("I found nothing")
    assert time.process_time() - began < 10
