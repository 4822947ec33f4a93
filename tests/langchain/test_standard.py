"""LangChain's own suites for chat models, against the embedded service."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any, ClassVar

import pytest
import pytest_asyncio
from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_ext import ChatLlamaCloud
from llama_cloud_chat import ChatClient
from llama_cloud_chat.local import AgentTurn, LocalService, speak

from .harness import WireEvent, scripted_agent

# What is skipped, and why: everything that binds tools (the agent's tools run on the server, `bind_tools` refuses
# others), images, audio and files as input (the service takes text), another model by name (the service chooses its
# model), and the timing of recorded streams (nothing is recorded). What was written down cannot be loaded: LangChain
# loads only classes that langchain-core maps.


class TestUnits(ChatModelUnitTests):
    """The model by itself."""

    chat_model_class: ClassVar[type[BaseChatModel]] = ChatLlamaCloud  # type: ignore[assignment]
    chat_model_params: ClassVar[dict[str, Any]] = {"api_key": "key"}  # type: ignore[assignment]
    has_tool_calling = False
    has_structured_output = True
    supports_json_mode = True

    @pytest.mark.xfail(reason="Written down it can be (test_citizen); LangChain loads only the classes that it knows.")
    def test_serdes(self, model: BaseChatModel, snapshot: Any) -> None:
        super().test_serdes(model, snapshot)

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        environment = {
            "LLAMA_CLOUD_API_KEY": "key-of-the-environment",
            "LLAMA_CLOUD_BASE_URL": "https://api.cloud.eu.llamaindex.ai",
            "LLAMA_CLOUD_PROJECT_ID": "project",
            "LLAMA_CLOUD_ORGANIZATION_ID": "organization",
        }
        expected = {
            "llama_cloud_api_key": "key-of-the-environment",
            "api_key": "key-of-the-environment",
            "base_url": "https://api.cloud.eu.llamaindex.ai",
            "project_id": "project",
            "organization_id": "organization",
        }
        return environment, {}, expected


def obedient(turn: AgentTurn) -> Iterable[WireEvent]:
    """Do what the prompt says: end with an object if one is asked for; else as the scripted agent."""
    if "JSON object of this type" not in turn.prompt:
        return scripted_agent(turn)
    joke = {"setup": "Why do cats sit on keyboards?", "punchline": "To keep an eye on the mouse."}
    return [*speak("text", ["Here it is: ", json.dumps(joke)])]


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
class TestIntegration(ChatModelIntegrationTests):
    """The model at work."""

    chat_model_class: ClassVar[type[BaseChatModel]] = ChatLlamaCloud  # type: ignore[assignment]
    has_tool_calling = False
    has_structured_output = True
    supports_json_mode = True
    supports_model_override = False

    @pytest_asyncio.fixture(autouse=True)
    async def _clients(self) -> AsyncIterator[None]:
        with (
            LocalService([], agent=obedient) as service,
            ChatClient(service.api_key, base_url=service.base_url) as client,
        ):
            async with client.as_async() as async_client:
                self._params = {"client": client, "async_client": async_client}
                yield

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return self._params
