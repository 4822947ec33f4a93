"""A run's output as one page: to look through, to find what failed, and to see what changed since another run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from llama_cloud_chat import ConfigurationError
from llama_cloud_chat._bulk.comparison import Pair, compare
from llama_cloud_chat._bulk.summary import Summary

_SHOWN = (
    "id",
    "question",
    "answer",
    "sources",
    "pages",
    "tokens",
    "seconds",
    "session_id",
    "turn",
    "attempts",
    "error",
)
_LONGEST_PASSAGE = 600


def check_report(report: Path) -> None:
    """Look whether there is a place for the report.

    Raises:
        ConfigurationError: There is none.
    """
    if report.suffix.lower() not in {".html", ".htm"} or not report.parent.is_dir():
        raise ConfigurationError(f"--report takes a file named .html in a folder that is there, not {str(report)!r}.")


def write_report(
    report: Path,
    names: tuple[str, str | None],
    rows: Iterable[Mapping[str, Any]],
    before: Iterable[Mapping[str, Any]] | None,
    summary: Summary,
) -> None:
    """Write the page, row by row: it may be larger than memory.

    Args:
        report: The file.
        names: What the run is called, and the run before.
        rows: Its rows.
        before: The rows of the run before, if there is one to compare with.
        summary: The run in figures.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("llama_cloud_chat.notebook"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    pairs = (Pair(row, None, "new") for row in rows) if before is None else compare(rows, before)
    page = environment.get_template("report.html.j2").generate(
        name=names[0],
        before=names[1],
        summary=summary,
        percentiles=[(percent, summary.percentile(percent)) for percent in (50, 90, 99)],
        pairs=_written(pairs),
    )
    try:
        with report.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
            file.writelines(page)
    except OSError as error:
        raise ConfigurationError(f"{str(report)!r} cannot be written ({error.strerror}); name another file.") from None


def _written(pairs: Iterable[Pair]) -> Iterator[Markup]:
    """Yield each pair as JSON that ends no script."""
    for number, pair in enumerate(pairs):
        text = json.dumps([_shown(pair.row), _shown(pair.before), pair.change])
        for mark in "<>&":
            text = text.replace(mark, f"\\u{ord(mark):04x}")
        yield Markup(("," if number else "") + text)  # noqa: S704  # nothing of it is markup any more


def _shown(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if row is None:
        return None
    shown = {name: row[name] for name in _SHOWN if row.get(name) not in (None, [])}
    shown["failed"] = row.get("error_type") if row.get("error") is not None else None
    if "sources" in shown:
        shown["sources"] = [
            {**source, "text": (source.get("text") or "")[:_LONGEST_PASSAGE]} for source in shown["sources"]
        ]
    return shown
