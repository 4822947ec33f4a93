"""One turn, as it streams, and as the history keeps it."""

from __future__ import annotations

import pytest
from llama_cloud import LlamaCloud

from llama_cloud_chat import ChatClient

from .conftest import Came
from .wire import Answer, Event, Wire, told

DELTAS = {"thinking_delta": "thinking", "text_delta": "text"}
KNOWN = {*DELTAS, *DELTAS.values(), "tool_call", "tool_result", "user_input", "stop"}


def kinds(events: list[Event]) -> list[str]:
    return list(dict.fromkeys(str(event.get("type")) for event in events))


def test_the_content_type(turn: Answer, came: Came) -> None:
    """A turn is text/event-stream, and not compressed when that is not wanted."""
    came(f"{turn.status} {turn.headers.get('content-type')}, {turn.headers.get('content-encoding', 'as it is')}")
    assert turn.headers["content-type"].startswith("text/event-stream")
    assert turn.headers.get("content-encoding", "identity") == "identity"


def test_it_streams(turn: Answer, came: Came) -> None:
    """A turn arrives piece by piece, unless it is over within half a second."""
    first = turn.arrived(b"text_delta")
    came(f"{len(turn.pieces)} pieces, first text after {first or 0:.1f} s of {turn.ended:.1f} s")
    assert first is not None
    assert len(turn.pieces) > 1 or turn.ended < 0.5


def test_the_line_after_the_stop(turn: Answer, came: Came) -> None:
    """After the stop the line is closed within five seconds."""
    stopped = turn.arrived(b'"stop"')
    assert stopped is not None
    came(f"after {turn.ended - stopped:.1f} s")
    assert turn.ended - stopped < 5


def test_event_names(turn: Answer, came: Came) -> None:
    """Deltas come under the event name delta, everything else under message."""
    pairs = {(message.name, message.event.get("type")) for message in turn.messages if message.data}
    came(", ".join(sorted(f"{name or '(none)'}: {kind}" for name, kind in pairs)))
    assert {name for name, kind in pairs if kind in DELTAS} <= {"delta"}
    assert {name for name, kind in pairs if kind not in DELTAS} <= {"message"}


def test_event_types(turn: Answer, came: Came) -> None:
    """Every event is a JSON object of a known type."""
    came(", ".join(kinds(turn.events)))
    assert set(kinds(turn.events)) <= KNOWN


def test_keep_alives(turn: Answer, came: Came) -> None:
    """Whatever else stands on the line is a comment: no id, no retry."""
    others = [line for message in turn.messages for line in message.others]
    came(f"{len(others)} lines: {', '.join(sorted(set(others))[:3])}" if others else "nothing else")
    assert all(line.startswith(":") for line in others)


def test_deltas_and_wholes(turn: Answer, came: Came) -> None:
    """A segment arrives as deltas, then whole, and both say the same."""
    deltas, is_same, count = dict.fromkeys(DELTAS.values(), ""), True, 0
    for event in turn.events:
        kind = event.get("type")
        if kind in DELTAS:
            deltas[DELTAS[kind]] += event["content"]
        elif kind in deltas:
            count += 1
            is_same = is_same and event["content"] == deltas[kind]
            deltas[kind] = ""
    left = {kind for kind, text in deltas.items() if text}
    came(f"{count} wholes, {'the same' if is_same else 'NOT the same'}, never whole: {', '.join(left) or 'none'}")
    assert count
    assert is_same
    assert not left


def test_the_order_of_a_turn(turn: Answer, came: Came) -> None:
    """The stop is the last event, there is one, it has no error and says what the turn took."""
    stops = [event for event in turn.events if event.get("type") == "stop"]
    came(f"{len(stops)} stop, last: {turn.events[-1].get('type')}, usage: {', '.join(stops[0].get('usage') or {})}")
    assert len(stops) == 1
    assert turn.events[-1] == stops[0]
    assert stops[0]["is_error"] is False
    assert {"duration_ms", "total_input_tokens", "total_output_tokens"} <= stops[0]["usage"].keys()


def test_calls_and_results(turn: Answer, came: Came) -> None:
    """A tool's result follows its call and joins it by call_id."""
    calls: dict[str, str] = {}
    for event in turn.events:
        if event.get("type") == "tool_call":
            assert event["call_id"] not in calls, "a call_id came twice"
            calls[event["call_id"]] = event["name"]
        elif event.get("type") == "tool_result":
            assert calls[event["call_id"]] == event["name"]
    results = sum(event.get("type") == "tool_result" for event in turn.events)
    came(f"{len(calls)} calls ({', '.join(sorted(set(calls.values())))}), {results} results")
    assert results == len(calls)


def test_what_retrieval_gives(turn: Answer, came: Came) -> None:
    """What the tool retrieve gives has results with content."""
    results = [event for event in turn.events if event.get("type") == "tool_result" and event["name"] == "retrieve"]
    if not results:
        pytest.skip("nothing was retrieved")
    shown = results[0]["result"]
    came(f"{type(shown).__name__}: {', '.join(shown) if isinstance(shown, dict) else str(shown)[:60]}")
    assert isinstance(shown, dict)
    assert all("content" in each for each in shown["results"])


def test_the_history_opens_a_turn_with_its_prompt(wire: Wire, history: list[Event], came: Came) -> None:
    """The history opens each turn with a user_input that holds the prompt."""
    came(f"{history[0].get('type')}: {str(history[0].get('content'))[:60]}")
    assert (history[0]["type"], history[0]["content"]) == ("user_input", wire.place.question)


def test_what_the_history_holds(history: list[Event], came: Came) -> None:
    """The history holds deltas, wholes or both, and ends a turn with its stop."""
    came(", ".join(kinds(history)))
    assert history[-1]["type"] == "stop"
    assert set(kinds(history)) <= KNOWN
    assert any(event["type"] in ("text", "text_delta") for event in history)


def test_the_history_says_what_was_streamed(turn: Answer, history: list[Event], came: Came) -> None:
    """The history says what was streamed: the same text, the same calls in the same order."""
    calls = [
        [event["call_id"] for event in each if event.get("type") == "tool_call"] for each in (turn.events, history)
    ]
    same_text = told(turn.events, "text") == told(history, "text")
    came(f"text {'the same' if same_text else 'NOT the same'}, calls {'the same' if calls[0] == calls[1] else calls}")
    assert same_text
    assert calls[0] == calls[1]


def test_the_official_sdk_reads_it(wire: Wire, bound: str, history: list[Event], came: Came) -> None:
    """The official SDK reads the same events out of the history."""
    with LlamaCloud(api_key=wire.place.api_key, base_url=wire.place.base_url) as sdk:
        scope = {name: value for name, value in wire.place.scope.items() if value}
        read = sdk.chat.retrieve(bound, extra_query=scope).events
    came(f"{len(read)} events")
    assert [event.type for event in read] == [event["type"] for event in history]


def test_our_client_reads_it(wire: Wire, bound: str, turn: Answer, history: list[Event], came: Came) -> None:
    """Our client reads the history into one turn that says what was streamed."""
    with ChatClient(wire.place.api_key, base_url=wire.place.base_url, **wire.place.scope) as client:
        (read,) = client.session(bound).turns()
    came(f"turn {read.number}, {len(read.tool_calls)} calls, {len(read.sources)} sources")
    assert (read.prompt, read.is_complete, read.is_error) == (wire.place.question, True, False)
    assert read.text.replace("\n\n", "") == told(turn.events, "text").replace("\n\n", "")
