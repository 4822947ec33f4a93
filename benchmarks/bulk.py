"""Ten thousand questions: `python -m benchmarks.bulk [QUESTIONS]`.

The same questions are asked of the embedded service by `abulk`, by `bulk`, and by a plain `asyncio.gather` behind a
semaphore, eight at a time. Each stands in a process of its own and they take turns, a tenth of the questions at a time,
so that whatever else the machine does meets all alike. `abulk` and `bulk` are one run each, held up while others have
their turn; how much memory their processes hold shows after each tenth. Writes `BULK.md`.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, closing
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path

from llama_cloud_chat import AsyncChatClient, ChatClient, Message, abulk, bulk
from llama_cloud_chat.local import LocalService, scripted_agent

QUESTIONS, ROUNDS, CONCURRENCY = 10_000, 10, 8
RESULT = Path(__file__).with_name("BULK.md")
Where = tuple[str, str, list[str]]


def main(questions: int = QUESTIONS) -> None:
    """Let them take turns, and write what came of it."""
    spawn = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    ours, theirs = spawn.Pipe()
    processes = [spawn.Process(target=serve, args=(theirs,), daemon=True)]
    processes[0].start()
    where: Where = ours.recv()
    for name, contestant in CONTESTANTS.items():
        pipes[name], other = spawn.Pipe()
        processes.append(spawn.Process(target=contestant, args=(other, where, questions), daemon=True))
        processes[-1].start()
        pipes[name].recv()
    seconds: dict[str, list[float]] = {name: [] for name in pipes}
    memory: dict[str, list[float]] = {name: [] for name in pipes}
    for number in range(ROUNDS):
        for name, pipe in pipes.items():
            began = time.perf_counter()
            pipe.send("go")
            memory[name].append(pipe.recv())
            seconds[name].append(time.perf_counter() - began)
        print(
            number + 1, {name: (round(seconds[name][-1], 1), round(memory[name][-1], 1)) for name in pipes}, flush=True
        )
    for process in processes:
        process.terminate()
    text = "\n".join(table(questions, seconds, memory))
    print(text)
    if questions >= QUESTIONS:
        RESULT.write_text(f"{text}\n", encoding="utf-8")


def serve(pipe: Connection) -> None:
    """Run the embedded service, with an agent that answers at once."""
    with LocalService([], agent=scripted_agent(["An answer of a few words, as agents give."])) as service:
        pipe.send((service.base_url, service.api_key, service.index_ids))
        time.sleep(1e6)


def texts(questions: int) -> Iterator[str]:
    return (f"Question {number}?" for number in range(questions))


def with_gather(pipe: Connection, where: Where, questions: int) -> None:
    """What people write: a session for each question, a semaphore, and `gather`."""
    url, key, index_ids = where

    async def run() -> None:
        room = asyncio.Semaphore(CONCURRENCY)

        async def ask(question: str) -> None:
            async with room, client.converse([Message("user", question)], index_ids=index_ids) as stream:
                async for _ in stream:
                    pass

        async with AsyncChatClient(key, base_url=url) as client:
            pipe.send("ready")
            while pipe.recv():
                await asyncio.gather(*map(ask, texts(questions // ROUNDS)))
                pipe.send(megabytes())

    asyncio.run(run())


def with_abulk(pipe: Connection, where: Where, questions: int) -> None:
    """One run, of which each round takes a tenth."""
    url, key, index_ids = where

    async def run() -> None:
        async with (
            AsyncChatClient(key, base_url=url) as client,
            aclosing(abulk(texts(questions), client=client, concurrency=CONCURRENCY, index_ids=index_ids)) as results,
        ):
            pipe.send("ready")
            while pipe.recv():
                for _ in range(questions // ROUNDS):
                    assert (await anext(results)).turn
                pipe.send(megabytes())

    asyncio.run(run())


def with_bulk(pipe: Connection, where: Where, questions: int) -> None:
    """One run, of which each round takes a tenth."""
    url, key, index_ids = where
    with (
        ChatClient(key, base_url=url) as client,
        closing(bulk(texts(questions), client=client, concurrency=CONCURRENCY, index_ids=index_ids)) as results,
    ):
        pipe.send("ready")
        while pipe.recv():
            assert all(result.turn for result in islice(results, questions // ROUNDS))
            pipe.send(megabytes())


CONTESTANTS: dict[str, Callable[[Connection, Where, int], None]] = {
    "asyncio.gather": with_gather,
    "abulk": with_abulk,
    "bulk (threads)": with_bulk,
}


def megabytes() -> float:
    """Return how much memory this process holds now; where the system does not say, the most that it has held."""
    pages = Path("/proc/self/statm")
    if pages.exists():
        return int(pages.read_text().split()[1]) * resource.getpagesize() / 2**20
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def table(questions: int, seconds: dict[str, list[float]], memory: dict[str, list[float]]) -> Iterator[str]:
    """Yield what came of it."""
    yield f"# {questions:,} questions"
    yield ""
    yield f"Of the embedded service on the same machine, {CONCURRENCY} at a time; by `python -m benchmarks.bulk`."
    yield ""
    yield "| who | questions a second | throughput, x asyncio.gather | MB after a tenth | after all |"
    yield "|---|---|---|---|---|"
    plain = seconds["asyncio.gather"]
    for name, took in seconds.items():
        ratio = statistics.median(one / other for one, other in zip(plain, took, strict=True))
        rate = questions / sum(took)
        yield f"| {name} | {rate:.0f} | {ratio:.2f} | {memory[name][0]:.1f} | {memory[name][-1]:.1f} |"
    yield ""
    yield "The ratio is the median over ten rounds in which they took turns, on a machine that may have had other work."


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
