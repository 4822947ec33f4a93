"""What a turn looks like in a terminal; plain text where the output is no terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text as RichText

from llama_cloud_chat import Source, ToolRun, Turn

_LONGEST_ARGUMENT = 80
_LONGEST_PASSAGE = 160


class Screen:
    """Prints a conversation piece by piece.

    Args:
        console: Where to.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._is_inside: str | None = None

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._end_paragraph()
        self.console.print()
        self.console.print(text, style="bold cyan", markup=False, highlight=False)

    def line(self, text: str = "", style: str | None = None) -> None:
        """Print a line of our own."""
        self._end_paragraph()
        self.console.print(text, style=style, markup=False, highlight=False)

    def question(self, prompt: str) -> None:
        """Show what is asked."""
        self._end_paragraph()
        self.console.print(RichText.assemble(("You: ", "bold"), prompt))

    def thinking(self, piece: str) -> None:
        """Show a piece of thinking, dimmed."""
        self._piece("thinking", piece, "dim italic")

    def answer(self, piece: str) -> None:
        """Show a piece of the answer."""
        self._piece("answer", piece, None)

    def tool_call(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Show a server tool's call in a line."""
        self._end_paragraph()
        given = ", ".join(f"{key}={_shorten(json.dumps(value), _LONGEST_ARGUMENT)}" for key, value in arguments.items())
        self.console.print(f"→ {name}({given})", style="yellow", markup=False, highlight=False)

    def tool_result(self, run: ToolRun) -> None:
        """Show a server tool's result in a line."""
        self._end_paragraph()
        files = list(dict.fromkeys(source.file_name for source in run.sources if source.file_name))
        count = f"{len(run.sources)} passage{'' if len(run.sources) == 1 else 's'}"
        where = f" from {', '.join(files)}" if files else ""
        self.console.print(f"← {count}{where}", style="yellow", markup=False, highlight=False)

    def sources(self, sources: Sequence[Source]) -> None:
        """Show the sources as a table."""
        self._end_paragraph()
        table = Table(title="Sources", title_justify="left", header_style="bold")
        table.add_column("file", no_wrap=True)
        table.add_column("pages")
        table.add_column("score", justify="right")
        table.add_column("passage")
        for source in sources:
            table.add_row(
                RichText(source.file_name or source.file_id or "?"),
                _pages(source),
                "" if source.score is None else f"{source.score:.2f}",
                RichText(_shorten(" ".join(source.text.split()), _LONGEST_PASSAGE)),
            )
        self.console.print(table)

    def history(self, turns: Sequence[Turn]) -> None:
        """Show a session's turns, a few lines each."""
        self._end_paragraph()
        for turn in turns:
            self.console.print(RichText.assemble((f"{turn.number}. You: ", "bold"), turn.prompt))
            tools = ", ".join(run.name for run in turn.tool_calls) or "no tools"
            text = _shorten(" ".join(turn.text.split()), _LONGEST_PASSAGE)
            self.console.print(RichText(f"   {text}"))
            self.console.print(RichText(f"   ({tools}; {len(turn.sources)} sources)", style="dim"))

    def _piece(self, kind: str, piece: str, style: str | None) -> None:
        if self._is_inside != kind:
            self._end_paragraph()
            piece = piece.lstrip("\n")
            self._is_inside = kind
        self.console.print(piece, end="", style=style, markup=False, highlight=False, soft_wrap=True)

    def _end_paragraph(self) -> None:
        if self._is_inside is not None:
            self.console.print()
            self._is_inside = None


def _pages(source: Source) -> str:
    if source.page_start is None:
        return ""
    if source.page_end is None or source.page_end == source.page_start:
        return str(source.page_start)
    return f"{source.page_start}-{source.page_end}"


def _shorten(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"
