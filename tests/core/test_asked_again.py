"""Asked once, whoever asks again: interrupted questions, keys, other clients, and what holds sessions elsewhere."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llama_cloud_chat import (
    AsyncChatClient,
    ChatClient,
    ChatError,
    ConfigurationError,
    Ledger,
    MemoryLedger,
    Message,
    NotFoundError,
    RateLimitError,
    SqliteLedger,
    StreamInterruptedError,
    TurnFailedError,
)
from llama_cloud_chat._session.knowledge import SCOPES, Interruptions, KnownSessions, Scopes
from llama_cloud_chat._session.ledger import Note

from ..support.clients import KEY, FakeClock, make_client
from ..support.server import CHUNKED, Cut, Gate, head, plain
from ..support.service import Asked, ChatService, Held, Play
from ..support.turns import RECORDED, RECORDED_TEXT, said, stop, told


def user(text: str) -> Message:
    return Message("user", text)


def answered(turn: Any) -> Message:
    return Message("assistant", turn.text, session_id=turn.session_id, turn=turn.number)


def ask(client: Any, *messages: Message, **settings: Any) -> Any:
    with client.converse(messages, **settings) as stream:
        list(stream)
    return stream.turn


# Asked again within a process.


def interrupt(client: Any, service: ChatService, *messages: Message, **settings: Any) -> None:
    """Ask, and be told that the turn cannot be recovered in time; it ends later."""
    play = Play(RECORDED, cut_after=480)
    play.history = [[]]
    service.plays.append(play)
    with pytest.raises(StreamInterruptedError) as caught:
        ask(client, *messages, **settings)
    assert not caught.value.is_retryable
    play.history = [told(RECORDED, "both")]


@pytest.mark.rule("design-3")
def test_an_interrupted_question_asked_again_is_delivered_and_opens_no_session(make: Any, service: ChatService) -> None:
    client = make(recovery_timeout=1)
    interrupt(client, service, user("What?"))
    turn = ask(client, user("What?"))
    assert (turn.text, turn.session_id, turn.number) == (RECORDED_TEXT, "ses-1", 1)
    assert service.prompts == ["What?"]
    assert len(service.sessions) == 1


def test_it_is_delivered_once_and_then_the_same_words_are_a_new_question(make: Any, service: ChatService) -> None:
    client = make(recovery_timeout=1)
    interrupt(client, service, user("What?"))
    ask(client, user("What?"))
    assert ask(client, user("What?")).text == "You said: What?"
    assert len(service.prompts) == 2


def test_some_minutes_later_the_same_words_are_a_new_question(
    make: Any, service: ChatService, clock: FakeClock
) -> None:
    client = make(recovery_timeout=1)
    interrupt(client, service, user("What?"))
    clock.now += 301
    assert ask(client, user("What?")).session_id == "ses-2"


@pytest.mark.parametrize(
    "other",
    [
        lambda client: ask(client, user("What else?")),
        lambda client: ask(client, Message("system", "Be brief."), user("What?")),
        lambda client: ask(client, user("What?"), index_ids=["another"]),
    ],
)
def test_another_question_is_none_that_was_asked(make: Any, service: ChatService, other: Callable[[Any], Any]) -> None:
    client = make(recovery_timeout=1)
    interrupt(client, service, user("What?"))
    assert other(client).session_id == "ses-2"
    assert len(service.prompts) == 2


def test_among_agents_with_other_indexes_it_is_delivered_in_its_own_session(make: Any, service: ChatService) -> None:
    client = make(recovery_timeout=1)
    thread = [user("One?"), answered(ask(client, user("One?"), index_ids=["a"])), user("Two?")]
    thread = [*thread, answered(ask(client, *thread, index_ids=["b"])), user("Three?")]
    interrupt(client, service, *thread, index_ids=["a"])
    turn = ask(client, *thread, index_ids=["a"])
    assert (turn.text, turn.session_id, turn.number) == (RECORDED_TEXT, "ses-1", 2)
    assert len(service.prompts) == 3


@pytest.mark.parametrize("named", [False, True])
def test_a_later_turn_of_a_session_asked_again_is_delivered_in_it(make: Any, service: ChatService, named: bool) -> None:
    client = make(recovery_timeout=1)
    one = ask(client, user("One?"))
    messages = [user("One?"), answered(one), user("What?")]
    settings = {"session_id": one.session_id} if named else {}
    interrupt(client, service, *messages, **settings)
    turn = ask(client, *messages, **settings)
    assert (turn.text, turn.session_id, turn.number) == (RECORDED_TEXT, "ses-1", 2)
    assert service.prompts == ["One?", "What?"]


def test_a_prompt_asked_again_on_its_session_is_delivered(make: Any, service: ChatService) -> None:
    session = make(recovery_timeout=1).create()
    play = Play(RECORDED, cut_after=480, history=[[]])
    service.plays.append(play)
    with pytest.raises(StreamInterruptedError):
        session.ask("What?")
    play.history = [told(RECORDED, "both")]
    assert session.ask("What?").text == RECORDED_TEXT
    assert service.prompts == ["What?"]


def test_every_client_of_the_process_knows_of_it(service: ChatService) -> None:
    play = Play(RECORDED, cut_after=480, history=[[]])
    service.plays.append(play)
    with ChatClient(KEY, base_url=service.base_url, recovery_timeout=0) as one:
        with pytest.raises(StreamInterruptedError):
            ask(one, user("What?"))
        play.history = [told(RECORDED, "both")]

    async def again() -> Any:
        async with AsyncChatClient(KEY, base_url=service.base_url) as other:
            async with other.converse([user("What?")]) as stream:
                async for _ in stream:
                    pass
            return stream.turn

    assert asyncio.run(again()).text == RECORDED_TEXT
    with ChatClient("llx-another", base_url=service.base_url) as stranger:
        assert ask(stranger, user("What?")).session_id == "ses-2"


def test_two_users_with_the_same_first_words_never_see_each_other_s_next_ones(make: Any, service: ChatService) -> None:
    client = make(recovery_timeout=1)
    interrupt(client, service, user("Hi!"))
    mine = ask(client, user("Hi!"))
    theirs = ask(client, user("Hi!"))
    assert mine.session_id != theirs.session_id
    interrupt(client, service, user("Hello!"))
    handed_over = ask(client, user("Hello!"))
    first = ask(client, user("Hello!"), answered(handed_over), user("My secret."))
    second = ask(client, user("Hello!"), answered(handed_over), user("My own."))
    assert first.session_id != second.session_id
    assert all("secret" not in asked.prompt for asked in service.sessions[second.session_id].turns)


def test_a_question_that_turns_out_never_taken_is_asked_in_the_session_that_was_opened_for_it(
    make: Any, service: ChatService
) -> None:
    client = make(recovery_timeout=1)
    service.plays.append(Play(RECORDED, cut_after=len(head(200, CHUNKED)), is_taken=False))
    with pytest.raises(StreamInterruptedError):
        ask(client, user("What?"))
    turn = ask(client, user("What?"))
    assert (turn.session_id, turn.number, turn.text) == ("ses-1", 1, "You said: What?")
    assert len(service.sessions) == 1


def test_a_question_that_was_never_taken_on_a_session_that_was_named_is_asked_there(
    make: Any, service: ChatService
) -> None:
    client = make(recovery_timeout=1)
    session = client.create()
    service.plays.append(Play(RECORDED, cut_after=len(head(200, CHUNKED)), is_taken=False))
    with pytest.raises(StreamInterruptedError):
        session.ask("What?")
    turn = session.ask("What?")
    assert (turn.number, turn.text) == (1, "You said: What?")


def test_an_interrupted_question_whose_session_is_gone_is_asked_anew(make: Any, service: ChatService) -> None:
    client = make(recovery_timeout=1)
    interrupt(client, service, user("What?"))
    service.sessions.clear()
    assert ask(client, user("What?")).text == "You said: What?"


async def test_a_cancelled_question_asked_again_is_delivered(service: ChatService) -> None:
    play = Held(RECORDED, 6)
    service.plays.append(play)
    async with make_client("async", service.base_url) as client:

        async def read() -> Any:
            async with client.converse([user("What?")]) as stream:
                async for _ in stream:
                    pass
            return stream.turn

        task = asyncio.create_task(read())
        assert await asyncio.to_thread(play.gate.reached.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        play.gate.open()
        assert (await read()).text == RECORDED_TEXT
    assert service.prompts == ["What?"]


def test_a_turn_that_was_let_go_on_purpose_is_a_new_question(client: Any, service: ChatService) -> None:
    with client.converse([user("What?")]) as stream:
        next(stream)
    assert ask(client, user("What?")).session_id == "ses-2"


@pytest.mark.parametrize("again", ["in time", "too late"])
def test_a_session_that_is_not_kept_stays_for_its_interrupted_question(
    make: Any, service: ChatService, clock: FakeClock, again: str
) -> None:
    client = make(recovery_timeout=1)
    interrupt(client, service, user("What?"), keep_session=False)
    assert list(service.sessions) == ["ses-1"]
    if again == "in time":
        assert ask(client, user("What?"), keep_session=False).text == RECORDED_TEXT
    else:
        clock.now += 301
        ask(client, user("Another?"), keep_session=False)
    assert service.sessions == {}


# Whose turn is whose.


def test_several_turns_that_may_be_ours_are_an_interruption(client: Any, service: ChatService) -> None:
    session = client.create()
    service.plays.append(Play(said("Ours."), cut_after=len(head(200, CHUNKED))))
    service.add_turn(session.session_id, "yes", said("Theirs."))
    with pytest.raises(StreamInterruptedError, match="whose"):
        session.ask("yes")


def test_what_was_delivered_tells_which_of_several_is_ours(client: Any, service: ChatService) -> None:
    session = client.create()
    service.plays.append(Play(said("Ours, and more."), cut_after=300))
    service.add_turn(session.session_id, "yes", said("Theirs."))
    turn = session.ask("yes")
    assert (turn.text, turn.number) == ("Ours, and more.", 2)


def test_tool_calls_tell_which_of_several_is_ours(client: Any, service: ChatService) -> None:
    def with_call(call_id: str, text: str) -> list[Any]:
        return [{"type": "tool_call", "call_id": call_id, "name": "look", "arguments": {}}, *said(text)]

    ours = with_call("a", "Ours.")
    session = client.create()
    service.plays.append(Play(ours, steps=lambda pieces: [*pieces[:2], Cut()]))
    service.add_turn(session.session_id, "yes", with_call("b", "Theirs."))
    assert session.ask("yes").text == "Ours."


@pytest.mark.rule("design-3")
def test_a_turn_is_never_given_somebody_else_s_answer_in_its_place(make: Any, service: ChatService) -> None:
    one, other = make(), make()
    session_id = one.create().session_id
    assert one.session(session_id).ask("yes").number == 1
    service.reply = lambda prompt: Play(said("B's."))
    assert other.session(session_id).ask("yes").number == 2
    service.plays.append(Play(said("A's third."), cut_after=300))
    turn = one.session(session_id).ask("yes")
    assert turn.text == "A's third."
    assert turn.number == 3


def test_a_named_session_that_others_moved_on_is_looked_at_when_knowledge_is_old(
    client: Any, service: ChatService, clock: FakeClock
) -> None:
    session = client.create()
    session.ask("One?")
    service.add_turn(session.session_id, "Theirs?", said("x"))
    clock.now += 1.5
    assert session.ask("Two?").number == 3
    service.add_turn(session.session_id, "Theirs?", said("x"))
    messages = [user("Three?"), Message("assistant", "x", session_id=session.session_id, turn=4), user("Four?")]
    assert ask(client, *messages, session_id=session.session_id).number == 5


def test_freshness_holds_for_named_sessions_too(client: Any, service: ChatService) -> None:
    session = client.create()
    session.ask("One?")
    ask(client, user("Two?"), session_id=session.session_id, freshness=0)
    ask(client, user("Three?"), session_id=session.session_id, freshness=60)
    assert service.operations().count("retrieve") == 1


def test_an_answer_with_a_wrong_number_that_is_the_last_one_goes_on(client: Any, service: ChatService) -> None:
    session_id = service.add_session(("Theirs?", said("Theirs.")), ("One?", said("Ours.")))
    wrong = Message("assistant", "Ours.", session_id=session_id, turn=1)
    turn = ask(client, user("One?"), wrong, user("Two?"))
    assert (turn.session_id, turn.number) == (session_id, 3)
    edited = Message("assistant", "Something else.", session_id=session_id, turn=1)
    assert ask(client, user("One?"), edited, user("Two?")).session_id != session_id


def test_somebody_else_s_running_turn_leaves_the_session_unknown(client: Any, service: ChatService) -> None:
    session_id = service.add_session(("Theirs?", [{"type": "text_delta", "content": "Well"}]))
    assert client.session(session_id).ask("Ours?").number == 2
    client.retrieve(session_id)
    assert client.session(session_id).ask("And?").number == 3


# Keys.


LEDGERS: dict[str, Callable[[Path], Ledger]] = {
    "memory": lambda folder: MemoryLedger(),
    "sqlite": lambda folder: SqliteLedger(folder / "ledger.db"),
}


@pytest.fixture(params=LEDGERS)
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    ledger = LEDGERS[request.param](tmp_path)
    yield ledger
    ledger.close()


@pytest.mark.rule("design-12")
def test_under_one_key_a_question_is_asked_once_whoever_asks(make: Any, service: ChatService, ledger: Ledger) -> None:
    one, other = make(ledger=ledger), make(ledger=ledger)
    first = ask(one, user("What?"), key="q-1")
    again = ask(other, user("Well then: "), user("  What?\n"), key="q-1")
    assert (again.text, again.session_id, again.number) == (first.text, first.session_id, 1)
    assert service.prompts == ["What?"]
    ask(other, user("What?"), key="q-2")
    assert len(service.prompts) == 2


def test_a_key_holds_on_a_session_of_one_s_own_too(make: Any, service: ChatService, ledger: Ledger) -> None:
    session = make(ledger=ledger).create()
    first = session.ask("What?", key="q-1")
    session.ask("Between?")
    with session.stream("What?", key="q-1") as stream:
        assert "".join(stream.text_deltas()) == first.text
    assert stream.turn == first
    assert service.prompts == ["What?", "Between?"]


def test_without_a_ledger_keys_are_the_process_s(service: ChatService) -> None:
    for _ in range(2):
        with ChatClient(KEY, base_url=service.base_url) as client:
            session = client.session("ses-1") if service.sessions else client.create()
            assert session.ask("What?", key="a key of this process").number == 1
    with ChatClient("llx-another", base_url=service.base_url) as stranger:
        assert stranger.session("ses-1").ask("What?", key="a key of this process").number == 2


def test_another_question_under_a_key_is_an_error(make: Any, service: ChatService, ledger: Ledger) -> None:
    client = make(ledger=ledger)
    ask(client, user("What?"), key="q-1")
    with pytest.raises(ConfigurationError, match="another question"):
        ask(client, user("What else?"), key="q-1")
    assert len(service.prompts) == 1


@pytest.mark.parametrize("key", ["", "  ", 7, b"q"])
def test_what_cannot_be_a_key_is_refused(client: Any, service: ChatService, key: Any) -> None:
    with pytest.raises(ConfigurationError, match="key"):
        client.converse([user("What?")], key=key)
    assert service.requests == []


def test_an_interrupted_question_is_delivered_under_its_key(make: Any, service: ChatService, ledger: Ledger) -> None:
    client = make(recovery_timeout=1, ledger=ledger)
    interrupt(client, service, user("What?"), key="q-1")
    assert ask(make(ledger=ledger), user("What?"), key="q-1").text == RECORDED_TEXT
    assert service.prompts == ["What?"]


def test_a_failed_turn_is_the_answer_under_its_key(make: Any, service: ChatService, ledger: Ledger) -> None:
    client = make(ledger=ledger)
    service.plays.append(Play([stop(is_error=True, error="Overloaded.")]))
    for _ in range(2):
        with pytest.raises(TurnFailedError, match="Overloaded"):
            ask(client, user("What?"), key="q-1")
    assert len(service.prompts) == 1


def test_a_prompt_that_was_refused_does_not_use_its_key_up(make: Any, service: ChatService, ledger: Ledger) -> None:
    client = make(ledger=ledger, max_retries=0)
    service.plays.append(Play(instead=[plain(429)], is_taken=False))
    with pytest.raises(RateLimitError) as caught:
        ask(client, user("What?"), key="q-1")
    assert caught.value.is_retryable
    assert ask(client, user("What else?"), key="q-1").number == 1
    assert len(service.sessions) == 1


def test_a_session_that_is_not_kept_has_its_turn_written_down(make: Any, service: ChatService, ledger: Ledger) -> None:
    service.plays.append(Play(RECORDED))
    first = ask(make(ledger=ledger), user("What?"), key="q-1", keep_session=False)
    assert service.sessions == {}
    again = ask(make(ledger=ledger), user("What?"), key="q-1", keep_session=False)
    assert again == first
    assert again.sources == first.sources
    assert len(service.prompts) == 1


def test_an_answered_question_whose_session_was_deleted_says_so(
    make: Any, service: ChatService, ledger: Ledger
) -> None:
    client = make(ledger=ledger)
    ask(client, user("What?"), key="q-1")
    service.sessions.clear()
    with pytest.raises(NotFoundError, match=r"answered in session .*, which is gone.* another key"):
        ask(client, user("What?"), key="q-1")
    assert len(service.prompts) == 1


def test_two_that_ask_under_one_key_at_the_same_time_ask_once(service: ChatService, ledger: Ledger) -> None:
    gate = Gate()
    service.plays.append(Held(said("Slow."), gate=gate))

    async def both() -> list[Any]:
        async with make_client("async", service.base_url, ledger=ledger) as client:

            async def one() -> Any:
                async with client.converse([user("What?")], key="q-1") as stream:
                    async for _ in stream:
                        pass
                return stream.turn

            tasks = [asyncio.create_task(one()) for _ in range(3)]
            assert await asyncio.to_thread(gate.reached.wait, 30)
            gate.open()
            return await asyncio.gather(*tasks)

    turns = asyncio.run(both())
    assert [turn.text for turn in turns] == ["Slow."] * 3
    assert service.prompts == ["What?"]


class Failing(MemoryLedger):
    """A ledger that goes away.

    Attributes:
        writes: How many more notes it takes.
    """

    def __init__(self, writes: int) -> None:
        super().__init__()
        self.writes = writes

    def write(self, key: str, note: Note) -> None:
        self.writes -= 1
        if self.writes < 0:
            raise ChatError("The ledger is gone.")
        super().write(key, note)


def test_a_ledger_that_is_gone_before_the_prompt_asks_nothing(make: Any, service: ChatService) -> None:
    with pytest.raises(ChatError, match="gone"):
        ask(make(ledger=Failing(0)), user("What?"), key="q-1")
    assert service.prompts == []


def test_a_ledger_that_goes_away_in_mid_turn_loses_nothing(
    make: Any, service: ChatService, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Failing(1)
    client = make(ledger=ledger)
    first = ask(client, user("What?"), key="q-1")
    assert first.is_complete
    assert "gone" in caplog.text
    ledger.writes = 5
    assert ask(client, user("What?"), key="q-1") == first
    assert len(service.prompts) == 1


class Holding(MemoryLedger):
    """A ledger that holds sessions across processes, and knows how many turns they have."""

    holds_sessions = True
    is_gone = False

    def remember(self, session: str, turns: int | None) -> None:
        if self.is_gone:
            raise ChatError("The ledger is gone.")
        super().remember(session, turns)


def test_a_ledger_that_holds_sessions_knows_their_turns_better_than_this_process(
    make: Any, service: ChatService
) -> None:
    ledger = Holding()
    one, other = make(ledger=ledger), make(ledger=ledger)
    session_id = one.create().session_id
    turns = [client.session(session_id).ask(f"{number}?") for number, client in enumerate([one, other] * 3)]
    assert [turn.number for turn in turns] == [1, 2, 3, 4, 5, 6]
    messages = [user("Q."), answered(turns[-1]), user("And?")]
    assert ask(one, *messages).number == 7
    assert ask(other, *messages).session_id != session_id
    assert service.operations().count("retrieve") == 2  # the other looks once which indexes the session has


@pytest.mark.parametrize("wanted", [None, ["a"], ["b"]])
def test_a_session_whose_turns_a_ledger_knows_is_asked_with_its_own_indexes(
    make: Any, service: ChatService, wanted: list[str] | None
) -> None:
    ledger = Holding()
    session_id = service.add_session(("One?", said("One.")), index_ids=["a"])
    assert make(ledger=ledger).session(session_id).ask("Two?").number == 2
    anchor = Message("assistant", "You said: Two?", session_id=session_id, turn=2)
    turn = ask(make(ledger=ledger), user("Two?"), anchor, user("Three?"), index_ids=wanted)
    assert (turn.session_id == session_id) is (wanted != ["b"])
    assert service.received("stream")[-1].json["index_ids"] == (wanted or ["a"])
    assert make(ledger=ledger).session(session_id).ask("And?").is_complete
    assert service.received("stream")[-1].json["index_ids"] == ["a"]


def test_after_a_turn_that_was_found_again_its_session_is_asked_with_its_own_indexes(
    make: Any, service: ChatService
) -> None:
    ledger = MemoryLedger()
    session_id = service.add_session(index_ids=["a"])
    make(ledger=ledger).session(session_id).ask("One?", key="q-1")
    stranger = make(ledger=ledger)
    stranger.session(session_id).ask("One?", key="q-1")
    assert stranger.session(session_id).ask("Two?").number == 2
    assert [request.json["index_ids"] for request in service.received("stream")] == [["a"], ["a"]]


def test_a_holder_that_dies_in_its_turn_leaves_no_stale_count_behind(make: Any, service: ChatService) -> None:
    ledger = Holding()
    one, other = make(ledger=ledger), make(ledger=ledger)
    session = one.create()
    assert session.ask("One?").number == 1
    with session.stream("Two?") as stream:
        for _ in stream:
            ledger.is_gone = True  # as for a process that is killed: it says nothing more
    ledger.is_gone = False
    assert other.session(session.session_id).ask("Three?").number == 3


def test_the_turn_of_a_holder_that_died_is_waited_for(make: Any, service: ChatService) -> None:
    session_id = service.add_session(index_ids=["a"])
    running = Play(said("For nobody."), history=[[], [], said("For nobody.")])
    service.sessions[session_id].turns.append(Asked("One?", running))
    assert make(ledger=Holding()).session(session_id).ask("Two?").number == 2
    assert service.operations() == ["retrieve", "retrieve", "retrieve", "stream"]


def test_a_session_that_is_not_to_be_kept_is_deleted_though_a_ledger_that_does_not_need_it_is_gone(
    make: Any, service: ChatService
) -> None:
    ledger = Holding()
    ledger.is_gone = True
    assert ask(make(ledger=ledger), user("What?"), keep_session=False).is_complete
    assert service.sessions == {}


# Corners.


def test_interruptions_are_not_remembered_without_end() -> None:
    note = Note("", "ses-1", 0, "")
    interruptions = Interruptions()
    for number in range(10_001):
        interruptions.add(str(number), note, 0.0)
    assert interruptions.take("0", 0.0) is None
    assert interruptions.take("1", 0.0) is note


def test_a_turn_with_events_of_the_future_is_written_down_as_it_is(make: Any, service: ChatService) -> None:
    ledger = MemoryLedger()
    service.plays.append(Play([*said("Fine.")[:-1], {"type": "mood", "value": 7}, stop()]))
    first = ask(make(ledger=ledger), user("What?"), key="q-1", keep_session=False)
    again = ask(make(ledger=ledger), user("What?"), key="q-1", keep_session=False)
    assert again.text == first.text == "Fine."
    assert [event.raw for event in again.events if event.type == "unknown"] == [{"type": "mood", "value": 7}]


# Processes.


def test_what_is_known_belongs_to_service_project_and_key(service: ChatService) -> None:
    def known(**settings: Any) -> KnownSessions:
        client: Any = make_client("sync", service.base_url, **settings)
        return SCOPES.get(client.config.scope)

    assert known() is known()
    assert known(project_id="00000000-0000-0000-0000-000000000001") is not known()
    few = Scopes()
    kept = [few.get(str(number)) for number in range(1001)]
    assert few.get("1000") is kept[-1]
    assert few.get("0") is not kept[0]


CHILD = """
import os, sys, warnings
warnings.simplefilter("ignore")
from llama_cloud_chat import ChatClient
client = ChatClient("{key}", base_url="{base_url}")
session = client.create()
stream = session.stream("Held?")
next(stream)
child = os.fork()
if child == 0:
    known = client._known.get(session.session_id)
    assert known.queue.is_idle and known.turn_count is None, known
    assert not client._known.interruptions
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="There is no fork here.")
def test_the_child_of_a_fork_begins_with_nothing(service: ChatService) -> None:
    code = textwrap.dedent(CHILD).format(key=KEY, base_url=service.base_url)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
