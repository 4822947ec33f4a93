"""One turn at a time on a session, in the order they were asked, from threads and tasks alike."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llama_cloud_chat._errors import SessionBusyError

PATIENCE = 10.0
"""For how many seconds a turn that nobody reads may hold up others."""


def current_owner() -> object:
    """Return what tells the running thread or task from others."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    # Not the task itself: its result may be the stream, which nobody could drop then.
    return threading.get_ident() if task is None else weakref.ref(task)


@dataclass(eq=False)
class Ticket:
    """A place in the queue.

    Attributes:
        owner: Who asks, by `current_owner`.
        wake: Called, from any thread, when it is this ticket's turn.
        is_read: Whether somebody waits for the turn's next event at this moment.
        progress: Anything that changes as the turn goes on.
    """

    owner: object
    wake: Callable[[], None]
    is_read: Callable[[], bool]
    progress: Callable[[], Any]


class TurnQueue:
    """Who holds a session, and who waits for it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a stream may be collected, and let go, inside it
        self._tickets: deque[Ticket] = deque()

    @property
    def is_idle(self) -> bool:
        """Whether nobody holds or waits."""
        return not self._tickets

    def enter(self, ticket: Ticket) -> bool:
        """Queue up; return whether it is this ticket's turn at once.

        Raises:
            SessionBusyError: Whoever asks holds the session with a turn that only they could read on.
        """
        with self._lock:
            if self._tickets:
                holder = self._tickets[0]
                if holder.owner == ticket.owner and not holder.is_read():
                    raise SessionBusyError(_BUSY)
            self._tickets.append(ticket)
            return self._tickets[0] is ticket

    def holds(self, ticket: Ticket) -> bool:
        """Whether it is this ticket's turn."""
        with self._lock:
            return self._tickets[0] is ticket

    def leave(self, ticket: Ticket) -> None:
        """Give the place up, whether it was reached or not; the next in line is woken."""
        with self._lock:
            if ticket not in self._tickets:
                return
            holder = self._tickets[0]
            self._tickets.remove(ticket)
            following = self._tickets[0] if self._tickets else None
        if following is not None and following is not holder:
            following.wake()

    def sample(self) -> Any:
        """Return what changes as long as the session's holder gets on; None if it waits for its own reader."""
        with self._lock:
            holder = self._tickets[0] if self._tickets else None
        if holder is None or holder.is_read():
            return object()
        return holder, holder.progress()


_BUSY = (
    "The session is busy: another turn of it is open and is not being read. Read that turn to its end or close "
    "it first, or use another session."
)


def busy_error() -> SessionBusyError:
    """Return the error for a session whose holder does not get on."""
    return SessionBusyError(_BUSY)
