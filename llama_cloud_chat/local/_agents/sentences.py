"""Finds what a passage of Markdown, reStructuredText or plain text says, leaving markup out.

That is: its sentences, the points of its lists, the rows of its tables, and lists, tables and code as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import regex  # type: ignore[import-untyped]

from llama_cloud_chat.local._library.passages import title_in
from llama_cloud_chat.local._library.words import pairs_in

MAX_BLOCK_CHARS = 600
_MAX_POINT_CHARS = 300

_FENCE = re.compile(r"[ \t]*(```+|~~~+)")
_LIST_ITEM = re.compile(r"\s*(?:[-*+•]|(\d{1,3})[.)])\s+(?:\[[ xX]\]\s+)?(?=\S)")
_QUOTED = re.compile(r"^\s{0,3}(?:>(?!>)\s?)+")
# Letters without upper and lower case may begin a sentence too.
_SENTENCE_END = regex.compile(
    r"(?<=[.!?…][\"')\]*_`\u201d\u2019]{0,3})\s+(?=[\"'\u201c\u2018(\[`*\p{Lu}\p{Lo}\p{N}])|(?<=[\u3002\uff01\uff1f])\s*(?=\S)"
)
# HTML, pictures, badges, directives, field lists, rules and link targets are not prose.
_MARKUP = re.compile(r"\s*(?:<|\[?!\[|\.\. |\.\.$|:[\w-]+:|[=\-~^*#`+_]{3,}\s*$|\[[^\]]+\]:|>>> |\$ )")
_HEADING = re.compile(r"\s{0,3}(#{1,6})\s+(\S.*?)\s*#*\s*$")
# reStructuredText's names for pictures, badges mostly.
_SUBSTITUTIONS = re.compile(r"\s*(?:\|[\w.-]+\|_{0,2}\s*)+$")
_UNDERLINE = re.compile(r"\s*([=\-~^\"'`#*+:._])\1{2,}\s*$")
_BORDER = re.compile(r"\s*=+(?:\s+=+)+\s*$")
_RULE = re.compile(r"[\s|:+=\-]+$")
_GAP = re.compile(r"\s{2,}|\t")
_LEAST_SPACED_CELLS = 3
_WORD = re.compile(r"[^\W_]+")
# Taken off one after the other, each with what is put in its place.
_ENDINGS = (
    (("ies", "y"), ("ied", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("s", ""), ("er", "")),
    (("ation", ""), ("ion", ""), ("ment", ""), ("ness", ""), ("al", "")),
    (("e", ""), ("y", "")),
)
_DIGIT = re.compile(r"\d")
_AROUND_LINE = re.compile(r"^[\s#>|*+\-]+|[\s#|*]+$")
_ASKED = re.compile(r"\s*(?:Q|Question)\s*[:.]\s+(?=\S)")
_ANSWERED = re.compile(r"\s*(?:A|Answer)\s*[:.]\s+(?=\S)")

Kind: TypeAlias = Literal["sentence", "point", "row", "list", "steps", "table", "code"]


@dataclass(frozen=True)
class Sentence:
    """A sentence of a passage, its line breaks turned into spaces; or a point of a list, or a row of a table.

    Attributes:
        text: The words as they stand there. Those of a row name its columns; a block without a sentence that
            announces it has its heading's.
        block: What it announces, as it stands there: a list, a table, or code.
        kind: What it is.
        headings: Those it stands under in the passage, the nearest last; a question is the heading of its answer.
        before: The sentence before it in its paragraph, or the one that announces its list or table.
        paragraph: Which paragraph, list or table of the passage it is in, from 0.
    """

    text: str
    block: str = ""
    kind: Kind = "sentence"
    headings: tuple[str, ...] = ()
    before: str = ""
    paragraph: int = 0


def sentences(passage: str) -> Iterator[Sentence]:
    """Yield what `passage` says, in order."""
    headings: list[tuple[int, str]] = []
    announced = ""
    for number, block in enumerate(_blocks(passage)):
        if isinstance(block, _Heading):
            headings = [(level, text) for level, text in headings if level < block.level]
            headings.append((block.level, block.text))
            announced = ""
            continue
        above = tuple(text for _, text in headings)
        if isinstance(block, _Paragraph):
            said = list(_said(block.lines))
            # A sentence that announces something says nothing without it.
            announced = said.pop() if said and said[-1].endswith(":") else ""
            for before, text in zip(["", *said], said, strict=False):
                yield Sentence(text, "", "sentence", above, before, number)
            continue
        label = announced or (_label(headings[-1][1]) if headings else "")
        raw = _shortened(block.lines)
        if label and raw:
            yield Sentence(label, raw, block.kind, above, "", number)
        for kind, text in _parts(block):
            yield Sentence(text, "", kind, above, announced, number)
        announced = ""


def _label(heading: str) -> str:
    return heading if heading.endswith((":", "?", "!", ".")) else f"{heading}:"


def lines(passage: str) -> Iterator[Sentence]:
    """Yield the lines of `passage` as they are, but for the markup around them: captions and headings too."""
    for number, line in enumerate(passage.splitlines()):
        words = _AROUND_LINE.sub("", line)
        if _WORD.search(words) and not _is_noise(line):
            yield Sentence(words, paragraph=number)


def stems(text: str) -> set[str]:
    """Return the words of `text` in lower case, with and without their commonest endings."""
    return {stem for word in _WORD.findall(text) for stem in _stems(word.lower())}.union(pairs_in(text))


def speaks_of(word: str, text_stems: set[str]) -> bool:
    """Whether a text with these stems holds `word`; of `http/2`, every part."""
    return all(not text_stems.isdisjoint(_stems(part)) for part in _WORD.findall(word.lower()))


@dataclass(frozen=True)
class _Heading:
    text: str
    level: int


@dataclass(frozen=True)
class _Paragraph:
    lines: list[str]


@dataclass(frozen=True)
class _Block:
    """A list, table or piece of code: its lines as they stand there, and its points or rows."""

    kind: Kind
    lines: list[str]
    points: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


_Part: TypeAlias = _Heading | _Paragraph | _Block
# A heading that is none of Markdown's or reStructuredText's stands below all of these.
_LETTERS_LEVEL, _QUESTION_LEVEL = 7, 8


def _blocks(passage: str) -> Iterator[_Part]:
    rest = [_QUOTED.sub("", line) for line in passage.splitlines()]
    at = 0
    while at < len(rest):
        if not rest[at].strip():
            at += 1
            continue
        for read in (_code, _heading, _table, _list, _noise, _paragraph):
            taken, part = read(rest, at)
            if taken:
                at += taken
                if part is not None:
                    yield part
                break


# Each of these returns how many lines it has taken from `at` on, and what they are.
_Taken: TypeAlias = tuple[int, _Part | None]
_NOT_TAKEN: _Taken = (0, None)


def _code(rest: Sequence[str], at: int) -> _Taken:
    opening = _FENCE.match(rest[at])
    if not opening:
        return _NOT_TAKEN
    end = at + 1
    while end < len(rest) and rest[end].strip() != opening[1]:
        end += 1
    taken = list(rest[at : end + 1])
    return len(taken), _Block("code", taken)


def _heading(rest: Sequence[str], at: int) -> _Taken:
    line, before, after = rest[at], rest[at - 1] if at else "", rest[at + 1] if at + 1 < len(rest) else ""
    marked = _HEADING.match(line)
    if marked:
        return 1, _Heading(marked[2], len(marked[1]))
    underlined = _UNDERLINE.match(after)
    if underlined and _WORD.search(line) and not _is_table_line(line) and not _LIST_ITEM.match(line):
        return 2, _Heading(line.strip(), 1 if underlined[1] == "=" else 2)
    title = title_in(line, before=before, after=after)
    if title:
        return 1, _Heading(title, _QUESTION_LEVEL if title.endswith("?") else _LETTERS_LEVEL)
    asked = _ASKED.match(line)
    if asked or (line.rstrip().endswith("?") and not before.strip() and not after.strip() and at + 2 < len(rest)):
        return 1, _Heading(line[asked.end() if asked else 0 :].strip(), _QUESTION_LEVEL)
    return _NOT_TAKEN


def _table(rest: Sequence[str], at: int) -> _Taken:
    end = at
    if _BORDER.match(rest[at]):
        end += 1
        while end < len(rest) and rest[end].strip():
            end += 1
    elif _is_table_line(rest[at]):
        while end < len(rest) and _is_table_line(rest[end]):
            end += 1
    else:
        count = len(_spaced(rest[at]))
        while count >= _LEAST_SPACED_CELLS and end < len(rest) and len(_spaced(rest[end])) == count:
            end += 1
        if end - at < 2:
            return _NOT_TAKEN
    taken = list(rest[at:end])
    return len(taken), _Block("table", taken, rows=tuple(_rows(taken)))


def _rows(taken: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for line in taken:
        if not _RULE.match(line):
            cells = _piped(line) if _is_table_line(line) else _spaced(line)
            yield tuple(cell.strip() for cell in cells)


def _is_table_line(line: str) -> bool:
    words = line.strip()
    if _SUBSTITUTIONS.match(words):
        return False
    return len(words) > 1 and (words[0] == "|" or (words[0] == words[-1] == "+" and not _WORD.search(words)))


def _piped(line: str) -> list[str]:
    return line.strip().strip("|").split("|")


def _spaced(line: str) -> list[str]:
    return _GAP.split(line.strip())


def _list(rest: Sequence[str], at: int) -> _Taken:
    if not _LIST_ITEM.match(rest[at]):
        return _NOT_TAKEN
    points: list[list[str]] = []
    end = at
    while end < len(rest):
        line = rest[end]
        item = _LIST_ITEM.match(line)
        if item:
            points.append([line[item.end() :]])
        elif not line.strip():
            following = rest[end + 1] if end + 1 < len(rest) else ""
            if not _LIST_ITEM.match(following):
                break
        elif _begins_another(line):
            break
        else:
            points[-1].append(line)
        end += 1
    first = _LIST_ITEM.match(rest[at])
    kind: Kind = "steps" if first and first[1] else "list"
    return end - at, _Block(kind, list(rest[at:end]), tuple(" ".join(" ".join(each).split()) for each in points))


def _noise(rest: Sequence[str], at: int) -> _Taken:
    return (1, None) if _is_noise(rest[at]) else _NOT_TAKEN


def _is_noise(line: str) -> bool:
    return bool(_MARKUP.match(line) or _RULE.match(line) or _SUBSTITUTIONS.match(line))


def _begins_another(line: str) -> bool:
    return bool(_is_noise(line) or _HEADING.match(line) or _FENCE.match(line) or _is_table_line(line))


def _paragraph(rest: Sequence[str], at: int) -> _Taken:
    end = at + 1
    while end < len(rest) and rest[end].strip() and not _LIST_ITEM.match(rest[end]) and not _begins_another(rest[end]):
        if end + 1 < len(rest) and _UNDERLINE.match(rest[end + 1]):
            break
        end += 1
    return end - at, _Paragraph([_ANSWERED.sub("", rest[at]), *rest[at + 1 : end]])


def _said(paragraph: Sequence[str]) -> Iterator[str]:
    for sentence in _SENTENCE_END.split(" ".join(" ".join(paragraph).split())):
        # A line of two or three words is a caption or a name, unless it ends as a sentence does.
        least = 3 if sentence.endswith((".", "!", "?", ":")) else 4
        if len(_WORD.findall(sentence)) + len(pairs_in(sentence)) >= least or sentence.endswith(":"):
            yield sentence


def _parts(block: _Block) -> Iterator[tuple[Kind, str]]:
    for point in block.points:
        if _WORD.search(point):
            whole = [point] if len(point) <= _MAX_POINT_CHARS else _SENTENCE_END.split(point)
            for text in whole:
                yield "point", text
    names = block.rows[0] if _has_names(block) else ()
    for row in block.rows[bool(names) :]:
        cells = [(names[at] if at < len(names) else "", cell) for at, cell in enumerate(row) if _WORD.search(cell)]
        if cells:
            yield "row", "; ".join(f"{name}: {cell}" if name else cell for name, cell in cells)


def _has_names(block: _Block) -> bool:
    """Whether a table's first row names its columns: a rule is drawn below it, or it alone holds no number."""
    if len(block.rows) < 2:
        return False
    is_ruled = any(_RULE.match(line) for line in block.lines[1:3])
    numbers = [any(_DIGIT.search(cell) for cell in row) for row in block.rows]
    return is_ruled or (not numbers[0] and any(numbers))


def _shortened(block: Sequence[str]) -> str:
    """Return a block's first lines, as many as may be quoted at once."""
    length = 0
    for count, line in enumerate(block):
        length += len(line) + 1
        if length > MAX_BLOCK_CHARS:
            # Half of a piece of code, or of a list of one point, is worth nothing.
            return "" if _FENCE.match(block[0]) or count < 2 else "\n".join([*block[:count], "…"])
    return "\n".join(block).strip("\n")


@lru_cache(4096)
def _stems(word: str) -> tuple[str, ...]:
    found = [word]
    for endings in _ENDINGS:
        last = found[-1]
        for ending, instead in endings:
            if last.endswith(ending) and len(last) - len(ending) >= 3 and not last.endswith("ss"):
                found.append(last[: -len(ending)] + instead)
                break
    # What is not allowed is spoken of where it is asked whether it is.
    return (*found, *_stems(word[2:])) if word.startswith("un") and len(word) > 5 else tuple(found)
