"""What a stream that broke leaves to be done: find its turn in the session's history, and deliver what is missing.

A prompt that the service may have taken is never sent again blindly. A turn of the history is a candidate if it comes
after those that were there before, answers our prompt, and holds all that was delivered. How many there are tells:

    none, and the service had not begun to answer   -> seen twice: the prompt was not taken, and may be asked again
    none, and it had                                -> look again
    one, over                                       -> ours: the rest is delivered, as if nothing had happened
    one, running                                    -> ours: what there is is delivered; look again
    several                                         -> `StreamInterruptedError`: a guess could be somebody else's answer

So is a turn that does not end within its patience, and one that contradicts what was delivered.
"""

from __future__ import annotations

from collections.abc import Callable

from llama_cloud_chat._errors import (
    APIConnectionError,
    APIStatusError,
    ChatError,
    ConflictError,
    InternalServerError,
    NotFoundError,
    RateLimitError,
    StreamInterruptedError,
)
from llama_cloud_chat._turn.turn import Turn, TurnReader, count_turns

from . import operations
from .answers import SessionDetail
from .clock import Clock
from .flows import Deliver, Flow, Wait, call
from .patience import Patience, pauses
from .retry import RetryPolicy

_ABSENT_FOR_GOOD = 2
_CONTRADICTION = "the session's history contradicts what was received"


class Recovery:
    """Makes one turn whole after its stream broke.

    Args:
        reader: Builds the turn.
        turns_before: How many turns the session had before it.
        is_our_prompt: Whether a prompt is the one that was asked.
        patience: How long it may take.
        check_limits: Raises if the turn has had its time.
        clock: What the time is.
        is_heard: Whether what is missing is handed on; what answers a part of a prompt is nobody's answer.

    Attributes:
        turns_before: How many turns come before it, as far as the history was read: more than at first where the
            prompt was not taken and others asked meanwhile.
        turn_count: How many turns the history had when it was last read; 0 if it was not.
    """

    def __init__(
        self,
        reader: TurnReader,
        turns_before: int,
        *,
        is_our_prompt: Callable[[str], bool],
        patience: Patience,
        check_limits: Callable[[], None],
        clock: Clock,
        is_heard: bool = True,
    ) -> None:
        self.turns_before = turns_before
        self.turn_count = 0
        self._is_contradicted = False
        self._reader = reader
        self._is_our_prompt = is_our_prompt
        self._patience = patience
        self._check_limits = check_limits
        self._clock = clock
        self._is_heard = is_heard

    @property
    def _turn(self) -> Turn:
        return self._reader.turn

    def run(self, error: ChatError | None, *, was_taken: bool) -> Flow[None]:
        """Look for the turn until it is whole, or known not to be there: then nothing is delivered.

        Args:
            error: What broke the stream, if anything but its end did.
            was_taken: Whether the service had begun to answer.

        Raises:
            NotFoundError: The session is gone.
            StreamInterruptedError: What is there cannot be joined to what was delivered, or never ends.
        """
        times_absent = 0
        for pause in pauses():  # pragma: no branch  # they do not end
            self._check_limits()
            history = yield from self._peek(error)
            if history is not None:
                found = self._find(history.turns, error)
                if found is not None:
                    yield from self._deliver(found, history.turns, error)
                    if self._turn.is_complete:
                        return
                elif not was_taken:
                    times_absent += 1
                    if times_absent == _ABSENT_FOR_GOOD:
                        self.turns_before = self.turn_count
                        return
            if self._patience.is_exhausted(pause):
                raise self._interrupted(self._too_late(), error)
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
            if error is None and isinstance(unreadable, NotFoundError) and not self._turn.events:
                raise  # nothing broke: a turn was looked for that somebody may have asked
            raise self._interrupted("the session's history cannot be read", unreadable) from unreadable
        except APIConnectionError:
            return None

    def _find(self, turns: list[Turn], error: ChatError | None) -> Turn | None:
        """Return the turn that is ours; None if it is not there.

        Raises:
            StreamInterruptedError: Which one that is cannot be told, or none of them can be.
        """
        self.turn_count = count_turns(turns)
        if self.turn_count < self.turns_before:
            raise self._interrupted("the session's history has lost turns", error)
        ours = [turn for turn in turns if (turn.number or 0) > self.turns_before and self._is_our_prompt(turn.prompt)]
        candidates = [turn for turn in ours if self._reader.fits(turn)]
        if len(candidates) > 1:
            raise self._interrupted(
                "somebody else asked the same on this session meanwhile, and which answer is whose cannot be told",
                error,
            )
        self._is_contradicted = bool(ours) and not candidates
        if self._is_contradicted and all(turn.is_complete for turn in ours):
            raise self._interrupted(_CONTRADICTION, error)
        return candidates[0] if candidates else None

    def _deliver(self, found: Turn, turns: list[Turn], error: ChatError | None) -> Flow[None]:
        self._turn.number, self._turn.prompt = found.number, found.prompt
        updates = self._reader.catch_up(found)
        if updates and self._is_heard:
            yield Deliver(updates)
        if not self._turn.is_complete and found is not turns[-1]:
            raise self._interrupted("another turn followed before this one had ended", error)

    def _too_late(self) -> str:
        if self._is_contradicted:
            return _CONTRADICTION
        seconds = f"{self._patience.seconds:g} seconds later (recovery_timeout)"
        if self.turn_count > self.turns_before and not self._turn.events:
            return f"somebody else asked something on this session meanwhile, and this turn was not there {seconds}"
        return f"the turn was not finished {seconds}; it may still end, and the session's history will show it"

    def _interrupted(self, reason: str, cause: ChatError | None) -> StreamInterruptedError:
        because = f" ({cause.message.rstrip('.')})" if cause is not None else ""
        return StreamInterruptedError(
            f"The answer's stream broke off{because}, and it could not be recovered: {reason}. "
            "What was received is in `.turn`; the session's history has the rest, if there is one.",
            self._turn,
        )
