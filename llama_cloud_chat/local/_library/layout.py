"""Makes light Markdown of a page's lines by where they stand and how large they are: headings, paragraphs, tables.

Nothing here knows of PDF: a reader that can tell the place of each piece of text has its page told this way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

# How much larger than the text around it a heading is at least, and one of the first level.
_HEADING, _TITLE = 1.15, 1.6
_MOST_HEADING_CHARS = 120
# How far apart two lines of one paragraph are at most, measured by what is usual on the page, and by their size.
_MOST_LEADING, _MOST_LEADING_SIZES = 1.35, 2.2
_MOST_COLUMNS = 20


@dataclass(frozen=True)
class Cell:
    """A piece of a line that stands apart from the others by more than a space."""

    text: str
    left: float
    right: float


@dataclass(frozen=True)
class Line:
    """A line of a page.

    Attributes:
        cells: What stands in it, from left to right; never empty.
        y: How high it stands, from below.
        size: How large its letters are.
        is_bold: Whether they are bold.
    """

    cells: tuple[Cell, ...]
    y: float
    size: float
    is_bold: bool = False

    @property
    def text(self) -> str:
        """What it says."""
        return " ".join(cell.text for cell in self.cells)


def tell(lines: Sequence[Line]) -> str:
    """Return the text of a page: its lines, with headings as `#`, tables as rows of `|`, paragraphs parted."""
    body, leading = _usual(lines)
    blocks = _tables([_Block([line], _level(line, body)) for line in lines])
    out: list[str] = []
    last: _Block | None = None
    for block in _joined(blocks, leading):
        if last is not None:
            out.append("\n" if _belong(last, block, leading) else "\n\n")
        out.append(block.text())
        last = block
    return "".join(out)


@dataclass(frozen=True)
class _Block:
    """A line, or those of a table or of a heading."""

    lines: list[Line]
    level: int = 0
    is_table: bool = False

    def text(self) -> str:
        if self.is_table:
            return _table(self.lines)
        return "#" * self.level + " " * bool(self.level) + " ".join(line.text for line in self.lines)


def _usual(lines: Sequence[Line]) -> tuple[float, float]:
    """Return the size of most of the text, and the usual distance between two lines of it."""
    sizes: Counter[float] = Counter()
    for line in lines:
        sizes[round(line.size, 1)] += len(line.text)
    body = sizes.most_common(1)[0][0] if sizes else 0.0
    steps = Counter(
        round(above.y - below.y, 0)
        for above, below in pairwise(lines)
        if above.y > below.y and round(above.size, 1) == round(below.size, 1) == body
    )
    return body, steps.most_common(1)[0][0] if steps else 0.0


def _level(line: Line, body: float) -> int:
    """Return the level of a heading, 0 if the line is none."""
    text = line.text
    if len(text) > _MOST_HEADING_CHARS or len(line.cells) > 1 or not any(map(str.isalpha, text)):
        return 0
    if line.size >= body * _HEADING:
        return 1 if line.size >= body * _TITLE else 2
    return 3 if line.is_bold and not text.endswith((".", ",", ";")) else 0


def _tables(blocks: Sequence[_Block]) -> Iterator[_Block]:
    """Take neighbouring lines of several cells together; a single one is a line like any other."""
    rows: list[Line] = []
    for block in [*blocks, None]:
        line = block.lines[0] if block else None
        if line and 2 <= len(line.cells) <= _MOST_COLUMNS and (not rows or rows[-1].y > line.y):
            rows.append(line)
            continue
        if rows:
            yield from [_Block(rows, is_table=True)] if len(rows) > 1 else [_Block(rows)]
            rows = []
        if block:
            yield block


def _joined(blocks: Iterator[_Block], leading: float) -> Iterator[_Block]:
    """Take the lines of a heading together. A page of nothing but headings is one of text."""
    heading: _Block | None = None
    for block in blocks:
        if heading and heading.level == block.level and _belong(heading, block, leading):
            heading = replace(heading, lines=[*heading.lines, *block.lines])
            continue
        if heading:
            yield heading
        heading = block if block.level else None
        if not heading:
            yield block
    if heading:
        yield heading


def _belong(above: _Block, below: _Block, leading: float) -> bool:
    """Whether two blocks are lines of one paragraph, or of one heading."""
    if above.is_table or below.is_table or above.level != below.level:
        return False
    first, second = above.lines[-1], below.lines[0]
    step = first.y - second.y
    if step < -first.size:
        # Further up: another column.
        return False
    if above.level:
        return step <= 1.6 * first.size
    return step <= max(leading * _MOST_LEADING, first.size) and step <= first.size * _MOST_LEADING_SIZES


def _table(rows: Sequence[Line]) -> str:
    widest = max(rows, key=lambda row: len(row.cells)).cells
    told = []
    for row in rows:
        cells = [""] * len(widest)
        for cell in row.cells:
            column = min(range(len(widest)), key=lambda at: _distance(widest[at], cell))
            cells[column] = f"{cells[column]} {cell.text}".strip()
        told.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    told.insert(1, "|" + "---|" * len(widest))
    return "\n".join(told)


def _distance(column: Cell, cell: Cell) -> float:
    """How far a cell is from a column: by the gap between them, else by their nearer edges."""
    gap = max(column.left - cell.right, cell.left - column.right, 0.0)
    return 1000 * gap + min(abs(column.left - cell.left), abs(column.right - cell.right))
