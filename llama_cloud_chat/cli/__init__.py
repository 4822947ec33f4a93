"""The command `llama-cloud-chat`. It sits on top of everything and nothing imports it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from llama_cloud_chat._extras import MissingExtraError, needing


def main() -> None:
    """Run the command; an error is one sentence and exit code 2."""
    _open_what_is_closed()
    try:
        with needing("This command needs"):
            from ._app import run  # noqa: PLC0415  # typer is there only with the extra

            run()
    except MissingExtraError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def _open_what_is_closed() -> None:
    """Give whoever was started without standard input, output or error one that leads nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  # for good
