"""A pytest fixture: the embedded service, and the environment that leads clients to it.

    def test_my_program(llama_cloud_chat_service):
        assert my_program.ask("Hello?") == "Hello!"

pytest finds it by itself once the package is installed. Every test has a service of its own, without documents
unless it asks for some:

    @pytest.mark.llama_cloud_chat(docs="handbook/", agent=["Hello!"])
    def test_my_program(llama_cloud_chat_service):
        llama_cloud_chat_service.fail_next(status=429, headers={"Retry-After": "1"})
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from llama_cloud_chat.local import LocalService


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line(
        "markers", "llama_cloud_chat(docs=[], **options): how llama_cloud_chat_service is made, as LocalService"
    )


@pytest.fixture
def llama_cloud_chat_service(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalService]:
    """A running `LocalService` that clients without arguments connect to.

    `LLAMA_CLOUD_API_KEY`, `LLAMA_CLOUD_BASE_URL` and `LLAMA_CLOUD_INDEX_IDS` lead to it; a project or organisation of
    the environment is left out. The mark `llama_cloud_chat` takes the arguments of `LocalService`, by name.
    """
    # Only now: pytest loads this module in every project of the environment.
    from llama_cloud_chat.local import LocalService  # noqa: PLC0415

    mark = request.node.get_closest_marker("llama_cloud_chat")
    options = mark.kwargs if mark else {}
    with LocalService(**{"docs": [], **options}) as service:
        monkeypatch.setenv("LLAMA_CLOUD_API_KEY", service.api_key)
        monkeypatch.setenv("LLAMA_CLOUD_BASE_URL", service.base_url)
        monkeypatch.setenv("LLAMA_CLOUD_INDEX_IDS", ",".join(service.index_ids))
        monkeypatch.delenv("LLAMA_CLOUD_PROJECT_ID", raising=False)
        monkeypatch.delenv("LLAMA_CLOUD_ORGANIZATION_ID", raising=False)
        yield service
