"""A server for all tests of a worker, and a database for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..support import postgres


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgres.Cluster]:
    with postgres.cluster() as cluster:
        yield cluster


@pytest.fixture
def database(cluster: postgres.Cluster) -> Iterator[str]:
    with cluster.database() as database:
        yield database


@pytest.fixture
def dsn(cluster: postgres.Cluster, database: str) -> str:
    return cluster.dsn(database)
