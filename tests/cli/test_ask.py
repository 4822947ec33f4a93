"""`ask`, and `chat` with its question on the command line: one question, one line."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from llama_cloud_chat import ChatClient
from llama_cloud_chat.local import LocalService

from .conftest import Actor
from .support import Runner, assert_one_sentence, sessions_of, turns_of


@pytest.mark.parametrize("command", ["ask", "chat"])
def test_a_question_on_the_command_line_is_answered_and_standard_input_is_left_alone(
    run: Runner, actor: Actor, command: str
) -> None:
    result = run(command, "search for it", stdin="not this")
    assert (result.returncode, result.stdout, result.stderr) == (0, "Thirty **days**.\n", "")
    assert actor.prompts == ["search for it"]


def test_without_one_it_is_read_from_standard_input(run: Runner) -> None:
    assert run("ask", stdin="one").stdout == "You said: one\n"


def test_a_turn_is_one_json_document_with_its_session_and_its_sources(run: Runner, service: LocalService) -> None:
    told = json.loads(run("ask", "--json", "search").stdout)
    (session,) = sessions_of(service)
    assert (told["session_id"], told["number"], told["text"]) == (session.session_id, 1, "Thirty **days**.")
    assert told["sources"][0]["file_name"] == "leave.md"
    assert told["tool_calls"][0]["arguments"] == {"query": "leave"}


def test_continue_goes_on_in_the_session_that_was_asked_last_from_here(run: Runner, service: LocalService) -> None:
    run("ask", "one")
    with ChatClient(service.api_key, base_url=service.base_url) as elsewhere:
        elsewhere.create().ask("something else", index_ids=service.index_ids)
    assert run("ask", "--continue", "two").stdout == "You said: two\n"
    assert run("chat", "--continue", "three").stdout == "You said: three\n"
    asked = [[turn.prompt for turn in turns_of(service, each.session_id)] for each in sessions_of(service)]
    assert sorted(asked) == [["one", "two", "three"], ["something else"]]


def test_continue_goes_on_on_a_service_of_ones_own_too(run_alone: Runner, handbook: Path, tmp_path: Path) -> None:
    data = tmp_path / "sessions.db"
    for question in (["How many days of paid leave?"], ["--continue", "And trains?"]):
        assert run_alone("ask", *question, "--local", "--docs", handbook, "--data", data).returncode == 0
    listed = run_alone("sessions", "list", "--json", "--local", "--data", data).stdout
    assert len(json.loads(listed)) == 1


def test_a_session_is_gone_on_in(run: Runner, service: LocalService) -> None:
    session_id = json.loads(run("ask", "--json", "one").stdout)["session_id"]
    run("ask", "another")
    run("ask", "--session", session_id, "two")
    assert [turn.prompt for turn in turns_of(service, session_id)] == ["one", "two"]


def test_a_session_that_is_not_to_be_kept_is_deleted(run: Runner, service: LocalService) -> None:
    assert run("ask", "--forget", "one").stdout == "You said: one\n"
    assert sessions_of(service) == []
    assert_one_sentence(run("ask", "--continue", "two"), "Nothing was asked from here")


def test_continue_says_so_where_there_is_nothing_to_go_on_with(run: Runner, service: LocalService) -> None:
    assert_one_sentence(run("ask", "--continue", "one"), "Nothing was asked from here", "--session ID")
    run("ask", "one")
    with ChatClient(service.api_key, base_url=service.base_url) as client:
        client.delete(sessions_of(service)[0].session_id)
    assert_one_sentence(run("ask", "--continue", "two"), "is not there any more", "--continue")
    assert sessions_of(service) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ask", " "], ["empty", "ask 'question'"]),
        (["ask", "--continue", "--session", "ses-1", "one"], ["--continue", "--session"]),
        (["ask", "--forget", "--continue", "one"], ["--forget"]),
        (["ask", "--continue", "--local", "one"], ["--data FILE"]),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_asked(
    run: Runner, service: LocalService, arguments: list[str], words: list[str]
) -> None:
    assert_one_sentence(run(*arguments), *words)
    assert sessions_of(service) == []


@pytest.mark.parametrize(
    ("question", "docs", "says", "advice"),
    [
        ("x" * 1001, "a.md", "holds 1001 characters; the service takes 1000", "Shorten it."),
        ("Who?", "nowhere", "There is no folder or file", "check the path given with --docs."),
    ],
)
def test_advice_is_what_can_be_done_at_a_command_line(
    run_alone: Runner, tmp_path: Path, question: str, docs: str, says: str, advice: str
) -> None:
    (tmp_path / "a.md").write_text("The office books hotels.")
    result = run_alone("ask", question, "--local", "--docs", str(tmp_path / docs))
    assert result.returncode == 2
    assert says in result.stderr
    assert result.stderr.endswith(f"{advice}\n")


def test_an_agent_that_fails_is_one_sentence_after_what_it_said(run: Runner) -> None:
    result = run("ask", "fail")
    assert_one_sentence(result, "overloaded", code=1)
    assert result.stdout == "Half an answer\n"
    assert_one_sentence(run("ask", "--json", "fail"), "overloaded", code=1)


def test_on_a_terminal_the_turn_is_shown_with_its_sources_and_the_session_is_named(
    run: Runner, service: LocalService
) -> None:
    with run.in_terminal("ask", "search") as terminal:
        assert terminal.wait_for_end() == 0
        session_id = sessions_of(service)[0].session_id
        terminal.wait_for(f"To go on: llama-cloud-chat chat --session {session_id}")
        shown = [line for line in terminal.text.splitlines() if line]
    assert shown[:5] == [
        "Let me look it up.",
        '→ retrieve(query="leave")',
        "← 1 passage from leave.md",
        "Thirty days.",
        "Sources: leave.md, page 3-4",
    ]


def test_ctrl_c_ends_it_and_names_the_session(run: Runner, actor: Actor, service: LocalService) -> None:
    with run.in_terminal("ask", "hold") as terminal:
        terminal.wait_for("The first half")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.wait_for_end() == 130
        terminal.wait_for(f"--session {sessions_of(service)[0].session_id}")
    actor.gate.set()


def test_a_session_in_which_nothing_was_asked_is_not_left_behind(run: Runner, service: LocalService) -> None:
    service.fail_next(status=422)
    assert run("ask", "one").returncode == 2
    assert sessions_of(service) == []


def test_chat_begins_with_the_question_and_goes_on(run: Runner, service: LocalService) -> None:
    with run.in_terminal("chat", "one") as terminal:
        terminal.wait_for("You said: one")
        terminal.wait_for_prompt()
        terminal.ask("two")
        terminal.wait_for("You said: two")
    assert len(turns_of(service, sessions_of(service)[0].session_id)) == 2


@pytest.mark.parametrize("command", ["ask", "ask --json", "chat"])
def test_what_is_left_out_is_told_beside_a_pipe_in_one_line(run_alone: Runner, handbook: Path, command: str) -> None:
    (handbook / "rates.xlsx").write_bytes(b"PK")
    (handbook / "rates.json").write_text("{}")
    result = run_alone(*command.split(), "--local", "--docs", handbook, stdin="How many days of leave?")
    assert result.returncode == 0
    (line,) = result.stderr.splitlines()
    assert "rates.xlsx" in line
    assert "1 file of kinds that are not read (.json)" in line
