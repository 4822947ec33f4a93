"""A session's history: read into turns, and joined to what was streamed before a cut."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_cloud_chat import Event, Stop, Text, TextDelta, Thinking, ThinkingDelta, ToolCall, ToolResult, Turn
from llama_cloud_chat._turn.events import parse_event
from llama_cloud_chat._turn.turn import HistoryConflictError, TurnReader, read_history

from ..support.turns import (
    RECORDED,
    RECORDED_TEXT,
    RECORDED_THINKING,
    STYLES,
    Style,
    WireEvent,
    said,
    segment,
    stop,
    told,
    tool,
)
from .strategies import texts_of, turns


def prompt(content: str) -> WireEvent:
    return {"type": "user_input", "content": content}


def read(*events: WireEvent) -> list[Turn]:
    return read_history(map(parse_event, events), "ses-1")


def streamed(events: list[WireEvent]) -> tuple[TurnReader, list[Event]]:
    reader = TurnReader(Turn("?", session_id="ses-1", number=1))
    return reader, [update for event in events for update in reader.feed(parse_event(event))]


def joined(updates: list[Event], kind: type = TextDelta) -> str:
    return "".join(update.content for update in updates if type(update) is kind)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.rule("wire-7")
def test_a_history_gives_the_turns_that_were_streamed(style: Style) -> None:
    live, _ = streamed(RECORDED)
    first, second = read(prompt("?"), *told(RECORDED, style), prompt("And?"), *told(said("No."), style))
    assert first == live.turn
    assert (second.prompt, second.number, second.session_id, second.text) == ("And?", 2, "ses-1", "No.")


@given(st.lists(turns(), min_size=1, max_size=3), st.sampled_from(STYLES))
@pytest.mark.rule("wire-7")
@pytest.mark.rule("design-1")
def test_any_history_in_any_style_gives_the_turns_that_were_streamed(
    conversation: list[list[WireEvent]], style: Style
) -> None:
    kept = [
        event for number, events in enumerate(conversation) for event in [prompt(str(number)), *told(events, style)]
    ]
    for number, (turn, events) in enumerate(zip(read(*kept), conversation, strict=True)):
        live = TurnReader(Turn(str(number), session_id="ses-1", number=number + 1))
        for event in events:
            live.feed(parse_event(event))
        assert turn == live.turn


def test_an_empty_history_has_no_turns() -> None:
    assert read() == []


def test_a_prompt_without_an_answer_is_a_turn_that_is_not_complete() -> None:
    (turn,) = read(prompt("?"))
    assert (turn.prompt, turn.text, turn.is_complete) == ("?", "", False)


def test_a_turn_that_was_never_finished_ends_where_the_next_prompt_begins() -> None:
    first, second = read(prompt("a"), *segment("text", "A"), prompt("b"), *said("B"))
    assert (first.text, first.is_complete) == ("A", False)
    assert (second.text, second.is_complete) == ("B", True)


def test_a_history_that_leaves_prompts_out_has_a_turn_after_each_stop() -> None:
    assert [(turn.prompt, turn.text) for turn in read(*said("A"), *said("B"))] == [("", "A"), ("", "B")]


def test_unknown_events_and_stops_alone_begin_no_turn() -> None:
    assert read({"type": "session_created"}, stop()) == []
    assert len(read(prompt("a"), *said("A"), {"type": "note"}, stop(), prompt("b"), *said("B"))) == 2


def test_the_same_prompt_twice_is_two_turns() -> None:
    assert [turn.text for turn in read(prompt("a"), *said("A"), prompt("a"), *said("B"))] == ["A", "B"]


@given(st.data())
@pytest.mark.rule("design-2")
def test_a_stream_cut_anywhere_and_a_history_read_at_any_times_give_the_whole_turn_once(data: st.DataObject) -> None:
    events = data.draw(turns())
    expected, _ = streamed(events)
    style = data.draw(st.sampled_from(STYLES))
    cut = data.draw(st.integers(0, len(events) - 1))
    reader, updates = streamed(events[:cut])
    seen = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=3)))
    for kept in [*seen, len(events)]:
        (history,) = read(prompt("?"), *told(events[:kept], style))
        updates += reader.catch_up(history)
    turn = reader.turn
    assert turn == expected.turn
    assert joined(updates) == turn.text == "\n\n".join(texts_of(events, "text"))
    assert joined(updates, ThinkingDelta) == turn.thinking
    calls = [update for update in updates if isinstance(update, (ToolCall, ToolResult, Stop))]
    assert calls == [event for event in turn.events if isinstance(event, (ToolCall, ToolResult, Stop))]
    wholes = [update for update in updates if isinstance(update, (Text, Thinking))]
    assert sorted(wholes, key=lambda one: one.index) == [
        event for event in turn.events if isinstance(event, (Text, Thinking))
    ]


def catch_up(live: list[WireEvent], kept: list[WireEvent]) -> tuple[Turn, list[Event]]:
    reader, _ = streamed(live)
    (history,) = read(prompt("?"), *kept)
    return reader.turn, reader.catch_up(history)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("cut", range(len(RECORDED)))
def test_what_is_missing_after_a_cut_comes_as_deltas_and_nothing_comes_twice(cut: int, style: Style) -> None:
    _, before = streamed(RECORDED[:cut])
    turn, after = catch_up(RECORDED[:cut], told(RECORDED, style))
    assert joined(before + after) == turn.text == RECORDED_TEXT
    assert joined(before + after, ThinkingDelta) == turn.thinking == RECORDED_THINKING
    assert [type(event) for event in before + after].count(ToolCall) == 1
    assert turn.is_complete


@pytest.mark.parametrize("style", STYLES)
def test_a_segment_that_begins_as_an_earlier_one_was_is_not_told_whole_too_soon(style: Style) -> None:
    growing = [{"type": "thinking_delta", "content": "0"}] * 2
    before = [*segment("thinking", "0"), *segment("text", "0"), growing[0]]
    events = [*before, growing[1], {"type": "thinking", "content": "00"}, *segment("text", "1"), stop()]
    _, updates = catch_up(before, told(events, style))
    assert [update.content for update in updates if type(update) is Thinking] == ["00"]


def test_a_history_that_is_behind_a_turn_still_running_says_nothing_new() -> None:
    turn, updates = catch_up([*segment("text", "AB"), *tool("c", "x", {}, 1)], [{"type": "text_delta", "content": "A"}])
    assert updates == []
    assert turn.text == "AB"


@pytest.mark.parametrize(
    ("live", "kept"),
    [
        (segment("text", "Yes")[:1], said("No")),
        (segment("text", "Yes and more")[:1], said("Yes")),
        (segment("text", "Yes")[:1], [stop()]),
        (segment("text", "Yes")[:1], segment("text", "No")),
        ([*segment("text", "A"), *segment("text", "B")], [*segment("text", "A"), *segment("text", "C"), stop()]),
    ],
)
def test_a_history_that_contradicts_what_was_delivered_is_a_conflict(live: list[Any], kept: list[Any]) -> None:
    with pytest.raises(HistoryConflictError):
        catch_up(live, kept)


@pytest.mark.parametrize(
    "kept", [[], segment("thinking", "Otherwise."), segment("thinking", "H"), segment("thinking", "Hm, or not")]
)
def test_thinking_that_is_missing_or_different_is_no_conflict(kept: list[WireEvent]) -> None:
    turn, updates = catch_up([*segment("thinking", "Hm, yes."), *segment("text", "A")], [*kept, *said("AB")])
    assert turn.text == "AB"
    assert joined(updates) == "B"
    assert turn.thinking.startswith("Hm, yes.")
    assert turn.is_complete


def test_a_turn_that_failed_after_the_cut_ends_with_what_came() -> None:
    turn, updates = catch_up(segment("text", "Yes")[:1], [stop(is_error=True, error="bad")])
    assert (turn.text, turn.is_error, turn.error) == ("Yes", True, "bad")
    assert isinstance(updates[-1], Stop)


def test_segments_are_parted_as_they_were_streamed_also_if_the_history_tells_them_as_one() -> None:
    live = [*segment("text", "A"), {"type": "text_delta", "content": "B"}]
    turn, updates = catch_up(
        live, [{"type": "text_delta", "content": "AB"}, {"type": "text_delta", "content": "C"}, stop()]
    )
    assert turn.text == "A\n\nBC"
    assert joined(updates) == "C"


def test_half_an_emoji_that_a_cut_left_open_is_completed_by_the_history() -> None:
    live = [{"type": "text_delta", "content": "a\ud83e"}]
    _, before = streamed(live)
    turn, after = catch_up(live, said("a🦁b"))
    assert joined(before + after) == turn.text == "a🦁b"


def test_half_an_emoji_that_the_history_completes_is_not_told_as_half_at_the_end() -> None:
    live = [*segment("text", "A"), {"type": "text_delta", "content": "B\ud83e"}]
    turn, updates = catch_up(live, [{"type": "text_delta", "content": "AB🦁C"}, stop()])
    assert turn.text == "A\n\nB🦁C"
    assert joined(updates) == "🦁C"


def test_a_segment_that_still_grows_in_the_history_is_told_whole_only_when_it_is() -> None:
    reader, _ = streamed([{"type": "text_delta", "content": "Hel"}])
    updates: list[Event] = []
    for kept in (segment("text", "Hel")[:1], said("Hello")):
        updates += reader.catch_up(*read(prompt("?"), *kept))
    assert [update for update in updates if not isinstance(update, Stop)] == [TextDelta("lo"), Text("Hello")]


def test_echoed_and_unknown_events_do_not_count() -> None:
    live = [prompt("?"), {"type": "novelty"}, *segment("text", "A")]
    turn, updates = catch_up(live, [{"type": "other"}, *said("AB")])
    assert joined(updates) == "B"
    assert turn.text == "AB"


def test_a_late_result_is_joined_and_not_told_twice() -> None:
    call, result = tool("c", "x", {}, 1)
    turn, updates = catch_up([call], [call, result, *said("A")])
    assert [type(update) for update in updates] == [ToolResult, TextDelta, Text, Stop]
    assert turn.tool_calls[0].has_result
