"""Reads PDFs with PDFium: the text of each page, and a page's picture.

PDFium may be used by one thread at a time, in the whole process: everything here holds one lock, and lets go of
it between two pages.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pypdfium2  # type: ignore[import-untyped]

_PIXELS_LONG = 1400
_QUALITY = 80
_LOCK = threading.Lock()
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
                text: str = text_page.get_text_bounded()
            finally:
                text_page.close()
        finally:
            page.close()
    except pypdfium2.PdfiumError:
        # One page that cannot be loaded does not make the others unreadable.
        return ""
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_HYPHENS)
    return text.encode("utf-8", "replace").decode("utf-8")


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
