"""One engine for everybody: however calls are interleaved, each is asked in its own conversation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from itertools import combinations
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.span_handlers import NullSpanHandler

from llama_cloud_chat import ChatClient
from llama_index_ext import LlamaCloudChatEngine
from tests.llama_index.harness import WAIT, echo

Serve = Callable[..., ChatClient]

USERS = "Ann", "Bob"


class Interleaving:
    """Lets two threads take steps in an order that is given: looks at what they share, and calls into tracers.

    Attributes:
        steps: How many each has taken.
    """

    def __init__(self, order: Sequence[int] = ()) -> None:
        self.steps = [0, 0]
        self._order = list(order)
        self._has_left = [False, False]
        self._condition = threading.Condition()

    def take(self, who: int) -> None:
        """Wait until it is this one's turn to take a step."""
        with self._condition:
            assert self._condition.wait_for(lambda: self._next() in (who, None), WAIT)
            if self._order:
                self._order.pop(0)
            self.steps[who] += 1
            self._condition.notify_all()

    def _next(self) -> int | None:
        while self._order and self._has_left[self._order[0]]:
            self._order.pop(0)
        return self._order[0] if self._order else None

    def leave(self, who: int) -> None:
        """Have this one's further steps passed over."""
        with self._condition:
            self._has_left[who] = True
            self._condition.notify_all()


_players = threading.local()


def step() -> None:
    """Take a step, if this thread is a player that has not asked yet."""
    if (player := getattr(_players, "now", None)) is not None:
        interleaving, who = player
        interleaving.take(who)


class SteppedEngine(LlamaCloudChatEngine):
    """An engine that takes a step whenever it looks at or changes what its calls share."""

    @property
    def _conversation(self) -> Any:  # type: ignore[override]
        step()
        return self.__dict__["_shared"]

    @_conversation.setter
    def _conversation(self, value: Any) -> None:
        step()
        self.__dict__["_shared"] = value


class Callbacks(LlamaDebugHandler):
    """A handler of callbacks that takes a step whenever it is called."""

    def on_event_start(self, *args: Any, **kwargs: Any) -> str:
        """Hear of an event."""
        step()
        return super().on_event_start(*args, **kwargs)


class Spans(NullSpanHandler):
    """A tracer that takes a step whenever it is called."""

    def span_enter(self, *args: Any, **kwargs: Any) -> None:
        """Hear of a span."""
        step()


@contextmanager
def tracer() -> Iterator[None]:
    handlers = get_dispatcher("root").span_handlers
    handlers.append(handler := Spans())
    try:
        yield
    finally:
        handlers.remove(handler)


def ask(engine: LlamaCloudChatEngine, method: str, prompt: str, history: list[ChatMessage]) -> str:
    async def aask() -> str:
        answer = await getattr(engine, method)(prompt, chat_history=history)
        text = "".join([text async for text in answer.async_response_gen()]) if "stream" in method else str(answer)
        await engine._clients.async_client.aclose()
        return text

    if method.startswith("a"):
        return asyncio.run(aask())
    answer = getattr(engine, method)(prompt, chat_history=history)
    return "".join(answer.response_gen) if "stream" in method else str(answer)


def orders(steps: Sequence[int]) -> list[tuple[int, ...]]:
    """Return every order in which two can take so many steps."""
    places = range(sum(steps))
    return [tuple(int(place not in first) for place in places) for first in combinations(places, steps[0])]


@pytest.mark.parametrize("traced", [False, True], ids=["unseen", "traced"])
@pytest.mark.parametrize("method", ["chat", "stream_chat", "achat", "astream_chat"])
def test_no_order_of_steps_asks_a_users_question_in_another_users_session(
    serve: Serve, method: str, traced: bool
) -> None:
    client = serve(echo)
    callbacks = CallbackManager([Callbacks(print_trace_on_end=False)] if traced else [])

    def play(order: Sequence[int] = ()) -> list[int]:
        engine = SteppedEngine(client, callback_manager=callbacks)
        interleaving = Interleaving(order)

        def call(who: int) -> str:
            _players.now = interleaving, who
            try:
                return ask(engine, method, "Who am I?", [ChatMessage(role="user", content=f"I am {USERS[who]}.")])
            finally:
                _players.now = None
                interleaving.leave(who)

        with ThreadPoolExecutor(2) as threads:
            answers = list(threads.map(call, (0, 1)))
        assert [[name in answer for name in USERS] for answer in answers] == [[True, False], [False, True]], order
        return interleaving.steps

    with tracer() if traced else nullcontext():
        steps = play()
        assert min(steps) >= (3 if traced else 1)
        for order in orders(steps):
            play(order)
