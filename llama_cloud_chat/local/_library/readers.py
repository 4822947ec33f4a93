"""Turns a file into a document: text, Markdown, reStructuredText, HTML and PDF, one function each."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .html import text_of_html
from .pdf import BrokenPDFError, read_pages

MAX_TEXT_BYTES = 16 * 2**20
# A PDF is read page by page from the disk, so only the text in it has to be bounded.
MAX_PDF_BYTES = 512 * 2**20
# Python's parser looks for the end of each open tag again and again.
MAX_OPEN_TAGS = 1000

# Python knows codecs that are no character sets; a page may name these.
_DECLARED_CHARSET = re.compile(
    rb"<meta[^>]{1,200}?charset=[\"']?((?:us-ascii|latin-?1|iso-8859-\d+|windows-125\d|koi8-[ru]|utf-16"
    rb"|shift_jis|euc-(?:jp|kr)|gbk|gb2312|gb18030|big5)\b)",
    re.I,
)


@dataclass(frozen=True)
class Document:
    """What was read.

    Attributes:
        text: The text; every line end is one character. All character offsets of the service count in this
            string. A form feed stands between two pages.
        pages: How many pages can be shown as pictures; 0 if it has none.
    """

    text: str
    pages: int = 0

    @property
    def is_paged(self) -> bool:
        """Whether its passages can tell their page."""
        return self.pages > 0 or "\f" in self.text


class UnreadableError(Exception):
    """A file cannot be read; the message continues its name: "is empty"."""


def read_file(path: Path) -> Document:
    """Read a file whose suffix is one of `SUFFIXES`.

    Raises:
        UnreadableError: It is empty, broken, encrypted, too large, not text, or cannot be opened.
    """
    try:
        document = _READERS[path.suffix.lower()](path)
    except OSError as error:
        raise UnreadableError(f"cannot be opened ({error.strerror or error})") from None
    check_text(document.text)
    return document


def check_text(text: str) -> None:
    """Make sure that there is something in `text` to search for.

    Raises:
        UnreadableError: There is not.
    """
    if "\0" in text:
        raise UnreadableError("is not text but binary data")
    if not text.strip():
        raise UnreadableError("is empty")


def _read_text(path: Path) -> Document:
    return Document(_decode(_content(path), "utf-8-sig"))


def _read_html(path: Path) -> Document:
    content = _content(path)
    declared = _DECLARED_CHARSET.search(content[:2048])
    has_mark = content.startswith(b"\xef\xbb\xbf")
    encoding = declared[1].decode("ascii") if declared and not has_mark else "utf-8-sig"
    text = _decode(content, encoding)
    if "\0" in text:
        raise UnreadableError("is not text but binary data")
    if text.count("<") - text.count(">") > MAX_OPEN_TAGS:
        raise UnreadableError("has tags that do not end")
    return Document(text_of_html(text))


def _read_pdf(path: Path) -> Document:
    _check_size(path, MAX_PDF_BYTES)
    pages: list[str] = []
    length = 0
    try:
        for page in read_pages(path):
            pages.append(page)
            length += len(page)
            if length > MAX_TEXT_BYTES:
                raise UnreadableError(f"holds more than {MAX_TEXT_BYTES // 2**20} MiB of text")
    except BrokenPDFError as error:
        raise UnreadableError(str(error)) from None
    if not length:
        raise UnreadableError("holds no text, only pictures")
    return Document("\f".join(pages), len(pages))


def _content(path: Path) -> bytes:
    _check_size(path, MAX_TEXT_BYTES)
    return path.read_bytes()


def _check_size(path: Path, limit: int) -> None:
    if path.stat().st_size > limit:
        raise UnreadableError(f"is larger than {limit / 2**20:g} MiB")


def _decode(content: bytes, encoding: str) -> str:
    try:
        text = content.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        raise UnreadableError(f"is not text in {encoding.upper().removesuffix('-SIG')}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


_READERS: dict[str, Callable[[Path], Document]] = {
    ".md": _read_text,
    ".txt": _read_text,
    ".rst": _read_text,
    ".html": _read_html,
    ".htm": _read_html,
    ".pdf": _read_pdf,
}
SUFFIXES = tuple(_READERS)
