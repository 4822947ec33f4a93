"""The pictures: how far everybody is from the floor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .contestants import CONTESTANTS
from .measure import Results

_COLOURS = {"floor": "#9aa5b1", "peer": "#d98e4a", "ours": "#2f6fb2"}

_PICTURES = (
    ("streaming", "packets", "cpu", "CPU time per event of a long answer (µs, log scale)", True),
    ("blocks", "blocks", "cpu", "CPU time per event, packets of 64 KiB (µs, log scale)", True),
    ("first-text", "short", "first_text", "Time to the first text of a short turn (ms)", False),
    ("short-turn", "short", "cpu", "CPU time of a short turn (ms)", False),
    ("many-streams", "crowd", "cpu", "CPU time per stream, many streams at once (ms)", False),
    ("memory", "memory", "memory", "Memory per delta at the peak, beyond the text (bytes, log scale)", True),
)


def draw(results: Results, folder: Path) -> Iterator[Path]:
    """Draw what was measured, as SVG; yield the files. Nothing without matplotlib."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        print("No plots: matplotlib is not installed.")
        return
    folder.mkdir(exist_ok=True)
    mpl.rcParams.update({"svg.hashsalt": "benchmarks", "font.size": 9})
    for name, race, metric, title, is_log in _PICTURES:
        if metric not in results.metrics(race):
            continue
        figure = Figure(layout="constrained")
        _bars(figure, results, race, metric, title, is_log=is_log)
        file = folder / f"{name}.svg"
        figure.savefig(file, metadata={"Date": None})
        yield file


def _bars(figure: Any, results: Results, race: str, metric: str, title: str, *, is_log: bool) -> None:
    names = sorted(results.contestants(race, metric), key=lambda name: -results.figure(race, metric, name).median)
    figures = [results.figure(race, metric, name) for name in names]
    kinds = [CONTESTANTS[name].kind for name in names]
    figure.set_size_inches(8, 0.9 + 0.24 * len(names))
    axes = figure.subplots()
    axes.barh(
        names,
        [each.median for each in figures],
        xerr=[[each.median - each.low for each in figures], [each.high - each.median for each in figures]],
        color=[_COLOURS[kind] for kind in kinds],
        error_kw={"lw": 0.8},
    )
    if is_log:
        axes.set_xscale("log")
    axes.set_title(title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    swatches = [axes.barh([names[0]], [0], color=colour) for colour in _COLOURS.values()]
    axes.legend(swatches, list(_COLOURS), frameon=False, loc="upper right")
