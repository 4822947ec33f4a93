"""The operations besides a turn: their statuses, and what they answer."""

from __future__ import annotations

from .conftest import Came
from .wire import Answer, Event, Wire

NOBODY = "00000000-0000-4000-8000-00000000dead"


def test_a_new_session(wire: Wire, came: Came) -> None:
    """Creating answers 201, with an id and a date."""
    answer = wire.recorded["create"] = wire.request("POST", "/api/v1/chat", body={})
    came(f"{answer.status}, {', '.join(answer.json)}")
    assert answer.status == 201
    assert answer.json["session_id"]
    assert answer.json["last_updated_at"]


def test_a_session_without_turns(wire: Wire, came: Came) -> None:
    """A session that nobody has asked has no events, and no account of a run."""
    answer = wire.history(wire.create())
    came(f"{answer.status}, events {answer.json.get('events')}, job_metadata {answer.json.get('job_metadata')}")
    assert answer.status == 200
    assert answer.json["events"] == []
    assert answer.json.get("job_metadata") is None


def test_what_a_session_is_bound_to(wire: Wire, came: Came) -> None:
    """A session says which indexes it is bound to, as they were named."""
    session_id = wire.create(*wire.place.index_ids)
    answer = wire.request("GET", f"/api/v1/chat/{session_id}/summary")
    came(f"{answer.status}, {len(answer.json.get('index_ids') or [])} indexes")
    assert answer.status == 200
    assert answer.json["index_ids"] == list(wire.place.index_ids)


def test_who_may_ask(wire: Wire, came: Came) -> None:
    """Who holds the link of a session may ask, unless it is created otherwise."""
    plain, shut = (
        wire.request("POST", "/api/v1/chat", body=body).json.get("shared_access")
        for body in ({}, {"shared_access": "read_only"})
    )
    came(f"{plain} and {shut}")
    assert (plain, shut) == ("query", "read_only")


def test_pages(wire: Wire, came: Came) -> None:
    """A page holds no more sessions than asked for, and the token of the next one leads on."""
    two = {wire.create(), wire.create()}
    first = wire.request("GET", "/api/v1/chat", page_size=1)
    token = first.json.get("next_page_token")
    second = wire.request("GET", "/api/v1/chat", page_size=1, page_token=token)
    came(f"{first.status}, {len(first.json['items'])} and {len(second.json['items'])} sessions")
    shown = [item["session_id"] for page in (first, second) for item in page.json["items"]]
    assert len(shown) == len(set(shown)) == len(two)


def test_deleting(wire: Wire, came: Came) -> None:
    """Deleting answers 204 and nothing else; after it the session is a 404."""
    path = f"/api/v1/chat/{wire.create()}"
    deleted, read, again = (wire.request(method, path) for method in ("DELETE", "GET", "DELETE"))
    came(f"{deleted.status}, then {read.status}, again {again.status}")
    assert (deleted.status, deleted.body, read.status) == (204, b"", 404)


def test_a_session_that_is_not_there(wire: Wire, came: Came) -> None:
    """A session that is not there is a 404 with a detail, also where it is asked."""
    read = wire.recorded["no_session"] = wire.history(NOBODY)
    asked = wire.ask(NOBODY, "Hello?")
    came(f"{read.problem}; asked: {asked.status}")
    assert (read.status, asked.status) == (404, 404)
    assert "detail" in read.json


def test_a_wrong_key(wire: Wire, came: Came) -> None:
    """A wrong key is a 401."""
    answer = wire.request("GET", "/api/v1/chat", key="llx-wrong")
    came(answer.problem)
    assert answer.status == 401


def test_a_project_that_is_no_uuid(wire: Wire, came: Came) -> None:
    """A project that is no UUID is a 422."""
    answer = wire.request("GET", "/api/v1/chat", project_id="handbook")
    came(answer.status)
    assert answer.status == 422


def test_titles(wire: Wire, came: Came) -> None:
    """A title on request is a 404 or a 405."""
    answer = wire.request("POST", f"/api/v1/chat/{wire.create()}/title", body={"first_message": "Leave"})
    came(answer.status)
    assert answer.status in {404, 405}


def test_the_title_that_comes_by_itself(wire: Wire, bound: str, history: list[Event], came: Came) -> None:
    """A session that was asked has a title, and an account of its run."""
    answer = wire.recorded["summary"] = wire.request("GET", f"/api/v1/chat/{bound}/summary")
    account = answer.json.get("job_metadata") or {}
    came(f"title {bool(answer.json.get('generated_title'))}, account {', '.join(sorted(account))}")
    assert answer.json.get("generated_title")
    assert {"duration_ms", "is_error"} <= account.keys()


def test_too_many_indexes(wire: Wire, came: Came) -> None:
    """A session is bound to ten indexes at most; eleven are a 422."""
    answer = wire.request("POST", "/api/v1/chat", body={"index_ids": [f"idx-{number}" for number in range(11)]})
    came(f"{answer.status} {_problem(answer).get('type')}")
    assert answer.status == 422


def test_no_index(wire: Wire, came: Came) -> None:
    """A prompt that names no index is a 422, too_short."""
    answer = wire.ask(wire.create(), "Hello?", [])
    problem = _problem(answer)
    came(f"{answer.status} {problem.get('type')} {problem.get('loc')}")
    assert (answer.status, problem["type"], problem["loc"]) == (422, "too_short", ["body", "index_ids"])


def test_a_long_prompt(wire: Wire, came: Came) -> None:
    """A prompt of 1001 characters is a 422, string_too_long, which names the limit; nothing is taken."""
    session_id = wire.create(*wire.place.index_ids)
    answer = wire.ask(session_id, "Answer with the one word: ok. ".ljust(1001, "."))
    if answer.status != 422:
        came(f"{answer.status}: it was taken")
        assert answer.status == 422
    wire.recorded["too_long"] = answer
    problem, taken = _problem(answer), wire.history(session_id).json["events"]
    came(f"422 {problem.get('type')} {problem.get('loc')} {problem.get('ctx')}, {len(taken)} events in the history")
    assert (problem["type"], problem["loc"], problem["ctx"]) == (
        "string_too_long",
        ["body", "prompt"],
        {"max_length": 1000},
    )
    assert taken == []


def _problem(answer: Answer) -> dict[str, object]:
    detail = (answer.json or {}).get("detail")
    return detail[0] if isinstance(detail, list) and detail else {}
