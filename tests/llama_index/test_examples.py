"""The examples in the docstrings run as they stand."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import pytest

import llama_index_ext
from llama_cloud_chat.local import LocalService
from llama_index_ext import (
    LlamaCloudAgent,
    LlamaCloudChatEngine,
    LlamaCloudChatStore,
    LlamaCloudQueryEngine,
    LlamaCloudStreamingResponse,
)
from tests.llama_index.models import Says, Writer

LEAVE = "# Leave\n\nEveryone has 30 days of paid leave each year. Unused days expire in March.\n"

DOCUMENTED = [
    llama_index_ext,
    LlamaCloudChatEngine,
    LlamaCloudStreamingResponse,
    LlamaCloudQueryEngine,
    LlamaCloudAgent,
    LlamaCloudChatStore,
]


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
@pytest.mark.parametrize("documented", DOCUMENTED)
def test_an_example_runs_as_it_stands(documented: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leave.md").write_text(LEAVE)
    with LocalService(tmp_path / "leave.md") as service:
        monkeypatch.setenv("LLAMA_CLOUD_API_KEY", service.api_key)
        monkeypatch.setenv("LLAMA_CLOUD_BASE_URL", service.base_url)
        names = {"index_ids": service.index_ids, "judge": Says(answer="YES"), "llm": Writer()}
        example = doctest.DocTestParser().get_doctest(documented.__doc__, names, documented.__name__, None, None)
        assert example.examples
        said: list[str] = []
        results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)
    assert results.failed == 0, "".join(said)
