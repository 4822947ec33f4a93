"""What a prompt may be besides the user's words: a fold, which tells of what was said before, or a part of a long one.

A question whose answer is to be of a schema ends with that schema.

The marks are for the agent, and for whoever reads the history later: it shows the user's words, and one turn where a
long prompt was told in several. Everything that somebody said is quoted, so that no message can pass for a mark.

    This conversation has taken place so far:

    [system]
    > ...

    (7 earlier messages are left out.)

    [user]
    > ...

    After the user's next message, this happened:

    [tool: transfer]
    > ...

    Answer the user's next message, which is everything below this line.

    ...
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

OPENING = "This conversation has taken place so far:"
SINCE = "After the user's next message, this happened:"
CLOSING = "Answer the user's next message, which is everything below this line."
SCHEMA = "End with one JSON object of this type:"

_DIGEST_LENGTH = 16
_left_out = re.compile(r"(?:\(|\[summary of )(\d+) (?:earlier )?messages?(?:(?: is| are) left out\.\)|\])")
_part = re.compile(
    r"\[part (\d+) of (\d+) of one message \(([0-9a-f]{16})\); [^\]\n]*\]\n(.*)\n\[end of part \1 of \2\]", re.DOTALL
)


@dataclass(frozen=True)
class Folded:
    """What a prompt tells.

    Attributes:
        asked: The user's words that are to be answered.
        earlier: What the user had said before, as far as it is told.
        system: The standing instruction that it tells; None if it tells none.
        left_out: How many earlier messages it does not tell whole.
    """

    asked: str
    earlier: tuple[str, ...] = ()
    system: str | None = None
    left_out: int = 0


def digest_of(text: str, length: int = _DIGEST_LENGTH) -> str:
    """Return what stands for `text` where it must not be kept itself: so many hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:length]


def instructions_digest(system: str) -> str:
    """Return what stands for a system text in answers and in the history: the same for what quoting makes of it."""
    return digest_of(_unquote(quote(system)))


def heading(role: str, name: str | None) -> str:
    """Return the mark above what somebody said."""
    name = " ".join((name or "").split()).replace("[", "(").replace("]", ")")
    return f"[{role}: {name}]" if name else f"[{role}]"


def quote(text: str) -> str:
    """Return `text` so that none of its lines can pass for a mark."""
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def left_out_mark(count: int) -> str:
    """Return the mark that says how many earlier messages are not told."""
    return f"({count} earlier {'message is' if count == 1 else 'messages are'} left out.)"


def summary_mark(count: int) -> str:
    """Return the mark above a summary of so many earlier messages."""
    return f"[summary of {count} {'message' if count == 1 else 'messages'}]"


def unfold(prompt: str) -> Folded:
    """Return what a prompt tells. One that is no fold is the user's words alone."""
    told, mark, asked = prompt.partition(f"\n\n{CLOSING}\n\n")
    if not mark or not told.startswith(OPENING):
        return Folded(prompt)
    # Everything that was said is quoted, so no message can be taken for a heading.
    blocks = [block.partition("\n") for block in told.partition(f"\n\n{SINCE}\n\n")[0].split("\n\n")[1:]]
    system = [_unquote(quoted) for title, _, quoted in blocks if title == "[system]"]
    counts = [int(match[1]) for title, _, _ in blocks if (match := _left_out.fullmatch(title))]
    return Folded(
        asked,
        tuple(_unquote(quoted) for title, _, quoted in blocks if title == "[user]"),
        system[0] if system else None,
        sum(counts),
    )


def users_words(prompt: str) -> str:
    """Return what the user asked with a prompt, without what it tells of earlier messages and of a schema."""
    asked = unfold(prompt).asked
    words, mark, schema = asked.rpartition(f"\n\n{SCHEMA}\n")
    # Nothing that we write follows a schema, and it has no paragraphs.
    return words if mark and "\n\n" not in schema else asked


def unfold_transcript(prompt: str) -> tuple[list[str], str]:
    """Return what the user had asked before, as far as a prompt tells it, and what is asked now."""
    folded = unfold(prompt)
    return list(folded.earlier), folded.asked


def _unquote(text: str) -> str:
    return "\n".join(line.removeprefix(">").removeprefix(" ") for line in text.split("\n"))


def split_into_parts(prompt: str, limit: int) -> list[str]:
    """Return the prompts that tell a longer one piece by piece, each within `limit` characters.

    There are none where the limit leaves no room beside the marks.
    """
    digest = digest_of(prompt)
    count = 1
    while True:
        room = limit - len(_mark_part("", count, count, digest, is_last=False))
        if room < 1:
            return []
        needed = -(-len(prompt) // room)
        if needed <= count:
            break
        count = needed
    pieces = [prompt[start : start + room] for start in range(0, len(prompt), room)]
    return [
        _mark_part(piece, number, len(pieces), digest, is_last=number == len(pieces))
        for number, piece in enumerate(pieces, 1)
    ]


def join_parts(prompts: Sequence[str]) -> str | None:
    """Return the long prompt that these tell, if they are all its parts, in order."""
    parts = [_part.fullmatch(prompt.strip()) for prompt in prompts]
    whole = "".join(part[4] for part in parts if part)
    digest = digest_of(whole)
    for number, part in enumerate(parts, 1):
        if part is None or (int(part[1]), int(part[2]), part[3]) != (number, len(parts), digest):
            return None
    return whole


def count_parts(prompt: str) -> int:
    """Return how many parts end with this one, if it is the last one of a long prompt; else 0."""
    part = _part.fullmatch(prompt.strip())
    return int(part[2]) if part is not None and part[1] == part[2] else 0


def _mark_part(piece: str, number: int, count: int, digest: str, *, is_last: bool) -> str:
    wish = "now answer all of it" if is_last else 'more follows, so only say "ok"'
    return f"[part {number} of {count} of one message ({digest}); {wish}]\n{piece}\n[end of part {number} of {count}]"
