"""Cuts a text into passages: bounded in size, at headings and paragraphs, with exact character offsets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

TARGET_CHARS = 900
MAX_CHARS = 1600

_PAGE_BREAK = "\f"
_VISIBLE = re.compile(r"\S")
_FENCE = re.compile(r"\s{0,3}(```+|~~~+)")
_MARKDOWN_HEADING = re.compile(r"\s{0,3}#{1,6}\s+\S")
_RST_UNDERLINE = re.compile(r"([=\-~^\"'`#*+:._])\1{2,}\s*$")
# What a text without markup has for headings: a line by itself in bold letters or in capitals, or one above clauses.
_BOLD_LINE = re.compile(r"\s{0,3}(\*\*|__)(?=\S)([^*_\n]{2,120})\1:?\s*$")
_MOST_CAPITALS = 80
_LEAST_CAPITALS = 3
# "2. Price and payment", with "2.1 ..." in the line below: the heading of a contract's clauses.
_CLAUSES = re.compile(r"\s{0,3}(\d{1,3})[.)]?\s+(\S.{0,79})$")
# Where an oversized block may be cut, best first.
_CUTS = (re.compile(r"\n"), re.compile(r"[.!?]\s"), re.compile(r"\s"))


@dataclass(frozen=True)
class Passage:
    """A piece of a document; `text[start:end] == content` holds for the document's text.

    Attributes:
        content: The piece, without blank space around it; never empty.
        start: The offset of its first character.
        end: The offset after its last character.
        index: Its place among the document's passages, from 0.
        heading: The heading it stands under, "" before the first one.
        page: The page it is on, from 1; None when the text has no pages.
    """

    content: str
    start: int
    end: int
    index: int
    heading: str
    page: int | None


def split(text: str, *, paged: bool | None = None) -> list[Passage]:
    """Cut `text` into passages that do not overlap, in order, none of them across a page break.

    Args:
        text: The document's text; a form feed ends a page.
        paged: Whether it has pages; by default, whether there is a form feed in it.
    """
    passages: list[Passage] = []
    paged = _PAGE_BREAK in text if paged is None else paged
    heading = ""
    for page, (page_start, page_end) in enumerate(_pages(text), start=1):
        for start, end, title in _pack(text, page_start, page_end):
            heading = title or heading
            content = text[start:end].strip()
            if content:
                at = text.index(content, start)
                passages.append(
                    Passage(content, at, at + len(content), len(passages), heading, page if paged else None)
                )
    return passages


def title_in(line: str, *, before: str, after: str) -> str:
    """Return what a line says that is a heading by its letters or its number alone, "" if it is none.

    Args:
        line: The line.
        before: The line before it, "" at the beginning.
        after: The line after it, "" at the end.
    """
    if before.strip():
        return ""
    bold = _BOLD_LINE.match(line)
    if bold:
        return bold[2].strip()
    clauses = _CLAUSES.match(line)
    if clauses and re.match(rf"\s*{clauses[1]}\.\d", after):
        return clauses[2].strip()
    words = line.strip()
    is_capitals = words.isupper() and len(words) <= _MOST_CAPITALS and sum(map(str.isalpha, words)) >= _LEAST_CAPITALS
    return words if is_capitals and not after.strip() and not words.endswith((".", "!", ",", "|")) else ""


def page_at(text: str, offset: int) -> int:
    """Return the page, from 1, of the first character at or after `offset` that can be seen."""
    seen = _VISIBLE.search(text, offset)
    return text.count(_PAGE_BREAK, 0, seen.start() if seen else offset) + 1


def tokens_in(characters: int) -> int:
    """Estimate how many tokens a language model counts in so many characters: one per four, rounded up."""
    return -(-characters // 4)


def _pages(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    while True:
        end = text.find(_PAGE_BREAK, start)
        if end < 0:
            yield start, len(text)
            return
        yield start, end
        start = end + 1


@dataclass
class _Block:
    """Lines that belong together: a paragraph, a fenced piece of code, or a heading."""

    start: int
    end: int
    heading: str = ""


def _pack(text: str, start: int, end: int) -> Iterator[tuple[int, int, str]]:
    """Join blocks up to the target size; a heading begins anew, unless only headings came before it."""
    begin = start
    last = start
    title = ""
    only_headings = True
    for block in _blocks(text, start, end):
        full = block.end - begin > TARGET_CHARS and not only_headings
        too_long = block.end - begin > MAX_CHARS
        if last > begin and (full or too_long or (block.heading and not only_headings)):
            yield begin, last, title
            begin, title, only_headings = block.start, "", True
        if block.heading:
            title = block.heading
        elif text[block.start : block.end].strip():
            only_headings = False
        last = block.end
        while last - begin > MAX_CHARS:
            cut = _cut(text, begin, begin + MAX_CHARS)
            yield begin, cut, title
            begin = cut
    if last > begin:
        yield begin, last, title


def _blocks(text: str, start: int, end: int) -> Iterator[_Block]:
    """Find the blocks of a page; together they cover it, each ending where the next one starts."""
    begin = start
    fence = ""
    previous: tuple[int, str] | None = None
    for at, line in _lines(text, start, end):
        following = at + len(line)
        if fence:
            if line.strip().startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
            previous = None
            continue
        opening = _FENCE.match(line)
        heading = None if opening else _heading(at, line, previous, _line_at(text, following, end))
        if opening:
            fence, previous = opening[1], None
        elif heading:
            if heading[0] > begin:
                yield _Block(begin, heading[0])
            yield _Block(heading[0], following, heading[1])
            begin, previous = following, None
        elif not line.strip():
            if at > begin:
                yield _Block(begin, following)
                begin = following
            previous = None
        else:
            previous = (at, line)
    if end > begin:
        yield _Block(begin, end)


def _heading(at: int, line: str, previous: tuple[int, str] | None, after: str) -> tuple[int, str] | None:
    """Return where the heading that ends with this line begins, and what it says; None if it is the end of none."""
    if _MARKDOWN_HEADING.match(line):
        return at, line.strip().strip("#").strip()
    title = title_in(line, before=previous[1] if previous else "", after=after)
    if title:
        return at, title
    if previous and _RST_UNDERLINE.match(line) and len(line.rstrip()) >= len(previous[1].strip()) >= 3:
        return previous[0], previous[1].strip()
    return None


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, str]]:
    while start < end:
        following = text.find("\n", start, end) + 1 or end
        yield start, text[start:following]
        start = following


def _line_at(text: str, start: int, end: int) -> str:
    return text[start : text.find("\n", start, end) + 1 or end]


def _cut(text: str, start: int, limit: int) -> int:
    """Find the best place to cut between the middle of `start..limit` and `limit`."""
    half = start + (limit - start) // 2
    for pattern in _CUTS:
        places = [match.end() for match in pattern.finditer(text, half, limit)]
        if places:
            return places[-1]
    return limit
