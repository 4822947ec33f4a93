"""The command: `python -m benchmarks [--quick] [--only NAME] [--no-plots]`."""

from __future__ import annotations

import argparse
import os
import time

from .contestants import CONTESTANTS
from .measure import Results
from .plots import draw
from .profile import profile
from .races import FULL, QUICK, RACES
from .report import PLOTS, RESULTS_FILE, document, goals_table, missed, table_of
from .server import serve


def main() -> None:
    """Run the races, and show what came of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer events and rounds; RESULTS.md stays as it is")
    parser.add_argument("--only", action="append", choices=tuple(RACES), help="this race alone; may be repeated")
    parser.add_argument("--no-plots", action="store_true", help="draw nothing")
    arguments = parser.parse_args()
    _settle_down()

    started = time.monotonic()
    effort = QUICK if arguments.quick else FULL
    results = Results()
    with serve() as base:
        for name in arguments.only or RACES:
            print(f"... {RACES[name].title}", flush=True)
            RACES[name].run(base, effort, results)
            print("\n".join(table_of(name, results)), flush=True)
        print("\n".join(goals_table(results)))
        for name, why in results.skipped.items():
            print(f"Left out: {name} ({why})")
        if arguments.quick or arguments.only:
            return
        print("... profiles of what missed a goal", flush=True)
        who = {goal.contestant: goal.race for goal in missed(results) if goal.contestant in CONTESTANTS}
        profiles = {
            name: profile(name, base, framing="block" if race == "blocks" else "packet") for name, race in who.items()
        }
    minutes = (time.monotonic() - started) / 60
    RESULTS_FILE.write_text(document(results, profiles, minutes), encoding="utf-8")
    print(f"Wrote {RESULTS_FILE.name}.")
    if not arguments.no_plots:
        for file in draw(results, PLOTS):
            print(f"Drew {file.name}.")


def _settle_down() -> None:
    """Keep the frameworks from tracing, and proxies from the loopback."""
    os.environ.update(LANGSMITH_TRACING="false", LANGCHAIN_TRACING_V2="false", NO_PROXY="*", no_proxy="*")


if __name__ == "__main__":
    main()
