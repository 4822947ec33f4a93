"""The library that tests speak HTTP by: httpx, or httpx2 where HTTP_LIBRARY=httpx2 says so.

    from ..support.http import httpx

Clients that are given no `http_client` open their connections by it as well.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from llama_cloud_chat._transport.pools import Pools

httpx: Any = importlib.import_module(os.environ.get("HTTP_LIBRARY", "httpx"))


class _PoolsOfTheLibrary(Pools[Any]):
    def __init__(self, kind: type[Any], given: Any = None) -> None:
        super().__init__(getattr(httpx, kind.__name__), given)


def _use_for_own_connections() -> None:
    for room in ("threads", "tasks"):
        importlib.import_module(f"llama_cloud_chat._transport.{room}").Pools = _PoolsOfTheLibrary  # type: ignore[attr-defined]


if httpx.__name__ != "httpx":
    _use_for_own_connections()
