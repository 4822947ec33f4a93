"""Workers that share a ledger and are killed: each question is asked once. In a file, too; that needs no database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llama_cloud_chat import ChatClient
from llama_cloud_chat.local import LocalService, scripted_agent

from ..support.killed import QUESTIONS

ROOT = Path(__file__).parent.parent.parent
RUNS = 20


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "SQLite":
        pytest.importorskip("filelock", reason="filelock is not installed")
        return f"SqliteLedger({str(tmp_path / 'ledger.db')!r})"
    return f"PostgresLedger({request.getfixturevalue('dsn')!r})"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_each_question_is_asked_once_whichever_of_four_workers_is_killed_and_when(ledger: str) -> None:
    """Twenty runs: all four ask the same questions, each in another order; one is killed and begins anew."""
    agent = scripted_agent(lambda turn: f"An answer to: {turn.prompt}")
    with LocalService([], agent=agent, pace=0.004) as service:
        where = [service.base_url, service.api_key, service.index_ids[0]]
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.killed", ledger, str(RUNS), *where],
            stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True,
        )  # fmt: skip
        with ChatClient(service.api_key, base_url=service.base_url) as client:
            histories = {one.session_id: client.retrieve(one.session_id).turns for one in client.list()}
    *answers, killed = map(json.loads, done.stdout.splitlines())
    assert killed > RUNS / 2, "they were too fast to be killed"
    questions = [f"Question {number} of run {run}?" for number in range(QUESTIONS) for run in range(RUNS)]
    assert sorted(turn.prompt for turns in histories.values() for turn in turns) == sorted(questions)
    assert {question for question, *_ in answers} == set(questions)
    for question, text, session_id, number in answers:
        assert text == f"An answer to: {question}"
        assert histories[session_id][number - 1].prompt == question
