"""How long a turn may be waited for: one budget, and the pauses that use it up.

Progress does not renew the budget: a turn that never ends must not be waited for without end.
"""

from __future__ import annotations

from collections.abc import Iterator

from .clock import Clock

_FIRST_PAUSES = (0.5, 1.0, 2.0)
_LONGEST_PAUSE = 3.0


class Patience:
    """The time that one turn may take beyond its stream.

    Args:
        seconds: How much of it there is.
        clock: What the time is.
    """

    def __init__(self, seconds: float, clock: Clock) -> None:
        self.seconds = seconds
        self._clock = clock
        self._deadline: float | None = None

    def is_exhausted(self, pause: float) -> bool:
        """Whether waiting `pause` seconds more would overrun it. The first time this is asked, it begins."""
        now = self._clock.monotonic()
        if self._deadline is None:
            self._deadline = now + self.seconds
        return now + pause > self._deadline

    def extend(self, seconds: float) -> None:
        """Do not count so many seconds, in which the service was not there to be waited for."""
        if self._deadline is not None:
            self._deadline += seconds

    def renew(self) -> None:
        """Begin anew, with what comes next."""
        self._deadline = None


def pauses() -> Iterator[float]:
    """Yield the seconds to wait before each next look, without end."""
    yield from _FIRST_PAUSES
    while True:
        yield _LONGEST_PAUSE
