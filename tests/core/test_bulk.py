"""Many questions: each asked once, whatever the service does meanwhile; the same for threads and for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from llama_cloud_chat import (
    APIConnectionError,
    AsyncChatClient,
    BulkResult,
    ChatClient,
    ConfigurationError,
    MemoryLedger,
    NotFoundError,
    PromptTooLongError,
    StreamInterruptedError,
    TurnFailedError,
    UnprocessableEntityError,
    abulk,
    bulk,
)
from llama_cloud_chat import _bulk_crew as crew
from llama_cloud_chat._bulk.run import Run
from llama_cloud_chat._session.brake import LONGEST_OUTAGE
from llama_cloud_chat._session.knowledge import KnownSessions
from llama_cloud_chat._session.queue import Ticket

from ..support.clients import Blocking, FakeClock
from ..support.server import Cut, in_json, plain
from ..support.service import ChatService, Held, Play
from ..support.turns import said

AskAll = Callable[..., list[BulkResult]]
Begin = Callable[..., Any]


@pytest.fixture
def begin(client: Any, colour: str) -> Iterator[Begin]:
    """Begin a run; iterating over it goes on with it, closing it lets it go."""
    runs: list[Any] = []

    def begin(questions: Any, *, client: Any = client, **settings: Any) -> Any:
        settings = {"index_ids": ["idx-1"], **settings}
        if isinstance(client, Blocking):
            run = client._blocking(abulk(questions, client=client._wrapped, **settings))
        elif colour == "async":
            run = abulk(questions, client=client, **settings)
        else:
            run = bulk(questions, client=client, **settings)
        runs.append(run)
        return run

    yield begin
    for run in runs:
        run.close()


@pytest.fixture
def ask_all(begin: Begin) -> AskAll:
    """Ask them all; results by place, for they come in any order."""

    def ask_all(questions: Iterable[Any], **settings: Any) -> list[BulkResult]:
        return sorted(begin(questions, **settings), key=lambda result: str(result.id))

    return ask_all


def texts(results: Iterable[BulkResult]) -> list[str | None]:
    return [None if result.turn is None else result.turn.text for result in results]


def told_of(number: int) -> str:
    return f"You said: Question {number}?"


QUESTIONS = [f"Question {number}?" for number in range(1, 8)]
ANSWERS = [told_of(number) for number in range(1, 8)]


def test_each_question_is_asked_once_in_a_session_of_its_own(ask_all: AskAll, service: ChatService) -> None:
    results = ask_all(QUESTIONS, concurrency=3)
    assert [result.id for result in results] == [1, 2, 3, 4, 5, 6, 7]
    assert [result.prompt for result in results] == QUESTIONS
    assert texts(results) == ANSWERS
    assert {(result.error, result.attempts, result.asking) for result in results} == {(None, 1, 1)}
    assert sorted(service.prompts) == QUESTIONS
    assert len({result.turn.session_id for result in results if result.turn}) == 7
    assert all(session.index_ids == ["idx-1"] for session in service.sessions.values())


def test_no_questions_are_no_requests(ask_all: AskAll, service: ChatService) -> None:
    assert ask_all([]) == []
    assert service.requests == []


def test_a_question_may_have_an_id_and_more(ask_all: AskAll) -> None:
    given = [{"id": "a", "question": "One?", "reference": "1"}, {"id": 7, "question": "Two?"}, {"question": "Three?"}]
    by_id = {result.id: result for result in ask_all(given)}
    assert set(by_id) == {"a", 7, 3}
    assert by_id["a"].given["reference"] == "1"
    assert by_id[7].prompt == "Two?"


def test_a_result_is_a_row(ask_all: AskAll, service: ChatService) -> None:
    results = [
        {"content": "One.", "score": 1.5, "metadata": {"file_name": "a.md"}},
        {
            "content": "Two.",
            "metadata": {"file_name": "b.pdf"},
            "static_fields": {"page_range_start": 3, "page_range_end": 4, "parsed_directory_file_id": "f-1"},
        },
        {"content": "Three.", "metadata": {"file_name": "c.pdf"}, "static_fields": {"page_range_start": 7}},
    ]
    usage = {"duration_ms": 1500.4, "total_input_tokens": 100, "total_output_tokens": 20}
    service.reply = lambda prompt: Play(
        [
            {"type": "tool_call", "call_id": "1", "name": "retrieve", "arguments": {}},
            {"type": "tool_result", "call_id": "1", "name": "retrieve", "result": {"results": [*results, results[1]]}},
            *said("Both.")[:-1],
            {"type": "stop", "is_error": False, "usage": usage, "skipped_index_ids": ["idx-2"]},
        ]
    )
    (result,) = ask_all([{"id": "a", "question": "Which?"}])
    row = result.as_row()
    sources = row.pop("sources")
    assert row == {
        "id": "a",
        "question": "Which?",
        "answer": "Both.",
        "pages": ["b.pdf, pages 3-4", "c.pdf, page 7"],
        "tokens": 120,
        "input_tokens": 100,
        "output_tokens": 20,
        "seconds": 1.5,
        "session_id": "ses-1",
        "turn": 1,
        "skipped_index_ids": result.turn.skipped_index_ids if result.turn else None,
        "attempts": 1,
        "asking": 1,
        "error": None,
        "error_type": None,
    }
    assert len(sources) == 4
    assert sources[1] == {
        "text": "Two.", "file_name": "b.pdf", "file_id": "f-1", "page_start": 3, "page_end": 4, "score": None,
    }  # fmt: skip


def test_what_the_service_does_not_say_is_measured_or_missing(ask_all: AskAll, clock: FakeClock) -> None:
    row = ask_all(["One?"])[0].as_row()
    assert row["tokens"] is None or isinstance(row["tokens"], int)
    assert row["seconds"] >= 0


def test_failures_are_results(ask_all: AskAll, service: ChatService) -> None:
    service.reply = lambda prompt: (
        Play([{"type": "text_delta", "content": "Half"}, {"type": "stop", "is_error": True, "error": "overloaded"}])
        if prompt == "Question 2?"
        else Play(said("Yes."))
    )
    results = ask_all(QUESTIONS[:3])
    assert texts(results) == ["Yes.", None, "Yes."]
    assert isinstance(results[1].error, TurnFailedError)
    row = results[1].as_row()
    assert (row["answer"], row["error_type"], row["turn"]) == (None, "TurnFailedError", 1)
    assert "overloaded" in row["error"]
    assert row["session_id"] in service.sessions


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (7, "not int"),
        ({"id": "a"}, "no `question`"),
        ({"question": " "}, "is empty"),
        ({"question": 7}, "not int"),
        ({"question": "\ud83d"}, "half a character"),
        ({"question": "One?", "id": " "}, "not ' '"),
        ({"question": "One?", "id": True}, "not True"),
        ({"question": "One?", "id": "\ud83d"}, "half a character"),
        (None, "not NoneType"),
        ({"question": "One?", "group": []}, r"not \[\]"),
        ({"question": "One?", "group": "\ud83d"}, "half a character"),
    ],
)
def test_what_cannot_be_asked_is_a_failure_and_not_sent(
    ask_all: AskAll, service: ChatService, given: Any, why: str
) -> None:
    results = ask_all([given, {"id": "z", "question": "Good?"}])
    with pytest.raises(ConfigurationError, match=why):
        raise results[0].error or AssertionError
    assert service.prompts == ["Good?"]


def test_what_is_too_long_is_a_failure(ask_all: AskAll, service: ChatService) -> None:
    service.max_prompt_chars = 20
    results = ask_all(["Short?", "Long? " * 10])
    assert texts(results) == ["You said: Short?", None]
    assert isinstance(results[1].error, PromptTooLongError)


class TableLikeThoseOfPandas:
    """It is iterated over by the names of its columns, none of which anybody wants to ask."""

    def __dataframe__(self) -> None: ...

    def __iter__(self) -> Iterator[str]:
        return iter(["id", "question"])


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"questions": "One?"}, "questions must be an iterable"),
        ({"questions": {"question": "One?"}}, "questions must be an iterable"),
        ({"questions": 7}, "questions must be an iterable"),
        ({"questions": TableLikeThoseOfPandas()}, "questions must be rows"),
        ({"client": "client"}, "client must be an? "),
        ({"concurrency": 0}, "concurrency must be"),
        ({"ledger": "ledger.db"}, "ledger must be a Ledger"),
        ({"index_ids": "idx-1"}, "index_ids must be a list"),
        ({"session_per": "row"}, "session_per must be"),
        ({"session_per": "row-group", "keep_sessions": False}, "keep_sessions"),
    ],
)
def test_what_cannot_work_is_said_at_the_call(begin: Begin, service: ChatService, settings: Any, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        begin(**{"questions": ["One?"], **settings})
    assert service.requests == []


def test_without_an_index_nothing_is_asked(begin: Begin, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLAMA_CLOUD_INDEX_IDS")
    with pytest.raises(ConfigurationError, match="no index to ask"):
        begin(["One?"], client=make(), index_ids=None)


def test_what_is_known_of_sessions_does_not_grow(begin: Begin, make: Any) -> None:
    client = make()
    known = (client._wrapped if isinstance(client, Blocking) else client)._known
    assert len(list(begin(QUESTIONS, client=client))) == 7
    assert not known._sessions


def test_what_is_known_of_a_session_in_use_stays() -> None:
    known = KnownSessions()
    ticket = Ticket(object(), wake=lambda: None, is_read=lambda: True, progress=lambda: 0)
    used = known.get("ses-1")
    used.queue.enter(ticket)
    known.drop_idle("ses-1")
    assert known.get("ses-1") is used
    used.queue.leave(ticket)
    for _ in range(2):
        known.drop_idle("ses-1")
    assert known.get("ses-1") is not used


def test_the_indexes_of_the_environment_are_asked(
    ask_all: AskAll, make: Any, service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_CLOUD_INDEX_IDS", "idx-7")
    ask_all(["One?"], client=make(), index_ids=None)
    assert service.sessions["ses-1"].index_ids == ["idx-7"]


async def test_either_kind_of_client_will_do(make: Any, colour: str) -> None:
    client = make()
    client = client._wrapped if isinstance(client, Blocking) else client
    if isinstance(client, AsyncChatClient):
        results = await asyncio.to_thread(lambda: list(bulk(["One?"], client=client)))
        await asyncio.to_thread(client.as_sync().close)
    else:
        assert isinstance(client, ChatClient)
        results = [result async for result in abulk(["One?"], client=client)]
        await client.as_async().aclose()
    assert texts(results) == ["You said: One?"]


async def test_the_questions_may_come_asynchronously(service: ChatService) -> None:
    async def questions() -> Any:
        for question in QUESTIONS:
            await asyncio.sleep(0)
            yield question

    async with AsyncChatClient("llx-key", base_url=service.base_url) as client:
        results = [result async for result in abulk(questions(), client=client)]
    assert sorted(text or "" for text in texts(results)) == ANSWERS


def test_questions_are_read_as_they_are_needed_and_a_slow_reader_holds_the_run_up(
    begin: Begin, service: ChatService
) -> None:
    read = itertools.count(1)
    last = 0

    def endless() -> Iterator[str]:
        nonlocal last
        for last in read:
            yield f"Question {last}?"

    run = begin(endless(), concurrency=3)
    for taken in range(1, 20):
        assert next(run).turn.text
        assert last <= taken + 3
    run.close()
    assert len(service.prompts) <= 19 + 3


def test_results_come_as_soon_as_they_are_there(begin: Begin, service: ChatService) -> None:
    held = Held()
    service.reply = lambda prompt: held if prompt == "Question 1?" else Play(said(f"You said: {prompt}"))
    run = begin(QUESTIONS, concurrency=2)
    others = [next(run) for _ in range(6)]
    assert sorted(result.id for result in others) == [2, 3, 4, 5, 6, 7]
    held.gate.open()
    assert [result.id for result in run] == [1]


def test_an_error_of_the_questions_comes_out_after_what_runs(begin: Begin) -> None:
    def broken() -> Iterator[str]:
        yield "Question 1?"
        yield "Question 2?"
        raise KeyError("the file")

    results: list[BulkResult] = []
    with pytest.raises(KeyError, match="the file"):
        results.extend(begin(broken(), concurrency=1))
    run = begin(broken(), concurrency=4)
    with pytest.raises(KeyError, match="the file"):
        results = list(run)


async def test_questions_that_are_cancelled_of_themselves_end_the_run(service: ChatService) -> None:
    async def cancelled() -> Any:
        yield "Question 1?"
        raise asyncio.CancelledError  # as where they wait for a task that somebody has cancelled

    async def run() -> list[BulkResult]:
        async with AsyncChatClient("llx-key", base_url=service.base_url) as client:
            return [result async for result in abulk(cancelled(), client=client)]

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(run(), 60)
    assert service.prompts == ["Question 1?"]


def test_leaving_closes_what_runs_and_begins_nothing_more(begin: Begin, service: ChatService) -> None:
    held = Held()
    service.reply = lambda prompt: Play(said("Yes.")) if prompt == "Question 1?" else held
    run = begin(QUESTIONS, concurrency=2)
    assert next(run).id == 1
    held.gate.reached.wait(60)
    run.close()
    running = [request for request in service.received("stream") if request.json["prompt"] != "Question 1?"]
    assert all(request.hung_up.wait(60) for request in running)
    assert len(service.prompts) <= 3
    held.gate.open()


def test_a_question_that_begins_while_all_are_let_go_is_let_go(
    service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    crews: list[crew._Crew] = []
    begun = threading.Event()

    class Crew(crew._Crew):
        def start(self) -> None:
            crews.append(self)
            super().start()

    class SlowRun(Run):
        def begin(self, *args: Any) -> Any:
            asking = super().begin(*args)
            if args[0].id == 2:
                begun.set()
                while not crews[0]._is_let_go:
                    time.sleep(0.001)
            return asking

    monkeypatch.setattr(crew, "_Crew", Crew)
    monkeypatch.setattr("llama_cloud_chat._base_client.Run", SlowRun)
    with ChatClient("llx-key", base_url=service.base_url) as client:
        run = bulk(QUESTIONS, client=client, concurrency=1)
        assert next(run).id == 1
        assert begun.wait(60)
        run.close()
    assert service.prompts == QUESTIONS[:1]


async def test_a_cancelled_run_closes_what_runs(service: ChatService) -> None:
    held = Held()
    service.reply = lambda prompt: held

    async def run() -> None:
        async with (
            AsyncChatClient("llx-key", base_url=service.base_url) as client,
            contextlib.aclosing(abulk(QUESTIONS, client=client, concurrency=2)) as results,
        ):
            async for _ in results:
                raise AssertionError

    task = asyncio.create_task(run())
    await asyncio.to_thread(held.gate.reached.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for request in service.received("stream"):
        assert await asyncio.to_thread(request.hung_up.wait, 10)


# The service says that it is asked too much, or is not there.


def storm(service: ChatService, most: int, headers: dict[str, str] | None = None) -> None:
    """Refuse each prompt so often before it is taken."""
    seen: dict[str, int] = {}

    def reply(prompt: str) -> Play:
        seen[prompt] = seen.get(prompt, 0) + 1
        if seen[prompt] <= most:
            return Play(is_taken=False, instead=[in_json({"detail": "Too many."}, 429, headers)])
        return Play(said(f"You said: {prompt}"))

    service.reply = reply


@pytest.mark.parametrize("headers", [None, {"Retry-After": "7"}, {"Retry-After": "100"}], ids=str)
@pytest.mark.rule("design-3")
def test_a_storm_of_refusals_costs_time_and_no_question(
    ask_all: AskAll, make: Any, service: ChatService, clock: FakeClock, headers: dict[str, str] | None
) -> None:
    storm(service, 12, headers)
    results = ask_all(QUESTIONS, client=make(max_retries=0), concurrency=3)
    assert texts(results) == ANSWERS
    assert {result.attempts for result in results} == {13}
    assert all(len(session.turns) == 1 for session in service.sessions.values())
    assert clock.now > 12 * 0.5


@pytest.mark.rule("design-3")
def test_nobody_asks_while_the_service_wants_to_be_left_alone(
    ask_all: AskAll, service: ChatService, clock: FakeClock
) -> None:
    """What was under way when the service said so arrives; then nothing, until the pause is over."""
    refused_at: list[float] = []
    asked_at: list[float] = []

    def reply(prompt: str) -> Play:
        asked_at.append(clock.now)
        if len(asked_at) == 10:
            refused_at.append(clock.now)
            return Play(is_taken=False, instead=[in_json({"detail": "Too many."}, 429, {"Retry-After": "30"})])
        return Play(said(f"You said: {prompt}"))

    service.reply = reply
    results = ask_all([f"Question {number}?" for number in range(40)], concurrency=4)
    assert all(result.turn for result in results)
    assert not [at for at in asked_at if refused_at[0] < at < refused_at[0] + 30]
    assert len([at for at in asked_at if at <= refused_at[0]]) <= 10 + 3
    assert sorted(result.attempts for result in results) == [1] * 39 + [2]


def test_a_refused_session_costs_time_as_well(ask_all: AskAll, service: ChatService) -> None:
    service.instead["create"].extend([[in_json({"detail": "Too many."}, 429)]] * 20)
    assert texts(ask_all(QUESTIONS, concurrency=2)) == ANSWERS
    assert len(service.sessions) == 7


def away_for(service: ChatService, clock: FakeClock, seconds: float) -> None:
    """Let the service be gone, and come back after so much time."""
    service.stop_listening()
    began = clock.now

    def on_wait(_: float) -> None:
        if clock.now - began > seconds and not service._server.is_serving():
            service.listen_again()

    clock.on_wait = on_wait


@pytest.mark.rule("design-3")
def test_a_service_that_is_away_for_five_minutes_costs_time_and_no_question(
    ask_all: AskAll, make: Any, service: ChatService, clock: FakeClock
) -> None:
    away_for(service, clock, 300)
    results = ask_all(QUESTIONS, client=make(max_retries=0), concurrency=1)
    assert texts(results) == ANSWERS
    assert clock.now > 300
    assert sorted(service.prompts) == QUESTIONS


@pytest.mark.rule("design-3")
def test_a_service_that_is_restarted_in_the_middle_is_asked_once(
    begin: Begin, service: ChatService, clock: FakeClock
) -> None:
    """The answers that were on their way are read from the history once it is back, long after `recovery_timeout`."""
    held = Held(said("Held."))
    service.reply = lambda prompt: held
    run = begin(QUESTIONS[:1], concurrency=1)
    results: list[BulkResult] = []

    def restart(_: float) -> None:
        if clock.now > 300 and not service._server.is_serving():
            service.listen_again()

    clock.on_wait = restart

    def stop() -> None:
        held.gate.reached.wait(60)
        service.stop_listening()

    thread = threading.Thread(target=stop)
    thread.start()
    results = list(run)
    thread.join()
    assert texts(results) == ["Held."]
    assert service.prompts == QUESTIONS[:1]
    assert clock.now > 300


def test_a_gateway_in_the_service_s_place_is_waited_out(ask_all: AskAll, service: ChatService) -> None:
    service.instead["create"].extend([[plain(status)] for status in (502, 503, 504)])
    service.instead["retrieve"].extend([[plain(status)] for status in (502, 503, 504)])
    service.plays.append(Play(said("Taken."), instead=[plain(502)]))
    (result,) = ask_all(["One?"])
    assert texts([result]) == ["Taken."]
    assert service.prompts == ["One?"]


def test_a_service_that_does_not_come_back_is_given_up(ask_all: AskAll, service: ChatService, clock: FakeClock) -> None:
    service.stop_listening()
    results = ask_all(QUESTIONS, concurrency=1)
    assert {type(result.error) for result in results} == {APIConnectionError}
    assert LONGEST_OUTAGE < clock.now < LONGEST_OUTAGE + 20
    service.listen_again()


def test_a_single_request_that_never_gets_through_is_given_up(
    begin: Begin, service: ChatService, clock: FakeClock
) -> None:
    """Others are answered meanwhile, so the service is not away."""

    def answer(request: Any) -> Any:
        if request.method == "GET":
            return [plain(502)]
        return service.answer(request)

    service.handle = answer
    service.plays.append(Play(said("Taken."), instead=[Cut(reset=True)]))
    run = begin((f"Question {number}?" for number in itertools.count(1)), concurrency=2)
    failed = next(result for result in run if result.error)
    assert isinstance(failed.error, StreamInterruptedError)
    assert clock.now > LONGEST_OUTAGE


def test_a_session_whose_deletion_is_answered_with_nonsense_stays(
    ask_all: AskAll, service: ChatService, caplog: pytest.LogCaptureFixture
) -> None:
    service.instead["delete"].append([plain(200, b"?", {"Content-Encoding": "unknown"})])
    assert texts(ask_all(["One?"], keep_sessions=False)) == ["You said: One?"]
    assert "could not be deleted" in caplog.text


def test_what_is_wrong_for_good_is_not_tried_again(ask_all: AskAll, service: ChatService) -> None:
    service.instead["create"].append([in_json({"detail": "No such index."}, 422)])
    (result,) = ask_all(["One?"])
    assert isinstance(result.error, UnprocessableEntityError)
    assert result.attempts == 1


def test_a_prompt_that_was_cut_off_is_looked_for_and_not_sent_again(ask_all: AskAll, service: ChatService) -> None:
    service.plays.append(Play(said("Taken."), instead=[Cut(reset=True)]))
    (result,) = ask_all(["One?"])
    assert texts([result]) == ["Taken."]
    assert service.prompts == ["One?"]


# With a ledger, what was asked is not asked again.


@pytest.mark.rule("design-12")
def test_with_a_ledger_a_rerun_yields_every_result_and_asks_nothing(ask_all: AskAll, service: ChatService) -> None:
    ledger = MemoryLedger()
    first = ask_all(QUESTIONS, ledger=ledger)
    again = ask_all(QUESTIONS, ledger=ledger)
    assert [result.turn for result in again] == [result.turn for result in first]
    assert sorted(service.prompts) == QUESTIONS


def test_with_a_ledger_only_what_is_new_is_asked(ask_all: AskAll, service: ChatService) -> None:
    ledger = MemoryLedger()
    ask_all(QUESTIONS[:3], ledger=ledger)
    ask_all([*QUESTIONS[:2], "Another one?"], ledger=ledger)
    ask_all(QUESTIONS[:1], ledger=ledger, index_ids=["idx-2"])
    assert sorted(service.prompts) == sorted([*QUESTIONS[:3], "Another one?", QUESTIONS[0]])


def test_two_questions_of_one_name_and_wording_are_one(ask_all: AskAll, service: ChatService) -> None:
    results = ask_all([{"id": "a", "question": "One?"}] * 2, concurrency=1)
    assert texts(results) == ["You said: One?"] * 2
    assert service.prompts == ["One?"]


def test_the_client_s_ledger_is_used_where_none_is_given(ask_all: AskAll, make: Any, service: ChatService) -> None:
    client = make(ledger=MemoryLedger())
    for _ in range(2):
        assert texts(ask_all(QUESTIONS, client=client)) == ANSWERS
    assert len(service.prompts) == 7


def test_without_a_ledger_another_run_asks_anew(ask_all: AskAll, service: ChatService) -> None:
    for _ in range(2):
        assert texts(ask_all(QUESTIONS)) == ANSWERS
    assert len(service.prompts) == 14


def test_sessions_that_are_not_kept_are_deleted_and_their_answers_stay(ask_all: AskAll, service: ChatService) -> None:
    ledger = MemoryLedger()
    for _ in range(2):
        assert texts(ask_all(QUESTIONS, ledger=ledger, keep_sessions=False, concurrency=1)) == ANSWERS
        assert service.sessions == {}
    assert len(service.prompts) == 7


def test_a_turn_that_the_agent_failed_is_the_answer_under_its_key(ask_all: AskAll, service: ChatService) -> None:
    service.reply = lambda prompt: Play([{"type": "stop", "is_error": True, "error": "overloaded"}])
    ledger = MemoryLedger()
    for _ in range(2):
        (result,) = ask_all(["One?"], ledger=ledger)
        assert isinstance(result.error, TurnFailedError)
    assert service.prompts == ["One?"]


# Questions that belong together.


def grouped(groups: Iterable[object]) -> list[dict[str, Any]]:
    return [
        {"id": place, "question": f"Question {place}?", "group": group} for place, group in enumerate(groups, start=1)
    ]


def where(results: Iterable[BulkResult]) -> list[tuple[str | None, int | None]]:
    return [(result.turn.session_id, result.turn.number) if result.turn else (None, None) for result in results]


def test_a_group_is_asked_in_order_in_one_session(ask_all: AskAll, service: ChatService) -> None:
    results = ask_all(grouped(["a", "a", "a", "b", 7, 7, None]), concurrency=3, session_per="row-group")
    places = where(results)
    assert [number for _, number in places] == [1, 2, 3, 1, 1, 2, 1]
    sessions = [session for session, _ in places]
    assert len(set(sessions[:3])) == len(set(sessions[4:6])) == 1
    assert len(set(sessions)) == 4
    assert texts(results) == ANSWERS


def test_groups_are_nothing_where_each_question_has_its_session(ask_all: AskAll) -> None:
    assert {number for _, number in where(ask_all(grouped("aab")))} == {1}


def test_a_group_that_comes_again_later_begins_anew(ask_all: AskAll) -> None:
    places = where(ask_all(grouped("aba"), concurrency=1, session_per="row-group"))
    assert len(set(places)) == 3


def test_a_group_goes_on_after_a_failure(ask_all: AskAll, service: ChatService) -> None:
    service.reply = lambda prompt: Play(
        [{"type": "stop", "is_error": True, "error": "overloaded"}] if prompt == "Question 1?" else said("Yes.")
    )
    results = ask_all(grouped("aa"), session_per="row-group")
    assert where(results)[1][1] == 2
    assert len(service.sessions) == 1


def test_a_group_whose_session_is_gone_fails_and_says_so(ask_all: AskAll, service: ChatService) -> None:
    def reply(prompt: str) -> Play:
        if prompt == "Question 2?":
            service.sessions.clear()
            return Play(is_taken=False, instead=[in_json({"detail": "gone"}, 404)])
        return Play(said("Yes."))

    service.reply = reply
    results = ask_all(grouped("aa"), session_per="row-group")
    assert isinstance(results[1].error, NotFoundError)


def test_an_integer_of_another_library_is_a_whole_number_as_an_id(ask_all: AskAll) -> None:
    numpy = pytest.importorskip("numpy")
    (result,) = ask_all([{"id": numpy.int64(3), "question": "What?"}])
    assert json.dumps(result.as_row()["id"]) == "3"
