"""What a turn looks like in a terminal; plain text where the output is no terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, OverflowMethod
from rich.padding import Padding
from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text as RichText

from llama_cloud_chat import (
    Event,
    IndexSummary,
    SessionSummary,
    Source,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolResult,
    ToolRun,
    Turn,
    TurnStream,
)
from llama_cloud_chat._turn.prompts import unfold
from llama_cloud_chat._turn.wording import brief, call_line, clean, clean_line, count, name_of, pages_of

from ._live import LiveMarkdown

_LONGEST_TITLE = 80
_MOST_ROWS = 50
_FEW_FILES = 5
_NARROW = 100

HEADING = "bold cyan"


class Screen:
    """Prints a conversation piece by piece. Nothing that a service says is obeyed, by the terminal or by Rich.

    Args:
        plain: Whether to write text alone even to a terminal.
        is_tight: Whether to leave no blank lines around an answer.
    """

    def __init__(self, *, plain: bool = False, is_tight: bool = False) -> None:
        self._is_tight = is_tight
        self.console = Console(highlight=False, markup=False, emoji=False, color_system=None if plain else "auto")
        self.is_live = sys.stdout.isatty() and not self.console.is_dumb_terminal and not plain
        self._is_inside: str | None = None
        self._live: LiveMarkdown | None = None
        self._blanks = ""  # not to be written if they turn out to be a line's last
        self._waiting: Progress | None = None

    def heading(self, text: str) -> None:
        """Begin a section."""
        self.line()
        self.line(text, style=HEADING)

    def line(self, text: str = "", style: str = "") -> None:
        """Print a line of ours."""
        self.end_paragraph()
        self.console.print(RichText(clean(text), style=style), soft_wrap=not self.console.is_terminal)

    def verbatim(self, text: str, style: str = "") -> None:
        """Print a line that can be copied as it stands: only the terminal wraps it."""
        self.end_paragraph()
        self.console.print(RichText(clean(text), style=style), soft_wrap=True)

    def question(self, prompt: str) -> None:
        """Show what is asked."""
        self.end_paragraph()
        self.console.print(RichText.assemble(("You: ", "bold"), clean(prompt)))

    def wait(self) -> None:
        """Show that something will come, and for how long it has been waited for."""
        self.end_paragraph()
        if self.is_live:
            self._waiting = Progress(
                SpinnerColumn(),
                TimeElapsedColumn(),
                console=self.console,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._waiting.add_task("", total=None)
            self._waiting.start()

    def turn(self, stream: TurnStream) -> None:
        """Show a turn while it arrives.

        Raises:
            ChatError: The turn failed; what came before is shown.
        """
        said: list[str] = []
        self.wait()
        try:
            for event in stream:
                self._event(event, stream.turn)
                if isinstance(event, TextDelta):
                    said.append(event.content)
        finally:
            self.end_paragraph()
        if "".join(said) != stream.turn.text:
            self.line("The service has corrected its answer; it reads:", style="bold")
            self.answer(stream.turn.text)
            self.end_paragraph()

    def _event(self, event: Event, turn: Turn) -> None:
        if isinstance(event, ThinkingDelta):
            self.thinking(event.content)
        elif isinstance(event, TextDelta):
            self.answer(event.content)
        elif isinstance(event, ToolCall):
            self.tool_call(event.name, event.arguments)
            self.wait()
        elif isinstance(event, ToolResult):
            # The call's arguments say which file a passage is from.
            self.tool_result(turn.run_of(event.call_id))
            self.wait()

    def thinking(self, piece: str) -> None:
        """Show a piece of thinking, dimmed."""
        self._write("thinking", clean(piece), "dim italic")

    def answer(self, piece: str) -> None:
        """Show a piece of the answer, as Markdown where that can be drawn."""
        self._write("answer", clean(piece))

    def tool_call(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Show a server tool's call in a line."""
        self._tool_line(f"→ {call_line(name, arguments)}")

    def tool_result(self, run: ToolRun) -> None:
        """Show a server tool's result in a line."""
        sources = run.sources
        if not sources:
            self._tool_line(f"← {brief(run.result)}")
            return
        files = list(dict.fromkeys(clean_line(source.file_name) for source in sources if source.file_name))
        if len(files) > _FEW_FILES:
            files = [*files[:_FEW_FILES], f"{len(files) - _FEW_FILES} more"]
        where = f" from {', '.join(files)}" if files else ""
        self._tool_line(f"← {count(len(sources), 'passage')}{where}")

    def _tool_line(self, text: str) -> None:
        self.end_paragraph()
        overflow: OverflowMethod = "ellipsis" if self.console.is_terminal else "ignore"
        self.console.print(RichText(clean_line(text, 400), "yellow"), no_wrap=True, overflow=overflow, crop=False)

    def sources(self, sources: Sequence[Source]) -> None:
        """Show the sources as a table."""
        self.end_paragraph()
        table = self._table("Sources", "#", "file", "pages", "score", "passage")
        for number, source in enumerate(sources[:_MOST_ROWS], start=1):
            table.add_row(
                str(number),
                RichText(clean_line(source.file_name or source.file_id or "?", 40)),
                pages_of(source),
                "" if source.score is None else f"{source.score:.2f}",
                RichText(clean_line(source.text)),
            )
        self.console.print(table)
        self._say_how_many_more(len(sources))

    def source(self, source: Source) -> None:
        """Show a source whole."""
        self.line(place_of(source), style="bold")
        self.line(source.text or "The file was found; of its text came nothing.")

    def sources_in_short(self, sources: Sequence[Source], answer: str) -> None:
        """Name the sources in a line: what the answer names first, with its page picture, then the rest."""
        named: dict[str, str] = {}
        for source in cited_first(sources, answer):
            where = place_of(source)
            picture = next((clean_line(each.attachment_name, 60) for each in source.attachments), "")
            named.setdefault(where, f"{where} ({picture})" if picture and not named else where)
        if named:
            more = [f"{len(named) - _FEW_FILES} more"] if len(named) > _FEW_FILES else []
            self.line(f"Sources: {'; '.join([*named.values()][:_FEW_FILES] + more)}", style="dim")

    def skipped(self, turn: Turn) -> None:
        """Say which indexes could not be asked."""
        if turn.skipped_index_ids:
            names = ", ".join(map(clean_line, turn.skipped_index_ids))
            self.line(f"These indexes could not be asked: {names}.", style="yellow")

    def sessions(self, sessions: Sequence[SessionSummary]) -> None:
        """Show sessions, as a table where their ids fit in whole, so that they can be copied."""
        self.end_paragraph()
        rows = [
            (
                clean_line(summary.session_id),
                clean_line(summary.generated_title or "", _LONGEST_TITLE),
                clean_line(summary.last_updated_at[:19].replace("T", " ")),
            )
            for summary in sessions
        ]
        if self.console.width < _NARROW:
            for session_id, title, updated in rows:
                self.line(session_id)
                self._indented(f"{title} ({updated})")
            return
        table = self._table("Sessions", "session", "title", "last updated")
        for session_id, title, updated in rows:
            table.add_row(RichText(session_id), RichText(title), RichText(updated))
        self.console.print(table)

    def indexes(self, indexes: Sequence[IndexSummary]) -> None:
        """Show indexes, one to a line; on a wide terminal as a table."""
        rows = [(index.name, index.id, index.status or "", index.description or "") for index in indexes]
        if self.console.width < _NARROW:
            for name, index_id, status, description in rows:
                self.line(clean_line(f"{name}  {index_id}  {status}"))
                if description:
                    self._indented(clean_line(description), style="dim")
            return
        table = self._table("Indexes", "name", "id", "state", "description")
        for row in rows:
            table.add_row(*(RichText(clean_line(cell, _LONGEST_TITLE)) for cell in row))
        self.console.print(table)

    def finding(self, name: str, text: str, *, is_well: bool) -> None:
        """Say of one thing whether it is in order."""
        self.end_paragraph()
        mark = ("ok    ", "green") if is_well else ("FAIL  ", "bold red")
        self.console.print(RichText.assemble(mark, f"{name:<9}", clean(text)), soft_wrap=not self.console.is_terminal)

    def history(self, turns: Sequence[Turn]) -> None:
        """Show a session's turns, three lines each."""
        self.end_paragraph()
        for turn in turns[-_MOST_ROWS:]:
            tools = ", ".join(dict.fromkeys(clean_line(run.name, 40) for run in turn.tool_calls)) or "no tools"
            told = unfold(turn.prompt).earlier
            forked = f"knows {count(len(told), 'question')} of the session before; " if told else ""
            self.console.print(RichText.assemble((f"{turn.number}. You: ", "bold"), clean_line(turn.question)))
            self._indented(clean_line(turn.text) or _why_empty(turn))
            self._indented(f"({forked}{clean_line(tools)}; {count(len(turn.sources), 'source')})", style="dim")
        self._say_how_many_more(len(turns), "earlier ")

    def _indented(self, text: str, style: str = "") -> None:
        if self.console.is_terminal:
            self.console.print(Padding(RichText(text, style), (0, 0, 0, 3), expand=False))
        else:
            self.line(f"   {text}")

    def end_paragraph(self) -> None:
        """Finish what was being said, so that something else can follow on a line of its own."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.stop()
        self._blanks = ""
        kind, self._is_inside = self._is_inside, None
        live, self._live = self._live, None
        if live is not None:
            live.close()
        if kind is not None and (live is None or (kind == "answer" and not self._is_tight)):
            self.console.print()

    def _write(self, kind: str, piece: str, style: str = "") -> None:
        if self._is_inside != kind:
            self.end_paragraph()
            piece = piece.lstrip("\n")
            if not piece:
                return
            self._is_inside = kind
            if self.is_live:
                if kind == "answer" and not self._is_tight:
                    self.console.print()
                self._live = LiveMarkdown(self.console, style)
        if self._live is not None:
            self._live.feed(piece)
        else:
            said = f"{self._blanks}{piece}"
            visible = said.rstrip(" ")
            self._blanks = said[len(visible) :]
            self._print_piece(visible, style)

    def _print_piece(self, piece: str, style: str) -> None:
        self.console.print(RichText(piece, style=style), end="", soft_wrap=True)
        self.console.file.flush()

    def _table(self, title: str, *columns: str) -> Table:
        table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
        for column in columns:
            table.add_column(
                column,
                no_wrap=column in {"file", "id", "session", "last updated"},
                justify="right" if column == "score" else "left",
            )
        return table

    def _say_how_many_more(self, count: int, which: str = "") -> None:
        if count > _MOST_ROWS:
            self.line(f"and {count - _MOST_ROWS} {which}more; the command export shows all.", style="dim")


def place_of(source: Source) -> str:
    """Return a source's file and pages, in a line."""
    pages = pages_of(source)
    return clean_line(name_of(source), 60) + (f", page {pages}" if pages else "")


def cited_first(sources: Sequence[Source], answer: str) -> list[Source]:
    """Return the sources, those first that an answer names, by file and page, in the order it does."""

    def place(source: Source) -> int:
        if not source.file_name:
            return len(answer)
        page = f"page {source.page_start}" if source.page_start else ""
        at = re.search(re.escape(source.file_name) + (rf"\W+{page}\b" if page else ""), answer)
        return at.start() if at else len(answer)

    return sorted(sources, key=place)


def _why_empty(turn: Turn) -> str:
    if turn.is_error:
        return f"(failed: {clean_line(turn.error or 'no reason given')})"
    return "(no answer)" if turn.is_complete else "(not finished)"
