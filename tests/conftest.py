"""Every test begins as in a process of its own: nothing is known of sessions and services, and one index is there."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from llama_cloud_chat._session.knowledge import SCOPES
from llama_cloud_chat._session.limits import PROMPT_LIMITS

from .support import http as _http  # noqa: F401  # which library this run speaks by

# A busy machine may take its time.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    SCOPES.begin_anew()
    PROMPT_LIMITS.begin_anew()
    # Tests that are about something else ask the index of a service without documents.
    monkeypatch.setenv("LLAMA_CLOUD_INDEX_IDS", "idx-empty")
