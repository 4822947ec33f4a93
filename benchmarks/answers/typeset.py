"""Sets a text as a PDF that looks as reports do: large headings, wrapped paragraphs, tables in columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from itertools import groupby

_LEFT, _TOP, _BOTTOM = 72, 740, 90
_COLUMNS = (72, 190, 300, 410)
_LINE_CHARS = 92
_SIZES = {"# ": 20, "## ": 14}
_BODY = 10
_PAGE_BREAK = "---"


def typeset(text: str) -> bytes:
    """Return `text` as a PDF.

    Args:
        text: Paragraphs parted by empty lines; a line of `# ` or `## ` is a heading, lines that begin with `|` are
            rows of a table, and `---` begins a page.
    """
    title = text.partition("\n")[0].removeprefix("# ")
    pages = list(_pages(text))
    return _file([_page(page, title, number) for number, page in enumerate(pages, start=1)])


_Piece = tuple[int, int, int, str]
"""Where a piece of text stands, from the left and from below, how large it is, and what it says."""


def _pages(text: str) -> Iterator[list[_Piece]]:
    page: list[_Piece] = []
    y = _TOP
    for block in _blocks(text):
        height = sum(size * 1.3 for size, _ in block)
        if block[0][1] == [_PAGE_BREAK] or y - height < _BOTTOM:
            yield page
            page, y = [], _TOP
        for size, cells in block:
            if cells != [_PAGE_BREAK]:
                y -= round(size * 1.3)
                page += [(x, y, size, cell) for x, cell in zip(_COLUMNS, cells, strict=False)]
        y -= _BODY
    yield page


def _blocks(text: str) -> Iterator[list[tuple[int, list[str]]]]:
    """Yield the lines of each block: how large they are, and what stands in each column."""
    for is_text, group in groupby(text.splitlines(), key=bool):
        lines = list(group)
        mark = next((mark for mark in _SIZES if lines[0].startswith(mark)), "")
        if not is_text:
            continue
        if lines[0].startswith("|"):
            yield [(_BODY, [cell.strip() for cell in line.strip("|").split("|")]) for line in lines]
        elif mark:
            yield [(_SIZES[mark], [lines[0].removeprefix(mark)])]
        else:
            yield [(_BODY, [line]) for line in textwrap.wrap(" ".join(lines), _LINE_CHARS)]


def _page(pieces: list[_Piece], title: str, number: int) -> bytes:
    around = [(_LEFT, 770, 8, title), (_LEFT, 50, 8, f"Page {number}")]
    return b"BT " + b" ".join(_draw(piece) for piece in [around[0], *pieces, around[1]]) + b" ET"


def _draw(piece: _Piece) -> bytes:
    x, y, size, text = piece
    escaped = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
    return f"/F1 {size} Tf 1 0 0 1 {x} {y} Tm ({escaped}) Tj".encode("cp1252")


def _file(contents: list[bytes]) -> bytes:
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(contents)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(contents)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, content in enumerate(contents):
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * number} 0 R"
            " /Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
    out, offsets = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    end = (
        f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root 1 0 R >>\n"
        f"startxref\n{len(out)}\n%%EOF\n"
    )
    return out + end.encode()
