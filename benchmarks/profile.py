"""Where the time goes: `python -m benchmarks.profile NAME`, NAME being a contestant, or a part of its name."""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
from pathlib import Path
from typing import TypeAlias

from .contestants import CONTESTANTS
from .measure import Counter
from .server import Script, serve

_Place: TypeAlias = "tuple[str, int, str]"


def profile(name: str, base: str, *, deltas: int = 10_000, framing: str = "packet", lines: int = 10) -> str:
    """Return the functions that cost a contestant most, as a table.

    Args:
        name: The contestant.
        base: Where the service is.
        deltas: How many pieces of text its answer has.
        framing: How they are sent.
        lines: How many functions to show.
    """
    ask = CONTESTANTS[name].set_up(f"{base}/{Script(deltas=deltas, framing=framing)}", 1)
    loop = asyncio.new_event_loop()

    def once() -> None:
        done = ask(Counter().take)
        if done is not None:
            loop.run_until_complete(done)

    once()
    profiler = cProfile.Profile()
    profiler.runcall(once)
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    stats: dict[_Place, tuple[int, int, float, float, object]] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    total = sum(own for _, _, own, _, _ in stats.values())
    costliest = sorted(stats.items(), key=lambda item: -item[1][2])[:lines]
    rows = [f"{'own':>6} {'calls':>8}  function  (profiled: shares, not times)"]
    rows += [f"{own / total:6.1%} {calls:8}  {_title(place)}" for place, (_, calls, own, _, _) in costliest]
    return "\n".join(rows)


def _title(place: _Place) -> str:
    file, line, function = place
    if file == "~":
        return function.strip("<>")
    return f"{function}  ({'/'.join(Path(file).parts[-2:])}:{line})"


def main() -> None:
    """Profile the contestants whose names hold what is given; by default ours."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("name", nargs="?", help="a contestant, or a part of its name; by default all of ours")
    parser.add_argument("--framing", choices=("packet", "block"), default="packet")
    parser.add_argument("--deltas", type=int, default=10_000)
    arguments = parser.parse_args()
    names = [
        name
        for name, contestant in CONTESTANTS.items()
        if (arguments.name in name if arguments.name else contestant.kind == "ours")
    ]
    if not names:
        parser.error(f"there is none like {arguments.name!r}; there are: {'; '.join(CONTESTANTS)}")
    with serve() as base:
        for name in names:
            try:
                table = profile(name, base, deltas=arguments.deltas, framing=arguments.framing)
            except ImportError as error:
                table = f"left out: {error}"
            print(f"\n{name}\n{table}", flush=True)


if __name__ == "__main__":
    main()
