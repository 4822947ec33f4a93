"""Events to a turn: deltas and wholes reconciled, so that nothing is said twice and nothing is lost."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_cloud_chat import (
    Event,
    Stop,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolResult,
    ToolRun,
    Turn,
    UnknownEvent,
    Usage,
    UserInput,
)
from llama_cloud_chat._turn.events import parse_event, read_message
from llama_cloud_chat._turn.sse import MessageDecoder
from llama_cloud_chat._turn.turn import TurnReader

from ..support.turns import (
    RECORDED,
    RECORDED_DELTAS,
    RECORDED_TEXT,
    RECORDED_THINKING,
    STYLES,
    Style,
    WireEvent,
    messages,
    segment,
    stop,
    take,
    told,
    tool,
)
from .strategies import texts_of, turns


def delta(content: str, kind: str = "text") -> WireEvent:
    return {"type": f"{kind}_delta", "content": content}


def whole(content: str, kind: str = "text") -> WireEvent:
    return {"type": kind, "content": content}


def play(*events: WireEvent) -> tuple[Turn, list[Event]]:
    """Read a turn; return it, and what was handed on."""
    reader = TurnReader(Turn("?"))
    return reader.turn, [update for event in events for update in reader.feed(parse_event(event))]


def joined(updates: list[Event], kind: type = TextDelta) -> str:
    return "".join(update.content for update in updates if type(update) is kind)


@given(st.data())
@pytest.mark.rule("design-1")
def test_one_text_whatever_the_style_and_the_packets(data: st.DataObject) -> None:
    events = data.draw(turns())
    expected = "\n\n".join(texts_of(events, "text"))
    thoughts = "\n\n".join(texts_of(events, "thinking"))
    readings: list[Turn] = []
    for style in STYLES:
        stream = b"".join(messages(told(events, style)))
        cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=6))
        decoder, reader, updates = MessageDecoder(10**6), TurnReader(Turn("?")), list[Event]()
        for start, end in pairwise(sorted([0, *cuts, len(stream)])):
            for content in take(decoder, stream[start:end]):
                event = read_message(content)
                assert event is not None
                updates += reader.feed(event)
        assert reader.turn.text == joined(updates) == expected
        assert reader.turn.thinking == joined(updates, ThinkingDelta) == thoughts
        assert [update for update in updates if not isinstance(update, (TextDelta, ThinkingDelta))] != []
        readings.append(reader.turn)
    assert readings[0] == readings[1] == readings[2]


@given(turns(side_by_side=True))
@pytest.mark.rule("wire-2")
def test_segments_side_by_side_are_one_text_as_well_where_they_can_be_told_apart(events: list[WireEvent]) -> None:
    for style in ("both", "whole"):
        turn, updates = play(*told(events, style))
        assert turn.text == joined(updates) == "\n\n".join(texts_of(events, "text"))
        assert turn.thinking == joined(updates, ThinkingDelta) == "\n\n".join(texts_of(events, "thinking"))
        assert [event.content for event in turn.events if isinstance(event, Text)] == texts_of(events, "text")


@given(turns(side_by_side=True))
@pytest.mark.rule("wire-5")
def test_every_segment_is_handed_on_as_deltas_and_then_whole_and_every_tool_event_once(events: list[WireEvent]) -> None:
    for style in ("both", "whole"):
        turn, updates = play(*told(events, style))
        assert [update for update in updates if not isinstance(update, (TextDelta, ThinkingDelta))] == turn.events
        for event in turn.events:
            if isinstance(event, (Text, Thinking)):
                pieces = [one.content for one in updates if one.index == event.index and "delta" in one.type]
                assert "".join(pieces).removeprefix("\n\n").endswith(event.content.removeprefix("\n\n"))


@pytest.mark.rule("wire-2")
def test_the_recorded_turn() -> None:
    turn, updates = play(*RECORDED)
    assert [update.content for update in updates if isinstance(update, TextDelta)] == RECORDED_DELTAS
    assert turn.text == RECORDED_TEXT
    assert turn.thinking == RECORDED_THINKING
    assert turn.events == [
        Thinking("Hm, look."),
        Text("Let me see\u2028…"),
        ToolCall("c1", "retrieve", {"query": "q"}),
        ToolResult("c1", "retrieve", {"results": [{"content": "Löwe"}]}),
        Text("It is 🦁."),
        Stop(usage=Usage(12.5, 30, 7, 2)),
    ]
    assert [source.text for source in turn.sources] == ["Löwe"]
    assert turn.usage == Usage(12.5, 30, 7, 2)
    assert turn.is_complete
    assert not turn.is_error
    assert "complete" in repr(turn)


def test_every_event_knows_its_place_among_the_turn_s_events() -> None:
    turn, updates = play(*RECORDED)
    for update in updates:
        there = turn.events[update.index]  # type: ignore[union-attr]
        assert type(there).type == update.type.removesuffix("_delta")
    assert [event.index for event in turn.events] == list(range(6))  # type: ignore[union-attr]


def test_a_turn_grows_event_by_event() -> None:
    reader = TurnReader(Turn("?"))
    texts = []
    for event in RECORDED:
        reader.feed(parse_event(event))
        texts.append(reader.turn.text)
        assert reader.turn.is_complete == (event["type"] == "stop")
    assert texts[:7] == ["", "", "", "Let me ", "Let me see\u2028…", "Let me see\u2028…", "Let me see\u2028…"]
    assert texts[-1] == RECORDED_TEXT


@pytest.mark.rule("wire-1")
def test_a_whole_that_no_delta_announced_is_shown_as_it_is() -> None:
    turn, updates = play(whole("Yes."))
    assert updates == [TextDelta("Yes."), Text("Yes.")]
    assert turn.text == "Yes."


@pytest.mark.rule("wire-1")
def test_a_whole_that_says_more_gives_the_missing_rest() -> None:
    turn, updates = play(delta("Yes"), whole("Yes, we can."))
    assert updates == [TextDelta("Yes"), TextDelta(", we can."), Text("Yes, we can.")]
    assert turn.text == "Yes, we can."


@pytest.mark.rule("wire-1")
def test_a_whole_that_contradicts_its_deltas_is_believed() -> None:
    turn, updates = play(delta("Yes"), whole("No."), stop())
    assert updates[:2] == [TextDelta("Yes"), Text("No.")]
    assert turn.text == "No."


def test_a_whole_that_says_less_is_believed() -> None:
    turn, updates = play(delta("Yes, "), delta("no"), whole("Yes"))
    assert turn.text == "Yes"
    assert joined(updates) == "Yes, no"


def test_deltas_without_their_whole_are_handed_on_whole_at_the_end() -> None:
    turn, updates = play(delta("a"), delta("b"), stop())
    assert updates == [TextDelta("a"), TextDelta("b"), Text("ab"), Stop(usage=turn.usage)]


@pytest.mark.rule("wire-4")
def test_a_turn_without_its_end_is_readable_and_not_complete() -> None:
    turn, _ = play(delta("a"), *tool("c", "x", {}, 1)[:1])
    assert turn.text == "a"
    assert turn.events == [Text("a"), ToolCall("c", "x", {})]
    assert not turn.is_complete
    assert "incomplete" in repr(turn)


@pytest.mark.rule("wire-1")
def test_the_same_text_said_twice_is_said_twice() -> None:
    turn, updates = play(*segment("text", "A"), *segment("text", "A"), stop())
    assert turn.text == joined(updates) == "A\n\nA"
    assert play(whole("A"), whole("A"), stop())[0] == turn


def test_the_same_text_said_before_and_after_a_tool_is_said_twice() -> None:
    turn, updates = play(*segment("text", "A"), *tool("c", "x", {}, 1), *segment("text", "A"), stop())
    assert turn.text == joined(updates) == "A\n\nA"


@pytest.mark.rule("wire-1")
def test_a_whole_may_come_late() -> None:
    turn, updates = play(delta("T", "thinking"), delta("X"), whole("T", "thinking"), whole("X"), stop())
    assert (turn.thinking, turn.text) == ("T", "X")
    assert turn.events[:2] == [Thinking("T"), Text("X")]
    assert joined(updates) == "X"
    assert joined(updates, ThinkingDelta) == "T"


def test_a_whole_may_come_after_the_tool_that_followed_its_segment() -> None:
    turn, updates = play(delta("A"), *tool("c", "x", {}, 1), whole("A"), *segment("text", "B"), stop())
    assert turn.text == joined(updates) == "A\n\nB"


def test_a_whole_after_a_tool_that_says_something_else_is_a_segment_of_its_own() -> None:
    turn, updates = play(delta("A"), *tool("c", "x", {}, 1), whole("B"), stop())
    assert turn.text == joined(updates) == "A\n\nB"


def test_several_late_wholes_meet_their_segments() -> None:
    turn, updates = play(
        delta("A"), delta("t", "thinking"), delta("B"), whole("A"), whole("t", "thinking"), whole("B"), stop()
    )
    assert turn.text == joined(updates) == "A\n\nB"
    assert [type(event) for event in turn.events] == [Text, Thinking, Text, Stop]


def test_a_late_whole_that_says_more_of_a_segment_that_another_followed_corrects_the_turn() -> None:
    turn, _ = play(delta("A"), delta("t", "thinking"), delta("B"), whole("A!"), whole("B"), stop())
    assert turn.text == "A!\n\nB"


@pytest.mark.rule("wire-2")
def test_thinking_between_deltas_begins_a_segment() -> None:
    turn, updates = play(delta("A"), delta("t", "thinking"), delta("B"), stop())
    assert turn.text == joined(updates) == "A\n\nB"


def test_an_unknown_event_ends_no_segment() -> None:
    turn, updates = play(delta("A"), {"type": "novelty"}, delta("B"), whole("AB"), stop())
    assert turn.text == joined(updates) == "AB"
    assert turn.events[:2] == [Text("AB"), UnknownEvent({"type": "novelty"})]


def test_a_tool_event_that_comes_again_ends_no_segment_and_is_not_handed_on_twice() -> None:
    call, result = tool("c", "x", {}, 1)
    turn, updates = play(call, result, delta("A"), call, result, delta("B"), whole("AB"), stop())
    assert turn.text == joined(updates) == "AB"
    assert len(turn.tool_calls) == 1
    assert [type(update) for update in updates].count(ToolCall) == 1


def test_empty_segments_are_left_out_of_the_join() -> None:
    turn, updates = play(
        *segment("text", "A"),
        *segment("text", ""),
        delta(""),
        whole(""),
        whole("", "thinking"),
        *segment("text", "B"),
        stop(),
    )
    assert turn.text == joined(updates) == "A\n\nB"
    assert turn.thinking == ""
    assert turn.events[:-1] == [Text("A"), Text("B")]


def test_a_segment_of_white_space_is_a_segment() -> None:
    turn, updates = play(*segment("text", "A"), *segment("text", " "), stop())
    assert turn.text == joined(updates) == "A\n\n "


def test_an_empty_answer() -> None:
    turn, updates = play(stop())
    assert (turn.text, turn.thinking, turn.tool_calls, turn.sources) == ("", "", [], [])
    assert updates == turn.events == [Stop(usage=turn.usage)]
    assert turn.is_complete


def test_an_echoed_prompt_is_passed_on_and_says_nothing() -> None:
    turn, updates = play(
        {"type": "user_input", "content": "?"}, delta("A"), {"type": "user_input", "content": "?"}, whole("A")
    )
    assert updates == [UserInput("?"), TextDelta("A"), UserInput("?"), Text("A")]
    assert turn.events == [Text("A")]
    assert turn.text == "A"


def test_what_comes_after_the_end_adds_nothing() -> None:
    turn, updates = play(*segment("text", "A"), stop(), *segment("text", "B"), stop(is_error=True, error="bad"))
    assert turn.text == "A"
    assert not turn.is_error
    assert type(updates[-1]) is Stop


def test_an_incoming_event_is_never_changed_by_a_later_one() -> None:
    reader = TurnReader(Turn("?"))
    handed_on = [list(reader.feed(parse_event(event))) for event in [delta("A"), delta("B"), whole("ABC")]]
    assert handed_on == [[TextDelta("A")], [TextDelta("B")], [TextDelta("C"), Text("ABC")]]


def test_very_many_deltas_are_one_text() -> None:
    pieces = [f"{number} " for number in range(2000)]
    turn, updates = play(*map(delta, pieces), stop())
    assert turn.text == joined(updates) == "".join(pieces)


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r\n", "\r", "\n", "\0"])
def test_line_ends_of_every_kind_inside_a_text_stay(separator: str) -> None:
    stream = b"".join(messages([delta("a" + separator), delta("b"), whole(f"a{separator}b"), stop()]))
    reader = TurnReader(Turn("?"))
    for data in MessageDecoder(10**6).feed(stream):
        event = read_message(data)
        assert event is not None
        reader.feed(event)
    assert reader.turn.text == f"a{separator}b"


def test_an_emoji_split_over_two_deltas_is_one_emoji() -> None:
    turn, updates = play(delta("a\ud83e"), delta("\udd81b"), whole("a🦁b"), stop())
    assert turn.text == joined(updates) == "a🦁b"
    assert [update.content for update in updates if isinstance(update, TextDelta)] == ["a", "🦁b"]


def test_an_emoji_split_over_later_deltas_is_one_emoji() -> None:
    turn, updates = play(delta("a"), delta("b\ud83e"), delta("\udd81"), delta("\udd81"), delta("c"), stop())
    assert turn.text == joined(updates) == "ab🦁\ufffdc"
    assert [update.content for update in updates if isinstance(update, TextDelta)] == ["a", "b", "🦁", "\ufffd", "c"]


def test_a_delta_of_nothing_is_none() -> None:
    _, updates = play(delta(""), delta("a"), delta(""), delta("b"), stop())
    assert [update.content for update in updates if isinstance(update, TextDelta)] == ["a", "b"]


def test_an_emoji_split_between_deltas_of_nothing_else_is_one_emoji() -> None:
    turn, updates = play(*segment("text", "x"), delta("\ud83e"), delta(""), delta("\udd81"), whole("🦁"), stop())
    assert turn.text == joined(updates) == "x\n\n🦁"


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([delta("a\ud83e"), stop()], "a\ufffd"),
        ([delta("a\ud83e"), delta("b"), stop()], "a\ufffdb"),
        ([delta("\udd81"), stop()], "\ufffd"),
        ([delta("a\ud83e"), whole("a🦁"), stop()], "a🦁"),
        ([delta("a\ud83e"), whole("a\ud83e"), stop()], "a\ufffd"),
        ([whole("\ud83e\udd81"), stop()], "🦁"),
    ],
)
def test_half_an_emoji_alone_becomes_a_replacement_that_can_be_written(events: list[WireEvent], text: str) -> None:
    turn, updates = play(*events)
    assert turn.text == joined(updates) == text
    turn.text.encode()


@pytest.mark.rule("wire-6")
def test_results_meet_their_calls_by_id_and_calls_keep_their_order() -> None:
    (call_a, result_a), (call_b, result_b) = tool("a", "find", {"q": 1}, "A"), tool("b", "find", {"q": 1}, "B")
    turn, _ = play(call_a, call_b, result_b, result_a, stop())
    assert turn.tool_calls == [
        ToolRun("a", "find", {"q": 1}, "A", has_result=True),
        ToolRun("b", "find", {"q": 1}, "B", has_result=True),
    ]


def test_a_call_without_its_result_yet_says_so_and_a_result_may_be_null() -> None:
    turn, _ = play(*tool("a", "x", {}, None)[:1], *tool("b", "y", {}, None))
    assert [(run.has_result, run.result) for run in turn.tool_calls] == [(False, None), (True, None)]


@pytest.mark.rule("wire-6")
def test_a_result_that_comes_before_its_call_or_without_one_is_kept() -> None:
    call, result = tool("a", "x", {"q": 1}, "R")
    assert play(result, call)[0].tool_calls == [ToolRun("a", "x", {"q": 1}, "R", has_result=True)]
    assert play(result)[0].tool_calls == [ToolRun("a", "x", {}, "R", has_result=True)]


def test_an_id_that_is_used_again_for_another_call_is_another_run() -> None:
    turn, _ = play(*tool("a", "x", {"q": 1}, "R1"), *tool("a", "x", {"q": 2}, "R2"))
    assert [(run.arguments, run.result) for run in turn.tool_calls] == [({"q": 1}, "R1"), ({"q": 2}, "R2")]


def test_a_run_is_found_by_its_id_as_soon_as_one_of_its_events_has_come() -> None:
    call, result = tool("a", "x", {"q": 1}, "R")
    turn = Turn("What?")
    reader = TurnReader(turn)
    with pytest.raises(KeyError):
        turn.run_of("a")
    reader.feed(parse_event(call))
    run = turn.run_of("a")
    assert run == ToolRun("a", "x", {"q": 1})
    reader.feed(parse_event(result))
    assert turn.run_of("a") is run is turn.tool_calls[0]
    assert run == ToolRun("a", "x", {"q": 1}, "R", has_result=True)
    reader.feed(parse_event(tool("a", "x", {"q": 2}, "R2")[0]))
    assert [turn.run_of("a")] == turn.tool_calls[1:] == [ToolRun("a", "x", {"q": 2})]


def test_a_result_s_picture_is_the_run_s() -> None:
    call, result = tool("a", "x", {}, "R")
    picture = {"attachment_name": "p.jpg", "source_id": "f"}
    run = play(call, {**result, "image_attachment": picture})[0].tool_calls[0]
    assert run.image_attachment is not None
    assert run.image_attachment.source_id == "f"


def test_a_turn_that_ended_in_an_error_says_why_and_keeps_what_came() -> None:
    turn, updates = play(delta("A"), stop(is_error=True, error="No quota.", skipped_index_ids=["i1"]))
    assert turn.is_complete
    assert turn.is_error
    assert (turn.error, turn.skipped_index_ids, turn.text) == ("No quota.", ["i1"], "A")
    assert isinstance(updates[-1], Stop)


def test_turns_are_equal_by_what_they_say() -> None:
    one, other = play(*told(RECORDED, "deltas"))[0], play(*told(RECORDED, "whole"))[0]
    assert one == other
    assert one != play(*RECORDED[:-1])[0]
    assert one != "a turn"
    with pytest.raises(TypeError):
        hash(one)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.rule("design-9")
def test_a_turn_s_text_is_not_kept_twice(style: Style) -> None:
    import tracemalloc

    size = 200_000
    pieces: list[Any] = ["x" * 4 for _ in range(size // 4)]
    events = told(segment("text", *pieces), style)
    reader = TurnReader(Turn("?"))
    tracemalloc.start()
    try:
        for event in events:
            reader.feed(parse_event(event))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(reader.turn.text) == size
    assert kept < 4 * size


@given(turns(side_by_side=True))
def test_a_turn_can_be_built_again_from_its_events(events: list[WireEvent]) -> None:
    turn, _ = play(*events)
    again = Turn.from_events(turn.prompt, turn.events)
    assert again == turn
    assert (again.text, again.thinking, again.sources) == (turn.text, turn.thinking, turn.sources)
    assert (again.is_complete, again.is_error, again.usage) == (turn.is_complete, turn.is_error, turn.usage)
    assert [event.index for event in turn.events] == list(range(len(turn.events)))  # the first one's are its own


@given(turns())
def test_a_turn_s_deltas_are_one_for_each_segment_and_add_up_to_the_turn(events: list[WireEvent]) -> None:
    turn, _ = play(*events)
    told_again = list(turn.deltas())
    assert "".join(event.content for event in told_again if isinstance(event, TextDelta)) == turn.text
    assert "".join(event.content for event in told_again if isinstance(event, ThinkingDelta)) == turn.thinking
    said = [event for event in turn.events if not (isinstance(event, (Text, Thinking)) and not event.content)]
    assert [event.index for event in told_again] == [event.index for event in said]
    assert [event for event in told_again if not isinstance(event, (TextDelta, ThinkingDelta))] == [
        event for event in said if not isinstance(event, (Text, Thinking))
    ]


def test_deltas_after_the_first_of_their_kind_begin_with_the_blank_line() -> None:
    call, result = tool("a", "x", {}, "R")
    turn, _ = play(whole("", "text"), whole("Hm.", "thinking"), whole("Let me see."), call, result, whole("Yes."))
    assert [event for event in turn.deltas() if isinstance(event, (TextDelta, ThinkingDelta))] == [
        ThinkingDelta("Hm.", 0),
        TextDelta("Let me see.", 1),
        TextDelta("\n\nYes.", 4),
    ]


def test_a_segment_that_came_to_nothing_is_no_delta() -> None:
    turn, _ = play(delta("x"), whole(""), whole("Yes."))
    assert list(turn.deltas()) == [TextDelta("Yes.", 1)]
    assert turn.text == "Yes."


def test_steps_are_in_order_and_a_result_is_with_its_call() -> None:
    call, result = tool("c1", "retrieve", {"query": "q"}, {"content": "x"})
    turn, _ = play(
        whole("Hm.", "thinking"), call, whole("Let me see."), {"type": "mood"}, result, whole("Yes."), stop()
    )
    assert turn.steps == [
        Thinking("Hm."),
        ToolRun("c1", "retrieve", {"query": "q"}, {"content": "x"}, has_result=True),
        Text("Let me see."),
        UnknownEvent({"type": "mood"}),
        Text("Yes."),
    ]
    assert turn.tool_calls == turn.steps[1:2]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda turn: pickle.loads(pickle.dumps(turn))])
def test_a_turn_can_be_copied_and_pickled_at_any_moment_and_the_copy_grows_no_more(duplicate: Any) -> None:
    turn = Turn("What?", session_id="ses-1", number=1)
    reader = TurnReader(turn)
    copies = []
    for event in RECORDED:
        reader.feed(parse_event(event))
        copies.append((duplicate(turn), turn.events, repr(turn)))
    for copied, events, shown in copies:
        assert (copied.events, repr(copied)) == (events, shown)
    assert copies[-1][0] == turn
