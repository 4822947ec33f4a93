"""Never ask twice, never lose: a stream that breaks off is made whole from the session's history."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from llama_cloud_chat import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ConflictError,
    Event,
    InternalServerError,
    ProtocolError,
    RateLimitError,
    Stop,
    StreamInterruptedError,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    Timeouts,
    ToolCall,
    ToolResult,
    Turn,
    TurnFailedError,
    UnprocessableEntityError,
)

from ..support.clients import FakeClock
from ..support.server import CHUNKED, Cut, Gate, Step, chunk, chunked, head, in_json, plain
from ..support.service import NOT_THERE, ChatService, Held, Play
from ..support.turns import (
    RECORDED,
    RECORDED_TEXT,
    RECORDED_THINKING,
    STYLES,
    Style,
    message,
    said,
    segment,
    stop,
    told,
    tool,
)


def read(stream: Any) -> list[Event]:
    with stream:
        return list(stream)


def joined(events: list[Event], kind: type = TextDelta) -> str:
    return "".join(event.content for event in events if type(event) is kind)


def assert_whole(turn: Turn, events: list[Event]) -> None:
    """Check that exactly the recorded turn was delivered, each piece once, in order."""
    assert joined(events) == turn.text == RECORDED_TEXT
    assert joined(events, ThinkingDelta) == turn.thinking == RECORDED_THINKING
    wholes = [event for event in events if isinstance(event, (Thinking, Text))]
    others = [event for event in events if not isinstance(event, (Thinking, Text))]
    assert [type(event) for event in turn.events] == [Thinking, Text, ToolCall, ToolResult, Text, Stop]
    assert sorted(wholes, key=lambda event: event.index) == [turn.events[0], turn.events[1], turn.events[4]]
    assert [event for event in others if not isinstance(event, (TextDelta, ThinkingDelta))] == [
        turn.events[2],
        turn.events[3],
        turn.events[5],
    ]
    assert [event.index for event in others] == sorted(event.index for event in others)  # type: ignore[union-attr]
    assert events[-1] is turn.events[-1]
    assert turn.is_complete
    assert turn.tool_calls[0].has_result
    assert turn.usage.total_output_tokens == 7


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize(
    ("style", "is_chunked", "reset", "step"),
    [("both", True, False, 4), ("deltas", False, False, 12), ("whole", True, True, 12)],
    ids=["chunked", "until-closed", "reset"],
)
@pytest.mark.rule("design-2")
def test_a_stream_cut_at_any_byte_is_made_whole_and_asked_once(
    client: Any, service: ChatService, style: Style, is_chunked: bool, reset: bool, step: int, part: int
) -> None:
    service.style = style
    whole = len(b"".join(Play(RECORDED, chunked=is_chunked).pieces()))
    for cut in range(part, whole, step):
        service.plays.append(Play(RECORDED, cut_after=cut, reset=reset, chunked=is_chunked))
        stream = client.create().stream("What?")
        assert_whole(stream.turn, read(stream))
        assert stream.turn.number == 1
    assert len(service.prompts) == len(range(part, whole, step))


def test_a_stream_of_wholes_only_cut_anywhere_is_made_whole(client: Any, service: ChatService) -> None:
    events = told(RECORDED, "whole")
    for cut in range(0, len(b"".join(Play(events).pieces())), 5):
        service.plays.append(Play(events, cut_after=cut))
        stream = client.create().stream("What?")
        assert_whole(stream.turn, read(stream))
    assert len(set(service.prompts)) == 1


def test_the_next_turn_goes_on_after_one_that_was_recovered(client: Any, service: ChatService) -> None:
    session = client.create()
    for number in range(1, 4):
        service.plays.append(Play(said(f"Answer {number}."), cut_after=300))
        turn = session.ask(f"Question {number}?")
        assert (turn.text, turn.number) == (f"Answer {number}.", number)
    assert service.prompts == ["Question 1?", "Question 2?", "Question 3?"]
    assert [turn.text for turn in session.turns()] == ["Answer 1.", "Answer 2.", "Answer 3."]


@pytest.mark.parametrize("end", [[chunk(b"")], [chunk(b""), Cut()], [Cut()], [Cut(reset=True)], [b"zz\r\n"]])
@pytest.mark.rule("wire-4")
def test_an_end_without_stop_is_an_interruption(client: Any, service: ChatService, end: list[Step]) -> None:
    service.plays.append(Play(RECORDED, steps=lambda pieces: [*pieces[:6], *end]))
    stream = client.create().stream("What?")
    assert_whole(stream.turn, read(stream))
    assert len(service.prompts) == 1


TROUBLE: list[list[Step]] = [
    [Cut()],
    [Cut(reset=True)],
    [b"HTTP/1.1 200 O", Cut()],
    [plain(500)],
    [in_json({"detail": "Sorry."}, 502)],
    [plain(503)],
    [plain(408)],
    [plain(500, b"cut")[:-1], Cut()],
    [b"gibberish\r\n\r\n", Cut()],
]


@pytest.mark.parametrize("trouble", TROUBLE)
@pytest.mark.rule("design-3")
def test_a_prompt_that_was_taken_but_never_answered_is_not_asked_again(
    client: Any, service: ChatService, trouble: Any
) -> None:
    service.plays.append(Play(RECORDED, instead=trouble))
    stream = client.create().stream("What?")
    assert_whole(stream.turn, read(stream))
    assert service.operations() == ["create", "stream", "retrieve"]


@pytest.mark.parametrize("trouble", TROUBLE)
@pytest.mark.rule("design-3")
def test_a_prompt_that_was_never_taken_is_asked_again_after_two_looks(
    client: Any, service: ChatService, clock: FakeClock, trouble: Any
) -> None:
    service.plays.extend([Play(instead=trouble, is_taken=False), Play(RECORDED)])
    stream = client.create().stream("What?")
    assert_whole(stream.turn, read(stream))
    assert service.operations() == ["create", "stream", "retrieve", "retrieve", "stream"]
    assert clock.now > 0


def test_a_prompt_that_comes_into_the_history_late_is_not_asked_again(client: Any, service: ChatService) -> None:
    service.plays.append(Play(RECORDED, instead=[Cut()], history=[NOT_THERE, told(RECORDED, "both")]))
    stream = client.create().stream("What?")
    assert_whole(stream.turn, read(stream))
    assert len(service.prompts) == 1


@pytest.mark.rule("design-3")
def test_after_the_service_began_to_answer_a_prompt_counts_as_taken(client: Any, service: ChatService) -> None:
    service.plays.append(
        Play(RECORDED, cut_after=len(head(200, CHUNKED)), history=[NOT_THERE] * 5 + [told(RECORDED, "both")])
    )
    stream = client.create().stream("What?")
    assert_whole(stream.turn, read(stream))
    assert len(service.prompts) == 1


def test_an_answer_that_never_comes_into_the_history_is_an_interruption(make: Any, service: ChatService) -> None:
    service.plays.append(Play(RECORDED, cut_after=len(head(200, CHUNKED)), is_taken=False))
    stream = make(recovery_timeout=10).create().stream("What?")
    with pytest.raises(StreamInterruptedError, match="10 seconds"):
        read(stream)
    assert len(service.prompts) == 1


def test_retries_used_up_and_the_prompt_absent_give_the_last_error(make: Any, service: ChatService) -> None:
    service.plays.extend([Play(instead=[plain(500)], is_taken=False)] * 9)
    session = make(max_retries=2).create()
    with pytest.raises(InternalServerError, match="500"):
        session.ask("What?")
    assert len(service.prompts) == 3


def test_attempts_are_counted_across_all_kinds_of_trouble(client: Any, service: ChatService) -> None:
    kinds: list[list[Step]] = [[plain(500)], [plain(429)], [Cut()], [plain(503, headers={"Retry-After": "1"})]]
    service.plays.extend([Play(instead=kinds[number % 4], is_taken=False) for number in range(20)])
    with pytest.raises((InternalServerError, RateLimitError, APIConnectionError)):
        client.create().ask("What?")
    assert len(service.prompts) == 6


def test_a_refusal_is_repeated_without_looking(client: Any, service: ChatService, clock: FakeClock) -> None:
    service.plays.extend(
        [
            Play(instead=[plain(429)], is_taken=False),
            Play(instead=[plain(429, headers={"Retry-After-Ms": "1500"})], is_taken=False),
            Play(instead=[plain(503, headers={"Retry-After": "4"})], is_taken=False),
            Play(RECORDED),
        ]
    )
    stream = client.create().stream("What?")
    assert_whole(stream.turn, read(stream))
    assert service.operations() == ["create", *["stream"] * 4]
    assert clock.waits == [0.5, 1.5, 4.0]


@pytest.mark.parametrize(("status", "error"), [(409, ConflictError), (422, UnprocessableEntityError)])
def test_a_prompt_that_is_not_accepted_is_an_error_at_once(
    client: Any, service: ChatService, status: int, error: type[Exception]
) -> None:
    service.plays.append(Play(instead=[in_json({"detail": "No."}, status)], is_taken=False))
    session = client.create()
    with pytest.raises(error, match="No"):
        session.ask("What?")
    assert service.operations() == ["create", "stream"]
    assert session.ask("Again?").number == 1


def test_a_prompt_equal_to_an_earlier_one_is_asked_again_if_it_was_not_taken(client: Any, service: ChatService) -> None:
    session = client.create()
    service.plays.append(Play(said("First.")))
    assert session.ask("What?").text == "First."
    service.plays.extend([Play(instead=[Cut()], is_taken=False), Play(said("Second."))])
    turn = session.ask("What?")
    assert (turn.text, turn.number) == ("Second.", 2)
    assert service.prompts == ["What?"] * 3


def test_a_prompt_equal_to_an_earlier_one_gets_its_own_answer(client: Any, service: ChatService) -> None:
    session = client.create()
    service.plays.extend([Play(said("First.")), Play(said("Second."), instead=[Cut()])])
    assert session.ask("What?").text == "First."
    assert session.ask("What?").text == "Second."
    assert service.prompts == ["What?"] * 2


def test_prompts_are_matched_without_the_white_space_around_them(client: Any, service: ChatService) -> None:
    session = client.create()
    service.plays.append(Play(RECORDED, instead=[Cut()]))
    stream = session.stream("  What?\n")
    original = service.answer

    def strip(request: Any) -> Any:
        steps = original(request)
        for asked in service.sessions[session.session_id].turns:
            asked.prompt = asked.prompt.strip()
        return steps

    service.handle = strip
    assert_whole(stream.turn, read(stream))


def test_a_handle_that_does_not_know_how_many_turns_there_are_looks_first(client: Any, service: ChatService) -> None:
    session_id = service.add_session(("What?", said("First.")), ("What?", said("Second.")))
    service.plays.append(Play(RECORDED, instead=[Cut()]))
    stream = client.session(session_id).stream("What?")
    assert_whole(stream.turn, read(stream))
    assert stream.turn.number == 3
    assert service.operations() == ["retrieve", "stream", "retrieve"]


def test_a_handle_looks_only_once(client: Any, service: ChatService) -> None:
    session = client.session(service.add_session(("What?", said("First."))))
    session.ask("And?")
    client.session(session.session_id).ask("And?")
    assert service.operations() == ["retrieve", "stream", "stream"]


def test_a_turn_that_somebody_else_had_meanwhile_is_not_taken_for_ours(client: Any, service: ChatService) -> None:
    session = client.create()
    service.plays.extend([Play(instead=[Cut()], is_taken=False), Play(said("Yours."))])
    service.add_turn(session.session_id, "Somebody else's", said("Not yours."))
    turn = session.ask("What?")
    assert (turn.text, turn.number) == ("Yours.", 2)
    assert len(service.prompts) == 2


def test_a_turn_of_somebody_else_s_does_not_stand_for_one_that_was_taken_and_is_lost(
    make: Any, service: ChatService
) -> None:
    session = make(recovery_timeout=10).create()
    service.plays.append(Play(RECORDED, cut_after=len(head(200, CHUNKED)), is_taken=False))
    service.add_turn(session.session_id, "Somebody else's", said("Not yours."))
    stream = session.stream("What?")
    with pytest.raises(StreamInterruptedError, match="somebody else"):
        read(stream)
    assert stream.turn.text == ""
    assert len(service.prompts) == 1


def test_two_clients_on_one_session_each_get_their_own_answer(make: Any, service: ChatService) -> None:
    one = make().create()
    other = make().session(one.session_id)
    assert one.ask("One?").number == 1
    assert other.ask("Two?").number == 2
    service.plays.append(Play(said("Three."), cut_after=300))
    assert other.ask("Three?").text == "Three."


@pytest.mark.parametrize("style", STYLES)
def test_a_turn_still_running_is_waited_for_and_told_as_it_goes(
    client: Any, service: ChatService, clock: FakeClock, style: Style
) -> None:
    service.style = style
    history = [told(RECORDED[:kept], style) for kept in (4, 4, 6, 7, 8, 8, 10, 11)]
    service.plays.append(Play(RECORDED, cut_after=480, history=[*history, told(RECORDED, style)]))
    stream = client.create().stream("What?")
    with stream:
        events = list(stream)
    assert_whole(stream.turn, events)
    assert len(service.received("retrieve")) == 9
    assert clock.waits == sorted(clock.waits)
    assert len(service.prompts) == 1


@pytest.mark.rule("design-3")
def test_waiting_for_a_running_turn_is_polite_and_ends(client: Any, service: ChatService, clock: FakeClock) -> None:
    service.plays.append(Play(RECORDED, cut_after=480, history=[[]]))
    stream = client.create().stream("What?")
    with pytest.raises(StreamInterruptedError, match=r"60 seconds.*recovery_timeout") as caught:
        read(stream)
    assert 50 < clock.now <= 60
    assert len(service.received("retrieve")) <= 23
    assert clock.waits == sorted(clock.waits)
    assert caught.value.turn is stream.turn
    assert stream.turn.text.startswith("Let me")
    assert not stream.turn.is_complete
    assert len(service.prompts) == 1


def test_progress_does_not_lengthen_the_budget(make: Any, service: ChatService, clock: FakeClock) -> None:
    words = [{"type": "text_delta", "content": f"{number} "} for number in range(1000)]
    service.plays.append(Play(words, cut_after=300, history=[words[:kept] for kept in range(1000)]))
    stream = make(recovery_timeout=30).create().stream("What?")
    with pytest.raises(StreamInterruptedError):
        read(stream)
    assert clock.now <= 30


def test_the_budget_is_one_for_the_whole_turn(make: Any, service: ChatService, clock: FakeClock) -> None:
    service.plays.extend([Play(instead=[plain(500)], is_taken=False)] * 50)
    with pytest.raises((InternalServerError, StreamInterruptedError)):
        make(max_retries=49, recovery_timeout=20).create().ask("What?")
    assert clock.now < 20 + 8


def test_no_recovery_at_all_looks_once(make: Any, service: ChatService, clock: FakeClock) -> None:
    client = make(recovery_timeout=0)
    service.plays.extend([Play(RECORDED, cut_after=480), Play(RECORDED, cut_after=480, history=[[]])])
    stream = client.create().stream("What?")
    assert_whole(stream.turn, read(stream))
    with pytest.raises(StreamInterruptedError):
        client.create().ask("What?")
    assert len(service.received("retrieve")) == 2
    assert clock.waits == []


@pytest.mark.parametrize(
    "history",
    [
        [*segment("text", "Something else."), stop()],
        [*segment("thinking", "Hm, look."), *segment("text", "Let"), stop()],
        segment("text", "No"),
    ],
)
@pytest.mark.rule("design-3")
def test_a_history_that_contradicts_what_was_delivered_is_an_interruption(
    client: Any, service: ChatService, history: list[Any]
) -> None:
    service.plays.append(Play(RECORDED, cut_after=600, history=[history]))
    stream = client.create().stream("What?")
    events: list[Event] = []
    with pytest.raises(StreamInterruptedError, match="contradicts") as caught:
        events.extend(stream)
    assert caught.value.turn is stream.turn
    assert joined(events) == stream.turn.text == "Let me see\u2028…"
    assert len(service.prompts) == 1


def test_a_turn_that_failed_after_the_cut_is_a_failure_with_what_came(client: Any, service: ChatService) -> None:
    service.plays.append(Play(RECORDED, cut_after=600, history=[[stop(is_error=True, error="Overloaded.")]]))
    stream = client.create().stream("What?")
    with pytest.raises(TurnFailedError, match="Overloaded") as caught:
        read(stream)
    assert caught.value.turn is stream.turn
    assert stream.turn.text == "Let me see\u2028…"
    assert stream.turn.is_complete


def test_another_turn_behind_one_that_never_ended_is_an_interruption(client: Any, service: ChatService) -> None:
    session = client.create()
    service.plays.append(Play(RECORDED, cut_after=480, history=[[]]))
    stream = session.stream("What?")
    next(iter_of := iter(stream))
    service.add_turn(session.session_id, "Somebody else's", said("x"))
    with pytest.raises(StreamInterruptedError, match="another turn followed"):
        list(iter_of)


def test_a_history_that_lost_turns_is_an_interruption(client: Any, service: ChatService) -> None:
    session = client.create()
    session.ask("One?")
    service.sessions[session.session_id].turns.clear()
    service.plays.append(Play(instead=[Cut()], is_taken=False))
    with pytest.raises(StreamInterruptedError, match="lost turns"):
        session.ask("Two?")
    assert service.prompts == ["One?", "Two?"]


@pytest.mark.parametrize(
    "trouble", [plain(500), plain(503), plain(429), plain(409), plain(429, headers={"Retry-After": "900"})]
)
def test_a_history_that_cannot_be_read_for_a_while_is_read_again(
    client: Any, service: ChatService, trouble: bytes
) -> None:
    service.plays.append(Play(RECORDED, cut_after=480))
    service.instead["retrieve"].extend([[trouble], [Cut()], [trouble]])
    stream = client.create().stream("What?")
    assert_whole(stream.turn, read(stream))
    assert len(service.received("retrieve")) == 4


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_history_that_cannot_be_read_at_all_is_an_interruption(
    client: Any, service: ChatService, status: int
) -> None:
    service.plays.append(Play(RECORDED, cut_after=600))
    service.instead["retrieve"].append([plain(status)])
    stream = client.create().stream("What?")
    with pytest.raises(StreamInterruptedError, match="cannot be read"):
        read(stream)
    assert stream.turn.text == "Let me see\u2028…"


def test_a_history_that_is_not_this_api_is_a_protocol_error_with_what_came(client: Any, service: ChatService) -> None:
    service.plays.append(Play(RECORDED, cut_after=600))
    service.instead["retrieve"].append([in_json({"events": 1})])
    stream = client.create().stream("What?")
    with pytest.raises(ProtocolError, match="retrieve") as caught:
        read(stream)
    assert caught.value.turn is stream.turn
    assert stream.turn.text == "Let me see\u2028…"


def test_a_history_event_that_is_malformed_is_a_protocol_error(client: Any, service: ChatService) -> None:
    service.plays.append(Play(RECORDED, cut_after=600, history=[[{"type": "text"}]]))
    with pytest.raises(ProtocolError, match="content"):
        client.create().ask("What?")


@pytest.mark.rule("design-6")
def test_text_already_received_is_delivered_before_an_error(client: Any, service: ChatService) -> None:
    service.plays.append(Play(RECORDED, steps=lambda pieces: [*pieces[:6], chunk(b"data: {broken\n\n")]))
    stream = client.create().stream("What?")
    events: list[Event] = []
    with pytest.raises(ProtocolError, match="not JSON") as caught:
        events.extend(stream)
    assert joined(events) == "Let me see\u2028…"
    assert caught.value.turn is stream.turn


def test_a_failed_turn_hands_on_its_stop_and_then_raises(client: Any, service: ChatService) -> None:
    service.plays.append(Play([*segment("text", "So far."), stop(is_error=True, error="No quota.")]))
    stream = client.create().stream("What?")
    events: list[Event] = []
    with pytest.raises(TurnFailedError, match="No quota") as caught:
        events.extend(stream)
    assert isinstance(events[-1], Stop)
    assert caught.value.turn is stream.turn
    assert stream.turn.is_complete
    assert stream.turn.is_error


def test_after_a_failed_turn_the_next_prompt_looks_first(client: Any, service: ChatService) -> None:
    session = client.create()
    service.plays.append(Play([stop(is_error=True, error="No quota.")]))
    with pytest.raises(TurnFailedError):
        session.ask("One?")
    assert session.ask("Two?").number == 2
    assert service.operations() == ["create", "stream", "retrieve", "stream"]


def test_after_an_interruption_the_next_prompt_waits_for_the_turn_that_may_still_run(
    make: Any, service: ChatService, clock: FakeClock
) -> None:
    session = make(recovery_timeout=5).create()
    running: list[Any] = [segment("text", "So")] * 6
    service.plays.append(Play(said("So far."), cut_after=300, history=[*running, told(said("So far."), "both")]))
    with pytest.raises(StreamInterruptedError):
        session.ask("One?")
    readings = len(service.received("retrieve"))
    assert session.ask("Two?").number == 2
    assert len(service.received("retrieve")) > readings + 1


def test_a_turn_somebody_else_left_unfinished_does_not_hold_up_a_new_handle(
    client: Any, service: ChatService, clock: FakeClock
) -> None:
    session_id = service.add_session(("What?", segment("text", "Never fin")))
    assert client.session(session_id).ask("And?").number == 2
    assert clock.waits == []


def test_an_echo_of_the_prompt_is_passed_on(client: Any, service: ChatService) -> None:
    service.plays.append(Play([{"type": "user_input", "content": "What?"}, *RECORDED]))
    stream = client.create().stream("What?")
    events = read(stream)
    assert_whole(stream.turn, events[1:])


def test_an_echoed_prompt_and_unknown_events_before_a_cut_do_not_disturb(client: Any, service: ChatService) -> None:
    echoed = [{"type": "user_input", "content": "What?"}, {"type": "novelty"}, *RECORDED]
    service.plays.append(Play(echoed, cut_after=600, history=[told(RECORDED, "both")]))
    stream = client.create().stream("What?")
    read(stream)
    assert stream.turn.text == RECORDED_TEXT
    assert stream.turn.is_complete


# A connection that is silent, slow, or stays open.


@pytest.mark.parametrize("count", [0, 1, 6], ids=["before the head", "after the head", "between events"])
def test_a_silent_connection_is_left_and_the_turn_made_whole(make: Any, service: ChatService, count: int) -> None:
    gate = Gate()
    service.plays.append(Held(RECORDED, count, gate))
    session_id = make().create().session_id
    stream = make(timeout=Timeouts(connect=60, idle=0.2)).session(session_id).stream("What?")
    assert_whole(stream.turn, read(stream))
    assert len(service.prompts) == 1
    assert service.received("stream")[0].hung_up.wait(30)
    gate.open()


def test_a_silent_answer_to_another_operation_is_a_timeout(make: Any, service: ChatService) -> None:
    session_id = service.add_session()
    gate = Gate()
    service.instead["summary"].append([gate])
    with pytest.raises(APITimeoutError, match=r"did not answer for 0.1 seconds"):
        make(timeout=Timeouts(connect=60, idle=0.1), max_retries=0).get_summary(session_id)
    gate.open()


@pytest.mark.rule("wire-3")
def test_keep_alive_comments_count_as_life(make: Any, service: ChatService) -> None:
    import time

    def slowly(pieces: list[bytes]) -> Iterator[Step]:
        yield b"".join(pieces[:4])
        for _ in range(22):
            gate = Gate()
            service._loop.call_later(0.1, gate.open)
            yield gate
            yield chunk(b": ping\n\n")
        yield b"".join(pieces[4:])

    service.plays.append(Play(RECORDED, steps=slowly))
    session = make(timeout=Timeouts(idle=2.0)).create()
    begun = time.monotonic()
    stream = session.stream("What?")
    assert_whole(stream.turn, read(stream))
    assert time.monotonic() - begun > 2.0
    assert service.operations() == ["create", "stream"]


def test_a_turn_over_its_total_time_is_a_timeout_with_what_came(
    make: Any, service: ChatService, clock: FakeClock
) -> None:
    def late(pieces: list[bytes]) -> Iterator[Step]:
        yield b"".join(pieces[:6])
        clock.now += 100
        yield gate
        yield b"".join(pieces[6:])

    gate = Gate()
    service.plays.append(Play(RECORDED, steps=late))
    stream = make(timeout=Timeouts(total=30)).create().stream("What?")
    events: list[Event] = []
    with pytest.raises(APITimeoutError, match="30 seconds"):
        for event in stream:
            events.append(event)
            if len(events) == 5:
                gate.open()
    gate.open()
    assert joined(events) == stream.turn.text
    assert not stream.turn.is_complete


@pytest.mark.rule("wire-4")
def test_after_stop_the_turn_is_over_though_the_service_holds_the_line(client: Any, service: ChatService) -> None:
    gate = Gate()
    service.plays.append(Play(RECORDED, steps=lambda pieces: [b"".join(pieces[:-1]), gate]))
    session = client.create()
    stream = session.stream("What?")
    assert_whole(stream.turn, read(stream))
    assert service.received("stream")[0].hung_up.wait(30)
    assert session.ask("And?").number == 2
    gate.open()


def test_what_a_service_sends_after_stop_is_dropped(client: Any, service: ChatService) -> None:
    more = chunk(message({"type": "text", "content": "more"}))
    service.plays.append(Play(RECORDED, steps=lambda pieces: [*pieces[:-1], more, chunk(b""), b""]))
    stream = client.create().stream("What?")
    assert_whole(stream.turn, read(stream))


def test_connections_are_used_again(client: Any, service: ChatService) -> None:
    session = client.create()
    for number in range(20):
        session.ask(f"{number}?")
    assert service.connections_made == 1


def test_a_pooled_connection_that_the_service_has_closed_does_not_lose_or_double_a_prompt(
    client: Any, service: ChatService
) -> None:
    session = client.create()
    for _ in range(5):
        service.instead["summary"].append([in_json(service.sessions[session.session_id].summary()), Cut()])
        session.summary()
        assert session.ask("What?").is_complete
    assert len(service.sessions[session.session_id].turns) == 5


def test_a_service_that_is_not_there_is_tried_again_without_looking(
    client: Any, service: ChatService, clock: FakeClock
) -> None:
    session = client.create()
    service.stop_listening()
    clock.on_wait = lambda _: service.listen_again() if len(clock.waits) == 3 else None
    assert session.ask("What?").number == 1
    assert service.operations() == ["create", "stream"]
    assert clock.waits == [0.5, 1.0, 2.0]


def test_a_service_that_stays_away_is_a_connection_error(client: Any, service: ChatService, clock: FakeClock) -> None:
    session = client.create()
    service.stop_listening()
    with pytest.raises(APIConnectionError, match="Could not connect"):
        session.ask("What?")
    assert len(clock.waits) == 5
    service.listen_again()
    assert session.ask("What?").number == 1
    assert service.operations() == ["create", "stream"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (in_json({"answer": 1}), "application/json"),
        (plain(200, b"hi"), "no content type"),
        (plain(200, b"<html>", {"Content-Type": "text/html; charset=utf-8"}), "text/html"),
    ],
)
@pytest.mark.rule("design-7")
def test_an_answer_that_is_no_event_stream_is_a_protocol_error(
    client: Any, service: ChatService, answer: bytes, said: str
) -> None:
    service.plays.append(Play(instead=[answer]))
    stream = client.create().stream("What?")
    with pytest.raises(ProtocolError, match=said) as caught:
        read(stream)
    assert caught.value.turn is stream.turn


@pytest.mark.parametrize("content_type", ["text/event-stream; charset=utf-8", "TEXT/EVENT-STREAM"])
def test_a_content_type_may_have_parameters_and_capitals(client: Any, service: ChatService, content_type: str) -> None:
    body = b"".join(map(message, RECORDED))
    service.plays.append(Play(instead=[plain(200, body, {"Content-Type": content_type})]))
    stream = client.create().stream("What?")
    assert_whole(stream.turn, read(stream))


def test_results_that_the_stream_left_open_come_from_the_history(client: Any, service: ChatService) -> None:
    (call_a, result_a), (call_b, result_b) = tool("a", "x", {}, "A"), tool("b", "x", {}, "B")
    events = [call_a, call_b, result_b, result_a, *said("Done.")]
    service.plays.append(Play(events, steps=lambda pieces: [*pieces[:4], Cut()]))
    stream = client.create().stream("What?")
    updates = read(stream)
    assert [type(update) for update in updates[:4]] == [ToolCall, ToolCall, ToolResult, ToolResult]
    assert [run.result for run in stream.turn.tool_calls] == ["A", "B"]


def test_a_stream_in_one_chunk_per_byte_is_read(client: Any, service: ChatService) -> None:
    body = b"".join(map(message, RECORDED))
    service.plays.append(Play(instead=[chunked(bytes([byte]) for byte in body)]))
    stream = client.create().stream("What?")
    assert_whole(stream.turn, read(stream))


def test_waiting_for_an_earlier_turn_is_not_taken_from_the_patience_for_this_one(
    make: Any, service: ChatService, clock: FakeClock
) -> None:
    client = make(recovery_timeout=10)
    running: list[Any] = [RECORDED[:5]] * 4
    service.plays.append(Play(cut_after=480, events=RECORDED, history=[*running, RECORDED]))
    service.plays.append(Play(cut_after=480, events=RECORDED, history=[*running, RECORDED]))
    session = client.create()
    with session.stream("What?") as stream:
        next(iter(stream))
    turn = session.ask("And?")
    assert (turn.text, turn.number) == (RECORDED_TEXT, 2)
    assert 10 < clock.now < 20


@pytest.mark.parametrize(("status", "looks"), [(409, 1), (404, 1), (422, 0)])
def test_a_refusal_that_leaves_open_what_the_session_does_is_looked_into_before_the_next_prompt(
    client: Any, service: ChatService, status: int, looks: int
) -> None:
    session = client.create()
    service.plays.append(Play(instead=[in_json({"detail": "Not now."}, status)], is_taken=False))
    with pytest.raises(APIStatusError):
        session.ask("What?")
    assert session.ask("What?").is_complete
    assert service.operations() == ["create", "stream", *["retrieve"] * looks, "stream"]


def test_a_turn_that_failed_is_not_waited_for_though_the_history_does_not_show_its_end(
    client: Any, service: ChatService, clock: FakeClock
) -> None:
    service.plays.append(Play([*RECORDED[:5], stop(is_error=True, error="bad")], history=[RECORDED[:5]]))
    session = client.create()
    with pytest.raises(TurnFailedError):
        session.ask("What?")
    assert session.ask("And?").number == 2
    assert service.operations() == ["create", "stream", "retrieve", "stream"]
    assert clock.waits == []
