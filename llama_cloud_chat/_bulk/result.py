"""What came of one question of many, and how it is written as a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llama_cloud_chat._errors import ChatError
from llama_cloud_chat._turn.sources import Source
from llama_cloud_chat._turn.turn import Turn
from llama_cloud_chat._turn.wording import name_of, pages_of

_OF_A_SOURCE = ("text", "file_name", "file_id", "page_start", "page_end", "score")


@dataclass
class BulkResult:
    """What came of one question, made by `bulk` and `abulk`.

    Attributes:
        id: What the question is called: the `id` that was given, or its place, from 1.
        prompt: Its words.
        turn: The turn that answers it; None if it failed.
        error: Why it failed; None if it did not. What had come of its turn is in `error.turn`, where there was one.
        attempts: How often it had to be tried; 1 if all went well.
        seconds: For how long it was under way here.
        asking: Which asking of it this is; more than 1 where a failed one was asked anew.
        given: The mapping that was given; empty for a string.
    """

    id: str | int
    prompt: str
    turn: Turn | None = None
    error: ChatError | None = None
    attempts: int = 1
    seconds: float = 0.0
    asking: int = 1
    given: Mapping[str, Any] = field(default_factory=dict)

    def as_row(self) -> dict[str, Any]:
        """Return it as plain values, under the names of the output file's columns."""
        told: Turn | None = self.turn or getattr(self.error, "turn", None)
        turn = Turn(self.prompt) if told is None else told
        usage, sources = turn.usage, [] if self.turn is None else turn.sources
        tokens = [each for each in (usage.total_input_tokens, usage.total_output_tokens) if each is not None]
        return {
            "id": self.id,
            "question": self.prompt,
            "answer": None if self.turn is None else turn.text,
            "sources": [{name: getattr(source, name) for name in _OF_A_SOURCE} for source in sources],
            "pages": list(dict.fromkeys(_in_words(source) for source in sources if pages_of(source))),
            "tokens": sum(tokens) if tokens else None,
            "input_tokens": usage.total_input_tokens,
            "output_tokens": usage.total_output_tokens,
            "seconds": round(self.seconds if usage.duration_ms is None else usage.duration_ms / 1000, 3),
            "session_id": turn.session_id,
            "turn": turn.number,
            "skipped_index_ids": turn.skipped_index_ids,
            "attempts": self.attempts,
            "asking": self.asking,
            "error": None if self.error is None else self.error.message,
            "error_type": None if self.error is None else type(self.error).__name__,
        }


def _in_words(source: Source) -> str:
    pages = pages_of(source)
    return f"{name_of(source)}, {'pages' if '-' in pages else 'page'} {pages}"
