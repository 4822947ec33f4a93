"""The watchdog: one thread for all lines, which never leaves a line unwatched nor touches one that is not its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from llama_cloud_chat._transport import line
from llama_cloud_chat._transport.line import Watchdog

from ..support.http import httpx


class Wire:
    """A network stream with a socket, and the other end of it."""

    def __init__(self) -> None:
        self.near, self.far = socket.socketpair()
        self.response = httpx.Response(200, extensions={"network_stream": self})

    def get_extra_info(self, name: str) -> Any:
        return self.near

    def is_shut(self) -> bool:
        self.far.setblocking(False)
        try:
            return self.far.recv(1) == b""
        except BlockingIOError:
            return False


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.near.close()
    wire.far.close()


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What the watchdog's threads would do; none begins, and no time passes."""
    begun: list[Callable[[], None]] = []

    class Thread:
        def __init__(self, target: Callable[[], None], **_: Any) -> None:
            self.start = lambda: begun.append(target)

        def is_alive(self) -> bool:
            return True

    monkeypatch.setattr(line, "DRAIN_SECONDS", 0)
    monkeypatch.setattr(threading, "Thread", Thread)
    return begun


def test_a_line_is_shut_when_its_time_is_over_and_not_before(
    wire: Wire, threads: list[Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(line, "DRAIN_SECONDS", 0.25)
    monkeypatch.setattr("llama_cloud_chat._transport.line.time.monotonic", lambda: now)
    dog = Watchdog()
    with dog.watching(wire.response):
        dog._look()
        assert not wire.is_shut()
        now = 100.25
        dog._look()
        assert wire.is_shut()


def test_a_line_that_was_given_back_is_left_alone(wire: Wire, threads: list[Callable[[], None]]) -> None:
    dog = Watchdog()
    with dog.watching(wire.response):
        pass
    dog._look()
    assert not wire.is_shut()
    assert not dog._watched


def test_a_watchdog_whose_thread_is_about_to_end_gets_another_for_the_next_line(
    wire: Wire, threads: list[Callable[[], None]]
) -> None:
    dog = Watchdog()
    for _ in range(3):
        with dog.watching(httpx.Response(200)):
            pass
    assert len(threads) == 1
    threads[0]()
    with dog.watching(wire.response):
        assert len(threads) == 2
        threads[1]()
        assert wire.is_shut()


def test_a_thread_that_cannot_begin_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    dog = Watchdog()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError), dog.watching(httpx.Response(200)):
            pass
    with dog.watching(httpx.Response(200)):
        assert dog._thread is not None


FORKING = """
import os, socket, httpx
from llama_cloud_chat._transport import line
line.DRAIN_SECONDS = 60  # the watchdog sleeps meanwhile: it does not end by itself
near, far = socket.socketpair()
class Stream:
    get_extra_info = lambda self, name: near
with line.WATCHDOG._lock:
    line.WATCHDOG._watched.append(line._Watched(httpx.Response(200, extensions={"network_stream": Stream()}), 0.0))
    child = os.fork()
if child == 0:
    with line.WATCHDOG.watching(httpx.Response(200)):
        line.WATCHDOG._look()
    os._exit(0 if line.WATCHDOG._thread.is_alive() else 1)
assert os.waitpid(child, 0)[1] == 0, "the child has no watchdog"
near.send(b"x")
print("alive")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
def test_the_child_of_a_fork_has_a_watchdog_of_its_own_and_leaves_its_parent_s_lines_alone() -> None:
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("alive\n", 0), done.stderr
