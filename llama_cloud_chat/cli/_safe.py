"""What others have written, made harmless: nothing that a service says may steer the terminal."""

from __future__ import annotations

import json
import math
import re
import sys
from typing import Any

_LONGEST_LINE = 160

# Control characters (escape sequences begin with one), and those that make text read in another direction than it
# is stored. Half an emoji cannot be written at all.
_HARMFUL = [*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_HARMLESS: dict[int, str | None] = {code: None for code in _HARMFUL if chr(code) not in "\n\t"}
_HARMLESS |= dict.fromkeys(range(0xD800, 0xE000), "\ufffd")

_BEYOND_JSON = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: str) -> str:
    """Return `text` without anything that a terminal would obey."""
    return text.translate(_HARMLESS)


def clean_line(text: str, most: int = _LONGEST_LINE) -> str:
    """Return `text` as one harmless line of at most `most` characters."""
    # Looking at a part is enough, and keeps megabytes cheap.
    line = " ".join(clean(text[: 8 * most]).split())
    return line if len(line) <= most and len(text) <= 8 * most else f"{line[: most - 1].rstrip()}…"


def complain(problem: str) -> None:
    """Say on stderr, in one line, what went wrong."""
    print(clean_line(problem, 1000), file=sys.stderr)


def json_text(value: Any) -> str:
    """Write `value` as a JSON document, readable and harmless to print."""
    text = json.dumps(_finite(value), ensure_ascii=False, indent=2)
    return _BEYOND_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def print_json(value: Any) -> None:
    """Print `value` as one JSON document, in UTF-8 whatever the locale says."""
    sys.stdout.flush()
    sys.stdout.buffer.write(f"{json_text(value)}\n".encode())
    sys.stdout.buffer.flush()


def _finite(value: Any) -> Any:
    """Put null where JSON has no number."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value
