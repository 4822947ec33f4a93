"""The same requests as the official SDK, and answers of every age of the service."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
from llama_cloud import LlamaCloud

from llama_cloud_chat import (
    APIStatusError,
    Attachment,
    ChatClient,
    JobMetadata,
    NotFoundError,
    ProtocolError,
    ToolResult,
    UnknownEvent,
)

from ..support.clients import KEY, make_client
from ..support.server import Request, in_json, plain
from ..support.service import ChatService, FakeSession, Play
from ..support.turns import RECORDED, STYLES, told

Ask = Callable[[Any], Any]


def essence(request: Request) -> tuple[Any, ...]:
    """What two clients must agree on."""
    body = request.json
    return request.method, request.path, request.query, body or None, request.headers["authorization"]


def asked_by(service: ChatService, ask: Ask, client: Any) -> tuple[Any, ...]:
    before = len(service.requests)
    ask(client)
    (request,) = service.requests[before:]
    return essence(request)


@pytest.fixture
def sdk(service: ChatService) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = LlamaCloud(api_key=KEY, base_url=service.base_url, max_retries=0)
    yield client
    client.close()


SAME: dict[str, tuple[Ask, Ask]] = {
    "list": (lambda sdk: sdk.chat.list(), lambda ours: list(ours.list())),
    "list, page size": (lambda sdk: sdk.chat.list(page_size=7), lambda ours: list(ours.list(page_size=7))),
    "create": (lambda sdk: sdk.chat.create(index_ids=["idx-empty"]), lambda ours: ours.create()),
    "create, indexes": (
        lambda sdk: sdk.chat.create(index_ids=["a", "b"], shared_access="query"),
        lambda ours: ours.create(index_ids=["a", "b"], shared_access="query"),
    ),
    "retrieve": (lambda sdk: sdk.chat.retrieve("ses-1"), lambda ours: ours.retrieve("ses-1")),
    "get_summary": (lambda sdk: sdk.chat.get_summary("ses-1"), lambda ours: ours.get_summary("ses-1")),
    "stream": (
        lambda sdk: sdk.chat.stream("ses-1", index_ids=["idx-empty"], prompt="What?"),
        lambda ours: list(ours.stream("ses-1", "What?")),
    ),
    "stream, everything": (
        lambda sdk: sdk.chat.stream("ses-1", index_ids=["a"], prompt="Wäs? 🦁", require_all_indexes=True),
        lambda ours: list(ours.stream("ses-1", "Wäs? 🦁", ["a"], True)),
    ),
    "attachment": (
        lambda sdk: sdk.beta.attachments.get("screenshots/page_7.jpg", source_id="f 1"),
        lambda ours: ours.get_attachment(Attachment("screenshots/page_7.jpg", "f 1")),
    ),
    "delete": (lambda sdk: sdk.chat.delete("ses-1"), lambda ours: ours.delete("ses-1")),
}


@pytest.mark.parametrize("operation", SAME)
def test_every_operation_sends_what_the_official_sdk_sends(
    make: Any, service: ChatService, sdk: Any, operation: str
) -> None:
    theirs, ours = SAME[operation]
    client = make()
    service.add_session()
    client.retrieve("ses-1")
    expected = asked_by(service, theirs, sdk)
    service.sessions.setdefault("ses-1", FakeSession("ses-1"))
    if operation.startswith("stream"):
        service.sessions["ses-1"].turns.clear()
    assert asked_by(service, ours, client) == expected


@pytest.mark.parametrize("operation", SAME)
def test_the_project_is_sent_the_same_way(service: ChatService, sdk: Any, operation: str) -> None:
    _, ours = SAME[operation]
    scope = {"project_id": "prj", "organization_id": "org"}
    with make_client("sync", service.base_url, **scope) as client:
        service.add_session()
        client.retrieve("ses-1")
        ours(client)
        request = service.requests[-1]
    assert {name: request.query[name] for name in scope} == scope


@pytest.mark.parametrize("name", ["a/b", "a b", "é🦁", "a?b#c", "%2F", "a+b&c=d", "(x)!*'"])
def test_ids_lead_to_the_same_place_as_the_official_sdk_s(service: ChatService, sdk: Any, name: str) -> None:
    from urllib.parse import unquote

    with make_client("sync", service.base_url, max_retries=0) as client:
        for ask in (
            lambda one: (one.chat if one is sdk else one).get_summary(name),
            lambda one: (one.chat if one is sdk else one).delete(name),
        ):
            paths = []
            for one in (sdk, client):
                before = len(service.requests)
                with pytest.raises(Exception, match="404"):
                    ask(one)
                paths += [unquote(request.path) for request in service.requests[before:]]
            assert len(set(paths)) == 1


# The SDK of 2.6.0, the last one with set_title, sends `POST /api/v1/chat/{session_id}/title` with
# `{"first_message": ...}` and the project in the query; found by running it.


def test_a_title_is_set_as_the_sdk_of_2_6_did(client: Any, service: ChatService) -> None:
    session_id = service.add_session()
    summary = client.set_title(session_id, "What changed?")
    assert summary.generated_title == "What changed?"
    (request,) = service.requests
    assert essence(request) == (
        "POST",
        f"/api/v1/chat/{session_id}/title",
        {},
        {"first_message": "What changed?"},
        f"Bearer {KEY}",
    )


@pytest.mark.parametrize("status", [404, 405])
def test_a_service_that_no_longer_sets_titles_says_so_and_goes_on(
    client: Any, service: ChatService, status: int
) -> None:
    session = client.create()
    service.instead["title"].append([in_json({"detail": "Nope"}, status)])
    with pytest.raises(APIStatusError, match=str(status)) as caught:
        session.set_title("What?")
    assert isinstance(caught.value, NotFoundError) == (status == 404)
    assert session.ask("What?").is_complete


def test_a_bound_session_sends_its_own_indexes_and_an_unbound_one_those_of_the_call_or_the_environment(
    client: Any, service: ChatService
) -> None:
    bound, unbound = client.create(index_ids=["a"]), client.create(index_ids=[])
    bound.ask("1?")
    bound.ask("2?", index_ids=["a"])
    unbound.ask("3?")
    unbound.ask("4?", index_ids=["b"], require_all_indexes=False)
    assert [request.json for request in service.received("stream")] == [
        {"index_ids": ["a"], "prompt": "1?"},
        {"index_ids": ["a"], "prompt": "2?"},
        {"index_ids": ["idx-empty"], "prompt": "3?"},
        {"index_ids": ["b"], "prompt": "4?", "require_all_indexes": False},
    ]
    assert [request.json for request in service.received("create")] == [{"index_ids": ["a"]}, {}]


def test_a_handle_learns_the_indexes_its_session_is_bound_to(client: Any, service: ChatService) -> None:
    session = client.session(service.add_session(index_ids=["a"]))
    assert session.index_ids is None
    session.ask("1?")
    assert session.index_ids == ["a"]
    assert service.received("stream")[0].json["index_ids"] == ["a"]


# Answers.

SUMMARY = {"session_id": "ses-1", "last_updated_at": "2026-04-22T12:34:41.342245"}
NEWEST = {
    **SUMMARY,
    "generated_title": "Q3",
    "index_ids": ["a"],
    "job_metadata": {
        "duration_ms": 1.5,
        "is_error": False,
        "total_input_tokens": 3,
        "turns": 1,
        "export_config_ids": ["x"],
        "n": 1,
    },
    "shared_access": "read_only",
    "novelty": {"deep": 1},
}


def test_an_older_service_without_shared_access_is_read(client: Any, service: ChatService) -> None:
    service.instead["summary"].append([in_json(SUMMARY)])
    summary = client.get_summary("ses-1")
    assert (summary.session_id, summary.last_updated_at) == ("ses-1", "2026-04-22T12:34:41.342245")
    assert (summary.shared_access, summary.index_ids, summary.job_metadata, summary.generated_title) == (None,) * 4


def test_a_newer_service_s_fields_are_read_and_unknown_ones_stay_reachable(client: Any, service: ChatService) -> None:
    service.instead["summary"].append([in_json(NEWEST)])
    summary = client.get_summary("ses-1")
    assert summary.shared_access == "read_only"
    assert summary.job_metadata == JobMetadata(
        duration_ms=1.5, is_error=False, total_input_tokens=3, turns=1, export_config_ids=["x"], n=1
    )
    assert summary.novelty == {"deep": 1}
    service.instead["summary"].append([in_json({**NEWEST, "shared_access": "something new"})])
    assert client.get_summary("ses-1").shared_access == "something new"


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"session_id": 1, "last_updated_at": "x"}', b'{"session_id": "x"}', b"null"],
)
def test_an_answer_that_is_no_summary_is_a_protocol_error(client: Any, service: ChatService, body: bytes) -> None:
    service.instead["summary"].append([plain(200, body)])
    with pytest.raises(ProtocolError, match=r"get_summary.*base_url"):
        client.get_summary("ses-1")


def test_pages_are_followed_as_they_are_needed(client: Any, service: ChatService) -> None:
    pages = [
        {"items": [{**SUMMARY, "session_id": "a"}, {**SUMMARY, "session_id": "b"}], "next_page_token": "t/2&x"},
        {"items": [], "next_page_token": "t3"},
        {"items": [{**SUMMARY, "session_id": "c"}], "next_page_token": None},
    ]
    service.instead["list"].extend([[in_json(page)] for page in pages])
    summaries = client.list(page_size=2)
    assert service.requests == []
    assert [next(summaries).session_id, next(summaries).session_id] == ["a", "b"]
    assert len(service.requests) == 1
    assert [summary.session_id for summary in summaries] == ["c"]
    assert [request.query for request in service.requests] == [
        {"page_size": "2"},
        {"page_size": "2", "page_token": "t/2&x"},
        {"page_size": "2", "page_token": "t3"},
    ]


@pytest.mark.parametrize("end", [{}, {"next_page_token": None}, {"next_page_token": ""}])
def test_the_last_page_has_no_token(client: Any, service: ChatService, end: dict[str, Any]) -> None:
    service.instead["list"].append([in_json({"items": [], **end})])
    assert list(client.list()) == []
    assert len(service.requests) == 1


def test_a_list_that_leads_in_a_circle_is_a_protocol_error(client: Any, service: ChatService) -> None:
    page = {"items": [SUMMARY], "next_page_token": "t"}
    service.instead["list"].extend([[in_json(page)]] * 3)
    with pytest.raises(ProtocolError, match="do not end"):
        list(client.list())
    assert len(service.requests) == 2


@pytest.mark.parametrize("style", STYLES)
def test_a_session_is_read_with_its_turns_and_events(client: Any, service: ChatService, style: str) -> None:
    service.style = style  # type: ignore[assignment]
    session_id = service.add_session(("What?", RECORDED), ("And?", RECORDED))
    detail = client.retrieve(session_id)
    assert [turn.prompt for turn in detail.turns] == ["What?", "And?"]
    assert detail.turns[0].events == detail.turns[1].events
    assert [event.type for event in detail.events][1:] != []
    assert len(detail.events) == 2 * (1 + len(told(RECORDED, detail_style := service.style)))
    assert detail_style == style
    assert detail.turns is detail.turns
    assert "Let me" not in repr(detail)
    assert client.session(session_id).turns() == detail.turns


def test_a_history_holds_events_of_every_age(client: Any, service: ChatService) -> None:
    events: list[Any] = [
        {"type": "user_input", "content": "What?"},
        {"type": "citation", "content": "new"},
        {"call_id": "c", "name": "x", "result": None},
        {"type": "tool_call", "call_id": "c", "name": "x", "arguments": {}, "since": 3},
        {"type": "stop", "is_error": False},
    ]
    service.instead["retrieve"].append([in_json({**SUMMARY, "events": events})])
    (turn,) = client.retrieve("ses-1").turns
    assert isinstance(turn.events[0], UnknownEvent)
    assert isinstance(turn.events[1], ToolResult)
    assert turn.is_complete


def test_a_handle_offers_what_the_client_does(client: Any, service: ChatService) -> None:
    session = client.create(index_ids=["a"], shared_access="read_only")
    assert session.index_ids == ["a"]
    assert session.summary().session_id == session.session_id
    assert session.set_title("What?").generated_title == "What?"
    assert session.ask("What?").text == "You said: What?"
    assert [turn.text for turn in session.turns()] == ["You said: What?"]
    assert "".join(session.stream("And?").text_deltas()) == "You said: And?"
    assert session.delete() is None
    assert service.sessions == {}
    with pytest.raises(NotFoundError):
        session.ask("Still there?")


def test_the_documented_first_lines_work(service: ChatService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", KEY)
    monkeypatch.setenv("LLAMA_CLOUD_BASE_URL", service.base_url)
    service.plays.append(Play(RECORDED))
    with ChatClient() as client:
        session = client.create(index_ids=["idx-empty"])
        assert "".join(session.stream("What changed?").text_deltas()).endswith("It is 🦁.")
