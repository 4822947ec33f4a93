"""What a client does over its sockets, for asyncio. `threads.py` is its twin, line for line."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import httpx

from llama_cloud_chat._config import ClientConfig
from llama_cloud_chat._errors import ChatError, ConfigurationError, ProtocolError
from llama_cloud_chat._fork import FreshInChild
from llama_cloud_chat._httpx import alike
from llama_cloud_chat._session.clock import Clock
from llama_cloud_chat._session.exchange import StreamEnded
from llama_cloud_chat._session.flows import Command, Consult, Flow, Send, Wait, call
from llama_cloud_chat._session.operations import Operation, Request
from llama_cloud_chat._session.retry import Answer, Failed, Outcome, RetryPolicy
from llama_cloud_chat._turn.turn import Turn

from .http import (
    BodyBuffer,
    build_request,
    check_encoding,
    failure_of,
    follows_redirects,
    in_morsels,
    is_event_stream,
    is_local,
    may_say_why,
    no_stream,
    unpacking,
)
from .line import DRAIN_SECONDS, Line, is_shared, shut_down
from .pools import Pool, Pools

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")


class AsyncTransport:
    """Sends what a client and its streams want sent, and waits where they have to wait.

    Args:
        config: The client's configuration.
        clock: How to wait, and jitter.
        http_client: An httpx client to use, which is not closed.
        refusal: Why nothing is sent, if nothing is to be.
    """

    http_kind = httpx.AsyncClient

    def __init__(
        self,
        config: ClientConfig,
        clock: Clock,
        http_client: httpx.AsyncClient | None = None,
        refusal: str | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._connections = AsyncConnections(config, http_client, refusal)

    async def run(self, operation: Operation[T], max_retries: int | None = None) -> T:
        """Run an operation; repeat it up to `max_retries` times, by default as often as is configured.

        Raises:
            ChatError: It failed for good.
        """
        retries = self._config.max_retries if max_retries is None else max_retries
        return await self.run_flow(call(operation, RetryPolicy(retries), self._clock))

    async def run_flow(self, flow: Flow[T]) -> T:
        """Do what a flow wants done, to its end.

        Raises:
            ChatError: It failed.
        """
        go_on: Callable[[], Command] = partial(flow.send, None)
        try:
            while True:
                command = go_on()
                try:
                    go_on = partial(flow.send, await self._carry_out(command))
                except ChatError as error:
                    go_on = partial(flow.throw, error)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]

    async def _carry_out(self, command: Command) -> object:
        if isinstance(command, Send):
            return await self.send(command.request)
        if isinstance(command, Consult):
            return await command.acall()
        assert isinstance(command, Wait)
        return await self.wait(asyncio.Event(), command.seconds)

    async def send(self, request: Request) -> Outcome:
        """Send a request once and read its whole answer.

        Raises:
            ProtocolError: The answer is too large, or compressed and broken.
        """
        try:
            return await self._connections.read(await self._connections.open(request))
        except alike(httpx.HTTPError) as error:
            return failure_of(error, self._config)

    def open_stream(self, request: Request, line: Line, turn: Turn) -> AsyncPromptStream:
        """Return a prompt and the stream that will answer it, to be entered.

        Args:
            request: The prompt.
            line: What may be cut while somebody waits for the next packet.
            turn: The turn that grows from the packets.
        """
        return AsyncPromptStream(self._connections, request, line, turn)

    async def wait(self, signal: asyncio.Event, seconds: float) -> bool:
        """Wait for `signal`; return whether it was set within so many seconds."""
        return await self._clock.wait_async(signal, seconds)

    async def aclose(self) -> None:
        """Close the connections of this event loop; new ones are opened when they are needed."""
        await self._connections.aclose()


class AsyncPromptStream:
    """A prompt and the stream that answers it; made by `AsyncTransport.open_stream`.

    Entering sends the prompt and gives the packets. Leaving closes the connection; if the turn is over, the rest is
    read first, so that the connection can be used again. A connection that breaks is an outcome, not an error.

    No generator, as `contextlib.asynccontextmanager` would make one: an event loop that ends closes all of them at
    once, also those that another one is about to close.

    Attributes:
        outcome: How the stream ended; if there was none, what came in its place.

    Raises:
        ProtocolError: On entering: what came is no event stream.
    """

    def __init__(self, connections: AsyncConnections, request: Request, line: Line, turn: Turn) -> None:
        self.outcome: StreamEnded | Outcome = StreamEnded()
        self._connections = connections
        self._request = request
        self._line = line
        self._turn = turn
        self._response: httpx.Response | None = None
        self._packets: AsyncIterator[bytes] = Nothing()

    async def __aenter__(self) -> AsyncIterator[bytes]:
        answer = await self._ask()
        if isinstance(answer, (Answer, Failed)):
            self.outcome = answer
        else:
            await self._begin(answer)
        return self._packets

    async def _ask(self) -> httpx.Response | Outcome:
        """Send the prompt; return the response whose stream is to be read, or what came instead."""
        wake, self._line.wake = self._line.wake, from_any_thread(_reader().cancel)  # until there is a line to cut
        try:
            response = await self._connections.open(self._request)
            return response if response.status_code == 200 else await self._connections.read(response)
        except alike(httpx.HTTPError) as error:
            return failure_of(error, self._connections.config)
        finally:
            self._line.wake = wake

    async def _begin(self, response: httpx.Response) -> None:
        if not is_event_stream(response):
            raise no_stream(response, await self._connections.read_reason(response))
        self._packets = await self._connections.packets(response)
        self._response = response
        self._line.attach(response)
        if is_shared(response):
            self._packets = _OfSharedLine(self._packets, self._line)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._response is None:
            return False
        self._line.attach(None)
        try:
            if self._turn.is_complete and not is_shared(self._response):
                await self._drain(self._response)
        finally:
            await self._connections.hang_up(self._response)
        if isinstance(error, alike(httpx.HTTPError)):
            self.outcome = StreamEnded(failure_of(error, self._connections.config).error)
            return True
        return False

    async def _drain(self, response: httpx.Response) -> None:
        with _watching(response), contextlib.suppress(*alike(httpx.HTTPError)):
            async for _ in self._packets:
                pass


class _OfSharedLine:
    """Packets of a connection that others share: cutting the line ends the wait for the next one, and nothing else."""

    def __init__(self, packets: AsyncIterator[bytes], line: Line) -> None:
        self._packets = packets
        self._line = line
        self._waiting: asyncio.Task[Any] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._line.is_cut():
            raise StopAsyncIteration
        wake, self._line.wake = self._line.wake, from_any_thread(self._let_go)
        self._waiting = _reader()
        try:
            return await anext(self._packets)
        finally:
            self._waiting, self._line.wake = None, wake

    def _let_go(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()


class _Unpacked:
    """The bytes of a compressed response, as they come."""

    def __init__(self, response: httpx.Response) -> None:
        self._morsels = in_morsels(response)
        self._bytes = response.aiter_bytes()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        with unpacking(self._morsels):
            return await anext(self._bytes)
        raise StopAsyncIteration


class AsyncConnections(FreshInChild):
    """A client's connections to the service.

    Args:
        config: The client's configuration.
        http_client: An httpx client to use, which is not closed.
        refusal: Why nothing is sent, if nothing is to be.
    """

    def __init__(
        self, config: ClientConfig, http_client: httpx.AsyncClient | None = None, refusal: str | None = None
    ) -> None:
        self.config = config
        self._refusal = refusal
        self._given_http = http_client
        super().__init__()

    def _begin_anew(self) -> None:
        self._lock = threading.Lock()
        # A connection belongs to the event loop that opened it.
        self._pools_of_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Pools[httpx.AsyncClient]]
        self._pools_of_loops = weakref.WeakKeyDictionary()

    @property
    def _pools(self) -> Pools[httpx.AsyncClient]:
        loop = asyncio.get_running_loop()
        with self._lock:
            pools = self._pools_of_loops.get(loop)
            if pools is None:
                for closed in [one for one in self._pools_of_loops if one.is_closed()]:
                    del self._pools_of_loops[closed]  # their connections hold them, so that they would never go
                pools = self._pools_of_loops[loop] = Pools(httpx.AsyncClient, self._given_http)
            return pools

    async def open(self, request: Request) -> httpx.Response:
        """Send a request; return its answer, to be read or hung up.

        Raises:
            httpx.HTTPError: None came.
            ConfigurationError: None can be asked for.
        """
        if self._refusal is not None:
            raise ConfigurationError(self._refusal)
        pool = self._pools.enter(is_local=is_local(request, self.config))
        try:
            built, auth = build_request(pool.http, request, self.config)
            response = await pool.http.send(built, stream=True, auth=auth, follow_redirects=follows_redirects(request))
        except BaseException:
            await self._leave(pool)
            raise
        response.extensions["pool"] = pool
        pool.note(response)
        return response

    async def read(self, response: httpx.Response, *, is_error: bool = False) -> Answer:
        """Read the whole answer, and hang up. An error counts although its body breaks off.

        Raises:
            httpx.HTTPError: It broke off.
            ProtocolError: It is too large, or compressed and broken.
        """
        body = BodyBuffer(self.config)
        packets = await self.packets(response)
        try:
            async for chunk in packets:
                body.add(chunk)
        except alike(httpx.HTTPError):
            if response.is_success:
                raise
        finally:
            await self.hang_up(response)
        return Answer(
            response.status_code, response.headers, body.content(is_error=is_error or not response.is_success)
        )

    async def read_reason(self, response: httpx.Response) -> Answer | None:
        """Read an answer that is not what was asked for, and hang up; None if it can say nothing, or does not."""
        if not may_say_why(response):
            await self.hang_up(response)
            return None
        with contextlib.suppress(ProtocolError, *alike(httpx.HTTPError)):
            return await self.read(response, is_error=True)
        return None

    async def packets(self, response: httpx.Response) -> AsyncIterator[bytes]:
        """Return the bytes of an answer, as they come; it is hung up if they cannot be read.

        Raises:
            ProtocolError: It is compressed in a way that nobody here can unpack.
        """
        try:
            is_packed = check_encoding(response)
        except BaseException:
            await self.hang_up(response)
            raise
        if is_packed:
            return _Unpacked(response)
        return aiter(cast("httpx.AsyncByteStream", response.stream))

    async def hang_up(self, response: httpx.Response) -> None:
        """Close an answer, read or not. One that came to the process that this is a fork of is not ours to close."""
        pool = response.extensions["pool"]
        if not pool.is_ours:
            return
        try:
            await response.aclose()
        finally:
            await self._leave(pool)

    async def _leave(self, pool: Pool[httpx.AsyncClient]) -> None:
        http = self._pools.leave(pool)
        if http is not None:
            await http.aclose()

    async def aclose(self) -> None:
        """Close those of this event loop."""
        for http in self._pools.clear():
            await http.aclose()


@contextlib.contextmanager
def _watching(response: httpx.Response) -> Iterator[None]:
    """Shut the line of `response` unless the block ends within `DRAIN_SECONDS`."""
    watchdog = asyncio.get_running_loop().call_later(DRAIN_SECONDS, shut_down, response)
    try:
        yield
    finally:
        watchdog.cancel()


def from_any_thread(act: Callable[[], object]) -> Callable[[], None]:
    """Return what acts on this loop from any thread; a loop that is closed has nobody left to wake."""
    loop = asyncio.get_running_loop()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(act)

    return wake


def _reader() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


def was_cancelled_by_others() -> bool:
    """Take back our own cancelling of the task that reads; return whether somebody else wants it cancelled too.

    Before Python 3.11 that cannot be known.
    """
    return sys.version_info >= (3, 11) and _reader().uncancel() > 0


class Nothing:
    """Nothing to iterate over."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        raise StopAsyncIteration
