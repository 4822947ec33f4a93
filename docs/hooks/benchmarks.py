"""Brings what the benchmarks measured into the site: their plots and `RESULTS.md` lie beside the code that makes them.

A page shows them where `<!-- results -->` stands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
MARK = "<!-- results -->"


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add the plots to the site's files; MkDocs calls this before it reads the pages."""
    for plot in _plots():
        files.append(File.generated(config, f"plots/{plot.name}", abs_src_path=str(plot)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put plots and results where a page wants them; MkDocs calls this for every page."""
    return markdown.replace(MARK, _results()) if MARK in markdown else markdown


def _results() -> str:
    file = BENCHMARKS / "RESULTS.md"
    if not file.exists():
        return "Nothing has been measured here yet: run `make bench`."
    pictures = "\n\n".join(f"![{plot.stem.replace('-', ' ')}](plots/{plot.name})" for plot in _plots())
    _, _, results = file.read_text(encoding="utf-8").partition("\n")  # the page has a title
    return f"## Plots\n\n{pictures}\n\n{results}"


def _plots() -> list[Path]:
    return sorted((BENCHMARKS / "plots").glob("*.svg"))
