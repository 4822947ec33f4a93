"""The commands and their options. What they do is in the module named after each."""

from __future__ import annotations

import errno
import os
import signal
import sys
from dataclasses import replace
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import Annotated, TextIO

import typer

from llama_cloud_chat import (
    AuthenticationError,
    ChatError,
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
    UnprocessableEntityError,
    __version__,
)

from ._connection import Connection
from ._options import Command, Group, with_connection
from ._safe import complain, told

_PROGRAM = "llama-cloud-chat"

app = typer.Typer(name=_PROGRAM, cls=Group, pretty_exceptions_enable=False)
sessions_app = typer.Typer(cls=Group)
app.add_typer(sessions_app, name="sessions")

# Typer does not name the class of its own complaints.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]

_CALLERS_FAULT = (
    ConfigurationError,
    AuthenticationError,
    PermissionDeniedError,
    NotFoundError,
    UnprocessableEntityError,
)

Docs = Annotated[
    list[Path] | None,
    typer.Option(
        "--docs",
        metavar="PATH",
        help="A folder or file for the embedded service to read; may be given again. Without it, the descriptions of "
        "the Python packages installed here.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="PROVIDER:NAME",
        help="The language model that answers in the embedded service, instead of its own quoting.",
    ),
]
SessionId = Annotated[str, typer.Argument(metavar="SESSION", help="The session's id.")]
Indexes = Annotated[
    list[str] | None,
    typer.Option(
        "--index",
        metavar="NAME",
        help="An index to ask, by name or id; may be given again. Without it, those of the session or of "
        "LLAMA_CLOUD_INDEX_IDS.",
    ),
]
GoOnIn = Annotated[
    str | None, typer.Option("--session", metavar="ID", help="Go on in this session; without it a new one begins.")
]
GoOn = Annotated[bool, typer.Option("--continue", help="Go on in the session that was asked last from here.")]
Plain = Annotated[bool, typer.Option("--plain", help="Text alone, on a terminal, too.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


class Format(str, Enum):
    """What a session can be exported as."""

    md = "md"
    html = "html"
    json = "json"


class SessionPer(str, Enum):
    """What has a session of its own when many questions are asked."""

    question = "question"
    row_group = "row-group"


def run() -> None:
    """Run the command line: 2 if what was given cannot work, 1 if the service failed, 130 after Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # what cannot be shown is no reason to fail
    signal.signal(signal.SIGTERM, _leave)
    try:
        try:
            sys.exit(app(prog_name=_PROGRAM, standalone_mode=False))
        finally:
            sys.stdout.flush()
    except ChatError as error:
        complain(told(error))
        sys.exit(2 if isinstance(error, _CALLERS_FAULT) else 1)
    except _UsageError as error:
        complain(f"{str(error.format_message()).rstrip('.')}. {_where_help_is(error)}")  # type: ignore[attr-defined]
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe has had enough
        _lead_nowhere(sys.stdout)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}:
            raise
        _lead_nowhere(sys.stdout)  # or what is left would be tried again at the end
        complain(f"The output could not be written: {error.strerror}.")
        sys.exit(1)


def _lead_nowhere(stream: TextIO) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _leave(number: int, frame: FrameType | None) -> None:
    """End in good order: embedded services stop, the terminal is as it was."""
    sys.exit(128 + number)


def _where_help_is(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return f"See {context.command_path if context else _PROGRAM} --help."


def _check_goes_on(goes_on: bool, session: str | None, connection: Connection) -> bool:
    if goes_on and session is not None:
        raise ConfigurationError("--continue and --session both name a session; leave one out.")
    if goes_on and not connection.keeps_sessions:
        raise ConfigurationError(
            "An embedded service without a file has no session to go on in; name the file with --data FILE."
        )
    return goes_on


def _read_limit(text: str) -> int | None:
    if text.lower() == "none":
        return None
    if not text.isdecimal():
        raise ConfigurationError(
            f"--max-prompt-chars takes a number of characters, or none for no limit; not {text!r}."
        )
    return int(text)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"{_PROGRAM} {__version__}")
        raise typer.Exit


def _print_help_alone(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """LlamaCloud's chat agent in your terminal."""
    _print_help_alone(context)


@sessions_app.callback(invoke_without_command=True)
def _sessions_root(context: typer.Context) -> None:
    """List, show, title and delete sessions."""
    _print_help_alone(context)


@app.command(cls=Command)
@with_connection
def ask(
    connection: Connection,
    question: Annotated[
        str | None, typer.Argument(metavar="QUESTION", help="The question; without it, standard input.")
    ] = None,
    session: GoOnIn = None,
    goes_on: GoOn = False,
    index: Indexes = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the turn as one JSON document: its text, its sources, its session.")
    ] = False,
    plain: Plain = False,
    forget: Annotated[bool, typer.Option("--forget", help="Delete the session after the answer.")] = False,
    docs: Docs = None,
    model: Model = None,
) -> None:
    """Ask one question.

    llama-cloud-chat ask 'How do I ...?'

    Through a pipe, the answer's text alone is printed.
    """
    from ._ask import run_ask  # noqa: PLC0415  # everything below imports what it alone needs

    run_ask(
        replace(connection, docs=docs or None, model=model),
        question,
        session,
        index or [],
        goes_on=_check_goes_on(goes_on, session, connection),
        json=json,
        plain=plain,
        forget=forget,
    )


@app.command(cls=Command)
@with_connection
def chat(
    connection: Connection,
    question: Annotated[str | None, typer.Argument(metavar="QUESTION", help="What to ask first.")] = None,
    session: GoOnIn = None,
    goes_on: GoOn = False,
    index: Indexes = None,
    plain: Plain = False,
    docs: Docs = None,
    model: Model = None,
) -> None:
    """Hold a conversation, or answer the question that comes on standard input.

    At the keyboard: /sources, /source N, /history, /new, /fork N, /title, /help
    and /quit; Alt-Enter begins a new line, Ctrl-C stops the answer, Ctrl-D leaves.

    Where nobody sits at the keyboard, the one question is answered, as ask does.
    """
    from ._chat import run_chat  # noqa: PLC0415

    run_chat(
        replace(connection, docs=docs or None, model=model),
        question,
        session,
        index or [],
        goes_on=_check_goes_on(goes_on, session, connection),
        plain=plain,
    )


@app.command(cls=Command)
@with_connection
def bulk(
    connection: Connection,
    questions: Annotated[
        Path, typer.Argument(metavar="QUESTIONS", help="JSONL or CSV with `question`, and perhaps `id` and `group`.")
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="ANSWERS", help="The file to write: .jsonl, .csv or .parquet. One that is there goes on."),
    ],
    index: Indexes = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="What to write beside id, question and error; also fields of the questions, as FIELD or NAME=FIELD.",
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="How many questions are asked at once.")] = 8,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask no more than the first so many.")] = None,
    session_per: Annotated[
        SessionPer,
        typer.Option(help="A session for each question; or for questions of one `group` that follow each other."),
    ] = SessionPer.question,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Ask those anew that failed.")] = False,
    max_prompt_chars: Annotated[
        int | None,
        typer.Option(min=1, help="How many characters a question may hold, if you know; checked beforehand."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page to look through the answers, too.")
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(metavar="ANSWERS", help="With --report, another run's output to show beside.")
    ] = None,
    docs: Docs = None,
    model: Model = None,
) -> None:
    """Ask many questions from a file, each once, whatever dies in the middle.

    Run again, it goes on where it was. Ctrl-C finishes what runs.
    The exit code is 0 if all were answered, 1 if some failed, 2 if it could not start.
    """
    from ._bulk import BulkOptions, run_bulk  # noqa: PLC0415

    options = BulkOptions(
        questions,
        out,
        index or [],
        None if columns is None else columns.split(","),
        concurrency,
        limit,
        session_per.value,
        retry_failed,
        max_prompt_chars,
        report,
        compare,
    )
    code = run_bulk(replace(connection, docs=docs or None, model=model), options)
    if code:
        raise typer.Exit(code)


@sessions_app.command("list", cls=Command)
@with_connection
def sessions_list(
    connection: Connection,
    limit: Annotated[int | None, typer.Option(min=1, help="List no more than this many.")] = None,
    json: AsJson = False,
) -> None:
    """List the sessions."""
    from ._sessions import list_sessions  # noqa: PLC0415

    list_sessions(connection, limit, json=json)


@sessions_app.command("show", cls=Command)
@with_connection
def sessions_show(connection: Connection, session: SessionId, json: AsJson = False) -> None:
    """Show a session and its turns."""
    from ._sessions import show_session  # noqa: PLC0415

    show_session(connection, session, json=json)


@sessions_app.command("delete", cls=Command)
@with_connection
def sessions_delete(
    connection: Connection,
    sessions: Annotated[list[str], typer.Argument(metavar="SESSION...", help="The sessions' ids.")],
) -> None:
    """Delete sessions for good."""
    from ._sessions import delete_sessions  # noqa: PLC0415

    delete_sessions(connection, sessions)


@sessions_app.command("title", cls=Command)
@with_connection
def sessions_title(
    connection: Connection,
    session: SessionId,
    text: Annotated[
        str | None, typer.Argument(metavar="[TEXT]", help="What to title it after; else its first question.")
    ] = None,
) -> None:
    """Have a session titled."""
    from ._sessions import title_session  # noqa: PLC0415

    title_session(connection, session, text)


@app.command(cls=Command)
@with_connection
def indexes(connection: Connection, docs: Docs = None, json: AsJson = False) -> None:
    """List the indexes that can be asked."""
    from ._indexes import run_indexes  # noqa: PLC0415

    run_indexes(replace(connection, docs=docs or None), json=json)


@app.command(cls=Command)
@with_connection
def doctor(connection: Connection, index: Indexes = None, docs: Docs = None, json: AsJson = False) -> None:
    """Look whether everything is in order: the key, the address, the project, the indexes, one short turn.

    The exit code is 0 if all is well, 1 if something is not. The turn costs what a short question costs; its
    session is deleted again.
    """
    from ._doctor import run_doctor  # noqa: PLC0415

    if not run_doctor(replace(connection, docs=docs or None), index or [], json=json):
        raise typer.Exit(1)


@app.command(cls=Command)
@with_connection
def export(
    connection: Connection,
    session: SessionId,
    format_: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.md,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file to write; without it, standard output.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a session with its turns and sources."""
    from ._export import run_export  # noqa: PLC0415

    run_export(connection, session, format_.value, output, force=force)


@app.command(cls=Command)
def demo(
    docs: Annotated[
        list[Path] | None,
        typer.Option(
            "--docs",
            metavar="PATH",
            help="A folder or file of your own to ask; may be given again. Without it, the handbook that comes along.",
        ),
    ] = None,
    question: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT", help="What to ask; may be given again, for what follows. Nothing else is asked then."
        ),
    ] = None,
) -> None:
    """Have a first conversation with the embedded service: no key, no network."""
    from ._demo import run_demo  # noqa: PLC0415

    run_demo(docs, question or [])


@app.command(cls=Command)
def serve(
    docs: Docs = None,
    port: Annotated[int, typer.Option(help="The port to listen on; 0 takes a free one.")] = 8765,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The file that keeps the sessions; without it they are gone at the end."),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    allow_network: Annotated[
        bool, typer.Option("--allow-network", help="Allow a --host that other machines reach, unencrypted.")
    ] = False,
    model: Model = None,
    max_prompt_chars: Annotated[
        str, typer.Option(metavar="N", help="How many characters a prompt may hold; 'none' lifts LlamaCloud's limit.")
    ] = "1000",
    titles: Annotated[
        bool, typer.Option("--titles", help="Offer titles on request, which LlamaCloud no longer does.")
    ] = False,
) -> None:
    """Run the embedded service in the foreground until Ctrl-C.

    It prints what clients need to know. Their key is LLAMA_CLOUD_API_KEY
    if that is set here, else a new one at every start.
    """
    from ._serve import run_service  # noqa: PLC0415

    run_service(
        docs or None,
        host=host,
        port=port,
        allow_network=allow_network,
        data=data,
        model=model,
        max_prompt_chars=_read_limit(max_prompt_chars),
        titles=titles,
    )
