"""What the tool takes in a graph: the question from the driving model, and the state from LangGraph."""

from __future__ import annotations

from typing import Annotated, Any

from langgraph.prebuilt import InjectedState
from pydantic import BaseModel, Field

QUESTION = "A complete question, in plain language."


class QuestionInState(BaseModel):
    """A question, and the state of the graph in which it is asked; the driving model sees the question alone."""

    question: str = Field(description=QUESTION)
    state: Annotated[Any, InjectedState] = None
