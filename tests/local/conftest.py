"""A running service, and a client for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from llama_cloud_chat.local import LocalService
from tests.local.harness import Api, write_docs


@pytest.fixture
def handbook(tmp_path: Path) -> Path:
    return write_docs(tmp_path / "handbook")


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def start(opened: ExitStack) -> Callable[..., LocalService]:
    def start_service(docs: Any = (), **options: Any) -> LocalService:
        return opened.enter_context(LocalService(docs, **options))

    return start_service


@pytest.fixture
def connect(opened: ExitStack) -> Callable[[LocalService], Api]:
    def connect_to(service: LocalService) -> Api:
        api = Api(service)
        opened.enter_context(api.http)
        return api

    return connect_to


@pytest.fixture
def service(start: Callable[..., LocalService], handbook: Path) -> LocalService:
    return start(handbook)


@pytest.fixture
def api(service: LocalService, connect: Callable[[LocalService], Api]) -> Api:
    return connect(service)
