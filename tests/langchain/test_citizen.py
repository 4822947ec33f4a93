"""A good citizen: settings, secrets, copies, pickles, caches."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.load import dumpd, dumps, loads
from langchain_core.messages import HumanMessage, trim_messages
from pydantic import SecretStr

import langchain_ext
from langchain_ext import ChatLlamaCloud, LlamaCloudChatMessageHistory, LlamaCloudChatTool
from llama_cloud_chat import ChatClient, ConfigurationError, Timeouts
from llama_cloud_chat.local import LocalService

from .conftest import Make
from .harness import added_up

KEY = "llx-very-secret"


def test_the_public_names() -> None:
    assert sorted(langchain_ext.__all__) == [
        "AnswerReader",
        "ChatLlamaCloud",
        "LlamaCloudChatMessageHistory",
        "LlamaCloudChatTool",
        "as_turns",
        "sources_as_documents",
    ]


def test_settings_come_from_arguments() -> None:
    model = ChatLlamaCloud(
        api_key=KEY,  # type: ignore[arg-type]  # pydantic makes a SecretStr of it
        base_url="https://api.cloud.eu.llamaindex.ai/",
        project_id="p",
        organization_id="o",
        timeout=30,
        max_retries=2,
        recovery_timeout=5,
    )
    config = model._clients.client.config
    assert config.api_key.get_secret_value() == KEY
    assert (config.base_url, config.project_id, config.organization_id) == (
        "https://api.cloud.eu.llamaindex.ai",
        "p",
        "o",
    )
    assert (config.timeout.idle, config.max_retries, config.recovery_timeout) == (30.0, 2, 5.0)
    assert model._clients.async_client.config == config
    assert ChatLlamaCloud(llama_cloud_api_key=SecretStr(KEY)).api_key == SecretStr(KEY)  # type: ignore[call-arg]


def test_timeouts_can_be_given_in_detail() -> None:
    detailed = ChatLlamaCloud(api_key=SecretStr(KEY), timeout=Timeouts(idle=7, total=70))
    assert detailed._clients.client.config.timeout == Timeouts(idle=7, total=70)
    foreign = ChatLlamaCloud(api_key=SecretStr(KEY), timeout=httpx.Timeout(3.0))
    assert foreign._clients.client.config.timeout.idle == 3.0


def test_a_timeout_of_httpx2_s_serves_as_well() -> None:
    httpx2 = pytest.importorskip("httpx2", reason="httpx2 needs Python 3.11")
    model = ChatLlamaCloud(api_key=SecretStr(KEY), timeout=httpx2.Timeout(3.0))
    assert model._clients.client.config.timeout.idle == 3.0
    assert pickle.loads(pickle.dumps(model)).timeout == httpx2.Timeout(3.0)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="LLAMA_CLOUD_API_KEY"):
        ChatLlamaCloud()
    monkeypatch.setenv("LLAMA_PARSE_API_KEY", "older-name")
    assert ChatLlamaCloud().api_key == SecretStr("older-name")
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", KEY)
    assert ChatLlamaCloud().api_key == SecretStr(KEY)
    assert LlamaCloudChatTool()._clients is LlamaCloudChatMessageHistory("s")._clients is ChatLlamaCloud()._clients


def test_a_client_that_is_given_is_used() -> None:
    client = ChatClient(KEY, base_url="https://api.cloud.eu.llamaindex.ai", project_id="p")
    model = ChatLlamaCloud(client=client)
    assert model._clients.client is client
    assert (model.base_url, model.project_id) == ("https://api.cloud.eu.llamaindex.ai", "p")


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", KEY)
    for shown in (ChatLlamaCloud(), LlamaCloudChatTool(), LlamaCloudChatMessageHistory("s")):
        assert KEY not in repr(shown)
        assert KEY not in repr(vars(shown))
    model = ChatLlamaCloud()
    assert KEY not in dumps(model)
    assert KEY not in str(dumpd(model))
    assert KEY not in str(model._identifying_params)
    assert KEY not in str(model._get_ls_params())
    assert KEY not in model.model_dump_json()
    assert model.lc_secrets == {"llama_cloud_api_key": "LLAMA_CLOUD_API_KEY"}


def test_traces_name_the_provider_and_the_model_asked_for(model: ChatLlamaCloud) -> None:
    params = model._get_ls_params(stop=["x"])
    assert params["ls_provider"] == "llama_cloud"
    assert params["ls_model_type"] == "chat"
    assert params["ls_stop"] == ["x"]
    assert model._get_ls_params(model="another")["ls_model_name"] == "another"


def test_a_pickle_leaves_the_key_behind_and_finds_it_in_the_environment(
    service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ChatLlamaCloud(api_key=SecretStr(service.api_key), base_url=service.base_url)
    pickled = pickle.dumps(model)
    assert service.api_key.encode() not in pickled
    arrived: ChatLlamaCloud = pickle.loads(pickled)
    assert arrived.api_key is None
    with pytest.raises(ConfigurationError, match="LLAMA_CLOUD_API_KEY"):
        arrived.invoke("text alone")
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", service.api_key)
    assert arrived.invoke("text alone").content == "Hello"
    arrived._clients.client.close()
    assert model.api_key == SecretStr(service.api_key)


def test_a_pickle_works_in_another_process(service: LocalService, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(
        pickle.dumps(ChatLlamaCloud(api_key=SecretStr(service.api_key), base_url=service.base_url))
    )
    program = f"import pickle; print(pickle.load(open({str(tmp_path / 'model')!r}, 'rb')).invoke('text alone').content)"
    environment = {**os.environ, "LLAMA_CLOUD_API_KEY": service.api_key, "PYTHONPATH": str(Path(__file__).parents[2])}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "Hello"


def test_copies_work_and_keep_the_key(model: ChatLlamaCloud) -> None:
    for one in (copy.copy(model), copy.deepcopy(model), model.model_copy(update={"keep_sessions": False})):
        assert one.api_key == model.api_key
        assert one.invoke("text alone").content == "Hello"


def test_the_global_cache_is_not_used(model: ChatLlamaCloud) -> None:
    set_llm_cache(InMemoryCache())
    try:
        first, second = model.invoke("one"), model.invoke("one")
    finally:
        set_llm_cache(None)
    assert first.response_metadata["session_id"] != second.response_metadata["session_id"]


def test_a_cache_can_still_be_asked_for(client: ChatClient) -> None:
    model = ChatLlamaCloud(client=client, cache=InMemoryCache())
    assert model.invoke("one").id == model.invoke("one").id


def test_importing_the_adapter_loads_no_service_and_no_other_framework() -> None:
    program = (
        "import sys, langchain_ext; "
        "print([name for name in sys.modules if name.split('.')[0] in ('llama_index', 'fastapi', 'uvicorn') "
        "or name.startswith('llama_cloud_chat.local')])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=True,
        capture_output=True,
        text=True,
    )
    assert ran.stdout.strip() == "[]"


def test_work_per_token_does_not_grow(model: ChatLlamaCloud) -> None:
    from langchain_ext._converter import ChunkWriter
    from llama_cloud_chat import TextDelta, Turn

    writer = ChunkWriter(Turn("x", session_id="s", number=1), None, None)
    first, *others = [next(iter(writer.feed(TextDelta("word ", 0)))) for _ in range(1000)]
    assert first.message.response_metadata
    for chunk in others:
        lean: dict[str, Any] = {**chunk.message.response_metadata, **chunk.message.additional_kwargs}
        assert lean == {}


def test_a_message_can_be_asked_as_any_input_langchain_takes(model: ChatLlamaCloud) -> None:
    from langchain_core.prompts import ChatPromptTemplate

    chain = ChatPromptTemplate.from_messages([("human", "{word} alone")]) | model
    assert chain.invoke({"word": "text"}).content == "Hello"
    assert model.invoke([("user", "text alone")]).content == "Hello"
    assert model.invoke([HumanMessage("text alone")]).content == "Hello"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("index_id", "index_ids"), ("session", "session_id"), ("apikey", "api_key"), ("xyz", "It takes")],
)
def test_a_name_that_is_not_known_is_an_error_that_says_which_was_meant(
    client: ChatClient, wrong: str, right: str
) -> None:
    with pytest.raises(ConfigurationError, match=right):
        ChatLlamaCloud(client=client, **{wrong: "a"})  # type: ignore[arg-type]


def test_the_tool_knows_its_names_too(client: ChatClient) -> None:
    with pytest.raises(ConfigurationError, match="'index_ids'"):
        LlamaCloudChatTool(client=client, index_id="a")  # type: ignore[call-arg]


def test_an_option_of_the_client_says_where_it_belongs(client: ChatClient) -> None:
    with pytest.raises(ConfigurationError, match=r"client=ChatClient\(long_prompts=\.\.\.\)"):
        ChatLlamaCloud(client=client, long_prompts="parts")  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match=r"client=ChatClient\(api_key=\.\.\.\)"):
        LlamaCloudChatTool(api_key="key")  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match=r"client=ChatClient\(ledger=\.\.\.\)"):
        ChatLlamaCloud(client=client).bind(ledger=None)


def test_calls_know_their_names(model: ChatLlamaCloud) -> None:
    with pytest.raises(ConfigurationError, match="'session_id'"):
        model.bind(sesion_id="a")
    with pytest.raises(ConfigurationError, match="'index_ids'"):
        model.invoke("hi", index_id="a")
    with pytest.raises(ConfigurationError, match="'key'"):
        list(model.stream("hi", keys="a"))


def test_what_frameworks_pass_by_themselves_may_pass(client: ChatClient) -> None:
    model = ChatLlamaCloud(client=client, temperature=0, max_tokens=9)  # type: ignore[call-arg]
    assert model.bind(temperature=1, ls_structured_output_format=None).invoke("text alone").content == "Hello"


def test_under_one_key_the_service_is_asked_once(make: Make, client: ChatClient) -> None:
    session_id = client.create().session_id
    model = make(session_id=session_id).bind(key=f"question in {session_id}")
    first, second = model.invoke("one"), added_up(model.stream("one"))
    assert first.text == second.text == "turn 1: one"
    assert [turn.prompt for turn in client.session(session_id).turns()] == ["one"]


def test_the_profile_tells_the_truth(model: ChatLlamaCloud) -> None:
    profile: Any = getattr(model, "profile", None)
    if not hasattr(BaseChatModel, "_resolve_model_profile"):
        pytest.skip("this langchain-core asks no model for its profile")
    assert profile is not None
    assert (profile["text_inputs"], profile["image_inputs"], profile["tool_calling"]) == (True, False, False)


def test_tokens_are_estimated_without_a_download(model: ChatLlamaCloud) -> None:
    assert 5 <= model.get_num_tokens("word " * 10) <= 30
    messages = [HumanMessage("word " * 100), HumanMessage("short")]
    assert trim_messages(messages, max_tokens=20, token_counter=model) == messages[1:]
    counting = model.model_copy(update={"custom_get_token_ids": lambda text: [1] * len(text)})
    assert counting.get_num_tokens("four") == len(counting.get_token_ids("four")) == 4
    with pytest.raises(NotImplementedError, match="custom_get_token_ids"):
        model.get_token_ids("four")


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
def test_a_model_that_was_written_down_is_read_again(service: LocalService, client: ChatClient) -> None:
    read = inspect.signature(loads).parameters
    allowed: Any = {"allowed_objects": [ChatLlamaCloud]} if "allowed_objects" in read else {}
    arrived = loads(
        dumps(ChatLlamaCloud(client=client, keep_sessions=False, output_version="v1")),
        secrets_map={"LLAMA_CLOUD_API_KEY": service.api_key},
        valid_namespaces=["langchain_ext"],
        **allowed,
    )
    assert (arrived.keep_sessions, arrived.output_version) == (False, "v1")
    assert arrived.invoke("text alone").text == "Hello"
    arrived._clients.client.close()


def test_traces_know_the_model(model: ChatLlamaCloud) -> None:
    written = dumpd(model)
    assert (written["type"], written["id"]) == ("constructor", ["langchain_ext", "chat_models", "ChatLlamaCloud"])
    assert written["kwargs"]["llama_cloud_api_key"] == {"lc": 1, "type": "secret", "id": ["LLAMA_CLOUD_API_KEY"]}
