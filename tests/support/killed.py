"""Four workers that ask the same questions, one of which is killed at random and begun anew; in processes of their own.

    python -m tests.support.killed LEDGER RUNS BASE_URL KEY INDEX_ID

forks the workers of one run after another, from one process that has imported everything and used nothing. LEDGER is an
expression. Each worker writes what it was answered as a line of JSON: question, text, session and turn.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Sequence

import httpx

import llama_cloud_chat
from llama_cloud_chat import ChatClient, Ledger, Message

WORKERS = QUESTIONS = 4


def make_client(ledger: Ledger, where: Sequence[str]) -> ChatClient:
    """Return a client; it loads no certificates, which would take longer than a run."""
    base_url, key, _ = where
    http = httpx.Client(verify=False, trust_env=False)
    return ChatClient(key, base_url=base_url, ledger=ledger, http_client=http)


class Run:
    """Four workers, from their start to the last one's end.

    Args:
        number: Which run it is.
        ledger: Theirs; a child of a fork opens it anew.
        where: The service's address, key and index.
    """

    def __init__(self, number: int, ledger: Ledger, where: Sequence[str]) -> None:
        self._number, self._ledger, self._where = number, ledger, where
        self._go, self._say_go = os.pipe()
        self._ready, self._say_ready = os.pipe()
        self._workers = {self._begin(worker): worker for worker in range(WORKERS)}

    def go(self) -> None:
        """Let them all ask, once all are ready to."""
        for _ in range(WORKERS):
            os.read(self._ready, 1)
        os.close(self._say_go)

    def kill_one(self) -> bool:
        """Kill one and begin it anew; return whether it was killed, for it may have been done."""
        victim = random.choice(list(self._workers))
        os.kill(victim, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(victim, 0)[1])
        worker = self._workers.pop(victim)
        self._workers[self._begin(worker)] = worker
        return code == -signal.SIGKILL

    def end(self) -> None:
        """Wait for them."""
        for worker in self._workers:
            assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 0
        for pipe in (self._go, self._ready, self._say_ready):
            os.close(pipe)

    def _begin(self, worker: int) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                with contextlib.suppress(OSError):  # it was closed, in a later worker
                    os.close(self._say_go)
                self._ask_all(worker)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        return pid

    def _ask_all(self, worker: int) -> None:
        """Ask all questions of the run, each worker beginning with another one."""
        *_, index_id = self._where
        with make_client(self._ledger, self._where) as client:
            os.write(self._say_ready, b".")
            os.read(self._go, 1)
            for place in range(QUESTIONS):
                question = f"Question {(worker + place) % QUESTIONS} of run {self._number}?"
                with client.converse([Message("user", question)], index_ids=[index_id], key=question) as stream:
                    for _ in stream:
                        pass
                turn = stream.turn
                os.write(1, f"{json.dumps([question, turn.text, turn.session_id, turn.number])}\n".encode())


def main(ledger: str, runs: str, *where: str) -> None:
    """Kill one worker in each run, at a moment that may be any of the run's."""
    seconds, killed = 0.2, 0
    made: Ledger = eval(ledger, vars(llama_cloud_chat))
    make_client(made, where).close()  # imports what clients need
    for number in range(int(runs)):
        run = Run(number, made, where)
        run.go()
        started = time.monotonic()
        time.sleep(random.uniform(0, seconds))
        killed += run.kill_one()
        run.end()
        seconds = (time.monotonic() - started) * 0.6
    print(json.dumps(killed))


if __name__ == "__main__":
    main(*sys.argv[1:])
