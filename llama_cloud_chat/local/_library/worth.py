"""Tells what documents say from what only stands beside it: histories of changes, badges, advertisements."""

from __future__ import annotations

import re
from collections.abc import Iterable

_OLD_NEWS = 0.3
_BESIDE = 0.25
_ENOUGH_CHARS = 150
_HISTORY_FILE = re.compile(r"(?:^|/)(?:change(?:s|log)|history|news|releases?|release[-_ ]notes)\b[^/]*$", re.I)
_HISTORY_HEADING = re.compile(
    r"^(?:change ?log|changes|(?:release )?history|release notes|what'?s new"
    r"|v?\d+\.\d+[\w.]*(?:[\s(,:\u2013-].*)?|unreleased)$",
    re.I,
)
_ABOUT_HISTORY = frozenset(
    [
        "change",
        "changed",
        "changelog",
        "changes",
        "fixed",
        "history",
        "latest",
        "news",
        "release",
        "released",
        "releases",
    ]
)
_VERSION = re.compile(r"v?\d+\.\d+[\w.]*")
# A number before a heading is a chapter's more often than a version's, unless a date or a third part follows.
_CHAPTER = re.compile(r"^\d+\.\d+\s+[^\W\d]")
_ADVERTISEMENT = re.compile(
    r"\b(?:sponsor(?:s|ed|ing|ships?)?|advertisement|free trial|newsletter|subscribe|coupons?|special offer"
    r"|limited offer|up to \d+ ?%|\d+ ?% off|follow us|donat(?:e|ions?)|patreon|buy now|sign up now|backers?)\b",
    re.I,
)
_LINKED_PICTURE = re.compile(
    r"\[?!\[[^\]]{0,200}\](?:\([^)\s]{0,400}\)|\[[^\]]{0,200}\])(?:\](?:\([^)\s]{0,400}\)|\[[^\]]{0,200}\]))?"
)
_WORD = re.compile(r"\w")


def is_history(file_name: str, heading: str) -> bool:
    """Whether what stands in this file, under this heading, tells of changes from version to version."""
    heading = heading.strip()
    titled = _HISTORY_HEADING.match(heading) and not _CHAPTER.match(heading)
    return bool(titled or _HISTORY_FILE.search(file_name))


def asks_for_history(words: Iterable[str]) -> bool:
    """Whether a question of these words asks for changes from version to version."""
    return any(word.lower() in _ABOUT_HISTORY or _VERSION.fullmatch(word) for word in words)


def worth_of(text: str) -> float:
    """Return how much a sentence or line says, from 0 (a row of badges) to 1."""
    if not _WORD.search(_LINKED_PICTURE.sub("", text)):
        return 0.0
    return _BESIDE if _ADVERTISEMENT.search(text) else 1.0


def worth_of_passage(content: str, heading: str, file_name: str) -> float:
    """Return what a passage is worth when passages are ranked, from 0.25 to 1."""
    lines = [line for line in content.splitlines() if line.strip()]
    # A page's head is badges for the most part, and yet says what it is about.
    enough = min(sum(map(len, lines)), _ENOUGH_CHARS) or 1
    telling = min(sum(len(line) * worth_of(line) for line in lines) / enough, 1.0)
    return max(telling * (_OLD_NEWS if is_history(file_name, heading) else 1.0), _BESIDE)
