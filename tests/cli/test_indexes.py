"""`indexes`, and indexes by the names that people type."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from llama_cloud_chat.local import LocalService

from .support import Runner, assert_one_sentence, sessions_of


@pytest.fixture
def shelves(tmp_path: Path) -> list[Path]:
    """Folders of documents; two are called alike but for their case."""
    folders = [tmp_path / name for name in ("handbook", "one/Rules", "two/rules")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "leave.md").write_text(f"# Leave\n\nThe {folder.name} give thirty days of paid leave.\n")
    return folders


@pytest.fixture
def library(shelves: list[Path]) -> Iterator[LocalService]:
    with LocalService(shelves) as service:
        yield service


@pytest.fixture
def run(home: Path, library: LocalService) -> Runner:
    return Runner(home, library)


def asked_at(library: LocalService) -> list[str] | None:
    (session,) = sessions_of(library)
    return session.index_ids


def test_indexes_are_listed_with_what_names_them(run: Runner, library: LocalService) -> None:
    listed = json.loads(run("indexes", "--json").stdout)
    assert [(each["id"], each["name"]) for each in listed] == list(library.index_names.items())
    shown = run("indexes").stdout
    assert all(index_id in shown and name in shown for index_id, name in library.index_names.items())
    assert "ready" in shown


def test_the_indexes_of_documents_are_listed_without_a_service(run_alone: Runner, shelves: list[Path]) -> None:
    assert "handbook" in run_alone("indexes", "--local", "--docs", shelves[0]).stdout


@pytest.mark.parametrize("typed", ["handbook", "HandBook", " handbook "])
def test_an_index_is_asked_by_its_name(run: Runner, library: LocalService, typed: str) -> None:
    result = run("chat", "--index", typed, stdin="How many days of paid leave?")
    assert "The handbook give thirty days" in result.stdout, result.stderr
    assert asked_at(library) == [library.index_ids[0]]


def test_a_name_in_its_own_case_is_that_index(run: Runner, library: LocalService) -> None:
    run("chat", "--index", "rules", stdin="How many days of paid leave?")
    assert asked_at(library) == [library.index_ids[2]]


def test_a_name_that_several_have_asks_for_an_id(run: Runner, library: LocalService) -> None:
    result = run("chat", "--index", "RULES", stdin="How many days?")
    assert_one_sentence(result, "2 indexes named 'RULES'", *library.index_ids[1:])


def test_either_id_is_taken_as_it_is(run: Runner, library: LocalService) -> None:
    other = library.index_ids[0].replace("idx-", "exp-")
    assert run("chat", "--index", other, stdin="How many days?").returncode == 0
    assert asked_at(library) == [other]


def test_an_index_that_is_not_there_is_told_from_those_that_are(run: Runner, library: LocalService) -> None:
    result = run("chat", "--index", "handbok", stdin="How many days?")
    assert_one_sentence(result, "no index 'handbok'", f"handbook ({library.index_ids[0]})")
    assert sessions_of(library) == []


def test_where_indexes_are_not_listed_ids_are_sent_as_they_are(run: Runner, library: LocalService) -> None:
    library.fail_next(status=404, on="list_indexes")
    assert run("chat", "--index", library.index_ids[1], stdin="How many days?").returncode == 0
    assert asked_at(library) == [library.index_ids[1]]


def test_the_variable_may_have_spaces_after_its_commas(run: Runner, library: LocalService) -> None:
    run("chat", stdin="How many days?", env={"LLAMA_CLOUD_INDEX_IDS": ", ".join(library.index_ids)})
    assert asked_at(library) == library.index_ids
