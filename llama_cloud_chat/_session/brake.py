"""That nobody asks while the service wants to be left alone, or is not there: one pause for all who ask together.

Whoever asks one question gives up after a few refusals. Of a thousand questions asked side by side each would meet the
same refusal, and use up its retries on it. Here they share one pause, and their requests are sent again after it for as
long as it takes; those who ask do not even notice.

    refused     429, or 503 with a `Retry-After`    everybody waits as long as the service says; without end
    away        it cannot be reached, or a gateway  everybody waits, and longer each time; for a quarter of an hour
                answers in its place

A prompt that may have been taken is no case for this: what came of it is for the exchange to find out, by requests that
only read, which wait as well.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from functools import partial
from typing import TypeVar

from llama_cloud_chat._errors import ChatError

from .clock import Clock
from .flows import Command, Flow, OpenStream, Send, Wait
from .retry import Answer, Failed, backoff, retry_after, was_refused

T = TypeVar("T")

_LOGGER = logging.getLogger("llama_cloud_chat")
LONGEST_OUTAGE = 900.0
"""For how many seconds a service that is away is waited for."""
_WORTH_A_WORD = 4
"""Pauses in a row, a few seconds in all, after which people are told what is waited for."""
_GATEWAY = {502, 503, 504}


class _Hindrance(Enum):
    """Why a request came to nothing, and did nothing."""

    REFUSED = "the service wants to be left alone"
    AWAY = "the service is not there"


class Brake:
    """Until when none of those who ask together sends anything. Any thread may use it.

    Args:
        clock: What the time is, and jitter.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._lock = threading.Lock()
        self._until = 0.0
        self._pauses = 0
        self._away_since: float | None = None

    @property
    def seconds_left(self) -> float:
        """For how long nobody may send anything; 0 if they may."""
        return max(0.0, self._until - self.clock.monotonic())

    def note(self, outcome: object, hindrance: _Hindrance | None) -> bool:
        """Take note of what came of a request; return whether the service has been away for too long.

        Args:
            outcome: What came.
            hindrance: Why it came to nothing; None if it did not.
        """
        now = self.clock.monotonic()
        with self._lock:
            if hindrance is not _Hindrance.AWAY:
                self._away_since = None
            elif self._away_since is None:
                self._away_since = now
            if hindrance is None:
                self._pauses = 0
                return False
            if self._away_since is not None and now - self._away_since > LONGEST_OUTAGE:
                return True
            wanted = retry_after(outcome.headers, self.clock.time()) if isinstance(outcome, Answer) else None
            if wanted is not None:
                self._until = max(self._until, now + wanted)
                _LOGGER.info("The service wants to be left alone for %.0f seconds.", wanted)
            elif now >= self._until:  # else others have met the same before
                self._pauses += 1
                self._until = now + backoff(self._pauses, self.clock.jitter())
                if self._pauses == _WORTH_A_WORD:
                    _LOGGER.warning("The service is not there, or refuses what is asked; it is waited for.")
            return False


class Caution:
    """One question's share of a brake.

    Args:
        brake: The brake.

    Attributes:
        attempts: How often its prompt was sent, or another request of its sent again.
    """

    def __init__(self, brake: Brake) -> None:
        self.attempts = 0
        self._brake = brake

    def guard(self, flow: Flow[T], on_wait: Callable[[float], None]) -> Flow[T]:
        """Run a flow, with its requests held back, and sent again as often as they come to nothing.

        Args:
            flow: The flow.
            on_wait: Told of the seconds that were waited.
        """
        go_on: Callable[[], Command] = partial(flow.send, None)
        try:
            while True:
                try:
                    command = go_on()
                except StopIteration as done:
                    result: T = done.value
                    return result
                try:
                    held_back = isinstance(command, (Send, OpenStream))
                    outcome = (yield from self._send(command, on_wait)) if held_back else (yield command)
                    go_on = partial(flow.send, outcome)
                except ChatError as error:
                    go_on = partial(flow.throw, error)
        finally:
            flow.close()

    def _send(self, command: Command, on_wait: Callable[[float], None]) -> Flow[object]:
        clock = self._brake.clock
        away_since: float | None = None
        tries, until = 0, 0.0
        self.attempts += isinstance(command, OpenStream)
        while True:
            while (seconds := max(self._brake.seconds_left, until - clock.monotonic())) > 0:
                began = clock.monotonic()
                yield Wait(seconds)
                on_wait(clock.monotonic() - began)
            outcome = yield command
            hindrance = _hindrance(command, outcome)
            is_too_long = self._brake.note(outcome, hindrance)
            if hindrance is None:
                return outcome
            if is_too_long:
                return replace(outcome, is_final=True) if isinstance(outcome, Failed) else outcome
            self.attempts += 1
            if hindrance is _Hindrance.REFUSED:
                away_since = None
                continue
            now = clock.monotonic()
            away_since = now if away_since is None else away_since
            if now - away_since > LONGEST_OUTAGE:  # for this one alone, as it seems
                return outcome
            tries += 1
            until = now + backoff(tries, clock.jitter())


def _hindrance(command: Command, outcome: object) -> _Hindrance | None:
    """Say why a request came to nothing, if it surely did, or may be sent again although it did not."""
    is_prompt = isinstance(command, OpenStream)
    if isinstance(outcome, Answer):
        if was_refused(outcome):
            return _Hindrance.REFUSED
        return _Hindrance.AWAY if outcome.status in _GATEWAY and not is_prompt else None
    if isinstance(outcome, Failed) and not outcome.is_final and not (outcome.was_sent and is_prompt):
        return _Hindrance.AWAY
    return None
