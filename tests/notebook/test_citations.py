"""What an answer cites comes first among its sources; the rest is folded away."""

from __future__ import annotations

import pytest

from llama_cloud_chat import Source, Stop, Text, ToolCall, ToolResult, Turn
from llama_cloud_chat.notebook import to_html
from llama_cloud_chat.notebook._citations import part_sources

from .support import judge

LEAVE = "# Leave\n\nEveryone has 30 days of paid leave each year. What is left over expires in March."
ILLNESS = "Tell your team before ten o'clock. A doctor's note is due from the third morning on."
TRAINS = "Trains are preferred to planes for every distance below 600 km."
HOTELS = "Hotels are booked by the office."

FOUND = [("travel.pdf", 1, TRAINS), ("travel.pdf", 2, HOTELS), ("leave.md", None, LEAVE), ("leave.md", None, ILLNESS)]


def answered(text: str, found: list[tuple[str, int | None, str]] = FOUND) -> Turn:
    results = [
        {"content": content, "metadata": {"file_name": name}, "static_fields": {"page_range_start": page}}
        for name, page, content in found
    ]
    events = [ToolCall("c", "retrieve", {}), ToolResult("c", "retrieve", {"results": results}), Text(text), Stop()]
    return Turn.from_events("What?", events)


def texts(sources: list[Source]) -> list[str]:
    return [source.text for source in sources]


@pytest.mark.parametrize(
    ("answer", "cited"),
    [
        ("You have 30 days: everyone has 30 days of paid leave each year.", [LEAVE]),
        ("EVERYONE has **30 days** of paid leave, so you do.", [LEAVE]),
        ("Everyone has 30 days of paid leave each year. (leave.md)", [LEAVE]),
        ("You have 30 days. (leave.md)", [LEAVE, ILLNESS]),
        ("The office does it. (travel.pdf, page 2)", [HOTELS]),
        ("The office does it [travel.pdf p. 2].", [HOTELS]),
        ("See travel.pdf, pages 1-2.", [TRAINS, HOTELS]),
        ("See travel.pdf.", [TRAINS, HOTELS]),
        ("Hotels are booked by the office, and trains preferred (travel.pdf, page 1).", [TRAINS, HOTELS]),
        ("Hotels are booked by the office. Everyone has 30 days of paid leave.", [HOTELS, LEAVE]),
    ],
)
def test_what_the_answer_quotes_or_names_is_cited(answer: str, cited: list[str]) -> None:
    turn = answered(answer)
    parted = part_sources(turn)
    assert texts(parted.first) == cited
    assert sorted(texts(parted.first + parted.rest)) == sorted(texts(turn.sources))


@pytest.mark.parametrize(
    "answer", ["", "I do not know.", "It is as the office says.", "xtravel.pdf", "page 2", "leave.mdx"]
)
def test_without_a_citation_what_was_found_first_comes_first(answer: str) -> None:
    parted = part_sources(answered(answer))
    assert texts(parted.first) == [TRAINS, HOTELS, LEAVE]
    assert texts(parted.rest) == [ILLNESS]


def test_a_file_of_one_word_is_no_quotation() -> None:
    parted = part_sources(answered("The office books.", [("a.md", None, "The"), ("b.md", None, "office"), *FOUND]))
    assert texts(parted.first) == ["The", "office", TRAINS]


def test_the_rest_is_folded_away_and_says_where_it_is_from() -> None:
    page = judge(to_html(answered("The office does it. (travel.pdf, page 2)")))
    steps = [attributes for tag, attributes in page.tags if tag == "details"]
    assert [(step["data-step"], "open" in step) for step in steps] == [("1", False), ("sources", True), ("rest", False)]
    words = " ".join(page.text.split())
    assert "Sources: travel.pdf, leave.md → 4 passages travel.pdf, page 2 Hotels are booked" in words
    assert "More: travel.pdf, leave.md → 3 passages travel.pdf, page 1 Trains are" in words


def test_headings_of_a_passage_stand_apart_from_its_text() -> None:
    page = judge(to_html(answered("Everyone has 30 days of paid leave each year.")))
    assert "h1" in [tag for tag, _ in page.tags]
    assert "# Leave" not in page.text.split("Sources:")[1]


def test_a_cited_passage_is_shown_further_than_others_and_cut_between_words() -> None:
    passage = "Everyone has thirty days of leave. " * 100
    for answer, most in (("Everyone has thirty days of leave.", 1200), ("I do not know.", 1200)):
        words = judge(to_html(answered(answer, [("leave.md", None, passage)]))).text
        shown = words.split("Sources:")[1].split("leave.md")[-1].strip()
        assert most - 12 <= len(shown) <= most + 2
        assert shown.removesuffix(" …").split()[-1] in passage.split()
    rest = [("a.md", None, passage)] * 4
    shown = judge(to_html(answered("I do not know.", rest))).text.split("More:")[1].split("a.md")[-1].strip()
    assert len(shown) <= 242
