"""The examples in the docstrings run as they stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import llama_cloud_chat
from llama_cloud_chat import AsyncChatClient, ChatClient, StructuredOutput, messages_from_ui, ui_message_stream
from tests.support.examples import run_examples


@pytest.mark.parametrize(
    "documented", [ChatClient, AsyncChatClient, StructuredOutput, messages_from_ui, ui_message_stream]
)
def test_an_example_runs_as_it_stands(documented: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_examples(documented, tmp_path, monkeypatch, **vars(llama_cloud_chat))
