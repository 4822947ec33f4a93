"""Running turns: made in the background, kept event by event, and sent to whoever listens.

The agent of each turn has a thread of its own. Its events cross to the event loop in batches: while one batch
is being committed the next one gathers, so that a fast agent is not slowed down by a transaction per event.
Only what is committed is shown to the turn's reader. A reader that leaves, or is too slow, changes nothing for the
turn, and what it has not read is not kept in memory.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from llama_cloud_chat.local._agents.protocol import Agent, AgentTurn, WireEvent
from llama_cloud_chat.local._library.passages import tokens_in
from llama_cloud_chat.local._library.tools import Library

from .faults import Fault
from .indexes import Catalogue
from .store import BegunTurn, Scope, StorageError, Store, encode, job_metadata

STOPPED = "The service was stopped before the turn ended; ask again."
DELETED = "The session was deleted before the turn ended."

_DELTAS = {"thinking_delta": "thinking", "text_delta": "text"}
_WHOLES = frozenset(_DELTAS.values())
# A reader far behind must not hold up the event loop with everything it has missed.
_LARGEST_BATCH = 250
# What waits for a reader; one that is further behind is let go, and finds the rest in the history.
_MOST_WAITING_CHARS = 8 * 2**20


@dataclass(frozen=True)
class Sendable:
    """An event as a reader gets it.

    Attributes:
        name: The SSE event's name, "delta" or "message".
        data: The event as JSON.
    """

    name: str
    data: str


class Turns:
    """The running turns of a service. Lives on one event loop."""

    def __init__(self, store: Store, catalogue: Catalogue, library: Library, agent: Agent, pace: float) -> None:
        self._store = store
        self._catalogue = catalogue
        self._library = library
        self._agent = agent
        self._pace = pace
        self._running: dict[str, RunningTurn] = {}
        self._closed = False

    async def begin(
        self,
        scope: Scope,
        session_id: str,
        prompt: str,
        index_ids: list[str],
        require_all: bool,
        fault: Fault | None = None,
    ) -> RunningTurn:
        """Take a prompt in and start to answer it.

        Raises:
            UnknownSessionError, LockedIndexesError, SessionRunningError, StorageError: As `Store.begin_turn`.
        """
        identify = self._catalogue.identify
        begun = await asyncio.to_thread(self._store.begin_turn, scope, session_id, prompt, index_ids, identify)
        skipped = self._catalogue.missing(begun.index_ids)
        cancelled = threading.Event()
        agent_turn = AgentTurn(
            session_id=session_id,
            number=begun.number,
            prompt=prompt,
            tools=self._library.tools(self._catalogue.usable(begun.index_ids)),
            skipped_index_ids=skipped,
            cancelled=cancelled.is_set,
            past=begun.history,
        )
        turn = RunningTurn(self._store, begun, agent_turn, cancelled)
        if self._closed:
            turn.cancel(STOPPED)
        elif skipped and require_all:
            turn.cancel(f"These indexes cannot be queried: {', '.join(skipped)}.")
        elif fault is not None and fault.stop_with is not None:
            turn.cancel(fault.stop_with)
        pace = self._pace if fault is None or fault.pace is None else fault.pace
        self._running[session_id] = turn
        turn.start(self._agent, pace, on_end=lambda: self._forget(session_id, turn))
        return turn

    def cancel(self, session_id: str, reason: str) -> None:
        """End the session's running turn, if there is one, with a `stop` that gives the reason."""
        turn = self._running.get(session_id)
        if turn is not None:
            turn.cancel(reason)

    async def close(self) -> None:
        """End all running turns and wait until that is written down."""
        self._closed = True
        turns = list(self._running.values())
        for turn in turns:
            turn.cancel(STOPPED)
        for turn in turns:
            await turn.ended()

    def _forget(self, session_id: str, turn: RunningTurn) -> None:
        if self._running.get(session_id) is turn:
            del self._running[session_id]


class RunningTurn:
    """One turn while it is being answered. Its methods belong to the event loop."""

    def __init__(self, store: Store, begun: BegunTurn, agent_turn: AgentTurn, cancelled: threading.Event) -> None:
        self._store = store
        self._begun = begun
        self._agent_turn = agent_turn
        self._cancelled = cancelled
        self._mailbox = _Mailbox(asyncio.get_running_loop())
        self._ledger = _Ledger(begun.next_position)
        self._meter = _Meter(agent_turn)
        self._waiting: deque[Sendable] = deque()
        self._waiting_chars = 0
        self._has_reader = True
        self._over = False
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, agent: Agent, pace: float, on_end: Callable[[], None]) -> None:
        """Let the agent begin; `on_end` is called when the turn is over and written down."""
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(lambda _: on_end())
        thread = threading.Thread(
            target=_play,
            args=(agent, self._agent_turn, self._mailbox, pace, self._cancelled),
            name=f"agent of {self._agent_turn.session_id}",
            # An agent that hangs must not keep the process from ending.
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError as error:
            self._mailbox.end(f"The service cannot answer so many at once ({error}); ask again later.")

    def cancel(self, reason: str) -> None:
        """End the turn now, whatever the agent is doing."""
        self._cancelled.set()
        self._mailbox.close(reason)

    async def ended(self) -> None:
        """Wait until the turn is over and written down."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def batches(self) -> AsyncIterator[list[Sendable]]:
        """Yield the turn's events, in batches, as they are committed, until it is over; for one reader, once."""
        try:
            while True:
                # Taken before looking, so that nothing is missed between looking and waiting.
                changed = self._changed
                if self._waiting:
                    batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _LARGEST_BATCH))]
                    self._waiting_chars -= sum(len(item.data) for item in batch)
                    yield batch
                elif self._over or not self._has_reader:
                    return
                else:
                    await changed.wait()
        finally:
            self._let_reader_go()

    async def _run(self) -> None:
        try:
            while not self._over:
                events, ended, error = await self._mailbox.take()
                await self._keep(events, ended, error)
        except StorageError as error:
            await self._give_up(error)
        finally:
            # Readers must not wait for ever, whatever happened.
            self._over = True
            self._cancelled.set()
            self._mailbox.close("")
            self._changed.set()

    async def _give_up(self, error: StorageError) -> None:
        """End a turn that cannot be written down: its session must not stay locked for that."""
        stop = self._meter.stop(f"The service cannot write to its data file: {error}. Make room, and ask again.")
        await asyncio.to_thread(self._store.owe, self._begun.session_number, stop)
        self._show([Sendable("message", encode(stop))])

    async def _keep(self, events: list[tuple[WireEvent, str]], ended: bool, error: str | None) -> None:
        """Commit a batch, then show it; a `stop` in it, or the agent's end, is the end of the turn."""
        batch: list[Sendable] = []
        stop: WireEvent | None = None
        for event, data in events:
            self._meter.count(event)
            batch.append(self._enter(event, data))
            if event["type"] == "stop":
                stop = event
                break
        if ended and stop is None:
            stop = self._meter.stop(error)
            batch.append(self._enter(stop, encode(stop)))
        puts, drops = self._ledger.settle()
        job = None if stop is None else job_metadata(stop)
        is_there = await asyncio.to_thread(self._store.write, self._begun.session_number, puts, drops, job)
        self._show(batch)
        if not is_there:
            # Deleted before anybody knew of this turn.
            self.cancel(DELETED)
        self._over = stop is not None
        self._changed.set()
        self._changed = asyncio.Event()

    def _show(self, batch: list[Sendable]) -> None:
        if self._has_reader:
            self._waiting += batch
            self._waiting_chars += sum(len(item.data) for item in batch)
            if self._waiting_chars > _MOST_WAITING_CHARS:
                self._let_reader_go()

    def _let_reader_go(self) -> None:
        self._has_reader = False
        self._waiting.clear()
        self._waiting_chars = 0

    def _enter(self, event: WireEvent, data: str) -> Sendable:
        self._ledger.enter(event, data)
        return Sendable("delta" if event["type"] in _DELTAS else "message", data)


def _play(agent: Agent, turn: AgentTurn, mailbox: _Mailbox, pace: float, cancelled: threading.Event) -> None:
    """Run the agent and post its events; the body of its thread."""
    error: str | None = None
    try:
        for event in _events_of(agent, turn):
            if pace and event["type"] in _DELTAS:
                cancelled.wait(pace)
            if not mailbox.post(event, encode(event)) or event["type"] == "stop":
                break
    except Exception as failure:
        error = f"The agent failed: {type(failure).__name__}: {failure}".rstrip(": ")
    mailbox.end(error)


def _events_of(agent: Agent, turn: AgentTurn) -> Iterator[WireEvent]:
    if turn.cancelled():
        return
    events = iter(agent(turn))
    try:
        for event in events:
            if not isinstance(event, dict) or not isinstance(event.get("type"), str):
                raise TypeError(f"an agent yields events, dicts with a 'type', not {event!r:.80}")
            yield event
    finally:
        close = getattr(events, "close", None)
        if close is not None:
            close()


class _Mailbox:
    """Carries events from the agent's thread to the event loop, a batch at a time."""

    # Times two hundred turns at once, this is what lies in memory.
    LIMIT = 250

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ready = asyncio.Event()
        self._lock = threading.Condition()
        self._events: list[tuple[WireEvent, str]] = []
        self._ended = False
        self._error: str | None = None

    def post(self, event: WireEvent, data: str) -> bool:
        """Add an event, waiting while too many lie there; False when nobody wants it any more."""
        with self._lock:
            while len(self._events) >= self.LIMIT and not self._ended:
                self._lock.wait()
            if self._ended:
                return False
            self._events.append((event, data))
            if len(self._events) == 1:
                self._wake()
            return True

    def end(self, error: str | None) -> None:
        """Say that no more events come; only the first word counts."""
        with self._lock:
            if not self._ended:
                self._ended, self._error = True, error
                self._wake()

    def close(self, reason: str) -> None:
        """End for the reader's sake: what was posted and not taken is thrown away."""
        with self._lock:
            if not self._ended:
                self._events.clear()
                self._ended, self._error = True, reason
                self._wake()
                self._lock.notify_all()

    async def take(self) -> tuple[list[tuple[WireEvent, str]], bool, str | None]:
        """Wait for something to happen; return the events, whether it is the end, and the error if any."""
        while True:
            await self._ready.wait()
            with self._lock:
                self._ready.clear()
                if self._events or self._ended:
                    events, self._events = self._events, []
                    self._lock.notify_all()
                    return events, self._ended, self._error

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._ready.set)
        except RuntimeError:
            # The loop is closed: the service has stopped, and nobody waits.
            self._ended = True


class _Ledger:
    """Decides what the history keeps: a whole segment takes the place of its deltas.

    Deltas are written as they come, so that the history of a running turn is true at any time. When the whole
    arrives it goes where its first delta was. Anything but a delta ends the segments before it; deltas whose
    whole never came stay as they are, and a whole without deltas is simply added.
    """

    def __init__(self, next_position: int) -> None:
        self._next = next_position
        self._open: dict[str, list[int]] = {}
        self._last_kind: str | None = None
        self._puts: dict[int, str] = {}
        self._drops: list[int] = []

    def enter(self, event: WireEvent, data: str) -> None:
        """Take in an event."""
        kind: str = event["type"]
        if kind in _DELTAS:
            self._delta(_DELTAS[kind], data)
        elif kind in _WHOLES:
            self._whole(kind, data)
        else:
            self._open.clear()
            self._last_kind = None
            self._put(data)

    def settle(self) -> tuple[list[tuple[int, str]], list[int]]:
        """Return what to put and what to drop since the last time."""
        puts, drops = list(self._puts.items()), self._drops
        self._puts, self._drops = {}, []
        return puts, drops

    def _delta(self, kind: str, data: str) -> None:
        if self._last_kind != kind:
            self._open[kind] = []
            self._last_kind = kind
        self._open[kind].append(self._put(data))

    def _whole(self, kind: str, data: str) -> None:
        positions = self._open.pop(kind, [])
        if not positions:
            self._put(data)
            return
        if self._last_kind == kind:
            self._last_kind = None
        first, *others = positions
        self._puts[first] = data
        for position in others:
            # What was not written yet need not be dropped.
            if self._puts.pop(position, None) is None:
                self._drops.append(position)

    def _put(self, data: str) -> int:
        position = self._next
        self._next += 1
        self._puts[position] = data
        return position


class _Meter:
    """Counts what a turn took.

    Tokens are an estimate, see `tokens_in`: the prompt, the history and the tools' results go in; thinking,
    text and the tools' arguments come out. `turns` is how often the agent had to be asked: once, and once
    more for each round of tool calls.
    """

    def __init__(self, turn: AgentTurn) -> None:
        self._began = time.monotonic()
        self._skipped = list(turn.skipped_index_ids)
        # How the turns before went, which differs from run to run, is nothing that an agent reads.
        past = zip(turn.past, turn.history, strict=True)
        self._input = len(turn.prompt) + sum(len(told) for told, event in past if event.get("type") != "stop")
        self._output = 0
        self._deltas = dict.fromkeys(_WHOLES, 0)
        self._rounds = 1
        self._calling = False

    def count(self, event: WireEvent) -> None:
        """Take an event into account."""
        kind = event["type"]
        if kind in _DELTAS:
            self._deltas[_DELTAS[kind]] += len(str(event.get("content", "")))
        elif kind in _WHOLES:
            # The whole says again what its deltas said.
            self._deltas[kind] = 0
            self._output += len(str(event.get("content", "")))
        elif kind == "tool_call":
            self._output += len(str(event.get("arguments", "")))
            self._rounds += not self._calling
        elif kind == "tool_result":
            self._input += len(str(event.get("result", "")))
        self._calling = kind == "tool_call"

    def stop(self, error: str | None) -> WireEvent:
        """Return the event that ends the turn, with its usage."""
        event: WireEvent = {
            "type": "stop",
            "is_error": error is not None,
            "error": error,
            "usage": {
                "duration_ms": round((time.monotonic() - self._began) * 1000, 3),
                "total_input_tokens": tokens_in(self._input),
                "total_output_tokens": tokens_in(self._output + sum(self._deltas.values())),
                "turns": self._rounds,
            },
        }
        if self._skipped:
            event["skipped_index_ids"] = self._skipped
        return event
