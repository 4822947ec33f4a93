"""A scripted service and clients for it, a notebook's shell, and time that passes as told."""

from __future__ import annotations

import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import IPython
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import CapturedIO, capture_output
from traitlets.config import Config

from llama_cloud_chat import AsyncChatClient, ChatClient
from llama_cloud_chat._session.clock import Clock
from llama_cloud_chat.notebook import _show

from ..support.clients import make_client
from ..support.server import PATIENCE
from ..support.service import ChatService


@pytest.fixture
def service() -> Iterator[ChatService]:
    with ChatService() as service:
        yield service


@pytest.fixture
def client(service: ChatService) -> Iterator[ChatClient]:
    with make_client("sync", service.base_url) as client:
        yield client


@pytest.fixture
async def aclient(service: ChatService) -> AsyncIterator[AsyncChatClient]:
    async with make_client("async", service.base_url) as client:
        yield client


class Notebook:
    """A real shell, as a kernel has it, and what a cell displays in it."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell

    def run(self, code: str, **names: Any) -> list[dict[str, str]]:
        """Run a cell; return what it displays, updates included, in order."""
        self.shell.push(names)
        with capture_output() as captured:
            self.shell.run_cell(code).raise_error()
        return self.displayed(captured)

    @staticmethod
    def displayed(captured: CapturedIO) -> list[dict[str, str]]:
        """Return what was displayed."""
        return [output.data for output in captured.outputs]


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    assert IPython.get_ipython() is shell  # type: ignore[attr-defined]
    with ExitStack() as stack:
        stack.callback(InteractiveShell.clear_instance)
        stack.enter_context(shell.builtin_trap)
        yield Notebook(shell)


class Ticks:
    """A clock by which a view is painted once for every `tick`, and never otherwise.

    Attributes:
        waits: How long the painter wanted to pause, each time.
        now: What the clock shows; it stands still unless it is moved.
    """

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.now = 0.0
        self._ticks = threading.Semaphore(0)
        self._paused = threading.Semaphore(0)

    def as_clock(self) -> Clock:
        """Return it as the live view takes it."""
        return Clock(wait=self._wait, monotonic=lambda: self.now)

    def tick(self) -> None:
        """Let the view be painted once, and wait until it is."""
        self._ticks.release()
        self.painted()

    def painted(self) -> None:
        """Wait until the view was painted and the painter pauses."""
        assert self._paused.acquire(timeout=PATIENCE)

    def _wait(self, is_over: threading.Event, seconds: float) -> bool:
        self.waits.append(seconds)
        self._paused.release()
        while not is_over.is_set() and not self._ticks.acquire(timeout=0.01):
            pass
        return is_over.is_set()


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Ticks:
    ticks = Ticks()
    monkeypatch.setattr(_show, "_CLOCK", ticks.as_clock())
    return ticks


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Hear SIGINT as a kernel does; whoever runs the tests in the background is deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    """Have another thread act while the block runs; it has ended when the block has."""
    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def interrupt_main() -> None:
    """Interrupt the main thread as a kernel does, also while it waits for a socket."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
