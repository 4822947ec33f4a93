"""Asks the agent the questions over their documents, and judges what it answers."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llama_cloud_chat.local import AgentTurn, Tools, extractive_agent
from llama_cloud_chat.local._library.documents import list_path
from llama_cloud_chat.local._library.index import Index

from .questions import Question
from .typeset import typeset

GOAL = 0.9
# About a paragraph. A longer answer is none, whatever it holds.
MOST_CHARS = 700
_DOCUMENTS = Path(__file__).parent / "documents"


@dataclass(frozen=True)
class Outcome:
    """How a question went: what was answered, and how long that took."""

    question: Question
    answer: str
    seconds: float

    @property
    def is_right(self) -> bool:
        """Whether the answer holds what it should, and is short."""

        def matches(pattern: str) -> bool:
            return re.search(pattern, self.answer, re.I) is not None

        question = self.question
        fits = all(map(matches, question.holds)) and not any(map(matches, question.lacks))
        return fits and len(self.answer) <= MOST_CHARS


@dataclass(frozen=True)
class Score:
    """How many of some questions went well."""

    outcomes: Sequence[Outcome]

    @property
    def share(self) -> float:
        """How many of them are right, of 1."""
        return sum(outcome.is_right for outcome in self.outcomes) / len(self.outcomes)

    def __str__(self) -> str:
        right = sum(outcome.is_right for outcome in self.outcomes)
        length = sum(len(outcome.answer) for outcome in self.outcomes) / len(self.outcomes)
        seconds = sum(outcome.seconds for outcome in self.outcomes) / len(self.outcomes)
        return (
            f"{right} of {len(self.outcomes)} right or honest ({self.share:.2f}, goal {GOAL:.2f}), "
            f"{length:.0f} characters and {1000 * seconds:.1f} ms each"
        )


def ask_all(questions: Sequence[Question]) -> Score:
    """Ask each question in a session of its own, after those it follows on from."""
    outcomes = []
    for folder in dict.fromkeys(question.folder for question in questions):
        with _library(folder) as tools:
            outcomes += [_ask(question, tools) for question in questions if question.folder == folder]
    return Score(outcomes)


@contextmanager
def _library(folder: str) -> Iterator[Tools]:
    """Index a folder's documents; the report as the PDF that its text describes."""
    with tempfile.TemporaryDirectory() as place:
        documents = shutil.copytree(_DOCUMENTS / folder, Path(place, folder))
        for text in documents.glob("*-report.txt"):
            text.with_suffix(".pdf").write_bytes(typeset(text.read_text(encoding="utf-8")))
            text.unlink()
        index = Index(Path(place, "index"))
        collection = list_path(documents)
        index.update([collection])
        try:
            yield Tools(index, [collection.index_id])
        finally:
            index.close()


def _ask(question: Question, tools: Tools) -> Outcome:
    past: list[str] = []
    answer, seconds = "", 0.0
    for number, text in enumerate((*question.after, question.text), start=1):
        began = time.perf_counter()
        turn = AgentTurn("ses-1", number, text, tools, past=past)
        events = [event for event in extractive_agent(turn) if not event["type"].endswith("_delta")]
        seconds = time.perf_counter() - began
        past += [json.dumps(event) for event in ({"type": "user_input", "content": text}, *events, {"type": "stop"})]
        answer = events[-1]["content"]
    return Outcome(question, answer, seconds)
