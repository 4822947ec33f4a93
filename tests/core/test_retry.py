"""Whether to send again, and when: the pure decision, and what it comes to on a real connection."""

from __future__ import annotations

import email.utils
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_cloud_chat import (
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    ConflictError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    UnprocessableEntityError,
)
from llama_cloud_chat._session.operations import Repeating
from llama_cloud_chat._session.retry import Answer, Failed, FindOut, GiveUp, Retry, RetryPolicy

from ..support.clients import FakeClock
from ..support.server import Cut, in_json, plain
from ..support.service import ChatService

NOW = 1_800_000_000.0
POLICY = RetryPolicy(max_retries=5)
BROKEN = APIConnectionError("broken")
TRANSIENT = [408, 409, 429, 500, 502, 503, 504, 529]
FINAL = [300, 302, 304, 400, 401, 402, 403, 404, 405, 410, 413, 415, 422]


def decide(
    outcome: Answer | Failed, repeating: Repeating = Repeating.HARMLESS, attempt: int = 1, jitter: float = 0.0
) -> Any:
    return POLICY.decide(repeating, attempt, outcome, jitter=jitter, now=NOW)


def decide_prompt(outcome: Answer | Failed, attempt: int = 1, jitter: float = 0.0) -> Any:
    return POLICY.decide_prompt(attempt, outcome, jitter=jitter, now=NOW)


def answer(status: int, **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize("status", [200, 201, 204])
@pytest.mark.parametrize("repeating", Repeating)
def test_an_answer_is_read(status: int, repeating: Repeating) -> None:
    assert decide(answer(status), repeating) is None


@pytest.mark.parametrize("repeating", [Repeating.HARMLESS, Repeating.DELETES])
@pytest.mark.parametrize("status", TRANSIENT)
def test_what_may_pass_is_tried_again(status: int, repeating: Repeating) -> None:
    assert decide(answer(status), repeating) == Retry(0.5)


@pytest.mark.parametrize("repeating", Repeating)
@pytest.mark.parametrize("status", FINAL)
def test_what_will_not_pass_is_not(status: int, repeating: Repeating) -> None:
    decision = decide(answer(status), repeating)
    assert isinstance(decision, GiveUp)
    assert isinstance(decision.error, APIStatusError)
    assert decision.error.status_code == status


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 504])
def test_a_creation_that_may_have_succeeded_is_not_tried_again(status: int) -> None:
    assert isinstance(decide(answer(status), Repeating.DOUBLES), GiveUp)


def test_a_creation_that_was_refused_is_tried_again() -> None:
    assert decide(answer(429), Repeating.DOUBLES) == Retry(0.5)
    assert decide(answer(503, retry_after="3"), Repeating.DOUBLES) == Retry(3.0)


@pytest.mark.parametrize("repeating", Repeating)
def test_a_connection_that_could_not_be_made_is_tried_again(repeating: Repeating) -> None:
    assert decide(Failed(BROKEN, was_sent=False), repeating) == Retry(0.5)
    assert decide_prompt(Failed(BROKEN, was_sent=False)) == Retry(0.5)


@pytest.mark.parametrize("repeating", Repeating)
def test_a_connection_that_broke_is_tried_again_unless_that_would_double_something(repeating: Repeating) -> None:
    expected = GiveUp(BROKEN) if repeating is Repeating.DOUBLES else Retry(0.5)
    assert decide(Failed(BROKEN, was_sent=True), repeating) == expected


@pytest.mark.parametrize("was_sent", [True, False])
def test_what_is_final_is_not_tried_again(was_sent: bool) -> None:
    assert decide(Failed(BROKEN, was_sent, is_final=True)) == GiveUp(BROKEN)
    assert decide_prompt(Failed(BROKEN, was_sent, is_final=True)) == GiveUp(BROKEN)


def test_a_deletion_that_finds_nothing_the_second_time_has_succeeded() -> None:
    assert decide(answer(404), Repeating.DELETES, attempt=2) is None
    assert isinstance(decide(answer(404), Repeating.DELETES, attempt=1), GiveUp)
    assert isinstance(decide(answer(404), Repeating.HARMLESS, attempt=2), GiveUp)


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_a_prompt_that_may_have_been_taken_is_looked_for(status: int) -> None:
    decision = decide_prompt(answer(status))
    assert isinstance(decision, FindOut)
    assert decision.delay == 0.5


def test_a_prompt_whose_connection_broke_is_looked_for() -> None:
    assert decide_prompt(Failed(BROKEN, was_sent=True)) == FindOut(BROKEN, 0.5)


def test_a_prompt_that_was_refused_is_sent_again_without_looking() -> None:
    assert decide_prompt(answer(429)) == Retry(0.5)
    assert decide_prompt(answer(429, retry_after="2")) == Retry(2.0)
    assert decide_prompt(answer(503, retry_after="2")) == Retry(2.0)


@pytest.mark.parametrize("status", [*FINAL, 409])
def test_a_prompt_that_will_not_be_taken_is_not_sent_again(status: int) -> None:
    assert isinstance(decide_prompt(answer(status)), GiveUp)


@pytest.mark.parametrize(
    ("headers", "delay"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "1.5"}, 1.5),
        ({"retry_after": "0"}, 0.5),
        ({"retry_after": "-3"}, 0.5),
        ({"retry_after": "60"}, 60.0),
        ({"retry_after": email.utils.formatdate(NOW + 9, usegmt=True)}, 9.0),
        ({"retry_after": email.utils.formatdate(NOW - 9, usegmt=True)}, 0.5),
        ({"retry_after_ms": "250"}, 0.25),
        ({"retry_after_ms": "250", "retry_after": "7"}, 0.25),
        ({"retry_after_ms": "x", "retry_after": "7"}, 7.0),
        ({"retry_after_ms": "-1"}, 0.5),
        ({"retry_after": "soon"}, 0.5),
        ({"retry_after": "nan"}, 0.5),
        ({"retry_after": ""}, 0.5),
        ({"retry_after": "Mon, 99 Foo 2026 00:00:00 GMT"}, 0.5),
        ({"retry_after": "Mon, 01 Jan 99999 00:00:00 GMT"}, 0.5),
    ],
)
def test_the_service_names_the_pause(headers: dict[str, str], delay: float) -> None:
    assert decide(answer(429, **headers)) == Retry(delay)
    assert decide_prompt(answer(429, **headers)) == Retry(delay)


@pytest.mark.parametrize("headers", [{"retry_after": "61"}, {"retry_after_ms": "60001"}, {"retry_after": "inf"}])
def test_a_pause_that_is_too_long_is_an_error_that_names_it(headers: dict[str, str]) -> None:
    for decision in (decide(answer(429, **headers)), decide_prompt(answer(429, **headers))):
        assert isinstance(decision, GiveUp)
        assert isinstance(decision.error, RateLimitError)
        wanted = headers.get("retry_after") or "60"
        assert f"in {wanted} seconds" in decision.error.message


@given(st.integers(1, 50), st.floats(0, 1))
def test_pauses_double_from_half_a_second_to_eight_less_up_to_a_quarter(attempt: int, jitter: float) -> None:
    decision = RetryPolicy(max_retries=100).decide(Repeating.HARMLESS, attempt, answer(500), jitter=jitter, now=NOW)
    assert isinstance(decision, Retry)
    longest = min(0.5 * 2 ** (attempt - 1), 8.0)
    assert decision.delay == pytest.approx(longest * (1 - 0.25 * jitter))
    assert 0.75 * longest <= decision.delay <= longest


@pytest.mark.parametrize("outcome", [answer(500), answer(429, retry_after="1"), Failed(BROKEN, was_sent=False)])
def test_retries_end(outcome: Answer | Failed) -> None:
    assert isinstance(decide(outcome, attempt=5), Retry)
    assert isinstance(decide(outcome, attempt=6), GiveUp)
    if outcome != answer(500):
        assert isinstance(decide_prompt(outcome, attempt=5), Retry)
        assert isinstance(decide_prompt(outcome, attempt=6), GiveUp)


def test_no_retries_at_all() -> None:
    policy = RetryPolicy(max_retries=0)
    assert isinstance(policy.decide(Repeating.HARMLESS, 1, answer(500), jitter=0, now=NOW), GiveUp)
    assert isinstance(policy.decide_prompt(1, answer(429), jitter=0, now=NOW), GiveUp)


# On a real connection.


def test_an_operation_is_tried_six_times_with_growing_pauses(
    client: Any, service: ChatService, clock: FakeClock
) -> None:
    session_id = service.add_session()
    service.instead["summary"].extend([[plain(500)]] * 9)
    with pytest.raises(InternalServerError):
        client.get_summary(session_id)
    assert len(service.received("summary")) == 6
    assert clock.waits == [0.5, 1.0, 2.0, 4.0, 8.0]


def test_luck_shortens_the_pauses(client: Any, service: ChatService, clock: FakeClock) -> None:
    clock.luck = 1.0
    session_id = service.add_session()
    service.instead["summary"].append([plain(500)])
    client.get_summary(session_id)
    assert clock.waits == [0.375]


@pytest.mark.parametrize(
    "trouble", [[plain(503)], [plain(429)], [Cut()], [Cut(reset=True)], [b"HTTP/1.1 200 OK\r\nContent-Le", Cut()]]
)
def test_reading_goes_on_after_any_trouble(client: Any, service: ChatService, trouble: Any) -> None:
    session_id = service.add_session()
    for operation in ("summary", "retrieve", "list"):
        service.instead[operation].extend([trouble, trouble])
    assert client.get_summary(session_id).session_id == session_id
    assert client.retrieve(session_id).turns == []
    assert [summary.session_id for summary in client.list()] == [session_id]


def test_an_answer_cut_in_its_body_is_asked_for_again(client: Any, service: ChatService) -> None:
    session_id = service.add_session()
    whole = in_json(service.sessions[session_id].summary())
    service.instead["summary"].append([whole[:-5], Cut()])
    assert client.get_summary(session_id).session_id == session_id
    assert len(service.received("summary")) == 2


def test_an_error_cut_in_its_body_is_still_that_error(client: Any, service: ChatService) -> None:
    session_id = service.add_session()
    service.instead["summary"].append([in_json({"detail": "Not yours."}, 403)[:-5], Cut()])
    with pytest.raises(PermissionDeniedError):
        client.get_summary(session_id)


@pytest.mark.parametrize("trouble", [[plain(500)], [plain(503)], [Cut()], [Cut(reset=True)], [in_json({})[:-1], Cut()]])
@pytest.mark.rule("design-3")
def test_a_session_is_never_created_twice(client: Any, service: ChatService, trouble: Any) -> None:
    service.instead["create"].append(trouble)
    with pytest.raises((InternalServerError, APIConnectionError)):
        client.create()
    assert len(service.received("create")) == 1


def test_a_creation_that_was_refused_is_asked_for_again(client: Any, service: ChatService, clock: FakeClock) -> None:
    service.instead["create"].extend(
        [[plain(429, headers={"Retry-After": "2"})], [plain(503, headers={"Retry-After": "3"})]]
    )
    client.create()
    assert len(service.sessions) == 1
    assert clock.waits == [2.0, 3.0]


def test_a_deletion_whose_answer_was_lost_has_succeeded(client: Any, service: ChatService) -> None:
    session_id = service.add_session()
    service.instead["delete"].append([Cut()])
    service.instead["delete"].append([plain(404)])
    client.delete(session_id)
    with pytest.raises(NotFoundError):
        client.delete("never-there")


def test_a_retry_after_date_is_measured_from_the_clock(client: Any, service: ChatService, clock: FakeClock) -> None:
    session_id = service.add_session()
    date = email.utils.formatdate(1_800_000_000 + 30, usegmt=True)
    service.instead["summary"].append([plain(503, headers={"Retry-After": date})])
    client.get_summary(session_id)
    assert clock.waits == [30.0]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, APIStatusError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (405, APIStatusError),
        (409, ConflictError),
        (422, UnprocessableEntityError),
        (429, RateLimitError),
        (500, InternalServerError),
        (503, InternalServerError),
    ],
)
def test_each_status_has_its_error(make: Any, service: ChatService, status: int, kind: type[APIStatusError]) -> None:
    session_id = service.add_session()
    headers = {"X-Request-Id": "req-7"}
    service.instead["summary"].append([in_json({"detail": "Because."}, status, headers)])
    with pytest.raises(APIStatusError) as caught:
        make(max_retries=0).get_summary(session_id)
    error = caught.value
    assert type(error) is kind
    assert (error.status_code, error.body, error.request_id) == (status, {"detail": "Because."}, "req-7")
    assert f"answered {status}: Because." in error.message
    assert "req-7" in error.message


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            b'{"detail": [{"loc": ["body", "prompt"], "msg": "too long"}, 3, {"loc": null}]}',
            "422: body.prompt: too long; ?: ?.",
        ),
        (b'{"detail": {"a": 1}}', "422."),
        (b'{"detail": ""}', "422."),
        (b'["x"]', "422."),
        (b"<html>", "422."),
        (b"", "422."),
        (b'{"detail": "' + b"x" * 9000 + b'"}', "422: " + "x" * 500 + "."),
    ],
)
def test_an_error_s_body_is_read_as_far_as_it_says_something(
    client: Any, service: ChatService, body: bytes, said: str
) -> None:
    session_id = service.add_session()
    service.instead["summary"].append([plain(422, body)])
    with pytest.raises(UnprocessableEntityError) as caught:
        client.get_summary(session_id)
    assert caught.value.message == f"The service answered {said}"
