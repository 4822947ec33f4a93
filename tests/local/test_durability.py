"""Nothing is lost or half written: killed at any moment, out of room, or asked by many at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from llama_cloud_chat._errors import ConfigurationError
from llama_cloud_chat.local import AgentTurn, LocalService, WireEvent, scripted_agent, speak
from tests.local import nursery
from tests.local.harness import Api, events_in, write_docs

Start = Callable[..., LocalService]
Connect = Callable[[LocalService], Api]

ROUNDS = 24
ROOT = Path(nursery.__file__).parents[2]


class Nursery:
    """Makes services in processes of their own."""

    def __init__(self, process: subprocess.Popen[str], data: Path, docs: Path) -> None:
        self._process = process
        self._where = f"{data} {docs}\n"

    def begin(self) -> int:
        """Start a service and return the number of its process, without waiting for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(self._where)
        self._process.stdin.flush()
        return int(self._read("child"))

    def listen(self) -> str:
        """Wait until the service that was begun listens, and return its address."""
        return self._read("url")

    def _read(self, wanted: str) -> str:
        assert self._process.stdout is not None
        # A child that was killed may have said its address before that.
        for line in self._process.stdout:
            word, _, value = line.strip().partition(" ")
            if word == wanted:
                return value
        raise AssertionError("the process has ended")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def raised(tmp_path: Path, data: Path, handbook: Path) -> Iterator[Nursery]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.local.nursery"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        yield Nursery(process, data, handbook)
        os.killpg(process.pid, signal.SIGKILL)


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)


def connected(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {nursery.KEY}"}, timeout=20)


def text_in(events: list[dict[str, Any]]) -> str:
    """The text of one turn, of deltas where their whole has not come."""
    text, unconfirmed = "", ""
    for event in events:
        if event["type"] == "text_delta":
            unconfirmed += event["content"]
        elif event["type"] == "text":
            text, unconfirmed = text + event["content"], ""
    return text + unconfirmed


def counted(upto: int) -> str:
    return "".join(f"{number} " for number in range(upto))


def ask_until_killed(http: httpx.Client, process: int, chance: random.Random) -> tuple[str, list[dict[str, Any]]]:
    """Open a session, ask, and kill the service somewhere in the answer; return what had come."""
    session_id = str(http.post("/api/v1/chat").json()["session_id"])
    index_ids = [index["id"] for index in http.get("/api/v1/indexes").json()["items"]]
    received: list[dict[str, Any]] = []
    moment = chance.randrange(40)
    with contextlib.suppress(httpx.TransportError):
        url = f"/api/v1/chat/{session_id}/messages/stream"
        with http.stream("POST", url, json={"index_ids": index_ids, "prompt": "Count!"}) as answer:
            for event in events_in(answer.iter_lines()):
                received.append(event)
                if len(received) == moment + 1:
                    # Somewhere between two packets.
                    time.sleep(chance.random() / 500)
                    kill(process)
    return session_id, received


def check_history(http: httpx.Client, session_id: str, received: list[dict[str, Any]]) -> None:
    history = http.get(f"/api/v1/chat/{session_id}").json()["events"]
    assert history[0] == {"type": "user_input", "content": "Count!"}
    assert history[-1]["type"] == "stop"
    assert history[-1]["is_error"] is True
    kept = text_in(history[1:-1])
    assert kept == counted(len(kept.split()))
    assert kept.startswith(text_in(received))


def test_a_service_killed_at_any_moment_loses_nothing(raised: Nursery, data: Path) -> None:
    chance = random.Random(random.randrange(10**9))
    seen: dict[str, list[dict[str, Any]]] = {}
    for _ in range(ROUNDS):
        process = raised.begin()
        with connected(raised.listen()) as http:
            for session_id, received in list(seen.items())[-3:]:
                check_history(http, session_id, received)
            session_id, received = ask_until_killed(http, process, chance)
            seen[session_id] = received
    process = raised.begin()
    with connected(raised.listen()) as http:
        listed = http.get("/api/v1/chat", params={"page_size": 1000}).json()["items"]
        assert {item["session_id"] for item in listed} == set(seen)
        assert all(item["job_metadata"]["is_error"] for item in listed)
        for session_id, received in seen.items():
            check_history(http, session_id, received)
    kill(process)
    with contextlib.closing(sqlite3.connect(data)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_service_killed_while_it_starts_can_be_started(raised: Nursery, data: Path, handbook: Path) -> None:
    write_docs(handbook, {f"{number}.md": f"Text {number}. " * 500 for number in range(40)})
    for attempt in range(ROUNDS):
        process = raised.begin()
        time.sleep(random.random() * 0.005 * attempt)
        kill(process)
    process = raised.begin()
    with connected(raised.listen()) as http:
        assert http.get("/api/v1/chat").json()["items"] == []
    kill(process)
    for file in (data, Path(f"{data}-index")):
        with contextlib.closing(sqlite3.connect(file)) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_turn_goes_on_when_its_client_is_killed(start: Start, connect: Connect) -> None:
    leave = threading.Event()

    def agent(turn: AgentTurn) -> Iterator[WireEvent]:
        yield {"type": "text_delta", "content": "one "}
        assert leave.wait(60)
        yield from speak("text", ["two"])

    service = start(agent=agent)
    api = connect(service)
    session_id = api.create()
    program = (
        "import httpx, sys, time\n"
        f"with httpx.stream('POST', '{service.base_url}/api/v1/chat/{session_id}/messages/stream',\n"
        f"        headers={{'Authorization': 'Bearer {service.api_key}'}}, timeout=60,\n"
        f"        json={{'index_ids': {service.index_ids}, 'prompt': 'x'}}) as answer:\n"
        "    for line in answer.iter_lines(): print(line, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert "event: delta" in client.stdout.readline()
        client.kill()
    leave.set()
    while (history := api.events(session_id))[-1]["type"] != "stop":
        pass
    assert text_in(history) == "twoone " or text_in(history[1:]).endswith("two")
    assert history[-1]["is_error"] is False


def store_of(service: LocalService) -> sqlite3.Connection:
    """The connection to the data file, found where the service keeps it."""
    (callback,) = [
        callback.__wrapped__ if hasattr(callback, "__wrapped__") else callback
        for _, callback in service._closing._exit_callbacks  # type: ignore[attr-defined]
        if "Store.close" in repr(getattr(callback, "__wrapped__", callback))
    ]
    store = callback.__self__
    db: sqlite3.Connection = store._db
    return db


def fill_disk(db: sqlite3.Connection) -> None:
    """Let the file grow no more: SQLite then says what it says of a full disk."""
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages}")


def make_room(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA max_page_count = 1000000")


@pytest.mark.parametrize("restarted", [False, True])
def test_a_turn_that_finds_the_disk_full_ends_and_does_not_lock_its_session(
    start: Start, connect: Connect, data: Path, restarted: bool
) -> None:
    full = threading.Event()

    def agent(turn: AgentTurn) -> Iterator[WireEvent]:
        yield from speak("text", ["It fits. "])
        if turn.number == 1:
            assert full.wait(60)
            yield {"type": "text_delta", "content": "x" * 100_000}

    service = LocalService([], data=data, agent=agent, api_key="k" * 20, max_prompt_chars=None).start()
    api = connect(service)
    session_id = api.create()
    db = store_of(service)
    with api.stream(session_id) as events:
        next(events)
        next(events)
        fill_disk(db)
        full.set()
        rest = list(events)
    stop = rest[-1]
    assert (stop["type"], stop["is_error"]) == ("stop", True)
    assert "data file" in stop["error"]
    assert "full" in stop["error"]
    # Readers see the end, although it is not in the file.
    history = api.events(session_id)
    assert [event["type"] for event in history] == ["user_input", "text", "stop"]
    assert history[-1] == stop
    assert api.summary(session_id)["job_metadata"]["error"] == stop["error"]
    refused = api.post(session_id, "y" * 100_000)
    assert refused.status_code == 507
    assert "full" in refused.json()["detail"]
    make_room(db)
    if restarted:
        service.stop()
        api = connect(start([], data=data, agent=agent, api_key="k" * 20))
    assert api.events(session_id)[: len(history)] == history
    assert api.ask(session_id, "And now?")[-1]["is_error"] is False
    kinds = [event["type"] for event in api.events(session_id)]
    assert kinds == ["user_input", "text", "stop", "user_input", "text", "stop"]
    service.stop()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_data_file_that_may_not_be_written_is_one_clear_sentence(data: Path) -> None:
    with LocalService([], data=data):
        pass
    data.chmod(0o444)
    with pytest.raises(ConfigurationError, match="is read-only; allow writing") as caught:
        LocalService([], data=data).start()
    assert "\n" not in str(caught.value)
    data.chmod(0o644)
    data.parent.chmod(0o555)
    try:
        with pytest.raises(ConfigurationError, match=r"folder .* is read-only; allow writing"):
            LocalService([], data=data).start()
    finally:
        data.parent.chmod(0o755)


def test_an_index_that_finds_the_disk_full_is_one_clear_sentence_and_leaves_nothing_behind(
    handbook: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(tmp_path.iterdir())

    def fail(path: Path, *_: Any) -> Any:
        # On a full disk SQLite cannot tidy up either.
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").touch()
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("llama_cloud_chat.local._library.index._update", fail)
    with pytest.raises(ConfigurationError, match=r"index .* cannot be written: database or disk is full"):
        LocalService(handbook, data=data).start()
    assert set(tmp_path.iterdir()) == before


async def test_two_hundred_streams_at_once_all_arrive_whole(start: Start) -> None:
    words = [f"word{number} " for number in range(60)]
    both = threading.Barrier(200, timeout=60)

    def agent(turn: AgentTurn) -> Iterator[WireEvent]:
        # Really all at once: nobody begins before everybody is there.
        both.wait()
        yield from speak("text", [f"{turn.prompt}: ", *words])

    service = start(agent=agent)
    options: dict[str, Any] = {
        "base_url": service.base_url,
        "headers": {"Authorization": f"Bearer {service.api_key}"},
        "timeout": 100,
        "verify": ssl.create_default_context(),
    }

    async def ask(number: int) -> str:
        # A client each: two hundred requests on one pool keep that pool busier than the service.
        async with httpx.AsyncClient(**options) as http:
            session_id = (await http.post("/api/v1/chat")).json()["session_id"]
            url = f"/api/v1/chat/{session_id}/messages/stream"
            return (await http.post(url, json={"index_ids": service.index_ids, "prompt": f"q{number}"})).text

    for number, text in enumerate(await asyncio.gather(*map(ask, range(200)))):
        events = list(events_in(text.splitlines()))
        assert events[-1]["is_error"] is False
        assert events[-2]["content"] == f"q{number}: " + "".join(words)


def test_a_client_that_does_not_read_is_let_go_and_takes_no_memory(start: Start, connect: Connect) -> None:
    size, count = 10_000, 4000
    api = connect(start(agent=lambda turn: ({"type": "text_delta", "content": "x" * size} for _ in range(count))))
    session_id = api.create()
    url = f"/api/v1/chat/{session_id}/messages/stream"
    tracemalloc.start()
    try:
        with api.http.stream("POST", url, json={"index_ids": api.index_ids, "prompt": "x"}) as answer:
            while api.summary(session_id)["job_metadata"] is None:
                pass
            kept, _ = tracemalloc.get_traced_memory()
            kinds = [event["type"] for event in events_in(answer.iter_lines())]
    finally:
        tracemalloc.stop()
    assert kept < 30 * 2**20
    # It notices by the missing stop, and finds the rest in the history.
    assert "stop" not in kinds
    assert len(api.events(session_id)) == count + 2


def test_keys_pages_and_sessions_of_other_projects_are_not_seen(start: Start, connect: Connect) -> None:
    api = connect(start(agent=scripted_agent("Hello!"), titles=True))
    my_project, your_project, other = (str(uuid.uuid4()) for _ in range(3))
    mine = api.http.post("/api/v1/chat", params={"project_id": my_project}).json()["session_id"]
    for params in ({}, {"project_id": your_project}, {"project_id": my_project, "organization_id": other}):
        assert api.http.get("/api/v1/chat", params=params).json()["items"] == []
        assert api.http.get(f"/api/v1/chat/{mine}", params=params).status_code == 404
        assert (
            api.http.post(f"/api/v1/chat/{mine}/title", params=params, json={"first_message": "x"}).status_code == 404
        )
        assert api.post(mine, params=params).status_code == 404
        assert api.http.get(f"/api/v1/chat/{mine}/summary", params=params).status_code == 404
        assert api.http.delete(f"/api/v1/chat/{mine}", params=params).status_code == 404
    assert api.http.get(f"/api/v1/chat/{mine}", params={"project_id": my_project}).json()["events"] == []
    assert len(mine) >= 36


def test_a_service_on_the_network_says_so(start: Start) -> None:
    with pytest.warns(UserWarning, match=r"0\.0\.0\.0.*other machines"):
        service = start(host="0.0.0.0", allow_network=True)
    assert service.base_url.startswith("http://127.0.0.1:")
    assert httpx.get(f"{service.base_url}/api/v1/chat").status_code == 401
