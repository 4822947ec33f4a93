"""Passages: exact offsets, bounded size, pages and headings; and the sentences in them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_cloud_chat.local._agents.sentences import Sentence, sentences, speaks_of, stems
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


def texts(passage: str) -> list[str]:
    return [sentence.text for sentence in sentences(passage)]


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
        "Another point of it that goes on",
    ]


def test_code_goes_with_the_sentence_that_announces_it() -> None:
    passage = "You can do it like this:\n\n```python\nx = 1\n```\n\nThis announces nothing at all:\n\n- Yes, it works."
    assert list(sentences(passage)) == [
        Sentence("You can do it like this:", "```python\nx = 1\n```"),
        Sentence("Yes, it works."),
    ]


@settings(deadline=None)
@given(TEXTS)
def test_every_sentence_stands_in_its_passage(text: str) -> None:
    folded = " ".join(text.split())
    for sentence in sentences(text):
        assert sentence.text in folded
        assert sentence.code in text


@pytest.mark.parametrize(
    ("word", "text"),
    [("timeout", "Strict Timeouts"), ("retry", "it retries"), ("http/2", "HTTP/2 is"), ("streaming", "streamed")],
)
def test_words_are_met_in_their_common_forms(word: str, text: str) -> None:
    assert speaks_of(word, stems(text))


def test_a_word_is_not_met_in_a_longer_one() -> None:
    assert not speaks_of("http/2", stems("HTTP/1.1"))
    assert not speaks_of("cat", stems("category"))
