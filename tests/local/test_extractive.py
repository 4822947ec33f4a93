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
        ("| fruit | price |\n|---|---|\n| apple | 3 |\n", "the price of an apple", "fruit: apple; price: 3"),
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


def answer_to(document: str, *prompts: str, name: str = "a.md", **others: str) -> str:
    files = {name: document} | {f"{other}.md": text for other, text in others.items()}
    chat = Conversation(["tiny"], library_of(tiny=files))
    return [text_of(chat.ask(prompt)) for prompt in prompts][-1]


def test_what_nothing_speaks_of_is_said_and_the_closest_is_quoted() -> None:
    document = "The total liability shall not exceed 50 euros.\n\nNeither is liable for lost profits."
    assert answer_to(document, "Is there a roof on liability?") == (
        "Nothing speaks of roof. The closest is:\n\nThe total liability shall not exceed 50 euros. (a.md)"
    )


def test_words_that_stand_in_different_places_are_not_taken_for_one_answer() -> None:
    answer = answer_to("# Desks\n\nThey stay with the company.", "Is there a company car?", b="# Cars\n\nRent a car.")
    assert answer.startswith("Nothing speaks of company and car together. The closest is:\n\n")


def test_another_word_for_the_same_thing_is_looked_for() -> None:
    chat = Conversation(
        ["tiny"], library_of(tiny={"a.md": "Everyone has 28 days of leave.\n\nThe bus leaves in March."})
    )
    events = chat.ask("How much vacation is there?")
    assert calls_in(events) == ["retrieve"] * 2
    assert text_of(events) == "Nothing speaks of vacation. The closest is:\n\nEveryone has 28 days of leave. (a.md)"


def test_another_spelling_is_the_same_word() -> None:
    assert answer_to("It has the Apache License.", "Which licence is it?") == "It has the Apache License. (a.md)"


STEPS = "# Claims\n\nClaims are paid in May.\n\n## How to claim\n\n1. Take a photo.\n2. Send it.\n3. Wait.\n"


def test_the_steps_of_a_list_are_quoted_whole_and_in_order() -> None:
    assert answer_to(STEPS, "How do I claim?") == "How to claim: (a.md)\n\n1. Take a photo.\n2. Send it.\n3. Wait."


def test_a_point_that_was_asked_for_is_quoted_by_itself() -> None:
    assert answer_to("# It\n\n- Runs on Windows\n- Saves\n", "Does it run on Windows?") == "Runs on Windows (a.md)"


def test_the_answer_to_a_question_like_it_is_quoted_not_that_question() -> None:
    document = "**How long does delivery take?**\n\nThree days.\n\n**What does delivery cost?**\n\nFour euros, or five."
    assert answer_to(document, "What's the cost of delivery?") == "Four euros, or five. (a.md)"


def test_what_leans_on_the_sentence_before_it_is_quoted_with_it() -> None:
    document = "Five days may be carried over. They expire in March. The canteen is open. Take the bus."
    assert answer_to(document, "When do days expire?") == "Five days may be carried over. They expire in March. (a.md)"


NEWS = "# Changelog\n\n## 2.0\n\n- Backup: the backup of a backup is no longer a backup.\n- Backup keeps days.\n"


def test_histories_of_changes_badges_and_advertisements_count_less_than_text() -> None:
    beside = {
        "name": "CHANGELOG.md",
        "README": "# B\n\n[![Backup](x.svg)](y)\n\nBackup now, up to 50% off!\n\nA backup takes days.",
    }
    assert answer_to(NEWS, "How long does a backup take?", **beside) == "A backup takes days. (README.md)"
    assert "CHANGELOG.md" in answer_to(NEWS, "What changed in the backup in 2.0?", **beside)


def test_what_was_said_may_be_said_again_when_it_is_asked_for() -> None:
    document = "Everyone has 28 days of leave.\n\nLeave is planned in spring.\n"
    once = answer_to(document, "How many days of leave are there?")
    assert once == "Everyone has 28 days of leave. (a.md)"
    assert answer_to(document, "How many days of leave are there?", "How many was that again?") == once
    assert answer_to(document, "How many days of leave are there?", "How many days of leave are there?") == once
    assert (
        answer_to(document, "How many days of leave are there?", "What else?") == "Leave is planned in spring. (a.md)"
    )


def test_a_row_that_was_quoted_is_quoted_again_for_another_of_its_cells() -> None:
    names = ["Rye loaf", "Ciabatta", "Linzer cake", "Cheesecake", "Oat cookie"]
    table = "\n".join(f"- product: {name}; price: {price}; allergens: gluten" for price, name in enumerate(names))
    row = "product: Cheesecake; price: 3; allergens: gluten (a.md)"
    assert answer_to(table, "How much is the cheesecake?") == row
    assert answer_to(table, "How much is the cheesecake?", "What allergens does it have?") == row


def test_what_nothing_speaks_of_does_not_hide_what_a_pronoun_stands_for() -> None:
    documents = {"b": "The cheesecake costs 24 euros."}
    asked = ["How much is the cheesecake?", "How long does it keep?"]
    assert answer_to("Paid leave is 30 days.", *asked, **documents) == (
        "Nothing speaks of keep. The closest is:\n\nThe cheesecake costs 24 euros. (b.md)"
    )
    assert answer_to("Paid leave is 30 days.", *asked, "And the password?", **documents) == (
        "I found nothing in the indexes about password."
    )


def test_the_word_that_a_follow_up_puts_in_place_of_another_decides() -> None:
    table = "| Substance | Mean |\n|---|---|\n| Nitrate | 18 |\n| Lead | 0.8 |\n"
    assert answer_to(table, "What is the mean of nitrate?") == "Substance: Nitrate; Mean: 18 (a.md)"
    assert answer_to(table, "What is the mean of nitrate?", "And lead?") == "Substance: Lead; Mean: 0.8 (a.md)"


def test_contractions_are_no_words() -> None:
    assert answer_to("The log is in the cache.", "Where's the log?") == "The log is in the cache. (a.md)"
    assert "about sick" in thinking_of(Conversation().ask("What do I do when I'm sick and can't, don't or won't?"))


def test_an_answer_is_about_a_paragraph_however_much_there_is_to_say() -> None:
    document = "\n\n".join(
        f"Zebra number {number} has many stripes and eats grass all day long." for number in range(50)
    )
    answer = answer_to(document, "What about the zebra with stripes?")
    assert len(answer) < 700
    assert len(answer.split("\n\n")) <= 3
    long = "Zebras have " + "very " * 300 + "many stripes."
    assert len(answer_to(f"# Zebra\n\n{long} {long}", "How many stripes do zebras have?")) < 1700


def test_how_something_is_done_is_told_from_its_beginning() -> None:
    document = "# Rain gauge\n\n## Calibrate it\n\nPour in some water. The gauge tips 50 times. If not, turn it.\n"
    whole = "Pour in some water. The gauge tips 50 times. If not, turn it. (a.md)"
    assert answer_to(document, "How do I calibrate the gauge?") == whole
