"""Markdown in a terminal while it is still being written."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.cells import cell_len
from rich.console import Console
from rich.markdown import Markdown
from rich.segment import Segment, SegmentLines

from llama_cloud_chat._turn.wording import clean

_SHORTEST_PAUSE = 1 / 12
_SHARE = 5
_LONGEST_BLOCK = 64 * 1024
_PATIENCE = 1.0
_TICK = 0.1
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

# HTML and link definitions are shown as they stand: Rich would leave them out, and nothing of an answer may get lost.
_PARSER = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("reference")


class LiveMarkdown:
    """Shows an answer as it arrives.

    Blocks that are finished are printed once, for good. Only the last block, which the next words may still change,
    is painted over: its last lines, if it is taller than the terminal. So the work for each word does not grow with
    the answer, and what has scrolled away stays as it was. Where no words come for a second, something moves
    below them.

    Args:
        console: A terminal. Nobody else prints to it until `close`.
        style: The style of it all.
    """

    def __init__(self, console: Console, style: str = "") -> None:
        self._console = console
        self._style = style
        self._pieces: list[str] = []  # appended to by the reader, taken by the painter
        self._open = ""
        self._painted: list[str] = []
        self._has_printed = False
        self._ticks = 0
        self._has_news = threading.Event()
        self._is_over = threading.Event()
        self._painter = threading.Thread(target=self._paint_until_over, daemon=True)
        self._painter.start()

    def feed(self, piece: str) -> None:
        """Take the next words."""
        self._pieces.append(piece)
        self._has_news.set()

    def close(self) -> None:
        """Print what is left for good."""
        self._is_over.set()
        self._has_news.set()
        self._painter.join()
        self._take_news()
        self._repaint(_blocks(self._open), [])

    def _paint_until_over(self) -> None:
        while not self._is_over.is_set():
            if not self._has_news.wait(_TICK if self._ticks else _PATIENCE):
                self._tick()
                continue
            self._has_news.clear()
            started = time.monotonic()
            self._paint()
            # A block that takes long to draw is drawn less often.
            took = time.monotonic() - started
            self._is_over.wait(max(_SHORTEST_PAUSE, (_SHARE - 1) * took))

    def _tick(self) -> None:
        """Show on a line of its own that more is waited for; what is painted next removes it."""
        frame = _FRAMES[self._ticks % len(_FRAMES)]
        if self._ticks:
            before = "\b"
        else:
            before = "\n" if self._painted else ""
            self._painted.append(frame)
        self._ticks += 1
        self._console.file.write(f"{before}{frame}")
        self._console.file.flush()

    def _take_news(self) -> None:
        pieces, self._pieces = self._pieces, []
        self._open += "".join(pieces)

    def _paint(self) -> None:
        self._take_news()
        blocks = _blocks(self._open)
        if len(self._open) > _LONGEST_BLOCK:
            self._repaint(blocks, [])
            self._open = ""
        elif blocks:
            *finished, (start, last) = blocks
            self._repaint(finished, last)
            self._open = self._open[_offset_of_line(self._open, start) :]

    def _repaint(self, finished: Sequence[tuple[int, Sequence[Token]]], last: Sequence[Token]) -> None:
        """Remove what was painted, print `finished` for good, and paint `last`, all in one piece."""
        eraser = self._eraser()
        self._ticks = 0
        with self._console.capture() as capture:
            for _, tokens in finished:
                self._console.print(SegmentLines(self._lines(tokens), new_lines=True), soft_wrap=True)
                self._has_printed = True
            painted = self._lines(last)[-max(self._console.height - 1, 1) :]
            self._console.print(SegmentLines(painted[:-1], new_lines=True), soft_wrap=True)
            self._console.print(SegmentLines(painted[-1:]), soft_wrap=True)
        self._painted = ["".join(segment.text for segment in line) for line in painted]
        self._console.file.write(eraser + capture.get())
        self._console.file.flush()

    def _lines(self, tokens: Sequence[Token]) -> list[list[Segment]]:
        """Draw a block; a blank line parts it from the one before."""
        if not tokens:
            return []
        markdown = Markdown("", code_theme="ansi_dark", hyperlinks=False, style=self._style or "none")
        markdown.parsed = list(tokens)
        lines = [_trimmed(line) for line in self._console.render_lines(markdown, pad=False)]
        while lines and not lines[0]:
            del lines[0]
        while lines and not lines[-1]:
            del lines[-1]
        return [[], *lines] if lines and self._has_printed else lines

    def _eraser(self) -> str:
        """Return what removes the painted lines, which the terminal has wrapped anew if it was made narrower."""
        if not self._painted:
            return ""
        rows = sum(_count_rows(text, self._console.width) for text in self._painted)
        up = f"\x1b[{rows - 1}A" if rows > 1 else ""
        return f"\r{up}\x1b[J"


def _blocks(text: str) -> list[tuple[int, list[Token]]]:
    """Return the top-level blocks of `text`, each with the line it begins in."""
    blocks: list[tuple[int, list[Token]]] = []
    for token in _PARSER.parse(text):
        if token.level == 0 and token.nesting >= 0:
            blocks.append((token.map[0] if token.map else 0, []))
        blocks[-1][1].append(token)
    return blocks


def _offset_of_line(text: str, line: int) -> int:
    offset = 0
    for _ in range(line):
        offset = text.index("\n", offset) + 1
    return offset


def _trimmed(line: list[Segment]) -> list[Segment]:
    """Return a line without what a terminal would obey, and without the spaces at its end, which would wrap."""
    trimmed: list[Segment] = []
    for segment in reversed(line):
        text = clean(segment.text)
        text = text if trimmed else text.rstrip()
        if text:
            trimmed.append(Segment(text, segment.style))
    return trimmed[::-1]


def _count_rows(text: str, width: int) -> int:
    """Return how many rows `text` takes; a wide character that does not fit moves to the next one."""
    if cell_len(text) <= width:
        return 1
    rows, column = 1, 0
    for cells in _cells(text):
        if column + cells > width:
            rows, column = rows + 1, 0
        column += cells
    return rows


def _cells(text: str) -> Iterator[int]:
    return (cell_len(character) for character in text)
