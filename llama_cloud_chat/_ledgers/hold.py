"""Holding a name: first among the threads and tasks of this process, in the order they came, then beyond it."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from llama_cloud_chat._errors import SessionBusyError
from llama_cloud_chat._session.ledger import Hold

from .fork import FreshInChild


@dataclass(eq=False)
class _Place:
    """A place in the queue for a name.

    Attributes:
        wake: Called, from any thread, when it is this place's turn. A RuntimeError says that nobody waits any more.
        blocks: Whether waiting stops the whole thread, and not one task.
        thread: The thread that asks.
        task: The task that asks; None outside one.
    """

    wake: Callable[[], object]
    blocks: bool
    thread: int
    task: asyncio.Task[object] | None

    def would_wait_for_itself(self, other: _Place) -> bool:
        """Whether `other`, which comes first, could never go on while this place waits."""
        if self.thread != other.thread:
            return False
        return self.blocks or other.task is None or self.task is other.task


class Queues(FreshInChild):
    """Who holds a name in this process, and who waits for it."""

    def _begin_anew(self) -> None:
        self._lock = threading.RLock()  # a hold may be collected, and given up, inside it
        self._places: dict[str, deque[_Place]] = {}

    def enter(self, name: str, place: _Place) -> bool:
        """Queue up for `name`; return whether it is this place's turn at once."""
        with self._lock:
            places = self._places.setdefault(name, deque())
            if any(place.would_wait_for_itself(other) for other in places):
                raise SessionBusyError(
                    f"{name!r} is held here already, and waiting for it would never end. Leave the first"
                    " `with ledger.hold(...)` before the second begins."
                )
            places.append(place)
            return places[0] is place

    def leave(self, name: str, place: _Place) -> None:
        """Give the place up, whether its turn had come or not; the next one that still waits is woken."""
        with self._lock:
            places = self._places.get(name, deque())
            if place not in places:
                return  # taken before a fork
            holder = places[0]
            places.remove(place)
            while places and places[0] is not holder:
                holder = places[0]
                try:
                    holder.wake()
                except RuntimeError:  # its event loop was closed over its head
                    places.popleft()
            if not places:
                del self._places[name]


class QueuedHold(Hold):
    """A hold among the threads and tasks of this process. Ledgers that reach further say how, by four methods.

    Whoever comes first in here asks out there; so a process waits out there once for a name, however many want it.
    """

    def __init__(self, queues: Queues, name: str) -> None:
        self._queues = queues
        self._name = name
        self._place: _Place | None = None

    def _take(self) -> None:
        """Take the name beyond this process; wait for it."""

    async def _atake(self) -> None:
        """Take the name beyond this process; wait for it."""

    def _give_back(self) -> None:
        """Give the name back beyond this process."""

    async def _agive_back(self) -> None:
        """Give the name back beyond this process."""

    def __enter__(self) -> Hold:
        turn = threading.Event()
        place = _Place(turn.set, blocks=True, thread=threading.get_ident(), task=_current_task())
        if self._queues.enter(self._name, place):
            turn.set()
        try:
            turn.wait()
            self._take()
        except BaseException:
            self._queues.leave(self._name, place)
            raise
        self._place = place
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._give_back()
        finally:
            self._leave()

    async def __aenter__(self) -> Hold:
        loop = asyncio.get_running_loop()
        turn = asyncio.Event()
        place = _Place(
            lambda: loop.call_soon_threadsafe(turn.set),
            blocks=False,
            thread=threading.get_ident(),
            task=_current_task(),
        )
        if self._queues.enter(self._name, place):
            turn.set()
        try:
            await turn.wait()
            await self._atake()
        except BaseException:
            self._queues.leave(self._name, place)
            raise
        self._place = place
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._agive_back()
        finally:
            self._leave()

    def _leave(self) -> None:
        place, self._place = self._place, None
        assert place is not None
        self._queues.leave(self._name, place)


def _current_task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
