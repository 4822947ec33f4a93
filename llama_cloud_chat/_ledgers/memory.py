"""A ledger that lives as long as its process."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import ClassVar

from llama_cloud_chat._session.ledger import Hold, Ledger, Note, SessionCount

from .fork import FreshInChild
from .hold import QueuedHold, Queues

_MOST = 10_000


class MemoryLedger(Ledger, FreshInChild):
    """A ledger for one process, and what a client uses when it is given none: all of them share `MemoryLedger.default`.

    It never waits, and keeps the latest 10 000 notes; one whose question is still open is not dropped. The child of a
    fork begins with an empty one.

    Args:
        most: How many notes, and counts of sessions, to keep.

    Attributes:
        default: The process's.
    """

    default: ClassVar[MemoryLedger]

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._queues = Queues()
        super().__init__()

    def _begin_anew(self) -> None:
        self._lock = threading.RLock()
        self._open: dict[str, Note] = {}
        self._finished: OrderedDict[str, Note] = OrderedDict()
        self._sessions: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def read(self, key: str) -> Note | None:
        with self._lock:
            return self._open.get(key) or self._finished.get(key)

    async def aread(self, key: str) -> Note | None:
        return self.read(key)

    def write(self, key: str, note: Note) -> None:
        with self._lock:
            self._open.pop(key, None)
            self._finished.pop(key, None)
            notes = self._finished if note.is_finished else self._open
            notes[key] = note
            if self._finished and len(self._open) + len(self._finished) > self._most:
                self._finished.popitem(last=False)

    async def awrite(self, key: str, note: Note) -> None:
        self.write(key, note)

    def hold(self, name: str) -> Hold:
        return QueuedHold(self._queues, name)

    def recall(self, session: str) -> SessionCount | None:
        with self._lock:
            known = self._sessions.get(session)
        return None if known is None else SessionCount(known[0], time.monotonic() - known[1])

    async def arecall(self, session: str) -> SessionCount | None:
        return self.recall(session)

    def remember(self, session: str, turns: int | None) -> None:
        with self._lock:
            self._sessions.pop(session, None)
            if turns is not None:
                self._sessions[session] = turns, time.monotonic()
            if len(self._sessions) > self._most:
                self._sessions.popitem(last=False)

    async def aremember(self, session: str, turns: int | None) -> None:
        self.remember(session, turns)

    def close(self) -> None:
        """Do nothing: what is in memory goes with the ledger."""

    async def aclose(self) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle none of the notes: they are the process's."""
        return MemoryLedger, (self._most,)


MemoryLedger.default = MemoryLedger()
