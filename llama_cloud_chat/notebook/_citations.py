"""Which passages an answer rests on: those that it quotes, and those whose file and page it names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llama_cloud_chat import Source, Turn
from llama_cloud_chat._turn.wording import name_of

_QUOTED_WORDS = 6
"""So many words in a row are a quotation; of a shorter passage, all of it."""

_MOST_READ = 40_000
"""Characters of an answer, and of a passage, that are compared."""

_LONGEST_NAME = 300
_MOST_COMPARED = 200
"""Passages that are compared."""

_FIRST = 3
"""How many passages come first where the answer cites none."""

_PAGES = re.compile(r"[\s,;:()\[\]]*(?:pages?|pp?\.)\s*(\d{1,6})(?:\s*(?:-|\u2013|to)\s*(\d{1,6}))?", re.IGNORECASE)


@dataclass(frozen=True)
class PartedSources:
    """A turn's sources, the ones that matter first.

    Attributes:
        first: Those that the answer cites; where it cites none, the first ones that were found.
        rest: The others.
    """

    first: list[Source]
    rest: list[Source]


def part_sources(turn: Turn) -> PartedSources:
    """Part what the answer cites from what was only found. Each keeps its order."""
    sources = turn.sources
    cited = {id(source) for source in _cited(turn.text[:_MOST_READ], sources[:_MOST_COMPARED])}
    if not cited:
        return PartedSources(sources[:_FIRST], sources[_FIRST:])
    first = [source for source in sources if id(source) in cited]
    return PartedSources(first, [source for source in sources if id(source) not in cited])


def _cited(answer: str, sources: Sequence[Source]) -> Iterator[Source]:
    """Yield what is quoted or whose page is named; what only its file's name stands for, if nothing of it is quoted."""
    said = _words(answer)
    runs = {tuple(said[place : place + _QUOTED_WORDS]) for place in range(len(said))}
    # What is shorter than a quotation must stand at the beginning of a run.
    runs |= {run[:length] for run in runs for length in range(3, len(run))}
    quoted = {id(source) for source in sources if _is_quoted(source, runs)}
    quoted_files = {name_of(source) for source in sources if id(source) in quoted}
    for source in sources:
        pages = _pages_named(answer, source)
        is_named = any(_overlaps(source, *each) for each in pages if each)
        is_meant = None in pages and name_of(source) not in quoted_files
        if id(source) in quoted or is_named or is_meant:
            yield source


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text[:_MOST_READ].casefold())


def _is_quoted(source: Source, runs: set[tuple[str, ...]]) -> bool:
    words = _words(source.text)
    length = min(_QUOTED_WORDS, len(words))
    return length >= 3 and any(tuple(words[place : place + length]) in runs for place in range(len(words) - length + 1))


def _pages_named(answer: str, source: Source) -> list[tuple[int, int] | None]:
    """Return the pages, from and to, that the answer names with the source's file; None where it names no page."""
    if not source.file_name or len(source.file_name) > _LONGEST_NAME:
        return []
    named: list[tuple[int, int] | None] = []
    for mention in re.finditer(rf"(?<!\w){re.escape(source.file_name)}(?!\w)", answer):
        pages = _PAGES.match(answer, mention.end())
        named.append((int(pages[1]), int(pages[2] or pages[1])) if pages else None)
    return named


def _overlaps(source: Source, start: int, end: int) -> bool:
    if source.page_start is None:
        return True
    return source.page_start <= end and start <= (source.page_end or source.page_start)
