"""The line of a turn: it can be cut while somebody listens, and is not held for long after the end."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from llama_cloud_chat._fork import FreshInChild

DRAIN_SECONDS = 0.25
"""How long a line may stay open after the turn's end, for the service to end it so that it can be used again."""

_LOOKS_WITHOUT_WORK = 20


class Line:
    """The line of a turn, for whoever wants to hang up while somebody else listens.

    A running generator cannot be closed from outside, but what it waits for can be ended.

    Attributes:
        hung_up: Whether somebody hung up; `is_cut()` where it changes behind a type checker's back.
        wake: Ends a wait of the listener's that is not for the service.
        is_read: Whether somebody listens at this moment.
    """

    def __init__(self) -> None:
        self.hung_up = False
        self.wake: Callable[[], None] = lambda: None
        self.is_read: Callable[[], bool] = lambda: False
        self._response: httpx.Response | None = None

    def is_cut(self) -> bool:
        """Whether somebody hung up."""
        return self.hung_up

    def attach(self, response: httpx.Response | None) -> None:
        """Take note of the response that the listener reads from now on."""
        self._response = response
        if self.hung_up and response is not None:
            shut_down(response)

    def cut(self) -> None:
        """Hang up, from any thread."""
        self.hung_up = True
        self.wake()
        response = self._response
        if response is not None:
            shut_down(response)


def is_shared(response: httpx.Response) -> bool:
    """Whether other requests are answered by the same connection at the same time."""
    return response.extensions.get("http_version") == b"HTTP/2"


def shut_down(response: httpx.Response) -> None:
    """Shut the socket under a response, so that a read on it ends at once; not one that others share."""
    stream = response.extensions.get("network_stream")
    sock = stream.get_extra_info("socket") if stream is not None and not is_shared(response) else None
    if sock is not None:
        with contextlib.suppress(OSError), _duplicate(sock) as duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)


def _duplicate(sock: socket.socket) -> socket.socket:
    """Return another hold of a socket: what event loops hand out is not always a whole one."""
    return socket.fromfd(sock.fileno(), sock.family, sock.type)


def lead_nowhere(wire: Any) -> None:
    """Make this process's copy of a connection's descriptor lead nowhere. Who else has one keeps the connection.

    Its number stays taken, for whoever believes in it still to close.
    """
    sock = wire.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, sock.fileno(), inheritable=False)
    os.close(nowhere)


@dataclass(eq=False)
class _Watched:
    response: httpx.Response | None
    deadline: float


class Watchdog(FreshInChild):
    """Shuts lines that their service holds although the turn is over. One thread watches them all.

    A thread for each would cost more than a short turn does. This one looks now and then, whatever happens meanwhile,
    and ends when it has had nothing to watch for some seconds.
    """

    def _begin_anew(self) -> None:
        self._lock = threading.RLock()  # a stream may be collected, and let go, inside it
        self._watched: deque[_Watched] = deque()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def watching(self, response: httpx.Response) -> Iterator[None]:
        """Shut the line of `response` unless the block ends within `DRAIN_SECONDS`, or twice that at the most."""
        watched = _Watched(response, time.monotonic() + DRAIN_SECONDS)
        with self._lock:
            self._watched.append(watched)
            if self._thread is None:
                thread = threading.Thread(target=self._watch, name="llama-cloud-chat watchdog", daemon=True)
                thread.start()
                self._thread = thread
        try:
            yield
        finally:
            with self._lock:  # from now on its connection may serve another request
                watched.response = None

    def _watch(self) -> None:
        looks_without_work = 0
        while True:
            time.sleep(DRAIN_SECONDS)
            with self._lock:
                looks_without_work = 0 if self._look() else looks_without_work + 1
                if looks_without_work == _LOOKS_WITHOUT_WORK:
                    self._thread = None  # in the same breath, or a line could come that nobody watches
                    return

    def _look(self) -> bool:
        """Shut what is overdue; return whether there was anything to watch."""
        had_work = bool(self._watched)
        while self._watched and self._watched[0].deadline <= time.monotonic():
            overdue = self._watched.popleft().response
            if overdue is not None:
                shut_down(overdue)
        return had_work


WATCHDOG = Watchdog()
