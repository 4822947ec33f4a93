"""From a file of questions to a file of answers: what is checked before anything is asked, and where a run goes on.

Rows are written as they come, as lines of JSON, each at once: to the output file itself, or, as CSV and Parquet are
not written bit by bit, to `<output>.unfinished.jsonl` beside it, of which the output is made whenever a run ends.
Whoever is killed leaves a line unfinished at the most, and that is asked for again: the ledger `<output>.ledger` knows
where it was asked. It is deleted when every question of the file is answered, for then the output file says it all.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from llama_cloud_chat._config import check_count
from llama_cloud_chat._errors import (
    APIConnectionError,
    AuthenticationError,
    ChatError,
    ConfigurationError,
    PermissionDeniedError,
)
from llama_cloud_chat._turn.prompts import digest_of

from .marks import Mark, Marks
from .question import Question, read_question
from .reading import Line, flaws_of, parse, read_lines
from .result import BulkResult
from .rows import ALWAYS, COLUMNS, KINDS, check_parquet, read_rows, write_line, write_rows
from .run import SessionPer
from .summary import Summary

_STOPPERS = (APIConnectionError, AuthenticationError, PermissionDeniedError)
"""What the next question would meet as well: the run is over, and whoever failed by it is asked in the next one."""


class BadQuestionsError(ConfigurationError):
    """A file of questions cannot be asked.

    Attributes:
        flaws: What is wrong, by line.
    """

    def __init__(self, message: str, flaws: Sequence[tuple[int, str]] = ()) -> None:
        super().__init__(message)
        self.flaws = list(flaws)


class FileRun:
    """A run from file to file.

    Args:
        questions: The questions, as JSONL or CSV.
        answers: The output, as JSONL, CSV or Parquet.
        columns: What the output holds; by default every column of ours. Also a field of the questions' own, as `name`
            or `name=field`.
        limit: How many questions to ask, from the first.
        session_per: What has a session of its own.
        retry_failed: Whether to ask those anew that failed.
        max_prompt_chars: How many characters a question may hold, if that is known.

    Attributes:
        answers: The output.
        ledger: Where it is kept what was asked.
        total: How many questions the output will hold: those within the limit, and those beyond it that it has already.
        open: How many of them are to be asked.

    Raises:
        BadQuestionsError: Lines of the questions are wrong; it says which.
        ConfigurationError: Something else cannot work; nothing was changed.
    """

    def __init__(
        self,
        questions: Path,
        answers: Path,
        *,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
        session_per: SessionPer = "question",
        retry_failed: bool = False,
        max_prompt_chars: int | None = None,
    ) -> None:
        self.answers = answers
        self.ledger = answers.with_name(f"{answers.name}.ledger")
        self.total = self.open = self._beyond = 0
        self._questions = questions
        self._limit = None if limit is None else check_count("limit", limit, least=1)
        self._by_group = session_per == "row-group"
        self._retries_failed = retry_failed
        self._is_stopped = False
        self._file: BinaryIO | None = None
        _check_place(questions, answers)
        unfinished = answers.with_name(f"{answers.name}.unfinished.jsonl")
        self._lines = answers if answers.suffix.lower() == ".jsonl" else unfinished
        self._has_ids: bool | None = None
        self._marks = Marks()
        self._seen = Marks()
        self._told = Summary()
        self._columns, self._carried = _choose(columns)
        self._mark_what_is_there()
        self._check(max_prompt_chars)

    def _mark_what_is_there(self) -> None:
        columns = {*self._columns}
        asked_in = Marks()  # by session
        for place, row in enumerate(self._rows()):
            if row.keys() != columns:
                raise ConfigurationError(
                    f"{str(self.answers)!r} has other columns ({', '.join(row)}) than are wanted. Name the same with "
                    "--columns, or another file with --out."
                )
            mark = Mark.of_row(place, row)
            if not self._by_group and mark.session_id is not None:
                before = asked_in.get(mark.session_id)
                if before is not None and before.words != mark.words:
                    raise ConfigurationError(
                        f"{str(self.answers)!r} has questions that share a session. Give --session-per row-group as "
                        "before, or name another file with --out."
                    )
                asked_in.put(mark.session_id, mark)
            self._marks.put(row["id"], mark)

    def _rows(self) -> Iterator[dict[str, Any]]:
        there = next((path for path in (self._lines, self.answers) if path.exists()), None)
        return iter(()) if there is None else read_rows(there)

    def _check(self, max_prompt_chars: int | None) -> None:
        """Look at every question before one of them is asked."""
        flaws: list[tuple[int, str]] = []
        names: set[str] = set()
        matched = 0
        for place, line in enumerate(read_lines(self._questions)):
            found = [*flaws_of(line, max_prompt_chars, by_group=self._by_group)]
            if line.flaw is None:
                names |= line.given.keys()
                question = read_question(line.given, line.number)
                found += self._flaws_of_id(line, question)
                matched += not found and not flaws and self._is_matched(line, question)
                self._count(place, question)
            flaws += [(line.number, flaw) for flaw in found]
        if not flaws and not self.total:
            raise BadQuestionsError(f"There is no question in {str(self._questions)!r}.")
        if flaws:
            raise BadQuestionsError(f"{str(self._questions)!r} cannot be asked; nothing was.", flaws)
        if matched < len(self._marks):
            raise self._other_run("it has answers to questions that are not there")
        for name, field in self._carried.items():
            if field not in names:
                raise ConfigurationError(
                    f"--columns names {field!r}, which is no column of the output ({', '.join(COLUMNS)}) and no field "
                    f"of {str(self._questions)!r}."
                    if name == field
                    else f"--columns takes {name!r} from {field!r}, which is no field of {str(self._questions)!r}."
                )

    def _flaws_of_id(self, line: Line, question: Question) -> Iterator[str]:
        has_id = line.given.get("id") is not None
        if self._has_ids is None:
            self._has_ids = has_id
        if has_id != self._has_ids:
            yield "It has an id, and the first question has none." if has_id else "It has no id, and others have one."
            return  # the ids of some and the line numbers of others may well be the same
        before = self._seen.get(question.id)
        if before is not None:
            yield f"Its id {str(question.id)!r} is that of line {before.place}."
        self._seen.put(question.id, Mark(line.number, "", None, 1, None))

    def _is_matched(self, line: Line, question: Question) -> bool:
        mark = self._marks.get(question.id)
        if mark is not None and mark.words != digest_of(question.prompt):
            raise self._other_run(f"line {line.number}, {str(question.id)!r}, asks something else")
        return mark is not None

    def _other_run(self, why: str) -> ConfigurationError:
        return ConfigurationError(
            f"{str(self.answers)!r} is of another run than {str(self._questions)!r}: {why}. It is left alone; name "
            "another file with --out."
        )

    def _count(self, place: int, question: Question) -> None:
        mark = self._marks.get(question.id)
        is_wanted = self._limit is None or place < self._limit
        self.total += is_wanted or mark is not None
        self.open += is_wanted and self._is_open(mark)
        self._beyond += not is_wanted and mark is None

    def _is_open(self, mark: Mark | None) -> bool:
        return mark is None or (mark.error_type is not None and self._retries_failed)

    def begin(self) -> None:
        """Open the output file.

        Raises:
            ConfigurationError: It cannot be written.
        """
        try:
            if self._lines != self.answers and self.answers.exists() and not self._lines.exists():
                write_rows(self._lines, [*self._columns], read_rows(self.answers))
            self._file = self._lines.open("ab", buffering=0)
            _mend(self._lines)  # in append mode, what is cut off does not come again
        except OSError as error:
            raise ConfigurationError(f"{str(self._lines)!r} cannot be written: {error.strerror}.") from None

    def questions(self) -> Iterator[Any]:
        """Iterate over the questions that are open, as `bulk` takes them, while they are read from the file."""
        group, session_id = None, None
        for line in islice(read_lines(self._questions), self._limit):
            question = read_question(line.given, line.number)
            if question.group is None or question.group != group:
                group, session_id = question.group, None
            mark = self._marks.get(question.id)
            if not self._is_open(mark):
                assert mark is not None
                session_id = mark.session_id or session_id
                continue
            if self._is_stopped:
                return
            yield Question(
                question.id,
                question.prompt,
                question.group,
                question.fields,
                1 if mark is None else mark.next_asking,
                session_id,
                question.flaw,
            )

    def stop(self) -> None:
        """Begin with no further question."""
        self._is_stopped = True

    def add(self, result: BulkResult) -> None:
        """Write what came of a question.

        Raises:
            ChatError: It was the run that failed: the service is away or takes the key no longer, the ledger cannot be
                used, or there is no room for the row. The question is asked, or found, by the next run.
        """
        assert self._file is not None
        if isinstance(result.error, _STOPPERS) or type(result.error) is ChatError:  # so ledgers say it
            raise result.error
        told = result.as_row()
        row = {name: told.get(name) for name in self._columns} | {
            name: result.given.get(field) for name, field in self._carried.items()
        }
        try:
            _append(self._file, write_line({name: row[name] for name in self._columns}))
        except OSError as error:
            raise ChatError(
                f"The answer to {str(result.id)!r} could not be written to {str(self._lines)!r}: {error.strerror}. It "
                "is not lost: make room, and run the same again."
            ) from None
        self._told.add(told)

    @property
    def untold(self) -> list[str]:
        """The figures of the summary that the output has no column for: they are those of this run alone."""
        return [name for name in ("input_tokens", "output_tokens", "seconds") if name not in self._columns]

    def finish(self) -> Summary:
        """End the run: make the output file of what was written, and add it up.

        Raises:
            ChatError: There is no room for it; what was written stays.
        """
        if self._file is not None:
            self._file.close()
        try:
            self._make_output()
        except OSError as error:
            raise ChatError(
                f"{str(self.answers)!r} could not be written: {error.strerror}. The answers are in "
                f"{str(self._lines)!r}: make room, and run the same again."
            ) from None
        summary = Summary.of(self._rows())
        for figure in self.untold:
            setattr(summary, figure, getattr(self._told, figure))
        # A question beyond the limit may have been asked by a run that was killed: the ledger alone knows.
        if summary.answered >= self.total and not summary.failed and not self._beyond:
            self._forget_ledger()
        return summary

    def line_of(self, question_id: object) -> int:
        """Return where a question stands in its file."""
        mark = self._seen.get(question_id)
        assert mark is not None
        return mark.place

    def _make_output(self) -> None:
        """Leave out rows that later ones replace, and write the output file, where it is not written yet."""
        if not self._lines.exists():
            return
        last = Marks()
        count = 0
        with contextlib.closing(last):
            for place, row in enumerate(self._rows()):
                last.put(row["id"], Mark(place, "", None, 1, None))
                count += 1
            if self._lines == self.answers and len(last) == count:
                return
            write_rows(self.answers, self._columns, _only_last(self._rows(), last))
        if self._lines != self.answers:
            self._lines.unlink()

    def _forget_ledger(self) -> None:
        for ending in ("", "-wal", "-shm"):
            self.ledger.with_name(f"{self.ledger.name}{ending}").unlink(missing_ok=True)
        shutil.rmtree(self.ledger.with_name(f"{self.ledger.name}.locks"), ignore_errors=True)


def _only_last(rows: Iterator[dict[str, Any]], last: Marks) -> Iterator[dict[str, Any]]:
    for place, row in enumerate(rows):
        mark = last.get(row["id"])
        if mark is not None and mark.place == place:
            yield row


def _check_place(questions: Path, answers: Path) -> None:
    if answers.suffix.lower() not in KINDS:
        raise ConfigurationError(f"Answers are written to a file named {', '.join(KINDS)}, not {str(answers)!r}.")
    if not answers.parent.is_dir():
        raise ConfigurationError(f"{str(answers)!r} cannot be written: its folder is not there. Make it first.")
    if questions.exists() and answers.exists() and questions.samefile(answers):
        raise ConfigurationError(f"{str(answers)!r} holds the questions; name another file for the answers.")
    if answers.suffix.lower() == ".parquet":
        check_parquet()


def _choose(columns: Sequence[str] | None) -> tuple[list[str], Mapping[str, str]]:
    """Return what the output holds, and which of it is carried over from which field of the questions."""
    if columns is None:
        return [*COLUMNS], {}
    wanted = {name: field for name, _, field in (each.strip().partition("=") for each in columns) if name or field}
    if not wanted:
        raise ConfigurationError("--columns names no column.")
    clashing = [name for name, field in wanted.items() if field and name in COLUMNS]
    if clashing:
        raise ConfigurationError(f"--columns calls a field {clashing[0]!r}, which is a column of the output itself.")
    carried = {name: field or name for name, field in wanted.items() if name not in COLUMNS}
    always = [name for name in ALWAYS if name not in wanted]
    return [*always, *wanted], carried


def _append(file: BinaryIO, line: bytes) -> None:
    """Write a whole line, or nothing."""
    before = file.seek(0, os.SEEK_END)
    try:
        written = file.write(line)
        if written < len(line):
            file.write(line[written:])  # says why
    except OSError:
        with contextlib.suppress(OSError):
            file.truncate(before)
        raise


def _mend(path: Path) -> None:
    """Cut off a last line that was not finished; end one that only lacks its end."""
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        line = _last_line(file, size)
        if not line or line.endswith(b"\n"):
            return
        try:
            parse(line.decode())
        except ValueError:
            file.truncate(size - len(line))
        else:
            file.write(b"\n")


def _last_line(file: BinaryIO, size: int) -> bytes:
    """Return what stands after the last end of a line but one; from the end backwards, however long it is."""
    step, tail = 2**16, b""
    while size > 0 and b"\n" not in tail[:-1]:
        start = max(0, size - step)
        file.seek(start)
        tail = file.read(size - start) + tail
        size = start
    file.seek(0, os.SEEK_END)
    return tail[tail[:-1].rfind(b"\n") + 1 :]
