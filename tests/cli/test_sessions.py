"""`sessions` and `export`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llama_cloud_chat import ChatClient
from llama_cloud_chat.local import LocalService
from llama_cloud_chat.notebook import to_html

from .support import Runner, assert_one_sentence, sessions_of


@pytest.fixture
def session_id(service: LocalService) -> str:
    """A session of two turns."""
    with ChatClient(service.api_key, base_url=service.base_url) as client:
        session = client.create(service.index_ids)
        session.ask("search 日本 for leave")
        session.ask("# hello\nthere")
        return session.session_id


@pytest.fixture
def evil_id(service: LocalService) -> str:
    with ChatClient(service.api_key, base_url=service.base_url) as client:
        session = client.create(service.index_ids)
        session.ask("evil \x1b[2J\x9b title")
        return session.session_id


def test_no_sessions_is_said_so(run: Runner) -> None:
    assert run("sessions", "list").stdout == "There are no sessions.\n"
    assert json.loads(run("sessions", "list", "--json").stdout) == []


def test_sessions_are_listed_with_ids_that_can_be_copied(run: Runner, session_id: str) -> None:
    shown = run("sessions", "list", env={"COLUMNS": "60"}).stdout
    assert session_id in shown
    assert "\x1b" not in shown


def test_json_is_one_document_in_utf8_whatever_the_locale_says(run: Runner, session_id: str) -> None:
    listed = json.loads(run("sessions", "list", "--json", env={"PYTHONIOENCODING": "ascii"}).stdout)
    assert [(each["session_id"], each["generated_title"]) for each in listed] == [(session_id, "search 日本 for leave")]


def test_a_listing_can_be_limited(run: Runner, service: LocalService, session_id: str) -> None:
    with ChatClient(service.api_key, base_url=service.base_url) as client:
        client.create()
    assert len(json.loads(run("sessions", "list", "--json", "--limit", "1").stdout)) == 1


def test_a_session_is_shown_with_its_turns(run: Runner, session_id: str) -> None:
    shown = run("sessions", "show", session_id).stdout
    assert "1. You: search 日本 for leave\n   Thirty **days**.\n   (retrieve; 1 source)\n" in shown
    assert "2. You: # hello there\n" in shown


def test_a_session_as_json_holds_all_of_it(run: Runner, session_id: str) -> None:
    shown = json.loads(run("sessions", "show", session_id, "--json").stdout)
    first, second = shown["turns"]
    assert shown["session_id"] == session_id
    assert (first["prompt"], first["text"], first["thinking"]) == (
        "search 日本 for leave",
        "Thirty **days**.",
        "Let me look it up.",
    )
    assert first["tool_calls"][0]["arguments"] == {"query": "leave"}
    assert first["tool_calls"][0]["result"]["results"][0]["content"] == "Thirty days."
    assert (first["sources"][0]["file_name"], first["sources"][0]["page_start"]) == ("leave.md", 3)
    assert second["is_complete"]
    assert json.loads(run("export", session_id, "--format", "json").stdout) == shown


def test_what_is_printed_as_json_cannot_steer_a_terminal(run: Runner, evil_id: str) -> None:
    for shown in (run("sessions", "list", "--json").stdout, run("export", evil_id, "--format", "json").stdout):
        assert not {"\x1b", "\x9b"} & set(shown)
    assert "\x9b" in json.loads(run("sessions", "show", evil_id, "--json").stdout)["turns"][0]["prompt"]


@pytest.mark.parametrize("command", [["sessions", "list"], ["sessions", "show"], ["export"]])
def test_titles_prompts_and_answers_cannot_steer_a_terminal(run: Runner, evil_id: str, command: list[str]) -> None:
    shown = run(*command, *([] if "list" in command else [evil_id])).stdout
    assert "evil [2J title" in shown.replace("│", "").replace("\n", " ")
    assert not {"\x1b", "\x9b", "\x07", "\r"} & set(shown)


def test_sessions_are_deleted(run: Runner, service: LocalService, session_id: str) -> None:
    result = run("sessions", "delete", session_id)
    assert (result.returncode, result.stdout) == (0, f"Deleted {session_id}.\n")
    assert sessions_of(service) == []


def test_a_title_is_made_of_the_text_else_of_the_first_question(
    run: Runner, service: LocalService, session_id: str
) -> None:
    run("sessions", "title", session_id, "Holidays")
    assert sessions_of(service)[0].generated_title == "Holidays"
    run("sessions", "title", session_id)
    assert sessions_of(service)[0].generated_title == "search 日本 for leave"


@pytest.mark.parametrize("status", [404, 405])
def test_a_service_that_does_not_title_is_told_of(
    run: Runner, service: LocalService, session_id: str, status: int
) -> None:
    service.fail_next(status=status, on="set_title")
    assert_one_sentence(run("sessions", "title", session_id, "Holidays"), "does not title")


@pytest.mark.parametrize("command", [["sessions", "show"], ["sessions", "delete"], ["sessions", "title"], ["export"]])
def test_a_session_that_is_not_there_is_named(run: Runner, command: list[str]) -> None:
    assert_one_sentence(run(*command, "ses-none"), "ses-none")


def test_an_export_quotes_prompts_keeps_answers_and_lists_sources(run: Runner, session_id: str) -> None:
    text = run("export", session_id).stdout
    assert text.startswith("# search 日本 for leave\n\nSession `")
    assert "## Turn 1\n\n> search 日本 for leave\n\nThirty **days**.\n\nSources:\n\n- `leave.md`, pages 3-4\n" in text
    assert "## Turn 2\n\n> # hello\n> there\n\nYou said: # hello\nthere\n" in text


def test_an_export_as_html_is_a_page_that_can_be_opened(
    run: Runner, service: LocalService, session_id: str, tmp_path: Path
) -> None:
    page = run("export", session_id, "--format", "html").stdout
    with ChatClient(service.api_key, base_url=service.base_url) as client:
        assert page == to_html(client.session(session_id), standalone=True, shortened=False)
    assert page.startswith("<!DOCTYPE html>")
    assert "Thirty <strong>days</strong>." in page
    file = tmp_path / "export.html"
    run("export", session_id, "--format", "html", "--output", file)
    assert file.read_text("utf-8") == page


def test_an_export_goes_into_a_file_and_replaces_one_only_when_told_to(
    run: Runner, session_id: str, tmp_path: Path
) -> None:
    file = tmp_path / "export.md"
    assert run("export", session_id, "--output", file).stdout == ""
    text = file.read_text("utf-8")
    assert text == run("export", session_id).stdout
    file.write_text("mine")
    assert_one_sentence(run("export", session_id, "--output", file), "export.md", "--force")
    assert file.read_text() == "mine"
    assert run("export", session_id, "--output", file, "--force").returncode == 0
    assert file.read_text("utf-8") == text


def test_an_export_that_fails_leaves_no_file(run: Runner, tmp_path: Path) -> None:
    run("export", "ses-none", "--output", tmp_path / "export.md")
    assert not (tmp_path / "export.md").exists()


def test_a_folder_that_is_not_there_cannot_be_exported_to(run: Runner, session_id: str, tmp_path: Path) -> None:
    assert_one_sentence(run("export", session_id, "--output", tmp_path / "no" / "export.md"), "cannot be written")
