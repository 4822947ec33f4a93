"""How the tests run the command: over pipes, or in a terminal of its own."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pyte

from llama_cloud_chat import ChatClient, SessionSummary, Turn
from llama_cloud_chat.local import LocalService

COMMAND = [sys.executable, "-c", "from llama_cloud_chat.cli import main; main()"]
# A session of its own has no controlling terminal until it takes one; without one Ctrl-C would be a mere character.
IN_TERMINAL = [
    sys.executable,
    "-c",
    "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); from llama_cloud_chat.cli import main; main()",
]
SECONDS = 60
COLOURS = {"NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE"}


def environment(home: Path, **more: str) -> dict[str, str]:
    """Nothing of this machine's settings: no keys, no profiles, no colours asked for."""
    ours = ("LLAMA_", "LANGSMITH_", "XDG_", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours) and name not in COLOURS}
    return {**kept, "HOME": str(home), "PYTHONIOENCODING": "utf-8", "TERM": "xterm-256color", **more}


class Runner:
    """Runs the command as a process, with a home of its own."""

    def __init__(self, home: Path, service: LocalService | None = None) -> None:
        self.home = home
        self.variables: dict[str, str] = {}
        if service is not None:
            self.variables = {
                "LLAMA_CLOUD_BASE_URL": service.base_url,
                "LLAMA_CLOUD_API_KEY": service.api_key,
                "LLAMA_CLOUD_INDEX_IDS": ",".join(service.index_ids),
            }

    def env(self, **more: str) -> dict[str, str]:
        return environment(self.home, **{**self.variables, **more})

    def __call__(
        self, *arguments: object, stdin: str | bytes = "", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        ended = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            input=given,
            capture_output=True,
            timeout=SECONDS,
            check=False,
            env=self.env(**{"COLUMNS": "100", **(env or {})}),
        )
        return subprocess.CompletedProcess(ended.args, ended.returncode, ended.stdout.decode(), ended.stderr.decode())

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=self.env(),
        )

    @contextlib.contextmanager
    def in_terminal(self, *arguments: object, columns: int = 80, rows: int = 60, **env: str) -> Iterator[Terminal]:
        terminal = Terminal([*IN_TERMINAL, *map(str, arguments)], self.env(**env), columns, rows)
        try:
            yield terminal
        finally:
            terminal.close()


class _Screen(pyte.Screen):
    """A screen that answers when it is asked where its cursor is."""

    answer: Callable[[str], None] = staticmethod(lambda data: None)

    def write_process_input(self, data: str) -> None:
        self.answer(data)


class Terminal:
    """A pseudo-terminal with the command in it, and what its screen shows."""

    def __init__(self, command: list[str], env: dict[str, str], columns: int, rows: int) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True
        )
        os.close(slave)
        self.raw = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._screen = _Screen(columns, rows)
        self._screen.answer = self.type
        self._stream = pyte.Stream(self._screen)

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display).strip()

    def lines(self) -> list[list[pyte.screens.Char]]:
        """Return what the screen shows, character by character."""
        return [
            [line[column] for column in range(self._screen.columns)]
            for line in (self._screen.buffer[row] for row in range(self._screen.lines))
        ]

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def ask(self, question: str) -> None:
        self.type(f"{question}\r")

    def wait_for(self, text: str, times: int = 1) -> None:
        """Read until the screen shows `text`."""
        self._read_until(lambda: self.text.count(text) >= times, f"{text!r} to appear")

    def wait_until(self, is_there: Callable[[], bool]) -> None:
        self._read_until(is_there, "what was to happen")

    def wait_for_prompt(self) -> None:
        self._read_until(lambda: self.text.endswith("\n>"), "the prompt")

    def wait_for_end(self) -> int:
        """Read until the process has ended; return its exit code."""
        self._read_until(lambda: self.process.poll() is not None, "the end")
        return self.process.returncode

    def _read_until(self, is_there: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not is_there():
            assert time.monotonic() < deadline, f"waited for {what}; the screen shows:\n{self.text}"
            ready, _, _ = select.select([self._master], [], [], 0.05)
            if ready and not self._read() and self.process.wait(SECONDS) is not None and not is_there():
                raise AssertionError(f"it ended before {what}; the screen shows:\n{self.text}")

    def _read(self) -> bool:
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the process has gone
            return False
        text = self._decoder.decode(data)
        self.raw += text
        self._stream.feed(text)
        return bool(data)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._master)


def turns_of(service: LocalService, session_id: str) -> list[Turn]:
    with ChatClient(service.api_key, base_url=service.base_url) as client:
        return client.session(session_id).turns()


def sessions_of(service: LocalService) -> list[SessionSummary]:
    with ChatClient(service.api_key, base_url=service.base_url) as client:
        return list(client.list())


def assert_one_sentence(result: subprocess.CompletedProcess[str], *words: str, code: int = 2) -> None:
    assert result.returncode == code, (result.returncode, result.stdout, result.stderr)
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr
