"""Runs the code blocks of the documentation, each by itself, as somebody would who copied it.

A ```python block is run as a program; if it prints, the ```text block right after it says what. A ```console block
holds commands, which begin with `$ `, and what they print. In both, `...` stands for anything. A block under
`<!-- not run: why -->` is left alone. Python blocks with a title are files, which the console blocks of the page find.

Around every block stands what the page "Start here" sets up: the embedded service over `examples/handbook`, and the
variables that lead to it.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import itertools
import logging
import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sybil import Document, Example, Region
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

from tests.support.examples import like_a_process

ROOT = Path(__file__).parent.parent.parent
PORT = "8765"
"""Where the pages' services listen. The tests' take a free port, for they run side by side."""

_FENCES = RawFencedCodeBlockLexer(re.compile(r'(?P<language>\w+)(?: title="(?P<title>[^"]+)")?$\n', re.MULTILINE))
_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->\n\Z")
_END_OF_COMMAND = "\x1e"
_SECONDS = 100


@dataclass(frozen=True)
class Block:
    """A code block of a page.

    Attributes:
        language: `python` or `console`.
        code: What it holds.
        output: What the page says a program prints.
        title: The file that it is.
        reason: Why it is not run; empty if it is.
    """

    language: str
    code: str
    output: str = ""
    title: str | None = None
    reason: str = ""


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stand where a reader of the documentation stands."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for name in ("COLUMNS", "FORCE_COLOR", "LLAMA_CLOUD_PROJECT_ID", "LLAMA_CLOUD_ORGANIZATION_ID"):
        monkeypatch.delenv(name, raising=False)
    # Only now: every test run loads this module, also where the extra `local` is not installed.
    from llama_cloud_chat.local import LocalService

    with LocalService("examples/handbook") as service:
        monkeypatch.setenv("LLAMA_CLOUD_BASE_URL", service.base_url)
        monkeypatch.setenv("LLAMA_CLOUD_API_KEY", service.api_key)
        monkeypatch.setenv("LLAMA_CLOUD_INDEX_IDS", ",".join(service.index_ids))
        yield
    logging.getLogger("llama_cloud_chat").setLevel(logging.NOTSET)  # a page's program sets it for its process


def parse(document: Document) -> Iterator[Region]:
    """Yield the blocks of a page, each with its place, which includes the output it is said to have."""
    fences = list(_FENCES(document))
    for fence, following in itertools.zip_longest(fences, fences[1:]):
        language = fence.lexemes["language"]
        if language not in {"python", "console"}:
            continue
        output, end = "", fence.end
        if (
            language == "python"
            and following is not None
            and following.lexemes["language"] == "text"
            and not document.text[fence.end : following.start].strip()
        ):
            output, end = following.lexemes["source"], following.end
        reason = _NOT_RUN.search(document.text[: fence.start])
        block = Block(language, fence.lexemes["source"], output, fence.lexemes["title"], reason[1] if reason else "")
        yield Region(fence.start, end, block, _evaluate)


def _evaluate(example: Example) -> str | None:
    block: Block = example.parsed
    if block.reason:
        pytest.skip(block.reason)
    if block.language == "python":
        printed = run_program(block.code, example.path, example.line)
        return difference(block.output, printed)
    for file in (region.parsed for _, region in example.document.regions):
        if file.title:
            Path(file.title).write_text(file.code, encoding="utf-8")
    differences = [difference(said, printed) for said, printed in run_commands(block.code)]
    return "\n".join(filter(None, differences)) or None


def run_program(code: str, path: str, line: int) -> str:
    """Run `code`, which stands in the file `path`; return what it printed."""
    # The lines before it make the numbers in tracebacks those of the page.
    compiled = compile("\n" * line + code, path, "exec", dont_inherit=True)
    with contextlib.redirect_stdout(io.StringIO()) as printed, like_a_process():
        warnings.simplefilter("ignore", DeprecationWarning)  # the frameworks' own business
        exec(compiled, {"__name__": "__main__"})
    return printed.getvalue()


def run_commands(transcript: str) -> Iterator[tuple[str, str]]:
    """Run the commands of a transcript in one shell; yield what each is said to print, and what it printed."""
    commands = re.findall(r"^\$ ((?:.*\\\n)*.*\n)((?:(?!\$ ).*\n)*)", transcript, re.MULTILINE)
    foreground = [(command, said) for command, said in commands if command.startswith("llama-cloud-chat serve")]
    for command, said in foreground:
        yield said, _begin_of(command, lines=said.count("\n"))
    rest = [each for each in commands if each not in foreground]
    script = "".join(f"{command}printf '{_END_OF_COMMAND}'\n" for command, _ in rest)
    result = subprocess.run(
        ["bash", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=_SECONDS, check=False
    )
    *printed, _ = result.stdout.decode().split(_END_OF_COMMAND)
    assert len(printed) == len(rest), f"A command ended the shell: {result.stdout.decode()}"
    yield from zip([said for _, said in rest], printed, strict=True)


def _begin_of(command: str, lines: int) -> str:
    """Run a service on a free port until it has printed so many lines; return them, as if it had the page's port."""
    # A key of the environment would be taken, and not be shown.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LLAMA_CLOUD_")}
    with subprocess.Popen(
        ["bash", "-c", f"exec {command.rstrip()} --port 0"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        too_late = threading.Timer(_SECONDS, process.kill)  # should it print less than the page says
        too_late.start()
        printed = "".join(process.stdout.readline() for _ in range(lines))
        too_late.cancel()
        process.terminate()
    return re.sub(r"(?<=127\.0\.0\.1:)\d+", PORT, printed)


def difference(said: str, printed: str) -> str | None:
    """Say in what the output differs from what the page says; None if it does not."""
    checker, flags = doctest.OutputChecker(), doctest.ELLIPSIS | doctest.REPORT_NDIFF
    printed = printed if not printed or printed.endswith("\n") else f"{printed}\n"
    if checker.check_output(said, printed, flags):
        return None
    return checker.output_difference(doctest.Example("", said), printed, flags)
