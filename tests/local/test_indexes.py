"""The indexes as they are listed, and the two ids of each."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from llama_cloud_chat.local import LocalService
from tests.local.harness import Api, write_docs

Start = Callable[..., LocalService]
Connect = Callable[[LocalService], Api]


def test_the_indexes_are_listed_in_the_order_of_the_documents(tmp_path: Path, start: Start, connect: Connect) -> None:
    service = start([write_docs(tmp_path / name, {"a.md": f"The {name} text."}) for name in ("two", "one", "three")])
    page = connect(service).http.get("/api/v1/indexes").json()
    assert [(index["id"], index["name"]) for index in page["items"]] == list(service.index_names.items())
    assert [index["metadata"]["status"] for index in page["items"]] == ["ready"] * 3
    assert page["next_page_token"] is None


def test_the_pages_hold_each_index_once(tmp_path: Path, start: Start, connect: Connect) -> None:
    service = start([write_docs(tmp_path / str(number), {"a.md": "A text."}) for number in range(5)])
    api = connect(service)
    seen: list[list[str]] = []
    token: str | None = ""
    while token is not None:
        page = api.http.get("/api/v1/indexes", params={"page_size": 2, "page_token": token}).json()
        seen.append([index["id"] for index in page["items"]])
        token = page["next_page_token"]
    assert [len(ids) for ids in seen] == [2, 2, 1]
    assert [index_id for ids in seen for index_id in ids] == service.index_ids


@pytest.mark.parametrize(("name", "value"), [("page_size", "0"), ("page_size", "x"), ("page_token", "elsewhere")])
def test_a_page_that_cannot_be_is_422(api: Api, name: str, value: str) -> None:
    answer = api.http.get("/api/v1/indexes", params={name: value})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", name]


def test_an_index_is_read_by_its_id_and_found_by_its_directory(tmp_path: Path, start: Start, connect: Connect) -> None:
    service = start([write_docs(tmp_path / name, {"a.md": f"The {name} text."}) for name in ("one", "two")])
    api = connect(service)
    index = api.http.get(f"/api/v1/indexes/{service.index_ids[1]}").json()
    assert index["name"] == "two"
    params = {"source_directory_id": index["source_directory_id"]}
    assert api.http.get("/api/v1/indexes", params=params).json()["items"] == [index]


def test_an_unknown_index_is_404_and_one_named_by_its_other_id_is_said_to_have_another(
    api: Api, service: LocalService
) -> None:
    answer = api.http.get("/api/v1/indexes/idx-unknown")
    assert (answer.status_code, answer.json()["detail"]) == (404, "There is no index 'idx-unknown' here.")
    (index,) = api.http.get("/api/v1/indexes").json()["items"]
    answer = api.http.get(f"/api/v1/indexes/{index['export_config_id']}")
    assert answer.status_code == 404
    assert f"the export_config_id of the index {service.index_ids[0]!r}" in answer.json()["detail"]


def test_either_id_opens_a_session_and_asks(api: Api, service: LocalService) -> None:
    (index,) = api.http.get("/api/v1/indexes").json()["items"]
    ids = [[index["id"]], [index["export_config_id"]]]
    for bound in ids:
        session_id = api.create(index_ids=bound)
        assert api.summary(session_id)["index_ids"] == bound
        for asked in ids:
            events = api.ask(session_id, "How many days of leave?", index_ids=asked)
            assert "30 days" in events[-2]["content"]
            assert "skipped_index_ids" not in events[-1]
    both = api.ask(api.create(), "How many days of leave?", index_ids=[*ids[0], *ids[1]])
    once = api.ask(api.create(), "How many days of leave?")
    assert [event for event in both if event["type"] == "tool_result"] == [
        event for event in once if event["type"] == "tool_result"
    ]


def test_an_index_named_by_its_name_is_refused_with_its_ids(api: Api, service: LocalService) -> None:
    (index,) = api.http.get("/api/v1/indexes").json()["items"]
    (problem,) = api.http.post("/api/v1/chat", json={"index_ids": [index["name"]]}).json()["detail"]
    assert problem["loc"] == ["body", "index_ids", 0]
    assert index["id"] in problem["msg"]
    assert index["export_config_id"] in problem["msg"]


def test_an_index_belongs_to_the_project_that_asks(api: Api) -> None:
    project = str(uuid.uuid4())
    (index,) = api.http.get("/api/v1/indexes", params={"project_id": project}).json()["items"]
    assert index["project_id"] == project
    (index,) = api.http.get("/api/v1/indexes").json()["items"]
    assert uuid.UUID(index["project_id"])


def test_a_service_without_documents_has_an_index_with_nothing_in_it(start: Start, connect: Connect) -> None:
    service = start([])
    api = connect(service)
    (index,) = api.http.get("/api/v1/indexes").json()["items"]
    assert service.index_ids == [index["id"]]
    assert "nothing" in api.ask(api.create(index_ids=service.index_ids), "Hello?")[-2]["content"]


def test_listing_can_be_made_to_fail(api: Api, service: LocalService) -> None:
    service.fail_next(status=503, on="list_indexes")
    service.fail_next(status=500, on="get_index")
    assert api.http.get("/api/v1/indexes").status_code == 503
    assert api.http.get(f"/api/v1/indexes/{service.index_ids[0]}").status_code == 500
    assert api.http.get("/api/v1/indexes").status_code == 200
