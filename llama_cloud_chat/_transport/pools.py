"""Connections in several small pools, for httpcore looks at every connection of a pool at every request.

A thousand streams in one pool cost several times what the streams themselves do; a few dozen in each cost next to
nothing. While a client has no more to do than one pool holds, it has that pool alone.

What is for this machine has pools of its own, which know of no proxy, whatever the environment says.

The child of a fork begins with none. Its parent's connections stay its parent's: the child neither uses nor closes
them, but its copies of their descriptors lead nowhere, or they would hold the lines that the parent hangs up.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import httpx

from llama_cloud_chat._errors import ConfigurationError
from llama_cloud_chat._fork import FreshInChild
from llama_cloud_chat._httpx import alike

from .line import lead_nowhere

STREAMS_PER_POOL = 32
MOST_POOLS = 32

_LIMITS = httpx.Limits(max_connections=STREAMS_PER_POOL, max_keepalive_connections=STREAMS_PER_POOL)
# Where a redirect may lead from elsewhere.
_PAST_THE_PROXY: dict[str, None] = {"all://localhost": None, "all://127.0.0.1": None, "all://[::1]": None}

H = TypeVar("H", httpx.Client, httpx.AsyncClient)


@dataclass(eq=False)
class Pool(Generic[H]):
    """A pool, and how many requests hold a connection of it or wait for one.

    Attributes:
        http: The httpx client whose pool it is.
        is_local: Whether it is for this machine.
        in_use: The number of requests.
        process: The process whose connections it has.
    """

    http: H
    is_local: bool = False
    in_use: int = 0
    process: int = field(default_factory=os.getpid)
    _wires: weakref.WeakSet[Any] = field(default_factory=weakref.WeakSet)

    @property
    def is_ours(self) -> bool:
        """Whether it is this process's, and not its parent's."""
        return self.process == os.getpid()

    def note(self, response: httpx.Response) -> None:
        """Take note of the connection that a response comes by."""
        wire = response.extensions.get("network_stream")
        if wire is not None:
            self._wires.add(wire)

    def abandon(self) -> None:
        """Leave the connections to the parent."""
        for wire in list(self._wires):
            lead_nowhere(wire)
        _PARENTS.append(self)


_PARENTS: list[Pool[Any]] = []
"""Kept until the process ends: closing them could wait for a lock that a thread of the parent held."""


class Pools(FreshInChild, Generic[H]):
    """The pools of one client.

    Args:
        kind: The kind of httpx client to make them of.
        given: A client to use instead, for everything, whatever its limits are. It is not closed.
    """

    def __init__(self, kind: type[H], given: H | None = None) -> None:
        self._kind: type[H] = kind
        self._given: H | None = given
        self._makers: dict[bool, Callable[[], H]] = {}
        self._pools: list[Pool[H]] = []
        super().__init__()

    def _begin_anew(self) -> None:
        self._lock = threading.RLock()  # a stream may be collected, and let go, inside it
        if self._given is None:
            for pool in self._pools:
                pool.abandon()
            self._pools = []
        else:
            self._pools = [Pool(self._given)]

    def enter(self, *, is_local: bool = False) -> Pool[H]:
        """Return the pool for one more request; to be left when its connection is free again.

        Args:
            is_local: Whether the request is for this machine.

        Raises:
            ConfigurationError: The client that was given cannot be used, or none can be made.
        """
        if self._given is not None:
            _GIVEN.use(self._given)
        with self._lock:
            alike = self._pools if self._given is not None else self._alike(is_local)
            pool = next((pool for pool in alike if self._given is not None or pool.in_use < STREAMS_PER_POOL), None)
            if pool is None:
                pool = self._add(is_local) if len(alike) < MOST_POOLS else min(alike, key=lambda one: one.in_use)
            pool.in_use += 1
            return pool

    def _alike(self, is_local: bool) -> list[Pool[H]]:
        return [pool for pool in self._pools if pool.is_local == is_local]

    def _add(self, is_local: bool) -> Pool[H]:
        with _naming_the_environment():
            make = self._makers.get(is_local)
            if make is None:  # certificates are slow to read, and the same for all
                make = partial(self._kind, limits=_LIMITS, **(_local() if is_local else _far()))
                self._makers[is_local] = make
            pool = Pool(make(), is_local)
        self._pools.append(pool)
        return pool

    def leave(self, pool: Pool[H]) -> H | None:
        """Take note that a request is over; return the client to close if its pool is needed no more."""
        with self._lock:
            pool.in_use -= 1
            if pool.in_use or self._given is not None or pool not in self._alike(pool.is_local)[1:]:
                return None
            self._pools.remove(pool)
            return pool.http

    def clear(self) -> list[H]:
        """Forget all pools; return the clients to close."""
        with self._lock:
            if self._given is not None:
                return []
            forgotten, self._pools = self._pools, []
            return [pool.http for pool in forgotten]


def _far() -> dict[str, Any]:
    return {"verify": httpx.create_ssl_context(), "mounts": _PAST_THE_PROXY}


def _local() -> dict[str, Any]:
    """Say how to reach this machine: whatever the environment says, but for certificates that can be read."""
    try:
        certificates = httpx.create_ssl_context()
    except OSError:
        certificates = httpx.create_ssl_context(trust_env=False)
    return {"verify": certificates, "trust_env": False}


@contextlib.contextmanager
def _naming_the_environment() -> Iterator[None]:
    """Say which settings of the environment to look at where httpx cannot use them."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"The certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be read ({error.strerror or error}). "
            "Correct it, or pass http_client=."
        ) from None
    except ImportError:
        raise ConfigurationError(
            "The environment names a SOCKS proxy (ALL_PROXY, HTTPS_PROXY or HTTP_PROXY), which httpx needs a package "
            "for: pip install 'httpx[socks]'. Or name another proxy, or pass http_client=."
        ) from None
    except alike(ValueError, httpx.InvalidURL):  # not quoted: it may hold a password
        raise ConfigurationError(
            "The environment's proxy settings cannot be used. ALL_PROXY, HTTPS_PROXY and HTTP_PROXY must be addresses "
            "such as http://proxy:3128, and NO_PROXY must hold names and single addresses, no networks of IPv6. "
            "Correct them, or pass http_client=."
        ) from None


class _GivenClients(FreshInChild):
    """Which httpx clients that people gave have connections of this process, and which have their parent's."""

    def __init__(self) -> None:
        self._used: weakref.WeakSet[Any] = weakref.WeakSet()
        self._parents: weakref.WeakSet[Any] = weakref.WeakSet()
        super().__init__()

    def _begin_anew(self) -> None:
        self._parents |= self._used
        self._used = weakref.WeakSet()

    def use(self, http: httpx.Client | httpx.AsyncClient) -> None:
        """Take note that requests go through a client.

        Raises:
            ConfigurationError: It has connections of another process, or is closed.
        """
        if http in self._parents:
            raise ConfigurationError(
                "The http_client was used before this process was forked, so that its connections are the parent's. "
                "Make both, it and this client, after the fork; or pass no http_client, then this client has "
                "connections of its own in each process."
            )
        if http.is_closed:
            raise ConfigurationError("The http_client is closed. Keep it open for as long as this client is used.")
        self._used.add(http)


_GIVEN = _GivenClients()
