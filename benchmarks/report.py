"""What people see of it: tables in the terminal and `RESULTS.md`. Both are the same Markdown."""

from __future__ import annotations

import operator
import platform
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .goals import GOALS, Goal
from .measure import Figure, Results
from .races import RACES

HERE = Path(__file__).parent
RESULTS_FILE = HERE / "RESULTS.md"
PLOTS = HERE / "plots"

_PACKAGES = (
    "httpx",
    "httpx-sse",
    "pydantic",
    "pydantic-core",
    "langchain-core",
    "llama-index-core",
    "llama-cloud",
    "openai",
    "anthropic",
    "langchain-openai",
    "langchain-anthropic",
    "llama-index-llms-openai",
)


def table_of(race: str, results: Results) -> Iterator[str]:
    """Yield one race's table."""
    metrics = results.metrics(race)
    if not metrics:
        return
    reference = RACES[race].reference
    yield f"## {RACES[race].title}"
    for metric in metrics:
        yield ""
        names = results.contestants(race, metric)
        is_compared = reference in names and len(names) > 1
        rows = [
            [
                name,
                _number(results.figure(race, metric, name).median),
                _spread(results.figure(race, metric, name)),
                _ratio(results, race, metric, name, reference) if is_compared else "",
            ]
            for name in names
        ]
        yield from _markdown(["who", RACES[race].units[metric], "middle half", f"x {reference}"], rows)
    yield ""


def goals_table(results: Results, goals: Sequence[Goal] = GOALS) -> Iterator[str]:
    """Yield each goal beside its figure."""
    rows = []
    for goal in goals:
        figure = goal.figure(results)
        if figure is not None:
            rows.append(
                [
                    goal.work,
                    f"{_sign(goal)}{_number(figure.median)} {goal.unit}".strip(),
                    _spread(figure),
                    f"<= {_sign(goal)}{_number(goal.limit)} {goal.unit}".strip(),
                    " + ".join(goal.against),
                    "yes" if figure.median <= goal.limit else "**no**",
                ]
            )
    yield "## Goals"
    yield ""
    yield from _markdown(["work", "figure", "middle half", "goal", "against", "met"], rows)
    yield ""


def missed(results: Results) -> list[Goal]:
    """Return the goals that were measured and not met."""
    figures = ((goal, goal.figure(results)) for goal in GOALS)
    return [goal for goal, figure in figures if figure is not None and figure.median > goal.limit]


def document(results: Results, profiles: dict[str, str], minutes: float) -> str:
    """Return `RESULTS.md`.

    Args:
        results: What was measured.
        profiles: The costliest functions of contestants that missed a goal.
        minutes: How long it took.
    """
    lines = [
        "# Results",
        "",
        f"Made by `make bench` in {minutes:.0f} minutes. Absolute figures are one machine's; ratios mean something.",
        "Contestants took turns, round after round; each figure is a median, beside it the middle half of the rounds.",
        "Ratios and differences are taken within each round.",
        "",
        *goals_table(results),
        *_shortfalls(results, profiles),
    ]
    for race in RACES:
        lines += table_of(race, results)
    lines += _versions()
    if results.skipped:
        lines += ["## Left out", "", *(f"- {name}: {why}" for name, why in results.skipped.items()), ""]
    return "\n".join(lines)


def _shortfalls(results: Results, profiles: dict[str, str]) -> Iterator[str]:
    short = missed(results)
    if not short:
        return
    yield "## What stands between"
    yield ""
    for goal in short:
        if goal.between:
            yield f"- **{goal.work}** ({' + '.join(goal.against) or goal.unit}): {goal.between}"
    yield ""
    for name in dict.fromkeys(goal.contestant for goal in short):
        if name in profiles:
            yield from (f"Where {name} spends its time:", "", "```", profiles[name], "```", "")


def _versions() -> Iterator[str]:
    yield "## Versions"
    yield ""
    yield f"{platform.python_implementation()} {platform.python_version()} on {platform.system()}."
    yield ""
    yield from _markdown(["package", "version"], [[name, _version(name)] for name in _PACKAGES])
    yield ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _ratio(results: Results, race: str, metric: str, name: str, reference: str) -> str:
    try:
        figure = results.compare(operator.truediv, race, metric, name, [reference])
    except ZeroDivisionError:
        return ""
    return _number(figure.median) if figure else ""


def _spread(figure: Figure) -> str:
    return f"{_number(figure.low)} - {_number(figure.high)}" if figure.low != figure.high else ""


def _sign(goal: Goal) -> str:
    return "+" if goal.how == "+" else ""


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    table = [head, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    for number, row in enumerate(table):
        yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        if number == 0:
            yield "|" + "|".join("-" * (width + 2) for width in widths) + "|"
