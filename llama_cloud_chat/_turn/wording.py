"""What others have written, as plain text: harmless, and brief where it has to fit into a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .sources import Source

_LONGEST_LINE = 160
_LONGEST_ARGUMENT = 80
_MOST_ARGUMENTS = 8

# Control characters (escape sequences begin with one), and those that make text read in another direction than it
# is stored. Half an emoji cannot be written at all.
_HARMFUL = [*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_HARMLESS: dict[int, str | None] = {code: None for code in _HARMFUL if chr(code) not in "\n\t"}
_HARMLESS |= dict.fromkeys(range(0xD800, 0xE000), "\ufffd")


def clean(text: str) -> str:
    """Return `text` without anything that a terminal would obey, or that reads in another order than it is stored."""
    return text.translate(_HARMLESS)


def clean_line(text: str, most: int = _LONGEST_LINE) -> str:
    """Return `text` as one harmless line of at most `most` characters."""
    # Looking at a part is enough, and keeps megabytes cheap.
    line = " ".join(clean(text[: 8 * most]).split())
    return line if len(line) <= most and len(text) <= 8 * most else f"{line[: most - 1].rstrip()}…"


def brief(value: Any, most: int = _LONGEST_ARGUMENT) -> str:
    """Return the beginning of a JSON value, in a line."""
    if isinstance(value, str):
        value = value[: 8 * most]
    try:
        return clean_line(json.dumps(value, ensure_ascii=False, default=str), most)
    except (RecursionError, ValueError):  # it is nested too deeply, or holds itself
        return "…"


def call_line(name: str, arguments: Mapping[str, Any]) -> str:
    """Return a tool's call as it would be written in Python, in a line."""
    return f"{clean_line(name)}({arguments_line(arguments)})"


def arguments_line(arguments: Mapping[str, Any]) -> str:
    """Return what a tool is called with, in a line."""
    return ", ".join(f"{clean_line(key)}={brief(value)}" for key, value in [*arguments.items()][:_MOST_ARGUMENTS])


def count(number: int, noun: str) -> str:
    """Return `number` with its noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def pages_of(source: Source) -> str:
    """Return a source's pages, such as `7` or `7-9`; nothing if it has none."""
    if source.page_start is None:
        return ""
    if source.page_end is None or source.page_end == source.page_start:
        return str(source.page_start)
    return f"{source.page_start}-{source.page_end}"


def name_of(source: Source) -> str:
    """Return what a source's file is called, in a line."""
    return clean_line(source.file_name or source.file_id or "unknown")
