"""Why an answer cannot be taken."""

from __future__ import annotations

from collections.abc import Iterable

from llama_cloud_chat._turn.wording import clean_line


class Flaw(Exception):  # noqa: N818 (it never leaves this folder)
    """What is wrong with an answer, in a few words.

    Attributes:
        reason: What is wrong.
        field: Where, as a path such as `authors[0].name`; None if it is the answer as a whole.
    """

    def __init__(self, reason: str, field: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field


def path_of(parts: Iterable[str | int]) -> str | None:
    """Return a path such as `authors[0].name`; None for the value itself."""
    steps = [f"[{part}]" if isinstance(part, int) else f".{clean_line(str(part), 40)}" for part in parts]
    return clean_line("".join(steps).removeprefix("."), 80) or None
