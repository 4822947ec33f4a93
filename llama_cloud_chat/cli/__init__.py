"""The command `llama-cloud-chat`. It sits on top of everything and nothing imports it."""

from __future__ import annotations

import sys

_NEEDS = {
    "typer": "cli",
    "rich": "cli",
    "prompt_toolkit": "cli",
    "tomli": "cli",
    "jinja2": "cli",
    "markdown_it": "cli",
    "nh3": "cli",
    "fastapi": "local",
    "uvicorn": "local",
    "sse_starlette": "local",
    "starlette": "local",
    "langchain_core": "langchain",
    "llama_index": "llama-index",
}


def main() -> None:
    """Run the command; an error is one sentence and exit code 2."""
    try:
        from ._app import run  # noqa: PLC0415  # typer is there only with the extra

        run()
    except ModuleNotFoundError as error:
        extra = _NEEDS.get((error.name or "").partition(".")[0])
        if extra is None:
            if "pip install" not in str(error):
                raise
            print(error, file=sys.stderr)  # the embedded service says itself what it needs
            sys.exit(2)
        print(
            f"This command needs {error.name}, which is not installed. "
            f"Install it with: pip install 'llama-cloud-chat[{extra}]'",
            file=sys.stderr,
        )
        sys.exit(2)
