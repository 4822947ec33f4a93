"""What came of a run, in figures."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Summary:
    """What the rows of an output file add up to.

    Attributes:
        answered: How many questions were answered.
        failed: How many failed, by the class of their error.
        input_tokens: What the agent read.
        output_tokens: What it wrote.
        seconds: How long each answer took.
    """

    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: array[float] = field(default_factory=lambda: array("d"))

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Summary:
        """Return what rows add up to.

        Args:
            rows: The rows.
        """
        summary = cls()
        for row in rows:
            summary.add(row)
        return summary

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one row more.

        Args:
            row: The row.
        """
        self.input_tokens += row.get("input_tokens") or 0
        self.output_tokens += row.get("output_tokens") or 0
        if row.get("error") is not None:
            self.failed[row.get("error_type") or "ChatError"] += 1
            return
        self.answered += 1
        if row.get("seconds") is not None:
            self.seconds.append(row["seconds"])

    def percentile(self, percent: int) -> float | None:
        """Return within how many seconds so many percent of the answers came; None if that is not known."""
        if not self.seconds:
            return None
        return sorted(self.seconds)[min(len(self.seconds) - 1, len(self.seconds) * percent // 100)]
