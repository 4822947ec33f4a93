"""Indexes: how they are listed, by which of their ids they are asked, and what holds a session to them."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Came
from .wire import Answer, Wire


@pytest.fixture(scope="module")
def listed(wire: Wire) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    query: dict[str, str] = {}
    while True:
        answer = wire.request("GET", "/api/v1/indexes", **query)
        assert answer.status == 200, answer.problem
        wire.recorded.setdefault("indexes", answer)
        items += answer.json["items"]
        if not answer.json.get("next_page_token"):
            return items
        query["page_token"] = answer.json["next_page_token"]


@pytest.fixture(scope="module")
def asked(wire: Wire, listed: list[dict[str, Any]]) -> dict[str, Any]:
    """The first of the indexes that are asked, as it is listed."""
    wanted = wire.place.index_ids[0]
    found = [each for each in listed if wanted in (each["id"], each["export_config_id"])]
    assert found, "the index that is asked is not listed"
    return found[0]


def test_what_is_said_of_an_index(listed: list[dict[str, Any]], came: Came) -> None:
    """Indexes are listed with id, name, export_config_id and a status."""
    came(f"{len(listed)} indexes: {', '.join(listed[0])}" if listed else "no indexes")
    assert all(each["id"] and each["name"] and each["export_config_id"] for each in listed)
    assert {(each.get("metadata") or {}).get("status") for each in listed} <= {"ready", "failed"}


def test_the_indexes_that_are_asked(asked: dict[str, Any], wire: Wire, came: Came) -> None:
    """LLAMA_CLOUD_INDEX_IDS holds ids of indexes that are listed, not their export_config_ids."""
    came("id" if wire.place.index_ids[0] == asked["id"] else "export_config_id")
    assert wire.place.index_ids[0] == asked["id"]


def test_an_index_by_its_id(wire: Wire, asked: dict[str, Any], came: Came) -> None:
    """A session can be bound to an index by its id."""
    answer = _create(wire, asked["id"])
    came(answer.status if answer.status == 201 else answer.problem)
    assert answer.status == 201


def test_an_index_by_its_other_id(wire: Wire, asked: dict[str, Any], came: Came) -> None:
    """A session can be bound to an index by its export_config_id."""
    answer = _create(wire, asked["export_config_id"])
    came(answer.status if answer.status == 201 else answer.problem)
    assert answer.status == 201


def test_a_prompt_that_names_the_other_id(wire: Wire, asked: dict[str, Any], came: Came) -> None:
    """A prompt can name an index by its export_config_id, and it is asked."""
    answer = wire.ask(wire.create(), wire.place.question, [asked["export_config_id"]])
    skipped = answer.events[-1].get("skipped_index_ids") if answer.status == 200 else None
    came(f"200, skipped: {skipped or 'none'}" if answer.status == 200 else answer.problem)
    assert answer.status == 200
    assert not skipped


def test_an_index_that_is_not_there(wire: Wire, came: Came) -> None:
    """A session cannot be bound to an index that is not there: 404 or 422."""
    answer = _create(wire, "no-such-index")
    came(answer.problem)
    assert answer.status in {404, 422}


def test_indexes_are_locked_after_the_first_message(wire: Wire, bound: str, turn: Answer, came: Came) -> None:
    """After its first message a bound session takes no other indexes."""
    answer = wire.ask(bound, wire.place.question, ["no-such-index"])
    came(answer.problem if answer.status != 200 else "200: it was asked")
    assert 400 <= answer.status < 500


def _create(wire: Wire, index_id: str) -> Answer:
    return wire.request("POST", "/api/v1/chat", body={"index_ids": [index_id]})
