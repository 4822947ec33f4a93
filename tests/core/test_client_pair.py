"""A client and its twin: either is enough, and what nobody else can close is closed."""

from __future__ import annotations

import copy
import gc
import pickle
from typing import Any

import pytest

from llama_cloud_chat import AsyncChatClient, ChatClient, ClientPair, ConfigurationError

KEY = "llx-k"


def test_one_kind_is_enough_and_its_twin_is_made() -> None:
    client, async_client = ChatClient(KEY), AsyncChatClient(KEY)
    pair = ClientPair(client)
    assert pair.client is client
    assert pair.async_client is client.as_async()
    pair = ClientPair(async_client=async_client)
    assert pair.async_client is async_client
    assert pair.client is async_client.as_sync()


def test_both_can_be_given() -> None:
    client, async_client = ChatClient(KEY), AsyncChatClient(KEY)
    pair = ClientPair(client, async_client)
    assert (pair.client, pair.async_client) == (client, async_client)


def test_with_neither_the_environment_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="LLAMA_CLOUD_API_KEY"):
        ClientPair()
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", KEY)
    assert ClientPair().client.config.api_key.get_secret_value() == KEY


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"client": "llx-k"}, "client must be of type ChatClient, not str"),
        ({"client": AsyncChatClient(KEY)}, "client must be of type ChatClient, not AsyncChatClient"),
        ({"async_client": ChatClient(KEY)}, "async_client must be of type AsyncChatClient, not ChatClient"),
    ],
)
def test_the_wrong_kind_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        ClientPair(**arguments)


def test_its_own_client_is_closed_when_nobody_uses_the_pair_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[ChatClient] = []

    def close(client: ChatClient) -> None:
        closed.append(client)

    monkeypatch.setattr(ChatClient, "close", close)
    made, given = ChatClient(KEY), ChatClient(KEY)
    pair, other = ClientPair(make=lambda: made), ClientPair(given)
    duplicate = copy.copy(pair)
    del pair
    gc.collect()
    assert closed == []
    del duplicate, other
    gc.collect()
    assert closed == [made]


def test_copies_are_the_same_pair() -> None:
    pair = ClientPair(ChatClient(KEY))
    assert copy.copy(pair) is copy.deepcopy(pair) is pair


def test_a_pickle_leaves_the_key_behind_and_arrives_as_twins(monkeypatch: pytest.MonkeyPatch) -> None:
    client = ChatClient(KEY, project_id="p")
    for pair in (ClientPair(client), ClientPair(client, client.as_async()), ClientPair(async_client=client.as_async())):
        pickled = pickle.dumps(pair)
        assert KEY.encode() not in pickled
        arrived = pickle.loads(pickled)
        assert arrived.client.config == arrived.async_client.config == client.config
        assert arrived.client.as_async() is arrived.async_client


def test_two_strangers_arrive_as_two_strangers() -> None:
    pair = ClientPair(ChatClient(KEY, project_id="p"), AsyncChatClient(KEY, project_id="q"))
    arrived = pickle.loads(pickle.dumps(pair))
    assert (arrived.client.config.project_id, arrived.async_client.config.project_id) == ("p", "q")


def test_it_is_shown_as_its_client() -> None:
    client = ChatClient(KEY)
    assert repr(ClientPair(client)) == repr(client)
    assert repr(ClientPair(async_client=client.as_async())) == repr(client.as_async())
