"""A turn as it arrives, for asyncio. `_stream.py` is its twin, line for line."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import httpx

from ._errors import ChatError, ProtocolError
from ._session.exchange import Exchange, StreamEnded
from ._session.flows import AwaitTurn, Command, Deliver, OpenStream, Send
from ._session.queue import Ticket, current_owner
from ._session.retry import Outcome
from ._transport.http import LOGGER, check_stream, failure_of
from ._transport.line import DRAIN_SECONDS, Line, shut_down
from ._turn.events import Event, TextDelta
from ._turn.turn import Turn

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._async_client import AsyncChatClient


class AsyncTurnStream:
    """The events of one turn, in order, as they arrive. Made by `AsyncChatClient` and `AsyncChatSession`.

    The prompt is sent when the stream is first read. Leaving early, by `break`, `aclose`, an error, a cancelled task
    or by dropping the stream, closes the connection; what was received stays in `turn`, and the service finishes the
    turn on its own.

    Attributes:
        turn: The turn; it grows with the stream and is complete at its end.

    Raises:
        TurnFailedError: While iterating, like the others; the agent ended the turn with an error, and `Stop` was
            handed on before.
        StreamInterruptedError: The stream broke off for good.
        SessionBusyError: Another turn of the session is open and nobody reads it.
        ChatError: The prompt could not be asked, or what came is not this API.
    """

    def __init__(self, client: AsyncChatClient, exchange: Exchange) -> None:
        self.turn: Turn = exchange.turn
        self._line = Line()
        # Whoever iterates takes the generator over: it is closed when their loop lets go of it.
        self._unclaimed: AsyncGenerator[Event, None] | None = _exchange_events(client, exchange, self._line)
        self._events = weakref.ref(self._unclaimed)
        self._held: object = None
        self._line.is_read = partial(_is_running, self._events)

    def __aiter__(self) -> AsyncIterator[Event]:
        events, self._unclaimed = self._events(), None
        return _no_events() if events is None else events

    async def __anext__(self) -> Event:
        events = self._events()
        if events is None:
            raise StopAsyncIteration
        return await events.__anext__()

    def text_deltas(self) -> AsyncIterator[str]:
        """Iterate over the answer's text alone; the pieces add up to `turn.text`."""
        return _TextDeltas(self)

    async def aclose(self) -> None:
        """Let the turn go. Any task may call this, also while another one waits for an event."""
        events = self._events()
        try:
            if events is not None:
                await events.aclose()
        except RuntimeError:  # another task is inside the generator
            if events is None or not _is_running(self._events):
                raise
            self._line.cut()

    async def __aenter__(self) -> Self:
        # Dropped by a loop inside the block, the generator would be closed by its finalizer, some time later.
        self._held = self._events()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
        self._held = None

    def __repr__(self) -> str:
        return f"AsyncTurnStream({self.turn!r})"


class _TextDeltas:
    """No generator: dropped by a loop, one would keep the stream's own open until its finalizer runs."""

    def __init__(self, stream: AsyncTurnStream) -> None:
        self._stream = stream
        self._events = stream.__aiter__()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        async for event in self._events:
            if type(event) is TextDelta:
                return event.content
        raise StopAsyncIteration

    async def aclose(self) -> None:
        await self._stream.aclose()


def _is_running(events: weakref.ref[AsyncGenerator[Event, None]]) -> bool:
    """Whether somebody waits for the next event, or the stream was dropped and is being closed."""
    generator = events()
    return generator is None or generator.ag_running  # type: ignore[attr-defined]


async def _exchange_events(client: AsyncChatClient, exchange: Exchange, line: Line) -> AsyncGenerator[Event, None]:
    signal = asyncio.Event()
    line.wake = _from_any_thread(signal.set)
    ticket = Ticket(current_owner(), line.wake, line.is_read, lambda: exchange.received_bytes)
    flow = exchange.run(ticket)
    outcome: object = None
    try:
        while not line.is_cut():
            command: Command = flow.send(outcome)
            outcome = None
            if isinstance(command, OpenStream):
                outcome = answer = await _open(client, command, line)
                if isinstance(answer, httpx.Response):
                    line.attach(answer)
                    chunks = cast("httpx.AsyncByteStream", answer.stream).__aiter__()
                    try:
                        async for chunk in chunks:
                            if line.hung_up:
                                break
                            for event in exchange.read(chunk):
                                yield event
                            if exchange.turn.is_complete:
                                break
                        outcome = StreamEnded()
                    except httpx.HTTPError as error:
                        outcome = StreamEnded(failure_of(error, client.config).error)
                    finally:
                        line.attach(None)
                        await _hang_up(client, answer, chunks, is_over=exchange.turn.is_complete)
            elif isinstance(command, Deliver):
                for event in command.events:
                    yield event
            elif isinstance(command, Send):
                outcome = await client._send(command.request)
            elif isinstance(command, AwaitTurn):
                outcome = await client._clock.wait_async(signal, command.seconds)
                signal.clear()
            else:
                await client._clock.wait_async(signal, command.seconds)
    except StopIteration:
        pass
    except ProtocolError as error:
        error.turn = exchange.turn
        raise
    except asyncio.CancelledError:
        if not line.is_cut() or _was_cancelled_by_others():
            raise
    finally:
        flow.close()
        await _say_farewell(client, exchange)


async def _open(client: AsyncChatClient, command: OpenStream, line: Line) -> httpx.Response | Outcome:
    """Send the prompt; return the response whose stream is to be read, or what came instead."""
    wake, line.wake = line.wake, _from_any_thread(_reader().cancel)  # until there is a line to cut
    try:
        response = await client._open(command.request)
        if response.status_code != 200:
            return await client._read(response)
    except httpx.HTTPError as error:
        return failure_of(error, client.config)
    finally:
        line.wake = wake
    try:
        check_stream(response)
    except BaseException:
        await client._hang_up(response)
        raise
    return response


async def _hang_up(
    client: AsyncChatClient, response: httpx.Response, chunks: AsyncIterator[bytes], *, is_over: bool
) -> None:
    """Close a response; if its turn is over, read it to its end first, so that its connection can be used again."""
    try:
        if is_over:
            with _watching(response), contextlib.suppress(httpx.HTTPError):
                async for _ in chunks:
                    pass
    finally:
        await client._hang_up(response)


@contextlib.contextmanager
def _watching(response: httpx.Response) -> Iterator[None]:
    """Shut the line of `response` unless the block ends within `DRAIN_SECONDS`."""
    watchdog = asyncio.get_running_loop().call_later(DRAIN_SECONDS, shut_down, response)
    try:
        yield
    finally:
        watchdog.cancel()


async def _no_events() -> AsyncIterator[Event]:
    return
    yield


def _from_any_thread(act: Callable[[], object]) -> Callable[[], None]:
    """Return what acts on this loop from any thread; a loop that is closed has nobody left to wake."""
    loop = asyncio.get_running_loop()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(act)

    return wake


async def _say_farewell(client: AsyncChatClient, exchange: Exchange) -> None:
    farewell = exchange.farewell()
    if farewell is not None:
        try:
            await client._run(farewell, max_retries=1)
        except ChatError as error:
            LOGGER.warning("A session that was not to be kept could not be deleted: %s", error)


def _reader() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


def _was_cancelled_by_others() -> bool:
    """Take back our own cancelling of the task that reads; return whether somebody else wants it cancelled too.

    Before Python 3.11 that cannot be known.
    """
    return sys.version_info >= (3, 11) and _reader().uncancel() > 0
