"""Faults on demand, for people who test how their own program takes them."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llama_cloud_chat._errors import ConfigurationError

Operation = Literal[
    "list",
    "create",
    "retrieve",
    "delete",
    "get_summary",
    "set_title",
    "stream",
    "get_attachment",
    "list_indexes",
    "get_index",
]

_ROUTES: list[tuple[Operation, str, re.Pattern[str]]] = [
    ("list", "GET", re.compile(r"/api/v1/chat")),
    ("create", "POST", re.compile(r"/api/v1/chat")),
    ("stream", "POST", re.compile(r"/api/v1/chat/[^/]+/messages/stream")),
    ("set_title", "POST", re.compile(r"/api/v1/chat/[^/]+/title")),
    ("get_summary", "GET", re.compile(r"/api/v1/chat/[^/]+/summary")),
    ("retrieve", "GET", re.compile(r"/api/v1/chat/[^/]+")),
    ("delete", "DELETE", re.compile(r"/api/v1/chat/[^/]+")),
    ("get_attachment", "GET", re.compile(r"/api/v1/beta/attachments/.+")),
    ("list_indexes", "GET", re.compile(r"/api/v1/indexes")),
    ("get_index", "GET", re.compile(r"/api/v1/indexes/[^/]+")),
]
OPERATIONS = [operation for operation, _, _ in _ROUTES]
_KEY = "llama_cloud_chat.fault"


@dataclass(frozen=True)
class Fault:
    """One thing to go wrong; what each field does is said at `LocalService.fail_next`."""

    refuse: bool = False
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    taken: bool = False
    cut_after: int | None = None
    stall_after: int | None = None
    stop_with: str | None = None
    pace: float | None = None

    def __post_init__(self) -> None:
        chosen = [self.refuse, *(each is not None for each in self._kinds())]
        if sum(chosen) != 1:
            raise ConfigurationError(
                "fail_next takes exactly one of refuse, status, cut_after, stall_after, stop_with and pace."
            )
        if self.status is not None and not 400 <= self.status <= 599:
            raise ConfigurationError(f"status must be from 400 to 599, not {self.status}.")
        if any(number is not None and number < 0 for number in (self.cut_after, self.stall_after, self.pace)):
            raise ConfigurationError("cut_after, stall_after and pace must not be negative.")
        if self.taken and not (self.refuse or self.status is not None):
            raise ConfigurationError("taken belongs to refuse and status; the others take the request in anyway.")

    def _kinds(self) -> tuple[object, ...]:
        return self.status, self.cut_after, self.stall_after, self.stop_with, self.pace

    @property
    def is_of_the_turn(self) -> bool:
        """Whether it is the turn that goes wrong, not the connection."""
        return self.stop_with is not None or self.pace is not None


class Faults:
    """The faults that were asked for and have not happened yet. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[Fault]] = {operation: deque() for operation in OPERATIONS}

    def add(self, fault: Fault, operation: Operation, times: int) -> None:
        """Let the next requests of this operation go wrong, after those asked for before."""
        if operation not in self._waiting:
            raise ConfigurationError(f"There is no operation {operation!r}; there are {', '.join(OPERATIONS)}.")
        if times < 1:
            raise ConfigurationError(f"times must be at least 1, not {times}.")
        if fault.is_of_the_turn and operation != "stream":
            raise ConfigurationError("stop_with and pace are faults of a turn; leave on='stream'.")
        with self._lock:
            self._waiting[operation].extend([fault] * times)

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault for this request, if there is one; it will not be given out again."""
        for operation, known_method, pattern in _ROUTES:
            if method == known_method and pattern.fullmatch(path):
                with self._lock:
                    return self._waiting[operation].popleft() if self._waiting[operation] else None
        return None

    def clear(self) -> None:
        """Forget them all."""
        with self._lock:
            for waiting in self._waiting.values():
                waiting.clear()


def fault_of(scope: Scope) -> Fault | None:
    """Return the fault of a request that it is up to the route to make happen."""
    fault: Fault | None = scope.get(_KEY)
    return fault


class Line(Protocol):
    """The connection a request came on."""

    async def hang_up(self, scope: Scope) -> None:
        """Close it, once what was sent is on its way."""

    async def gone(self, scope: Scope) -> None:
        """Wait until it is closed, by whomever."""


class FaultyConnection:
    """Makes the faults of connections happen; passes everything else on as it is."""

    def __init__(self, app: ASGIApp, faults: Faults, line: Line) -> None:
        self._app = app
        self._faults = faults
        self._line = line

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        fault = self._faults.take(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if fault is None:
            await self._app(scope, receive, send)
            return
        scope[_KEY] = fault
        if fault.taken:
            await self._take_in(scope, receive)
        if fault.refuse:
            await self._line.hang_up(scope)
        elif fault.status is not None:
            await _answer(fault, send)
        elif fault.is_of_the_turn:
            await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, _Limited(fault, self._line, scope, send))

    async def _take_in(self, scope: Scope, receive: Receive) -> None:
        """Let the request be served until its answer begins; nobody sees the answer."""
        begun = asyncio.Event()

        async def swallow(message: Message) -> None:
            begun.set()

        serving = asyncio.ensure_future(self._app(scope, receive, swallow))
        waiting = asyncio.ensure_future(begun.wait())
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        # A turn takes this for a reader that left, and goes on.
        serving.cancel()
        waiting.cancel()
        await asyncio.gather(serving, waiting, return_exceptions=True)


class _Limited:
    """Sends so many bytes of the body, then no more."""

    def __init__(self, fault: Fault, line: Line, scope: Scope, send: Send) -> None:
        self._stalls = fault.stall_after is not None
        self._left = (fault.stall_after if fault.stall_after is not None else fault.cut_after) or 0
        self._line = line
        self._scope = scope
        self._send = send
        self._over = False

    async def __call__(self, message: Message) -> None:
        if self._over:
            return
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        body: bytes = message.get("body", b"")
        if len(body) < self._left:
            self._left -= len(body)
            await self._send(message)
            return
        self._over = True
        await self._send({"type": "http.response.body", "body": body[: self._left], "more_body": True})
        await (self._line.gone(self._scope) if self._stalls else self._line.hang_up(self._scope))


async def _answer(fault: Fault, send: Send) -> None:
    body = {"detail": f"This {fault.status} was asked for."} if fault.body is None else fault.body
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json", "content-length": str(len(content))}
    headers |= {name.lower(): value for name, value in fault.headers.items()}
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": fault.status, "headers": pairs})
    await send({"type": "http.response.body", "body": content})
