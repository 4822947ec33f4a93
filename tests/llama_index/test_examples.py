"""The examples in the docstrings run as they stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import llama_index_ext
from llama_index_ext import (
    LlamaCloudAgent,
    LlamaCloudChatEngine,
    LlamaCloudChatStore,
    LlamaCloudQueryEngine,
    LlamaCloudStreamingResponse,
)
from tests.llama_index.models import Says, Writer
from tests.support.examples import run_examples

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
    run_examples(documented, tmp_path, monkeypatch, judge=Says(answer="YES"), llm=Writer())
