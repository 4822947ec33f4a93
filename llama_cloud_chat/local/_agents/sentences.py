"""Finds the sentences in a passage of Markdown, reStructuredText or plain text, leaving markup out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import regex  # type: ignore[import-untyped]

from llama_cloud_chat.local._library.words import pairs_in

MAX_CODE_CHARS = 600

_CODE = re.compile(r"^[ \t]*(```+|~~~+)[^\n]*\n.*?(?:^[ \t]*\1[ \t]*$|\Z)", re.M | re.S)
_LIST_ITEM = re.compile(r"\s*(?:[-*+•]|\d+[.)])\s+")
# Letters without upper and lower case may begin a sentence too.
_SENTENCE_END = regex.compile(r"(?<=[.!?…])\s+(?=[\"'(\[`*\p{Lu}\p{Lo}\p{N}])|(?<=[\u3002\uff01\uff1f])\s*(?=\S)")
# HTML, pictures, badges, directives, field lists, tables, headings, rules and link targets are not prose.
_MARKUP = re.compile(r"\s*(?:<|\[?!\[|\.\. |\.\.$|:[\w-]+:|\||#{1,6}\s|[=\-~^*#`+_]{3,}\s*$|\[[^\]]+\]:|>>> |\$ )")
_UNDERLINE = re.compile(r"\s*([=\-~^\"'`#*+:._])\1{2,}\s*$")
_WORD = re.compile(r"\w+")
_AROUND_LINE = re.compile(r"^[\s#>|*+\-]+|[\s#|]+$")


@dataclass(frozen=True)
class Sentence:
    """A sentence or list item of a passage, its line breaks turned into spaces.

    Attributes:
        text: The words as they stand there.
        code: The fenced code it announces with a colon, "" if there is none.
    """

    text: str
    code: str = ""


def sentences(passage: str) -> Iterator[Sentence]:
    """Yield the sentences of `passage` in order."""
    start = 0
    for block in _CODE.finditer(passage):
        prose = list(_prose(passage[start : block.start()]))
        start = block.end()
        if prose and prose[-1].endswith(":") and len(block[0]) <= MAX_CODE_CHARS:
            yield from _plain(prose[:-1])
            yield Sentence(prose[-1], block[0].strip())
        else:
            yield from _plain(prose)
    yield from _plain(_prose(passage[start:]))


def lines(passage: str) -> Iterator[Sentence]:
    """Yield the lines of `passage` as they are, but for the markup around them: tables, captions and headings too."""
    for line in passage.splitlines():
        words = _AROUND_LINE.sub("", line)
        if _WORD.search(words):
            yield Sentence(words)


def stems(text: str) -> set[str]:
    """Return the words of `text` in lower case, without their commonest endings."""
    return {_stem(word.lower()) for word in _WORD.findall(text)}.union(pairs_in(text))


def speaks_of(word: str, text_stems: set[str]) -> bool:
    """Whether a text with these stems holds `word`; of `http/2`, every part."""
    return all(_stem(part) in text_stems for part in _WORD.findall(word.lower()))


def _plain(prose: Iterable[str]) -> Iterator[Sentence]:
    # A sentence that announces something says nothing without it.
    return (Sentence(sentence) for sentence in prose if not sentence.endswith(":"))


def _prose(text: str) -> Iterator[str]:
    for lines in _units(text.splitlines()):
        unit = " ".join(" ".join(lines).split())
        is_item = bool(_LIST_ITEM.match(lines[0]))
        for sentence in _SENTENCE_END.split(_LIST_ITEM.sub("", unit, count=1) if is_item else unit):
            # A line of two or three words is a caption or a name, unless it is a point of a list or ends as one does.
            least = 2 if is_item else 3 if sentence.endswith((".", "!", "?")) else 4
            if len(_WORD.findall(sentence)) + len(pairs_in(sentence)) >= least:
                yield sentence


def _units(lines: Sequence[str]) -> Iterator[list[str]]:
    """Yield the lines of each paragraph and list item."""
    unit: list[str] = []
    for line in lines:
        if _UNDERLINE.match(line):
            # What was collected is a heading.
            unit = []
        elif not line.strip() or _MARKUP.match(line):
            if unit:
                yield unit
            unit = []
        elif unit and not _LIST_ITEM.match(line):
            unit.append(line)
        else:
            if unit:
                yield unit
            unit = [line]
    if unit:
        yield unit


def _stem(word: str) -> str:
    for ending, instead in (("ies", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("s", ""), ("e", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            return word[: -len(ending)] + instead
    return word
