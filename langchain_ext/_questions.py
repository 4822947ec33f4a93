"""What the tool takes in a graph: the question from the driving model, and the state of the graph.

Whoever runs the tool finds where the state belongs by a mark: LangGraph's, or that of LangChain's first agents.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import BaseModel, Field

QUESTION = "A complete question, in plain language."


def _marks() -> Iterator[Any]:
    for name in ("langgraph.prebuilt", "langchain.tools"):
        with contextlib.suppress(ImportError):
            yield import_module(name).InjectedState


if TYPE_CHECKING:
    StateOfGraph: TypeAlias = Any
else:
    marks = dict.fromkeys(_marks())
    if not marks:
        raise ImportError("There is nobody who runs tools in graphs.")
    StateOfGraph = Annotated[(Any, *marks)]


class QuestionInState(BaseModel):
    """A question, and the state of the graph in which it is asked; the driving model sees the question alone."""

    question: str = Field(description=QUESTION)
    state: StateOfGraph = None
