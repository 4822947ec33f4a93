"""Brings the plots of the benchmarks into the site; they lie beside the code that draws them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

PLOTS = Path(__file__).parent.parent.parent / "benchmarks" / "plots"


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add them to the pages' files; MkDocs calls this before it reads the pages."""
    for plot in sorted(PLOTS.glob("*.svg")):
        files.append(File.generated(config, f"plots/{plot.name}", abs_src_path=str(plot)))
    return files
