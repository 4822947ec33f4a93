"""A value that is asked for, as one turn that arrives, for asyncio. `_structured_stream.py` holds the twin."""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable

from ._async_stream import AsyncTurnStream
from ._structured_stream import Ask, StructuredAsking, reporting
from ._transport.line import Line
from ._turn.events import Event


class AsyncStructuredTurnStream(AsyncTurnStream):
    """A turn that is to hold a value, asked once or twice; else as any `AsyncTurnStream`.

    Args:
        asking: What is asked.
        ask: Asks.
        delete: Deletes a session.

    Raises:
        ConfigurationError: It cannot be asked.
    """

    def __init__(
        self, asking: StructuredAsking, ask: Ask[AsyncTurnStream], delete: Callable[[str], Awaitable[None]]
    ) -> None:
        self.turn = asking.turn
        self._line = Line()
        self._unclaimed = _events(asking, asking.open(ask), ask, delete, self._line)
        self._events = weakref.ref(self._unclaimed)
        self._held = None


async def _events(
    asking: StructuredAsking,
    stream: AsyncTurnStream,
    ask: Ask[AsyncTurnStream],
    delete: Callable[[str], Awaitable[None]],
    line: Line,
) -> AsyncGenerator[Event, None]:
    try:
        while True:
            line.wake = stream._line.cut
            with asking.watch(stream.turn):
                async with stream:
                    async for event in stream:
                        for told in asking.take(event):
                            yield told
            if line.is_cut() or asking.is_over():
                break
            stream = asking.open(ask)
    finally:
        for session_id in asking.passing():
            with reporting():
                await delete(session_id)
    if not line.is_cut():
        for told in asking.conclude():
            yield told
