"""Runs the application on a socket that is already bound, on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading

import uvicorn
from fastapi import FastAPI

from ._turns import Turns

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_DRAIN_SECONDS = 0.5


class ServerThread:
    """The thread. Starting returns once the server answers, stopping once the thread is gone."""

    def __init__(self, app: FastAPI, turns: Turns, listener: socket.socket) -> None:
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
        )
        self._listener = listener
        self._server = _Server(config, turns)
        self._thread = threading.Thread(target=self._run, name="llama-cloud-chat service", daemon=True)

    def start(self) -> None:
        """Begin to answer.

        Raises:
            RuntimeError: The server ended before it could.
        """
        self._thread.start()
        if not self._server.ready.wait(_START_SECONDS) or not self._server.started:
            raise RuntimeError("The service's server did not start.")

    def stop(self) -> None:
        """End the running turns, then the connections, then the thread."""
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS)

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

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # First, so that every open stream gets its stop and ends by itself.
        await self._turns.close()
        closing = asyncio.create_task(super().shutdown(sockets))
        await asyncio.wait([closing], timeout=_DRAIN_SECONDS)
        # Those that are left have clients that do not read.
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await closing
