"""Faults on demand: each happens once, to the operation it was asked for, and nothing else does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from llama_cloud_chat import ChatClient, TurnFailedError
from llama_cloud_chat._errors import ConfigurationError
from llama_cloud_chat.local import LocalService, scripted_agent
from tests.local.harness import Api, events_in

Start = Callable[..., LocalService]
Connect = Callable[[LocalService], Api]

WORDS = "one two three four five six seven eight nine ten"


@pytest.fixture
def service(start: Start) -> LocalService:
    return start(agent=[WORDS])


def prompts_in(api: Api, session_id: str) -> int:
    return [event["type"] for event in api.events(session_id)].count("user_input")


def test_a_refused_request_gets_no_answer_and_is_not_taken_in(service: LocalService, api: Api) -> None:
    session_id = api.create()
    service.fail_next(refuse=True)
    with pytest.raises(httpx.RemoteProtocolError):
        api.post(session_id)
    assert prompts_in(api, session_id) == 0
    assert api.ask(session_id)[-1]["is_error"] is False


def test_a_status_comes_with_its_headers_and_body(service: LocalService, api: Api) -> None:
    session_id = api.create()
    service.fail_next(status=429, headers={"Retry-After": "7", "X-Request-Id": "r1"}, body={"detail": "Slow down"})
    service.fail_next(status=502, headers={"Content-Type": "text/html"}, body=b"<h1>Bad gateway</h1>")
    answer = api.post(session_id)
    assert (answer.status_code, answer.json()) == (429, {"detail": "Slow down"})
    assert (answer.headers["retry-after"], answer.headers["x-request-id"]) == ("7", "r1")
    answer = api.post(session_id)
    assert (answer.status_code, answer.text) == (502, "<h1>Bad gateway</h1>")
    assert answer.headers["content-type"] == "text/html"
    assert prompts_in(api, session_id) == 0
    assert api.post(session_id).status_code == 200


@pytest.mark.parametrize("fault", [{"refuse": True}, {"status": 500}])
def test_an_answer_can_be_lost_after_the_prompt_was_taken(
    service: LocalService, api: Api, fault: dict[str, Any]
) -> None:
    session_id = api.create()
    service.fail_next(**fault, taken=True)
    try:
        assert api.post(session_id).status_code == 500
    except httpx.RemoteProtocolError:
        assert "refuse" in fault
    while api.events(session_id)[-1]["type"] != "stop":
        pass
    assert prompts_in(api, session_id) == 1


@pytest.mark.parametrize("size", [0, 1, 40, 300])
def test_a_stream_is_cut_after_so_many_bytes(service: LocalService, api: Api, size: int) -> None:
    session_id = api.create()
    service.fail_next(cut_after=size)
    received = b""
    url = f"/api/v1/chat/{session_id}/messages/stream"
    with api.http.stream("POST", url, json={"index_ids": api.index_ids, "prompt": "x"}) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            for chunk in answer.iter_raw():
                received += chunk
    assert len(received) == size
    while api.events(session_id)[-1]["type"] != "stop":
        pass
    assert {"type": "text", "content": WORDS} in api.events(session_id)


def test_a_stream_stalls_after_so_many_bytes_until_the_client_leaves(service: LocalService, api: Api) -> None:
    session_id = api.create()
    service.fail_next(stall_after=60)
    received = b""
    url = f"/api/v1/chat/{session_id}/messages/stream"
    with api.http.stream("POST", url, json={"index_ids": api.index_ids, "prompt": "x"}, timeout=2) as answer:  # noqa: SIM117
        with pytest.raises(httpx.ReadTimeout):
            for chunk in answer.iter_raw():
                received += chunk
    assert len(received) == 60
    assert api.ask(session_id)[-1]["is_error"] is False


def test_a_service_with_a_stalled_stream_stops_in_time(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    service = LocalService([], agent=[WORDS]).start()
    api = connect(service)
    service.fail_next(stall_after=10)
    session_id = api.create()
    with api.http.stream(
        "POST", f"/api/v1/chat/{session_id}/messages/stream", json={"index_ids": api.index_ids, "prompt": "x"}
    ):
        began = time.monotonic()
        service.stop()
        assert time.monotonic() - began < 8
    assert caplog.records == []


def test_a_turn_ends_with_the_reason_it_was_given(service: LocalService) -> None:
    service.fail_next(stop_with="The model is overloaded.")
    with ChatClient(service.api_key, base_url=service.base_url) as client:
        session = client.create(service.index_ids)
        with pytest.raises(TurnFailedError, match="The model is overloaded"):
            session.ask("x")
        assert session.ask("x").text == WORDS


def test_a_slow_turn_is_slow_and_whole(service: LocalService, api: Api) -> None:
    session_id = api.create()
    service.fail_next(pace=0.03)
    began = time.monotonic()
    assert api.ask(session_id)[-2]["content"] == WORDS
    assert time.monotonic() - began >= 0.3


def test_the_core_recovers_from_faults_without_asking_twice(service: LocalService, api: Api) -> None:
    with ChatClient(service.api_key, base_url=service.base_url) as client:
        session = client.create(service.index_ids)
        service.fail_next(cut_after=150)
        assert session.ask("once").text == WORDS
        service.fail_next(status=500, taken=True)
        assert session.ask("twice").text == WORDS
        service.fail_next(refuse=True)
        assert session.ask("thrice").text == WORDS
    assert prompts_in(api, session.session_id) == 3


def test_faults_happen_to_the_operation_they_were_asked_for_in_order(service: LocalService, api: Api) -> None:
    service.fail_next(status=503, on="create", times=2)
    service.fail_next(status=504, on="create")
    service.fail_next(status=500, on="get_summary")
    assert api.http.get("/api/v1/chat").status_code == 200
    assert [api.http.post("/api/v1/chat").status_code for _ in range(4)] == [503, 503, 504, 201]
    session_id = api.create()
    assert api.http.get(f"/api/v1/chat/{session_id}/summary").status_code == 500
    service.fail_next(status=500, on="list")
    service.fail_no_more()
    assert api.http.get("/api/v1/chat").status_code == 200


def test_a_request_without_the_key_does_not_use_a_fault_up(service: LocalService, api: Api) -> None:
    service.fail_next(status=500, on="list")
    assert httpx.get(f"{service.base_url}/api/v1/chat").status_code == 401
    assert api.http.get("/api/v1/chat").status_code == 500


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one"),
        ({"refuse": True, "status": 500}, "exactly one"),
        ({"status": 200}, "400 to 599"),
        ({"cut_after": -1}, "negative"),
        ({"cut_after": 1, "taken": True}, "taken"),
        ({"status": 500, "on": "everything"}, "no operation"),
        ({"pace": 1, "on": "list"}, "fault"),
        ({"status": 500, "times": 0}, "times"),
    ],
)
def test_faults_that_make_no_sense_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        LocalService([]).fail_next(**arguments)


def test_events_can_be_read_up_to_the_cut(service: LocalService, api: Api) -> None:
    service.fail_next(cut_after=130)
    url = f"/api/v1/chat/{api.create()}/messages/stream"
    read: list[str] = []
    with (
        api.http.stream("POST", url, json={"index_ids": api.index_ids, "prompt": "x"}) as answer,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        read.extend(event["content"] for event in events_in(answer.iter_lines()))
    assert WORDS.startswith("".join(read))
    assert read


def test_a_script_may_be_a_function_of_the_turn(start: Start, connect: Connect) -> None:
    call = {"type": "tool_call", "call_id": "c", "name": "n", "arguments": {}}
    api = connect(start(agent=scripted_agent(lambda turn: [call, f"You said {turn.prompt}, {turn.number} times."])))
    session_id = api.create()
    api.ask(session_id, "hi")
    events = api.ask(session_id, "hi")
    assert [event["type"] for event in events] == ["tool_call", *["text_delta"] * 5, "text", "stop"]
    assert events[-2]["content"] == "You said hi, 2 times."


def test_a_script_is_said_at_every_turn(start: Start, connect: Connect) -> None:
    api = connect(start(agent=iter(["Hello!", {"type": "text", "content": "Again."}])))
    session_id = api.create()
    for _ in range(2):
        assert [event["content"] for event in api.ask(session_id)[:-1]] == ["Hello!", "Hello!", "Again."]
