"""Finds a regular expression in a text, in bounded time whatever the expression is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import regex  # type: ignore[import-untyped]

SECONDS = 1.0
MAX_PATTERN_CHARS = 400
# Repetitions are unrolled before anything is matched; unbounded, that alone takes minutes and gigabytes.
MAX_REPETITIONS = 2000

_COUNTS = re.compile(r"(\)?)\s*\{\s*(\d*)\s*(?:,\s*(\d*)\s*)?\}")


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
    if _repetitions(pattern) > MAX_REPETITIONS:
        raise RefusedPatternError("The pattern repeats too often; use smaller numbers in its braces.")
    try:
        return regex.compile(pattern, regex.IGNORECASE)
    except (regex.error, RecursionError, OverflowError, ValueError) as error:
        raise RefusedPatternError(f"The pattern is not a regular expression: {error}.") from None


def _repetitions(pattern: str) -> int:
    """Return at most how many things the counts in braces unroll to; those of groups may stand in each other."""
    ones, groups = 1, 1
    for closes_group, *counts in _COUNTS.findall(pattern):
        count = max((min(int(each[:6]), 10**6) for each in counts if each), default=1)
        if closes_group:
            groups *= max(count, 1)
        else:
            ones += count
    return ones * groups
