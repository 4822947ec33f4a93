"""Starting, stopping, restarting; and what bad input is answered with."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from llama_cloud_chat import ChatClient
from llama_cloud_chat._errors import ConfigurationError
from llama_cloud_chat.local import HANDBOOK, AgentTurn, LocalService, WireEvent, speak
from llama_cloud_chat.local._server import store
from tests.local.harness import Api, write_docs

Start = Callable[..., LocalService]
Connect = Callable[[LocalService], Api]


def test_sessions_survive_a_restart_on_the_same_data_file(
    tmp_path: Path, handbook: Path, start: Start, connect: Connect
) -> None:
    data = tmp_path / "sessions.db"
    with LocalService(handbook, data=data, api_key="k" * 20) as first:
        api = connect(first)
        session_id = api.create(index_ids=first.index_ids, shared_access="read_only")
        api.ask(session_id, "How many days of leave?")
        before = api.http.get(f"/api/v1/chat/{session_id}").json()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["sessions.db", "sessions.db-index"]
    api = connect(start(handbook, data=data, api_key="k" * 20))
    assert api.http.get(f"/api/v1/chat/{session_id}").json() == before
    again = api.ask(session_id, "What else does it say about that?")
    assert again[-1]["is_error"] is False
    assert "skipped_index_ids" not in again[-1]
    assert "How many days of leave?" in next(e for e in again if e["type"] == "thinking")["content"]


def test_a_start_without_documents_leaves_what_was_read_before(tmp_path: Path, handbook: Path) -> None:
    data = tmp_path / "sessions.db"
    with LocalService(handbook, data=data):
        pass
    with LocalService([], data=data):
        pass
    read: list[str] = []
    with LocalService(handbook, data=data, on_progress=lambda done, total, name: read.append(name)):
        assert read == []


def test_a_turn_that_was_running_when_the_process_died_is_closed(
    tmp_path: Path, start: Start, connect: Connect
) -> None:
    data = tmp_path / "sessions.db"
    with LocalService([], data=data, agent=lambda turn: speak("text", ["hi"])) as service:
        api = connect(service)
        session_id = api.create()
        api.ask(session_id)
    with sqlite3.connect(data) as db:
        # As a process leaves it that dies after the first delta.
        db.execute("DELETE FROM events WHERE position > 1")
        db.execute("UPDATE events SET data = ? WHERE position = 1", ('{"type":"text_delta","content":"h"}',))
        db.execute("UPDATE sessions SET is_running = 1, job = NULL")
    db.close()
    api = connect(start(data=data, agent=lambda turn: speak("text", ["again"])))
    history = api.events(session_id)
    assert [event["type"] for event in history] == ["user_input", "text_delta", "stop"]
    assert history[-1]["is_error"] is True
    assert "restarted" in history[-1]["error"]
    assert api.summary(session_id)["job_metadata"]["is_error"] is True
    assert api.ask(session_id)[-1]["is_error"] is False


def test_a_bound_session_whose_index_is_gone_skips_it(
    tmp_path: Path, handbook: Path, start: Start, connect: Connect
) -> None:
    data = tmp_path / "sessions.db"
    with LocalService(handbook, data=data) as service:
        session_id = connect(service).create(index_ids=service.index_ids)
        index_ids = service.index_ids
    api = connect(start(data=data))
    assert api.ask(session_id, "Leave?", index_ids=index_ids)[-1]["skipped_index_ids"] == index_ids


def test_the_index_ids_are_in_the_order_of_docs_and_stay_the_same(tmp_path: Path, start: Start) -> None:
    one = write_docs(tmp_path / "one", {"a.md": "One."})
    two = write_docs(tmp_path / "two", {"b.md": "Two."})
    first = start([one, two])
    second = start([two, str(one), two / "b.md"])
    assert first.index_ids == second.index_ids[1::-1]
    assert len(set(second.index_ids)) == 3
    assert list(first.index_names.values()) == ["one", "two"]


def test_how_many_documents_were_read_is_told_for_each_index(tmp_path: Path, start: Start) -> None:
    docs = write_docs(tmp_path / "docs", {"a.md": "One.", "b.md": "Two.", "empty.md": ""})
    service = start([docs, HANDBOOK])
    assert list(service.document_counts.values()) == [2, 3]
    assert start().document_counts == {"idx-empty": 0}


def test_the_handbook_of_the_package_is_that_of_the_examples() -> None:
    examples = Path(__file__).parent.parent.parent / "examples" / "handbook"
    assert {file.name: file.read_bytes() for file in examples.iterdir()} == {
        file.name: file.read_bytes() for file in HANDBOOK.iterdir()
    }


def test_each_service_has_its_own_key_and_port(start: Start) -> None:
    services = [start() for _ in range(3)]
    assert len({service.api_key for service in services}) == 3
    assert len({service.base_url for service in services}) == 3
    assert all(len(service.api_key) >= 32 for service in services)
    assert services[0].api_key not in repr(services[0])


def test_a_service_is_started_once_at_a_time(start: Start) -> None:
    with raises_one_sentence("already running"):
        start().start()


@pytest.mark.parametrize(("host", "address"), [("localhost", "127.0.0.1"), ("::1", "[::1]")])
def test_a_service_listens_on_any_loopback_address(host: str, address: str, start: Start) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        if ":" in host:
            pytest.skip("this machine has no IPv6")
    service = start(host=host)
    assert service.base_url.startswith(f"http://{address}:")
    assert httpx.get(f"{service.base_url}/openapi.json").status_code == 200


def test_a_service_can_be_started_again_after_it_was_stopped(connect: Connect) -> None:
    service = LocalService([])
    for _ in range(3):
        with service:
            assert connect(service).http.get("/api/v1/chat").json()["items"] == []
        service.stop()
    with pytest.raises(ConfigurationError, match="not running"):
        _ = service.base_url


def test_nothing_is_left_behind_when_a_service_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = set(threading.enumerate())
    with LocalService([]) as service:
        assert httpx.get(f"{service.base_url}/openapi.json").status_code == 200
        assert list(tmp_path.iterdir())
    assert set(threading.enumerate()) <= before
    assert list(tmp_path.iterdir()) == []
    gc.collect()


def test_a_client_that_is_just_being_let_in_is_not_forgotten_when_a_service_stops(
    recwarn: pytest.WarningsRecorder,
) -> None:
    ports: list[str] = []
    for _ in range(5):
        with LocalService([]) as service, ThreadPoolExecutor(1) as knocking:
            address = httpx.URL(service.base_url)
            ports.append(f"laddr=('{address.host}', {address.port})")
            knocked = threading.Event()
            knocking.submit(_knock_until_nobody_answers, (address.host, address.port or 0), knocked)
            knocked.wait()
            service.stop()
        gc.collect()
    assert [str(each.message) for each in recwarn if any(port in str(each.message) for port in ports)] == []


def _knock_until_nobody_answers(address: tuple[str, int], knocked: threading.Event) -> None:
    connections: deque[socket.socket] = deque()
    with contextlib.suppress(OSError):
        while True:
            connections.append(socket.create_connection(address))
            if len(connections) > 50:
                connections.popleft().close()
                knocked.set()
    for connection in connections:
        connection.close()


async def test_a_service_starts_and_stops_inside_a_running_event_loop() -> None:
    with LocalService([]) as service:
        async with httpx.AsyncClient() as http:
            answer = await http.get(f"{service.base_url}/openapi.json")
    assert answer.status_code == 200
    await asyncio.sleep(0)


def test_the_installed_packages_are_read_when_no_docs_are_given(start: Start, connect: Connect) -> None:
    service = start(None)
    api = connect(service)
    assert list(service.index_names.values()) == ["Installed packages"]
    events = api.ask(api.create(index_ids=service.index_ids), "How do I set a timeout in httpx?")
    # A word that the first look-up has not found is looked for by itself.
    result = next(event["result"] for event in events if event["type"] == "tool_result")
    assert "httpx.md" in {each["metadata"]["file_name"] for each in result["results"]}
    answer = events[-2]["content"]
    assert "httpx" in answer.lower()
    assert "timeout" in answer.lower()


def raises_one_sentence(match: str) -> Any:
    return pytest.raises(ConfigurationError, match=match)


@pytest.mark.parametrize(
    ("files", "docs", "message"),
    [
        ({}, "missing", "no folder or file"),
        ({"empty/note.doc": "x"}, "empty", "holds nothing the service can read.*\\.md"),
        ({"void/a.md": " \n"}, "void", "holds nothing the service can read.*a.md is empty"),
        ({"hidden/.git/a.md": "text"}, "hidden", "holds nothing"),
        ({"one.odt": "x"}, "one.odt", "not a file the service reads"),
        ({"one.pdf": "x"}, "one.pdf", "not a PDF that can be opened"),
        ({"void.md": ""}, "void.md", "is empty"),
        ({"nul.txt": "a\0b"}, "nul.txt", "binary data"),
    ],
)
def test_docs_that_cannot_be_read_are_one_clear_sentence(
    tmp_path: Path, files: dict[str, str], docs: str, message: str
) -> None:
    write_docs(tmp_path, files)
    data = tmp_path / "sessions.db"
    with raises_one_sentence(message) as caught:
        LocalService(tmp_path / docs, data=data).start()
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert not data.exists()


def test_a_file_that_is_not_utf8_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("Grüße".encode("latin-1"))
    with raises_one_sentence("latin.txt.*not text in UTF-8"):
        LocalService(tmp_path / "latin.txt").start()


def test_a_bad_file_in_a_good_folder_is_skipped_and_listed(handbook: Path, start: Start) -> None:
    (handbook / "latin.txt").write_bytes("Grüße".encode("latin-1"))
    (handbook / "void.md").write_text("")
    os.mkfifo(handbook / "pipe.md")
    (handbook / "dangling.md").symlink_to(handbook / "nowhere.md")
    service = start(handbook)
    assert {each.path.name: each.reason for each in service.skipped} == {
        "latin.txt": "is not text in UTF-8",
        "void.md": "is empty",
        "pipe.md": "is not a regular file",
        "dangling.md": "cannot be opened (No such file or directory)",
    }


def test_a_file_that_is_too_large_is_skipped(handbook: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llama_cloud_chat.local._library.readers.MAX_TEXT_BYTES", 150)
    assert [each.path.name for each in start(handbook).skipped] == ["leave.md"]


def test_docs_given_twice_are_refused(handbook: Path) -> None:
    with raises_one_sentence("given twice"):
        LocalService([handbook, str(handbook)]).start()


def test_a_port_in_use_is_one_clear_sentence(tmp_path: Path, start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with raises_one_sentence(f"Port {port} .*choose another"):
            LocalService([], port=port, data=tmp_path / "sessions.db").start()
    assert list(tmp_path.iterdir()) == []
    assert start(port=port).base_url == f"http://127.0.0.1:{port}"


def test_a_data_file_from_something_else_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    text, database, newer = tmp_path / "notes.txt", tmp_path / "other.db", tmp_path / "newer.db"
    text.write_text("These are my notes. " * 100)
    with sqlite3.connect(database) as db:
        db.execute("CREATE TABLE sessions (x)")
    db.close()
    with LocalService([], data=newer):
        pass
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    for path, message in [(text, "not a data file"), (database, "not a data file"), (newer, "format 99")]:
        before = path.read_bytes()
        with raises_one_sentence(message):
            LocalService([], data=path).start()
        assert path.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "other.db", "newer.db"}


@pytest.mark.parametrize(("name", "message"), [("folder", "is a folder"), ("no/such/file.db", "create it")])
def test_a_data_file_that_cannot_be_made_is_one_clear_sentence(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    with raises_one_sentence(message):
        LocalService([], data=tmp_path / name).start()


def test_a_data_file_that_is_damaged_is_one_clear_sentence(tmp_path: Path) -> None:
    data = tmp_path / "sessions.db"
    with LocalService([], data=data):
        pass
    content = data.read_bytes()
    data.write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    with raises_one_sentence("cannot be used.*name another file"):
        LocalService([], data=data).start()


def test_a_data_file_serves_one_service_at_a_time(tmp_path: Path, start: Start, connect: Connect) -> None:
    data = tmp_path / "sessions.db"
    api = connect(start(data=data))
    session_id = api.create()
    with raises_one_sentence("in use by another service"):
        LocalService([], data=data).start()
    assert api.events(session_id) == []


def test_of_two_services_that_make_one_data_file_at_the_same_time_one_keeps_it(
    tmp_path: Path, start: Start, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, first = tmp_path / "sessions.db", list[LocalService]()
    really_connect = store._connect

    def be_overtaken(path: Path) -> Any:
        # The file was not there when it was looked for, and is now.
        monkeypatch.setattr(store, "_connect", really_connect)
        first.append(start(data=data))
        return really_connect(path)

    monkeypatch.setattr(store, "_connect", be_overtaken)
    with raises_one_sentence("in use by another service"):
        LocalService([], data=data).start()
    session_id = connect(first[0]).create()
    first[0].stop()
    api = connect(start(data=data, api_key=first[0].api_key))
    assert api.events(session_id) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"host": "example.com"}, "loopback"),
        ({"host": "0.0.0.0"}, "allow_network=True"),
        ({"url_seconds": 0}, "url_seconds"),
        ({"agent": 7}, "agent must be"),
        ({"port": 70000}, "65535"),
        ({"max_prompt_chars": 0}, "max_prompt_chars"),
        ({"max_prompt_chars": True}, "max_prompt_chars"),
        ({"max_prompt_chars": "1000"}, "max_prompt_chars"),
        ({"pace": -1}, "pace"),
        ({"pace": float("nan")}, "pace"),
        ({"keep_alive": 0}, "keep_alive"),
        ({"api_key": ""}, "api_key"),
        ({"api_key": "a b\n"}, "api_key"),
        ({"api_key": "my key"}, "api_key"),
        ({"api_key": 7}, "api_key"),
        ({"pace": float("inf")}, "pace"),
        ({"pace": True}, "pace"),
        ({"keep_alive": 1e12}, "keep_alive"),
    ],
)
def test_an_argument_that_cannot_work_is_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    with raises_one_sentence(message):
        LocalService([], **arguments)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serving_in_the_foreground_ends_cleanly_on_a_signal(number: int) -> None:
    program = (
        "from llama_cloud_chat.local import LocalService\n"
        "service = LocalService([])\n"
        "service.serve_forever(lambda each: print(each.base_url, flush=True))\n"
        "print('stopped', service)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        base_url = process.stdout.readline().strip()
        assert httpx.get(f"{base_url}/openapi.json").status_code == 200
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "stopped <LocalService stopped>\n", "")


def test_ctrl_c_ends_a_service_that_still_reads_and_the_next_one_goes_on(tmp_path: Path, handbook: Path) -> None:
    data = tmp_path / "sessions.db"
    write_docs(handbook, {f"{number:03}.md": f"Text {number}." for number in range(150)})

    def interrupt(done: int, total: int, name: str) -> None:
        if done == 120:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        LocalService(handbook, data=data, on_progress=interrupt).serve_forever(lambda _: pytest.fail("it serves"))
    left: list[int] = []
    with LocalService(handbook, data=data, on_progress=lambda done, total, name: left.append(total)):
        assert left[0] == 53


def test_serving_in_the_foreground_needs_the_main_thread() -> None:
    caught: list[BaseException] = []

    def serve() -> None:
        try:
            LocalService([]).serve_forever()
        except ConfigurationError as error:
            caught.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


def test_an_agent_that_hangs_does_not_keep_the_service_from_stopping(connect: Connect) -> None:
    release = threading.Event()

    def hang(turn: AgentTurn) -> Iterator[WireEvent]:
        yield {"type": "text_delta", "content": "x"}
        release.wait(60)

    service = LocalService([], agent=hang).start()
    api = connect(service)
    with api.stream(api.create()) as events:
        next(events)
        service.stop()
        assert next(events)["type"] == "stop"
    release.set()


def test_turns_are_streamed_in_a_process_whose_own_uvicorn_has_ended(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sse_starlette.sse.AppStatus.should_exit", True)  # as its handler of signals leaves it
    service = start()
    with ChatClient(service.api_key, base_url=service.base_url) as client:
        assert client.create(service.index_ids).ask("How many days of leave?").is_complete
