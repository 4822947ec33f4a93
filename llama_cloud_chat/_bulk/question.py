"""What a question of many may be given as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

from llama_cloud_chat._config import check_text
from llama_cloud_chat._errors import ConfigurationError


@dataclass(frozen=True)
class Question:
    """One of many questions.

    Attributes:
        id: What it is called.
        prompt: Its words.
        group: Which questions it shares a session with, if they share any.
        fields: All that was given.
        asking: Which asking of it this is: a turn that failed is the answer of the first one for good.
        session_id: Where the questions before it in its group were asked, if that is known from before.
        flaw: Why it cannot be asked, if so.
    """

    id: str | int
    prompt: str
    group: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    asking: int = 1
    session_id: str | None = None
    flaw: str | None = None


def read_question(given: object, place: int) -> Question:
    """Return a question; one that cannot be asked says why.

    Args:
        given: Its words, or a mapping with `question`, and perhaps `id` and `group`.
        place: Which one it is, from 1: what it is called where it has no id.
    """
    if isinstance(given, Question):
        return given
    if isinstance(given, str):
        given = {"question": given}
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        return Question(place, "", flaw=f"A question is a string, or a mapping with `question`, not {kind}.")
    flaws = [_flaw_of_id(given.get("id")), _flaw_of_words(given), _flaw_of_group(given.get("group"))]
    flaw = next(filter(None, flaws), None)
    question_id, words, group = given.get("id"), given.get("question"), given.get("group")
    return Question(
        place if question_id is None or flaws[0] else _plain(question_id),
        words if isinstance(words, str) else "",
        None if group is None or flaws[2] else str(group),
        given,
        flaw=flaw,
    )


def _plain(question_id: str | Integral) -> str | int:
    return question_id if isinstance(question_id, str) else int(question_id)  # NumPy's, for one, are no int


def _flaw_of_id(question_id: object) -> str | None:
    if question_id is None:
        return None
    if isinstance(question_id, bool) or not isinstance(question_id, (str, Integral)) or not str(question_id).strip():
        return f"An id is a text that is not empty, or a whole number, not {question_id!r}."
    return _flaw_of_text("id", str(question_id))


def _flaw_of_words(given: Mapping[str, Any]) -> str | None:
    if "question" not in given:
        return "It has no `question`."
    words = given["question"]
    if not isinstance(words, str):
        return f"Its `question` is a text, not {type(words).__name__}."
    return _flaw_of_text("question", words) or (None if words.strip() else "Its `question` is empty.")


def _flaw_of_group(group: object) -> str | None:
    if group is None or (isinstance(group, int) and not isinstance(group, bool)):
        return None
    if not isinstance(group, str):
        return f"A group is a text or a whole number, not {group!r}."
    return _flaw_of_text("group", group)


def _flaw_of_text(name: str, text: str) -> str | None:
    try:
        check_text(name, text)
    except ConfigurationError as error:
        return error.message
    return None
