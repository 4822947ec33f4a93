"""A turn as it arrives, for asyncio. `_stream.py` is its twin, line for line."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from ._errors import ProtocolError
from ._session.exchange import Exchange
from ._session.flows import AwaitTurn, CallUser, Command, Consult, Deliver, Enter, OpenStream, Send, Wait, acall_user
from ._session.queue import Ticket, current_owner
from ._transport.line import Line
from ._transport.tasks import AsyncPromptStream, AsyncTransport, Nothing, from_any_thread, was_cancelled_by_others
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

    _client: AsyncChatClient | None = None  # whoever looks at the turn fetches its page pictures with it

    def __init__(self, transport: AsyncTransport, exchange: Exchange, client: AsyncChatClient) -> None:
        self.turn: Turn = exchange.turn
        self._client = client
        self._line = Line()
        # Whoever iterates takes the generator over: it is closed when their loop lets go of it.
        self._unclaimed: AsyncGenerator[Event, None] | None = _exchange_events(transport, exchange, self._line)
        self._events = weakref.ref(self._unclaimed)
        self._held: object = None
        self._line.is_read = partial(_is_running, self._events)

    def __aiter__(self) -> AsyncIterator[Event]:
        events, self._unclaimed = self._events(), None
        return Nothing() if events is None else events

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


async def _exchange_events(transport: AsyncTransport, exchange: Exchange, line: Line) -> AsyncGenerator[Event, None]:
    driver = _Driver(transport, exchange, line)
    while driver.is_on:
        async with driver, driver.opened:
            events, packets = await driver.advance()
            turn = exchange.answering
            for event in events:
                yield event
            async for packet in packets:
                if line.hung_up:
                    break
                for event in exchange.read(packet):
                    yield event
                if turn.is_complete:
                    break


class _Driver:
    """Does what an exchange wants done, one command each time that it is entered; ends the exchange on leaving it.

    Attributes:
        is_on: Whether the exchange goes on.
        opened: Closes what the command at hand opened.
    """

    def __init__(self, transport: AsyncTransport, exchange: Exchange, line: Line) -> None:
        self.opened = contextlib.AsyncExitStack()
        self._transport = transport
        self._exchange = exchange
        self._line = line
        self._signal = asyncio.Event()
        line.wake = from_any_thread(self._signal.set)
        ticket = Ticket(current_owner(), line.wake, line.is_read, lambda: exchange.received_bytes)
        self._flow = exchange.run(ticket)
        self._held = contextlib.AsyncExitStack()
        self._outcome: object = None
        self._stream: AsyncPromptStream | None = None
        self.is_on = not line.is_cut()

    async def advance(self) -> tuple[Iterable[Event], AsyncIterator[bytes]]:
        """Do what the exchange wants done next; return the events and the packets that it brings."""
        outcome, self._outcome = self._outcome, None
        if self._stream is not None:
            outcome, self._stream = self._stream.outcome, None
        try:
            command: Command = self._flow.send(outcome)
        except StopIteration:
            self.is_on = False
            return (), Nothing()
        if isinstance(command, Deliver):
            return command.events, Nothing()
        if isinstance(command, OpenStream):
            self._stream = self._transport.open_stream(command.request, self._line, self._exchange.answering)
            return (), await self.opened.enter_async_context(self._stream)
        self._outcome = await self._carry_out(command)
        return (), Nothing()

    async def _carry_out(self, command: Send | AwaitTurn | Wait | CallUser | Consult | Enter) -> object:
        if isinstance(command, Send):
            return await self._transport.send(command.request)
        if isinstance(command, CallUser):
            return await acall_user(command)
        if isinstance(command, Consult):
            return await command.acall()
        if isinstance(command, Enter):
            return await self._held.enter_async_context(command.hold)
        was_woken = await self._transport.wait(self._signal, command.seconds)
        if isinstance(command, AwaitTurn):
            self._signal.clear()
        return was_woken

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.is_on = self.is_on and error is None and not self._line.is_cut()
        if self.is_on:
            return False
        if isinstance(error, ProtocolError):
            error.turn = self._exchange.turn
        is_our_cancelling = isinstance(error, asyncio.CancelledError) and self._line.is_cut()
        is_handled = is_our_cancelling and not was_cancelled_by_others()
        if not (error is None or is_handled or isinstance(error, GeneratorExit)):
            self._exchange.leave()
        self._flow.close()
        try:
            await self._transport.run_flow(self._exchange.cleanup())
        finally:
            await self._held.aclose()
        return is_handled
