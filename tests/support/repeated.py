"""Runs of the command, one after another, each in a process forked from one that has imported everything.

    python -m tests.support.repeated

takes a line of JSON for each, its arguments, and says its process and, when it has ended, its exit code. What it
complains of goes to the file named first.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import httpx

import llama_cloud_chat.cli._bulk
from llama_cloud_chat.cli import main


def begin(errors: str, arguments: list[str]) -> int:
    """Begin a run; return its process."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            sys.stderr = Path(errors).open("w", encoding="utf-8")  # noqa: SIM115  # for good
            sys.argv = ["llama-cloud-chat", *arguments]
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    return pid


if __name__ == "__main__":
    assert llama_cloud_chat.cli._bulk
    httpx.create_ssl_context()
    for line in sys.stdin:
        pid = begin(*json.loads(line))
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
