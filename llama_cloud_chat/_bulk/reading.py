"""Files of questions: which line asks what, and what is wrong with it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llama_cloud_chat._errors import ConfigurationError

from .question import read_question

KINDS = (".jsonl", ".csv")
_LONGEST_CELL = 2**24


@dataclass(frozen=True)
class Line:
    """One line of a file of questions.

    Attributes:
        number: Where it begins, from 1.
        given: What it holds.
        flaw: Why it cannot be read, if it cannot.
    """

    number: int
    given: Mapping[str, Any]
    flaw: str | None = None


def read_lines(path: Path) -> Iterator[Line]:
    """Iterate over a file's lines, but for empty ones.

    Args:
        path: The file; its name says what it is.

    Raises:
        ConfigurationError: It cannot be read, or holds something else.
    """
    if path.suffix.lower() not in KINDS:
        raise ConfigurationError(f"Questions are in a file named {' or '.join(KINDS)}, not {str(path)!r}.")
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            yield from (_json_lines if path.suffix.lower() == ".jsonl" else _csv_lines)(file)
    except OSError as error:
        raise ConfigurationError(f"The questions {str(path)!r} cannot be read: {error.strerror}.") from None


def parse(line: str) -> Any:
    """Return the value of a line of JSON.

    Args:
        line: One JSON value.

    Raises:
        ValueError: It is none.
    """
    try:
        return json.loads(line, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg}, at character {error.pos + 1}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _json_lines(file: Iterator[str]) -> Iterator[Line]:
    for number, text in enumerate(file, start=1):
        if text.strip():
            yield _json_line(number, text)


def _json_line(number: int, text: str) -> Line:
    if _is_not_utf8(text):
        return Line(number, {}, "It is not UTF-8.")
    try:
        value = parse(text)
    except ValueError as error:
        return Line(number, {}, f"It is no JSON: {error}.")
    if isinstance(value, str):
        value = {"question": value}
    if not isinstance(value, dict):
        return Line(number, {}, "It is no JSON object.")
    return Line(number, value)


def allow_long_cells() -> None:
    """Let a cell of CSV hold as much as an answer and its sources may. The limit is the process's."""
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))


def _csv_lines(file: Iterator[str]) -> Iterator[Line]:
    allow_long_cells()
    reader = csv.reader(file, strict=True)
    names: list[str] | None = None
    number = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield Line(number, {}, f"It is no CSV: {error}.")
            return  # where the next one begins is not known
        if cells is None:
            return
        if cells and names is None:
            names = [cell.strip() for cell in cells]
            if "question" not in names:
                yield Line(number, {}, "It names no column `question`; the first line names the columns.")
                return
        elif cells:
            assert names is not None
            yield _csv_line(number, names, cells)
        number = reader.line_num + 1


def _csv_line(number: int, names: list[str], cells: list[str]) -> Line:
    if len(cells) != len(names):
        return Line(number, {}, f"It has {len(cells)} cells, and the first line {len(names)}.")
    if any(map(_is_not_utf8, cells)):
        return Line(number, {}, "It is not UTF-8.")
    given: dict[str, Any] = dict(zip(names, cells, strict=True))
    for name in ("id", "group"):
        if not given.get(name, "").strip():
            given.pop(name, None)
    return Line(number, given)


def _is_not_utf8(text: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in text) if not text.isascii() else False


def flaws_of(line: Line, limit: int | None, *, by_group: bool) -> Iterator[str]:
    """Say what is wrong with a line by itself.

    Args:
        line: The line.
        limit: How many characters a question may hold; None if that is not known.
        by_group: Whether each question must name its group.
    """
    if line.flaw is not None:
        yield line.flaw
        return
    question = read_question(line.given, line.number)
    if question.flaw is not None:
        yield question.flaw
    if limit is not None and len(question.prompt) > limit:
        yield f"Its `question` has {len(question.prompt)} characters, and the service takes {limit}."
    if by_group and question.group is None:
        yield "It names no `group`, which says with which questions it shares a session."
