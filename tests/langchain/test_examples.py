"""The examples in the docstrings run as they stand."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable

import langchain_ext
from langchain_ext import ChatLlamaCloud, LlamaCloudChatMessageHistory, LlamaCloudChatTool
from llama_cloud_chat.local import LocalService

LEAVE = "# Leave\n\nEveryone has 30 days of paid leave each year. Unused days expire in March.\n"


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
    (tmp_path / "leave.md").write_text(LEAVE)
    monkeypatch.chdir(tmp_path)
    with LocalService(tmp_path / "leave.md") as service:
        monkeypatch.setenv("LLAMA_CLOUD_API_KEY", service.api_key)
        monkeypatch.setenv("LLAMA_CLOUD_BASE_URL", service.base_url)
        example = doctest.DocTestParser().get_doctest(
            documented.__doc__,
            {"index_ids": service.index_ids, "driver": driver()},
            documented.__name__,
            None,
            None,
        )
        assert example.examples
        said: list[str] = []
        results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)
    assert results.failed == 0, "".join(said)
