"""A turn while it is being answered: its stream is read to the end, and the view is brought up to date meanwhile.

The view is painted by a clock, not by events: some streams hand on the answer's text alone, while their turn knows of
thinking and tools as well; and after the last event before a long wait, everything that came is to be seen.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from llama_cloud_chat import AsyncTurnStream, Turn, TurnStream
from llama_cloud_chat._session.clock import Clock

from ._display import Display
from ._transcript import framework_of

SHORTEST_PAUSE = 0.25
"""Seconds between two paintings, at least."""

_SHARE = 4
"""How many times longer than it painted a painter pauses: a view that takes long is painted less often."""


_BYTES_PER_SECOND = 500_000
"""How much is sent at the most: half of what Jupyter lets through before it drops output."""


@dataclass
class Stream:
    """A turn that is being answered, whoever streams it.

    Attributes:
        pieces: What it consists of; reading it moves the turn on.
        turn: The turn so far.
        answer: What the stream has become, in its framework's own terms.
        close: Lets the turn go.
        take: Takes up a piece.
    """

    pieces: Any
    turn: Callable[[], Turn]
    answer: Callable[[], Any]
    close: Callable[[], Any]
    take: Callable[[Any], object] = field(default=lambda piece: None)

    @property
    def is_async(self) -> bool:
        """Whether it is read by a task."""
        return isinstance(self.pieces, AsyncIterator)


def find_stream(x: Any, *, by_task: bool) -> Stream | None:
    """Return the stream that `x` is; None if it is none.

    Args:
        x: Anything.
        by_task: Whether a task is going to read it, where that can be chosen.
    """
    if isinstance(x, TurnStream):
        return Stream(iter(x), lambda: x.turn, lambda: x.turn, x.close)
    if isinstance(x, AsyncTurnStream):
        return Stream(aiter(x), lambda: x.turn, lambda: x.turn, x.aclose)
    framework = framework_of(x)
    if framework == "llama_index":
        return _find_in_llama_index(x, by_task)
    if framework == "langchain_core" or (isinstance(x, (Iterator, AsyncIterator)) and "langchain_core" in sys.modules):
        return _find_in_langchain(x)
    return None


def _find_in_langchain(x: Any) -> Stream | None:
    """A generator of chunks, or the object that `stream_events(version="v3")` gives."""
    from langchain_ext import AnswerReader  # noqa: PLC0415  # a framework is touched only when it is there

    reader = AnswerReader()
    if isinstance(x, (Iterator, AsyncIterator)):
        pieces, close = x, getattr(x, "aclose" if isinstance(x, AsyncIterator) else "close", _do_nothing)
    elif hasattr(x, "output_message") and hasattr(x, "__aiter__"):
        pieces, close = aiter(x), x.aclose
    elif hasattr(x, "output_message"):
        # It has no end but its last reader's: without its pump, what it pumps is closed.
        pieces, close = iter(x), lambda: x.set_request_more(lambda: False)
    else:
        return None
    return Stream(pieces, lambda: reader.turn, lambda: reader.message, close, reader.feed)


def _find_in_llama_index(x: Any, by_task: bool) -> Stream | None:
    """A chat engine's streaming answer, which threads and tasks can read; or one of a query engine."""
    from llama_index_ext import (  # noqa: PLC0415
        AsyncLlamaCloudStreamingQuery,
        LlamaCloudStreamingQuery,
        LlamaCloudStreamingResponse,
    )

    if isinstance(x, LlamaCloudStreamingResponse):
        pieces: Any = x.async_response_gen() if by_task else x.response_gen
        close: Any = x.aclose if by_task else x.close
    elif isinstance(x, (LlamaCloudStreamingQuery, AsyncLlamaCloudStreamingQuery)):
        pieces = x.response_gen
        close = pieces.aclose if isinstance(x, AsyncLlamaCloudStreamingQuery) else pieces.close
    else:
        return None
    return Stream(pieces, lambda: x.turn, lambda: x, close)


def _do_nothing() -> None:
    """Stand in for the end of what has none."""


def follow(stream: Stream, display: Display, clock: Clock) -> None:
    """Read a stream to its end and keep the display up to date. However it ends, it is closed."""
    is_over = threading.Event()
    # The context tells a kernel which cell the painter's output belongs to.
    run = contextvars.copy_context().run
    painter = threading.Thread(target=run, args=(_Painter(stream, display, clock).paint_until, is_over), daemon=True)
    try:
        painter.start()
        for piece in stream.pieces:
            stream.take(piece)
    finally:
        try:
            stream.close()
        finally:
            is_over.set()
            with suppress(RuntimeError):  # interrupted before it began: it will find that all is over
                painter.join()


async def afollow(stream: Stream, display: Display, clock: Clock) -> None:
    """Read a stream to its end and keep the display up to date. However it ends, it is closed."""
    is_over = asyncio.Event()
    painter = asyncio.create_task(_Painter(stream, display, clock).apaint_until(is_over))
    try:
        async for piece in stream.pieces:
            stream.take(piece)
    finally:
        try:
            await stream.close()
        finally:
            is_over.set()
            await painter


class _Painter:
    """Shows a turn as far as it has come, again and again."""

    def __init__(self, stream: Stream, display: Display, clock: Clock) -> None:
        self._stream, self._display, self._clock = stream, display, clock
        self._begun = clock.monotonic()

    def paint_until(self, is_over: threading.Event) -> None:
        while not is_over.is_set():
            self._clock.wait(is_over, self._paint())

    async def apaint_until(self, is_over: asyncio.Event) -> None:
        while not is_over.is_set():
            await self._clock.wait_async(is_over, self._paint())

    def _paint(self) -> float:
        """Paint; return for how long to pause then. This alone decides the rate."""
        started = self._clock.monotonic()
        size = self._display.paint(self._stream.turn(), started - self._begun)
        return max(SHORTEST_PAUSE, _SHARE * (self._clock.monotonic() - started), size / _BYTES_PER_SECOND)
