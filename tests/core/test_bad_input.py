"""Arguments that cannot work: an error that names the argument, before any request."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from llama_cloud_chat import (
    AsyncChatClient,
    Attachment,
    ChatClient,
    ConfigurationError,
    MemoryLedger,
    Message,
    Timeouts,
)
from llama_cloud_chat._config import make_config

from ..support.clients import KEY
from ..support.http import httpx
from ..support.service import ChatService

BAD_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"api_key": None}, "API key"),
    ({"api_key": ""}, "api_key"),
    ({"api_key": "  "}, "api_key"),
    ({"api_key": "two words"}, "api_key"),
    ({"api_key": "llx-\u2011dash"}, "api_key"),
    ({"api_key": "a\r\nX-Header: b"}, "api_key"),
    ({"api_key": 7}, "api_key"),
    ({"api_key": b"llx"}, "api_key"),
    ({"base_url": "api.example.com"}, "base_url"),
    ({"base_url": "ftp://api.example.com"}, "base_url"),
    ({"base_url": "https://"}, "base_url"),
    ({"base_url": "https://user:pass@api.example.com"}, "base_url"),
    ({"base_url": "https://api.example.com?a=b"}, "base_url"),
    ({"base_url": "https://api.example.com#a"}, "base_url"),
    ({"base_url": "https://a\0b"}, "base_url"),
    ({"base_url": 7}, "base_url"),
    ({"project_id": ""}, "project_id"),
    ({"project_id": 7}, "project_id"),
    ({"organization_id": " "}, "organization_id"),
    ({"timeout": -1}, "timeout"),
    ({"timeout": 0}, "timeout"),
    ({"timeout": "10"}, "timeout"),
    ({"timeout": True}, "timeout"),
    ({"timeout": math.nan}, "timeout"),
    ({"timeout": Timeouts(idle=-1)}, "timeout.idle"),
    ({"timeout": Timeouts(total=0)}, "timeout.total"),
    ({"timeout": Timeouts(connect="5")}, "timeout.connect"),  # type: ignore[arg-type]
    ({"timeout": math.inf}, "timeout.*without end"),
    ({"timeout": 1e12}, "timeout"),
    ({"timeout": Timeouts(pool=math.inf)}, "timeout.pool"),
    ({"project_id": "half \ud83d"}, "project_id"),
    ({"max_retries": -1}, "max_retries"),
    ({"max_retries": 1.5}, "max_retries"),
    ({"max_retries": True}, "max_retries"),
    ({"recovery_timeout": -1}, "recovery_timeout"),
    ({"recovery_timeout": None}, "recovery_timeout"),
    ({"recovery_timeout": math.nan}, "recovery_timeout"),
    ({"max_event_bytes": 0}, "max_event_bytes"),
    ({"max_event_bytes": "1"}, "max_event_bytes"),
    ({"ledger": "ledger.db"}, "ledger must be a MemoryLedger"),
    ({"ledger": MemoryLedger}, "ledger must be a MemoryLedger"),
]


@pytest.mark.parametrize("kind", [ChatClient, AsyncChatClient])
@pytest.mark.parametrize(("settings", "named"), BAD_SETTINGS)
def test_a_setting_that_cannot_work_is_named(kind: Any, settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        kind(**{"api_key": KEY, **settings})
    assert "pass@" not in str(caught.value)


def test_a_blank_key_in_the_environment_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", " ")
    with pytest.raises(ConfigurationError, match="LLAMA_CLOUD_API_KEY"):
        make_config()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, Timeouts()),
        (30, Timeouts(connect=5.0, idle=30.0)),
        (2, Timeouts(connect=2.0, idle=2.0)),
        (Timeouts(total=9), Timeouts(total=9)),
        (httpx.Timeout(7), Timeouts(connect=7, idle=7, pool=7)),
        (httpx.Timeout(None), Timeouts(connect=None, idle=None, pool=None)),
    ],
)
def test_timeouts_come_in_several_forms(given: Any, expected: Timeouts) -> None:
    assert make_config(api_key=KEY, timeout=given).timeout == expected


def test_a_total_shorter_than_the_silence_allowed_bounds_it() -> None:
    assert Timeouts(idle=60, total=3).as_httpx().as_dict() == {"connect": 5, "read": 3, "write": 3, "pool": 60}
    assert Timeouts(idle=None).as_httpx().read is None


ELEVEN = [f"idx-{number}" for number in range(11)]


def test_no_indexes_are_not_taken_for_those_of_the_environment(client: Any, service: ChatService) -> None:
    session = client.session("ses-1")
    for ask in (
        lambda: client.stream("ses-1", "What?", index_ids=[]),
        lambda: session.ask("What?", []),
        lambda: client.converse([Message("user", "What?")], index_ids=()),
    ):
        with pytest.raises(ConfigurationError, match="index_ids is empty"):
            ask()
    assert service.requests == []


@pytest.mark.parametrize("index_ids", ["idx-1", b"idx", ELEVEN, [""], [" "], [None], [7], 7, {"idx-1"}, {"idx": 1}])
def test_index_ids_that_are_no_list_of_ids_are_refused(client: Any, service: ChatService, index_ids: Any) -> None:
    session = client.session("ses-1")
    for ask in (
        lambda: client.create(index_ids=index_ids),
        lambda: client.stream("ses-1", "What?", index_ids=index_ids),
        lambda: session.stream("What?", index_ids),
        lambda: session.ask("What?", index_ids),
        lambda: client.converse([Message("user", "What?")], index_ids=index_ids),
    ):
        with pytest.raises(ConfigurationError, match="index_ids"):
            ask()
    assert service.requests == []


def test_ten_indexes_are_fine(client: Any, service: ChatService) -> None:
    session = client.create(index_ids=tuple(ELEVEN[:10]))
    assert session.index_ids == ELEVEN[:10]
    assert service.requests[0].json == {"index_ids": ELEVEN[:10]}


@pytest.mark.parametrize("prompt", ["", "  \n", None, 7, b"What?", ["What?"]])
def test_a_prompt_that_asks_nothing_is_refused(client: Any, service: ChatService, prompt: Any) -> None:
    session = client.session("ses-1")
    for ask in (
        lambda: client.stream("ses-1", prompt),
        lambda: session.stream(prompt),
        lambda: session.ask(prompt),
    ):
        with pytest.raises(ConfigurationError, match="prompt"):
            ask()
    assert service.requests == []


@pytest.mark.parametrize("session_id", ["", "  ", None, 7])
def test_a_session_id_that_is_blank_is_refused(client: Any, service: ChatService, session_id: Any) -> None:
    for ask in (
        lambda: client.session(session_id),
        lambda: client.stream(session_id, "What?"),
        lambda: client.retrieve(session_id),
        lambda: client.get_summary(session_id),
        lambda: client.set_title(session_id, "x"),
        lambda: client.delete(session_id),
    ):
        with pytest.raises(ConfigurationError, match="session_id"):
            ask()
    assert service.requests == []


@pytest.mark.parametrize("session_id", ["", "  ", 7])
def test_a_session_id_to_converse_in_that_is_blank_is_refused(
    client: Any, service: ChatService, session_id: Any
) -> None:
    with pytest.raises(ConfigurationError, match="session_id"):
        list(client.converse([Message("user", "What?")], session_id=session_id))
    assert service.requests == []


@pytest.mark.parametrize("title", ["", " ", None, 7])
def test_a_title_from_nothing_is_refused(client: Any, service: ChatService, title: Any) -> None:
    with pytest.raises(ConfigurationError, match="first_message"):
        client.set_title("ses-1", title)
    assert service.requests == []


@pytest.mark.parametrize("page_size", [0, -1, True, 1.5, "3"])
def test_a_page_of_nothing_is_refused(client: Any, service: ChatService, page_size: Any) -> None:
    with pytest.raises(ConfigurationError, match="page_size"):
        list(client.list(page_size))
    assert service.requests == []


@pytest.mark.parametrize("shared_access", ["", "write", 7])
def test_an_access_that_does_not_exist_is_refused(client: Any, service: ChatService, shared_access: Any) -> None:
    with pytest.raises(ConfigurationError, match="shared_access"):
        client.create(shared_access=shared_access)
    assert service.requests == []


def test_other_indexes_than_a_session_is_bound_to_are_refused(client: Any, service: ChatService) -> None:
    session = client.create(index_ids=["a", "b"])
    with pytest.raises(ConfigurationError, match="bound to the indexes"):
        session.ask("What?", index_ids=["c"])
    assert service.prompts == []
    assert session.ask("What?", index_ids=["b", "a"]).number == 1


@pytest.mark.parametrize(
    "messages", [[], [Message("assistant", "Hi.")], [Message("user", " ")], [Message("system", "Be brief.")]]
)
def test_messages_with_nothing_to_ask_are_refused(client: Any, service: ChatService, messages: Any) -> None:
    with pytest.raises(ConfigurationError):
        client.converse(messages)
    assert service.requests == []


HALF = "half an emoji: \ud83d"


@pytest.mark.parametrize("messages", ["What?", [{"role": "user", "content": "What?"}], [None]])
def test_what_is_no_message_is_refused(client: Any, service: ChatService, messages: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be a list of Message, not of"):
        client.converse(messages)
    assert service.requests == []


def test_half_a_character_is_refused_wherever_it_would_be_sent(client: Any, service: ChatService) -> None:
    asks: list[tuple[str, Callable[[], Any]]] = [
        ("prompt", lambda: client.stream("ses-1", HALF)),
        ("session_id", lambda: client.stream(HALF, "What?")),
        ("session_id", lambda: client.retrieve(HALF)),
        ("index_ids", lambda: client.create(index_ids=[HALF])),
        ("index_ids", lambda: client.stream("ses-1", "What?", index_ids=[HALF])),
        ("first_message", lambda: client.set_title("ses-1", HALF)),
        ("attachment_name", lambda: client.get_attachment(Attachment(HALF, "file-1"))),
        ("messages", lambda: client.converse([Message("user", HALF), Message("user", "What?")])),
        ("messages", lambda: client.converse([Message("assistant", "Hi.", None, "ses-1", 1), Message("user", HALF)])),
    ]
    for named, ask in asks:
        with pytest.raises(ConfigurationError, match=f"{named} holds half a character"):
            ask()
    assert service.requests == []


@pytest.mark.parametrize("rendered", ["", "  ", None])
def test_a_transcript_rendered_to_nothing_is_refused_before_a_session_is_opened(
    client: Any, service: ChatService, rendered: Any
) -> None:
    with pytest.raises(ConfigurationError, match="prompt"):
        client.converse([Message("system", "Be brief."), Message("user", "What?")], render=lambda _: rendered)
    assert service.requests == []


@pytest.mark.parametrize("freshness", [-1, math.nan, "10", None])
def test_a_freshness_that_is_no_time_is_refused(client: Any, service: ChatService, freshness: Any) -> None:
    with pytest.raises(ConfigurationError, match="freshness"):
        client.converse([Message("user", "What?")], freshness=freshness)
    assert service.requests == []
