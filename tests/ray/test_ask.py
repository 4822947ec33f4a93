"""What `Ask` makes of a batch: no Ray is needed for that, only Arrow."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pytest.importorskip("filelock", reason="filelock is not installed")

import pyarrow as pa

from llama_cloud_chat import AuthenticationError, BulkResult, ConfigurationError, MemoryLedger, SqliteLedger
from llama_cloud_chat.ray import Ask

from ..support.server import in_json
from ..support.service import ChatService, Play
from ..support.turns import said, stop

QUESTIONS = [{"id": 1, "question": "Who books hotels?", "topic": "travel"}, {"id": 2, "question": "How many days?"}]


@pytest.fixture
def service() -> Iterator[ChatService]:
    with ChatService() as service:
        service.reply = lambda prompt: Play(said(f"An answer to: {prompt}"))
        yield service


@pytest.fixture
def make(service: ChatService, tmp_path: Path) -> Callable[..., Ask]:
    """Make what an actor would hold; each one as in a process of its own, but for the ledger."""

    def make_one(**arguments: Any) -> Ask:
        ledger = SqliteLedger(tmp_path / "ledger.db")
        given = {"run": "tonight", "ledger": ledger, "api_key": "key", "base_url": service.base_url, **arguments}
        return Ask(**given)

    return make_one


def answer(ask: Ask, batch: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ask(batch).to_pylist()
    return rows


def test_a_row_comes_back_with_its_columns_and_its_answer_in_the_same_order(make: Callable[..., Ask]) -> None:
    first, second = answer(make(), pa.Table.from_pylist(QUESTIONS))
    assert (first["id"], first["topic"], first["answer"]) == (1, "travel", "An answer to: Who books hotels?")
    assert (second["id"], second["topic"], second["answer"]) == (2, None, "An answer to: How many days?")
    assert first["error"] is None
    assert first["turn"] == 1
    assert first["session_id"] != second["session_id"]


@pytest.mark.parametrize("kind", ["numpy", "pandas", "pyarrow"])
def test_it_takes_whichever_format_ray_gives_batches_in(make: Callable[..., Ask], kind: str) -> None:
    batch = pa.Table.from_pylist([{"id": row["id"], "question": row["question"]} for row in QUESTIONS])
    if kind == "pandas":
        pytest.importorskip("pandas", reason="pandas is not installed")
        batch = batch.to_pandas()
    elif kind == "numpy":
        batch = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in batch.column_names}
    assert [row["answer"] for row in answer(make(), batch)] == [
        "An answer to: Who books hotels?",
        "An answer to: How many days?",
    ]


def test_another_actor_asks_nothing_that_was_asked_in_this_run_and_all_of_it_in_another(
    make: Callable[..., Ask], service: ChatService
) -> None:
    batch = pa.Table.from_pylist(QUESTIONS)
    before = answer(make(), batch)
    after = answer(make(), batch)
    assert len(service.prompts) == 2
    assert [row["answer"] for row in after] == [row["answer"] for row in before]
    assert [row["session_id"] for row in after] == [row["session_id"] for row in before]
    answer(make(run="tomorrow"), batch)
    assert len(service.prompts) == 4


def test_what_fails_is_a_row_that_says_why_and_stops_no_other(make: Callable[..., Ask], service: ChatService) -> None:
    service.reply = lambda prompt: Play(
        [stop(is_error=True, error="Out of tokens.")] if "fail" in prompt else said("Yes.")
    )
    rows = [
        {"id": "a", "question": "Will it fail?"},
        {"id": "b", "question": "And this?"},
        {"id": "c", "question": " "},
    ]
    wrong, right, empty = answer(make(concurrency=1), pa.Table.from_pylist(rows))
    assert (wrong["answer"], wrong["error_type"]) == (None, "TurnFailedError")
    assert "Out of tokens" in wrong["error"]
    assert (right["answer"], right["error"]) == ("Yes.", None)
    assert (empty["answer"], empty["error_type"]) == (None, "ConfigurationError")
    assert "empty" in empty["error"]
    assert len(service.prompts) == 2


def test_a_row_without_an_id_is_not_asked(make: Callable[..., Ask], service: ChatService) -> None:
    [row] = answer(make(), pa.table({"id": pa.array([None], pa.string()), "question": ["Who?"]}))
    assert row["error_type"] == "ConfigurationError"
    assert "An id is" in row["error"]
    assert service.prompts == []


def test_every_batch_has_the_columns_of_an_output_file_in_the_same_types(
    make: Callable[..., Ask], service: ChatService
) -> None:
    answered, failed = [make()(pa.table({"id": ["1"], "question": [asked]})) for asked in ("Who?", " ")]
    assert answered.schema == failed.schema
    assert set(answered.column_names) == {*BulkResult("1", "Who?").as_row()}


def test_a_column_that_is_missing_is_named_before_anything_is_asked(
    make: Callable[..., Ask], service: ChatService
) -> None:
    with pytest.raises(ConfigurationError, match="no 'question', only id, prompt"):
        answer(make(), pa.table({"id": [1], "prompt": ["Who?"]}))
    assert service.operations() == []


def test_a_wrong_key_ends_the_run_and_is_no_row(make: Callable[..., Ask], service: ChatService) -> None:
    service.instead["create"].append([in_json({"detail": "Invalid key."}, 401)])
    with pytest.raises(AuthenticationError):
        answer(make(), pa.table({"id": [1], "question": ["Who?"]}))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"ledger": MemoryLedger()}, "ledger must be one that outlives"),
        ({"ledger": None}, "ledger must be one that outlives"),
        ({"run": " "}, "run must be"),
        ({"concurrency": 0}, "concurrency must be"),
        ({"index_ids": "idx"}, "index_ids must be"),
        ({"max_retries": -1}, "max_retries must be"),
    ],
)
def test_an_argument_that_cannot_work_is_named(make: Callable[..., Ask], arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make(**arguments)


def test_the_class_and_its_ledger_reach_other_machines(tmp_path: Path) -> None:
    kind, ledger = pickle.loads(pickle.dumps((Ask, SqliteLedger(tmp_path / "ledger.db"))))
    assert kind is Ask
    assert isinstance(ledger, SqliteLedger)
