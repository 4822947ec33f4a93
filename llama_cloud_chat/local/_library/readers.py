"""Turns a file into a document: text, Markdown, reStructuredText, HTML, CSV, Word and PDF, one function each."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import mammoth  # type: ignore[import-untyped]

from .html import text_of_html
from .pdf import BrokenPDFError, read_pages

MAX_TEXT_BYTES = 16 * 2**20
# A PDF is read page by page from the disk, so only the text in it has to be bounded.
MAX_PDF_BYTES = 512 * 2**20
# Python's parser looks for the end of each open tag again and again.
MAX_OPEN_TAGS = 1000

# What a Word document holds when it is unpacked, and of how many tags: each takes a kilobyte while it is read.
MAX_WORD_BYTES = 32 * 2**20
MAX_WORD_TAGS = 300_000
_DELIMITERS = ",;\t|"
# Python's own bound of a cell, which anything else in the process may have moved.
MAX_CELL_CHARS = 131_072

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


def _read_csv(path: Path) -> Document:
    """Read each row as a point of its own that names its columns, so that it can be understood by itself."""
    text = _decode(_content(path), "utf-8-sig")
    if "\0" in text:
        raise UnreadableError("is not text but binary data")
    header = text.lstrip().partition("\n")[0]
    rows = _cells(csv.reader(io.StringIO(text), delimiter=max(_DELIMITERS, key=header.count)))
    told: list[str] = []
    length = 0
    try:
        for line in _told_rows(rows):
            told.append(line)
            length += len(line) + 1
            if length > MAX_TEXT_BYTES:
                raise _too_much_text()
    except csv.Error as error:
        raise UnreadableError(f"is not a table ({error})") from None
    return Document("\n".join(told) + "\n" * bool(told))


def _cells(rows: Iterable[list[str]]) -> Iterator[list[str]]:
    """Refuse what only looks like a table: a quote that is never closed makes a cell of all that follows."""
    for row in rows:
        if any(len(cell) > MAX_CELL_CHARS for cell in row):
            raise csv.Error(f"a cell is longer than {MAX_CELL_CHARS} characters")
        yield row


def _told_rows(rows: Iterator[list[str]]) -> Iterator[str]:
    filled = ([" ".join(cell.split()) for cell in row] for row in rows)
    names = next((row for row in filled if any(row)), [])
    count = 0
    for row in filled:
        pairs = [(names[at] if at < len(names) else "", cell) for at, cell in enumerate(row) if cell]
        if pairs:
            count += 1
            yield "- " + "; ".join(f"{name}: {cell}" if name else cell for name, cell in pairs)
    if not count and names:
        yield "- " + "; ".join(filter(None, names))


def _read_docx(path: Path) -> Document:
    with path.open("rb") as file:
        try:
            _check_word(file)
            html: str = mammoth.convert_to_html(file, convert_image=lambda image: []).value
        except (zipfile.BadZipFile, KeyError, OSError):
            raise UnreadableError("is not a Word document that can be opened") from None
    return Document(text_of_html(html))


def _check_word(file: BinaryIO) -> None:
    """Make sure that what is packed into a Word document can be unpacked: it may be a thousand times as large."""
    with zipfile.ZipFile(file) as archive:
        parts = [part for part in archive.infolist() if part.filename.endswith((".xml", ".rels"))]
        if sum(part.file_size for part in parts) > MAX_WORD_BYTES:
            raise UnreadableError(f"holds more than {MAX_WORD_BYTES // 2**20} MiB")
        contents = [archive.read(part) for part in parts]
    # Word writes none; entities that stand for others could make a small file a large one.
    if any(b"<!DOCTYPE" in content or b"<!ENTITY" in content for content in contents):
        raise UnreadableError("is not a Word document that can be opened")
    if sum(content.count(b"<") for content in contents) > MAX_WORD_TAGS:
        raise UnreadableError(f"holds more than {MAX_WORD_TAGS} tags")


def _read_pdf(path: Path) -> Document:
    _check_size(path, MAX_PDF_BYTES)
    pages: list[str] = []
    length = 0
    try:
        for page in read_pages(path):
            pages.append(page)
            length += len(page)
            if length > MAX_TEXT_BYTES:
                raise _too_much_text()
    except BrokenPDFError as error:
        raise UnreadableError(str(error)) from None
    if not length:
        raise UnreadableError("holds no text, only pictures")
    return Document("\f".join(pages), len(pages))


def _too_much_text() -> UnreadableError:
    return UnreadableError(f"holds more than {MAX_TEXT_BYTES // 2**20} MiB of text")


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
    ".csv": _read_csv,
    ".docx": _read_docx,
    ".pdf": _read_pdf,
}
SUFFIXES = tuple(_READERS)
