"""What a question is called, so that asking it again is known for what it is, whoever asks.

A question with a key is called by its key. Any other is called by everything that makes it what it is: the messages,
system text included, the indexes, and the session if the user named one. Both within one service, project and key.
"""

from __future__ import annotations

import json
from functools import cached_property

from llama_cloud_chat._config import ClientConfig
from llama_cloud_chat._errors import ConfigurationError
from llama_cloud_chat._turn.prompts import digest_of, unfold

from .conversation import Conversation


class Question:
    """What is asked, by digests, which are made when they are needed.

    Args:
        asked: A session's id and the prompt for it; or a conversation.
        index_ids: The indexes wanted.
        key: What the user calls it, if they do.
        config: The client's configuration.

    Raises:
        ConfigurationError: The key cannot be one.
    """

    def __init__(
        self, asked: tuple[str, str] | Conversation, index_ids: list[str] | None, key: str | None, config: ClientConfig
    ) -> None:
        if key is not None and (not isinstance(key, str) or not key.strip()):
            raise ConfigurationError(f"key must be a non-empty string, not {key!r}.")
        self._asked = asked
        self._index_ids = index_ids
        self._key = key
        self._config = config

    @cached_property
    def name(self) -> str | None:
        """What it is called by its key; None if it has none."""
        return None if self._key is None else _digest(self._config, "key", self._key)

    @cached_property
    def words(self) -> str:
        """What the user asked; another question under the same key is noticed by it."""
        if isinstance(self._asked, Conversation):
            text = next(message.text for message in reversed(self._asked.messages) if message.role == "user")
        else:
            text = unfold(self._asked[1]).asked
        return digest_of(text.strip())

    @cached_property
    def likeness(self) -> str:
        """What it is called by all that makes it what it is."""
        if isinstance(self._asked, Conversation):
            said = [(one.role, one.text, one.name, one.session_id, one.turn) for one in self._asked.messages]
            session_id = self._asked.session_id
        else:
            session_id, said = self._asked[0], [("user", self._asked[1], None, None, None)]
        indexes = sorted(self._index_ids or self._config.index_ids)
        return _digest(self._config, "likeness", [said, session_id, indexes])


def name_session(session_id: str, config: ClientConfig) -> str:
    """Return what a session is called in a ledger."""
    return _digest(config, "session", session_id)


def _digest(config: ClientConfig, kind: str, what: object) -> str:
    return digest_of(json.dumps([config.scope, kind, what]), length=64)
