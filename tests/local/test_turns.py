"""Running turns: kept as they are made, whoever listens, whatever the agent does."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from llama_cloud_chat.local import AgentTurn, LocalService, WireEvent, speak
from llama_cloud_chat.local._server.store import BegunTurn, Scope, Store
from llama_cloud_chat.local._server.turns import _Ledger
from tests.local.harness import Api

Start = Callable[..., LocalService]
Connect = Callable[[LocalService], Api]

WAIT = 60


class Gate:
    """An agent that says one word, waits to be let on, and says another."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.closed = threading.Event()

    def __call__(self, turn: AgentTurn) -> Iterator[WireEvent]:
        try:
            yield {"type": "text_delta", "content": "one "}
            assert self.open.wait(WAIT)
            yield {"type": "text_delta", "content": "two"}
            yield {"type": "text", "content": "one two"}
        finally:
            self.closed.set()


def whole(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if not event["type"].endswith("_delta")]


def wait_for_stop(api: Api, session_id: str) -> list[dict[str, Any]]:
    """Read the history until the turn is over; the service has nothing to wait on from outside."""
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        events = api.events(session_id)
        if events and events[-1]["type"] == "stop":
            return events
    raise AssertionError("the turn did not end")


def test_events_arrive_while_the_turn_is_being_made(start: Start, connect: Connect) -> None:
    gate = Gate()
    api = connect(start(agent=gate))
    with api.stream(api.create()) as events:
        assert next(events) == {"type": "text_delta", "content": "one "}
        assert not gate.open.is_set()
        gate.open.set()
        assert [event["type"] for event in events] == ["text_delta", "text", "stop"]


def test_the_history_of_a_running_turn_tells_the_text_so_far(start: Start, connect: Connect) -> None:
    gate = Gate()
    api = connect(start(agent=gate))
    session_id = api.create()
    with api.stream(session_id, "Go on?") as events:
        next(events)
        assert api.events(session_id) == [
            {"type": "user_input", "content": "Go on?"},
            {"type": "text_delta", "content": "one "},
        ]
        gate.open.set()
        stop = list(events)[-1]
    assert api.events(session_id) == [
        {"type": "user_input", "content": "Go on?"},
        {"type": "text", "content": "one two"},
        stop,
    ]


def test_a_turn_goes_on_when_its_client_leaves(start: Start, connect: Connect) -> None:
    gate = Gate()
    api = connect(start(agent=gate))
    session_id = api.create()
    with api.stream(session_id) as events:
        next(events)
    gate.open.set()
    history = wait_for_stop(api, session_id)
    assert history[1] == {"type": "text", "content": "one two"}
    assert history[-1]["is_error"] is False


def test_a_second_prompt_while_one_is_running_is_409_and_not_taken_in(start: Start, connect: Connect) -> None:
    gate = Gate()
    api = connect(start(agent=gate))
    session_id = api.create()
    with api.stream(session_id, "First") as events:
        next(events)
        refused = api.post(session_id, "Second")
        gate.open.set()
        list(events)
    assert refused.status_code == 409
    assert "still running" in refused.json()["detail"]
    prompts = [event["content"] for event in api.events(session_id) if event["type"] == "user_input"]
    assert prompts == ["First"]
    assert api.ask(session_id, "Third")[-1]["type"] == "stop"


def test_the_next_prompt_is_taken_as_soon_as_stop_was_read(start: Start, connect: Connect) -> None:
    api = connect(start(agent=lambda turn: speak("text", ["hi"])))
    session_id = api.create()
    for _ in range(20):
        with api.stream(session_id) as events:
            assert [event["type"] for event in events][-1] == "stop"
    assert len(whole(api.events(session_id))) == 60


def test_a_deleted_session_ends_its_running_turn(start: Start, connect: Connect) -> None:
    gate = Gate()
    api = connect(start(agent=gate))
    session_id = api.create()
    with api.stream(session_id) as events:
        next(events)
        api.http.delete(f"/api/v1/chat/{session_id}")
        stop = list(events)[-1]
    assert stop["is_error"] is True
    assert "deleted" in stop["error"]
    gate.open.set()
    assert gate.closed.wait(WAIT)
    assert api.http.get(f"/api/v1/chat/{session_id}").status_code == 404


def test_a_session_deleted_while_its_turn_begins_ends_it_too(
    start: Start, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_begin = Store.begin_turn

    def begin(store: Store, scope: Scope, session_id: str, *arguments: Any) -> BegunTurn:
        begun = really_begin(store, scope, session_id, *arguments)
        store.delete(scope, session_id)
        return begun

    monkeypatch.setattr(Store, "begin_turn", begin)
    api = connect(start(agent=lambda turn: ({"type": "text_delta", "content": "x"} for _ in itertools.count())))
    stop = api.ask(api.create())[-1]
    assert stop["error"] == "The session was deleted before the turn ended."


def test_stopping_the_service_ends_open_streams_with_a_stop(connect: Connect) -> None:
    gate = Gate()
    service = LocalService([], agent=gate).start()
    api = connect(service)
    with api.stream(api.create()) as events:
        next(events)
        began = time.monotonic()
        service.stop()
        took = time.monotonic() - began
        stop = list(events)[-1]
    gate.open.set()
    assert stop["is_error"] is True
    assert "stopped" in stop["error"]
    assert took < 8
    with pytest.raises(httpx.ConnectError):
        api.http.get("/openapi.json")


def test_a_client_that_reads_nothing_does_not_hold_up_the_stop(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    flooded = threading.Event()

    def flood(turn: AgentTurn) -> Iterator[WireEvent]:
        for number in range(3000):
            yield {"type": "text_delta", "content": "x" * 10_000}
            if number == 2000:
                flooded.set()

    service = LocalService([], agent=flood).start()
    api = connect(service)
    with api.http.stream(
        "POST", f"/api/v1/chat/{api.create()}/messages/stream", json={"index_ids": api.index_ids, "prompt": "x"}
    ):
        assert flooded.wait(WAIT)
        began = time.monotonic()
        service.stop()
        assert time.monotonic() - began < 8
    # The server complains about streams that it has to cut; this one ended by itself.
    assert caplog.records == []


def test_an_agent_that_raises_ends_its_turn_with_the_reason(start: Start, connect: Connect) -> None:
    def failing(turn: AgentTurn) -> Iterator[WireEvent]:
        yield {"type": "text_delta", "content": "so far"}
        raise LookupError("no more words")

    api = connect(start(agent=failing))
    session_id = api.create()
    events = api.ask(session_id)
    assert events[0] == {"type": "text_delta", "content": "so far"}
    assert events[-1]["is_error"] is True
    assert events[-1]["error"] == "The agent failed: LookupError: no more words"
    assert api.events(session_id)[1:] == events
    assert api.summary(session_id)["job_metadata"]["error"] == events[-1]["error"]
    assert api.ask(session_id)[-1]["type"] == "stop"


@pytest.mark.parametrize(
    "bad", ["text", {"content": "x"}, {"type": 1}, {"type": "x", "y": object()}, {"type": "x", "y": float("nan")}]
)
def test_an_agent_that_yields_no_event_ends_its_turn_with_an_error(start: Start, connect: Connect, bad: Any) -> None:
    api = connect(start(agent=lambda turn: iter([bad])))
    (stop,) = api.ask(api.create())
    assert stop["is_error"] is True
    assert "The agent failed" in stop["error"]


def test_an_agent_that_is_no_generator_and_raises_at_once_ends_its_turn(start: Start, connect: Connect) -> None:
    def broken(turn: AgentTurn) -> Iterator[WireEvent]:
        raise RuntimeError

    api = connect(start(agent=broken))
    (stop,) = api.ask(api.create())
    assert stop["error"] == "The agent failed: RuntimeError"


def test_a_turn_for_which_there_is_no_thread_ends_and_its_session_goes_on(
    start: Start, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("agent of"):
            raise RuntimeError("can't start new thread")
        really_start(thread)

    api = connect(start(agent=lambda turn: speak("text", ["Hello!"])))
    session_id = api.create()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        (stop,) = api.ask(session_id)
    assert (stop["type"], stop["is_error"]) == ("stop", True)
    assert "so many at once (can't start new thread); ask again later" in stop["error"]
    assert api.ask(session_id)[-1]["is_error"] is False


def test_what_an_agent_yields_is_sent_and_kept_to_the_letter(start: Start, connect: Connect) -> None:
    script = [
        {"type": "text_delta", "content": "half an emoji \ud83d"},
        {"type": "text_delta", "content": "\ude00 and \u2028 a line"},
        {"type": "tool_call", "call_id": "a", "name": "n", "arguments": {"x": [1, None]}},
        {"type": "telepathy", "strength": 0.5, "deep": {"er": "ü"}},
        {"type": "tool_result", "call_id": "a", "name": "n", "result": "plain", "extra": 1},
        {"type": "stop", "is_error": False, "usage": {"total_output_tokens": 7}, "custom": True},
        {"type": "text", "content": "after the stop"},
    ]
    api = connect(start(agent=lambda turn: iter(script)))
    session_id = api.create()
    assert api.ask(session_id) == script[:-1]
    assert api.events(session_id)[1:] == script[:-1]
    assert api.summary(session_id)["job_metadata"]["total_output_tokens"] == 7


def test_a_stop_is_added_with_its_usage(start: Start, connect: Connect) -> None:
    def agent(turn: AgentTurn) -> Iterator[WireEvent]:
        yield from speak("thinking", ["1234", "5678"])
        yield {"type": "tool_call", "call_id": "a", "name": "n", "arguments": {}}
        yield {"type": "tool_call", "call_id": "b", "name": "n", "arguments": {}}
        yield {"type": "tool_result", "call_id": "a", "name": "n", "result": "1234"}
        yield {"type": "tool_result", "call_id": "b", "name": "n", "result": "1234"}
        yield {"type": "text_delta", "content": "1234"}

    api = connect(start(agent=agent))
    session_id = api.create()
    stop = api.ask(session_id, "1234")[-1]
    usage = stop["usage"]
    assert usage["turns"] == 2
    assert usage["total_input_tokens"] == 3
    assert usage["total_output_tokens"] == 4
    assert usage["duration_ms"] > 0
    assert stop["error"] is None
    assert "skipped_index_ids" not in stop
    assert api.summary(session_id)["job_metadata"] == {
        **usage,
        "is_error": False,
        "error": None,
        "export_config_ids": None,
    }


def test_the_same_conversation_takes_as_many_tokens_however_long_its_turns_took(start: Start, connect: Connect) -> None:
    durations = {"a": 1.0, "b": 123456.789}

    def agent(turn: AgentTurn) -> Iterator[WireEvent]:
        yield {"type": "text", "content": "answer"}
        if turn.number == 1:
            yield {"type": "stop", "is_error": False, "usage": {"duration_ms": durations[turn.prompt]}}

    api = connect(start(agent=agent))
    read = []
    for prompt in durations:
        session_id = api.create()
        api.ask(session_id, prompt)
        read.append(api.ask(session_id, "again")[-1]["usage"]["total_input_tokens"])
    assert read[0] == read[1] > 2


def test_an_agent_is_given_the_turn_and_what_came_before(start: Start, connect: Connect) -> None:
    turns: list[AgentTurn] = []

    def agent(turn: AgentTurn) -> Iterator[WireEvent]:
        turns.append(turn)
        return speak("text", [f"answer {turn.number}"])

    api = connect(start(agent=agent))
    session_id = api.create()
    api.ask(session_id, "first")
    api.ask(session_id, "second", index_ids=["idx-gone"])
    assert [turn.prompt for turn in turns] == ["first", "second"]
    assert [turn.number for turn in turns] == [1, 2]
    assert turns[1].session_id == session_id
    assert turns[0].history == []
    assert [event["type"] for event in turns[1].history] == ["user_input", "text", "stop"]
    assert turns[1].history[1]["content"] == "answer 1"
    assert turns[1].skipped_index_ids == ["idx-gone"]
    assert turns[1].cancelled() is True


def test_an_agent_that_blocks_does_not_hold_up_other_streams(start: Start, connect: Connect) -> None:
    gate = Gate()

    def agent(turn: AgentTurn) -> Iterator[WireEvent]:
        return gate(turn) if turn.prompt == "block" else speak("text", ["quick"])

    api = connect(start(agent=agent))
    sessions = [api.create() for _ in range(60)]
    for session_id in sessions:
        with api.stream(session_id, "block") as events:
            next(events)
    assert api.ask(api.create(), "quick")[-1]["is_error"] is False
    gate.open.set()
    for session_id in sessions:
        assert wait_for_stop(api, session_id)[1]["content"] == "one two"


async def test_fifty_streams_at_once_all_arrive_whole(start: Start) -> None:
    words = [f"word{number} " for number in range(200)]
    service = start(agent=lambda turn: speak("text", [f"{turn.prompt}: ", *words]))
    headers = {"Authorization": f"Bearer {service.api_key}"}
    limits = httpx.Limits(max_connections=100)
    async with httpx.AsyncClient(base_url=service.base_url, headers=headers, timeout=60, limits=limits) as http:

        async def ask(number: int) -> tuple[str, list[dict[str, Any]]]:
            session_id = (await http.post("/api/v1/chat")).json()["session_id"]
            url = f"/api/v1/chat/{session_id}/messages/stream"
            answer = await http.post(url, json={"index_ids": service.index_ids, "prompt": f"q{number}"})
            assert answer.status_code == 200
            history = (await http.get(f"/api/v1/chat/{session_id}")).json()["events"]
            return answer.text, history

        for number, (text, history) in enumerate(await asyncio.gather(*map(ask, range(50)))):
            assert text.count("event: delta") == 201
            assert text.count('"type":"stop"') == 1
            assert history[1]["content"] == f"q{number}: " + "".join(words)


def test_prompts_racing_for_one_session_are_taken_one_at_a_time(start: Start, connect: Connect) -> None:
    gate = Gate()
    api = connect(start(agent=gate))
    session_id = api.create()
    refused: list[int] = []

    def ask(number: int) -> int:
        status = api.post(session_id, f"prompt {number}").status_code
        if status == 409:
            refused.append(number)
            if len(refused) == 7:
                gate.open.set()
        return status

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(ask, range(8)))
    assert statuses == [200] + [409] * 7
    assert [event["type"] for event in api.events(session_id)].count("user_input") == 1


def test_a_silent_stream_carries_keep_alive_comments(start: Start, connect: Connect) -> None:
    gate = Gate()
    api = connect(start(agent=gate, keep_alive=0.05))
    url = f"/api/v1/chat/{api.create()}/messages/stream"
    with api.http.stream("POST", url, json={"index_ids": api.index_ids, "prompt": "x"}) as answer:
        comments = 0
        for line in answer.iter_lines():
            if line == ": keep-alive":
                comments += 1
                if comments == 3:
                    gate.open.set()
    assert comments >= 3


def test_a_pace_is_kept_between_deltas(start: Start, connect: Connect) -> None:
    api = connect(start(agent=lambda turn: speak("text", ["a", "b", "c", "d"]), pace=0.05))
    began = time.monotonic()
    api.ask(api.create())
    assert time.monotonic() - began >= 0.2


def test_thousands_of_deltas_are_compacted_into_one_segment(start: Start, connect: Connect) -> None:
    api = connect(start(agent=lambda turn: speak("text", (f"{number} " for number in range(5000)))))
    session_id = api.create()
    events = api.ask(session_id)
    assert len(events) == 5002
    history = api.events(session_id)
    assert [event["type"] for event in history] == ["user_input", "text", "stop"]
    assert history[1] == events[-2]


def entered(*script: tuple[str, str], one_batch: bool) -> list[str]:
    """What the history holds after these events."""
    ledger, kept = _Ledger(1), dict[int, str]()
    for kind, content in script:
        ledger.enter({"type": kind, "content": content}, f"{kind}:{content}")
        if not one_batch:
            settle(ledger, kept)
    settle(ledger, kept)
    return [kept[position] for position in sorted(kept)]


def settle(ledger: _Ledger, kept: dict[int, str]) -> None:
    puts, drops = ledger.settle()
    kept.update(puts)
    for position in drops:
        del kept[position]


@pytest.mark.parametrize("one_batch", [True, False])
def test_a_whole_takes_the_place_of_its_deltas(one_batch: bool) -> None:
    late = [("thinking_delta", "a"), ("text_delta", "b"), ("text_delta", "c"), ("thinking", "a"), ("text", "bc")]
    assert entered(*late, one_batch=one_batch) == ["thinking:a", "text:bc"]
    contradicting = [("text_delta", "a"), ("text", "b")]
    assert entered(*contradicting, one_batch=one_batch) == ["text:b"]
    unannounced = [("text_delta", "a"), ("text", "a"), ("text", "b"), ("text_delta", "c"), ("text", "c")]
    assert entered(*unannounced, one_batch=one_batch) == ["text:a", "text:b", "text:c"]
    unfinished = [("text_delta", "a"), ("tool_call", ""), ("text_delta", "b"), ("text", "b")]
    assert entered(*unfinished, one_batch=one_batch) == ["text_delta:a", "tool_call:", "text:b"]
    interleaved = [("text_delta", "a"), ("thinking_delta", "b"), ("text_delta", "c"), ("text", "c")]
    assert entered(*interleaved, one_batch=one_batch) == ["text_delta:a", "thinking_delta:b", "text:c"]
