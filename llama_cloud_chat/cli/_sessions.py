"""`llama-cloud-chat sessions`: look at sessions, title them, delete them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from llama_cloud_chat import APIStatusError, ChatClient, ConfigurationError, SessionSummary
from llama_cloud_chat._turn.wording import clean_line

from ._connection import Connection, connect
from ._export import as_json
from ._safe import print_json
from ._screen import Screen

_PAGE = 100


def list_sessions(connection: Connection, limit: int | None, *, json: bool) -> None:
    """List the sessions, as the service sorts them."""
    with connect(connection.without_documents()) as service:
        page = _PAGE if limit is None else min(limit, _PAGE)
        sessions = list(islice(service.client.list(page_size=page), limit))
    if json:
        print_json([summary.model_dump(mode="json") for summary in sessions])
    elif sessions:
        Screen().sessions(sessions)
    else:
        Screen().line("There are no sessions.")


def show_session(connection: Connection, session_id: str, *, json: bool) -> None:
    """Show a session and its turns."""
    with connect(connection.without_documents()) as service:
        detail = service.client.retrieve(session_id)
    if json:
        print_json(as_json(detail))
        return
    screen = Screen()
    screen.sessions([detail])
    if detail.index_ids:
        screen.line(f"Bound to: {', '.join(map(clean_line, detail.index_ids))}")
    screen.history(detail.turns)


def delete_sessions(connection: Connection, session_ids: Sequence[str]) -> None:
    """Delete sessions."""
    with connect(connection.without_documents()) as service:
        for session_id in session_ids:
            service.client.delete(session_id)
            Screen().line(f"Deleted {session_id}.")


def title_session(connection: Connection, session_id: str, text: str | None) -> None:
    """Title a session after `text`, else after its first prompt."""
    with connect(connection.without_documents()) as service:
        summary = make_title(service.client, session_id, text)
    Screen().line(f"The title is now: {clean_line(summary.generated_title or '(none)')}")


def make_title(client: ChatClient, session_id: str, text: str | None) -> SessionSummary:
    """Have the service title a session after `text`, else after its first prompt.

    Raises:
        ConfigurationError: There is nothing to make a title of, or the service does not make titles.
        ChatError: It failed.
    """
    if not text:
        # Reading first also tells a session that is not there from a service that does not offer this.
        turns = client.retrieve(session_id).turns
        text = next((turn.question for turn in turns if turn.question.strip()), "")
        if not text:
            raise ConfigurationError("Nothing was asked on this session yet; give the text to make a title of.")
    else:
        client.get_summary(session_id)
    try:
        return client.set_title(session_id, text)
    except APIStatusError as error:
        if error.status_code in {404, 405}:
            raise ConfigurationError(
                "This service does not title sessions on request; it titles them itself."
            ) from None
        raise
