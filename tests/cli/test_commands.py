"""The command as its user runs it: a process of its own, its output, its exit code."""

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from llama_cloud import LlamaCloud

COMMAND = [sys.executable, "-c", "from llama_cloud_chat.cli import main; main()"]
SECONDS = 60


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LLAMA_", "LANGSMITH_"))}
    return {**kept, "PYTHONIOENCODING": "utf-8", "COLUMNS": "100"}


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", timeout=SECONDS, check=False, env=environment()
    )


@contextmanager
def serving(*arguments: str | Path):
    """Run `serve`; yield the process, its URL and its key once it listens."""
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        head = ""
        while "Indexes:" not in head:
            line = process.stdout.readline()
            assert line, f"serve ended: {process.stderr.read()}"
            head += line
        url = re.search(r"LLAMA_CLOUD_BASE_URL=(\S+)", head).group(1)
        key = re.search(r"LLAMA_CLOUD_API_KEY=(\S+)", head).group(1)
        yield process, url, key
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def handbook(tmp_path: Path) -> Path:
    folder = tmp_path / "handbook"
    folder.mkdir()
    (folder / "leave.md").write_text("# Leave\n\nEverybody has thirty days of paid leave a year.\n")
    (folder / "travel.txt").write_text("Trains are booked in second class. Flights need approval.\n")
    return folder


def test_the_demo_holds_a_conversation_through_both_frameworks_and_prints_plain_text_to_a_pipe(handbook):
    result = run("demo", "--docs", handbook, "--question", "How many days of paid leave are there?")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "\x1b" not in result.stdout
    langchain, llama_index, kept = re.split(r"\n[23]\. ", result.stdout)
    assert "→ retrieve(" in langchain
    assert "from leave.md" in langchain
    assert "Everybody has thirty days of paid leave a year." in langchain
    assert "Sources" in langchain
    assert "→ " in llama_index
    assert re.search(r"ses-\S+", kept)
    assert "1. You: How many days of paid leave are there?" in kept
    assert "2. You: " in kept
    assert "LLAMA_CLOUD_API_KEY" in kept
    assert "--docs PATH" in kept


def test_the_demo_reads_the_installed_packages_when_no_documents_are_given():
    result = run("demo", "--question", "What is pydantic?")
    assert result.returncode == 0, result.stderr
    assert "pydantic" in result.stdout


def test_the_official_sdk_does_everything_against_serve(handbook):
    with serving("--docs", handbook) as (_, url, key), LlamaCloud(api_key=key, base_url=url) as sdk:
        assert sdk.chat.list().items == []
        session = sdk.chat.create()
        sdk.chat.stream(session.session_id, index_ids=[], prompt="Hello?")
        events = sdk.chat.retrieve(session.session_id).events
        assert [event.type for event in events][0] == "user_input"
        assert events[-1].type == "stop"
        assert sdk.chat.get_summary(session.session_id).generated_title
        assert [item.session_id for item in sdk.chat.list().items] == [session.session_id]
        sdk.chat.delete(session.session_id)
        assert sdk.chat.list().items == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_cleanly_when_it_is_told_to(handbook, number):
    with serving("--docs", handbook) as (process, _, _):
        process.send_signal(number)
        _, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 0
        assert errors == ""


def test_sessions_survive_a_restart_on_the_same_data_file(handbook, tmp_path):
    data = tmp_path / "sessions.db"
    with serving("--docs", handbook, "--data", data) as (process, url, key):
        with LlamaCloud(api_key=key, base_url=url) as sdk:
            session_id = sdk.chat.create().session_id
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SECONDS)
    with serving("--docs", handbook, "--data", data) as (_, url, key), LlamaCloud(api_key=key, base_url=url) as sdk:
        assert [item.session_id for item in sdk.chat.list().items] == [session_id]


def assert_one_sentence(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize("command", ["demo", "serve"])
def test_a_missing_folder_is_named(command, tmp_path):
    assert_one_sentence(run(command, "--docs", tmp_path / "nowhere"), "nowhere")


@pytest.mark.parametrize("command", ["demo", "serve"])
def test_a_folder_without_readable_text_is_named(command, tmp_path):
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00")
    assert_one_sentence(run(command, "--docs", tmp_path), tmp_path.name)


@pytest.mark.parametrize("command", ["demo", "serve"])
def test_a_file_that_is_not_text_is_named(command, tmp_path):
    file = tmp_path / "notes.txt"
    file.write_bytes(b"\x00\x01\xff\xfe\x00")
    assert_one_sentence(run(command, "--docs", file), "notes.txt")


def test_an_empty_question_is_refused():
    assert_one_sentence(run("demo", "--question", " "), "question")


def test_a_port_in_use_is_named(handbook):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert_one_sentence(run("serve", "--docs", handbook, "--port", str(port)), str(port))


def test_a_data_file_of_something_else_is_refused_and_left_as_it_was(handbook, tmp_path):
    data = tmp_path / "thesis.db"
    data.write_text("This took me three years.")
    assert_one_sentence(run("serve", "--docs", handbook, "--port", "0", "--data", data), "thesis.db")
    assert data.read_text() == "This took me three years."
    assert sorted(file.name for file in tmp_path.iterdir()) == ["handbook", "thesis.db"]


def test_the_version_is_printed():
    assert re.fullmatch(r"llama-cloud-chat \d+\.\d+\.\d+\S*\n", run("--version").stdout)
