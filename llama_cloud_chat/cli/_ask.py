"""One question: `llama-cloud-chat ask`, and `chat` where nobody sits at the keyboard."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from llama_cloud_chat import ConfigurationError, TextDelta, TurnStream
from llama_cloud_chat._turn.wording import clean, clean_line

from ._connection import Connection, connect
from ._program import shell_line
from ._safe import complain, print_json, remark
from ._screen import Screen
from ._talk import open_talk

_HOW = "give one: llama-cloud-chat ask 'question'"


def run_ask(
    connection: Connection,
    question: str | None,
    session_id: str | None,
    index_ids: Sequence[str],
    *,
    goes_on: bool = False,
    json: bool = False,
    plain: bool = False,
    forget: bool = False,
) -> None:
    """Answer one question: on a terminal as in a conversation, else with the answer's text alone.

    Args:
        connection: Where the service is.
        question: The question; None reads it from standard input.
        session_id: The session to ask it in.
        index_ids: The indexes to ask, as they were typed.
        goes_on: Whether to ask it in the session that was asked last from here.
        json: Whether to print the turn as one JSON document.
        plain: Whether to print the answer's text alone to a terminal, too.
        forget: Whether to delete the session afterwards.

    Raises:
        ConfigurationError: There is no question, or the options cannot go together.
        ChatError: The turn failed; of the answer is printed what came.
    """
    question = _read_question() if question is None else question
    if not question.strip():
        raise ConfigurationError(f"The question is empty; {_HOW}")
    if forget and (goes_on or session_id is not None):
        raise ConfigurationError("--forget deletes a session that this question begins; leave it out to go on in one.")
    with connect(connection) as service:
        talk = open_talk(service, session_id, index_ids, goes_on=goes_on)
        stream = talk.ask(question, keep_session=not forget)
        is_shown = not (json or plain) and sys.stdout.isatty()
        if service.left_out and not is_shown:
            complain(service.left_out)
        try:
            with stream:
                if json:
                    _print_json(stream)
                elif is_shown:
                    _show(stream, service.report)
                else:
                    _print_answer(stream)
        finally:
            if not forget:
                talk.note(stream.turn)
                _name(talk.leave(), connection)


def _read_question() -> str:
    if sys.stdin.isatty():
        raise ConfigurationError(f"There is no question; {_HOW}")
    try:
        question = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise ConfigurationError("The question on standard input is not UTF-8 text; convert it first.") from None
    if not question.strip():
        raise ConfigurationError(f"The question on standard input is empty; {_HOW}")
    return question


def _show(stream: TurnStream, report: Sequence[str]) -> None:
    """Show the turn as a conversation does."""
    screen = Screen()
    for told in report:
        screen.line(told, style="dim")
    screen.turn(stream)
    screen.skipped(stream.turn)
    screen.sources_in_short(stream.turn.sources, stream.turn.text)


def _print_json(stream: TurnStream) -> None:
    from ._export import turn_as_json  # noqa: PLC0415  # brings all that writes pages

    for _ in stream:
        pass
    print_json({"session_id": stream.turn.session_id, **turn_as_json(stream.turn)})


def _print_answer(stream: TurnStream) -> None:
    """Print the answer's text, as it arrives, and nothing else."""
    has_text = False
    try:
        for event in stream:
            if isinstance(event, TextDelta):
                has_text = True
                print(clean(event.content), end="", flush=True)
    finally:
        if has_text:
            print(flush=True)
    if stream.turn.skipped_index_ids:
        complain(f"These indexes could not be asked: {', '.join(stream.turn.skipped_index_ids)}.")


def _name(session_id: str | None, connection: Connection) -> None:
    """Say to whoever sits there which session is left behind. Programs find it with `--json`, or go on blindly."""
    if session_id is not None and connection.keeps_sessions and sys.stderr.isatty():
        again = shell_line("chat", "--session", clean_line(session_id), options=connection.as_options())
        remark(f"To go on: {again}")
