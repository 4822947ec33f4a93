"""Connections in several small pools, for httpcore looks at every connection of a pool at every request.

A thousand streams in one pool cost several times what the streams themselves do; a few dozen in each cost next to
nothing. While a client has no more to do than one pool holds, it has that pool alone.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import httpx

STREAMS_PER_POOL = 32
MOST_POOLS = 32

_LIMITS = httpx.Limits(max_connections=STREAMS_PER_POOL, max_keepalive_connections=STREAMS_PER_POOL)

H = TypeVar("H", httpx.Client, httpx.AsyncClient)


@dataclass(eq=False)
class Pool(Generic[H]):
    """A pool, and how many requests hold a connection of it or wait for one.

    Attributes:
        http: The httpx client whose pool it is.
        in_use: The number of requests.
    """

    http: H
    in_use: int = 0


class Pools(Generic[H]):
    """The pools of one client.

    Args:
        kind: The kind of httpx client to make them of.
        given: A client to use instead, for everything, whatever its limits are. It is not closed.
    """

    def __init__(self, kind: type[H], given: H | None = None) -> None:
        self._lock = threading.RLock()  # a stream may be collected, and let go, inside it
        self._kind: type[H] = kind
        self._is_given = given is not None
        self._pools: list[Pool[H]] = [] if given is None else [Pool(given)]
        self._make: Callable[[], H] | None = None

    def enter(self) -> Pool[H]:
        """Return the pool for one more request; to be left when its connection is free again."""
        with self._lock:
            pool = next((pool for pool in self._pools if self._is_given or pool.in_use < STREAMS_PER_POOL), None)
            if pool is None:
                pool = self._add() if len(self._pools) < MOST_POOLS else min(self._pools, key=lambda one: one.in_use)
            pool.in_use += 1
            return pool

    def _add(self) -> Pool[H]:
        if self._make is None:
            tls: ssl.SSLContext = httpx.create_ssl_context()  # slow to make, and the same for all
            self._make = partial(self._kind, limits=_LIMITS, verify=tls)
        pool = Pool(self._make())
        self._pools.append(pool)
        return pool

    def leave(self, pool: Pool[H]) -> H | None:
        """Take note that a request is over; return the client to close if its pool is needed no more."""
        with self._lock:
            pool.in_use -= 1
            if pool.in_use or self._is_given or pool not in self._pools[1:]:
                return None
            self._pools.remove(pool)
            return pool.http

    def clear(self) -> list[H]:
        """Forget all pools; return the clients to close."""
        with self._lock:
            if self._is_given:
                return []
            forgotten, self._pools = self._pools, []
            return [pool.http for pool in forgotten]
