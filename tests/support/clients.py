"""Clients for tests: with a clock that never waits, and asynchronous ones that can be used as if they were not."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any

from llama_cloud_chat import AsyncChatClient, AsyncChatSession, AsyncTurnStream, ChatClient
from llama_cloud_chat._config import make_config
from llama_cloud_chat._session.clock import Clock
from llama_cloud_chat._session.knowledge import KnownSessions

KEY = "llx-very-secret"


class FakeClock:
    """Time that passes only by waiting, at once.

    Attributes:
        now: Seconds since the clock was made.
        waits: How long each wait was.
        on_wait: Called at each wait; what happens while the client waits.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []
        self.luck = 0.0
        self.on_wait: Callable[[float], None] = lambda seconds: None

    def as_clock(self) -> Clock:
        """Return it as clients take it."""
        return Clock(
            wait=self._wait,
            wait_async=self._wait_async,
            monotonic=lambda: self.now,
            time=lambda: 1_800_000_000.0 + self.now,
            jitter=lambda: self.luck,
        )

    def _wait(self, event: threading.Event, seconds: float) -> bool:
        self.waits.append(seconds)
        self.on_wait(seconds)
        if not event.is_set():
            self.now += seconds
        return event.is_set()

    async def _wait_async(self, event: asyncio.Event, seconds: float) -> bool:
        self.waits.append(seconds)
        self.on_wait(seconds)
        await asyncio.sleep(0)
        if not event.is_set():
            self.now += seconds
        return event.is_set()


def make_client(colour: str, base_url: str, clock: FakeClock | None = None, **settings: Any) -> Any:
    """Return a client of either colour. It shares what it knows with none but its twin, as in a process of its own."""
    config = make_config(api_key=KEY, base_url=base_url, **settings)
    kind: Any = ChatClient if colour == "sync" else AsyncChatClient
    return kind._from_parts(config, KnownSessions(), clock.as_clock() if clock else None)


class Blocking:
    """Makes an asynchronous client, session or stream look like its twin, so that one test tells of both.

    Everything runs on one event loop, which stands still in between.
    """

    def __init__(self, wrapped: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._wrapped = wrapped
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._wrapped, "aclose" if name == "close" else name)
        if not callable(value) or isinstance(value, type):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._blocking(value(*args, **kwargs))

        return call

    def _blocking(self, value: Any) -> Any:
        if inspect.isawaitable(value):
            return self._blocking(self._loop.run_until_complete(_await(value)))
        if isinstance(value, (AsyncChatClient, AsyncChatSession, AsyncTurnStream)):
            return Blocking(value, self._loop)
        if hasattr(value, "__anext__"):
            return self._iterate(value)
        return value

    def _iterate(self, iterator: Any) -> Iterator[Any]:
        missing = object()
        try:
            while (value := self._loop.run_until_complete(_await(anext(iterator, missing)))) is not missing:
                yield value
        finally:
            if hasattr(iterator, "aclose"):
                self._loop.run_until_complete(iterator.aclose())

    def __iter__(self) -> Iterator[Any]:
        return self._iterate(self._wrapped.__aiter__())

    def __next__(self) -> Any:
        try:
            return self._loop.run_until_complete(_await(self._wrapped.__anext__()))
        except StopAsyncIteration:
            raise StopIteration from None

    def __enter__(self) -> Any:
        self._loop.run_until_complete(self._wrapped.__aenter__())
        return self

    def __exit__(self, *error: Any) -> None:
        self._loop.run_until_complete(self._wrapped.__aexit__(*error))

    def __repr__(self) -> str:
        return repr(self._wrapped)


async def _await(awaitable: Any) -> Any:
    return await awaitable
