"""The command: `python -m benchmarks.answers [--show tuned|all|missed]`."""

from __future__ import annotations

import argparse
import sys

from .questions import FOLLOW_UPS, HELD_OUT, QUESTIONS, TUNED
from .score import GOAL, Score, ask_all


def main() -> int:
    """Ask everything, show how it went, and return the exit status: 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.answers", description=__doc__)
    parser.add_argument("--show", choices=("misses", "answers"), help="of the half that may be looked at")
    shown = parser.parse_args().show
    is_met = True
    for name, half in (("looked at", TUNED), ("held out", HELD_OUT)):
        for kind, questions in (("questions", QUESTIONS), ("follow-ups", FOLLOW_UPS)):
            score = ask_all(questions[half])
            is_met = is_met and score.share >= GOAL
            print(f"{name:<10} {kind:<11} {score}")
            if half is TUNED and shown:
                _show(score, misses_only=shown == "misses")
    return 0 if is_met else 1


def _show(score: Score, *, misses_only: bool) -> None:
    for outcome in score.outcomes:
        if not (misses_only and outcome.is_right):
            asked = " / ".join((*outcome.question.after, outcome.question.text))
            print(f"\n  {'right' if outcome.is_right else 'WRONG'}: {outcome.question.folder}: {asked}")
            print("    " + outcome.answer.replace("\n", "\n    "))


if __name__ == "__main__":
    sys.exit(main())
