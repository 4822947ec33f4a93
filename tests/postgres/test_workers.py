"""The example of many workers: killed at random, asked by people who do not wait.

It takes some seconds; `WORKERS_SECONDS=60` makes it a minute.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("langgraph.checkpoint.postgres", reason="langgraph-checkpoint-postgres is not installed")
pytest.importorskip("psycopg_pool", reason="psycopg-pool is not installed")

from llama_cloud_chat import ChatClient
from llama_cloud_chat.local import LocalService, scripted_agent

ROOT = Path(__file__).parent.parent.parent
SECONDS = float(os.environ.get("WORKERS_SECONDS", "6"))
PATIENCE = 60.0
"""After how many seconds an answer will not come any more."""
IMPATIENCE = 0.4
"""After how many seconds a client asks again."""


class Workers:
    """The example, running.

    Attributes:
        address: Where it is.
        killed: How many of its workers were killed.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._said = process.stdout
        self._alive: list[int] = []
        self.killed = 0
        self.address = self._said.readline().split()[-1]
        for _ in range(4):
            self._meet_one()

    def _meet_one(self) -> None:
        self._alive.append(int(self._said.readline().split()[1]))

    def kill_one(self) -> None:
        """Kill any one of them, and wait until there is another in its place."""
        victim = random.choice(self._alive)
        self._alive.remove(victim)
        os.kill(victim, signal.SIGKILL)
        self.killed += 1
        self._meet_one()


@contextlib.contextmanager
def workers(service: LocalService, dsn: str) -> Iterator[Workers]:
    environment = {
        **os.environ,
        "DATABASE_URL": dsn,
        "PORT": "0",
        "LLAMA_CLOUD_API_KEY": service.api_key,
        "LLAMA_CLOUD_BASE_URL": service.base_url,
        "LLAMA_CLOUD_INDEX_IDS": ",".join(service.index_ids),
        "LANGSMITH_TRACING": "false",
    }
    with subprocess.Popen(
        [sys.executable, "examples/workers/server.py"], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as process:
        try:
            yield Workers(process)
        finally:
            process.terminate()


class Person:
    """Somebody in a conversation, who asks again and again until there is an answer.

    Attributes:
        thread: The conversation.
        answers: What was answered to which question.
    """

    def __init__(self, name: str, thread: str, address: str, pool: ThreadPoolExecutor) -> None:
        self.thread = thread
        self.answers: dict[str, dict[str, Any]] = {}
        self._name, self._address, self._pool = name, address, pool

    def talk(self, until: float) -> None:
        """Ask one question after another."""
        with httpx.Client(base_url=self._address, timeout=PATIENCE, trust_env=False) as http:
            while time.monotonic() < until or len(self.answers) < 3:
                question = f"{self._name} asks {len(self.answers) + 1}"
                self.answers[question] = self._ask(http, question)

    def _ask(self, http: httpx.Client, question: str) -> dict[str, Any]:
        """Ask in ever more requests at once; all that are answered are answered alike."""
        deadline = time.monotonic() + PATIENCE
        asked = {"id": f"id of {question}", "text": question}
        running: set[Future[dict[str, Any] | None]] = set()
        answers: list[dict[str, Any]] = []
        while running or not answers:
            assert time.monotonic() < deadline, f"no answer: {question}"
            if not answers and len(running) < 4:
                running |= {self._pool.submit(self._post, http, asked) for _ in range(2)}
            done, running = wait(running, IMPATIENCE, FIRST_COMPLETED)
            answers += [answer for future in done if (answer := future.result()) is not None]
        assert all(answer == answers[0] for answer in answers)
        return answers[0]

    def _post(self, http: httpx.Client, asked: dict[str, str]) -> dict[str, Any] | None:
        try:
            response = http.post(f"/threads/{self.thread}", json=asked)
        except httpx.TransportError:  # its worker was killed
            return None
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer


def test_every_turn_is_asked_once_in_order_and_answered_by_its_own_answer_whichever_workers_are_killed(
    dsn: str,
) -> None:
    """Two conversations of two people each, all prompts doubled, a worker killed again and again."""
    agent = scripted_agent(lambda turn: f"This is what there is to say to: {turn.prompt}")
    with (
        LocalService([], agent=agent, pace=0.02) as service,
        workers(service, dsn) as running,
        ThreadPoolExecutor(32) as pool,
        ThreadPoolExecutor(4) as people,
    ):
        names = {"ada": "first", "bob": "first", "cyd": "second", "dan": "second"}
        persons = [Person(name, thread, running.address, pool) for name, thread in names.items()]
        until = time.monotonic() + SECONDS
        talks = [people.submit(person.talk, until) for person in persons]
        while wait(talks, random.uniform(0.1, 0.8)).not_done:
            running.kill_one()
        for talk in talks:
            talk.result()

        assert running.killed > 0
        with ChatClient(service.api_key, base_url=service.base_url) as client:
            histories = {one.session_id: client.retrieve(one.session_id).turns for one in client.list()}
        for thread in ("first", "second"):
            speakers = [person for person in persons if person.thread == thread]
            [session_id] = {answer["session_id"] for person in speakers for answer in person.answers.values()}
            history = histories.pop(session_id)
            asked = {question: answer for person in speakers for question, answer in person.answers.items()}
            assert sorted(turn.prompt for turn in history) == sorted(asked)
            for person in speakers:
                assert [turn.prompt for turn in history if turn.prompt in person.answers] == list(person.answers)
            for question, answer in asked.items():
                assert answer["text"] == f"This is what there is to say to: {question}"
                assert history[answer["turn"] - 1].prompt == question
        assert not any(histories.values()), "something was asked elsewhere"  # empty ones: killed before they were used
