r"""The JSON object with which an answer ends: the last complete outermost one of its text, in fences or not.

The text is read once, from left to right. What begins as an object (`{` and a first key) is followed by JSON's grammar
until it closes, the text ends, or it stops being JSON, as it does at once where the key has no quotes, which is how the
agent is told the schema, or those of Python: it is an answer, though none that can be read. Nothing inside an object
counts by itself, and nothing before an object that was begun and not ended: that would be a quotation, or a draft.
Where an object stopped being JSON (a quoted passage that was cut, say), what follows counts only if it cannot be a
piece of it.

Every character is looked at a fixed number of times and nothing recurses, so neither megabytes nor a thousand brackets
do harm.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from llama_cloud_chat._turn.json import well_formed

from .flaw import Flaw

DEEPEST = 100
"""How deep an object may be nested. What reads it afterwards (pydantic, a checkpoint) gives up soon after."""

_SPACE = r"[ \t\n\r]*"
_ESCAPE = r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})'
_OPEN_STRING = rf'"[^"\\\x00-\x1f]*(?:{_ESCAPE}[^"\\\x00-\x1f]*)*'
_STRING = f'{_OPEN_STRING}"'
# NaN and Infinity are read as if they were JSON, so that the object that holds them is refused as a whole.
_SCALAR = rf"{_STRING}|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null|NaN|-?Infinity"

# What may come next. Each ends with the character that says what may come then.
_MEMBER = re.compile(f"{_SPACE}{_STRING}{_SPACE}:")
_FIRST_MEMBER = re.compile(f"{_SPACE}(?:{_STRING}{_SPACE}:|}})")
_VALUE = re.compile(rf"{_SPACE}(?:{_SCALAR}|\{{|\[)")
_FIRST_ITEM = re.compile(rf"{_SPACE}(?:{_SCALAR}|\{{|\[|\])")
_AFTER = {"}": re.compile(f"{_SPACE}[,}}]"), "]": re.compile(rf"{_SPACE}[,\]]")}

# What is left of a text that ends inside an object.
_CUT = re.compile(rf"{_SPACE}(?:{_STRING}{_SPACE}|{_OPEN_STRING}(?:\\(?:u[0-9a-fA-F]{{0,3}})?)?)?\Z")
_CUT_SCALAR = re.compile(rf"{_SPACE}[-+.0-9A-Za-z]*\Z")
_BROKEN_STRING = re.compile(f"{_SPACE}{_OPEN_STRING}")

_OTHER_KEY = rf"{_SPACE}(?:[A-Za-z_]\w*|'[^'\n]*'){_SPACE}:"
_OTHER_MEMBER = re.compile(_OTHER_KEY)

# A brace that may begin an object, with what stands before it where that may be a value inside another; or a closing
# one.
_BRACE = re.compile(rf'(?P<inside>(?:"\s*:|[\[,}}\]])\s*)?\{{(?={_SPACE}(?:["}}]|\Z)|{_OTHER_KEY})|\}}')

_LONE_ESCAPE = re.compile(
    r"(?P<kept>\\[^u]|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)
_HALF_AT_THE_END = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z")


@dataclass(frozen=True)
class _Object:
    """What began as an object: where it begins and ends (or stops being JSON), and why it cannot be read."""

    start: int
    end: int
    flaw: str | None = None

    @property
    def is_cut(self) -> bool:
        return self.flaw == _CUT_OFF

    @property
    def is_prose(self) -> bool:
        """Whether it was only a brace."""
        return self.flaw == _NO_JSON and self.end == self.start + 1


_CUT_OFF = "the JSON object is cut off"
_NO_JSON = "the JSON object is malformed"
_TOO_DEEP = f"the JSON object is nested deeper than {DEEPEST}"


def read_object(text: str) -> tuple[dict[str, Any], str]:
    """Return the object with which `text` ends, and that object as JSON alone.

    A key that stands twice in an object has its last value; half a character becomes U+FFFD.

    Raises:
        Flaw: There is none, or it cannot be read.
    """
    text = _mend(text)
    found = _last_object(text)
    if found is None:
        raise Flaw("there is no JSON object in it")
    if found.flaw is not None:
        raise Flaw(found.flaw)
    try:
        value: dict[str, Any] = json.loads(text[found.start : found.end])
        return value, json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise Flaw("it holds a number that JSON cannot hold, such as NaN") from None
    except RecursionError:  # little is left of the caller's stack
        raise Flaw(_TOO_DEEP) from None


def read_beginning(text: str) -> dict[str, Any] | None:
    """Return the object that `text` has come to so far, as far as it has come; None if there is none."""
    text = _mend(_HALF_AT_THE_END.sub("", text))
    found = _last_object(text)
    if found is None or not (found.flaw is None or found.is_cut):
        return None
    try:
        value: dict[str, Any] = from_json(
            text[found.start : found.end], allow_inf_nan=False, allow_partial="trailing-strings"
        )
    except ValueError:  # many levels deep, or it holds NaN
        return None
    return value


def _mend(text: str) -> str:
    r"""Replace what is half a character, written as it is or as an escape (`\ud83d`)."""
    return _LONE_ESCAPE.sub(lambda found: found["kept"] or r"\ufffd", well_formed(text))


def _last_object(text: str) -> _Object | None:
    """Return the last outermost object of `text`, or of what would be one."""
    last: _Object | None = None
    broken: _Object | None = None
    place = 0
    while brace := _BRACE.search(text, place):
        place = brace.end()
        is_closing = brace[0] == "}"
        if broken and (is_closing or brace["inside"]):
            last = broken  # it goes on, so what was found since may be a piece of it
            continue
        if is_closing:
            continue
        found = _follow(text, place - 1)
        if found.is_prose:
            continue
        last, place = found, found.end
        if found.flaw == _NO_JSON:
            broken = found
    return last


def _follow(text: str, start: int) -> _Object:
    """Follow the object that begins at `start`."""
    place, deepest = start, 0
    expected = _VALUE
    closers: list[str] = []
    while found := expected.match(text, place):
        place = found.end()
        mark = text[place - 1]
        if mark in "{[":
            closers.append("}" if mark == "{" else "]")
            deepest = max(deepest, len(closers))
            expected = _FIRST_MEMBER if mark == "{" else _FIRST_ITEM
        elif mark == ":":
            expected = _VALUE
        elif mark == ",":
            expected = _MEMBER if closers[-1] == "}" else _VALUE
        else:
            if mark in "}]":
                closers.pop()
                if not closers:
                    return _Object(start, place, _TOO_DEEP if deepest > DEEPEST else None)
            expected = _AFTER[closers[-1]]
    if _CUT.match(text, place) or (place > start + 1 and _CUT_SCALAR.match(text, place)):
        return _Object(start, len(text), _CUT_OFF)
    if place == start + 1:
        other = _OTHER_MEMBER.match(text, place)
        return _Object(start, other.end() if other else place, _NO_JSON)
    stopped = _BROKEN_STRING.match(text, place)
    # The last mark is looked at again: a brace after a comma may begin a piece of what is broken.
    return _Object(start, stopped.end() if stopped else place - 1, _NO_JSON)
