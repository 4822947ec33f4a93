"""A node of Ray is lost, and with it what it was doing: each question is asked once all the same."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed")

from llama_cloud_chat import ChatClient
from llama_cloud_chat.local import LocalService, scripted_agent

from ..support import postgres
from ..support.on_ray import run_on_ray

ROOT = Path(__file__).parent.parent.parent
QUESTIONS = 48


@pytest.mark.timeout(400)
def test_each_question_is_asked_once_and_answered_though_one_of_three_nodes_is_lost(tmp_path: Path) -> None:
    from ..support.lost_node import BATCH, batches

    agent = scripted_agent(lambda turn: f"An answer to: {turn.prompt}")
    with (
        postgres.cluster() as server,
        server.database() as database,
        LocalService([], agent=agent, pace=0.1) as service,
    ):
        arguments = ["-m", "tests.support.lost_node", server.dsn(database), str(QUESTIONS), str(tmp_path)]
        printed = run_on_ray(arguments, service, ROOT)
        with ChatClient(service.api_key, base_url=service.base_url) as client:
            histories = {one.session_id: client.retrieve(one.session_id).turns for one in client.list()}

    rows = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    questions = [f"Question {number}?" for number in range(QUESTIONS)]
    assert sorted(turn.prompt for turns in histories.values() for turn in turns) == sorted(questions)
    assert [row["question"] for row in sorted(rows, key=lambda row: int(row["id"]))] == questions
    for row in rows:
        assert (row["error"], row["answer"]) == (None, f"An answer to: {row['question']}")
        assert histories[row["session_id"]][row["turn"] - 1].prompt == row["question"]

    begun = batches(tmp_path)
    assert len({node for node, *_ in begun}) == 3
    twice = [name for name, times in Counter(name for *_, ids in begun for name in ids).items() if times > 1]
    assert len(twice) >= BATCH, "nothing was lost with the node"
