"""How it is measured: contestants take turns, round after round, and only medians of ratios are believed.

A machine is faster in one second than in the next. So the contestants of a race run A B C A B C, a figure is divided by
the other figure of its own round, and the median of these is the result; the spread is the middle half of them.
Work is CPU time of the process (`process_time`), which another process's load changes least.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .contestants import CONTESTANTS, Contestant


@dataclass(frozen=True)
class Figure:
    """A result.

    Attributes:
        median: The middle of the rounds.
        low: A quarter of the rounds are below.
        high: A quarter of the rounds are above.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        """Sum up what the rounds gave."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


class Results:
    """What was measured, by race, metric and contestant, round by round.

    Attributes:
        skipped: Contestants that are not here, and why.
    """

    def __init__(self) -> None:
        self._values: defaultdict[tuple[str, str], dict[str, list[float]]] = defaultdict(dict)
        self.skipped: dict[str, str] = {}

    def add(self, race: str, contestant: str, **metrics: float) -> None:
        """Take note of one round."""
        for metric, value in metrics.items():
            self._values[race, metric].setdefault(contestant, []).append(value)

    def metrics(self, race: str) -> list[str]:
        """Return what was measured in a race."""
        return [metric for of, metric in self._values if of == race]

    def contestants(self, race: str, metric: str) -> list[str]:
        """Return who took part."""
        return list(self._values[race, metric])

    def figure(self, race: str, metric: str, contestant: str) -> Figure:
        """Return one contestant's own figure."""
        return Figure.of(self._values[race, metric][contestant])

    def compare(
        self, how: Callable[[float, float], float], race: str, metric: str, contestant: str, others: Iterable[str]
    ) -> Figure | None:
        """Compare a contestant with others, whose figures are added up, round by round; None if one was not here."""
        values = self._values[race, metric]
        if not {contestant, *others} <= values.keys():
            return None
        sums = [sum(of_round) for of_round in zip(*(values[other] for other in others), strict=True)]
        return Figure.of([how(own, of_others) for own, of_others in zip(values[contestant], sums, strict=True)])


def freeze() -> None:
    """See to it that nobody's garbage collections walk through the packages and caches of the others."""
    gc.collect()
    gc.freeze()


class Counter:
    """A reader of text that keeps none of it.

    Attributes:
        length: How much there was.
    """

    def __init__(self) -> None:
        self.length = 0

    def take(self, text: str) -> None:
        """Take the next piece."""
        self.length += len(text)


class Field:
    """Contestants that are set up and warm.

    Args:
        names: Who takes part.
        url: Where the service is.
        results: Where to say who is missing.
        conversations: How many questions each will be asked at once.
    """

    def __init__(self, names: Iterable[str], url: str, results: Results, conversations: int = 1) -> None:
        self._loop = asyncio.new_event_loop()
        self._asks: dict[str, Callable[[Any], Any]] = {}
        for name in names:
            try:
                self._asks[name] = CONTESTANTS[name].set_up(url, conversations)
            except ImportError as error:
                results.skipped[name] = str(error)

    @property
    def contestants(self) -> list[Contestant]:
        """Who is here."""
        return [CONTESTANTS[name] for name in self._asks]

    def run(self, name: str, take: Callable[[str], None]) -> None:
        """Have a contestant ask one question."""
        before = set(threading.enumerate())
        done = self._asks[name](take)
        if done is not None:
            self._loop.run_until_complete(done)
        for thread in set(threading.enumerate()) - before:  # whoever comes next does not pay for what goes on
            if thread.name.startswith("Thread-"):
                thread.join()

    def warm_up(self, length: int) -> None:
        """Have each ask once, and see to it that it reads the whole answer.

        Raises:
            RuntimeError: It does not.
        """
        for contestant in self.contestants:
            counter = Counter()
            self.run(contestant.name, counter.take)
            if counter.length < length or (contestant.kind == "ours" and counter.length != length):
                raise RuntimeError(f"{contestant.name} took {counter.length} characters of {length}.")
        freeze()

    def cpu(self, name: str) -> float:
        """Return the CPU seconds that one question takes a contestant."""
        counter = Counter()
        start = time.process_time()
        self.run(name, counter.take)
        return time.process_time() - start

    def close(self) -> None:
        """Forget them, and let the event loop finish."""
        self._asks.clear()
        gc.unfreeze()
        gc.collect()
        self._loop.run_until_complete(asyncio.sleep(0.01))
        self._loop.close()
