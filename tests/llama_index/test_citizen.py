"""Good citizens: pickled, copied, shared, and silent about secrets."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler

import llama_index_ext
from llama_cloud_chat import AsyncChatClient, ChatClient, ConfigurationError
from llama_index_ext import LlamaCloudAgent, LlamaCloudChatEngine, LlamaCloudChatStore, LlamaCloudQueryEngine
from tests.llama_index.harness import Gate, echo, researcher

Serve = Callable[..., ChatClient]
AServe = Callable[..., AsyncChatClient]

PARTS = [LlamaCloudChatEngine, LlamaCloudQueryEngine, LlamaCloudAgent, LlamaCloudChatStore]
ignores_pydantic = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")


def said(engine: LlamaCloudChatEngine) -> list[str | None]:
    return [message.content for message in engine.chat_history]


def test_a_pickled_engine_goes_on_without_its_key(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    client = serve(echo)
    key = client.config.api_key.get_secret_value()
    handler = LlamaDebugHandler(print_trace_on_end=False)
    handler.of_this_process = threading.Lock()  # type: ignore[attr-defined]
    engine = LlamaCloudChatEngine(client, callback_manager=CallbackManager([handler]))
    engine.chat("a")
    assert copy.deepcopy(engine).callback_manager.handlers == [handler]
    pickled = pickle.dumps(engine)
    assert key.encode() not in pickled
    monkeypatch.delenv("LLAMA_CLOUD_API_KEY", raising=False)
    arrived = pickle.loads(pickled)
    assert said(arrived) == ["a", "1: a"]
    with pytest.raises(ConfigurationError, match="no API key"):
        arrived.chat("b")
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", key)
    assert str(arrived.chat("b")) == "2: b"
    assert arrived.session_id == engine.session_id
    arrived._clients.client.close()


def test_a_pickled_engine_that_was_resumed_is_still_its_session(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    client = serve(echo)
    first = LlamaCloudChatEngine(client)
    first.chat("a")
    arrived = pickle.loads(pickle.dumps(LlamaCloudChatEngine(client, session_id=first.session_id)))
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", client.config.api_key.get_secret_value())
    assert arrived.session_id == first.session_id
    assert str(arrived.chat("b")) == "2: b"
    arrived._clients.client.close()


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy])
def test_a_copy_keeps_the_key_and_branches_off(serve: Serve, how: Callable[[Any], Any]) -> None:
    engine = LlamaCloudChatEngine(serve(echo))
    engine.chat("a")
    twin = how(engine)
    assert str(twin.chat("b")) == "2: b"
    assert twin.session_id == engine.session_id
    assert said(engine) == ["a", "1: a"]
    third = how(engine)
    assert str(third.chat("c")).startswith("1: This conversation")
    assert third.session_id != engine.session_id


def test_a_copy_made_while_a_turn_runs_does_not_disturb_it(serve: Serve) -> None:
    gate = Gate()
    engine = LlamaCloudChatEngine(serve(gate))
    pieces = engine.stream_chat("a").response_gen
    next(pieces)
    twin = copy.deepcopy(engine)
    gate.open.set()
    twin.chat("b")
    assert list(pieces) == ["two"]
    assert twin.session_id != engine.session_id


@ignores_pydantic
@pytest.mark.parametrize("how", [copy.deepcopy, lambda agent: pickle.loads(pickle.dumps(agent))])
def test_agents_can_be_copied_and_pickled(
    serve: Serve, how: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(echo)
    key = client.config.api_key.get_secret_value()
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", key)
    agent = LlamaCloudAgent("Researcher", client=client, verbose=False)
    assert key.encode() not in pickle.dumps(agent)
    twin = how(agent)
    assert twin.name == "Researcher"

    async def ask() -> str:
        output = await twin.run("a")
        await twin._clients.async_client.aclose()
        return str(output)

    assert asyncio.run(ask()) == "1: a"


@ignores_pydantic
@pytest.mark.parametrize("kind", PARTS)
def test_every_part_takes_the_same_clients_and_indexes(serve: Serve, kind: Any) -> None:
    parameters = inspect.signature(kind.__init__).parameters
    assert {"client", "async_client", "index_ids"} <= set(parameters)
    client = serve(echo)
    part = kind(client=client, index_ids=["idx-1"])
    assert client.config.api_key.get_secret_value() not in repr(part)


@ignores_pydantic
@pytest.mark.parametrize("kind", PARTS)
def test_no_part_works_without_a_key(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LLAMA_CLOUD_API_KEY", "LLAMA_PARSE_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ConfigurationError, match="no API key"):
        kind()


async def test_asynchronous_calls_run_side_by_side_on_one_loop(aserve: AServe) -> None:
    client = aserve(researcher)
    engines = [LlamaCloudChatEngine(async_client=client) for _ in range(10)]
    answers = await asyncio.gather(*(engine.achat("How many?") for engine in engines))
    assert {str(answer) for answer in answers} == {"There are 30 days.\n\nThey expire."}
    assert len({engine.session_id for engine in engines}) == 10


def test_everything_public_is_exported_and_documented() -> None:
    for name in llama_index_ext.__all__:
        assert inspect.getdoc(getattr(llama_index_ext, name))
    public = {
        name for name, value in vars(llama_index_ext).items() if inspect.isclass(value) or inspect.isfunction(value)
    }
    assert public == set(llama_index_ext.__all__)


def test_importing_it_imports_no_other_framework_and_no_service() -> None:
    code = (
        "import sys, llama_index_ext\n"
        "print([one for one in ('langchain_core', 'fastapi', 'typer', 'llama_cloud_chat.local') if one in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.strip() == "[]"
