"""`chat` with its question on standard input."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from llama_cloud_chat.local import LocalService

from .conftest import Actor
from .support import Runner, assert_one_sentence, sessions_of, turns_of


def test_the_answer_alone_is_printed(run: Runner) -> None:
    result = run("chat", "--plain", stdin="search for it\n")
    assert (result.returncode, result.stdout, result.stderr) == (0, "Thirty **days**.\n", "")


def test_a_pipe_is_plain_without_being_told(run: Runner) -> None:
    assert run("chat", stdin="search").stdout == "Thirty **days**.\n"


def test_a_question_of_several_lines_is_one_question(run: Runner, actor: Actor) -> None:
    run("chat", "--plain", stdin="first line\nsecond line\n")
    assert actor.prompts == ["first line\nsecond line\n"]


def test_the_answer_arrives_as_it_is_written(run: Runner, actor: Actor) -> None:
    with run.start("chat", "--plain") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("hold")
        process.stdin.close()
        assert process.stdout.read(18) == "The **first** half"
        actor.gate.set()
        assert process.stdout.read() == " and the rest.\n"
        assert process.wait() == 0


def test_ctrl_c_leaves_what_was_said_and_says_so_in_the_exit_code(run: Runner) -> None:
    with run.start("chat", "--plain") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("hold")
        process.stdin.close()
        assert process.stdout.read(18) == "The **first** half"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "\n"
        assert process.wait() == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_an_agent_that_fails_is_one_sentence_after_what_it_said(run: Runner) -> None:
    result = run("chat", "--plain", stdin="fail")
    assert_one_sentence(result, "the model is[31m overloaded", code=1)
    assert result.stdout == "Half an answer\n"


def test_an_answer_cannot_steer_the_terminal_it_ends_up_in(run: Runner) -> None:
    result = run("chat", "--plain", stdin="evil")
    assert "Said ]0;owned[2J2J[red]red[/red] :smile:" in result.stdout
    assert not {"\x1b", "\x07", "\x9b", "\r"} & set(result.stdout)


@pytest.mark.parametrize(("stdin", "word"), [("", "empty"), (" \n", "empty"), (b"caf\xe9", "UTF-8")])
def test_what_is_no_question_is_told_of(run: Runner, stdin: str | bytes, word: str) -> None:
    assert_one_sentence(run("chat", "--plain", stdin=stdin), "standard input", word)


def test_a_session_goes_on(run: Runner, service: LocalService) -> None:
    run("chat", stdin="one")
    session_id = sessions_of(service)[0].session_id
    assert run("chat", "--session", session_id, stdin="two").stdout == "You said: two\n"
    assert [turn.prompt for turn in turns_of(service, session_id)] == ["one", "two"]


def test_a_session_that_is_not_there_is_told_of(run: Runner) -> None:
    assert_one_sentence(run("chat", "--session", "ses-none", stdin="one"), "ses-none")


def test_indexes_are_passed_on(run: Runner, service: LocalService) -> None:
    assert_one_sentence(run("chat", "--index", "idx-none", stdin="one"), "idx-none")
    usual = {"LLAMA_CLOUD_INDEX_IDS": "idx-usual, idx-too"}
    assert_one_sentence(run("chat", stdin="one", env=usual), "idx-usual")
    assert_one_sentence(run("chat", "--index", "idx-none", stdin="one", env=usual), "idx-none")
    run("chat", stdin="one")
    (session,) = sessions_of(service)
    assert run("chat", "--session", session.session_id, stdin="two").stdout == "You said: two\n"


def test_a_wrong_key_is_told_of_and_not_shown(run: Runner) -> None:
    result = run("chat", stdin="one", env={"LLAMA_CLOUD_API_KEY": "llx-secret"})
    assert_one_sentence(result, "401")
    assert "llx-secret" not in result.stderr


def test_local_answers_from_documents_without_a_key(run_alone: Runner, handbook: Path, tmp_path: Path) -> None:
    question = "How many days of paid leave are there?"
    result = run_alone("chat", "--local", "--docs", handbook, "--data", tmp_path / "sessions.db", stdin=question)
    assert "thirty days of paid leave a year. (leave.md)" in result.stdout
    listed = run_alone("sessions", "list", "--local", "--data", tmp_path / "sessions.db")
    assert "How many days of paid leave" in listed.stdout
