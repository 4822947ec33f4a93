"""Questions from a file, answers into another: what is checked, what is open, what is written."""

from __future__ import annotations

import contextlib
import csv
import json
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from llama_cloud_chat import (
    APIConnectionError,
    AuthenticationError,
    BulkResult,
    ChatClient,
    ChatError,
    ConfigurationError,
    SqliteLedger,
    bulk,
)
from llama_cloud_chat._bulk.comparison import compare
from llama_cloud_chat._bulk.filed import BadQuestionsError, FileRun
from llama_cloud_chat._bulk.rows import COLUMNS, read_rows, write_rows
from llama_cloud_chat._bulk.summary import Summary
from llama_cloud_chat._extras import MissingExtraError

from ..support.server import in_json
from ..support.service import ChatService, Play
from ..support.turns import said

pytest.importorskip("filelock")
ENDINGS = [".jsonl", ".csv", ".parquet"]
Ask = Callable[..., Summary]


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    return write(tmp_path / "questions.jsonl", [{"id": f"q{n}", "question": f"Question {n}?"} for n in range(6)])


@pytest.fixture(params=ENDINGS)
def answers(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    if request.param == ".parquet":
        pytest.importorskip("pyarrow")
    return tmp_path / f"answers{request.param}"


@pytest.fixture
def ask(service: ChatService) -> Iterator[Ask]:
    """Run from file to file, as the command does."""
    with ChatClient("llx-key", base_url=service.base_url) as client:

        def ask(questions: Path, answers: Path, *, most: int | None = None, **settings: Any) -> Summary:
            run = FileRun(questions, answers, **settings)
            if run.open:
                ledger = SqliteLedger(run.ledger)
                session_per = settings.get("session_per", "question")
                results = bulk(run.questions(), client=client, ledger=ledger, concurrency=2, session_per=session_per)
                run.begin()
                with contextlib.closing(results), contextlib.closing(ledger):
                    for number, result in enumerate(results, start=1):
                        run.add(result)
                        if number == most:
                            run.stop()
            return run.finish()

        yield ask


def write(path: Path, lines: Sequence[Any]) -> Path:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def rows(path: Path) -> list[dict[str, Any]]:
    return sorted(read_rows(path), key=lambda row: str(row["id"]))


def flaws(questions: Path, answers: Path, **settings: Any) -> list[tuple[int, str]]:
    with pytest.raises(BadQuestionsError, match="nothing was") as caught:
        FileRun(questions, answers, **settings)
    assert not answers.exists()
    return caught.value.flaws


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def failing(prompts: set[str], *, times: int = 1) -> Callable[[str], Play]:
    """Let the agent fail at these prompts, so often."""
    seen: dict[str, int] = {}

    def reply(prompt: str) -> Play:
        seen[prompt] = seen.get(prompt, 0) + 1
        if prompt in prompts and seen[prompt] <= times:
            return Play([{"type": "stop", "is_error": True, "error": "overloaded"}])
        return Play(said(f"You said: {prompt}"))

    return reply


# What is written.


def test_every_question_becomes_a_row_and_nothing_else_is_left(
    ask: Ask, questions: Path, answers: Path, service: ChatService, tmp_path: Path
) -> None:
    summary = ask(questions, answers)
    assert (summary.answered, summary.failed.total()) == (6, 0)
    written = rows(answers)
    assert [row["id"] for row in written] == [f"q{n}" for n in range(6)]
    assert [row["answer"] for row in written] == [f"You said: Question {n}?" for n in range(6)]
    assert {row["asking"] for row in written} == {row["turn"] for row in written} == {1}
    assert {row["error"] for row in written} == {None}
    assert all(row.keys() == COLUMNS.keys() for row in written)
    assert names(tmp_path) == {"questions.jsonl", answers.name}
    assert len(service.prompts) == 6


def test_run_again_it_asks_nothing(ask: Ask, questions: Path, answers: Path, service: ChatService) -> None:
    ask(questions, answers)
    before = answers.read_bytes()
    assert ask(questions, answers).answered == 6
    assert answers.read_bytes() == before
    assert len(service.prompts) == 6


def test_stopped_and_run_again_it_goes_on(ask: Ask, questions: Path, answers: Path, service: ChatService) -> None:
    first = ask(questions, answers, most=1)
    assert 1 <= first.answered < 6
    assert answers.with_name(f"{answers.name}.ledger").exists()
    assert ask(questions, answers).answered == 6
    assert sorted(service.prompts) == [f"Question {n}?" for n in range(6)]
    assert not answers.with_name(f"{answers.name}.ledger").exists()


def test_more_questions_are_asked_when_the_limit_is_lifted(
    ask: Ask, questions: Path, answers: Path, service: ChatService
) -> None:
    assert ask(questions, answers, limit=2).answered == 2
    assert ask(questions, answers, limit=4).answered == 4
    assert ask(questions, answers).answered == 6
    assert len(service.prompts) == 6


def test_what_a_killed_run_had_asked_is_found_after_a_run_of_fewer_questions(
    ask: Ask, questions: Path, tmp_path: Path, service: ChatService
) -> None:
    answers = tmp_path / "a.jsonl"
    ask(questions, answers, most=2)
    written = [line for line in answers.read_bytes().splitlines(keepends=True) if b'"q1"' not in line]
    answers.write_bytes(b"".join(written))  # as whoever is killed between asking and writing leaves it
    assert FileRun(questions, answers, limit=1).total == len(written)
    assert ask(questions, answers, limit=1).answered == len(written)
    assert ask(questions, answers).answered == 6
    assert sorted(service.prompts) == [f"Question {n}?" for n in range(6)]
    assert not answers.with_name("a.jsonl.ledger").exists()


def test_failed_ones_are_asked_anew_only_when_that_is_wanted(
    ask: Ask, questions: Path, answers: Path, service: ChatService
) -> None:
    service.reply = failing({"Question 1?", "Question 2?"}, times=2)
    assert ask(questions, answers).failed == {"TurnFailedError": 2}
    assert ask(questions, answers).failed == {"TurnFailedError": 2}
    assert len(service.prompts) == 6
    assert ask(questions, answers, retry_failed=True).failed == {"TurnFailedError": 2}
    assert len(service.prompts) == 8
    assert ask(questions, answers, retry_failed=True).answered == 6
    assert len(service.prompts) == 10
    assert [row["asking"] for row in rows(answers)] == [1, 3, 3, 1, 1, 1]


def test_what_may_have_been_taken_is_not_asked_anew(
    ask: Ask, questions: Path, answers: Path, service: ChatService
) -> None:
    service.instead["create"].append([in_json({"detail": "No."}, 422)])
    assert ask(questions, answers).failed == {"UnprocessableEntityError": 1}
    assert ask(questions, answers, retry_failed=True).answered == 6
    assert {row["asking"] for row in rows(answers)} == {1}
    assert len(service.prompts) == 6


def test_columns_are_chosen_and_fields_carried_over(ask: Ask, tmp_path: Path, answers: Path) -> None:
    given = [{"id": "a", "question": "One?", "answer": "1", "tags": ["x"]}, {"id": "b", "question": "Two?"}]
    summary = ask(write(tmp_path / "q.jsonl", given), answers, columns=["answer", "reference=answer", " tags "])
    assert len(summary.seconds) == 2, "the output does not hold them, and they are told nevertheless"
    first, second = rows(answers)
    assert list(first) == [
        "id", "question", "session_id", "asking", "error", "error_type", "answer", "reference", "tags",
    ]  # fmt: skip
    assert (first["answer"], first["reference"], second["reference"]) == ("You said: One?", "1", None)
    assert first["tags"] in (["x"], '["x"]')


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ([" "], "names no column"),
        (["answr"], "'answr', which is no column of the output"),
        (["reference=answr"], "takes 'reference' from 'answr'"),
        (["answer=question"], "calls a field 'answer'"),
    ],
)
def test_columns_that_are_not_there_are_named(questions: Path, tmp_path: Path, columns: list[str], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        FileRun(questions, tmp_path / "a.jsonl", columns=columns)


def test_what_utf_8_cannot_write_is_written_nevertheless(ask: Ask, tmp_path: Path, answers: Path) -> None:
    file = write(tmp_path / "q.jsonl", [{"id": "ü", "question": "Größe? 有給", "note": "\ud83d"}])
    ask(file, answers, columns=["answer", "note"])
    (row,) = rows(answers)
    assert row["answer"] == "You said: Größe? 有給"
    assert row["note"] in ("\ud83d", "\\ud83d")


def test_a_row_is_one_line_for_whoever_splits_lines_as_python_does(ask: Ask, tmp_path: Path) -> None:
    words = "One\x85two\u2028three\u2029four\x0cfive?"
    file = write(tmp_path / "q.jsonl", [{"id": "q\u2028", "question": words}])
    ask(file, tmp_path / "a.jsonl")
    [line] = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["question"] == words
    ask(file, tmp_path / "a.jsonl")
    assert [row["id"] for row in read_rows(tmp_path / "a.jsonl")] == ["q\u2028"]


def test_groups_go_on_in_their_session_in_the_next_run(ask: Ask, tmp_path: Path, answers: Path) -> None:
    given = [{"question": f"Question {n}?", "group": n // 3} for n in range(6)]
    file = write(tmp_path / "q.jsonl", given)
    ask(file, answers, session_per="row-group", limit=2)
    ask(file, answers, session_per="row-group")
    written = sorted(read_rows(answers), key=lambda row: row["id"] if isinstance(row["id"], int) else int(row["id"]))
    assert [row["turn"] for row in written] == [1, 2, 3, 1, 2, 3]
    assert len({row["session_id"] for row in written[:3]}) == len({row["session_id"] for row in written[3:]}) == 1


def test_an_output_with_shared_sessions_is_not_gone_on_with_a_session_for_each_question(
    ask: Ask, tmp_path: Path, answers: Path, service: ChatService
) -> None:
    file = write(tmp_path / "q.jsonl", [{"question": f"Question {n}?", "group": "a"} for n in range(3)])
    ask(file, answers, session_per="row-group", columns=["answer"])
    before = answers.read_bytes()
    with pytest.raises(ConfigurationError, match=r"share a session.*--session-per row-group"):
        ask(file, answers, columns=["answer"])
    ask(file, answers, session_per="row-group", columns=["answer"])
    assert answers.read_bytes() == before
    assert len(service.prompts) == 3


# What was cut off, and what is in the way.


def test_a_line_that_was_not_finished_is_cut_off_and_asked_for(
    ask: Ask, questions: Path, tmp_path: Path, service: ChatService
) -> None:
    answers = tmp_path / "answers.jsonl"
    ask(questions, answers)
    whole = answers.read_bytes()
    answers.write_bytes(whole[:-20])
    assert ask(questions, answers).answered == 6
    assert len(answers.read_bytes().splitlines()) == 6
    assert len(service.prompts) == 7  # the ledger went with the first run's end


def test_a_last_line_that_only_lacks_its_end_stays(
    ask: Ask, questions: Path, tmp_path: Path, service: ChatService
) -> None:
    answers = tmp_path / "answers.jsonl"
    ask(questions, answers, limit=5)
    answers.write_bytes(answers.read_bytes().rstrip())
    assert ask(questions, answers).answered == 6
    assert len(answers.read_text().splitlines()) == 6
    assert len(service.prompts) == 6


def test_an_unfinished_run_that_was_killed_goes_on_from_its_lines(
    ask: Ask, questions: Path, answers: Path, tmp_path: Path, service: ChatService
) -> None:
    ask(questions, answers, limit=4)
    if answers.suffix != ".jsonl":
        lines = tmp_path / f"{answers.name}.unfinished.jsonl"
        write_rows(lines, [*COLUMNS], [*read_rows(answers)])
        answers.unlink()
    assert ask(questions, answers).answered == 6
    assert ask(questions, answers).answered == 6
    assert len(service.prompts) == 6


def test_an_output_of_long_rows_is_mended_as_well(ask: Ask, tmp_path: Path, service: ChatService) -> None:
    answers = tmp_path / "answers.jsonl"
    service.reply = lambda prompt: Play(said("Long. " * 30_000))
    file = write(tmp_path / "q.jsonl", ['"One?"', '"Two?"'])
    ask(file, answers)
    answers.write_bytes(answers.read_bytes()[:-70_000])
    assert ask(file, answers).answered == 2


@pytest.mark.parametrize("content", ["a letter", '{"a": 1}\n', "[]\n", "x,y\n1,2\n", 'x,"y\n', "\udc80"])
def test_a_file_of_something_else_is_left_alone(questions: Path, answers: Path, content: str) -> None:
    answers.write_text(f"{content}\n", errors="surrogateescape")
    before = answers.read_bytes()
    with pytest.raises(ConfigurationError, match=r"is no output of a run|cannot be read"):
        FileRun(questions, answers)
    assert answers.read_bytes() == before


def test_an_output_with_other_columns_is_left_alone(ask: Ask, questions: Path, answers: Path) -> None:
    ask(questions, answers, columns=["answer"], most=2)
    ask(questions, answers, columns=["answer"])
    before = answers.read_bytes()
    for columns in (None, ["answer", "pages"], ["pages"]):
        with pytest.raises(ConfigurationError, match="has other columns"):
            FileRun(questions, answers, columns=columns)
    assert answers.read_bytes() == before


def test_an_output_of_other_questions_is_left_alone(ask: Ask, questions: Path, answers: Path, tmp_path: Path) -> None:
    ask(questions, answers)
    before = answers.read_bytes()
    others = write(tmp_path / "others.jsonl", [{"id": "q1", "question": "Something else?"}])
    with pytest.raises(ConfigurationError, match=r"another run .* line 1, 'q1', asks something else"):
        FileRun(others, answers)
    fewer = write(tmp_path / "fewer.jsonl", [{"id": "q1", "question": "Question 1?"}])
    with pytest.raises(ConfigurationError, match=r"another run .* answers to questions that are not there"):
        FileRun(fewer, answers)
    assert answers.read_bytes() == before


@pytest.mark.parametrize(
    ("questions_name", "answers_name", "why"),
    [
        ("q.jsonl", "a.txt", r"not .*a.txt"),
        ("q.jsonl", "missing/a.jsonl", "its folder is not there"),
        ("q.jsonl", "q.jsonl", "holds the questions"),
        ("q.txt", "a.jsonl", r"named .jsonl or .csv"),
        ("none.jsonl", "a.jsonl", "cannot be read: No such file"),
    ],
)
def test_a_place_that_cannot_be_is_named(tmp_path: Path, questions_name: str, answers_name: str, why: str) -> None:
    for name in ("q.jsonl", "q.txt"):
        write(tmp_path / name, ['"One?"'])
    with pytest.raises(ConfigurationError, match=why):
        FileRun(tmp_path / questions_name, tmp_path / answers_name)


def test_an_output_that_cannot_be_read_is_named(questions: Path, tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        FileRun(questions, tmp_path / "answers.jsonl")


def test_an_output_that_cannot_be_written_is_named_before_anything_is_asked(
    ask: Ask, questions: Path, tmp_path: Path, service: ChatService
) -> None:
    run = FileRun(questions, tmp_path / "answers.jsonl")
    (tmp_path / "answers.jsonl").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be written: Is a directory"):
        run.begin()


def test_without_pyarrow_parquet_is_refused_and_the_extra_named(
    questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"Parquet needs pyarrow.*llama-cloud-chat\[parquet\]"):
        FileRun(questions, tmp_path / "answers.parquet")


# What is wrong with the questions is named by line.


def test_every_bad_line_is_named_at_once(tmp_path: Path) -> None:
    file = write(
        tmp_path / "q.jsonl",
        [
            '{"id": "a", "question": "Good?"}',
            "nonsense",
            "",
            '{"id": "b", "question": " "}',
            '{"id": "a", "question": "Other?"}',
            '{"question": "Which?"}',
            '{"id": "c"}',
            "7",
            '"A text?"',
            '{"id": "d", "question": "?", "x": NaN}',
            "[" * 100_000,
            '{"id": "e", "question": "Long? Long?"}',
        ],
    )
    with file.open("ab") as more:
        more.write(b'{"id": "f", "question": "\xff"}\n')
    found = flaws(file, tmp_path / "a.jsonl", max_prompt_chars=10)
    assert [number for number, _ in found] == [2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]
    says = dict(found)
    for number, words in {
        2: "no JSON: Expecting value, at character 1",
        4: "is empty",
        5: "Its id 'a' is that of line 1",
        6: "no id, and others have one",
        7: "no `question`",
        8: "no JSON object",
        9: "no id",
        10: "NaN is no number",
        11: "no JSON",
        12: "11 characters, and the service takes 10",
        13: "not UTF-8",
    }.items():
        assert words in says[number]


def test_ids_that_only_some_have_are_named(tmp_path: Path) -> None:
    file = write(tmp_path / "q.jsonl", ['"One?"', {"id": "b", "question": "Two?"}])
    assert flaws(file, tmp_path / "a.jsonl") == [(2, "It has an id, and the first question has none.")]


def test_a_line_without_an_id_is_not_taken_for_the_one_whose_id_is_its_number(tmp_path: Path) -> None:
    file = write(tmp_path / "q.jsonl", [{"id": "1", "question": "?"}, {"question": "?"}, {"id": "2", "question": "?"}])
    assert flaws(file, tmp_path / "a.jsonl") == [(2, "It has no id, and others have one.")]


def test_without_ids_the_line_is_the_id(ask: Ask, tmp_path: Path) -> None:
    file = write(tmp_path / "q.jsonl", ['"One?"', "", {"question": "Three?"}])
    ask(file, tmp_path / "a.jsonl")
    assert [row["id"] for row in rows(tmp_path / "a.jsonl")] == [1, 3]


def test_groups_that_are_missing_are_named(tmp_path: Path) -> None:
    file = write(tmp_path / "q.jsonl", [{"question": "One?", "group": "a"}, '"Two?"'])
    ((number, says),) = flaws(file, tmp_path / "a.jsonl", session_per="row-group")
    assert number == 2
    assert "names no `group`" in says


@pytest.mark.parametrize("content", ["", "\n\n", "question\n"])
def test_a_file_without_questions_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "q.csv"
    file.write_text(content)
    with pytest.raises(BadQuestionsError, match="no question in"):
        FileRun(file, tmp_path / "a.jsonl")


def test_csv_is_read_with_its_line_numbers_and_what_stands_before_and_in_it(ask: Ask, tmp_path: Path) -> None:
    file = tmp_path / "q.csv"
    file.write_text('\ufeffquestion, group\n"One,\nor two?",\n\nThree?,a\n')
    ask(file, tmp_path / "a.csv")
    assert [(row["id"], row["question"]) for row in rows(tmp_path / "a.csv")] == [
        ("2", "One,\nor two?"),
        ("5", "Three?"),
    ]


def test_bad_lines_of_csv_are_named(tmp_path: Path) -> None:
    file = tmp_path / "q.csv"
    file.write_bytes(b'id,question\na,"One\n?"\nb,x,y\nb,\nc,\xff\nd,"unclosed\n')
    found = flaws(file, tmp_path / "a.jsonl")
    assert [number for number, _ in found] == [4, 5, 6, 7]
    assert "3 cells, and the first line 2" in found[0][1]
    assert "no CSV" in found[3][1]
    file.write_text("id,words\n1,One?\n")
    assert flaws(file, tmp_path / "a.jsonl") == [
        (1, "It names no column `question`; the first line names the columns.")
    ]


def test_cells_may_be_long(ask: Ask, tmp_path: Path) -> None:
    before = csv.field_size_limit(131_072)  # as it is in a new process
    file = tmp_path / "q.csv"
    file.write_text(f"question\n{'x' * 131_073}\n")
    for _ in range(2):
        assert ask(file, tmp_path / "a.csv").answered == 1
    csv.field_size_limit(before)


# What ends a run.


@pytest.mark.parametrize(
    "error", [APIConnectionError("away"), AuthenticationError("no"), ChatError("The ledger cannot be used")]
)
def test_what_the_next_question_would_meet_as_well_ends_the_run_and_is_no_row(
    questions: Path, tmp_path: Path, error: ChatError
) -> None:
    run = FileRun(questions, tmp_path / "a.jsonl")
    run.begin()
    with pytest.raises(type(error), match=error.message):
        run.add(BulkResult("q1", "Question 1?", error=error))
    assert run.finish().answered == 0
    assert run.open == run.total == 6
    assert run.line_of("q3") == 4


@pytest.fixture
def no_room_beyond() -> Iterator[Callable[[int], None]]:
    """Let no file grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, before)


def test_a_full_disk_ends_the_run_and_leaves_whole_rows(
    questions: Path, tmp_path: Path, no_room_beyond: Callable[[int], None]
) -> None:
    answers = tmp_path / "a.jsonl"
    run = FileRun(questions, answers)
    run.begin()
    run.add(BulkResult("q0", "Question 0?"))
    size = answers.stat().st_size
    no_room_beyond(size + 10)
    with pytest.raises(ChatError, match=r"answer to 'q1' could not be written to .*: File too large\. It is not lost"):
        run.add(BulkResult("q1", "Question 1?"))
    assert answers.stat().st_size == size
    no_room_beyond(resource.RLIM_INFINITY)
    run.add(BulkResult("q1", "Question 1?"))
    run.finish()
    assert [row["id"] for row in rows(answers)] == ["q0", "q1"]


def test_a_disk_that_is_full_at_the_end_leaves_the_lines(
    questions: Path, tmp_path: Path, no_room_beyond: Callable[[int], None]
) -> None:
    answers = tmp_path / "a.csv"
    run = FileRun(questions, answers)
    run.begin()
    run.add(BulkResult("q0", "Question 0?"))
    no_room_beyond(10)
    with pytest.raises(ChatError, match=r"a.csv' could not be written.*unfinished.jsonl"):
        run.finish()
    no_room_beyond(resource.RLIM_INFINITY)
    assert names(tmp_path) == {"questions.jsonl", "a.csv.unfinished.jsonl"}
    assert FileRun(questions, answers).open == 5


# A run in figures, and beside another.


def test_rows_add_up() -> None:
    told = [
        {"id": n, "question": "?", "answer": "!", "error": None, "seconds": float(n), "input_tokens": 10}
        for n in range(100)
    ]
    failed = [{"id": "x", "error": "no", "error_type": "TurnFailedError", "output_tokens": 5}, {"id": "y", "error": ""}]
    summary = Summary.of([*told, *failed, {"id": "z", "seconds": None}])
    assert (summary.answered, summary.failed) == (101, {"TurnFailedError": 1, "ChatError": 1})
    assert (summary.input_tokens, summary.output_tokens) == (1000, 5)
    assert [summary.percentile(percent) for percent in (50, 99, 100)] == [50, 99, 99]
    assert Summary.of([]).percentile(50) is None


def test_two_runs_are_compared_question_by_question() -> None:
    def row(name: str, answer: str | None, error: str | None = None) -> dict[str, Any]:
        return {"id": name, "question": "?", "answer": answer, "error": error}

    now = [row("a", "1"), row("b", "2"), row("c", None, "x"), row("d", "4"), row("e", "5"), row("f", None, "y")]
    before = [row("a", "1"), row("b", "two"), row("c", "3"), row("d", None, "x"), row("f", None, "z"), row("g", "7")]
    pairs = list(compare(now, before))
    assert [pair.change for pair in pairs] == ["same", "changed", "failed", "answered", "new", "same", "gone"]
    assert pairs[1].before is not None
    assert pairs[1].before["answer"] == "two"
    assert pairs[-1].row is None
