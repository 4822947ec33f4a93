"""Draws `documents/handbook.pdf`, the illustrated part of the sample documents: `python notebooks/make_handbook.py`."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle, Wedge
from matplotlib.patheffects import Normal

Draw: TypeAlias = Callable[[Axes], None]

A5 = (5.83, 8.27)
# Lettering drawn as lines is seen and not read: only whole sentences are indexed.
OUTLINES: dict[str, Any] = {"path_effects": [Normal()]}
INK, ACCENT, PALE = "#1f2933", "#1769aa", "#dbeaf5"

PARTS = """
The sensor head measures temperature, humidity, air pressure and light.
The rain gauge is a tipping bucket, and every tip stands for 0.2 millimetres of rain.
The anemometer measures wind from 0.5 to 45 metres per second.
The base receives the readings by radio at 868 megahertz, over 120 metres in the open.
"""
BATTERY = """
Two lithium batteries last 26 months with a reading every five minutes.
A reading every minute empties the same batteries in 9 months.
Alkaline batteries freeze below minus 20 degrees, so take lithium ones where winters are hard.
Mount the sensor head two metres above grass, and twice as far from a wall as the wall is high.
"""
LIGHTS = """
A green blink says that a reading was sent.
An amber light says that the batteries are low and should be changed within two weeks.
A red light says that the rain gauge is blocked.
A blue light says that the sensor head is waiting to be paired.
"""


def main() -> None:
    """Write the handbook, the same bytes every time."""
    mpl.rcParams.update({"pdf.fonttype": 42, "font.family": "DejaVu Sans", "text.color": INK})
    pages: list[tuple[str, str, Draw]] = [
        ("The parts", PARTS, draw_parts),
        ("Batteries and place", BATTERY, draw_battery),
        ("What the light says", LIGHTS, draw_lights),
    ]
    where = Path(__file__).parent / "documents" / "handbook.pdf"
    with PdfPages(where, metadata={"Title": "Tern handbook", "CreationDate": None, "Producer": None}) as pdf:
        for number, (title, text, draw) in enumerate(pages, start=1):
            pdf.savefig(draw_page(number, title, text, draw))


def draw_page(number: int, title: str, text: str, draw: Draw) -> Figure:
    """Draw a page: a title, a picture, and below it the text."""
    figure = Figure(figsize=A5)
    lines = [line for sentence in text.split("\n") for line in textwrap.wrap(sentence, 62)]
    figure.text(0.1, 0.37, "\n".join(lines), fontsize=8.5, va="top", linespacing=1.7)
    figure.text(0.1, 0.91, title, fontsize=19, weight="bold", color=ACCENT, **OUTLINES)
    figure.text(0.1, 0.05, f"Tern handbook, page {number}", fontsize=7, color="gray", **OUTLINES)
    axes = figure.add_axes((0.1, 0.43, 0.8, 0.42))
    axes.axis("off")
    draw(axes)
    return figure


def draw_parts(axes: Axes) -> None:
    """Draw the station on its pole, and the base beside it."""
    axes.set(xlim=(0, 10), ylim=(0, 8), aspect="equal")
    axes.add_patch(Rectangle((2.9, 0), 0.2, 6.4, color=INK))
    axes.add_patch(Rectangle((0, -0.1), 10, 0.15, color="#7bb661"))
    axes.add_patch(FancyBboxPatch((2.2, 3.6), 1.6, 1.5, boxstyle="round,pad=0.1", facecolor="white", edgecolor=INK))
    for height in (3.8, 4.2, 4.6, 5.0):
        axes.plot([2.2, 3.8], [height, height], color=INK, linewidth=1)
    axes.plot([1.6, 4.4], [6.4, 6.4], color=INK, linewidth=2)
    for middle in (1.6, 3.0, 4.4):
        axes.add_patch(Wedge((middle, 6.5), 0.4, 0, 180, color=ACCENT))
    axes.add_patch(Rectangle((0.6, 2.0), 1.1, 1.4, facecolor=PALE, edgecolor=ACCENT))
    axes.plot([1.7, 2.9], [2.4, 2.4], color=INK)
    axes.add_patch(FancyBboxPatch((7.2, 0.4), 2.0, 1.3, boxstyle="round,pad=0.1", facecolor=PALE, edgecolor=ACCENT))
    for radius in (0.6, 1.0, 1.4):
        axes.add_patch(Wedge((7.4, 2.1), radius, 110, 160, width=0.06, color=ACCENT))
    labels = ((5.1, 6.4, "anemometer"), (4.3, 4.2, "sensor head"), (0.2, 1.5, "rain gauge"), (7.6, 0.9, "base"))
    for x, y, label in labels:
        axes.text(x, y, label, fontsize=9, **OUTLINES)


def draw_battery(axes: Axes) -> None:
    """Draw how many months the cells last."""
    months = {"every minute": 9, "every 5 minutes": 26, "every 15 minutes": 34}
    bars = axes.barh(list(months), list(months.values()), color=[PALE, ACCENT, PALE], edgecolor=ACCENT, height=0.55)
    axes.bar_label(bars, labels=[f"{each} months" for each in months.values()], padding=4, fontsize=9, **OUTLINES)
    for position, label in enumerate(months):
        axes.text(0, position - 0.42, label, fontsize=8, **OUTLINES)
    axes.set(xlim=(0, 44), ylim=(2.6, -0.6))


def draw_lights(axes: Axes) -> None:
    """Draw the four colours of the light."""
    axes.set(xlim=(0, 10), ylim=(0, 8), aspect="equal")
    lights = (("#2e9e4f", "sent"), ("#f0a202", "batteries low"), ("#d7263d", "blocked"), ("#1769aa", "pairing"))
    for place, (colour, label) in enumerate(lights):
        x, y = 2.5 + 5 * (place % 2), 5.8 - 3.8 * (place // 2)
        axes.add_patch(Circle((x, y), 1.25, color=colour, alpha=0.22))
        axes.add_patch(Circle((x, y), 0.8, color=colour))
        axes.text(x, y - 1.8, label, fontsize=9, ha="center", **OUTLINES)


if __name__ == "__main__":
    main()
