"""Whether to send a request again, and when: a pure decision about what came of it.

Times follow the official SDK (`llama_cloud/_base_client.py`): 0.5 s doubling to 8 s, less up to a quarter, unless
the service names a time. Unlike the SDK, a request that would do its work twice is sent again only if it was
refused, or never sent at all.
"""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from llama_cloud_chat._errors import APIConnectionError, APIStatusError, ChatError, error_class_for
from llama_cloud_chat._turn.json import read_json

from .operations import Repeating

FIRST_DELAY = 0.5
LONGEST_DELAY = 8.0
LONGEST_RETRY_AFTER = 60.0
"""Seconds. A service that wants a longer pause gets no retry, but an error that says how long it asked for."""


@dataclass(frozen=True)
class Answer:
    """The service answered, with whatever status."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Failed:
    """No answer came.

    Attributes:
        error: What the caller will see if nothing helps.
        was_sent: Whether the service may have taken the request.
        is_final: Whether trying again is pointless.
    """

    error: APIConnectionError
    was_sent: bool
    is_final: bool = False


@dataclass(frozen=True)
class Retry:
    """Send it again after `delay` seconds."""

    delay: float


@dataclass(frozen=True)
class FindOut:
    """It may have been taken: find out, and only if it was not, send it again after `delay` seconds."""

    error: ChatError
    delay: float


@dataclass(frozen=True)
class GiveUp:
    """Raise `error`."""

    error: ChatError


Outcome: TypeAlias = Answer | Failed
Decision: TypeAlias = Retry | FindOut | GiveUp


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how fast.

    Attributes:
        max_retries: How often a request is sent after its first time.
    """

    max_retries: int

    def decide(
        self, repeating: Repeating, attempt: int, outcome: Outcome, *, jitter: float, now: float
    ) -> Retry | GiveUp | None:
        """Decide about a request other than a prompt; None if its answer can be read.

        Args:
            repeating: What sending it twice would do.
            attempt: How often it was sent, this time included.
            outcome: What came of it.
            jitter: A random number from 0 to 1.
            now: The time in seconds since the epoch, which a `Retry-After` date is measured from.
        """
        if isinstance(outcome, Answer):
            if outcome.status < 300 or (outcome.status == 404 and attempt > 1 and repeating is Repeating.DELETES):
                return None
            may_repeat = was_refused(outcome) or (
                repeating is not Repeating.DOUBLES and (outcome.status in {408, 409} or outcome.status >= 500)
            )
        else:
            may_repeat = not outcome.is_final and (not outcome.was_sent or repeating is not Repeating.DOUBLES)
        return self._retry(attempt, outcome, jitter, now) if may_repeat else GiveUp(error_of(outcome))

    def decide_prompt(self, attempt: int, outcome: Outcome, *, jitter: float, now: float) -> Decision:
        """Decide about a prompt that was not answered with a stream."""
        if isinstance(outcome, Answer):
            if was_refused(outcome):
                return self._retry(attempt, outcome, jitter, now)
            if outcome.status == 408 or outcome.status >= 500:
                return FindOut(error_of(outcome), backoff(attempt, jitter))
            return GiveUp(error_of(outcome))
        if outcome.is_final:
            return GiveUp(outcome.error)
        if outcome.was_sent:
            return FindOut(outcome.error, backoff(attempt, jitter))
        return self._retry(attempt, outcome, jitter, now)

    def _retry(self, attempt: int, outcome: Outcome, jitter: float, now: float) -> Retry | GiveUp:
        wanted = retry_after(outcome.headers, now) if isinstance(outcome, Answer) else None
        if wanted is not None and wanted > LONGEST_RETRY_AFTER:
            return GiveUp(error_of(outcome, f" It asks to try again in {wanted:.0f} seconds."))
        if attempt > self.max_retries:
            return GiveUp(error_of(outcome))
        return Retry(backoff(attempt, jitter) if wanted is None else wanted)


def was_refused(answer: Answer) -> bool:
    """Whether the service says that it did nothing."""
    return answer.status == 429 or (answer.status == 503 and "retry-after" in answer.headers)


def backoff(attempt: int, jitter: float) -> float:
    """Return how many seconds to wait before another attempt.

    Args:
        attempt: How often it was tried, from 1.
        jitter: A random number from 0 to 1.
    """
    return float(min(FIRST_DELAY * 2.0 ** min(attempt - 1, 10), LONGEST_DELAY) * (1 - 0.25 * jitter))


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Read how many seconds the service wants to be left alone; None if it does not say, or says that it need not be.

    Whoever has just refused is not asked again at once, whatever it says.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000 if milliseconds > 0 else None
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is None and value is not None:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    return seconds if seconds is not None and seconds > 0 else None


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and number == number else None  # noqa: PLR0124  # not NaN


_HINTS = {
    401: "Check the API key.",
    403: "The API key may not do this; check the project and organisation.",
    404: "Check the id, and that it belongs to this project.",
    405: "This service does not offer that operation.",
    429: "Slow down, or ask for a higher quota.",
}


def error_of(outcome: Outcome, note: str = "") -> ChatError:
    """Return the error that stands for `outcome`."""
    if isinstance(outcome, Failed):
        return outcome.error
    body = read_body(outcome.body)
    if 300 <= outcome.status < 400:
        text = "The service answered with a redirect, which is not followed with the API key or a prompt."
        hint = "Set base_url to the address it points to if you trust it."
    else:
        text = f"The service answered {outcome.status}{_reason(body)}."
        hint = _HINTS.get(outcome.status, "")
    request_id = outcome.headers.get("x-request-id")
    asked = f" (request id {request_id})" if request_id else ""
    error: type[APIStatusError] = error_class_for(outcome.status)
    return error(f"{text}{note} {hint}".rstrip() + asked, status_code=outcome.status, body=body, request_id=request_id)


def retold(error: APIStatusError, message: str) -> APIStatusError:
    """Return an error in other words."""
    return type(error)(message, status_code=error.status_code, body=error.body, request_id=error.request_id)


def read_body(body: bytes) -> Any:
    try:
        return read_json(body)
    except ValueError:
        return body.decode("utf-8", "replace") or None


def _reason(body: Any) -> str:
    reason = reason_in(body) if isinstance(body, dict) else ""
    return f": {reason}" if reason else ""


def reason_in(body: Any) -> str:
    """Say in a few words what an error's JSON says: a detail, an error, a message, or the first validation problems."""
    if isinstance(body, dict):
        return next(filter(None, (reason_in(body.get(name)) for name in ("detail", "error", "message"))), "")
    if isinstance(body, list):
        items = [item for item in body if isinstance(item, dict)]
        body = "; ".join(
            f"{'.'.join(map(str, item.get('loc') or ['?']))}: {item.get('msg', '?')}" for item in items[:3]
        )
    return body[:500].rstrip(".") if isinstance(body, str) else ""
