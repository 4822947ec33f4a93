"""What others have written, put into plain and harmless words; and views, where they are installed."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from llama_cloud_chat import Source, Turn
from llama_cloud_chat._turn.wording import brief, call_line, clean, clean_line, count, name_of, pages_of


def test_nothing_is_left_that_a_terminal_obeys_or_that_reads_backwards() -> None:
    assert clean("a\x1b[2J\x9b\u202eb\ud83e\tc\n") == "a[2Jb\ufffd\tc\n"


@pytest.mark.parametrize(
    ("text", "line"), [("one\n\n two\t", "one two"), ("word " * 5, "word word…"), ("x" * 1000, "xxxxxxxxx…")]
)
def test_a_line_is_one_line_of_bounded_length(text: str, line: str) -> None:
    assert clean_line(text, 10) == line


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def test_a_call_is_written_as_in_python_and_briefly() -> None:
    assert call_line("find", {"query": 'a "b"', "top_k": 6}) == 'find(query="a \\"b\\"", top_k=6)'
    assert call_line("t", {"a": nested(100_000)}) == "t(a=…)"
    assert len(brief("x" * 100_000)) == 80
    assert call_line("t", {str(number): 1 for number in range(20)}).count("=") == 8


def test_numbers_come_with_their_nouns() -> None:
    assert [count(number, "source") for number in (0, 1, 1234)] == ["0 sources", "1 source", "1,234 sources"]


@pytest.mark.parametrize(
    ("start", "end", "pages"), [(None, None, ""), (7, None, "7"), (7, 7, "7"), (7, 9, "7-9"), (None, 9, "")]
)
def test_pages_are_written_as_people_do(start: int | None, end: int | None, pages: str) -> None:
    assert pages_of(Source("", page_start=start, page_end=end)) == pages


def test_a_file_without_a_name_is_called_by_its_id() -> None:
    names = [name_of(one) for one in (Source("", file_name="a\nb"), Source("", file_id="f-1"), Source(""))]
    assert names == ["a b", "f-1", "unknown"]


def test_a_turn_shows_itself_where_views_are_installed() -> None:
    pytest.importorskip("nh3", reason="the extra `notebook` is not installed")
    turn = Turn("How many?")
    assert "How many?" in (turn._repr_html_() or "")
    assert "> How many?" in (turn._repr_markdown_() or "")


def test_a_turn_shows_its_plain_repr_where_views_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    turn = Turn("How many?")
    monkeypatch.setitem(sys.modules, "llama_cloud_chat.notebook", None)
    assert (turn._repr_html_(), turn._repr_markdown_(), turn._repr_mimebundle_()) == (None, None, {})
