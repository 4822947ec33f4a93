"""The examples in the docstrings run as they stand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable

import langchain_ext
from langchain_ext import ChatLlamaCloud, LlamaCloudChatMessageHistory, LlamaCloudChatTool
from tests.support.examples import run_examples


class Driver(GenericFakeChatModel):
    """A model that asks the tool, then says what it learnt."""

    def bind_tools(self, tools: Any, **_: Any) -> Runnable[Any, AIMessage]:
        return self


def driver() -> Driver:
    def messages() -> Iterator[AIMessage]:
        question = {"question": "How many days of leave are there?"}
        yield AIMessage("", tool_calls=[{"name": "ask_handbook", "args": question, "id": "1"}])
        yield AIMessage("You have 30 days.")

    return Driver(messages=messages())


@pytest.mark.parametrize(
    "documented", [langchain_ext, ChatLlamaCloud, LlamaCloudChatTool, LlamaCloudChatMessageHistory]
)
@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
@pytest.mark.filterwarnings("ignore::langchain_core._api.deprecation.LangChainDeprecationWarning")
@pytest.mark.filterwarnings("ignore:RunnableWithMessageHistory:DeprecationWarning")
def test_an_example_runs_as_it_stands(documented: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "create_agent" in documented.__doc__:
        pytest.importorskip("langchain.agents", reason="the example needs langchain")
        pytest.importorskip("langgraph.checkpoint.sqlite", reason="the example needs langgraph-checkpoint-sqlite")
    run_examples(documented, tmp_path, monkeypatch, driver=driver())
