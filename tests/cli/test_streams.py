"""The command without standard streams, and on a full disk: no traceback, and an exit code that tells."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .support import COMMAND, SECONDS, Runner

COMMANDS = [
    "--version",
    "--help",
    "sessions list",
    "sessions show nowhere",
    "chat --plain",
    "ask leave",
    "ask --json leave",
    "ask --continue leave",
    "nonsense",
]


def redirected(run: Runner, redirection: str, arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *COMMAND, *arguments.split()],
        input="What is leave?",
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env=run.env(),
    )
    assert "Traceback" not in done.stderr + done.stdout
    assert "Exception ignored" not in done.stderr
    return done


@pytest.mark.parametrize("arguments", COMMANDS)
@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_missing_stream_changes_nothing_but_what_is_seen(run: Runner, redirection: str, arguments: str) -> None:
    ordinary = redirected(run, "</dev/null" if "<" in redirection else "", arguments)
    assert redirected(run, redirection, arguments).returncode == ordinary.returncode


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full disk to write to")
@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_full_disk_is_one_line(run: Runner, arguments: str) -> None:
    ordinary = redirected(run, "", arguments)
    done = redirected(run, ">/dev/full", arguments)
    if ordinary.stdout:
        assert done.stderr.endswith("The output could not be written: No space left on device.\n")
        assert done.returncode == 1
    else:
        assert (done.stderr, done.returncode) == (ordinary.stderr, ordinary.returncode)
    assert redirected(run, ">/dev/full 2>/dev/full", arguments).returncode == done.returncode
