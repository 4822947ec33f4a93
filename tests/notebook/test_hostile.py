"""What a service says is shown as text, whatever it is."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from llama_cloud_chat import SessionDetail, Text, Thinking, ToolCall, ToolResult, Turn, UnknownEvent
from llama_cloud_chat._turn.wording import clean
from llama_cloud_chat.notebook import to_html, to_markdown
from llama_cloud_chat.notebook._render import render_html
from llama_cloud_chat.notebook._transcript import Transcript

from .support import ATTACKS, JUST_PROSE, hostile_turn, judge, read_page, turn_saying

CSS = files("llama_cloud_chat.notebook").joinpath("templates/transcript.css").read_text()


def detail_of(attack: str) -> SessionDetail:
    return SessionDetail.model_validate(
        {
            "session_id": attack,
            "last_updated_at": attack,
            "generated_title": attack,
            "events": [{"type": "user_input", "content": attack}, {"type": "text", "content": attack}],
        }
    )


@pytest.mark.parametrize("standalone", [False, True])
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_anywhere_is_text(attack: str, standalone: bool) -> None:
    page = judge(to_html(hostile_turn(attack), standalone=standalone))
    assert CSS.strip() in "".join(page.styles)
    # Question, thinking, argument and result say it as it is; names say it in a line.
    assert page.text.count(clean(attack)) >= 3
    assert page.text.count(" ".join(clean(attack).split())[:100]) >= 6


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_session_s_own_words_are_text(attack: str) -> None:
    page = judge(to_html(detail_of(attack), standalone=True))
    assert page.text.count(" ".join(clean(attack).split())[:100]) >= 3


@pytest.mark.parametrize("html", ["<script>alert(1)</script>", "<b>bold</b>", "<!-- a comment -->", "<p\nid=x>"])
def test_html_in_an_answer_is_shown_and_not_left_out(html: str) -> None:
    assert html in judge(to_html(turn_saying(f"Look: {html}"))).text
    assert html in judge(to_html(turn_saying(html))).text


def safe_markdown(markdown: str) -> str:
    """Return what a renderer makes of Markdown that trusts everything it is given."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    parser.validateLink = lambda url: True  # type: ignore[method-assign]
    return parser.render(markdown)


def judge_markdown(markdown: str) -> None:
    rendered = safe_markdown(markdown)
    for tag, attributes in read_page(rendered).tags:
        assert tag in JUST_PROSE, f"<{tag}>"
        assert set(attributes) <= {"class", "href", "start", "style", "title"}
        assert str(attributes.get("href", "https:")).lower().startswith(("http:", "https:", "mailto:"))


@pytest.mark.parametrize("attack", ATTACKS)
def test_markdown_holds_no_markup_of_others_even_for_a_renderer_that_trusts_it(attack: str) -> None:
    judge_markdown(to_markdown(hostile_turn(attack)))
    judge_markdown(to_markdown([hostile_turn(attack), hostile_turn("```\n<b>"), hostile_turn(attack)]))
    judge_markdown(to_markdown(detail_of(attack)))


PIECES = st.sampled_from(
    [
        *ATTACKS,
        *"<>&\"'`\\[)!\n|é\u2028\x00\ud83e*_#",
        *("```", "~~~", "](", "]: ", "![", "\n\n", "    ", "> ", "- ", "1. ", "|---|", "==="),
        *("javascript:", "https://ok.example", "<script", "</", "/>", "&lt;", "&#x3c;"),
    ]
)
NASTY = st.lists(PIECES, max_size=12).map("".join)


@st.composite
def nasty_turns(draw: st.DrawFn) -> Turn:
    events = [
        draw(
            st.one_of(
                st.builds(Text, NASTY),
                st.builds(Thinking, NASTY),
                st.builds(ToolCall, st.sampled_from(["c1", "c2"]), NASTY, st.dictionaries(NASTY, NASTY, max_size=2)),
                st.builds(ToolResult, st.sampled_from(["c1", "c2"]), NASTY, st.one_of(NASTY, st.lists(NASTY))),
                st.builds(UnknownEvent, st.dictionaries(NASTY, NASTY, max_size=2)),
            )
        )
        for _ in range(draw(st.integers(0, 4)))
    ]
    return Turn.from_events(draw(NASTY), events, number=1)


@example(turns=[turn_saying("One\\\ntwo.")], running_for=None)  # a line that is broken on purpose
@given(turns=st.lists(nasty_turns(), min_size=1, max_size=3), running_for=st.sampled_from([None, 0.0, 4000.25]))
def test_no_turn_of_any_kind_brings_markup_of_its_own(turns: list[Turn], running_for: float | None) -> None:
    judge(render_html(Transcript(turns), running_for=running_for))
    judge_markdown(to_markdown(turns))


def test_links_open_safely_and_say_where_they_lead() -> None:
    page = judge(to_html(turn_saying("[the handbook](https://ok.example/a?b=1&c=2) <mailto:a@ok.example>")))
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links == ["https://ok.example/a?b=1&c=2", "mailto:a@ok.example"]


def test_an_image_in_an_answer_is_a_link_and_inside_a_link_its_words() -> None:
    image = "![a chart](https://ok.example/chart.png)"
    page = judge(to_html(turn_saying(f"{image} [see {image}](https://ok.example)")))
    assert [tag for tag, _ in page.tags].count("a") == 2
    assert page.text.count("[image: a chart]") == 2
    assert "img" not in {tag for tag, _ in page.tags}


def test_code_in_markdown_stays_as_it_is_and_ends_with_its_answer() -> None:
    code = "```html\n<script>x[0](y)</script>\n"
    text = to_markdown([turn_saying(code), turn_saying("## Heading")])
    assert code in text
    assert "<h2>Heading</h2>" in safe_markdown(text)


def test_plain_words_in_markdown_stay_as_they_are() -> None:
    words = "If a < b, see [this](https://ok.example) & that! [1] `x = y[0]`"
    assert f"\n{words}\n" in to_markdown(turn_saying(words))


def test_nothing_in_a_view_can_run_or_be_fetched() -> None:
    html = to_html(hostile_turn("x"), standalone=True)
    assert "@import" not in CSS
    assert "url(" not in CSS
    assert not re.search(r"<(script|link|iframe|object|embed|form|base)\b", html)
    assert "default-src 'none'" in html


def test_styles_reach_only_what_is_ours() -> None:
    bare = re.sub(r"/\*.*?\*/|@media[^{]*\{", "", CSS)
    bare = re.sub(r"@property --lcc-\S+ \{[^}]*\}|@keyframes lcc-\S+ \{ to \{[^}]*\} \}", "", bare)
    rules = re.sub(r"\{[^{}]*\}", "{}", bare)
    heads = " ".join(re.findall(r"([^{}]+)\{\}", rules)).replace("\n", ",")
    while (shorter := re.sub(r"\([^()]*\)", "", heads)) != heads:
        heads = shorter
    selectors = [one.strip() for one in heads.split(",") if one.strip()]
    assert len(selectors) > 40
    assert [one for one in selectors if not re.match(r"(\S+ )?\.lcc\b", one)] == []


def test_two_views_in_one_page_share_no_id() -> None:
    both = to_html(hostile_turn("x")) + to_html(hostile_turn("x"))
    assert all("id" not in attributes for _, attributes in read_page(both).tags)
