"""Reads PDFs with PDFium: the text of each page as light Markdown, and a page's picture.

PDFium may be used by one thread at a time, in the whole process: everything here holds one lock, and lets go of
it between two pages.
"""

from __future__ import annotations

import ctypes
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pypdfium2  # type: ignore[import-untyped]
import pypdfium2.raw as pdfium  # type: ignore[import-untyped]

from .layout import Cell, Line, tell

_PIXELS_LONG = 1400
_QUALITY = 80
_LOCK = threading.Lock()
# A page of more characters is no page to look at; its text is taken as it comes.
_MOST_CHARS = 50_000
# What parts two cells of a line, measured by the size of its letters.
_LEAST_GAP = 1.0
_NAME_BYTES = 128
# PDFium marks a word broken at a line's end with one of these.
_HYPHENS = str.maketrans({"\x02": None, "\ufffe": None, "\0": None, "\f": " "})


class BrokenPDFError(Exception):
    """A PDF cannot be read; the message continues its name: "is encrypted"."""


def read_pages(path: Path) -> Iterator[str]:
    """Yield the text of each page, "" for one without any.

    Raises:
        BrokenPDFError: It is broken or encrypted.
        OSError: It cannot be opened.
    """
    with _opened(path) as document:
        for number in range(len(document)):
            with _LOCK:
                text = _text_of(document, number)
            yield text


def render_page(path: Path, number: int) -> bytes:
    """Return the page's picture as a JPEG; pages count from 1.

    Raises:
        BrokenPDFError: It is broken, encrypted, or has no such page.
        OSError: It cannot be opened.
    """
    with _opened(path) as document:
        if not 1 <= number <= len(document):
            raise BrokenPDFError("has no such page")
        with _LOCK:
            return _picture_of(document, number - 1)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        try:
            with _LOCK:
                document = pypdfium2.PdfDocument(file)
        except pypdfium2.PdfiumError as error:
            encrypted = "password" in str(error).lower()
            raise BrokenPDFError("is encrypted" if encrypted else "is not a PDF that can be opened") from None
        try:
            yield document
        finally:
            with _LOCK:
                document.close()


def _text_of(document: Any, index: int) -> str:
    try:
        page = document[index]
        try:
            text_page = page.get_textpage()
            try:
                count = text_page.count_chars()
                text = text_page.get_text_bounded() if count > _MOST_CHARS else tell(list(_lines(text_page.raw, count)))
            finally:
                text_page.close()
        finally:
            page.close()
    except pypdfium2.PdfiumError:
        # One page that cannot be loaded does not make the others unreadable.
        return ""
    return _clean(text.replace("\r\n", "\n").replace("\r", "\n"))


def _clean(text: str) -> str:
    """Leave out PDFium's marks, and join halves of characters where PDFium gives those."""
    return text.translate(_HYPHENS).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _lines(page: Any, count: int) -> Iterator[Line]:
    """Read the lines of a page with their places."""
    codes = [pdfium.FPDFText_GetUnicode(page, number) for number in range(count)]
    start = 0
    for number in [*(at for at, code in enumerate(codes) if code in (10, 13)), count]:
        cells = list(_cells(page, codes, start, number))
        if cells:
            first = _first_visible(codes, start, number)
            size = pdfium.FPDFText_GetFontSize(page, first)
            _, _, bottom, top = _box(page, first)
            size = size * _scale(page, first) or top - bottom
            yield Line(tuple(cells), _origin(page, first), size, "bold" in _font(page, first))
        start = number + 1


def _cells(page: Any, codes: list[int], start: int, end: int) -> Iterator[Cell]:
    """Cut a line where there is more than a space between two of its words."""
    words = list(_words(codes, start, end))
    begin = 0
    for at in range(len(words)):
        last = words[at][1] - 1
        right = _box(page, last)[1]
        if at + 1 < len(words):
            following = words[at + 1][0]
            size = pdfium.FPDFText_GetFontSize(page, last) * _scale(page, last)
            if _box(page, following)[0] - right <= _LEAST_GAP * size:
                continue
        text = _clean(" ".join("".join(map(chr, codes[one:other])) for one, other in words[begin : at + 1]))
        if text.strip():
            yield Cell(text, _box(page, words[begin][0])[0], right)
        begin = at + 1


def _words(codes: list[int], start: int, end: int) -> Iterator[tuple[int, int]]:
    begin = start
    for at in range(start, end + 1):
        if at == end or chr(codes[at]).isspace():
            if at > begin:
                yield begin, at
            begin = at + 1


def _first_visible(codes: list[int], start: int, end: int) -> int:
    return next((at for at in range(start, end) if not chr(codes[at]).isspace()), start)


def _box(page: Any, number: int) -> tuple[float, float, float, float]:
    """Return where a character's left, right, bottom and top are."""
    edges = [ctypes.c_double() for _ in range(4)]
    pdfium.FPDFText_GetCharBox(page, number, *map(ctypes.byref, edges))
    left, right, bottom, top = (edge.value for edge in edges)
    return left, right, bottom, top


def _origin(page: Any, number: int) -> float:
    """Return how high the line is that a character stands on."""
    x, y = ctypes.c_double(), ctypes.c_double()
    pdfium.FPDFText_GetCharOrigin(page, number, ctypes.byref(x), ctypes.byref(y))
    return y.value


def _scale(page: Any, number: int) -> float:
    """Return how much a character is drawn larger than its font's size says."""
    matrix = pdfium.FS_MATRIX()
    return (abs(matrix.d) or abs(matrix.b)) if pdfium.FPDFText_GetMatrix(page, number, ctypes.byref(matrix)) else 1.0


def _font(page: Any, number: int) -> str:
    name = ctypes.create_string_buffer(_NAME_BYTES)
    pdfium.FPDFText_GetFontInfo(page, number, name, _NAME_BYTES, None)
    return name.value.decode("utf-8", "replace").lower()


def _picture_of(document: Any, index: int) -> bytes:
    try:
        page = document[index]
        try:
            # Measured by the longer side, so that no page, however large, takes more memory than another.
            scale = _PIXELS_LONG / max(*page.get_size(), 1.0)
            picture = page.render(scale=scale).to_pil().convert("RGB")
        finally:
            page.close()
    except pypdfium2.PdfiumError:
        raise BrokenPDFError("has a page that cannot be shown") from None
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
