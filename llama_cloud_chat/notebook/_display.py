"""Where a view appears: in a cell's output, which can be brought up to date; elsewhere as plain text."""

from __future__ import annotations

import sys
from typing import Any, Protocol

from llama_cloud_chat import Turn
from llama_cloud_chat._turn.wording import call_line, clean, clean_line, count, name_of

from ._render import Pictures, keep_open, render_html, render_markdown
from ._transcript import Transcript


class Display(Protocol):
    """A place for one view."""

    def paint(self, turn: Turn, running_for: float) -> int:
        """Show a turn that is being answered, as far as it has come; return how many bytes that took.

        Args:
            turn: The turn.
            running_for: For how many seconds it is being answered.
        """
        ...

    def finish(self, transcript: Transcript, pictures: Pictures | None = None) -> None:
        """Show what there is to show, for good; once more when pictures have come."""


def open_display() -> Display:
    """Return a place for a view: the output of the cell that runs, or standard output."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    # In a terminal, IPython can neither show HTML nor replace what it has shown.
    if shell is None or type(shell).__name__ == "TerminalInteractiveShell":
        return TerminalDisplay()
    return NotebookDisplay()


def make_bundle(transcript: Transcript, pictures: Pictures | None = None) -> dict[str, str]:
    """Return a view in each of the formats that a notebook may choose from."""
    markdown = render_markdown(transcript)
    return {"text/html": render_html(transcript, pictures=pictures), "text/markdown": markdown, "text/plain": markdown}


class NotebookDisplay:
    """A part of a cell's output."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._shown: object = None

    def paint(self, turn: Turn, running_for: float) -> int:
        """Bring the view up to date, if there is anything new; return its size."""
        so_far = len(turn.events), len(turn.text), len(turn.thinking)
        if so_far == self._shown:
            return 0
        self._shown = so_far
        html = render_html(Transcript([turn]), running_for=running_for) + keep_open()
        self._publish({"text/html": html, "text/plain": "Answering …"})
        return len(html.encode())

    def finish(self, transcript: Transcript, pictures: Pictures | None = None) -> None:
        """Show the static view."""
        self._publish(make_bundle(transcript, pictures))

    def _publish(self, bundle: dict[str, str]) -> None:
        from IPython.display import display  # noqa: PLC0415  # only who has imported IPython comes here

        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(bundle, raw=True)


class TerminalDisplay:
    """Standard output: a turn is printed as it comes, and what has been printed stays."""

    def __init__(self) -> None:
        self._is_begun = False
        self._is_finished = False
        self._text = ""
        self._calls = 0
        self._is_inside_line = False

    def paint(self, turn: Turn, running_for: float = 0.0) -> int:
        """Print what is new; a terminal takes all that comes."""
        if not self._is_begun:
            self._is_begun = True
            if turn.prompt.strip():
                self._line(f"You: {turn.prompt}")
        calls = turn.tool_calls
        for run in calls[self._calls :]:
            self._line(f"→ {call_line(run.name, run.arguments)}")
        self._calls = len(calls)
        text = turn.text
        if not text.startswith(self._text):
            self._line("The service has corrected its answer; it reads:")
            self._text = ""
        self._write(text[len(self._text) :])
        self._text = text
        return 0

    def finish(self, transcript: Transcript, pictures: Pictures | None = None) -> None:
        """Print the rest of a turn that was painted; else all there is."""
        if self._is_finished:
            return
        self._is_finished = True
        if not self._is_begun:
            self._write(render_markdown(transcript))
            return
        (turn,) = transcript.turns
        self.paint(turn)
        self._line()
        if turn.is_error:
            self._line(f"The agent failed: {clean_line(turn.error or 'it gave no reason')}")
        elif not turn.is_complete:
            self._line("This turn is not finished.")
        if turn.sources:
            files = dict.fromkeys(name_of(source) for source in turn.sources)
            self._line(f"{count(len(turn.sources), 'source')}: {clean_line(', '.join(files))}")

    def _line(self, text: str = "") -> None:
        """Write a line of its own; without text, only end the line that is open."""
        self._write("\n" if self._is_inside_line else "")
        self._write(f"{text}\n" if text else "")

    def _write(self, text: str) -> None:
        if text:
            sys.stdout.write(clean(text))
            sys.stdout.flush()
            self._is_inside_line = not text.endswith("\n")
