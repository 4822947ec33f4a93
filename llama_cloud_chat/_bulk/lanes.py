"""Who asks which question: the questions of a group one after another, in one session, all others side by side.

Whoever asks has a lane, takes the next question of it, and reads on where it has none. What is read belongs to the lane
of whoever reads, unless it goes on with the group of the question before: then to the lane of that one. So questions
are read when somebody has time for them, and of a group, as many as follow each other.
"""

from __future__ import annotations

from collections import deque
from itertools import count

from .question import Question, read_question


class Lane:
    """What one of those who ask has before them.

    Attributes:
        waiting: Questions that were read for it.
        session_id: Where its group is asked; None where that is not known yet.
    """

    def __init__(self) -> None:
        self.waiting: deque[Question] = deque()
        self.session_id: str | None = None
        self._group: str | None = None

    def begin(self, question: Question) -> None:
        """Note which group is asked now."""
        if question.group is None or question.group != self._group:
            self._group, self.session_id = question.group, question.session_id


class Lanes:
    """Hands the questions out.

    Args:
        by_group: Whether a group shares a session.
    """

    def __init__(self, *, by_group: bool) -> None:
        self._by_group = by_group
        self._places = count(1)
        self._last: Lane | None = None
        self._group: str | None = None

    def take(self, given: object, reader: Lane) -> None:
        """Put what was read where it belongs."""
        question = read_question(given, next(self._places))
        group = question.group if self._by_group else None
        lane = self._last if group is not None and group == self._group else None
        self._last, self._group = lane or reader, group
        self._last.waiting.append(question)
