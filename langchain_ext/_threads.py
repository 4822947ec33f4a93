"""What a tool was asked on a thread: read from the thread's messages, and lined up in this process.

Where a conversation stands lies in the tool's own messages, so a thread goes on after a restart and on another worker.
Kept here is only what no message says yet: the answers to questions that were asked together, and, for those who use
the tool without a graph's state, what was asked before.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import AsyncIterator, Hashable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from ._messages import anchor_of
from ._metadata import PROVIDER

_MOST_THREADS = 10_000


@dataclass(frozen=True)
class Exchange:
    """A question that a tool was asked, and its answer."""

    call_id: str | None
    question: str
    answer: AIMessage


@dataclass
class _Thread:
    exchanges: list[Exchange] = field(default_factory=list)
    last_in_line: Future[None] | None = None


class Threads:
    """The threads that a tool and its copies are used on. Questions of one thread are asked one after the other."""

    def __init__(self) -> None:
        self._threads: OrderedDict[Hashable, _Thread] = OrderedDict()
        self._begin_lines()
        _living.add(self)

    def _begin_lines(self) -> None:
        self._lock = threading.Lock()
        for thread in self._threads.values():
            thread.last_in_line = None

    @contextlib.contextmanager
    def turn(self, name: Hashable) -> Iterator[None]:
        """Wait until a thread's earlier questions are answered, and let its later ones wait."""
        before, done = self._line_up(name)
        try:
            if before is not None:
                before.result()
            yield
        finally:
            _step_aside(before, done)

    @contextlib.asynccontextmanager
    async def aturn(self, name: Hashable) -> AsyncIterator[None]:
        """Do as `turn`, without blocking."""
        before, done = self._line_up(name)
        try:
            if before is not None:
                await asyncio.shield(asyncio.wrap_future(before))
            yield
        finally:
            _step_aside(before, done)

    def _line_up(self, name: Hashable) -> tuple[Future[None] | None, Future[None]]:
        done: Future[None] = Future()
        if name is None:
            return None, done
        with self._lock:
            thread = self._get(name)
            before, thread.last_in_line = thread.last_in_line, done
        return before, done

    def recall(self, name: Hashable) -> list[Exchange]:
        """Return what this process knows to have been asked on a thread."""
        with self._lock:
            return [] if name is None else [*self._get(name).exchanges]

    def remember(self, name: Hashable, exchanges: Sequence[Exchange]) -> None:
        """Keep what was asked on a thread."""
        if name is not None:
            with self._lock:
                self._get(name).exchanges = [*exchanges]

    def _get(self, name: Hashable) -> _Thread:
        thread = self._threads.setdefault(name, _Thread())
        self._threads.move_to_end(name)
        if len(self._threads) > _MOST_THREADS:
            self._threads.popitem(last=False)
        return thread

    def __copy__(self) -> Threads:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Threads:
        return self

    def __reduce__(self) -> tuple[type[Threads], tuple[()]]:
        return Threads, ()


_living: weakref.WeakSet[Threads] = weakref.WeakSet()


def _begin_lines_in_child() -> None:
    """Nobody who stood in line is in the child of a fork: whoever waited for them would wait for ever."""
    for threads in list(_living):
        threads._begin_lines()


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_begin_lines_in_child)


def _step_aside(before: Future[None] | None, done: Future[None]) -> None:
    """Let the next one pass as soon as all before it are through, also when the wait for them was given up."""
    if before is None:
        done.set_result(None)
    else:
        before.add_done_callback(lambda _: done.set_result(None))


def messages_of(state: Any) -> list[BaseMessage] | None:
    """Return the messages of a graph's state; None if there is no state, or it has none."""
    found = state.get("messages") if isinstance(state, dict) else getattr(state, "messages", None)
    return [*found] if isinstance(found, list) else None


def read_exchanges(messages: Sequence[BaseMessage], tool: str) -> list[Exchange]:
    """Return what a tool was asked, as far as messages tell it."""
    asked: dict[str | None, str] = {}
    found: list[Exchange] = []
    together: list[Exchange] = []
    for message in messages:
        if isinstance(message, AIMessage):
            asked.update((call["id"], str(call["args"].get("question", ""))) for call in message.tool_calls)
            found, together = [*found, *_in_order(together)], []
        elif isinstance(message, ToolMessage) and message.name == tool and anchor_of(message).session_id is not None:
            question = asked.get(message.tool_call_id, "")
            together.append(Exchange(message.tool_call_id, question, _as_answer(message)))
    return [*found, *_in_order(together)]


def _in_order(together: Sequence[Exchange]) -> list[Exchange]:
    """Return exchanges in the order in which they took place; their messages stand in the order of the calls."""
    return sorted(together, key=lambda one: anchor_of(one.answer).turn or 0)


def asking_message(messages: Sequence[BaseMessage], call_id: str | None) -> AIMessage | None:
    """Return the message in which a call was made; None if there is none."""
    for message in reversed(messages):
        if isinstance(message, AIMessage) and any(call["id"] == call_id for call in message.tool_calls):
            return message
    return None


def conversation(exchanges: Sequence[Exchange], question: str) -> list[BaseMessage]:
    """Return the messages that ask a question after what was asked before."""
    told = [message for one in exchanges for message in (HumanMessage(one.question), one.answer)]
    return [*told, HumanMessage(question)]


def told_in(message: AIMessage) -> dict[str, Any]:
    """Return what a tool's message says of where its answer stands."""
    names = ("model_provider", "session_id", "turn", "instructions", "left_out")
    metadata = message.response_metadata
    return {name: metadata[name] for name in names if name in metadata}


def _as_answer(message: ToolMessage) -> AIMessage:
    return AIMessage(message.text, response_metadata={"model_provider": PROVIDER, **message.response_metadata})
