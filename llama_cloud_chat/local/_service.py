"""The embedded service: the chat API on a port of this machine."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import signal
import socket
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, TypeAlias

from llama_cloud_chat._config import check_count, check_key, check_wait, is_loopback
from llama_cloud_chat._errors import ConfigurationError

from ._agents.choose import agent_from
from ._agents.extractive import extractive_agent
from ._agents.protocol import Agent
from ._library.documents import NO_DOCUMENTS, Collection, Skipped, list_installed_packages, list_path
from ._library.index import Index, OnProgress, remove_index
from ._library.pictures import Pictures
from ._library.tools import Library
from ._server.app import build_app
from ._server.faults import Fault, Faults, Operation
from ._server.indexes import Catalogue
from ._server.store import Store
from ._server.thread import ServerThread
from ._server.turns import Turns

PathArgument: TypeAlias = "str | os.PathLike[str]"


class LocalService:
    """LlamaCloud's chat API on this machine, for development and tests, with the limits that are published for it.

        with LocalService(docs="handbook/") as service:
            client = ChatClient(service.api_key, base_url=service.base_url)
            print(client.create(service.index_ids).ask("How many days of leave are there?").text)

    It listens on loopback unless told otherwise. Sessions are kept in `data` and survive a restart, or the death, of
    the process. Documents are indexed at the start; with `data` the index is kept beside it, in a file of the same name
    with `-index` after it, so that only what has changed is read the next time; what is not among `docs` any more is
    dropped from it, unless there are none at all. That file can be deleted at any time.

    Sessions are seen by their own project and organisation (UUIDs) alone; the documents belong to the service, and
    every project may ask them. An index has two ids, `id` and `export_config_id`; either names it.

    Args:
        docs: A folder or file of `.md`, `.txt`, `.rst`, `.html`, `.csv`, `.docx` and `.pdf` documents, or a list of
            them: each becomes one index. None reads the descriptions of the Python packages installed in this
            environment; `[]` makes one index with nothing in it, since every prompt has to name one.
        data: The SQLite file that keeps the sessions; it is made if it does not exist. None keeps them until
            the service is stopped.
        host: The address to listen on.
        port: The port to listen on; 0 takes a free one.
        allow_network: Whether `host` may be an address that other machines reach. The key and everything else is
            then sent over the network unencrypted; a warning says so at the start.
        pace: Seconds to wait before each delta, so that a stream can be watched.
        api_key: The key that clients must send; by default a new one that nobody can guess.
        agent: Who answers. By default sentences are quoted from the passages that match. Otherwise a function, see
            `Agent`; a LangChain chat model, or its name as `init_chat_model` takes it; a LlamaIndex LLM; or a list
            of events to say at every turn, see `scripted_agent`. Models are given the same retrieval tools.
        keep_alive: After how many seconds a comment is sent on a stream, so that a silent one is known to
            live.
        url_seconds: For how long the URL of an attachment is good.
        max_prompt_chars: How many characters a prompt may hold. The service's own limit is 1000; None lifts it, for
            tests of something else.
        titles: Whether sessions can be titled on request, as the service could for a few days in 2026; otherwise
            that is a 404, as it is there now. Sessions are titled after their first message in any case.
        on_progress: Called while documents are read: with how many are done, how many there are, and the name of
            the next one, "" at the end. Not called if nothing has changed.

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
        allow_network: bool = False,
        pace: float = 0.0,
        api_key: str | None = None,
        agent: Agent | Iterable[str | dict[str, Any]] | Any | None = None,
        keep_alive: float = 15.0,
        url_seconds: float = 300.0,
        max_prompt_chars: int | None = 1000,
        titles: bool = False,
        on_progress: OnProgress | None = None,
    ) -> None:
        self._docs = _as_paths(docs)
        self._data = None if data is None else Path(data)
        self._host = _check_host(host, allow_network=allow_network)
        self._port = _check_port(port)
        self._pace = check_wait("pace", pace, zero=True)
        self._keep_alive = check_wait("keep_alive", keep_alive)
        self._url_seconds = check_wait("url_seconds", url_seconds)
        self._api_key = secrets.token_urlsafe(32) if api_key is None else check_key(api_key).get_secret_value()
        self._agent = extractive_agent if agent is None else agent_from(agent)
        self._max_prompt_chars = (
            None if max_prompt_chars is None else check_count("max_prompt_chars", max_prompt_chars, least=1)
        )
        self._titles = titles
        self._on_progress = on_progress
        self._faults = Faults()
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
    def document_counts(self) -> dict[str, int]:
        """How many documents of each index were read, by its id."""
        running = self._require_running()
        skipped = {each.path for each in running.skipped}
        return {each.index_id: sum(entry.path not in skipped for entry in each.entries) for each in running.collections}

    @property
    def skipped(self) -> list[Skipped]:
        """The files and links of the folders that were passed over, and why."""
        return list(self._require_running().skipped)

    def start(self) -> LocalService:
        """Read the documents, open the data file and begin to listen.

        Returns:
            The service itself.

        Raises:
            ConfigurationError: A folder, file or port cannot be used; nothing is left behind.
        """
        if self._running is not None:
            raise ConfigurationError("This service is already running.")
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(contextlib.closing(_listen(self._host, self._port)))
            documents = _list(self._docs)
            data = self._data or _temporary_file("sessions.db", stack)
            store = Store(data)
            # After the store, which makes sure that no other service is at work on these files.
            _leave_nothing_new(data, store, stack)
            stack.callback(store.close)
            # Without documents nothing is indexed; what an earlier start has read is left for a later one.
            index = Index(_index_of(data) if documents else _temporary_file("index", stack))
            stack.callback(index.close)
            skipped = index.update(documents, self._on_progress)
            collections = documents or [NO_DOCUMENTS]
            catalogue = Catalogue(collections)
            library = Library(index, [each.index_id for each in collections])
            turns = Turns(store, catalogue, library, self._agent, self._pace)
            server = ServerThread(turns, listener)
            app = build_app(
                store=store,
                catalogue=catalogue,
                turns=turns,
                pictures=Pictures(library.file, seconds=self._url_seconds),
                faults=self._faults,
                line=server,
                api_key=self._api_key,
                keep_alive=self._keep_alive,
                max_prompt_chars=self._max_prompt_chars,
                titles=self._titles,
            )
            stack.callback(server.stop)
            server.start(app)
            self._running = _Running(_url_of(listener), collections, skipped)
            self._closing = stack.pop_all()
        if not is_loopback(self._host):
            warnings.warn(
                f"The service listens on {self._host}, where other machines can reach it, and speaks plain HTTP: its"
                " key and everything said can be read on the way.",
                stacklevel=2,
            )
        return self

    def fail_next(
        self,
        *,
        refuse: bool = False,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        taken: bool = False,
        cut_after: int | None = None,
        stall_after: int | None = None,
        stop_with: str | None = None,
        pace: float | None = None,
        on: Operation = "stream",
        times: int = 1,
    ) -> None:
        """Let the next request of an operation go wrong, to see how a client takes it.

            service.fail_next(status=429, headers={"Retry-After": "1"})
            service.fail_next(cut_after=300)

        Give one of `refuse`, `status`, `cut_after`, `stall_after`, `stop_with` and `pace`. Faults asked for one after
        the other happen one after the other; without any the service behaves.

        Args:
            refuse: Close the connection without an answer.
            status: Answer with this status, 400 to 599.
            headers: Headers of that answer.
            body: Its body: bytes, or anything to be sent as JSON; by default `{"detail": ...}`.
            taken: With `refuse` and `status`: do what was asked for all the same, so that only the answer is lost.
                Otherwise the request is not looked at.
            cut_after: Close the connection after so many bytes of the answer's body.
            stall_after: Send so many bytes of the answer's body, then nothing, and hold the connection open.
            stop_with: End the turn at once, with a `stop` that says error and this reason.
            pace: Answer this turn slowly: so many seconds before each delta.
            on: The operation that goes wrong; `stop_with` and `pace` belong to "stream".
            times: How often.

        Raises:
            ConfigurationError: The arguments do not go together.
        """
        fault = Fault(refuse, status, headers or {}, body, taken, cut_after, stall_after, stop_with, pace)
        self._faults.add(fault, on, times)

    def fail_no_more(self) -> None:
        """Forget the faults that were asked for and have not happened yet."""
        self._faults.clear()

    def stop(self) -> None:
        """End the running turns, close all connections and let go of the files; does nothing when stopped."""
        self._running = None
        self._closing.close()

    def serve_forever(self, on_ready: Callable[[LocalService], object] | None = None) -> None:
        """Run in the foreground until Ctrl-C or SIGTERM, then stop cleanly and return.

        Call it from the main thread.

        Args:
            on_ready: Called with the service once it listens.

        Raises:
            ConfigurationError: As `start`.
            KeyboardInterrupt: Ctrl-C came while the documents were still being read.
        """
        if threading.current_thread() is not threading.main_thread():
            raise ConfigurationError("serve_forever() must be called from the main thread; elsewhere use a with block.")
        with self, _until_signalled() as wait:
            if on_ready is not None:
                on_ready(self)
            wait()
            # Here, where one more Ctrl-C does not break it off.
            self.stop()

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

    def __init__(self, base_url: str, collections: Sequence[Collection], skipped: Sequence[Skipped]) -> None:
        self.base_url = base_url
        self.collections = collections
        self.skipped = skipped


def _as_paths(docs: PathArgument | Sequence[PathArgument] | None) -> list[Path] | None:
    if docs is None:
        return None
    paths = [docs] if isinstance(docs, (str, os.PathLike)) else list(docs)
    return [Path(path) for path in paths]


def _list(paths: Sequence[Path] | None) -> list[Collection]:
    if paths is None:
        return [list_installed_packages()]
    resolved = [path.resolve() for path in paths]
    for position, path in enumerate(resolved):
        if path in resolved[:position]:
            raise ConfigurationError(f"{str(paths[position])!r} is given twice as docs; leave one out.")
    return [list_path(path) for path in paths]


def _temporary_file(name: str, stack: contextlib.ExitStack) -> Path:
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="llama-cloud-chat-"))
    return Path(folder, name)


def _index_of(data: Path) -> Path:
    return Path(f"{data}-index")


def _leave_nothing_new(data: Path, store: Store, stack: contextlib.ExitStack) -> None:
    """If the start fails, remove the files that it has made; one that is interrupted can go on from them."""
    has_index = _index_of(data).exists()

    def clean(kind: type[BaseException] | None, error: object, traceback: object) -> None:
        if kind is None or not issubclass(kind, Exception):
            return
        if store.is_new:
            data.unlink(missing_ok=True)
        if not has_index:
            remove_index(_index_of(data))

    stack.push(clean)


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
    if ipaddress.ip_address(host).is_unspecified:
        # It listens everywhere; this is where the machine itself finds it.
        host = "::1" if ":" in host else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _check_host(host: str, *, allow_network: bool) -> str:
    host = "127.0.0.1" if host == "localhost" else host
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ConfigurationError(f"{host!r} is not an address to listen on; give a loopback address.") from None
    if not allow_network and not is_loopback(host):
        raise ConfigurationError(
            f"{host!r} is not a loopback address, so other machines could reach the service; if that is wanted,"
            " say allow_network=True."
        )
    return host


def _check_port(port: int) -> int:
    if not 0 <= port <= 65535:
        raise ConfigurationError(f"port must be from 0 to 65535, not {port}.")
    return port


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

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wait
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
