"""What a client knows of its sessions, shared by all handles of one session and by a client and its twin."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from llama_cloud_chat._turn.turn import Turn

from .queue import TurnQueue

_MOST_SESSIONS = 10_000


class SessionKnowledge:
    """What is known of one session.

    Attributes:
        turn_count: How many turns it has; None if that must be read first.
        known_at: When that was so, in seconds of the monotonic clock.
        index_ids: The indexes it is bound to; None for an unbound session, or one not looked at yet.
        may_be_running: Whether a turn was let go that the service may still be working on.
        queue: Who may ask next.
    """

    def __init__(self) -> None:
        self.turn_count: int | None = None
        self.known_at = 0.0
        self.index_ids: list[str] | None = None
        self.may_be_running = False
        self.queue = TurnQueue()

    def learn(self, turn_count: int, now: float) -> None:
        """Take note that the session has `turn_count` turns, all over."""
        self.turn_count = turn_count
        self.known_at = now
        self.may_be_running = False

    def note(self, index_ids: list[str] | None, turns: Sequence[Turn], now: float) -> None:
        """Take note of what was read, unless a turn is under way, which knows better."""
        self.index_ids = list(index_ids) if index_ids else None
        if self.queue.is_idle and (not turns or turns[-1].is_complete):
            self.learn(len(turns), now)

    def forget(self) -> None:
        """Take note that a turn may have begun that may not be over."""
        self.turn_count = None
        self.may_be_running = True


class KnownSessions:
    """The sessions a client has met; the longest unused are forgotten when there are very many."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a stream may be collected, and let go, inside it
        self._sessions: OrderedDict[str, SessionKnowledge] = OrderedDict()

    def get(self, session_id: str) -> SessionKnowledge:
        """Return what is known of a session, the same object to everyone who asks."""
        with self._lock:
            known = self._sessions.get(session_id)
            if known is None:
                if len(self._sessions) >= _MOST_SESSIONS:
                    self._drop_oldest()
                known = self._sessions[session_id] = SessionKnowledge()
            self._sessions.move_to_end(session_id)
            return known

    def drop(self, session_id: str) -> None:
        """Forget a session that is gone."""
        with self._lock:
            self._sessions.pop(session_id, None)

    def _drop_oldest(self) -> None:
        oldest = next((name for name, known in self._sessions.items() if known.queue.is_idle), None)
        if oldest is not None:
            del self._sessions[oldest]
