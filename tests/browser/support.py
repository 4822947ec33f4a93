"""The AI SDK as its registry has it, and endpoints that it talks to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, StreamingResponse

from llama_cloud_chat import (
    UI_MESSAGE_STREAM_HEADERS,
    AsyncChatClient,
    ChatClient,
    ChatError,
    aui_message_stream,
    messages_from_ui,
    ui_message_stream,
)

from ..support.listening import stop_accepting

HERE = Path(__file__).parent
CACHE = HERE.parent.parent / "build" / "ai-sdk"
_SECONDS = 100


def install() -> Path:
    """Install the package `ai` once for all test runs, and return its module.

    Raises:
        LookupError: It cannot be had here; the message says why.
    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise LookupError(f"{program} is not installed")
    wanted = (HERE / "package.json").read_bytes()
    if not CACHE.exists() or (CACHE / "package.json").read_bytes() != wanted:
        _install_anew()
    return CACHE / "node_modules/ai/dist/index.mjs"


def _install_anew() -> None:
    """Several workers may do so at once: each installs aside, and whoever is first wins."""
    CACHE.parent.mkdir(exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix="ai-sdk-", dir=CACHE.parent))
    shutil.copy(HERE / "package.json", aside)
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
    try:
        result = subprocess.run(command, cwd=aside, capture_output=True, text=True, timeout=_SECONDS, check=False)
        if result.returncode != 0:
            raise LookupError(f"npm cannot install the AI SDK: {result.stderr.strip()[:300]}")
        if CACHE.exists() and (CACHE / "package.json").read_bytes() != (aside / "package.json").read_bytes():
            shutil.rmtree(CACHE)
        with contextlib.suppress(OSError):  # another worker was first
            aside.rename(CACHE)
    except subprocess.TimeoutExpired:
        raise LookupError(f"npm did not install the AI SDK within {_SECONDS} seconds") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


class Page:
    """The AI SDK's chat in Node.

    Args:
        module: Where the package `ai` is.
        api: The endpoint it talks to.
    """

    def __init__(self, module: Path, api: str) -> None:
        self._command = ["node", str(HERE / "client.mjs"), module.as_uri(), api]

    def do(self, *steps: dict[str, Any]) -> list[dict[str, Any]]:
        """Do one thing after another; return what the page held after each."""
        environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        result = subprocess.run(
            self._command,
            input=json.dumps(steps),
            env=environment,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        held: list[dict[str, Any]] = json.loads(result.stdout)
        return held


def endpoints(sync_client: ChatClient, async_client: AsyncChatClient, index_ids: list[str]) -> FastAPI:
    """Return an app with an endpoint of each colour, as the documentation has them; it closes its clients."""

    @contextlib.asynccontextmanager
    async def until_the_end(_: FastAPI) -> AsyncIterator[None]:
        with sync_client:
            async with async_client:
                yield

    app = FastAPI(lifespan=until_the_end)

    @app.exception_handler(ChatError)
    def refuse(_: Request, error: ChatError) -> PlainTextResponse:
        return PlainTextResponse(error.message, 400)

    @app.post("/async")
    async def answer_async(request: Request) -> StreamingResponse:
        stream = async_client.converse(messages_from_ui(await request.body()), index_ids=index_ids)
        return StreamingResponse(aui_message_stream(stream), headers=UI_MESSAGE_STREAM_HEADERS)

    @app.post("/sync")
    async def answer(request: Request) -> StreamingResponse:
        stream = sync_client.converse(messages_from_ui(await request.body()), index_ids=index_ids)
        return StreamingResponse(ui_message_stream(stream), headers=UI_MESSAGE_STREAM_HEADERS)

    return app


class _Server(uvicorn.Server):
    """One that a browser may leave in the middle of anything, with no line left open."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            await stop_accepting(server)
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)


@contextlib.contextmanager
def serve(app: Any) -> Iterator[str]:
    """Serve an app on a loopback port; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = _Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


class Line:
    """A line to a server that can be cut.

    Args:
        upstream: The server's address.

    Attributes:
        address: Where the server is reached over this line.
    """

    def __init__(self, upstream: str) -> None:
        self._port = int(upstream.rpartition(":")[2])
        self._ends: set[asyncio.StreamWriter] = set()
        self._is_cut = False

    def __enter__(self) -> Line:
        listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_until_complete, args=(self._serve(listening),), daemon=True
        )
        self._over = asyncio.Event()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Break every connection, and every one that comes."""
        self._is_cut = True
        self._loop.call_soon_threadsafe(self._break)

    def mend(self) -> None:
        """Let connections through again."""
        self._is_cut = False

    def _break(self) -> None:
        for end in self._ends:
            end.transport.abort()

    async def _serve(self, listening: socket.socket) -> None:
        server = await asyncio.start_server(self._connect, sock=listening)
        await self._over.wait()
        await stop_accepting(server)
        self._break()
        while self._ends:  # noqa: ASYNC110  # the loop that closes them is this one
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # a socket is closed after its protocol has been told

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = {writer}
        self._ends |= ends
        try:
            if self._is_cut:
                return
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
            ends.add(back)
            self._ends |= ends
            if not self._is_cut:
                await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))
        finally:
            self._ends -= ends
            for end in ends:
                end.transport.abort()


async def _pass_on(source: asyncio.StreamReader, end: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65536):
            end.write(data)
            await end.drain()
    end.close()
