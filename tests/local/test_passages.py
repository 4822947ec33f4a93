"""Passages: exact offsets, bounded size, pages and headings; and the sentences in them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_cloud_chat.local._agents.kin import kin_of, spellings_of
from llama_cloud_chat.local._agents.sentences import Sentence, lines, sentences, speaks_of, stems
from llama_cloud_chat.local._library.passages import MAX_CHARS, split

LINES = st.sampled_from(
    ["# Title", "## Two", "Words and words.", "", "===", "```", "~~~", "- item", "\f", " ", "x" * 900, "ü ä. "]
)
TEXTS = st.one_of(st.text(), st.lists(LINES, max_size=40).map("\n".join))


@settings(deadline=None)
@given(TEXTS)
def test_a_passages_offsets_are_where_its_content_is(text: str) -> None:
    for passage in split(text):
        assert text[passage.start : passage.end] == passage.content


@settings(deadline=None)
@given(TEXTS)
def test_passages_leave_out_nothing_but_blank_space_and_do_not_overlap(text: str) -> None:
    end = 0
    for number, passage in enumerate(split(text)):
        assert passage.index == number
        assert passage.start >= end
        assert not text[end : passage.start].strip()
        assert 0 < len(passage.content) <= MAX_CHARS
        end = passage.end
    assert not text[end:].strip()


@settings(deadline=None)
@given(TEXTS)
def test_a_passage_is_on_the_page_its_form_feeds_say(text: str) -> None:
    for passage in split(text):
        page = text.count("\f", 0, passage.start) + 1 if "\f" in text else None
        assert passage.page == page
        assert "\f" not in passage.content


def test_a_passage_begins_at_a_heading_and_knows_it() -> None:
    text = "Before.\n\n# One\n\nFirst.\n\n## Two\n\nSecond.\n\nThree\n=====\n\nThird.\n"
    assert [(each.heading, each.content) for each in split(text)] == [
        ("", "Before."),
        ("One", "# One\n\nFirst."),
        ("Two", "## Two\n\nSecond."),
        ("Three", "Three\n=====\n\nThird."),
    ]


def test_headings_without_text_stay_with_what_follows() -> None:
    (passage,) = split("# One\n\n## Two\n\nText.")
    assert passage.content == "# One\n\n## Two\n\nText."
    assert passage.heading == "Two"


def test_a_heading_inside_fenced_code_is_no_heading() -> None:
    (passage,) = split("Run:\n\n```sh\n# not a heading\n\nls\n```\n\nDone.")
    assert passage.heading == ""


def test_a_long_paragraph_is_cut_between_sentences() -> None:
    text = "This is one sentence of many. " * 200
    passages = split(text)
    assert len(passages) > 2
    assert all(passage.content.endswith("many.") for passage in passages)


def test_a_large_text_is_split_in_linear_time() -> None:
    assert len(split("word " * 400_000)) > 1000
    assert len(split("\n" * 500_000 + "x")) == 1


def test_a_line_in_bold_or_in_capitals_by_itself_is_a_heading() -> None:
    text = "**How long?**\nThree days.\n\n7. LIABILITY\n\nNo more than EUR 50.\n\nTHE END COMES HERE.\n\nMore **bold**."
    assert [each.heading for each in split(text)] == ["How long?", "7. LIABILITY"]


def test_a_numbered_line_above_clauses_of_its_number_is_a_heading() -> None:
    text = "1. Subject\n1.1 Flour is delivered.\n\n2) Price\n2.1 It is 410 euros.\n\n3. Count the till.\n4. Unlock.\n"
    assert [each.heading for each in split(text)] == ["Subject", "Price"]
    assert texts(text) == [
        "1.1 Flour is delivered.",
        "2.1 It is 410 euros.",
        "Count the till.",
        "Unlock.",
    ]


def texts(passage: str) -> list[str]:
    return [sentence.text for sentence in sentences(passage) if not sentence.block]


def test_sentences_are_found_in_prose_and_lists_and_markup_is_left_out() -> None:
    passage = (
        "# Heading here for you\n\n<p>html is not prose here</p>\n[![badge](x)](y) and more words\n"
        "The first sentence wraps\nover a line. The second one (really) ends here!\n\n"
        "* A point of a list\n* Two\n1. Another point of it\n   that goes on\n\n"
        "Title of a section\n------------------\n\n.. image:: x.png\n\n| a | table | row | here |\n"
    )
    assert texts(passage) == [
        "The first sentence wraps over a line.",
        "The second one (really) ends here!",
        "A point of a list",
        "Two",
        "Another point of it that goes on",
        "a; table; row; here",
    ]


def test_code_goes_with_the_sentence_that_announces_it() -> None:
    passage = "You can do it like this:\n\n```python\nx = 1\n```\n\nThis announces nothing at all:\n\nYes, it works."
    assert list(sentences(passage)) == [
        Sentence("You can do it like this:", "```python\nx = 1\n```", "code", paragraph=1),
        Sentence("Yes, it works.", paragraph=3),
    ]


def test_a_list_is_said_as_a_whole_and_in_its_points() -> None:
    passage = "# Claims\n\nDo this:\n\n1. Take a photo.\n2. Send\n   it.\n\n- Rain\n"
    steps = {"headings": ("Claims",), "before": "Do this:", "paragraph": 2}
    assert list(sentences(passage)) == [
        Sentence("Do this:", "1. Take a photo.\n2. Send\n   it.\n\n- Rain", "steps", ("Claims",), paragraph=2),
        Sentence("Take a photo.", "", "point", **steps),
        Sentence("Send it.", "", "point", **steps),
        Sentence("Rain", "", "point", **steps),
    ]


@pytest.mark.parametrize(
    "table",
    [
        "| Fruit | Price |\n|---|---|\n| apple | 3 |",
        "| Fruit | Price |\n| apple | 3 |",
        "+-------+-------+\n| Fruit | Price |\n+=======+=======+\n| apple | 3     |\n+-------+-------+",
        "=====  =====\nFruit  Price\n=====  =====\napple  3\n=====  =====",
    ],
)
def test_the_row_of_a_table_is_said_with_the_names_of_its_columns(table: str) -> None:
    whole, row = sentences(f"# Costs\n\n{table}")
    assert (whole.text, whole.block, whole.kind) == ("Costs:", table, "table")
    assert (row.text, row.kind) == ("Fruit: apple; Price: 3", "row")


def test_a_table_of_spaces_has_three_columns_at_least() -> None:
    assert texts("Fruit   Price   Colour\napple   3       red") == ["Fruit: apple; Price: 3; Colour: red"]
    assert texts("This is prose.  It has gaps.\nThis is too.  It has one.") != ["This is prose.; It has gaps."]


def test_a_question_is_the_heading_of_its_answer() -> None:
    passage = (
        "**How long?**\n\nThree days, mostly.\n\nCan I pay later?\n\nYes, you can.\n\n"
        "Q: Is it free?\nA: No, it is not.\n"
    )
    assert [(each.headings, each.text) for each in sentences(passage)] == [
        (("How long?",), "Three days, mostly."),
        (("Can I pay later?",), "Yes, you can."),
        (("Is it free?",), "No, it is not."),
    ]


def test_a_block_that_is_too_long_is_cut_and_code_that_is_too_long_is_left_out() -> None:
    points = "\n".join(f"- Point {number} of many points." for number in range(100))
    (whole,) = [each for each in sentences(f"# Points\n\n{points}") if each.block]
    assert whole.block.endswith("points.\n\u2026")
    assert len(whole.block) < 700
    assert list(sentences("# Code\n\n```\n" + "x = 1\n" * 200 + "```")) == []


def test_a_passage_of_anything_is_taken_apart_in_bounded_time() -> None:
    began = time.process_time()
    for piece in (
        "- ",
        "| ",
        "|",
        "> ",
        "a  b  c\n",
        "* a\n\n",
        "**a**\n\n",
        "=== ===\n",
        "[![",
        "A? ",
        "1. \n",
        "`",
        ">",
    ):
        list(sentences(piece * (MAX_CHARS // len(piece))))
        list(lines(piece * (MAX_CHARS // len(piece))))
    assert time.process_time() - began < 5


@settings(deadline=None)
@given(TEXTS)
def test_every_sentence_stands_in_its_passage(text: str) -> None:
    folded = " ".join(text.split())
    for sentence in sentences(text):
        # A heading announces its block with a colon; a row is put together from its cells.
        assert sentence.text in folded or sentence.text.removesuffix(":") in folded or sentence.kind == "row"
        assert all(line in text for line in sentence.block.removesuffix("\u2026").splitlines())


@pytest.mark.parametrize(
    ("word", "text"),
    [
        *[("timeout", "Strict Timeouts"), ("retry", "it retries"), ("http/2", "HTTP/2 is"), ("streaming", "streamed")],
        *[("delivery", "we deliver"), ("install", "Installation"), ("chunk", "chunk_size"), ("paid", "It is unpaid")],
    ],
)
def test_words_are_met_in_their_common_forms(word: str, text: str) -> None:
    assert speaks_of(word, stems(text))


def test_a_word_is_not_met_in_a_longer_one() -> None:
    assert not speaks_of("http/2", stems("HTTP/1.1"))
    assert not speaks_of("cat", stems("category"))


def test_other_words_for_the_same_thing_are_known_in_every_form() -> None:
    assert "leave" in kin_of("holidays")
    assert "agreement" in kin_of("contract")
    assert spellings_of("licence") == ["license"]
    assert kin_of("colour") == spellings_of("colour") == ["color"]
    assert kin_of("zebra") == []
    assert not [word for word in kin_of("cancelled") if speaks_of(word, stems("cancelled"))]
