"""The command `llama-cloud-chat`. It sits on top of everything and nothing imports it."""

from __future__ import annotations

import sys

from llama_cloud_chat._extras import MissingExtraError, needing


def main() -> None:
    """Run the command; an error is one sentence and exit code 2."""
    try:
        with needing("This command needs"):
            from ._app import run  # noqa: PLC0415  # typer is there only with the extra

            run()
    except MissingExtraError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
