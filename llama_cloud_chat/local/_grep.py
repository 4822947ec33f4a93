"""Finds a regular expression in a text, in bounded time whatever the expression is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import regex  # type: ignore[import-untyped]

SECONDS = 1.0
MAX_PATTERN_CHARS = 400
# Repetitions are unrolled before anything is matched; unbounded, that alone takes minutes.
MAX_REPETITIONS = 2000

_COUNTS = re.compile(r"\{\s*(\d*)\s*(?:,\s*(\d*)\s*)?\}")


class RefusedPatternError(Exception):
    """The pattern is not searched for; the message says why."""


def find_pattern(pattern: str, text: str) -> Iterator[tuple[int, int]]:
    """Yield where `pattern` is found in `text`, in any case; matches of nothing are left out.

    Raises:
        RefusedPatternError: It is not a regular expression, or takes too long.
    """
    compiled = _compile(pattern)
    try:
        # Concurrent: other threads, the event loop's too, go on meanwhile.
        for match in compiled.finditer(text, concurrent=True, timeout=SECONDS):
            if match.end() > match.start():
                yield match.span()
    except TimeoutError:
        raise RefusedPatternError(f"The pattern takes longer than {SECONDS:g} s; make it simpler.") from None
    except MemoryError:
        raise RefusedPatternError("The pattern takes too much memory; make it simpler.") from None


def _compile(pattern: str) -> Any:
    if len(pattern) > MAX_PATTERN_CHARS:
        raise RefusedPatternError(f"The pattern is longer than {MAX_PATTERN_CHARS} characters.")
    counts = [number for pair in _COUNTS.findall(pattern) for number in pair if number]
    if sum(min(int(number[:6]), 10**6) for number in counts) > MAX_REPETITIONS:
        raise RefusedPatternError("The pattern repeats too often; use smaller numbers in its braces.")
    try:
        return regex.compile(pattern, regex.IGNORECASE)
    except (regex.error, RecursionError, OverflowError, ValueError) as error:
        raise RefusedPatternError(f"The pattern is not a regular expression: {error}.") from None
