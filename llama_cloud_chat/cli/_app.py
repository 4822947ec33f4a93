"""The commands and their options. What they do is in the module named after each."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from llama_cloud_chat import ChatError, __version__

app = typer.Typer(
    name="llama-cloud-chat",
    help="LlamaCloud's chat agent in your terminal.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Docs = Annotated[
    Optional[list[Path]],  # noqa: UP045  # typer reads this at run time
    typer.Option(
        "--docs",
        help="A folder or file of text, Markdown or reStructuredText; may be given again. Without it, the "
        "descriptions of the Python packages installed here.",
    ),
]


def run() -> None:
    """Run the command line; an error of ours is one sentence and exit code 2."""
    try:
        app()
    except ChatError as error:
        print(error.message, file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader of a pipe has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"llama-cloud-chat {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """LlamaCloud's chat agent in your terminal."""


@app.command()
def demo(
    docs: Docs = None,
    question: Annotated[str, typer.Option(help="What to ask first.")] = "How do I set a timeout in httpx?",
) -> None:
    """Have a first conversation with the embedded service: no key, no network."""
    from ._demo import run_demo  # noqa: PLC0415  # the frameworks take a second to import

    run_demo(docs, question)


@app.command()
def serve(
    docs: Docs = None,
    port: Annotated[int, typer.Option(help="The port to listen on; 0 takes a free one.")] = 8765,
    data: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="The file that keeps the sessions; without it they are gone at the end."),
    ] = None,
) -> None:
    """Run the embedded service in the foreground until Ctrl-C."""
    from ._serve import run_service  # noqa: PLC0415  # so does the web server

    run_service(docs, port, data)
