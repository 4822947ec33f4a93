"""What the command line writes besides conversations: complaints, and JSON that is harmless to print."""

from __future__ import annotations

import contextlib
import json
import math
import re
import sys
from typing import Any

from llama_cloud_chat import ChatError
from llama_cloud_chat._turn.wording import clean_line

_BEYOND_JSON = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_ARGUMENTS = (
    (re.compile(r"(^|Check )base_url\b"), r"\1--base-url"),
    (re.compile(r"the path given as docs\b"), "the path given with --docs"),
    (re.compile(r", or pass long_prompts=[^.]*"), ""),
)


def remark(text: str) -> None:
    """Say something on stderr; to nobody, if its disk is full."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr)


def told(error: ChatError) -> str:
    """Return what an error says to whoever sits at a command line."""
    return options_for_arguments(error.message)


def options_for_arguments(text: str) -> str:
    """Name the option in place of the argument that only Python knows, and leave out what has none."""
    for argument, option in _ARGUMENTS:
        text = argument.sub(option, text)
    return text


def complain(problem: str) -> None:
    """Say on stderr, in one line, what went wrong."""
    remark(clean_line(problem, 1000))


def json_text(value: Any) -> str:
    """Write `value` as a JSON document, readable and harmless to print."""
    text = json.dumps(_finite(value), ensure_ascii=False, indent=2)
    return _BEYOND_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def print_json(value: Any) -> None:
    """Print `value` as one JSON document."""
    print_document(f"{json_text(value)}\n")


def print_document(text: str) -> None:
    """Print a document that a program may read, in UTF-8 whatever the locale says."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()


def _finite(value: Any) -> Any:
    """Put null where JSON has no number."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value
