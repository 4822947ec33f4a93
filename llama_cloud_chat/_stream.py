"""A turn as it arrives, for threads. `_async_stream.py` is its twin, line for line."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Generator, Iterator
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, cast

import httpx

from ._errors import ChatError, ProtocolError
from ._session.exchange import Exchange, StreamEnded
from ._session.flows import AwaitTurn, Command, Deliver, OpenStream, Send
from ._session.queue import Ticket, current_owner
from ._session.retry import Outcome
from ._transport.http import LOGGER, check_stream, failure_of
from ._transport.line import WATCHDOG, Line
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

    def __init__(self, client: ChatClient, exchange: Exchange) -> None:
        self.turn: Turn = exchange.turn
        self._line = Line()
        # Whoever iterates takes the generator over: it is closed when their loop lets go of it.
        self._unclaimed: Generator[Event, None, None] | None = _exchange_events(client, exchange, self._line)
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


def _exchange_events(client: ChatClient, exchange: Exchange, line: Line) -> Generator[Event, None, None]:
    signal = threading.Event()
    line.wake = signal.set
    ticket = Ticket(current_owner(), line.wake, line.is_read, lambda: exchange.received_bytes)
    flow = exchange.run(ticket)
    outcome: object = None
    try:
        while not line.is_cut():
            command: Command = flow.send(outcome)
            outcome = None
            if isinstance(command, OpenStream):
                outcome = answer = _open(client, command)
                if isinstance(answer, httpx.Response):
                    line.attach(answer)
                    chunks = iter(cast("httpx.SyncByteStream", answer.stream))
                    try:
                        for chunk in chunks:
                            if line.hung_up:
                                break
                            yield from exchange.read(chunk)
                            if exchange.turn.is_complete:
                                break
                        outcome = StreamEnded()
                    except httpx.HTTPError as error:
                        outcome = StreamEnded(failure_of(error, client.config).error)
                    finally:
                        line.attach(None)
                        _hang_up(client, answer, chunks, is_over=exchange.turn.is_complete)
            elif isinstance(command, Deliver):
                yield from command.events
            elif isinstance(command, Send):
                outcome = client._send(command.request)
            elif isinstance(command, AwaitTurn):
                outcome = client._clock.wait(signal, command.seconds)
                signal.clear()
            else:
                client._clock.wait(signal, command.seconds)
    except StopIteration:
        pass
    except ProtocolError as error:
        error.turn = exchange.turn
        raise
    finally:
        flow.close()
        _say_farewell(client, exchange)


def _open(client: ChatClient, command: OpenStream) -> httpx.Response | Outcome:
    """Send the prompt; return the response whose stream is to be read, or what came instead."""
    try:
        response = client._open(command.request)
        if response.status_code != 200:
            return client._read(response)
    except httpx.HTTPError as error:
        return failure_of(error, client.config)
    try:
        check_stream(response)
    except BaseException:
        client._hang_up(response)
        raise
    return response


def _hang_up(client: ChatClient, response: httpx.Response, chunks: Iterator[bytes], *, is_over: bool) -> None:
    """Close a response; if its turn is over, read it to its end first, so that its connection can be used again."""
    try:
        if is_over:
            with WATCHDOG.watching(response), contextlib.suppress(httpx.HTTPError):
                for _ in chunks:
                    pass
    finally:
        client._hang_up(response)


def _say_farewell(client: ChatClient, exchange: Exchange) -> None:
    farewell = exchange.farewell()
    if farewell is not None:
        try:
            client._run(farewell, max_retries=1)
        except ChatError as error:
            LOGGER.warning("A session that was not to be kept could not be deleted: %s", error)
