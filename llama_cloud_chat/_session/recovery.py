"""What a stream that broke leaves to be done: find its turn in the session's history, and deliver what is missing.

A prompt that the service may have taken is never sent again blindly. The history tells which of these it is:

    the prompt is not there, and the service had not begun to answer   -> seen twice: it may be asked again
    the turn is there and over                                         -> the rest is delivered, as if nothing happened
    the turn is there and runs on                                      -> what there is is delivered; look again
    what is there contradicts what was delivered                       -> `StreamInterruptedError`
    neither within the turn's patience                                 -> `StreamInterruptedError`
"""

from __future__ import annotations

from collections.abc import Callable

from llama_cloud_chat._errors import (
    APIConnectionError,
    APIStatusError,
    ChatError,
    ConflictError,
    InternalServerError,
    RateLimitError,
    StreamInterruptedError,
)
from llama_cloud_chat._turn.turn import HistoryConflictError, Turn, TurnReader

from . import operations
from .answers import SessionDetail
from .clock import Clock
from .flows import Deliver, Flow, Wait, call
from .patience import Patience, pauses
from .retry import RetryPolicy

_ABSENT_FOR_GOOD = 2


class Recovery:
    """Makes one turn whole after its stream broke.

    Args:
        reader: Builds the turn.
        turns_before: How many turns the session had before it.
        patience: How long it may take.
        check_limits: Raises if the turn has had its time.
        clock: What the time is.
    """

    def __init__(
        self,
        reader: TurnReader,
        turns_before: int,
        *,
        patience: Patience,
        check_limits: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._reader = reader
        self._turns_before = turns_before
        self._patience = patience
        self._check_limits = check_limits
        self._clock = clock

    @property
    def _turn(self) -> Turn:
        return self._reader.turn

    def run(self, error: ChatError | None, *, was_taken: bool) -> Flow[None]:
        """Look for the turn until it is whole, or known not to be there: then nothing is delivered.

        Args:
            error: What broke the stream, if anything but its end did.
            was_taken: Whether the service had begun to answer.

        Raises:
            StreamInterruptedError: What is there cannot be joined to what was delivered, or never ends.
        """
        times_absent = 0
        for pause in pauses():  # pragma: no branch  # they do not end
            self._check_limits()
            history = yield from self._peek(error)
            if history is not None:
                if (yield from self._catch_up(history.turns, error)):
                    if self._turn.is_complete:
                        return
                else:
                    times_absent += 1
                    if not was_taken and times_absent == _ABSENT_FOR_GOOD:
                        return
            if self._patience.is_exhausted(pause):
                raise self._interrupted(
                    f"the turn was not finished {self._patience.seconds:g} seconds later (recovery_timeout); it may "
                    "still end, and the session's history will show it",
                    error,
                )
            yield Wait(pause)

    def _peek(self, error: ChatError | None) -> Flow[SessionDetail | None]:
        """Read the history once; None if that failed in a way that may pass."""
        session_id = self._turn.session_id
        assert session_id is not None
        try:
            return (yield from call(operations.retrieve(session_id), RetryPolicy(max_retries=0), self._clock))
        except (RateLimitError, ConflictError, InternalServerError):
            return None
        except APIStatusError as unreadable:
            raise self._interrupted("the session's history cannot be read", unreadable) from unreadable
        except APIConnectionError:
            return None

    def _catch_up(self, turns: list[Turn], error: ChatError | None) -> Flow[bool]:
        """Deliver what the history has of the turn; return whether it is there."""
        if len(turns) < self._turns_before:
            raise self._interrupted("the session's history has lost turns", error)
        if len(turns) == self._turns_before:
            return False
        found = turns[self._turns_before]
        if found.prompt.strip() != self._turn.prompt.strip():
            raise self._interrupted("somebody else asked something on this session meanwhile", error)
        try:
            updates = self._reader.catch_up(found)
        except HistoryConflictError:
            raise self._interrupted("the session's history contradicts what was received", error) from error
        if updates:
            yield Deliver(updates)
        if not self._turn.is_complete and len(turns) > self._turns_before + 1:
            raise self._interrupted("another turn followed before this one had ended", error)
        return True

    def _interrupted(self, reason: str, cause: ChatError | None) -> StreamInterruptedError:
        because = f" ({cause.message.rstrip('.')})" if cause is not None else ""
        return StreamInterruptedError(
            f"The answer's stream broke off{because}, and it could not be recovered: {reason}. "
            "What was received is in `.turn`; the session's history has the rest, if there is one.",
            self._turn,
        )
