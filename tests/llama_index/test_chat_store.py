"""The chat store: sessions as keys, for reading and deleting."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.storage.chat_store.base import BaseChatStore

from llama_cloud_chat import AsyncChatClient, ChatClient
from llama_index_ext import LlamaCloudChatEngine, LlamaCloudChatStore
from tests.llama_index.harness import echo, researcher

Serve = Callable[..., ChatClient]
AServe = Callable[..., AsyncChatClient]


def contents(messages: list[ChatMessage] | None) -> list[str | None] | None:
    return None if messages is None else [message.content for message in messages]


def test_its_keys_are_the_sessions(serve: Serve) -> None:
    client = serve(echo)
    store = LlamaCloudChatStore(client)
    assert isinstance(store, BaseChatStore)
    assert store.get_keys() == []
    ids = {client.create().session_id for _ in range(3)}
    assert set(store.get_keys()) == ids


def test_its_keys_can_be_the_sessions_of_some_indexes(tmp_path: Any) -> None:
    from llama_cloud_chat.local import LocalService

    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "one.md").write_text("Something to read.")
    folders = [tmp_path / name for name in "ab"]
    with LocalService(folders) as service, ChatClient(service.api_key, base_url=service.base_url) as client:
        first, second = service.index_ids
        bound = client.create([first]).session_id
        both = client.create([second, first]).session_id
        free = client.create([]).session_id
        assert LlamaCloudChatStore(client, index_ids=[first]).get_keys() == [bound]
        assert LlamaCloudChatStore(client, index_ids=[first, second]).get_keys() == [both]
        assert LlamaCloudChatStore(client, index_ids=[]).get_keys() == [free]


def test_messages_are_those_of_the_engine(serve: Serve) -> None:
    client = serve(researcher)
    engine = LlamaCloudChatEngine(client)
    engine.chat("How many?")
    assert engine.session_id is not None
    assert LlamaCloudChatStore(client).get_messages(engine.session_id) == engine.chat_history


def test_an_unknown_key_has_no_messages(serve: Serve) -> None:
    store = LlamaCloudChatStore(serve(echo))
    assert store.get_messages("ses-gone") == []
    assert store.delete_messages("ses-gone") is None


def test_deleting_deletes_the_session_and_returns_what_was_said(serve: Serve) -> None:
    client = serve(echo)
    engine = LlamaCloudChatEngine(client)
    engine.chat("a")
    assert engine.session_id is not None
    store = LlamaCloudChatStore(client)
    assert contents(store.delete_messages(engine.session_id)) == ["a", "1: a"]
    assert store.get_keys() == []


async def test_tasks_can_do_the_same(aserve: AServe) -> None:
    client = aserve(echo)
    engine = LlamaCloudChatEngine(async_client=client)
    await engine.achat("a")
    assert engine.session_id is not None
    store = LlamaCloudChatStore(async_client=client)
    assert await store.aget_keys() == [engine.session_id]
    assert contents(await store.aget_messages(engine.session_id)) == ["a", "1: a"]
    assert contents(await store.adelete_messages(engine.session_id)) == ["a", "1: a"]
    assert await store.aget_keys() == []
    assert await store.aget_messages(engine.session_id) == []
    assert await store.adelete_messages(engine.session_id) is None


async def test_writing_is_refused_with_the_reason(serve: Serve) -> None:
    store = LlamaCloudChatStore(serve(echo))
    message = ChatMessage(content="a")
    for write in (lambda: store.set_messages("k", [message]), lambda: store.add_message("k", message)):
        with pytest.raises(NotImplementedError, match="cannot be written"):
            write()
    for delete in (lambda: store.delete_message("k", 0), lambda: store.delete_last_message("k")):
        with pytest.raises(NotImplementedError, match="whole sessions"):
            delete()
    with pytest.raises(NotImplementedError, match="cannot be written"):
        await store.async_add_message("k", message)


def test_a_memory_over_it_can_be_read_but_not_put_to(serve: Serve) -> None:
    client = serve(echo)
    engine = LlamaCloudChatEngine(client)
    engine.chat("a")
    memory = ChatMemoryBuffer.from_defaults(
        chat_store=LlamaCloudChatStore(client), chat_store_key=engine.session_id, token_limit=10_000
    )
    assert contents(memory.get()) == ["a", "1: a"]
    with pytest.raises(NotImplementedError, match="cannot be written"):
        memory.put(ChatMessage(content="b"))


def test_it_can_be_pickled_without_its_key(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    client = serve(echo)
    key = client.config.api_key.get_secret_value()
    store = LlamaCloudChatStore(client)
    pickled = pickle.dumps(store)
    assert key.encode() not in pickled
    assert key not in repr(store) + str(store.to_dict())
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", key)
    copy = pickle.loads(pickled)
    assert copy.get_keys() == []
    copy._clients.client.close()
