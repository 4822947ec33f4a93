"""A ledger in memory, and what a note is."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import replace

import pytest

from llama_cloud_chat import MemoryLedger, Note

from ..support.ledgers import HARD, NOTE, LedgerContract


class TestMemory(LedgerContract):
    @pytest.fixture
    def ledger(self) -> Iterator[MemoryLedger]:
        ledger = MemoryLedger()
        yield ledger
        ledger.close()


def test_a_note_is_one_line_of_ascii() -> None:
    note = replace(NOTE, turn=HARD)
    text = note.to_json()
    assert text.isascii()
    assert "\n" not in text
    assert Note.from_json(text) == note


def test_a_note_without_what_came_later_can_be_read() -> None:
    text = json.dumps({"question": "question", "session_id": "session-1", "turns_before": 4, "prompt": "prompt"})
    assert Note.from_json(text) == NOTE


def test_a_note_is_finished_once_its_turn_is_known() -> None:
    assert not NOTE.is_finished
    assert replace(NOTE, number=5).is_finished
    assert replace(NOTE, turn={}).is_finished


def test_the_oldest_finished_notes_are_dropped_and_open_ones_are_kept() -> None:
    ledger = MemoryLedger(most=3)
    ledger.write("open", NOTE)
    for number in range(5):
        ledger.write(str(number), NOTE)
        ledger.write(str(number), replace(NOTE, number=number))
    kept = [key for key in ("open", "0", "1", "2", "3", "4") if ledger.read(key) is not None]
    assert kept == ["open", "3", "4"]
    for number in range(5):
        ledger.write(f"open {number}", NOTE)
    assert all(ledger.read(f"open {number}") for number in range(5))


def test_the_oldest_counts_are_dropped() -> None:
    ledger = MemoryLedger(most=2)
    for number in range(4):
        ledger.remember(str(number), number)
    assert [ledger.recall(str(number)) is not None for number in range(4)] == [False, False, True, True]


def test_the_process_has_one_that_a_child_finds_empty() -> None:
    MemoryLedger.default.write("key", NOTE)
    MemoryLedger.default._begin_anew()  # as in the child of a fork
    assert MemoryLedger.default.read("key") is None


def test_no_notes_are_pickled() -> None:
    ledger = MemoryLedger(most=7)
    ledger.write("key", NOTE)
    assert pickle.loads(pickle.dumps(ledger)).read("key") is None
