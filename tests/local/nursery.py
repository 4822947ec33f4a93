"""A process that has everything loaded and makes services in children of its own, each to be killed.

It reads a data file and a folder from each line of its input, and writes "child" and the number of a new process;
the process writes "url" and its address once it listens.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from llama_cloud_chat.local import AgentTurn, LocalService, WireEvent

KEY = "k" * 20


def counting(turn: AgentTurn) -> Iterator[WireEvent]:
    """Say numbers for ever, a segment of five at a time."""
    for number in itertools.count():
        content = f"{number} "
        yield {"type": "text_delta", "content": content}
        if number % 5 == 4:
            yield {"type": "text", "content": "".join(f"{each} " for each in range(number - 4, number + 1))}
        time.sleep(0.001)


def serve(data: Path, docs: Path) -> None:
    """Run a service until it is killed."""
    with LocalService(docs, data=data, api_key=KEY, agent=counting) as service:
        print("url", service.base_url, flush=True)
        signal.pause()


def main() -> None:
    """Make children until the input ends."""
    for line in sys.stdin:
        data, docs = map(Path, line.split())
        child = os.fork()
        if child == 0:  # which says so itself: its address must not come before that
            print("child", os.getpid(), flush=True)
            serve(data, docs)


if __name__ == "__main__":
    main()
