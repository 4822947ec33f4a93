"""What this process knows of sessions: every client of one service, project and key shares it, whoever made it.

Of a session is known, at any time, one of these:

    nothing         it was not looked at yet; or a turn was let go, failed, or somebody else's was seen running
    its turns       how many there are, all over, since `known_at`; a turn of ours adds one
    that it is held a turn of ours is being asked; others wait in its `queue`

The child of a fork begins with none of it: its parent's turns and queues are not its own.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from llama_cloud_chat._fork import FreshInChild
from llama_cloud_chat._turn.turn import Turn, count_turns

from .ledger import Note
from .queue import TurnQueue

REMEMBERED_SECONDS = 300.0
"""For how long the same words are taken for a question that was interrupted; later they are a new one."""

_MOST_SESSIONS = 10_000
_MOST_INTERRUPTIONS = 10_000
_MOST_SCOPES = 1_000


class SessionKnowledge:
    """What is known of one session.

    Attributes:
        turn_count: How many turns it has; None if that must be read first.
        known_at: When that was so, in seconds of the monotonic clock.
        index_ids: The indexes it is bound to; empty for an unbound session, None for one not looked at yet.
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
        """Take note that the session has `turn_count` turns, all over.

        One whose indexes are not known must be looked at all the same.
        """
        self.turn_count = None if self.index_ids is None else turn_count
        self.known_at = now
        self.may_be_running = False

    def note(self, index_ids: Sequence[str] | None, turns: Sequence[Turn], now: float) -> None:
        """Take note of what was read, unless a turn is under way, which knows better."""
        self.index_ids = list(index_ids or ())
        if self.queue.is_idle and (not turns or turns[-1].is_complete):
            self.learn(count_turns(turns), now)

    def forget(self) -> None:
        """Take note that a turn may have begun that may not be over."""
        self.turn_count = None
        self.may_be_running = True


class Interruptions:
    """Questions whose turn may have begun, and which nobody has heard to its end."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._notes: OrderedDict[str, tuple[Note, float]] = OrderedDict()

    def add(self, likeness: str, note: Note, now: float) -> None:
        """Take note of where a question was asked."""
        with self._lock:
            self._notes[likeness] = note, now + REMEMBERED_SECONDS
            if len(self._notes) > _MOST_INTERRUPTIONS:
                self._notes.popitem(last=False)

    def take(self, likeness: str, now: float) -> Note | None:
        """Return where a question was asked, once; None if it was not interrupted, or too long ago."""
        with self._lock:
            note, until = self._notes.pop(likeness, (None, 0.0))
        return note if now < until else None

    def take_expired(self, now: float) -> list[Note]:
        """Return those that nobody asked again in time, if there are any whose session was not to be kept."""
        if not self._notes:
            return []
        with self._lock:
            names = [name for name, (_, until) in self._notes.items() if until <= now]
            notes = [self._notes.pop(name)[0] for name in names]
        return [note for note in notes if not note.is_kept]

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._notes)


class KnownSessions:
    """The sessions that were met; the longest unused are forgotten when there are very many.

    Attributes:
        interruptions: Questions that may be asked again.
    """

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget everything."""
        self.interruptions = Interruptions()
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

    def drop_idle(self, session_id: str) -> None:
        """Forget a session that will hardly be asked again; but for one that somebody uses."""
        with self._lock:
            known = self._sessions.get(session_id)
            if known is not None and known.queue.is_idle:
                del self._sessions[session_id]

    def _drop_oldest(self) -> None:
        oldest = next((name for name, known in self._sessions.items() if known.queue.is_idle), None)
        if oldest is not None:
            del self._sessions[oldest]


class Scopes(FreshInChild):
    """What is known within each service, project and key."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, KnownSessions] = OrderedDict()
        super().__init__()

    def get(self, scope: str) -> KnownSessions:
        """Return what is known within a scope, the same object to everyone who asks."""
        with self._lock:
            known = self._known.pop(scope, None) or KnownSessions()
            self._known[scope] = known
            if len(self._known) > _MOST_SCOPES:
                self._known.popitem(last=False)
            return known

    def _begin_anew(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget everything, also for those who hold on to it."""
        self._lock = threading.Lock()
        for known in self._known.values():
            known.begin_anew()


SCOPES = Scopes()
"""Those of this process."""
