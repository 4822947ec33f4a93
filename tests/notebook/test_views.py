"""What a view shows, of whatever holds turns, and how much of it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import pytest

from llama_cloud_chat import (
    AsyncChatClient,
    ChatClient,
    NotFoundError,
    Stop,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Turn,
    UnknownEvent,
)
from llama_cloud_chat.notebook import ashow, show, to_html, to_markdown
from llama_cloud_chat.notebook._render import render_html
from llama_cloud_chat.notebook._transcript import Transcript

from ..support.service import ChatService
from ..support.turns import said
from .conftest import Notebook
from .support import WITH_EVERYTHING, judge, turn_saying


def words_of(x: Any, **options: Any) -> str:
    return " ".join(judge(to_html(x, **options)).text.split())


def in_order(words: str, shown: Sequence[str]) -> bool:
    place = 0
    for one in shown:
        place = words.index(one, place) + len(one)
    return True


def test_a_turn_shows_its_question_steps_answer_sources_and_figures(service: ChatService, client: ChatClient) -> None:
    turn = client.session(service.add_session(("How many days?", WITH_EVERYTHING))).turns()[0]
    words = words_of(turn)
    shown = [
        *("How many days?", "Thinking", "I look for it.", "retrieve", 'query="days of leave", top_k=6', "1 source"),
        *("Arguments", "Result", "You have 30 days.", "1 index could not be queried: idx-2", "Sources"),
        *("Employee handbook.pdf", "7-8", "0.91", "Everyone has 30 days of leave."),
        "Turn 1 · 12 ms · 30 tokens read · 7 tokens written",
    ]
    assert in_order(words, shown)


def test_everything_but_question_answer_and_sources_is_folded_away(service: ChatService, client: ChatClient) -> None:
    turn = client.session(service.add_session(("How many days?", WITH_EVERYTHING))).turns()[0]
    page = judge(to_html(turn))
    folded = [attributes for tag, attributes in page.tags if tag == "details"]
    assert ["open" in attributes for attributes in folded] == [False, False, True]


def test_steps_are_in_the_order_in_which_they_happened() -> None:
    events = [
        Thinking("one"),
        ToolCall("c", "two", {}),
        Text("three"),
        ToolResult("c", "two", 1),
        Thinking("four"),
        Text("five"),
    ]
    words = words_of(Turn.from_events("zero", events))
    assert in_order(words, ("zero", "one", "two", "three", "four", "five"))


def test_an_event_of_the_future_is_shown_as_it_came() -> None:
    words = words_of(Turn.from_events("", [UnknownEvent({"type": "mood", "mood": "good"})]))
    assert '"mood": "good"' in words


@pytest.mark.parametrize(
    ("end", "mark"),
    [
        ([], "This turn is not finished."),
        ([Stop(is_error=True, error="The index is gone.")], "The agent failed. The index is gone."),
        ([Stop(is_error=True)], "The agent failed. It gave no reason."),
        ([Stop(skipped_index_ids=["a", "b"])], "2 indexes could not be queried: a, b"),
    ],
)
def test_a_turn_that_went_wrong_is_marked_so(end: list[Stop], mark: str) -> None:
    turn = Turn.from_events("q", [Text("So far"), *end])
    assert mark in words_of(turn)
    assert "So far" in words_of(turn)


def test_a_call_without_a_result_runs_or_has_none() -> None:
    turn = Turn.from_events("q", [ToolCall("c", "grep", {})])
    assert "no result" in words_of(turn)
    running = judge(render_html(Transcript([turn]), running_for=3.0)).text
    assert "running …" in running
    assert "Answering …" in running


def test_a_session_shows_its_title_and_its_turns(service: ChatService, client: ChatClient) -> None:
    session_id = service.add_session(("One?", said("First.")), ("Two?", said("Second.")))
    service.sessions[session_id].title = "Counting"
    for x in (client.session(session_id), client.retrieve(session_id)):
        words = words_of(x)
        assert in_order(words, ("Counting", session_id, "22 April 2026, 12:34", "One?", "First.", "Two?", "Second."))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-04-22T12:34:41.342245", "22 April 2026, 12:34"),
        ("2026-04-02T09:05:41Z", "2 April 2026, 09:05 UTC"),
        ("2026-04-22 12:34:41.3+00:00", "22 April 2026, 12:34 UTC"),
        ("2026-04-22T12:34+02:00", "22 April 2026, 12:34 UTC+0200"),
        ("2026-13-45T99:99:99Z", "2026-13-45T99:99:99Z"),
        ("yesterday\x1b <b>", "yesterday <b>"),
    ],
)
def test_dates_are_written_for_people(written: str, read: str) -> None:
    transcript = Transcript([], "ses-1", updated_at=written)
    assert f"last updated {read} No turns yet." in " ".join(judge(render_html(transcript)).text.split())


def test_without_its_style_sheet_every_part_says_what_it_is(service: ChatService, client: ChatClient) -> None:
    words = words_of(client.session(service.add_session(("How many days?", WITH_EVERYTHING))).turns()[0])
    shown = [
        *(
            "Question: How many days?",
            "Thinking: I look for it.",
            'Tool retrieve: query="days of leave", top_k=6 → 1 source',
        ),
        *("Sources: Employee handbook.pdf → 1 passage", "Employee handbook.pdf, pages 7-8 · score 0.91 Everyone has"),
    ]
    assert in_order(words, shown)


def test_amounts_of_money_are_kept_from_becoming_formulas() -> None:
    (outermost, *_) = judge(to_html(turn_saying("Between $18,500 and $40,000."))).tags
    assert {"mathjax_ignore", "tex2jax_ignore"} <= set(str(outermost[1]["class"]).split())


def running(*events: Any) -> Any:
    return judge(render_html(Transcript([Turn.from_events("q", events)]), running_for=2.5))


def test_while_a_turn_runs_the_last_step_is_open_at_its_last_words() -> None:
    thought = Thinking(f"The first words. {'And on. ' * 2000}The last words.")
    for events, opened in (
        ((thought,), ["1"]),
        ((thought, ToolCall("c", "grep", {})), []),
        ((thought, Text("So")), []),
    ):
        tags = running(*events).tags
        assert [each["data-step"] for tag, each in tags if tag == "details" and "open" in each] == opened
    words = running(thought).text
    assert "The last words." in words
    assert "Shortened: the last 8,000 of 16,032 characters." in words
    assert "The last words." not in words_of(Turn.from_events("q", [thought]))


def test_while_a_turn_runs_the_seconds_go_on_from_where_they_are() -> None:
    page = running(Text("So"))
    assert {"class": "lcc-clock", "style": "animation-delay:-2.5s"} in [attributes for _, attributes in page.tags]
    assert "Answering … 2 s" in page.text


def test_a_session_without_turns_says_so(service: ChatService, client: ChatClient) -> None:
    assert "No turns yet." in words_of(client.session(service.add_session()))


def test_a_list_of_turns_is_a_conversation() -> None:
    assert words_of([turn_saying("A", prompt="1?"), turn_saying("B", prompt="2?")]) == "Question: 1? A Question: 2? B"


@pytest.mark.parametrize("x", [None, 3, "text", b"bytes", {"a": 1}, [1], object()])
def test_what_holds_no_turns_is_refused_in_words_that_help(x: Any) -> None:
    with pytest.raises(TypeError, match="holds no turns to show"):
        show(x)


# --- in a notebook ---


def test_turns_and_sessions_show_themselves(service: ChatService, client: ChatClient, notebook: Notebook) -> None:
    session_id = service.add_session(("How many?", said("Thirty.")))
    for x in (client.session(session_id), client.retrieve(session_id), client.retrieve(session_id).turns[0]):
        (shown,) = notebook.run("display(x)", x=x)
        assert shown["text/html"] == to_html(x) == x._repr_html_()
        assert shown["text/markdown"] == to_markdown(x) == x._repr_markdown_()
        (again,) = notebook.run("from llama_cloud_chat.notebook import show; show(x)", x=x)
        assert again["text/html"] == shown["text/html"]


def test_displaying_a_session_asks_for_it_once(service: ChatService, client: ChatClient, notebook: Notebook) -> None:
    session = client.session(service.add_session(("How many?", said("Thirty."))))
    notebook.run("display(x)", x=session)
    assert service.operations() == ["retrieve"]


def test_a_session_that_is_gone_shows_its_plain_repr(client: ChatClient, notebook: Notebook) -> None:
    session = client.session("ses-none")
    (shown,) = notebook.run("display(x)", x=session)
    assert shown == {"text/plain": "ChatSession('ses-none')"}
    with pytest.raises(NotFoundError):
        show(session)


async def test_an_asynchronous_session_shows_itself_without_asking(
    service: ChatService, aclient: AsyncChatClient, notebook: Notebook
) -> None:
    session = aclient.session(service.add_session(("How many?", said("Thirty."))))
    html = session._repr_html_()
    assert html is not None
    assert session.session_id in judge(html).text
    assert "await ashow(session)" in html
    assert service.operations() == []
    with pytest.raises(TypeError, match="await ashow"):
        show(session)


async def test_ashow_shows_what_show_shows(
    service: ChatService, client: ChatClient, aclient: AsyncChatClient, capsys: pytest.CaptureFixture[str]
) -> None:
    session_id = service.add_session(("How many?", said("Thirty.")))
    for x in (aclient.session(session_id), client.session(session_id), client.retrieve(session_id)):
        await ashow(x)
        shown = capsys.readouterr().out
        assert shown == to_markdown(client.session(session_id))


def test_outside_of_notebooks_a_view_is_printed_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(turn_saying("Thirty \x1b[31mdays.")) is None
    assert capsys.readouterr().out == "> How many?\n\nThirty [31mdays.\n"


# --- as a page, and as Markdown ---


def test_a_page_of_its_own_is_titled_and_holds_the_fragment(service: ChatService, client: ChatClient) -> None:
    session_id = service.add_session(("One?", said("First.")))
    service.sessions[session_id].title = "Counting"
    detail = client.retrieve(session_id)
    page = to_html(detail, standalone=True)
    assert page.startswith("<!DOCTYPE html>\n")
    assert "<title>Counting</title>" in page
    assert to_html(detail) in page


def test_markdown_has_everything_a_reader_needs(service: ChatService, client: ChatClient) -> None:
    session_id = service.add_session(("How many\ndays?", WITH_EVERYTHING), ("And?", said("Cut off.")[:-1]))
    assert to_markdown(client.session(session_id)) == (
        f"# Session {session_id}\n\nSession `{session_id}`, last updated 22 April 2026, 12:34.\n\n"
        "## Turn 1\n\n> How many\n> days?\n\nYou have **30 days**.\n\n"
        "Sources:\n\n- `Employee handbook.pdf`, pages 7-8\n\n"
        'Tools:\n\n- `retrieve(query="days of leave", top_k=6)`\n\n'
        "## Turn 2\n\n> And?\n\nCut off.\n\n*This turn is not finished.*\n"
    )


# --- how much ---

BIG = 2 * 2**20


def tool_turn(arguments: Any, result: Any, *, name: str = "t", times: int = 1) -> Turn:
    calls = [(ToolCall(f"c{n}", name, arguments), ToolResult(f"c{n}", name, result)) for n in range(times)]
    return Turn.from_events("q", [*chain.from_iterable(calls), Stop()])


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


BIG_TURNS: dict[str, Callable[[], Turn]] = {
    "a long result": lambda: tool_turn({}, "<" * BIG),
    "a result of many parts": lambda: tool_turn({}, {"results": [{"content": f"passage {n}"} for n in range(40_000)]}),
    "a deep result": lambda: tool_turn({"a": nested(100_000)}, nested(100_000)),
    "long arguments": lambda: tool_turn({"a": "<" * BIG}, None),
    "a long name": lambda: tool_turn({"<" * BIG: 1}, None, name="<" * BIG),
    "many steps": lambda: tool_turn({"n": 1}, "r" * 500, times=3000),
    "a long answer": lambda: turn_saying("<b> [a](http://b) " * (BIG // 18)),
    "a long definition": lambda: turn_saying(f"[a]: https://{'a' * 20_000}\n\n" + "[a] " * 4_000),
    "a long line": lambda: turn_saying("*[`<" * (BIG // 4)),
    "deep quotes": lambda: turn_saying("> " * (BIG // 2)),
    "a wide table": lambda: turn_saying("|" * 20_000 + "\n" + "|-" * 20_000 + "\n" + "|\n" * 5_000),
    "long thinking": lambda: Turn.from_events("q", [Thinking("<" * BIG), Stop()]),
    "a long question": lambda: Turn("<" * BIG),
    "a long error": lambda: Turn.from_events("q", [Stop(is_error=True, error="<" * BIG)]),
}


@pytest.mark.parametrize("name", list(BIG_TURNS))
def test_what_is_big_is_shortened_quickly(name: str) -> None:
    turn = BIG_TURNS[name]()
    started = time.process_time()
    html, markdown = to_html(turn), to_markdown(turn)
    took = time.process_time() - started
    assert len(html) < 1_200_000
    assert len(markdown) < 200_000
    assert took < 5, f"{took:.1f} s"
    judge(html)


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("a long result", "Shortened: the first 4,000 of 2,097,152 characters."),
        ("a result of many parts", "39,975 more sources left out."),
        ("long arguments", "Shortened: the first 2,000 of"),
        ("a long answer", "Shortened: the first 40,000 of"),
        ("long thinking", "Shortened: the first 8,000 of 2,097,152 characters."),
        ("a long question", "Shortened: the first 8,000 of 2,097,152 characters."),
        ("many steps", "2,940 earlier steps left out."),
    ],
)
def test_what_is_left_out_is_said(name: str, note: str) -> None:
    assert note in words_of(BIG_TURNS[name]())


def thousand_turns() -> list[Turn]:
    return [
        turn_saying(f"Answer {number}. " + "word " * 200, prompt=f"Question {number}?") for number in range(1, 1001)
    ]


def test_of_a_thousand_turns_the_latest_are_shown() -> None:
    turns = thousand_turns()
    started = time.process_time()
    html = to_html(turns)
    assert time.process_time() - started < 5
    assert len(html) < 600_000
    words = judge(html).text
    assert "950 earlier turns left out." in words
    assert "Question 950?" not in words
    assert "Question 951?" in words
    assert "Answer 1000." in words
    assert "*950 earlier turns left out.*" in to_markdown(turns)


def test_turns_that_are_big_together_are_left_out_too() -> None:
    turns = [turn_saying("<" * 30_000, prompt=f"Question {number}?") for number in range(1, 41)]
    html = to_html(turns)
    assert len(html) < 600_000
    assert "earlier turns left out." in html
    assert "Question 40?" in html


def test_nothing_is_left_out_on_demand() -> None:
    turns = [*thousand_turns(), BIG_TURNS["a long result"](), BIG_TURNS["many steps"]()]
    html, markdown = to_html(turns, shortened=False), to_markdown(turns, shortened=False)
    for whole in (html, markdown):
        assert "left out" not in whole
        assert "Shortened" not in whole
        assert "Question 1?" in whole
        assert "Answer 1000." in whole
    assert html.count("&lt;") == BIG


# --- without what it needs ---


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout


def imported_by(module: str, *looked_for: str) -> str:
    return run_python(f"import sys, {module}; print([one for one in {looked_for} if one in sys.modules])").strip()


def test_the_core_imports_nothing_of_it() -> None:
    assert imported_by("llama_cloud_chat", "jinja2", "markdown_it", "nh3", "IPython") == "[]"


def test_it_imports_no_framework_and_no_service() -> None:
    frameworks = ("langchain_core", "llama_index", "langchain_ext", "llama_index_ext")
    assert imported_by("llama_cloud_chat.notebook", *frameworks, "fastapi", "IPython", "PIL", "typer") == "[]"


@pytest.mark.parametrize("missing", ["jinja2", "markdown_it", "nh3"])
def test_without_the_extra_the_plain_repr_is_shown(missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from llama_cloud_chat import Turn\n"
        "print(Turn('q')._repr_html_(), Turn('q')._repr_markdown_(), Turn('q')._repr_mimebundle_())"
    )
    assert run_python(code) == "None None {}\n"


def test_without_the_extra_importing_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['nh3'] = None\n"
        "try: import llama_cloud_chat.notebook\n"
        "except ImportError as error: print(error)"
    )
    assert "pip install 'llama-cloud-chat[notebook]'" in run_python(code)
