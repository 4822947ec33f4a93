"""The protocol of agents: what one is given, and what it gives back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

from llama_cloud_chat.local._library.tools import Tools

WireEvent = dict[str, Any]
"""One event as it goes over the wire, for example `{"type": "text_delta", "content": "Hel"}`."""


@dataclass(frozen=True)
class AgentTurn:
    """One prompt, what came before it, and the tools to answer it with.

    Attributes:
        session_id: The session the prompt was sent to.
        number: The turn's number in the session, from 1.
        prompt: The user's message.
        tools: retrieve, find, grep and read over the indexes of this turn.
        skipped_index_ids: Indexes that were asked for and cannot be queried.
        cancelled: Says whether the turn has been called off.
        past: The session's events before this turn, as JSON texts; `history` reads them.
    """

    session_id: str
    number: int
    prompt: str
    tools: Tools
    skipped_index_ids: Sequence[str] = ()
    cancelled: Callable[[], bool] = field(default=lambda: False, repr=False)
    past: Sequence[str] = field(default=(), repr=False)

    @cached_property
    def history(self) -> list[WireEvent]:
        """The session's events before this turn, oldest first, each turn opened by its `user_input`."""
        return [json.loads(event) for event in self.past]


class Agent(Protocol):
    """Answers one turn.

    An agent is called with an `AgentTurn` and gives back an iterable of wire events, usually by being a
    generator. It runs in a thread of its own, so it may block, and several turns may run at once.

    What it yields is kept and sent as it is, in order: deltas and the whole segment after them (`speak`
    makes both), tool calls, tool results. A `stop` ends the turn; an agent that yields none gets one, with
    its usage. An exception ends the turn with a `stop` that says error, and why.

    When the session is deleted or the service stopped, the generator is closed at its next event; an agent
    that waits long between events should ask `turn.cancelled()`.
    """

    def __call__(self, turn: AgentTurn, /) -> Iterable[WireEvent]:
        """Answer `turn`."""
        ...


def speak(kind: Literal["thinking", "text"], pieces: Iterable[str]) -> Iterator[WireEvent]:
    """Yield a segment in both its forms: a delta per piece, then the whole.

    Args:
        kind: What the segment is.
        pieces: The text of each delta.
    """
    said: list[str] = []
    for piece in pieces:
        said.append(piece)
        yield {"type": f"{kind}_delta", "content": piece}
    yield {"type": kind, "content": "".join(said)}


def words_of(text: str) -> Sequence[str]:
    """Cut a text into words, each with the space after it; joined they are the text."""
    pieces: list[str] = []
    start = 0
    for at in range(1, len(text)):
        if text[at - 1].isspace() and not text[at].isspace():
            pieces.append(text[start:at])
            start = at
    return [*pieces, text[start:]]
