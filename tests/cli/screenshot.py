"""Draws what a terminal shows of the demo, for the documentation: `make screenshot`."""

from __future__ import annotations

import io
import re
import tempfile
from itertools import groupby
from pathlib import Path

import pyte
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.style import Style
from rich.text import Text

from .support import Runner

WHERE = Path(__file__).parents[2] / "docs" / "images" / "terminal.svg"
# Rich's letters would come from elsewhere.
_FORMAT = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace("Fira Code, ", "")


def take(columns: int = 80) -> str:
    """Return the picture, as an SVG."""
    with tempfile.TemporaryDirectory() as folder, Runner(Path(folder)).in_terminal("demo", columns=columns) as demo:
        assert demo.wait_for_end() == 0
        lines = [_text_of(line) for line in demo.lines()]
    ours = next(number for number, line in enumerate(lines) if line.plain.startswith("Your own documents"))
    console = Console(record=True, width=columns, file=io.StringIO(), color_system="truecolor", force_terminal=True)
    shown = Text("\n").join(lines[:ours])
    shown.rstrip()
    console.print(shown)
    return console.export_svg(title="llama-cloud-chat demo", code_format=_FORMAT, unique_id="demo")


def _text_of(line: list[pyte.screens.Char]) -> Text:
    text = Text()
    for (colour, bold, italic), chars in groupby(line, key=lambda each: (each.fg, each.bold, each.italics)):
        text.append("".join(each.data for each in chars), Style(color=_colour(colour), bold=bold, italic=italic))
    text.rstrip()
    return text


def _colour(name: str) -> str | None:
    if name == "default":
        return None
    return f"#{name}" if re.fullmatch("[0-9a-f]{6}", name) else name.replace("brown", "yellow")


def main() -> None:
    """Take the picture and save it."""
    WHERE.write_text(take(), encoding="utf-8")
    print(f"{WHERE} is {WHERE.stat().st_size // 1000} kB large.")


if __name__ == "__main__":
    main()
