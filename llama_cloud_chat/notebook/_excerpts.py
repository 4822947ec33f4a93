"""How much is shown: a view is bounded, whatever the service said, and says what it leaves out."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, fields
from typing import Any

from llama_cloud_chat._turn.wording import clean


@dataclass(frozen=True)
class Limits:
    """How much of a conversation is shown. Lengths are in characters.

    Attributes:
        turns: Turns, the latest ones.
        output: All of the turns, rendered; at least one turn is shown.
        steps: Things that the agent did in a turn, the latest ones.
        sources: Sources of a turn.
        answer: A segment of the answer.
        prompt: A prompt.
        thinking: A segment of thinking.
        arguments: A tool's arguments.
        result: A tool's result.
        cited: A passage that the answer rests on.
        passage: Any other passage.
        line: A name, a title, an error.
    """

    turns: int = 50
    output: int = 500_000
    steps: int = 60
    sources: int = 25
    answer: int = 40_000
    prompt: int = 8_000
    thinking: int = 8_000
    arguments: int = 2_000
    result: int = 4_000
    cited: int = 1_200
    passage: int = 240
    line: int = 300


# Indented JSON is written slowly: of a longer value only the beginning is, and its length is that without blank space.
_QUICKLY_WRITTEN = 100_000

SHORTENED = Limits()
WHOLE = Limits(**{field.name: sys.maxsize for field in fields(Limits)})


@dataclass(frozen=True)
class Excerpt:
    """The beginning of a text, or its end.

    Attributes:
        text: What is shown of it; harmless, but not escaped.
        total: How long the text is, in characters.
        is_cut: Whether anything is left out.
    """

    text: str
    total: int
    is_cut: bool


def excerpt(text: str, most: int) -> Excerpt:
    """Return the first `most` characters of a text."""
    return Excerpt(clean(text[:most]), len(text), len(text) > most)


def last_words(text: str, most: int) -> Excerpt:
    """Return the last `most` characters of a text."""
    return Excerpt(clean(text[-most:]), len(text), len(text) > most)


def passage(text: str, most: int) -> str:
    """Return the first `most` characters of a text with whole words, harmless, and a mark where it is cut."""
    if len(text) <= most:
        return clean(text)
    return f"{clean(text[:most]).rpartition(' ')[0] or clean(text[:most])} …"


def json_excerpt(value: Any, most: int) -> Excerpt:
    """Return the first `most` characters of a JSON value, written to be read; a text is shown as it is."""
    if isinstance(value, str):
        return excerpt(value, most)
    try:
        total = len(json.dumps(value, ensure_ascii=False, default=str))
        if total <= _QUICKLY_WRITTEN:
            return excerpt(json.dumps(value, ensure_ascii=False, default=str, indent=2), most)
        written = ""
        for piece in json.JSONEncoder(ensure_ascii=False, indent=2, default=str).iterencode(value):
            written += piece[: most + 1]
            if len(written) > most:
                return Excerpt(clean(written[:most]), max(total, most + 1), is_cut=True)
    except (RecursionError, ValueError) as error:
        return Excerpt(f"It cannot be shown: {error}.", 0, is_cut=False)
    return Excerpt(clean(written), len(written), is_cut=False)
