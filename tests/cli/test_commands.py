"""`demo` and `serve`, and what holds for every command: a process of its own, its output, its exit code."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest
from llama_cloud import LlamaCloud, UnprocessableEntityError

from .support import COMMAND, SECONDS, Runner, assert_one_sentence, environment


class Served(NamedTuple):
    """A `serve` that listens, and what it says a client needs."""

    process: subprocess.Popen[str]
    exports: dict[str, str]

    @property
    def url(self) -> str:
        return self.exports["LLAMA_CLOUD_BASE_URL"]

    @property
    def key(self) -> str:
        return self.exports["LLAMA_CLOUD_API_KEY"]

    @property
    def index_ids(self) -> list[str]:
        return self.exports["LLAMA_CLOUD_INDEX_IDS"].split(",")

    def end(self, number: int = signal.SIGTERM) -> str:
        """Tell it to end; return what it has complained of."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=SECONDS)
        return errors


Serve: TypeAlias = "Callable[..., AbstractContextManager[Served]]"


@pytest.fixture
def run(run_alone: Runner) -> Runner:
    return run_alone


@pytest.fixture
def serving(home: Path) -> Serve:
    """Run `serve`, until it listens."""

    @contextmanager
    def serve(*arguments: object) -> Iterator[Served]:
        process = subprocess.Popen(
            [*COMMAND, "serve", "--port", "0", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(home),
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            head = ""
            while "Indexes:" not in head:
                line = process.stdout.readline()
                assert line, f"serve ended: {process.stderr.read()}"
                head += line
            yield Served(process, dict(re.findall(r"export (\w+)=(\S+)", head)))
        finally:
            process.kill()
            process.communicate()

    return serve


def test_the_demo_shows_a_picture_a_cut_line_and_a_fork_and_prints_plain_text_to_a_pipe(run: Runner) -> None:
    result = run("demo")
    assert (result.returncode, result.stderr) == (0, "")
    assert "\x1b" not in result.stdout
    langchain, llama_index, fork = re.split(r"\n[23]\. ", result.stdout, maxsplit=2)
    assert "The question is about books and hotels." in langchain
    assert '→ retrieve(query="books hotels", top_k=6)' in langchain
    assert "Hotels are booked by the office. (travel.pdf, page 2)" in langchain
    assert "Sources: travel.pdf, page 2 (screenshots/page_2.jpg); travel.pdf, page 1\n" in langchain
    before, after = llama_index.split("\n(The line is cut, on purpose.")
    assert before.endswith("A room may cost up to")
    assert after.splitlines()[1] == "150 euros a night, breakfast included. (travel.pdf, page 2)"
    assert "The history: 1. Who books hotels?  2. And how much may they cost a night?\n" in after
    assert "Book them a week ahead. (travel.pdf, page 1)" in fork
    assert "The first session keeps its 2 prompts; the fork was told 1 question of it." in fork


def test_the_demo_fits_a_terminal_of_24_lines_as_far_as_possible(run: Runner) -> None:
    with run.in_terminal("demo") as terminal:
        assert terminal.wait_for_end() == 0
        shown = terminal.text.splitlines()
        assert "\x1b[2;3m" in terminal.raw  # thinking is dimmed
    assert len(shown) <= 25
    assert "A room may cost up to" in shown


def test_the_commands_that_the_demo_ends_with_run_as_they_stand(run: Runner, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("llama-cloud-chat")

    def shell(line: str, said: str = "") -> str:
        env = run.env(PATH="/bin")
        given = {"input": said, "cwd": tmp_path, "env": env, "timeout": SECONDS}
        return subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False, **given).stdout

    (tmp_path / "notes.md").write_text("The meeting is on Tuesday.")
    chat, doctor = [line.partition(":  ")[2].strip() for line in shell(f"{program} demo").splitlines()[-2:]]
    assert chat.startswith(str(program))
    assert shell(chat, "When is the meeting?") == "The meeting is on Tuesday. (notes.md)\n"
    assert "LLAMA_CLOUD_API_KEY" in shell(doctor)


def test_the_demo_asks_peoples_own_documents_only_what_they_ask(run: Runner, handbook: Path) -> None:
    asked = ["How many days of paid leave are there?", "And trains?"]
    result = run("demo", "--docs", handbook, "--question", asked[0], "--question", asked[1])
    assert (result.returncode, result.stderr) == (0, "")
    assert re.findall(r"^You: (.*)$", result.stdout, re.MULTILINE) == asked
    assert "Everybody has thirty days of paid leave a year. (leave.md)" in result.stdout
    assert_one_sentence(run("demo", "--docs", handbook), "--question")


def test_the_demo_says_what_it_has_read_and_left_out(run: Runner, handbook: Path) -> None:
    (handbook / "plan.pptx").write_bytes(b"slides")
    result = run("demo", "--docs", handbook, "--question", "How many days of paid leave are there?")
    assert "has read handbook (2 documents)." in result.stdout
    assert re.search(
        r"Left out \S+plan\.pptx: is not read as it is; save it as \.docx, \.csv or \.pdf\.", result.stdout
    )


@pytest.mark.parametrize(("files", "named", "more"), [(6, 6, ""), (7, 5, "Left out, too: 2 files more;")])
def test_of_many_files_that_are_left_out_five_are_named_and_never_is_one_kept_back(
    run: Runner, handbook: Path, files: int, named: int, more: str
) -> None:
    for number in range(files):
        (handbook / f"plan{number}.pptx").write_bytes(b"slides")
    result = run("demo", "--docs", handbook, "--question", "How many days of paid leave are there?")
    assert len(re.findall(r"Left out \S+\.pptx:", result.stdout)) == named
    assert more in result.stdout
    assert result.stdout.count("Left out") == named + bool(more)


def test_the_official_sdk_does_everything_against_serve(serving: Serve, handbook: Path) -> None:
    with serving("--docs", handbook) as served, LlamaCloud(api_key=served.key, base_url=served.url) as sdk:
        assert sdk.chat.list().items == []
        session = sdk.chat.create()
        sdk.chat.stream(session.session_id, index_ids=served.index_ids, prompt="Hello?")
        events = sdk.chat.retrieve(session.session_id).events
        assert events[0].type == "user_input"
        assert events[-1].type == "stop"
        assert sdk.chat.get_summary(session.session_id).generated_title
        assert [item.session_id for item in sdk.chat.list().items] == [session.session_id]
        sdk.chat.delete(session.session_id)
        assert sdk.chat.list().items == []


@pytest.mark.parametrize(("given", "fits"), [([], 1000), (["--max-prompt-chars", "7"], 7)])
def test_serve_keeps_prompts_as_short_as_it_is_told(
    serving: Serve, handbook: Path, given: list[str], fits: int
) -> None:
    with serving("--docs", handbook, *given) as served, LlamaCloud(api_key=served.key, base_url=served.url) as sdk:
        session_id = sdk.chat.create().session_id
        sdk.chat.stream(session_id, index_ids=served.index_ids, prompt="x" * fits)
        with pytest.raises(UnprocessableEntityError, match="string_too_long"):
            sdk.chat.stream(session_id, index_ids=served.index_ids, prompt="x" * (fits + 1))


def test_serve_lifts_the_limit_and_offers_titles_when_it_is_told_to(
    serving: Serve, run: Runner, handbook: Path
) -> None:
    with serving("--docs", handbook, "--max-prompt-chars", "none", "--titles") as served:
        assert run("chat", stdin="leave? " * 1000, env=served.exports).returncode == 0
        with LlamaCloud(api_key=served.key, base_url=served.url) as sdk:
            (session,) = sdk.chat.list().items
        assert run("sessions", "title", session.session_id, "Leave", env=served.exports).returncode == 0


def test_what_serve_says_is_all_that_chat_needs(serving: Serve, run: Runner, handbook: Path) -> None:
    with serving("--docs", handbook) as served:
        result = run("chat", stdin="How many days of paid leave are there?", env=served.exports)
        assert result.stdout == "Everybody has thirty days of paid leave a year. (leave.md)\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_cleanly_when_it_is_told_to(serving: Serve, handbook: Path, number: int) -> None:
    with serving("--docs", handbook) as served:
        assert served.end(number) == ""
        assert served.process.returncode == 0


def test_sessions_survive_a_restart_on_the_same_data_file(serving: Serve, handbook: Path, tmp_path: Path) -> None:
    data = tmp_path / "sessions.db"
    with serving("--docs", handbook, "--data", data) as served:
        with LlamaCloud(api_key=served.key, base_url=served.url) as sdk:
            session_id = sdk.chat.create().session_id
        served.end()
    with (
        serving("--docs", handbook, "--data", data) as served,
        LlamaCloud(api_key=served.key, base_url=served.url) as sdk,
    ):
        assert [item.session_id for item in sdk.chat.list().items] == [session_id]


@pytest.mark.parametrize("command", [["demo", "--question", "What?"], ["serve", "--port", "0"]], ids=["demo", "serve"])
def test_a_missing_folder_is_named(run: Runner, command: list[str], tmp_path: Path) -> None:
    assert_one_sentence(run(*command, "--docs", tmp_path / "nowhere"), "nowhere")


@pytest.mark.parametrize("command", [["demo", "--question", "What?"], ["serve", "--port", "0"]], ids=["demo", "serve"])
def test_a_folder_without_readable_text_is_named(run: Runner, command: list[str], tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00")
    assert_one_sentence(run(*command, "--docs", tmp_path), tmp_path.name)


@pytest.mark.parametrize("command", [["demo", "--question", "What?"], ["serve", "--port", "0"]], ids=["demo", "serve"])
def test_a_file_that_is_not_text_is_named(run: Runner, command: list[str], tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(b"\x00\x01\xff\xfe\x00")
    assert_one_sentence(run(*command, "--docs", file), "notes.txt")


def test_an_empty_question_is_refused(run: Runner) -> None:
    assert_one_sentence(run("demo", "--question", " "), "question")


def test_a_port_in_use_is_named(run: Runner, handbook: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert_one_sentence(run("serve", "--docs", handbook, "--port", str(port)), str(port))


def test_a_data_file_of_something_else_is_refused_and_left_as_it_was(
    run: Runner, handbook: Path, tmp_path: Path
) -> None:
    data = tmp_path / "thesis.db"
    data.write_text("This took me three years.")
    assert_one_sentence(run("serve", "--docs", handbook, "--port", "0", "--data", data), "thesis.db")
    assert data.read_text() == "This took me three years."
    assert sorted(file.name for file in tmp_path.iterdir() if file.name != "home") == ["handbook", "thesis.db"]


def test_the_version_is_printed(run: Runner) -> None:
    assert re.fullmatch(r"llama-cloud-chat \d+\.\d+\.\d+\S*\n", run("--version").stdout)


def test_a_model_that_cannot_be_had_is_named(run: Runner, handbook: Path) -> None:
    assert_one_sentence(
        run("serve", "--port", "0", "--docs", handbook, "--model", "nobody:nothing"),
        "nobody:nothing",
        "give PROVIDER:NAME",
    )


def test_serve_stays_on_this_machine_unless_it_is_allowed_out(run: Runner, handbook: Path) -> None:
    assert_one_sentence(run("serve", "--port", "0", "--docs", handbook, "--host", "0.0.0.0"), "0.0.0.0")


def test_reading_documents_shows_a_bar_on_a_terminal_and_removes_it(run: Runner, handbook: Path) -> None:
    with run.in_terminal("chat", "--local", "--docs", handbook) as terminal:
        terminal.wait_for_prompt()
        assert "Reading" in terminal.raw
        assert "Reading" not in terminal.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], ["nonsense"]),
        (["chat", "--nonsense"], ["--nonsense", "chat --help"]),
        (["export"], ["SESSION", "export --help"]),
        (["export", "ses-1", "--format", "pdf"], ["pdf", "'md'"]),
        (["sessions", "list", "--limit", "0"], ["--limit"]),
        (["sessions", "list"], ["LLAMA_CLOUD_API_KEY", "--profile", "--local"]),
        (["sessions", "list", "--local"], ["--data FILE"]),
        (["chat", "--docs", "x"], ["--docs", "add --local"]),
        (["serve", "--docs", ".", "--max-prompt-chars", "0"], ["max_prompt_chars", "at least 1"]),
        (["serve", "--max-prompt-chars", "many"], ["--max-prompt-chars", "none"]),
        (["chat", "--local", "--base-url", "http://x"], ["--base-url"]),
    ],
)
def test_what_cannot_work_is_one_sentence_that_says_what_to_do(
    run: Runner, arguments: list[str], words: list[str]
) -> None:
    assert_one_sentence(run(*arguments), *words)


@pytest.mark.parametrize("arguments", [[], ["sessions"]])
def test_a_command_that_is_not_complete_shows_what_there_is(run: Runner, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert "Usage" in result.stdout


def test_help_shows_flags_by_their_names_alone(run: Runner) -> None:
    for command in ([], ["ask"], ["bulk"], ["sessions"], ["sessions", "list"], ["serve"]):
        shown = run(*command, "--help").stdout
        assert "--help" in shown
        assert "bool" not in shown.lower()
        assert "list[" not in shown


@pytest.mark.parametrize(
    ("address", "words"), [("nowhere", "--base-url must begin"), ("http://127.0.0.1:9", "Check --base-url (http://")]
)
def test_an_address_that_cannot_work_is_told_with_the_option_that_names_it(
    run: Runner, address: str, words: str
) -> None:
    result = run("doctor", "--base-url", address, env={"LLAMA_CLOUD_API_KEY": "llx-key"})
    assert result.returncode == 1
    assert words in " ".join(result.stdout.split())


def test_asking_for_help_imports_neither_servers_nor_frameworks_nor_the_terminal() -> None:
    heavy = [
        "fastapi",
        "uvicorn",
        "langchain_core",
        "llama_index",
        "prompt_toolkit",
        "llama_cloud_chat.local",
    ]
    script = f"""
import sys
from llama_cloud_chat.cli import main
sys.argv = ["llama-cloud-chat", "--help"]
try:
    main()
except SystemExit:
    pass
print([name for name in {heavy} if name in sys.modules])
"""
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown.strip().endswith("[]")


def test_the_shell_completes_commands_and_profiles(run: Runner, home: Path) -> None:
    def complete(*words: str) -> list[str]:
        variables = {
            "_LLAMA_CLOUD_CHAT_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(["llama-cloud-chat", *words]),
            "COMP_CWORD": str(len(words)),
            "XDG_CONFIG_HOME": str(home),
        }
        return run(env=variables).stdout.split()

    (home / "llama-cloud-chat").mkdir()
    (home / "llama-cloud-chat" / "config.toml").write_text("[work]\n[private]\n")
    assert complete("se") == ["serve", "sessions"]
    assert complete("chat", "--profile", "w") == ["work"]
