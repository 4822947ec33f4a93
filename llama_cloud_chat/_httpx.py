"""Which httpx something is from: httpx, which this package needs, or httpx2, its continuation, which people may have.

Both have the same classes under the same names, and no class of one is an instance of the other's. What is annotated
as httpx's in this package may be httpx2's. That is never imported here: who gives something of it has imported it.
"""

from __future__ import annotations

import sys
from typing import Any, Protocol, TypeVar, runtime_checkable

import httpx

T = TypeVar("T")


class _Builder(Protocol):
    @property
    def is_closed(self) -> bool: ...

    def build_request(self, method: str, url: str, /, *, params: Any, json: Any, extensions: Any) -> Any: ...


class _Sender(_Builder, Protocol):
    def send(self, request: Any, /, *, stream: bool, auth: Any, follow_redirects: bool) -> Any: ...

    def close(self) -> None: ...


class _AsyncSender(_Builder, Protocol):
    async def send(self, request: Any, /, *, stream: bool, auth: Any, follow_redirects: bool) -> Any: ...

    async def aclose(self) -> None: ...


class HttpClient(_Sender, Protocol):
    """An `httpx.Client` or an `httpx2.Client`, for type checkers; nothing else is taken."""


class AsyncHttpClient(_AsyncSender, Protocol):
    """An `httpx.AsyncClient` or an `httpx2.AsyncClient`, for type checkers; nothing else is taken."""


@runtime_checkable
class HttpTimeout(Protocol):
    """An `httpx.Timeout` or an `httpx2.Timeout`, in seconds; None waits without end.

    Attributes:
        connect: For a connection to open.
        read: For the next bytes of an answer.
        write: For bytes to be taken.
        pool: For a free connection of the pool.
    """

    connect: float | None
    read: float | None
    write: float | None
    pool: float | None


def alike(*kinds: type[T]) -> tuple[type[T], ...]:
    """Return classes of httpx, and those that httpx2 calls the same, where somebody has imported it."""
    libraries = [httpx, *filter(None, [sys.modules.get("httpx2")])]
    # A module that is being imported does not have all of its names yet.
    return tuple(getattr(library, kind.__name__, kind) for library in libraries for kind in kinds)


def library_of(response: httpx.Response) -> Any:
    """Return the module that a response is from."""
    return httpx if isinstance(response, httpx.Response) else sys.modules["httpx2"]
