"""`chat` in a terminal: what its user types and sees."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from llama_cloud_chat.local import HANDBOOK, LocalService

from .conftest import Actor
from .support import IN_TERMINAL, SECONDS, Runner, Terminal, sessions_of, turns_of

COLOUR = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:3[0-79]|9[0-7]|4[0-79])(?:;[0-9;]*)?m")

FRAMES = set("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")


@pytest.fixture
def chat(run: Runner) -> Iterator[Terminal]:
    with run.in_terminal("chat") as terminal:
        terminal.wait_for_prompt()
        yield terminal


def test_an_answer_is_shown_as_markdown_while_it_is_being_written(chat: Terminal, actor: Actor) -> None:
    chat.ask("hold")
    chat.wait_for("The first half")
    assert "**" not in chat.text
    actor.gate.set()
    chat.wait_for("The first half and the rest.")
    chat.wait_for_prompt()
    assert chat.text.count("first") == 1


def test_a_chat_without_an_index_says_so_before_anything_is_asked(chat: Terminal, run: Runner) -> None:
    chat.wait_for("Ask something")
    assert "No index" not in chat.text
    with run.in_terminal("chat", LLAMA_CLOUD_INDEX_IDS="") as other:
        other.wait_for("No index is asked")


def test_a_turn_shows_thinking_tools_answer_and_how_to_see_the_sources(chat: Terminal) -> None:
    chat.ask("search")
    chat.wait_for("1 source; /sources shows them.")
    shown = [line for line in chat.text.splitlines() if line]
    start = shown.index("> search")
    assert shown[start + 1 : start + 5] == [
        "Let me look it up.",
        '→ retrieve(query="leave")',
        "← 1 passage from leave.md",
        "Thirty days.",
    ]
    chat.ask("/sources")
    chat.wait_for("3-4")
    assert re.search(r"leave\.md\W+3-4\W+1\.50\W+Thirty days\.", chat.text)


def test_ctrl_c_stops_the_answer_and_not_the_program(chat: Terminal, actor: Actor, service: LocalService) -> None:
    chat.ask("hold")
    chat.wait_for("The first half")
    chat.type("\x03")
    chat.wait_for("(stopped)")
    chat.wait_for_prompt()
    assert "The first half\n(stopped)" in re.sub(r"\n+", "\n", chat.text)
    assert "^C" not in chat.raw
    actor.gate.set()
    chat.ask("hello")
    chat.wait_for("You said: hello")
    assert [turn.prompt for turn in turns_of(service, sessions_of(service)[0].session_id)] == ["hold", "hello"]


def test_what_is_typed_while_an_answer_is_shown_is_kept_for_the_prompt_and_not_shown_in_its_middle(
    chat: Terminal, actor: Actor
) -> None:
    chat.ask("hold")
    chat.wait_for("The first half")
    chat.type("next\r")
    actor.gate.set()
    chat.wait_for("You said: next")
    assert "The first half and the rest." in chat.text


def test_ctrl_c_at_the_prompt_gives_up_the_line_or_says_how_to_leave_and_ctrl_d_leaves(chat: Terminal) -> None:
    chat.type("half a question")
    chat.wait_for("half a question")
    chat.type("\x03")
    chat.wait_for("\n>", times=2)
    assert "To leave" not in chat.text
    chat.type("\x03")
    chat.wait_for("To leave: /quit or Ctrl-D.")
    chat.wait_for_prompt()
    chat.type("\x04")
    assert chat.wait_for_end() == 0


def test_quit_leaves_and_says_how_to_go_on_and_going_on_knows_the_session(
    chat: Terminal, run: Runner, service: LocalService
) -> None:
    chat.ask("hello")
    chat.wait_for("You said: hello")
    chat.wait_for_prompt()
    chat.ask("/quit")
    assert chat.wait_for_end() == 0
    session_id = sessions_of(service)[0].session_id
    assert f"To go on: llama-cloud-chat chat --session {session_id}" in chat.text
    with run.in_terminal("chat", "--session", session_id) as again:
        again.wait_for("1 turn so far.")
        again.ask("/history")
        again.wait_for("1. You: hello")
        again.ask("more")
        again.wait_for("You said: more")
    assert len(turns_of(service, session_id)) == 2


def test_errors_in_a_turn_are_one_sentence_and_the_chat_goes_on(chat: Terminal) -> None:
    chat.ask("fail")
    chat.wait_for("The agent ended its turn with an error: the model is[31m overloaded")
    chat.wait_for_prompt()
    assert "Half an answer" in chat.text
    assert "Traceback" not in chat.text
    chat.ask("hello")
    chat.wait_for("You said: hello")


def test_nothing_that_the_service_says_steers_the_terminal_or_is_read_as_markup(
    chat: Terminal, service: LocalService
) -> None:
    chat.ask("evil")
    chat.wait_for("1 source")
    chat.ask("/sources")
    chat.wait_for("passage  ")
    chat.ask("/history")
    chat.wait_for("1. You: evil")
    for harm in ("\x1b]0;", "\x1b[2J", "\x9b", "\x1b[31mred", "\u202e"):
        assert harm not in chat.raw
    assert chat.text.count("[red]red[/red] :smile:") >= 5
    assert "<b>bold</b>" in chat.text
    assert "[1]: http://kept.example" in chat.text


def test_a_result_of_two_megabytes_is_a_line(chat: Terminal) -> None:
    chat.ask("huge")
    chat.wait_for("That was a lot.")
    lines = chat.text.splitlines()
    call = next(place for place, line in enumerate(lines) if line.startswith("→ read("))
    assert lines[call + 1].startswith('← "yyy')
    assert lines[call + 1].endswith("…")
    assert len(chat.raw) < 100_000


def test_a_fork_begins_a_session_that_knows_the_turns_up_to_the_one_named(
    chat: Terminal, actor: Actor, service: LocalService
) -> None:
    for question in ("alpha", "beta"):
        chat.ask(question)
        chat.wait_for(f"You said: {question}")
        chat.wait_for_prompt()
    chat.ask("/fork 1")
    chat.wait_for("begins a new session that knows turn 1;")
    chat.ask("gamma")
    chat.wait_for("You said: This conversation")
    chat.wait_for_prompt()
    forked, old = sessions_of(service)
    assert [turn.prompt for turn in turns_of(service, old.session_id)] == ["alpha", "beta"]
    assert actor.prompts[-1].endswith("gamma")
    assert "You said: alpha" in actor.prompts[-1]
    assert "beta" not in actor.prompts[-1]
    chat.ask("delta")
    chat.wait_for("You said: delta")
    assert len(turns_of(service, forked.session_id)) == 2
    chat.ask("/history")
    chat.wait_for("1. You: gamma")
    chat.wait_for("(knows 1 question of the session before; no tools; 0 sources)")
    assert forked.generated_title == "gamma"


def test_a_fork_from_the_last_turn_is_a_new_session_too(chat: Terminal, service: LocalService) -> None:
    chat.ask("alpha")
    chat.wait_for("You said: alpha")
    chat.ask("/fork 1")
    chat.wait_for("begins a new session")
    chat.ask("beta")
    chat.wait_for("You said: This conversation")
    assert len(sessions_of(service)) == 2


def test_a_transcript_that_did_not_arrive_is_told_again(chat: Terminal, actor: Actor, service: LocalService) -> None:
    chat.ask("alpha")
    chat.wait_for("You said: alpha")
    chat.ask("/fork 1")
    chat.wait_for("begins a new session")
    service.fail_next(status=422)
    chat.ask("beta")
    chat.wait_for("answered 422")
    chat.ask("beta")
    chat.wait_for("You said: This conversation")
    assert "alpha" in actor.prompts[-1]


def test_a_turn_that_is_not_there_cannot_be_forked_from(chat: Terminal) -> None:
    chat.ask("alpha")
    chat.wait_for("You said: alpha")
    for times, number in enumerate(["0", "7", "two", ""], start=1):
        chat.ask(f"/fork {number}")
        chat.wait_for("/fork takes the number of a turn, from 1 to 1;", times)


def test_new_begins_another_session(chat: Terminal, service: LocalService) -> None:
    chat.ask("alpha")
    chat.wait_for("You said: alpha")
    chat.ask("/new")
    chat.wait_for("begins a new session")
    chat.ask("beta")
    chat.wait_for("You said: beta")
    assert [len(turns_of(service, each.session_id)) for each in sessions_of(service)] == [1, 1]


def test_title_takes_its_text_else_the_first_question_and_a_service_without_titles_is_told_of(
    chat: Terminal, service: LocalService
) -> None:
    chat.ask("alpha")
    chat.wait_for("You said: alpha")
    chat.ask("/title Something else")
    chat.wait_for("The title is now: Something else")
    chat.ask("/title")
    chat.wait_for("The title is now: alpha")
    service.fail_next(status=405, on="set_title")
    chat.ask("/title")
    chat.wait_for("This service does not title sessions on request")
    chat.ask("beta")
    chat.wait_for("You said: beta")


def test_commands_that_are_not_there_or_too_early_are_told_of(chat: Terminal) -> None:
    chat.ask("/nonsense")
    chat.wait_for("There is no command /nonsense; /help lists them.")
    chat.ask("/history")
    chat.wait_for("There is no session yet")
    chat.ask("/help")
    chat.wait_for("/fork N")


def test_commands_are_completed_and_questions_come_back_in_the_next_program(chat: Terminal, run: Runner) -> None:
    chat.type("/so")
    chat.wait_for("what the last answer is based on")
    chat.type("\t")
    chat.wait_for("> /sources")
    chat.type("\x03")
    chat.ask("a question to remember")
    chat.wait_for("You said: a question")
    chat.wait_for_prompt()
    chat.type("/fork ")
    chat.wait_for("/fork 1  a question to remember")
    chat.type("\x03")
    chat.type("\x04")
    chat.wait_for_end()
    history = [file for file in run.home.rglob("history") if file.is_file()]
    assert [file.stat().st_mode & 0o777 for file in history] == [0o600]
    with run.in_terminal("chat") as again:
        again.wait_for_prompt()
        again.type("\x1b[A")
        again.wait_for("> a question to remember")


def test_alt_enter_begins_a_new_line_of_the_question(chat: Terminal, actor: Actor) -> None:
    chat.type("first\x1b\rsecond\r")
    chat.wait_for("You said: first")
    assert actor.prompts == ["first\nsecond"]


def test_a_source_is_opened_whole_and_its_number_completed(chat: Terminal) -> None:
    chat.ask("long")
    chat.wait_for("2 sources; /sources shows them.")
    chat.wait_for_prompt()
    chat.type("/source ")
    chat.wait_for("leave.md, page 3-4")
    chat.wait_for("rules.md")
    chat.type("2\r")
    chat.wait_for("Rule 29.")
    assert all(f"Rule {number}." in chat.text for number in range(30))
    for times, number in enumerate(["0", "3", "two", ""], start=1):
        chat.ask(f"/source {number}")
        chat.wait_for("/source takes the number of a source, from 1 to 2;", times)


def test_the_page_picture_of_a_source_can_be_opened(run_alone: Runner, tmp_path: Path) -> None:
    with run_alone.in_terminal("chat", "Who books hotels?", "--local", "--docs", HANDBOOK, columns=200) as chat:
        chat.wait_for("2 sources")
        chat.ask("/source 1")
        chat.wait_for("A room may cost up to 150 euros a night, breakfast included.")
        chat.wait_for("screenshots/page_2.jpg: http://127.0.0.1")
        url = re.findall(r"page_2\.jpg: (\S+)", chat.text)[-1]
        assert httpx.get(url).content.startswith(b"\xff\xd8")


def test_something_moves_while_an_answer_is_waited_for_and_is_gone_afterwards(chat: Terminal, actor: Actor) -> None:
    chat.ask("late")
    chat.wait_until(lambda: len(FRAMES & set(chat.raw)) >= 3)
    actor.gate.set()
    chat.wait_for("Here I am.")
    chat.wait_for_prompt()
    assert not FRAMES & set(chat.text)


def test_something_moves_where_an_answer_pauses(chat: Terminal, actor: Actor) -> None:
    chat.ask("hold")
    chat.wait_for("The first half")
    begun = len(chat.raw)
    chat.wait_until(lambda: len(FRAMES & set(chat.raw[begun:])) >= 3)
    assert re.search(r"The first half\n\S$", chat.text)
    actor.gate.set()
    chat.wait_for("The first half and the rest.")
    chat.wait_for_prompt()
    assert not FRAMES & set(chat.text)


def test_the_embedded_service_says_what_it_has_read_and_left_out(run_alone: Runner, handbook: Path) -> None:
    (handbook / "plan.xlsx").write_bytes(b"cells")
    (handbook / "broken.pdf").write_bytes(b"no pdf")
    with run_alone.in_terminal("chat", "--local", "--docs", handbook, columns=200) as chat:
        chat.wait_for("The embedded service has read handbook (2 documents).")
        chat.wait_for("plan.xlsx: is not read as it is; save it as .docx, .csv or .pdf.")
        chat.wait_for("broken.pdf: ")


def test_sessions_that_are_left_behind_are_named_and_empty_ones_deleted(run: Runner, service: LocalService) -> None:
    with run.in_terminal("chat", columns=200) as chat:
        chat.wait_for_prompt()
        service.fail_next(status=422)
        chat.ask("alpha")
        chat.wait_for("answered 422")
        chat.ask("/new")
        chat.wait_for("begins a new session")
        assert sessions_of(service) == []
        chat.ask("beta")
        chat.wait_for("You said: beta")
        first = sessions_of(service)[0].session_id
        chat.ask("/fork 1")
        chat.wait_for(f"To go back: llama-cloud-chat chat --session {first}")
        service.fail_next(status=422)
        chat.ask("gamma")
        chat.wait_for("answered 422", times=2)
        chat.wait_for_prompt()
        assert [each.session_id for each in sessions_of(service)] == [first]
        chat.ask("/quit")
        assert chat.wait_for_end() == 0
        assert "To go on" not in chat.text


def test_colours_are_used_on_a_terminal(chat: Terminal) -> None:
    chat.ask("search")
    chat.wait_for("1 source")
    assert COLOUR.search(chat.raw)


def test_no_color_is_respected(run: Runner) -> None:
    with run.in_terminal("chat", NO_COLOR="1") as chat:
        chat.wait_for_prompt()
        chat.ask("search")
        chat.wait_for("1 source")
        chat.ask("/sources")
        chat.wait_for("3-4")
        chat.type("/so")
        chat.wait_for("what the last answer is based on")
        assert not COLOUR.search(chat.raw)


def test_plain_in_a_terminal_writes_text_alone(run: Runner) -> None:
    with run.in_terminal("chat", "--plain") as chat:
        chat.wait_for_prompt()
        chat.ask("search")
        chat.wait_for("Thirty **days**.")
        start, end = chat.raw.index("Let me look"), chat.raw.index("**days**")
        assert "\x1b" not in chat.raw[start:end]


def test_wide_characters_are_painted_over_cleanly(run: Runner, actor: Actor) -> None:
    with run.in_terminal("chat", columns=31) as chat:
        chat.wait_for_prompt()
        chat.ask("wide")
        chat.wait_for("有")
        actor.gate.set()
        chat.wait_for("おわり")
        chat.wait_for_prompt()
        shown = "".join(chat.text.split("> wide")[1].split())
        assert shown.startswith("有給休暇は三十日です。" * 6 + "🎉おわり")


@pytest.mark.skipif(shutil.which("tmux") is None, reason="only tmux wraps lines anew when it is resized")
@pytest.mark.parametrize("question", ["hold", "wide"])
def test_a_terminal_that_is_resized_while_an_answer_is_written_shows_it_once(
    run: Runner, actor: Actor, tmp_path: Path, question: str
) -> None:
    socket = ["tmux", "-S", str(tmp_path / "tmux")]

    def tmux(*arguments: str) -> str:
        return subprocess.run([*socket, *arguments], capture_output=True, text=True, check=True).stdout

    def wait_for(text: str) -> str:
        deadline = time.monotonic() + SECONDS
        while text not in (shown := tmux("capture-pane", "-p", "-J", "-S", "-500")):
            assert time.monotonic() < deadline, shown
        return "".join(shown.split())

    variables = [f"{name}={value}" for name, value in run.env(TERM="screen-256color").items()]
    command = ["env", "-i", *variables, *IN_TERMINAL, "chat"]
    subprocess.run([*socket, "-f", "/dev/null", "new-session", "-d", "-x", "90", "-y", "30", *command], check=True)
    try:
        wait_for("/help lists")
        # On a screen that is not full yet, tmux moves lines out of reach when it wraps them anew.
        tmux("send-keys", "fill", "Enter")
        wait_for("line 39")
        tmux("send-keys", question, "Enter")
        first, rest = ("first half", "the rest.") if question == "hold" else ("三十日", "おわり")
        wait_for(first)
        tmux("resize-window", "-x", "19", "-y", "30")
        actor.gate.set()
        wait_for(rest[-3:])
        tmux("resize-window", "-x", "90", "-y", "30")
        shown = wait_for("To go on" if tmux("send-keys", "/quit", "Enter") else rest[-3:])
        assert "line39" in shown
        answer = "Thefirsthalfandtherest." if question == "hold" else "有給休暇は三十日です。" * 6 + "🎉おわり"
        assert shown.count(answer) == 1
        assert shown.count(answer[:5]) == answer.count(answer[:5])
    finally:
        tmux("kill-server")
