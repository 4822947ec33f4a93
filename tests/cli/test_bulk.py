"""`bulk`: from file to file, in a process of its own, which may be interrupted or killed at any moment."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from llama_cloud_chat.local import LocalService

from ..support.server import Gate, in_json
from ..support.service import ChatService, Held, Play
from ..support.turns import said
from .conftest import Actor
from .support import COMMAND, SECONDS, Runner, assert_one_sentence, sessions_of

ROUNDS = 20
ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def write(path: Path, questions: Sequence[str]) -> Path:
    lines = [json.dumps({"id": f"q{number}", "question": each}) for number, each in enumerate(questions, start=1)]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def rows(path: Path) -> dict[str, Any]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({row["id"] for row in found}) == len(found)
    return {row["id"]: row for row in found}


@pytest.fixture
def scripted(home: Path) -> Iterator[tuple[ChatService, Runner]]:
    """A service that can go wrong, and the command with it in its environment."""
    with ChatService() as service:
        run = Runner(home)
        run.variables = {
            "LLAMA_CLOUD_BASE_URL": service.base_url,
            "LLAMA_CLOUD_API_KEY": "llx-key",
            "LLAMA_CLOUD_INDEX_IDS": "idx-1",
        }
        yield service, run


def test_all_are_answered_and_the_answers_go_to_their_file_alone(
    run: Runner, folder: Path, service: LocalService
) -> None:
    questions = write(folder / "q.jsonl", ["One?", "search it", "Three?"])
    result = run("bulk", questions, "--out", folder / "a.jsonl")
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert "3 questions: 3 answered, 0 failed" in result.stderr
    assert re.search(
        r"^\d+ tokens read, \d+ written\.\n50% within [^;\n]+, the slowest [\d.]+ s\.$", result.stderr, re.MULTILINE
    )
    written = rows(folder / "a.jsonl")
    assert written["q1"]["answer"] == "You said: One?"
    assert written["q2"]["sources"][0]["text"] == "Thirty days."
    assert written["q2"]["pages"] == ["leave.md, pages 3-4"]
    assert {path.name for path in folder.iterdir()} == {"q.jsonl", "a.jsonl"}
    again = run("bulk", questions, "--out", folder / "a.jsonl", env={"LLAMA_CLOUD_API_KEY": ""})
    assert again.returncode == 0, "nothing is left to ask, so no key is needed"
    assert len(sessions_of(service)) == 3


def test_the_summary_tells_tokens_and_seconds_where_the_output_has_no_column_for_them(
    run: Runner, folder: Path
) -> None:
    questions = write(folder / "q.jsonl", ["One?", "Two?", "Three?"])
    command = ("bulk", questions, "--out", folder / "a.csv", "--columns", "answer")
    first = run(*command, "--limit", 2)
    assert re.search(r"^\d+ tokens read, \d+ written\.\n50% within .*, the slowest", first.stderr, re.MULTILINE)
    rest = run(*command)
    assert "3 questions: 3 answered" in rest.stderr
    now = "^Of those asked now: "
    assert re.search(rf"{now}\d+ tokens read, .*\n{now[1:]}50% within .*, the slowest", rest.stderr, re.MULTILINE)
    assert "tokens read" not in run(*command).stderr


def test_some_that_failed_are_named_with_their_lines(run: Runner, folder: Path, actor: Actor) -> None:
    questions = write(folder / "q.jsonl", ["One?", "fail please", "x" * 1001])
    result = run("bulk", questions, "--out", folder / "a.jsonl")
    assert result.returncode == 1
    assert "1 answered, 2 failed" in result.stderr
    assert re.search(r"^line 2 \(q2\): TurnFailedError: .*overloaded", result.stderr, re.MULTILINE)
    assert re.search(r"^line 3 \(q3\): PromptTooLongError: .*1001", result.stderr, re.MULTILINE)
    assert "\x1b" not in result.stderr
    assert "--retry-failed" in result.stderr
    asked = len(actor.prompts)
    assert run("bulk", questions, "--out", folder / "a.jsonl").returncode == 1
    assert len(actor.prompts) == asked
    assert run("bulk", questions, "--out", folder / "a.jsonl", "--retry-failed").returncode == 1
    assert Counter(actor.prompts) == {"One?": 1, "fail please": 2}
    assert rows(folder / "a.jsonl")["q2"]["asking"] == 2


def test_every_bad_line_is_named_and_nothing_is_asked(run: Runner, folder: Path, actor: Actor) -> None:
    (folder / "q.jsonl").write_text('nonsense\n{"id": 1, "question": "One?"}\n{"id": 1, "question": ""}\n')
    result = run("bulk", folder / "q.jsonl", "--out", folder / "a.jsonl")
    assert result.returncode == 2
    assert [line.partition(":")[0] for line in result.stderr.splitlines()[1:]] == ["line 1", "line 3", "line 3"]
    assert actor.prompts == []
    assert not (folder / "a.jsonl").exists()
    many = "nonsense\n" * 60
    (folder / "q.jsonl").write_text(many)
    assert "... and 10 more." in run("bulk", folder / "q.jsonl", "--out", folder / "a.jsonl").stderr


def test_too_long_ones_are_named_beforehand_where_the_limit_is_given(run: Runner, folder: Path, actor: Actor) -> None:
    questions = write(folder / "q.jsonl", ["One?", "x" * 101])
    result = run("bulk", questions, "--out", folder / "a.jsonl", "--max-prompt-chars", "100")
    assert result.returncode == 2
    assert "line 2: Its `question` has 101 characters, and the service takes 100." in result.stderr
    assert actor.prompts == []


def test_what_cannot_start_is_one_sentence_and_leaves_nothing_behind(run: Runner, folder: Path) -> None:
    questions = write(folder / "q.jsonl", ["One?"])
    out = folder / "a.jsonl"
    wrong = {"LLAMA_CLOUD_API_KEY": "llx-wrong"}
    assert_one_sentence(run("bulk", questions, "--out", out, env=wrong), "401")
    away = {"LLAMA_CLOUD_BASE_URL": "http://127.0.0.1:9"}
    assert_one_sentence(run("bulk", questions, "--out", out, "--index", "none"), "no index 'none'")
    assert_one_sentence(run("bulk", questions, "--out", out, env={"LLAMA_CLOUD_INDEX_IDS": ""}), "no index to ask")
    assert_one_sentence(run("bulk", folder / "none.jsonl", "--out", out), "none.jsonl")
    assert_one_sentence(run("bulk", questions, "--out", folder / "a.txt"), "a.txt")
    assert_one_sentence(run("bulk", questions), "--out")
    assert_one_sentence(run("bulk", questions, "--out", out, "--report", folder / "r.txt"), "--report")
    assert_one_sentence(run("bulk", questions, "--out", out, "--compare", questions), "--compare")
    gone = run("bulk", questions, "--out", out, env=away)
    assert gone.returncode == 2
    word, end = gone.stderr.splitlines()
    assert "127.0.0.1:9" in end
    assert word == f"{end} It is tried again.", "some ten seconds before the end"
    assert {path.name for path in folder.iterdir()} == {"q.jsonl"}


def test_an_output_of_other_questions_is_left_alone(run: Runner, folder: Path) -> None:
    run("bulk", write(folder / "q.jsonl", ["One?"]), "--out", folder / "a.jsonl")
    before = (folder / "a.jsonl").read_bytes()
    others = write(folder / "others.jsonl", ["Another?"])
    assert_one_sentence(run("bulk", others, "--out", folder / "a.jsonl"), "another run", "left alone")
    assert (folder / "a.jsonl").read_bytes() == before


def test_a_report_shows_the_run_and_the_one_before(run: Runner, folder: Path) -> None:
    questions = write(folder / "q.jsonl", ["One?", "fail </script><b>bold</b>"])
    for out, more in (("a.csv", ()), ("b.jsonl", ("--report", "r.html", "--compare", "a.csv"))):
        assert run("bulk", questions, "--out", out, *more).returncode == 1
    page = (folder / "r.html").read_text()
    data = json.loads(re.findall(r'id="data">(.*?)</script>', page, re.DOTALL)[0])
    assert sorted((now["id"], before["id"], change) for now, before, change in data) == [
        ("q1", "q1", "same"), ("q2", "q2", "same"),
    ]  # fmt: skip
    assert "<b>bold" not in page
    assert "beside a.csv" in page
    assert not re.search(r"(?:src|href)=|https?://", page), "it stands by itself"


def test_ctrl_c_finishes_what_runs_and_says_how_to_go_on(scripted: tuple[ChatService, Runner], folder: Path) -> None:
    service, run = scripted
    held = Held(said("Held."))
    service.reply = lambda prompt: held if prompt == "Question 1?" else Play(said("Yes."))
    questions = write(folder / "q.jsonl", [f"Question {number}?" for number in range(30)])
    running = run.start("bulk", questions, "--out", folder / "a.csv", "--concurrency", 1)
    held.gate.reached.wait(SECONDS)
    running.send_signal(signal.SIGINT)
    assert running.stderr is not None
    assert "Finishing what runs" in running.stderr.readline()
    held.gate.open()
    _, errors = running.communicate(timeout=SECONDS)
    assert running.returncode == 130, errors
    assert "2 answered, 0 failed, 28 not asked" in errors
    again = re.search(r"run the same again: llama-cloud-chat (.*)", errors)
    assert again is not None
    result = run(*again[1].split())
    assert result.returncode == 0, result.stderr
    assert sorted(service.prompts) == sorted(f"Question {number}?" for number in range(30))
    assert (folder / "a.csv").read_text().count("ses-") == 30


def test_a_second_ctrl_c_leaves_at_once_and_nothing_is_asked_twice(
    scripted: tuple[ChatService, Runner], folder: Path
) -> None:
    service, run = scripted
    held = Held(said("Held."))
    service.reply = lambda prompt: held
    questions = write(folder / "q.jsonl", ["Question 1?", "Question 2?"])
    running = run.start("bulk", questions, "--out", folder / "a.jsonl", "--concurrency", 1)
    held.gate.reached.wait(SECONDS)
    running.send_signal(signal.SIGINT)
    assert running.stderr is not None
    running.stderr.readline()
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=SECONDS)
    assert running.returncode == 130, errors
    assert "2 not asked" in errors
    held.gate.open()
    assert run("bulk", questions, "--out", folder / "a.jsonl").returncode == 0
    assert service.prompts == ["Question 1?", "Question 2?"]


def test_a_terminal_shows_how_far_it_is(run: Runner, folder: Path) -> None:
    questions = write(folder / "q.jsonl", ["One?", "fail", "Three?"])
    with run.in_terminal("bulk", questions, "--out", folder / "a.jsonl", columns=120) as terminal:
        assert terminal.wait_for_end() == 1
        terminal._read_until(lambda: "3/3" in terminal.text, "the bar")
        assert "1 failed" in terminal.text
        assert "/s" in terminal.text or "/min" in terminal.text
        assert "2 answered, 1 failed" in terminal.text


def test_a_storm_of_refusals_costs_time_and_no_question(scripted: tuple[ChatService, Runner], folder: Path) -> None:
    service, run = scripted
    seen: Counter[str] = Counter()

    def reply(prompt: str) -> Play:
        seen[prompt] += 1
        if seen[prompt] <= 6:
            headers = {"Retry-After-Ms": "10"}
            return Play(is_taken=False, instead=[in_json({"detail": "Too many."}, 429, headers)])
        return Play(said(f"You said: {prompt}"))

    service.reply = reply
    questions = write(folder / "q.jsonl", [f"Question {number}?" for number in range(20)])
    result = run("bulk", questions, "--out", folder / "a.jsonl")
    assert result.returncode == 0, result.stderr
    assert all(len(session.turns) == 1 for session in service.sessions.values())
    assert {row["attempts"] for row in rows(folder / "a.jsonl").values()} == {7}


def test_a_service_that_is_restarted_in_the_middle_has_been_asked_once(
    scripted: tuple[ChatService, Runner], folder: Path
) -> None:
    service, run = scripted
    held = Held(said("Held."))
    service.reply = lambda prompt: held if prompt == "Question 5?" else Play(said("Yes."))
    asked = [f"Question {number}?" for number in range(20)]
    running = run.start("bulk", write(folder / "q.jsonl", asked), "--out", folder / "a.jsonl", "--concurrency", 3)
    held.gate.reached.wait(SECONDS)
    service.stop_listening()
    time.sleep(1)  # it is away for that long
    service.listen_again()
    _, errors = running.communicate(timeout=SECONDS)
    assert running.returncode == 0, errors
    assert sorted(service.prompts) == sorted(asked)
    assert rows(folder / "a.jsonl")["q6"]["answer"] == "Held."


def test_a_full_disk_ends_the_run_and_loses_nothing(scripted: tuple[ChatService, Runner], folder: Path) -> None:
    service, run = scripted
    service.reply = lambda prompt: Play(said("Long. " * 4000))
    asked = [f"Question {number}?" for number in range(12)]
    questions = write(folder / "q.jsonl", asked)
    command = ["bash", "-c", 'ulimit -f 128; trap "" XFSZ; exec "$@"', "bash", *COMMAND]
    ended = subprocess.run(
        [*command, "bulk", str(questions), "--out", str(folder / "a.jsonl"), "--concurrency", "2"],
        env=run.env(), capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    assert "File too large" in ended.stderr
    assert "not asked" in ended.stderr
    assert 0 < len(rows(folder / "a.jsonl")) < 12
    assert run("bulk", questions, "--out", folder / "a.jsonl").returncode == 0
    assert len(rows(folder / "a.jsonl")) == 12
    assert sorted(service.prompts) == sorted(asked)


class Repeated:
    """Runs of the command, begun at once, each of which may be killed."""

    def __init__(self, run: Runner, errors: Path) -> None:
        self._errors = errors
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.repeated"],
            cwd=ROOT, env=run.env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def begin(self, *arguments: object) -> int:
        """Begin one; return its process."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps([str(self._errors), [*map(str, arguments)]])}\n")
        self._process.stdin.flush()
        return self._read()

    def end(self) -> tuple[int, str]:
        """Wait for it; return its exit code, and what it complained of."""
        return self._read(), self._errors.read_text()

    def _read(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


@pytest.mark.rule("design-12")
def test_killed_at_any_moment_and_run_again_every_question_was_asked_once(
    scripted: tuple[ChatService, Runner], folder: Path
) -> None:
    """Twenty runs, killed with questions under way and begun again: prompts received = questions, each answered."""
    service, run = scripted
    killed = 0
    with contextlib.closing(Repeated(run, folder / "errors")) as repeated:
        for number in range(ROUNDS):
            asked = [f"Question {each} of round {number}?" for each in range(25)]
            out = folder / f"a{number}{('.jsonl', '.csv')[number % 2]}"
            arguments = ("bulk", write(folder / f"q{number}.jsonl", asked), "--out", out)
            gate = hold_from(service, len(service.prompts) + random.randint(1, 20))
            victim = repeated.begin(*arguments)
            assert gate.reached.wait(SECONDS)
            time.sleep(random.uniform(0, 0.1))
            os.kill(victim, signal.SIGKILL)
            killed += repeated.end()[0] == -signal.SIGKILL
            gate.open()
            repeated.begin(*arguments)
            code, errors = repeated.end()
            assert code == 0, errors
            assert f"25 questions: 25 answered, 0 failed. Answers: {out}" in errors
            assert sorted(prompt for prompt in service.prompts if f"round {number}?" in prompt) == sorted(asked)
            text = out.read_text()
            assert all(text.count(f"You said: {prompt}") == 1 for prompt in asked)
    assert killed == ROUNDS


def hold_from(service: ChatService, place: int) -> Gate:
    """Let the prompts from this one on wait for their answers."""
    gate = Gate()

    def reply(prompt: str) -> Play:
        events = said(f"You said: {prompt}")
        return Play(events) if len(service.prompts) < place else Held(events, gate=gate)

    service.reply = reply
    return gate


def test_of_two_at_once_on_one_output_the_second_says_so(scripted: tuple[ChatService, Runner], folder: Path) -> None:
    service, run = scripted
    held = Held()
    service.reply = lambda prompt: held
    questions = write(folder / "q.jsonl", ["Question 1?"])
    first = run.start("bulk", questions, "--out", "a.jsonl")
    held.gate.reached.wait(SECONDS)
    assert_one_sentence(run("bulk", questions, "--out", folder / "a.jsonl"), "Another run writes")
    held.gate.open()
    first.communicate(timeout=SECONDS)
    assert first.returncode == 0
    assert service.prompts == ["Question 1?"]
