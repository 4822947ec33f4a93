"""An HTTP server over real sockets that answers byte for byte as it is told, and breaks off where it is told to.

An answer is a sequence of steps: bytes to send, a `Gate` to wait at, a `Cut`. It holds the whole answer, its head
and framing included; a sequence that ends without a `Cut` leaves the connection open for the next request. Steps are
taken from the sequence one by one, so that a generator may go on for ever.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from typing_extensions import Self

from .listening import stop_accepting

PATIENCE = 60.0
"""Seconds after which a test that waits for something has failed."""


@dataclass(eq=False)
class Request:
    """A request as it arrived.

    Attributes:
        method: Its method.
        target: Its path and query, as they were on the line.
        headers: Its headers, with names in lower case.
        body: Its body.
        hung_up: Set when its connection was closed, by whichever side.
    """

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    hung_up: threading.Event = field(default_factory=threading.Event)

    @property
    def path(self) -> str:
        """The path as it was on the line."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        """The query, decoded."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    @property
    def json(self) -> Any:
        """The body as JSON; None if there is none."""
        return json.loads(self.body) if self.body else None


class Gate:
    """A place where an answer waits until it is told to go on.

    Attributes:
        reached: Set when an answer waits here.
    """

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._opened: Future[None] = Future()

    def open(self) -> None:
        """Let everything pass."""
        if not self._opened.done():
            self._opened.set_result(None)

    async def passed(self) -> None:
        """Wait until it is open."""
        self.reached.set()
        await asyncio.shield(asyncio.wrap_future(self._opened))


@dataclass(frozen=True)
class Cut:
    """Close the connection: with a clean end after all bytes, or with a reset that may overtake them."""

    reset: bool = False


Step: TypeAlias = "bytes | Gate | Cut"
Handler: TypeAlias = Callable[[Request], Iterable[Step]]


class ScriptedServer:
    """Serves `handler` on a loopback port, from a thread of its own.

    Attributes:
        requests: All requests, in the order in which they arrived.
        connections_made: How many connections were opened so far.
        open_connections: How many are open now.
    """

    def __init__(self, handler: Handler | None = None) -> None:
        self.handle: Handler = handler or self.answer
        self.requests: list[Request] = []
        self.connections_made = 0
        self.open_connections = 0
        self._failures: list[BaseException] = []
        self._changed = threading.Condition()
        self._connections: set[_Connection] = set()

    def answer(self, request: Request) -> Iterable[Step]:
        """Return the answer to a request, where no handler was given."""
        raise NotImplementedError(request.target)

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        started: Future[int] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name="scripted-server", daemon=True)
        self._thread.start()
        self.port = started.result(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the server does not stop"
        if self._failures:
            raise self._failures[0]

    def _run(self, started: Future[int]) -> None:
        asyncio.run(self._serve(started))

    async def _serve(self, started: Future[int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        started.set_result(await self._listen(0))
        await self._stopped.wait()
        tasks = [connection.task for connection in self._connections if connection.task is not None]
        await self._hang_up()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, port: int) -> int:
        self._server = await self._loop.create_server(lambda: _Connection(self), "127.0.0.1", port, backlog=2048)
        return int(self._server.sockets[0].getsockname()[1])

    async def _hang_up(self) -> None:
        await stop_accepting(self._server)
        for connection in list(self._connections):
            connection.transport.abort()
        while self._connections:  # noqa: ASYNC110  # the loop that closes them is this one
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # a socket is closed after its protocol has been told

    def stop_listening(self) -> None:
        """Close all connections and refuse new ones."""
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result(PATIENCE)

    def listen_again(self) -> None:
        """Take new connections, where it listened before."""
        asyncio.run_coroutine_threadsafe(self._listen(self.port), self._loop).result(PATIENCE)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds that requests or connections make true."""
        with self._changed:
            assert self._changed.wait_for(holds, PATIENCE), f"waited for something that never came: {self.requests}"

    def note(self, change: Callable[[], object]) -> None:
        """Change something that a test may wait for."""
        with self._changed:
            change()
            self._changed.notify_all()


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, server: ScriptedServer) -> None:
        self._server = server
        self._buffer = b""
        self._requests: list[Request] = []
        self._writable = asyncio.Event()
        self._writable.set()
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._server._connections.add(self)
        self._server.note(lambda: self._count(made=1, opened=1))

    def connection_lost(self, exc: Exception | None) -> None:
        self._server._connections.discard(self)
        if self.task is not None:
            self.task.cancel()
        for request in self._requests:
            request.hung_up.set()
        self._server.note(lambda: self._count(made=0, opened=-1))

    def _count(self, *, made: int, opened: int) -> None:
        self._server.connections_made += made
        self._server.open_connections += opened

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._go_on()

    def _go_on(self) -> None:
        if self.task is None and (request := self._next_request()) is not None:
            self._requests.append(request)
            self._server.note(lambda: self._server.requests.append(request))
            self.task = asyncio.get_running_loop().create_task(self._answer(request))

    def _next_request(self) -> Request | None:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        size = int(headers.get("content-length", "0"))
        if len(rest) < size:
            return None
        self._buffer = rest[size:]
        return Request(method, target, headers, rest[:size])

    async def _answer(self, request: Request) -> None:
        try:
            for step in self._server.handle(request):
                if self.transport.is_closing():
                    return
                if isinstance(step, bytes):
                    self.transport.write(step)
                    await asyncio.sleep(0)
                    await self._writable.wait()
                elif isinstance(step, Gate):
                    await step.passed()
                else:
                    self._cut(step)
                    return
        except Exception as error:  # noqa: BLE001, RUF100  # the test is to see it
            self._server._failures.append(error)
            self.transport.abort()
        self.task = None
        self._go_on()

    def _cut(self, cut: Cut) -> None:
        if cut.reset:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            self.transport.close()


def head(status: int = 200, headers: Mapping[str, str] | None = None) -> bytes:
    """Return the head of an answer."""
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def plain(status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """Return a whole answer."""
    return head(status, {"Content-Length": str(len(body)), **(headers or {})}) + body


def in_json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> bytes:
    """Return a whole answer in JSON."""
    return plain(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})


def chunk(data: bytes) -> bytes:
    """Return one chunk of an answer that comes in chunks; the empty one ends it."""
    return b"%x\r\n%s\r\n" % (len(data), data)


CHUNKED = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}
UNTIL_CLOSED = {"Content-Type": "text/event-stream", "Connection": "close"}


def chunked(pieces: Iterable[bytes], headers: Mapping[str, str] | None = None) -> bytes:
    """Return a whole event stream, each piece in a chunk of its own."""
    return b"".join([head(200, {**CHUNKED, **(headers or {})}), *map(chunk, pieces), chunk(b"")])
