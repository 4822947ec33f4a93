"""How many characters a prompt may hold: what a service said, for all clients of this process, or what people know.

It is published and not observed (1000 characters), so nothing is cut until a service has refused a prompt for its
length: only its own `string_too_long` about the prompt teaches.
"""

from __future__ import annotations

import threading
from typing import Any

from llama_cloud_chat._errors import APIStatusError, UnprocessableEntityError


class PromptLimits:
    """What each service takes, by its address."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._learnt: dict[str, int] = {}

    def of(self, base_url: str, given: int | None) -> int | None:
        """Return the limit in force: the smaller of what was learnt and what was given; None while it is unknown."""
        limits = [limit for limit in (self._learnt.get(base_url), given) if limit is not None]
        return min(limits, default=None)

    def learn(self, base_url: str, error: APIStatusError) -> bool:
        """Take note of what a refusal says; return whether it names a limit."""
        limit = _limit_in(error)
        if limit is None:
            return False
        with self._lock:
            self._learnt[base_url] = min(limit, self._learnt.get(base_url, limit))
        return True

    def begin_anew(self) -> None:
        """Forget everything."""
        self._lock = threading.Lock()
        self._learnt.clear()


def _limit_in(error: APIStatusError) -> int | None:
    if not isinstance(error, UnprocessableEntityError) or not isinstance(error.body, dict):
        return None
    problems = error.body.get("detail")
    for problem in problems if isinstance(problems, list) else []:
        if (
            isinstance(problem, dict)
            and problem.get("type") == "string_too_long"
            and problem.get("loc")
            == [
                "body",
                "prompt",
            ]
        ):
            return _positive((problem.get("ctx") or {}).get("max_length"))
    return None


def _positive(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


PROMPT_LIMITS = PromptLimits()
"""What this process has learnt."""
