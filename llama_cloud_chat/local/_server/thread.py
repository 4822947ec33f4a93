"""Runs the application on a socket that is already bound, on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.types import Scope

from .turns import Turns

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_DRAIN_SECONDS = 0.5
_GLANCE_SECONDS = 0.01
# Accepted, its transport made, its protocol told; and one to spare.
_ACCEPTING_ROUNDS = 4


class ServerThread:
    """The thread. Starting returns once the server answers, stopping once the thread is gone."""

    def __init__(self, turns: Turns, listener: socket.socket) -> None:
        self._turns = turns
        self._listener = listener
        self._thread: threading.Thread | None = None

    def start(self, app: FastAPI) -> None:
        """Begin to answer.

        Raises:
            RuntimeError: The server ended before it could.
        """
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=1,
            # Longer than clients keep an idle connection: closing one that is being taken up again drops a request.
            timeout_keep_alive=75,
        )
        self._server = _Server(config, self._turns)
        self._thread = threading.Thread(target=self._run, name="llama-cloud-chat service", daemon=True)
        self._thread.start()
        if not self._server.ready.wait(_START_SECONDS) or not self._server.started:
            raise RuntimeError("The service's server did not start.")

    def stop(self) -> None:
        """End the running turns, then the connections, then the thread."""
        if self._thread is not None:
            self._server.should_exit = True
            self._thread.join(_STOP_SECONDS)

    async def hang_up(self, scope: Scope) -> None:
        """Close the connection of a request, once what was sent is on its way."""
        for connection in self._server.connections_of(scope):
            while connection.transport.get_write_buffer_size() and not connection.transport.is_closing():  # noqa: ASYNC110
                await asyncio.sleep(_GLANCE_SECONDS)
            connection.transport.abort()
        await self.gone(scope)

    async def gone(self, scope: Scope) -> None:
        """Wait until the connection of a request is closed."""
        # An asyncio.Event would have to be set from inside uvicorn; and only a fault that was asked for waits here.
        while self._server.connections_of(scope):  # noqa: ASYNC110
            await asyncio.sleep(_GLANCE_SECONDS)

    def _run(self) -> None:
        try:
            asyncio.run(self._server.serve(sockets=[self._listener]))
        finally:
            # Whoever waits for the start must not wait for a server that failed.
            self._server.ready.set()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, turns: Turns) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self._turns = turns

    def connections_of(self, scope: Scope) -> list[Any]:
        """Return the connection a request came on, as a list that is empty once it is closed."""
        client = tuple(scope["client"] or ())
        connections: list[Any] = list(self.server_state.connections)
        return [each for each in connections if tuple(each.client or ()) == client]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await _stop_accepting(sockets or [])
        # Before the connections, so that every open stream gets its stop and ends by itself.
        await self._turns.close()
        closing = asyncio.create_task(super().shutdown(sockets))
        await asyncio.wait([closing], timeout=_DRAIN_SECONDS)
        # Those that are left have clients that do not read.
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await closing


async def _stop_accepting(listeners: list[socket.socket]) -> None:
    """Accept nobody else, and let those who were accepted become connections, which can then be closed.

    `asyncio.Server.close` alone forgets those on their way (its `_attach` refuses them): their sockets would stay open
    until the collector finds them, a ResourceWarning in whatever test of the user's comes then.
    """
    loop = asyncio.get_running_loop()
    for listener in listeners:
        with contextlib.suppress(NotImplementedError):  # Windows' own loop has no readers
            loop.remove_reader(listener)
    for _ in range(_ACCEPTING_ROUNDS):
        await asyncio.sleep(0)
