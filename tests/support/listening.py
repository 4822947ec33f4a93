"""How a server of the tests ends: without forgetting whoever was about to be connected."""

from __future__ import annotations

import asyncio

# Accepted, its transport made, its protocol told, and what the protocol begins then.
_ROUNDS = 4


async def stop_accepting(server: asyncio.Server) -> None:
    """Close a server once everybody whom it has accepted is connected.

    `Server.close` alone forgets those whose connections are being made (`Server._attach` refuses them): their sockets
    stay open until the collector finds them, which fails whatever test comes then.
    """
    loop = asyncio.get_running_loop()
    for listener in server.sockets:
        loop.remove_reader(listener)
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)
    server.close()
