"""A conversation, however it is held: where it is, how it goes on, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Sequence

from llama_cloud_chat import ChatClient, ChatError, ConfigurationError, Message, NotFoundError, Turn, TurnStream

from ._connection import Reached
from ._indexes import find_indexes
from ._last import recall, remember


class Talk:
    """A conversation: the session it is in, once there is one, and how it goes on.

    Args:
        service: Where it is held.
        index_ids: The indexes to ask, where a session is not bound to its own.
        session_id: The session to go on in; None begins one with the first question.
    """

    def __init__(self, service: Reached, index_ids: Sequence[str], session_id: str | None = None) -> None:
        self.client: ChatClient = service.client
        self.index_ids = list(index_ids)
        self.session_id = session_id
        self._place = service.place
        self._past: list[Message] = []
        self._may_be_empty = False  # a session that is begun here, and in which nothing was heard yet

    def ask(self, prompt: str, *, keep_session: bool = True) -> TurnStream:
        """Ask; nothing is sent before the stream is read.

        Args:
            prompt: The question.
            keep_session: Whether a session that is opened for this outlives it.
        """
        index_ids = self.index_ids or None
        if self.session_id is not None:
            return self.client.stream(self.session_id, prompt, index_ids)
        messages = [*self._past, Message("user", prompt)]
        return self.client.converse(messages, index_ids=index_ids, keep_session=keep_session)

    def note(self, turn: Turn) -> None:
        """Take up where a turn went. A transcript that never arrived is told again with the next question."""
        if turn.session_id is None:
            return
        is_new = turn.session_id != self.session_id
        self._may_be_empty = not turn.events and (is_new or self._may_be_empty)
        if turn.events or not self._past:
            self.session_id = turn.session_id
            self._past = []
            remember(self._place, turn.session_id)
        else:
            self._delete_if_empty(turn.session_id)

    def begin_anew(self, past: Sequence[Turn] = (), index_ids: Sequence[str] | None = None) -> None:
        """Go on in a new session that is told `past`; it begins with the next question.

        The messages do not say where they were said: else going on from the last turn would stay in its session.
        """
        self.session_id = None
        self.index_ids = self.index_ids if index_ids is None else list(index_ids)
        self._past = [
            message
            for turn in past
            for message in (Message("user", turn.prompt), Message("assistant", turn.text))
            if message.text.strip()
        ]

    def leave(self) -> str | None:
        """Return the session that is left behind; None if there is none.

        One that was begun here and holds no question is deleted.
        """
        is_gone = self.session_id is not None and self._may_be_empty and self._delete_if_empty(self.session_id)
        return None if is_gone else self.session_id

    def _delete_if_empty(self, session_id: str) -> bool:
        """Delete a session in which nothing was asked; whether it was deleted."""
        try:
            if self.client.retrieve(session_id).turns:
                return False
            self.client.delete(session_id)
        except ChatError:
            return False
        return True


def open_talk(service: Reached, session_id: str | None, named: Sequence[str], *, goes_on: bool = False) -> Talk:
    """Return the conversation that the options name.

    Args:
        service: Where it is held.
        session_id: The session to go on in.
        named: The indexes to ask, as they were typed.
        goes_on: Whether to go on in the session that was asked last from here.

    Raises:
        ConfigurationError: There is no such index, or nothing to go on with.
        ChatError: There is no such session, or the service cannot be reached.
    """
    if goes_on:
        session_id = recall(service.place)
    index_ids = find_indexes(service.client, named)
    if session_id is not None:
        try:
            bound_to = service.client.get_summary(session_id).index_ids or []
        except NotFoundError:
            if not goes_on:
                raise
            raise ConfigurationError(
                f"The session that was asked last from here, {session_id}, is not there any more; leave --continue out."
            ) from None
        index_ids = index_ids or bound_to
    return Talk(service, index_ids or service.index_ids, session_id)
