"""A turn as it arrives, for threads. `_async_stream.py` is its twin, line for line."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Generator, Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from ._errors import ProtocolError
from ._session.exchange import Exchange
from ._session.flows import AwaitTurn, CallUser, Command, Consult, Deliver, Enter, OpenStream, Send, Wait, call_user
from ._session.queue import Ticket, current_owner
from ._transport.line import Line
from ._transport.threads import PromptStream, Transport
from ._turn.events import Event, TextDelta
from ._turn.turn import Turn

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._client import ChatClient


class TurnStream:
    """The events of one turn, in order, as they arrive. Made by `ChatClient` and `ChatSession`.

    The prompt is sent when the stream is first read. Leaving early, by `break`, `close`, an error or by dropping
    the stream, closes the connection; what was received stays in `turn`, and the service finishes the turn on its
    own.

    Attributes:
        turn: The turn; it grows with the stream and is complete at its end.

    Raises:
        TurnFailedError: While iterating, like the others; the agent ended the turn with an error, and `Stop` was
            handed on before.
        StreamInterruptedError: The stream broke off for good.
        SessionBusyError: Another turn of the session is open and nobody reads it.
        ChatError: The prompt could not be asked, or what came is not this API.
    """

    _client: ChatClient | None = None  # whoever looks at the turn fetches its page pictures with it

    def __init__(self, transport: Transport, exchange: Exchange, client: ChatClient) -> None:
        self.turn: Turn = exchange.turn
        self._client = client
        self._line = Line()
        # Whoever iterates takes the generator over: it is closed when their loop lets go of it.
        self._unclaimed: Generator[Event, None, None] | None = _exchange_events(transport, exchange, self._line)
        self._events = weakref.ref(self._unclaimed)
        self._line.is_read = partial(_is_running, self._events)

    def __iter__(self) -> Iterator[Event]:
        events, self._unclaimed = self._events(), None
        return iter(()) if events is None else events

    def __next__(self) -> Event:
        events = self._events()
        if events is None:
            raise StopIteration
        return next(events)

    def text_deltas(self) -> Iterator[str]:
        """Iterate over the answer's text alone; the pieces add up to `turn.text`."""
        events = iter(self)  # kept until it is closed, or only its finalizer would do that
        try:
            for event in events:
                if type(event) is TextDelta:
                    yield event.content
        finally:
            self.close()

    def close(self) -> None:
        """Let the turn go. Any thread may call this, also while another one waits for an event.

        A reader that waits for the very beginning of the answer is let go when that comes, or times out: until then
        httpx shows nobody the connection. It is closed without being read.
        """
        events = self._events()
        try:
            if events is not None:
                events.close()
        except ValueError:  # another thread is inside the generator
            self._line.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"TurnStream({self.turn!r})"


def _is_running(events: weakref.ref[Generator[Event, None, None]]) -> bool:
    """Whether somebody waits for the next event, or the stream was dropped and is being closed."""
    generator = events()
    return generator is None or generator.gi_running  # type: ignore[attr-defined]


def _exchange_events(transport: Transport, exchange: Exchange, line: Line) -> Generator[Event, None]:
    driver = _Driver(transport, exchange, line)
    while driver.is_on:
        with driver, driver.opened:
            events, packets = driver.advance()
            turn = exchange.answering
            yield from events
            for packet in packets:
                if line.hung_up:
                    break
                yield from exchange.read(packet)
                if turn.is_complete:
                    break


class _Driver:
    """Does what an exchange wants done, one command each time that it is entered; ends the exchange on leaving it.

    Attributes:
        is_on: Whether the exchange goes on.
        opened: Closes what the command at hand opened.
    """

    def __init__(self, transport: Transport, exchange: Exchange, line: Line) -> None:
        self.opened = contextlib.ExitStack()
        self._transport = transport
        self._exchange = exchange
        self._line = line
        self._signal = threading.Event()
        line.wake = self._signal.set
        ticket = Ticket(current_owner(), line.wake, line.is_read, lambda: exchange.received_bytes)
        self._flow = exchange.run(ticket)
        self._held = contextlib.ExitStack()
        self._outcome: object = None
        self._stream: PromptStream | None = None
        self.is_on = not line.is_cut()

    def advance(self) -> tuple[Iterable[Event], Iterator[bytes]]:
        """Do what the exchange wants done next; return the events and the packets that it brings."""
        outcome, self._outcome = self._outcome, None
        if self._stream is not None:
            outcome, self._stream = self._stream.outcome, None
        try:
            command: Command = self._flow.send(outcome)
        except StopIteration:
            self.is_on = False
            return (), iter(())
        if isinstance(command, Deliver):
            return command.events, iter(())
        if isinstance(command, OpenStream):
            self._stream = self._transport.open_stream(command.request, self._line, self._exchange.answering)
            return (), self.opened.enter_context(self._stream)
        self._outcome = self._carry_out(command)
        return (), iter(())

    def _carry_out(self, command: Send | AwaitTurn | Wait | CallUser | Consult | Enter) -> object:
        if isinstance(command, Send):
            return self._transport.send(command.request)
        if isinstance(command, CallUser):
            return call_user(command)
        if isinstance(command, Consult):
            return command.call()
        if isinstance(command, Enter):
            return self._held.enter_context(command.hold)
        was_woken = self._transport.wait(self._signal, command.seconds)
        if isinstance(command, AwaitTurn):
            self._signal.clear()
        return was_woken

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_on = self.is_on and error is None and not self._line.is_cut()
        if self.is_on:
            return
        if isinstance(error, ProtocolError):
            error.turn = self._exchange.turn
        if not (error is None or isinstance(error, GeneratorExit)):
            self._exchange.leave()
        self._flow.close()
        try:
            self._transport.run_flow(self._exchange.cleanup())
        finally:
            self._held.close()
