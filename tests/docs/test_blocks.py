"""The blocks of the documentation are really run, and really compared with what the pages say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sybil import Document
from sybil.example import SybilFailure

from tests.docs.blocks import ROOT, parse

PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]


def page(*lines: str) -> Document:
    document = Document("\n".join(lines) + "\n", "page.md")
    for region in parse(document):
        document.add(region)
    return document


def run(document: Document) -> None:
    for example in document.examples():
        example.evaluate()


def test_a_program_prints_what_the_page_says() -> None:
    run(page("```python", "print('one')", "print(2 + 2)", "```", "", "```text", "one", "...", "```"))


@pytest.mark.parametrize("output", [("```text", "two", "```"), ("So it goes.", "", "```text", "one", "```"), ()])
def test_another_output_or_one_that_is_not_shown_is_noticed(output: tuple[str, ...]) -> None:
    with pytest.raises(SybilFailure, match="one"):
        run(page("```python", "print('one')", "```", "", *output))


def test_an_error_in_a_program_is_noticed_at_its_line() -> None:
    with pytest.raises(ZeroDivisionError) as error:
        run(page("A page.", "", "```python", "x = 1", "x / 0", "```"))
    assert error.traceback[-1].lineno + 1 == 5


def test_commands_share_a_shell_and_find_the_page_s_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    program = ('```python title="one.py"', "print('one')", "```", "", "```text", "one", "```", "")
    run(page(*program, "```console", "$ NAME=one.py", "$ ls $NAME", "one.py", "```"))
    with pytest.raises(SybilFailure, match="two"):
        run(page(*program, "```console", "$ echo one", "one", "$ echo two", "one", "```"))


def test_commands_after_one_that_ended_the_shell_are_missed() -> None:
    with pytest.raises(AssertionError, match="ended the shell"):
        run(page("```console", "$ exit 3", "$ true", "```"))


def test_a_block_that_is_not_run_says_why() -> None:
    with pytest.raises(pytest.skip.Exception, match="no key"):
        run(page("<!-- not run: no key -->", "```python", "1 / 0", "```"))


def programs() -> Iterator[tuple[str, str]]:
    for path in PAGES:
        for region in parse(Document(path.read_text(encoding="utf-8"), str(path))):
            if region.parsed.language == "python":
                yield f"{path.stem}_{region.start}.py", region.parsed.code


def test_the_programs_are_written_as_the_code_is(tmp_path: Path) -> None:
    for name, code in programs():
        (tmp_path / name).write_text(code, encoding="utf-8")
    for check in (["format", "--check"], ["check", "--select", "E,F,I,B,UP,SIM,RUF"]):
        command = [sys.executable, "-m", "ruff", *check, "--config", str(ROOT / "pyproject.toml"), str(tmp_path)]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
