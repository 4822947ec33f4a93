"""What a client does over its sockets, for threads. `tasks.py` is its twin, line for line."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import TypeVar, cast

import httpx

from llama_cloud_chat._config import ClientConfig
from llama_cloud_chat._errors import ChatError, ConfigurationError, ProtocolError
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
from .line import WATCHDOG, Line, is_shared
from .pools import Pool, Pools

T = TypeVar("T")


class Transport:
    """Sends what a client and its streams want sent, and waits where they have to wait.

    Args:
        config: The client's configuration.
        clock: How to wait, and jitter.
        http_client: An httpx client to use, which is not closed.
        refusal: Why nothing is sent, if nothing is to be.
    """

    http_kind = httpx.Client

    def __init__(
        self,
        config: ClientConfig,
        clock: Clock,
        http_client: httpx.Client | None = None,
        refusal: str | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._connections = Connections(config, http_client, refusal)

    def run(self, operation: Operation[T], max_retries: int | None = None) -> T:
        """Run an operation; repeat it up to `max_retries` times, by default as often as is configured.

        Raises:
            ChatError: It failed for good.
        """
        retries = self._config.max_retries if max_retries is None else max_retries
        return self.run_flow(call(operation, RetryPolicy(retries), self._clock))

    def run_flow(self, flow: Flow[T]) -> T:
        """Do what a flow wants done, to its end.

        Raises:
            ChatError: It failed.
        """
        go_on: Callable[[], Command] = partial(flow.send, None)
        try:
            while True:
                command = go_on()
                try:
                    go_on = partial(flow.send, self._carry_out(command))
                except ChatError as error:
                    go_on = partial(flow.throw, error)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]

    def _carry_out(self, command: Command) -> object:
        if isinstance(command, Send):
            return self.send(command.request)
        if isinstance(command, Consult):
            return command.call()
        assert isinstance(command, Wait)
        return self.wait(threading.Event(), command.seconds)

    def send(self, request: Request) -> Outcome:
        """Send a request once and read its whole answer.

        Raises:
            ProtocolError: The answer is too large, or compressed and broken.
        """
        try:
            return self._connections.read(self._connections.open(request))
        except alike(httpx.HTTPError) as error:
            return failure_of(error, self._config)

    def open_stream(self, request: Request, line: Line, turn: Turn) -> PromptStream:
        """Return a prompt and the stream that will answer it, to be entered.

        Args:
            request: The prompt.
            line: What may be cut while somebody waits for the next packet.
            turn: The turn that grows from the packets.
        """
        return PromptStream(self._connections, request, line, turn)

    def wait(self, signal: threading.Event, seconds: float) -> bool:
        """Wait for `signal`; return whether it was set within so many seconds."""
        return self._clock.wait(signal, seconds)

    def close(self) -> None:
        """Close the connections; new ones are opened when they are needed."""
        self._connections.close()


class PromptStream:
    """A prompt and the stream that answers it; made by `Transport.open_stream`.

    Entering sends the prompt and gives the packets. Leaving closes the connection; if the turn is over, the rest is
    read first, so that the connection can be used again. A connection that breaks is an outcome, not an error.

    Attributes:
        outcome: How the stream ended; if there was none, what came in its place.

    Raises:
        ProtocolError: On entering: what came is no event stream.
    """

    def __init__(self, connections: Connections, request: Request, line: Line, turn: Turn) -> None:
        self.outcome: StreamEnded | Outcome = StreamEnded()
        self._connections = connections
        self._request = request
        self._line = line
        self._turn = turn
        self._response: httpx.Response | None = None
        self._packets: Iterator[bytes] = iter(())

    def __enter__(self) -> Iterator[bytes]:
        answer = self._ask()
        if isinstance(answer, (Answer, Failed)):
            self.outcome = answer
        else:
            self._begin(answer)
        return self._packets

    def _ask(self) -> httpx.Response | Outcome:
        """Send the prompt; return the response whose stream is to be read, or what came instead."""
        try:
            response = self._connections.open(self._request)
            return response if response.status_code == 200 else self._connections.read(response)
        except alike(httpx.HTTPError) as error:
            return failure_of(error, self._connections.config)

    def _begin(self, response: httpx.Response) -> None:
        if not is_event_stream(response):
            raise no_stream(response, self._connections.read_reason(response))
        self._packets = self._connections.packets(response)
        self._response = response
        self._line.attach(response)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._response is None:
            return False
        self._line.attach(None)
        try:
            if self._turn.is_complete and not is_shared(self._response):
                self._drain(self._response)
        finally:
            self._connections.hang_up(self._response)
        if isinstance(error, alike(httpx.HTTPError)):
            self.outcome = StreamEnded(failure_of(error, self._connections.config).error)
            return True
        return False

    def _drain(self, response: httpx.Response) -> None:
        with WATCHDOG.watching(response), contextlib.suppress(*alike(httpx.HTTPError)):
            for _ in self._packets:
                pass


def _unpacked(response: httpx.Response) -> Iterator[bytes]:
    """Return the bytes of a compressed response, as they come."""
    morsels = in_morsels(response)
    with unpacking(morsels):
        yield from response.iter_bytes()


class Connections:
    """A client's connections to the service.

    Args:
        config: The client's configuration.
        http_client: An httpx client to use, which is not closed.
        refusal: Why nothing is sent, if nothing is to be.
    """

    def __init__(
        self, config: ClientConfig, http_client: httpx.Client | None = None, refusal: str | None = None
    ) -> None:
        self.config = config
        self._refusal = refusal
        self._pools = Pools(httpx.Client, http_client)

    def open(self, request: Request) -> httpx.Response:
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
            response = pool.http.send(built, stream=True, auth=auth, follow_redirects=follows_redirects(request))
        except BaseException:
            self._leave(pool)
            raise
        response.extensions["pool"] = pool
        pool.note(response)
        return response

    def read(self, response: httpx.Response, *, is_error: bool = False) -> Answer:
        """Read the whole answer, and hang up. An error counts although its body breaks off.

        Raises:
            httpx.HTTPError: It broke off.
            ProtocolError: It is too large, or compressed and broken.
        """
        body = BodyBuffer(self.config)
        packets = self.packets(response)
        try:
            for chunk in packets:
                body.add(chunk)
        except alike(httpx.HTTPError):
            if response.is_success:
                raise
        finally:
            self.hang_up(response)
        return Answer(
            response.status_code, response.headers, body.content(is_error=is_error or not response.is_success)
        )

    def read_reason(self, response: httpx.Response) -> Answer | None:
        """Read an answer that is not what was asked for, and hang up; None if it can say nothing, or does not."""
        if not may_say_why(response):
            self.hang_up(response)
            return None
        with contextlib.suppress(ProtocolError, *alike(httpx.HTTPError)):
            return self.read(response, is_error=True)
        return None

    def packets(self, response: httpx.Response) -> Iterator[bytes]:
        """Return the bytes of an answer, as they come; it is hung up if they cannot be read.

        Raises:
            ProtocolError: It is compressed in a way that nobody here can unpack.
        """
        try:
            is_packed = check_encoding(response)
        except BaseException:
            self.hang_up(response)
            raise
        if is_packed:
            return _unpacked(response)
        return iter(cast("httpx.SyncByteStream", response.stream))

    def hang_up(self, response: httpx.Response) -> None:
        """Close an answer, read or not. One that came to the process that this is a fork of is not ours to close."""
        pool = response.extensions["pool"]
        if not pool.is_ours:
            return
        try:
            response.close()
        finally:
            self._leave(pool)

    def _leave(self, pool: Pool[httpx.Client]) -> None:
        http = self._pools.leave(pool)
        if http is not None:
            http.close()

    def close(self) -> None:
        """Close all of them."""
        for http in self._pools.clear():
            http.close()
