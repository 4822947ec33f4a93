"""The embedded service: the chat API on a loopback port of this machine."""

from __future__ import annotations

import contextlib
import ipaddress
import math
import os
import secrets
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import TypeAlias

from llama_cloud_chat._errors import ConfigurationError

from ._agent import Agent
from ._app import build_app
from ._documents import Collection, Skipped, read_installed_packages, read_path
from ._extractive import extractive_agent
from ._search import Library
from ._server import ServerThread
from ._store import Store
from ._turns import Turns

PathArgument: TypeAlias = "str | os.PathLike[str]"


class LocalService:
    """LlamaCloud's chat API on this machine, for development and tests.

        with LocalService(docs="handbook/") as service:
            client = ChatClient(service.api_key, base_url=service.base_url)
            print(client.create(service.index_ids).ask("How many days of leave are there?").text)

    It listens on loopback only. Sessions are kept in `data` and survive a restart; indexes are read anew each
    time.

    Args:
        docs: A folder or file of `.md`, `.txt` and `.rst` text, or a list of them: each becomes one index.
            None reads the descriptions of the Python packages installed in this environment; `[]` makes no
            index.
        data: The SQLite file that keeps the sessions; it is made if it does not exist. None keeps them until
            the service is stopped.
        host: A loopback address to listen on.
        port: The port to listen on; 0 takes a free one.
        pace: Seconds to wait before each delta, so that a stream can be watched.
        api_key: The key that clients must send; by default a new one that nobody can guess.
        agent: Who answers; see `Agent`. By default sentences are quoted from the passages that match.
        keep_alive: After how many seconds a comment is sent on a stream, so that a silent one is known to
            live.

    Raises:
        ConfigurationError: An argument cannot work. Those that name files and ports are looked at by `start`.
    """

    def __init__(
        self,
        docs: PathArgument | Sequence[PathArgument] | None = None,
        *,
        data: PathArgument | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        pace: float = 0.0,
        api_key: str | None = None,
        agent: Agent | None = None,
        keep_alive: float = 15.0,
    ) -> None:
        self._docs = _as_paths(docs)
        self._data = None if data is None else Path(data)
        self._host = _check_loopback(host)
        self._port = _check_port(port)
        self._pace = _check_seconds("pace", pace, allow_zero=True)
        self._keep_alive = _check_seconds("keep_alive", keep_alive, allow_zero=False)
        self._api_key = _check_key(api_key) if api_key is not None else secrets.token_urlsafe(32)
        self._agent = agent or extractive_agent
        self._running: _Running | None = None
        self._closing = contextlib.ExitStack()

    def __repr__(self) -> str:
        where = self._running.base_url if self._running else "stopped"
        return f"<LocalService {where}>"

    @property
    def api_key(self) -> str:
        """The key that clients must send."""
        return self._api_key

    @property
    def base_url(self) -> str:
        """Where the service listens, for example `http://127.0.0.1:41573`."""
        return self._require_running().base_url

    @property
    def index_ids(self) -> list[str]:
        """The indexes, in the order of `docs`."""
        return [collection.index_id for collection in self._require_running().collections]

    @property
    def index_names(self) -> dict[str, str]:
        """What each index is called, by its id."""
        return {each.index_id: each.name for each in self._require_running().collections}

    @property
    def skipped(self) -> list[Skipped]:
        """The files of the folders that could not be read, and why."""
        return [skipped for each in self._require_running().collections for skipped in each.skipped]

    def start(self) -> LocalService:
        """Read the documents, open the data file and begin to listen; returns the service itself.

        Raises:
            ConfigurationError: A folder, file or port cannot be used; nothing is left behind.
        """
        if self._running is not None:
            raise ConfigurationError("This service is already running.")
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(contextlib.closing(_listen(self._host, self._port)))
            collections = _read(self._docs)
            library = Library(collections)
            stack.callback(library.close)
            store = Store(self._data or _temporary_file(stack))
            stack.callback(store.close)
            turns = Turns(store, library, self._agent, self._pace)
            app = build_app(
                store=store, library=library, turns=turns, api_key=self._api_key, keep_alive=self._keep_alive
            )
            server = ServerThread(app, turns, listener)
            stack.callback(server.stop)
            server.start()
            self._running = _Running(_url_of(listener), collections)
            self._closing = stack.pop_all()
        return self

    def stop(self) -> None:
        """End the running turns, close all connections and let go of the files; does nothing when stopped."""
        self._running = None
        self._closing.close()

    def serve_forever(self, on_ready: Callable[[LocalService], object] | None = None) -> None:
        """Run in the foreground until Ctrl-C or SIGTERM, then stop cleanly and return.

        Call it from the main thread. `on_ready` is called with the service once it listens.

        Raises:
            ConfigurationError: As `start`.
        """
        with _until_signalled() as wait, self:
            if on_ready is not None:
                on_ready(self)
            wait()

    def __enter__(self) -> LocalService:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _require_running(self) -> _Running:
        if self._running is None:
            raise ConfigurationError("The service is not running; use it in a with block, or call start().")
        return self._running


class _Running:
    """What is known of a service while it runs."""

    def __init__(self, base_url: str, collections: Sequence[Collection]) -> None:
        self.base_url = base_url
        self.collections = collections


def _as_paths(docs: PathArgument | Sequence[PathArgument] | None) -> list[Path] | None:
    if docs is None:
        return None
    paths = [docs] if isinstance(docs, (str, os.PathLike)) else list(docs)
    return [Path(path) for path in paths]


def _read(paths: Sequence[Path] | None) -> list[Collection]:
    if paths is None:
        return [read_installed_packages()]
    resolved = [path.resolve() for path in paths]
    for position, path in enumerate(resolved):
        if path in resolved[:position]:
            raise ConfigurationError(f"{str(paths[position])!r} is given twice as docs; leave one out.")
    return [read_path(path) for path in paths]


def _temporary_file(stack: contextlib.ExitStack) -> Path:
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="llama-cloud-chat-"))
    return Path(folder, "sessions.db")


def _listen(host: str, port: int) -> socket.socket:
    """Bind and listen now, so that the port is known, and a port in use is noticed, at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, or asyncio does not switch off the delay of small packets: 40 ms per answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            # A port that was in use a moment ago can be taken again; on Windows this would share a live one.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"Port {port} on {host} cannot be used ({error.strerror}); choose another, or 0 for a free one."
        ) from None
    return listener


def _url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _check_loopback(host: str) -> str:
    if host == "localhost":
        return "127.0.0.1"
    try:
        if ipaddress.ip_address(host).is_loopback:
            return host
    except ValueError:
        pass
    raise ConfigurationError(f"{host!r} is not a loopback address; the service listens on this machine only.")


def _check_port(port: int) -> int:
    if not 0 <= port <= 65535:
        raise ConfigurationError(f"port must be from 0 to 65535, not {port}.")
    return port


def _check_seconds(name: str, value: float, *, allow_zero: bool) -> float:
    if not math.isfinite(value) or value < 0 or (value == 0 and not allow_zero):
        least = "0 or more" if allow_zero else "more than 0"
        raise ConfigurationError(f"{name} must be {least} seconds, not {value}.")
    return value


def _check_key(api_key: str) -> str:
    if not api_key or not api_key.isascii() or not api_key.isprintable() or api_key != api_key.strip():
        raise ConfigurationError("api_key must be printable ASCII without space around it, and not empty.")
    return api_key


@contextlib.contextmanager
def _until_signalled() -> Iterator[Callable[[], None]]:
    """Give a function that waits for Ctrl-C or SIGTERM; the handlers are put back afterwards."""
    signalled = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        signalled.set()

    def wait() -> None:
        # In slices: on Windows an endless wait would not notice Ctrl-C.
        while not signalled.wait(0.5):
            pass

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        raise ConfigurationError(
            "serve_forever() must be called from the main thread; elsewhere use a with block."
        ) from None
    try:
        yield wait
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
