"""Statuses and bodies, asked for in bare HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llama_cloud_chat import Message, render_transcript
from llama_cloud_chat.local import LocalService
from tests.local.harness import Api, write_docs

STREAM = "/api/v1/chat/{}/messages/stream"


def field_of(answer: Any) -> list[Any]:
    """The place a 422 complains about, in FastAPI's own shape."""
    assert answer.status_code == 422, answer.text
    (problem,) = answer.json()["detail"]
    assert set(problem) >= {"type", "loc", "msg", "input"}
    return list(problem["loc"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/chat"),
        ("POST", "/api/v1/chat"),
        ("GET", "/api/v1/chat/ses-1"),
        ("DELETE", "/api/v1/chat/ses-1"),
        ("GET", "/api/v1/chat/ses-1/summary"),
        ("POST", "/api/v1/chat/ses-1/title"),
        ("POST", "/api/v1/chat/ses-1/messages/stream"),
        ("GET", "/api/v1/beta/attachments/a%2Fb.jpg"),
        ("GET", "/nowhere"),
    ],
)
@pytest.mark.parametrize("key", [None, "Bearer wrong", "Basic {}", "{}", "Bearer {} x"])
def test_without_the_key_everything_is_401(
    api: Api, service: LocalService, method: str, path: str, key: str | None
) -> None:
    del api.http.headers["Authorization"]
    headers = {} if key is None else {"Authorization": key.format(service.api_key)}
    answer = api.http.request(method, path, headers=headers, content=b"{not json")
    assert answer.status_code == 401
    assert "API key" in answer.json()["detail"]


def test_the_description_of_the_api_needs_no_key(api: Api) -> None:
    del api.http.headers["Authorization"]
    described = api.http.get("/openapi.json").json()
    stream = described["paths"]["/api/v1/chat/{session_id}/messages/stream"]["post"]
    assert {"200", "401", "404", "409", "422"} <= set(stream["responses"])
    assert "text/event-stream" in stream["responses"]["200"]["content"]
    assert stream["security"] == [{"HTTPBearer": []}]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/v1/chat/{}", None),
        ("GET", "/api/v1/chat/{}/summary", None),
        ("DELETE", "/api/v1/chat/{}", None),
        ("POST", STREAM, {"index_ids": ["idx-1"], "prompt": "x"}),
    ],
)
def test_an_unknown_session_is_404(api: Api, method: str, path: str, body: Any) -> None:
    answer = api.http.request(method, path.format("ses-unknown"), json=body)
    assert answer.status_code == 404
    assert "ses-unknown" in answer.json()["detail"]


@pytest.mark.parametrize("name", ["page_7.jpg", "screenshots%2Fpage_7.jpg", "..%2F..%2Fetc%2Fpasswd"])
def test_an_attachment_that_is_not_there_is_404(api: Api, name: str) -> None:
    answer = api.http.get(f"/api/v1/beta/attachments/{name}", params={"source_id": "dfl-1"})
    assert answer.status_code == 404
    assert "no attachment" in answer.json()["detail"]
    assert field_of(api.http.get(f"/api/v1/beta/attachments/{name}")) == ["query", "source_id"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"prompt": "x"}, ["body", "index_ids"]),
        ({"index_ids": ["i"]}, ["body", "prompt"]),
        ({"index_ids": ["i"], "prompt": ""}, ["body", "prompt"]),
        ({"index_ids": ["i"], "prompt": " \n\t"}, ["body", "prompt"]),
        ({"index_ids": ["i"], "prompt": 7}, ["body", "prompt"]),
        ({"index_ids": ["i"], "prompt": "x" * 1001}, ["body", "prompt"]),
        ({"index_ids": [], "prompt": "x"}, ["body", "index_ids"]),
        ({"index_ids": None, "prompt": "x"}, ["body", "index_ids"]),
        ({"index_ids": ["i"], "prompt": "x", "require_all_indexes": "perhaps"}, ["body", "require_all_indexes"]),
    ],
)
def test_a_message_that_is_not_valid_is_422_and_not_taken_in(api: Api, body: Any, field: list[str]) -> None:
    session_id = api.create()
    assert field_of(api.http.post(STREAM.format(session_id), json=body)) == field
    assert api.events(session_id) == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"index_ids": ["i"] * 11}, ["body", "index_ids"]),
        ({"index_ids": "idx"}, ["body", "index_ids"]),
        ({"index_ids": ["idx-unknown"]}, ["body", "index_ids", 0]),
        ({"shared_access": "everybody"}, ["body", "shared_access"]),
    ],
)
def test_a_session_that_cannot_be_opened_is_422(api: Api, body: Any, field: list[Any]) -> None:
    assert field_of(api.http.post("/api/v1/chat", json=body)) == field
    assert api.http.get("/api/v1/chat").json()["items"] == []


def test_ten_indexes_can_be_bound_and_eleven_cannot(
    tmp_path: Path, start: Callable[..., LocalService], connect: Callable[[LocalService], Api]
) -> None:
    folders = [write_docs(tmp_path / str(number), {"a.md": f"Text {number}."}) for number in range(11)]
    service = start(folders)
    api = connect(service)
    session_id = api.create(index_ids=service.index_ids[:10])
    assert api.summary(session_id)["index_ids"] == service.index_ids[:10]
    assert api.http.post("/api/v1/chat", json={"index_ids": service.index_ids}).status_code == 422


@pytest.mark.parametrize("body", [b"{", b"", b"[1", b'"text"', b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_not_json_is_refused(api: Api, body: bytes) -> None:
    answer = api.http.post(STREAM.format(api.create()), content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["detail"]


@pytest.mark.parametrize("prompt", [r'"\ud83d"', "NaN", "[NaN, Infinity, -Infinity]", "1" * 5000])
def test_a_refusal_can_repeat_whatever_came_in(api: Api, prompt: str) -> None:
    answer = api.http.post(
        STREAM.format(api.create()),
        content=f'{{"index_ids": ["i"], "prompt": {prompt}}}',
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code in (400, 422)
    assert answer.json()["detail"]


def test_a_prompt_holds_a_thousand_characters_whatever_they_are(api: Api) -> None:
    session_id = api.create()
    answer = api.post(session_id, "🎉" * 1001)
    assert answer.status_code == 422
    assert answer.json() == {
        "detail": [
            {
                "type": "string_too_long",
                "loc": ["body", "prompt"],
                "msg": "String should have at most 1000 characters",
                "input": "🎉" * 1001,
                "ctx": {"max_length": 1000},
            }
        ]
    }
    assert api.events(session_id) == []
    assert api.ask(session_id, "🎉" * 1000)[-1]["type"] == "stop"


@pytest.mark.parametrize(("limit", "fits", "does_not_fit"), [(7, 7, 8), (None, 100_000, None)])
def test_another_length_of_prompts_can_be_chosen(
    start: Callable[..., LocalService],
    connect: Callable[[LocalService], Api],
    limit: int | None,
    fits: int,
    does_not_fit: int | None,
) -> None:
    api = connect(start(agent=["Hello!"], max_prompt_chars=limit))
    session_id = api.create()
    assert api.ask(session_id, "x" * fits)[-1]["type"] == "stop"
    if does_not_fit is not None:
        (problem,) = api.post(session_id, "x" * does_not_fit).json()["detail"]
        assert (problem["type"], problem["ctx"]) == ("string_too_long", {"max_length": limit})


def test_a_prompt_names_an_index_at_least(api: Api) -> None:
    (problem,) = api.post(api.create(), index_ids=[]).json()["detail"]
    assert (problem["type"], problem["loc"], problem["input"]) == ("too_short", ["body", "index_ids"], [])
    assert problem["ctx"]["min_length"] == 1


def test_a_prompt_may_name_more_indexes_than_a_session_is_bound_to(api: Api) -> None:
    gone = [f"idx-{number}" for number in range(11)]
    events = api.ask(api.create(), "How many days of leave?", index_ids=[*api.index_ids, *gone])
    assert events[-1]["skipped_index_ids"] == gone


@pytest.mark.parametrize("name", ["project_id", "organization_id"])
@pytest.mark.parametrize("value", ["mine", "", "123"])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/v1/chat"), ("POST", "/api/v1/chat"), ("GET", "/api/v1/indexes")]
)
def test_projects_and_organisations_are_uuids(api: Api, name: str, value: str, method: str, path: str) -> None:
    assert field_of(api.http.request(method, path, params={name: value})) == ["query", name]


def test_a_session_is_created_with_201_and_deleted_with_204(api: Api) -> None:
    created = api.http.post("/api/v1/chat")
    assert created.status_code == 201
    assert api.http.delete(f"/api/v1/chat/{created.json()['session_id']}").status_code == 204


def test_a_session_can_be_opened_without_a_body(api: Api) -> None:
    assert api.http.post("/api/v1/chat").json()["index_ids"] is None


@pytest.mark.parametrize("given", ["own", "reordered", "other ids"])
def test_a_bound_session_takes_its_own_indexes(
    tmp_path: Path, start: Callable[..., LocalService], connect: Callable[[LocalService], Api], given: str
) -> None:
    service = start([write_docs(tmp_path / name, {"a.md": f"The {name} text."}) for name in ("one", "two")])
    api = connect(service)
    session_id = api.create(index_ids=service.index_ids)
    other_ids = [index["export_config_id"] for index in api.http.get("/api/v1/indexes").json()["items"]]
    sent = {"own": service.index_ids, "reordered": service.index_ids[::-1], "other ids": other_ids}[given]
    assert api.ask(session_id, "What is the text?", index_ids=sent)[-1]["is_error"] is False


@pytest.mark.parametrize("after_the_first_message", [False, True])
def test_a_bound_session_is_locked_to_its_indexes(
    api: Api, service: LocalService, after_the_first_message: bool
) -> None:
    session_id = api.create(index_ids=service.index_ids)
    if after_the_first_message:
        api.ask(session_id)
    before = api.events(session_id)
    answer = api.post(session_id, index_ids=["idx-other"])
    assert answer.status_code == 409
    assert "locked" in answer.json()["detail"]
    assert api.events(session_id) == before


def test_an_unbound_session_takes_its_indexes_with_each_message(api: Api, service: LocalService) -> None:
    session_id = api.create()
    without = api.ask(session_id, "How many days of leave?", index_ids=["idx-gone"])
    assert "no index" in without[-2]["content"]
    answered = api.ask(session_id, "How many days of leave?", index_ids=service.index_ids)
    assert "30 days" in answered[-2]["content"]


def test_an_index_that_cannot_be_queried_is_skipped_and_named(api: Api, service: LocalService) -> None:
    events = api.ask(api.create(), "How many days of leave?", index_ids=["idx-gone", *service.index_ids])
    assert "30 days" in events[-2]["content"]
    assert events[-1]["is_error"] is False
    assert events[-1]["skipped_index_ids"] == ["idx-gone"]


def test_a_turn_that_requires_all_indexes_fails_without_one(api: Api, service: LocalService) -> None:
    session_id = api.create()
    indexes = ["idx-gone", *service.index_ids]
    events = api.ask(session_id, "How many days?", index_ids=indexes, require_all_indexes=True)
    assert [event["type"] for event in events] == ["stop"]
    assert events[0]["is_error"] is True
    assert "idx-gone" in events[0]["error"]
    assert [event["type"] for event in api.events(session_id)] == ["user_input", "stop"]
    job = api.summary(session_id)["job_metadata"]
    assert job["is_error"] is True
    assert job["error"] == events[0]["error"]


def test_a_list_has_the_newest_first_and_its_pages_hold_each_session_once(api: Api) -> None:
    made = [api.create() for _ in range(7)]
    seen: list[str] = []
    token: str | None = None
    pages = 0
    while True:
        params = {"page_size": 3} | ({"page_token": token} if token else {})
        page = api.http.get("/api/v1/chat", params=params).json()
        seen += [item["session_id"] for item in page["items"]]
        pages += 1
        if pages == 1:
            # What is made meanwhile does not push anything onto a later page.
            api.create()
        token = page["next_page_token"]
        if not token:
            break
    assert seen == made[::-1]
    assert pages == 3


@pytest.mark.parametrize("size", ["0", "1001", "-1", "x"])
def test_a_page_size_out_of_bounds_is_422(api: Api, size: str) -> None:
    assert field_of(api.http.get("/api/v1/chat", params={"page_size": size})) == ["query", "page_size"]


@pytest.mark.parametrize("token", ["x", "!!", "YmVmb3JlOng=", "YmVmb3JlOi0x", "b3RoZXI6MQ==", "é", "A" * 5000])
def test_a_page_token_from_elsewhere_is_422(api: Api, token: str) -> None:
    assert field_of(api.http.get("/api/v1/chat", params={"page_token": token})) == ["query", "page_token"]


def test_the_title_comes_from_the_first_prompt_and_can_be_set_where_that_is_offered(
    start: Callable[..., LocalService], connect: Callable[[LocalService], Api]
) -> None:
    api = connect(start(titles=True))
    session_id = api.create()
    assert api.summary(session_id)["generated_title"] is None
    api.ask(session_id, "What  is the\nfirst question " + "of this very long conversation " * 3 + "?")
    title = api.summary(session_id)["generated_title"]
    assert title == "What is the first question of this very long conversation…"
    api.ask(session_id, "Another")
    assert api.summary(session_id)["generated_title"] == title
    answer = api.http.post(f"/api/v1/chat/{session_id}/title", json={"first_message": "Leave"})
    assert answer.json()["generated_title"] == "Leave"
    assert field_of(api.http.post(f"/api/v1/chat/{session_id}/title", json={})) == ["body", "first_message"]


def test_a_title_on_request_is_no_operation_of_the_service(api: Api) -> None:
    session_id = api.create()
    answer = api.http.post(f"/api/v1/chat/{session_id}/title", json={"first_message": "Leave"})
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
    assert api.summary(session_id)["generated_title"] is None


def test_an_unknown_session_has_no_title(
    start: Callable[..., LocalService], connect: Callable[[LocalService], Api]
) -> None:
    api = connect(start(titles=True))
    answer = api.http.post("/api/v1/chat/ses-unknown/title", json={"first_message": "Leave"})
    assert answer.status_code == 404
    assert "ses-unknown" in answer.json()["detail"]


def test_the_title_of_a_fork_comes_from_what_was_asked_there(api: Api) -> None:
    session_id = api.create()
    told = [Message("user", "How many days?"), Message("assistant", "Thirty."), Message("user", "And when sick?")]
    api.ask(session_id, render_transcript(told))
    assert api.summary(session_id)["generated_title"] == "And when sick?"


def test_a_deleted_session_is_gone(api: Api) -> None:
    session_id, other = api.create(), api.create()
    answer = api.http.delete(f"/api/v1/chat/{session_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert api.http.get(f"/api/v1/chat/{session_id}").status_code == 404
    assert api.http.delete(f"/api/v1/chat/{session_id}").status_code == 404
    assert [item["session_id"] for item in api.http.get("/api/v1/chat").json()["items"]] == [other]


def test_a_stream_names_deltas_and_messages_on_the_wire(api: Api, service: LocalService) -> None:
    answer = api.post(api.create(index_ids=service.index_ids), "How many days of leave?")
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = [block for block in answer.text.replace("\r\n", "\n").split("\n\n") if block]
    names = {}
    for block in blocks:
        name, data = block.split("\n")
        names.setdefault(json.loads(data.removeprefix("data: "))["type"], set()).add(name.removeprefix("event: "))
    assert names.pop("thinking_delta") == names.pop("text_delta") == {"delta"}
    assert set(names) == {"thinking", "tool_call", "tool_result", "text", "stop"}
    assert set().union(*names.values()) == {"message"}


def test_deltas_add_up_to_the_whole_that_follows(api: Api, service: LocalService) -> None:
    events = api.ask(api.create(index_ids=service.index_ids), "How many days of leave?")
    for kind in ("thinking", "text"):
        deltas = "".join(event["content"] for event in events if event["type"] == f"{kind}_delta")
        assert [event["content"] for event in events if event["type"] == kind] == [deltas]


def test_a_method_that_is_not_there_is_405(api: Api) -> None:
    assert api.http.put("/api/v1/chat").status_code == 405
