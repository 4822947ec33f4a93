"""What is measured: nine races, each with the same shape: `(service's address, effort, results)`."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import resource
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from .contestants import CONTESTANTS, KEY
from .measure import Counter, Field, Results, freeze
from .server import Script, tokens

_INVOKE = ("ChatOpenAI, streaming invoke", "ChatLlamaCloud, invoke")
_CALM = (
    "httpx, raw bytes",
    "SimpleChatEngine over OpenAI, stream_chat",
    "SimpleChatEngine over OpenAI, astream_chat",
    "core",
    "core, async",
    "ChatLlamaCloud, stream",
    "ChatLlamaCloud, astream",
    "LlamaCloudChatEngine, stream_chat",
    "LlamaCloudChatEngine, astream_chat",
)
_FRUGAL = (
    "LangChain over nothing, stream",
    "LangChain over nothing, astream",
    "ChatOpenAI, stream",
    "ChatAnthropic, stream",
    "SimpleChatEngine over OpenAI, stream_chat",
    "core",
    "core, async",
    "ChatLlamaCloud, stream",
    "ChatLlamaCloud, astream",
    "LlamaCloudChatEngine, stream_chat",
    "LlamaCloudChatEngine, astream_chat",
)
_QUICK_TO_ANSWER = (
    "httpx, raw bytes",
    "official SDK, stream",
    "ChatOpenAI, stream",
    "ChatAnthropic, stream",
    "SimpleChatEngine over OpenAI, stream_chat",
    "core",
    "ChatLlamaCloud, stream",
    "LlamaCloudChatEngine, stream_chat",
)
_KEYED = (
    "core",
    "core, SQLite and no key",
    "core, key in memory",
    "core, key in SQLite",
    "core, key in PostgreSQL",
)
_SOCIABLE = ("httpx, raw bytes, async", "ChatOpenAI, astream", "core, async", "ChatLlamaCloud, astream")

_IMPORTS = {
    "httpx + pydantic": "import httpx; from pydantic import BaseModel",
    "langchain-core's chat models": "import langchain_core.language_models.chat_models",
    "llama-index-core": "import llama_index.core",
    "langchain_openai": "import langchain_openai",
    "llama_index.llms.openai": "import llama_index.llms.openai",
    "llama_cloud": "import llama_cloud",
    "llama_cloud_chat": "import llama_cloud_chat",
    "langchain_ext": "import langchain_ext",
    "llama_index_ext": "import llama_index_ext",
}


@dataclass(frozen=True)
class Effort:
    """How much is done.

    Attributes:
        rounds: How often each contestant runs.
        deltas: Pieces of text in a long answer.
        turns: Short turns, of five pieces each.
        quiet: Seconds of silence of an idle stream.
        memory_deltas: Pieces of text while memory is watched.
        crowd: Streams at once.
        history: Turns in a short history; a long one has ten times as many.
        sessions: Sessions in a short list; a long one has ten times as many.
    """

    rounds: int
    deltas: int
    turns: int
    quiet: float
    memory_deltas: int
    crowd: int
    history: int
    sessions: int


FULL = Effort(
    rounds=5, deltas=10_000, turns=200, quiet=1.0, memory_deltas=50_000, crowd=1000, history=100, sessions=1000
)
QUICK = Effort(rounds=5, deltas=2_000, turns=50, quiet=0.3, memory_deltas=5_000, crowd=200, history=50, sessions=200)
TINY = Effort(rounds=1, deltas=20, turns=2, quiet=0.05, memory_deltas=50, crowd=3, history=2, sessions=20)


@dataclass(frozen=True)
class Race:
    """One thing that is measured.

    Attributes:
        title: What it is, for people.
        units: What its metrics are measured in, by metric.
        reference: Whom the others are compared with in its table.
        run: Does it.
    """

    title: str
    units: dict[str, str]
    reference: str
    run: Callable[[str, Effort, Results], None]


def _text_length(deltas: int) -> int:
    return sum(map(len, tokens(deltas)))


_EVERYBODY = tuple(name for name in CONTESTANTS if name == "core" or name not in _KEYED)


def _stream(race: str, script: Script, base: str, effort: Effort, results: Results) -> None:
    rehearsal = Field(_EVERYBODY, f"{base}/{replace(script, deltas=script.deltas // 20)}", results)
    with closing(rehearsal), closing(Field(_EVERYBODY, f"{base}/{script}", results)) as field:
        field.warm_up(_text_length(script.deltas))
        for _ in range(effort.rounds):
            for contestant in field.contestants:
                gc.collect()  # nobody pays for what another one left behind
                rehearsal.run(contestant.name, Counter().take)  # the processor's caches are its own then
                results.add(race, contestant.name, cpu=field.cpu(contestant.name) / script.deltas * 1e6)


def _packets(base: str, effort: Effort, results: Results) -> None:
    _stream("packets", Script(deltas=effort.deltas), base, effort, results)


def _blocks(base: str, effort: Effort, results: Results) -> None:
    _stream("blocks", Script(deltas=effort.deltas, framing="block"), base, effort, results)


def _short_turns(race: str, names: tuple[str, ...], base: str, effort: Effort, results: Results) -> None:
    script = Script(deltas=5)
    with closing(Field(names, f"{base}/{script}", results)) as field:
        for _ in range(5):
            field.warm_up(_text_length(script.deltas))
        gc.collect()
        for _ in range(effort.turns):
            for contestant in field.contestants:
                field.run(contestant.name, Counter().take)  # the processor's caches are its own then
                watch = _StopWatch()
                field.run(contestant.name, watch.take)
                measured = watch.stop()
                results.add(race, contestant.name, **{metric: measured[metric] for metric in RACES[race].units})


def _short(base: str, effort: Effort, results: Results) -> None:
    _short_turns("short", _QUICK_TO_ANSWER, base, effort, results)


def _ledgers(base: str, effort: Effort, results: Results) -> None:
    _short_turns("ledgers", _KEYED, base, effort, results)


class _StopWatch:
    def __init__(self) -> None:
        self._first: float | None = None
        self._started, self._started_cpu = time.perf_counter(), time.process_time()

    def take(self, _: str) -> None:
        if self._first is None:
            self._first = time.perf_counter()

    def stop(self) -> dict[str, float]:
        assert self._first is not None
        cpu, now = time.process_time() - self._started_cpu, time.perf_counter()
        seconds = {"first_text": self._first - self._started, "turn": now - self._started, "cpu": cpu}
        return {metric: duration * 1e3 for metric, duration in seconds.items()}


def _idle(base: str, effort: Effort, results: Results) -> None:
    script = Script(deltas=20, quiet=effort.quiet)
    with closing(Field(_CALM, f"{base}/{script}", results)) as field:
        field.warm_up(_text_length(script.deltas))
        for _ in range(effort.rounds):
            for contestant in field.contestants:
                results.add("idle", contestant.name, cpu=_share_while_waiting(field, contestant.name))


def _share_while_waiting(field: Field, name: str) -> float:
    """Return which percentage of a core was used in the longest pause between two pieces."""
    moments: list[tuple[float, float]] = []
    field.run(name, lambda _: moments.append((time.perf_counter(), time.process_time())))
    pauses = [(after - before, cpu - cpu_before) for (before, cpu_before), (after, cpu) in pairwise(moments)]
    seconds, cpu = max(pauses)
    return cpu / seconds * 100


def _memory(base: str, effort: Effort, results: Results) -> None:
    length = _text_length(effort.memory_deltas)
    warm_up = Field(_FRUGAL, f"{base}/{Script(deltas=5)}", results)
    with closing(warm_up), closing(Field(_FRUGAL, f"{base}/{Script(deltas=effort.memory_deltas)}", results)) as field:
        for contestant in field.contestants:
            warm_up.run(contestant.name, Counter().take)
            gc.collect()
            tracemalloc.start()
            before, _ = tracemalloc.get_traced_memory()
            field.run(contestant.name, Counter().take)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            results.add("memory", contestant.name, memory=(peak - before - length) / effort.memory_deltas)


def _crowd(base: str, effort: Effort, results: Results) -> None:
    url = f"{base}/{Script(deltas=50, pace=0.005)}"
    spawn = multiprocessing.get_context("spawn")
    for _ in range(5):
        for name in _SOCIABLE:
            if name in results.skipped:
                continue
            with ProcessPoolExecutor(1, mp_context=spawn) as process:  # a new one, whose memory is its own
                try:
                    cpu, memory = process.submit(meet, name, url, effort.crowd).result()
                except ImportError as error:
                    results.skipped[name] = str(error)
                else:
                    results.add("crowd", name, cpu=cpu / effort.crowd * 1e3, memory=memory / effort.crowd / 1024)


def meet(name: str, url: str, streams: int) -> tuple[float, float]:
    """Hold many conversations at once; return the CPU seconds and the bytes that it takes. Runs in its own process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ask = CONTESTANTS[name].set_up(url, streams)
    counter = Counter()

    async def all_at_once() -> tuple[float, float]:
        await ask(Counter().take)
        gc.collect()
        before, start = _most_memory(), time.process_time()
        await asyncio.gather(*(ask(counter.take) for _ in range(streams)))
        return time.process_time() - start, _most_memory() - before

    measured = asyncio.run(all_at_once())
    if counter.length < _text_length(50) * streams:
        raise RuntimeError(f"{name} took {counter.length} characters of {_text_length(50) * streams}.")
    return measured


def _most_memory() -> float:
    """Return the most memory that this process has held so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # where `getrusage` would count what the process held that began this one
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _history(base: str, effort: Effort, results: Results) -> None:
    readers = {
        **_readers(base, results, "short history", effort.history, 10),
        **_readers(base, results, "long history", effort.history * 10, 1),
        "core, short list": (_lister(base, effort.sessions), 10, effort.sessions),
        "core, long list": (_lister(base, effort.sessions * 10), 1, effort.sessions * 10),
    }
    for read, _, _ in readers.values():
        read()
    freeze()
    for _ in range(effort.rounds):
        for name, (read, repeats, size) in readers.items():
            gc.collect()
            start = time.process_time()
            for _ in range(repeats):
                read()
            results.add("history", name, cpu=(time.process_time() - start) / repeats / size * 1e6)
    results.add("history", "core, before the first session of a list", requests=_requests_before_first(base, effort))


_Reader = tuple[Callable[[], Any], int, int]


def _readers(base: str, results: Results, what: str, size: int, repeats: int) -> dict[str, _Reader]:
    url = f"{base}/{Script(turns=size)}"
    makers = {
        "core": _core_reader,
        "LangChain": _langchain_reader,
        "LlamaIndex": _llama_index_reader,
        "SDK": _sdk_reader,
    }
    readers: dict[str, _Reader] = {}
    for name, make in makers.items():
        try:
            readers[f"{name}, {what}"] = make(url), repeats, size
        except ImportError as error:
            results.skipped[f"{name}, history"] = str(error)
    return readers


def _core_reader(url: str) -> Callable[[], Any]:
    from llama_cloud_chat import ChatClient

    session = ChatClient(KEY, base_url=url).session("session-0")
    return session.turns


def _langchain_reader(url: str) -> Callable[[], Any]:
    from langchain_ext import LlamaCloudChatMessageHistory
    from llama_cloud_chat import ChatClient

    client = ChatClient(KEY, base_url=url)
    return lambda: LlamaCloudChatMessageHistory("session-0", client=client).messages


def _llama_index_reader(url: str) -> Callable[[], Any]:
    from llama_cloud_chat import ChatClient
    from llama_index_ext import LlamaCloudChatEngine

    client = ChatClient(KEY, base_url=url)
    return lambda: LlamaCloudChatEngine(client, session_id="session-0").chat_history


def _sdk_reader(url: str) -> Callable[[], Any]:
    from llama_cloud import LlamaCloud

    client = LlamaCloud(api_key=KEY, base_url=url)
    return lambda: client.chat.retrieve("session-0")


def _lister(base: str, size: int) -> Callable[[], Any]:
    from llama_cloud_chat import ChatClient

    client = ChatClient(KEY, base_url=f"{base}/{Script(sessions=size)}")
    return lambda: list(client.list(page_size=100))


def _requests_before_first(base: str, effort: Effort) -> float:
    import httpx

    from llama_cloud_chat import ChatClient

    requests: list[httpx.Request] = []
    http = httpx.Client(event_hooks={"request": [requests.append]})
    client = ChatClient(KEY, base_url=f"{base}/{Script(sessions=effort.sessions)}", http_client=http)
    next(iter(client.list(page_size=10)))
    return len(requests)


def _imports(base: str, effort: Effort, results: Results) -> None:
    statements = dict(_IMPORTS)
    for name in _IMPORTS:
        try:
            _import_time(statements[name])  # makes the bytecode, too
        except ImportError as error:
            results.skipped[f"import {name}"] = str(error)
            del statements[name]
    for _ in range(effort.rounds):
        for name, statement in statements.items():
            results.add("imports", name, cpu=_import_time(statement) * 1e3)


def _import_time(statement: str) -> float:
    code = f"import time; start = time.process_time(); {statement}; print(time.process_time() - start)"
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImportError(done.stderr.strip().rpartition("\n")[2])
    return float(done.stdout)


RACES: dict[str, Race] = {
    "packets": Race(
        "A long answer, one packet per event",
        {"cpu": "µs per event"},
        "httpx + split + json.loads",
        _packets,
    ),
    "blocks": Race(
        "A long answer, packets of 64 KiB",
        {"cpu": "µs per event"},
        "httpx + split + json.loads",
        _blocks,
    ),
    "short": Race(
        "Short turns of five tokens",
        {"first_text": "ms to the first text", "cpu": "ms of CPU per turn"},
        "httpx, raw bytes",
        _short,
    ),
    "ledgers": Race(
        "Short turns of five tokens under keys",
        {"turn": "ms per turn", "cpu": "ms of CPU per turn"},
        "core",
        _ledgers,
    ),
    "crowd": Race(
        "Many streams at once in one process, 50 deltas each, 5 ms apart",
        {"cpu": "ms of CPU per stream", "memory": "KiB per stream"},
        "httpx, raw bytes, async",
        _crowd,
    ),
    "idle": Race(
        "A stream on which nothing happens",
        {"cpu": "% of a core"},
        "httpx, raw bytes",
        _idle,
    ),
    "memory": Race(
        "Memory while a very long answer passes",
        {"memory": "bytes per delta at the peak, beyond the text"},
        "LangChain over nothing, stream",
        _memory,
    ),
    "history": Race(
        "Reading histories, listing sessions",
        {"cpu": "µs per turn or session", "requests": "requests"},
        "core, short history",
        _history,
    ),
    "imports": Race(
        "Imports",
        {"cpu": "ms of CPU"},
        "httpx + pydantic",
        _imports,
    ),
}
