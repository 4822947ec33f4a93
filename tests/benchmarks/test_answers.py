"""The agent without a model says what the documents say: at least as often as is promised."""

from __future__ import annotations

import pytest

from benchmarks.answers.questions import FOLLOW_UPS, QUESTIONS, TUNED, Question
from benchmarks.answers.score import GOAL, ask_all


@pytest.mark.parametrize("questions", [QUESTIONS, FOLLOW_UPS], ids=["questions", "follow-ups"])
def test_nine_of_ten_are_answered_rightly_or_honestly(questions: list[Question]) -> None:
    score = ask_all(questions[TUNED])
    wrong = [(outcome.question.text, outcome.answer) for outcome in score.outcomes if not outcome.is_right]
    assert score.share >= GOAL, wrong


def test_there_are_enough_questions_and_some_that_have_no_answer() -> None:
    assert len(QUESTIONS) >= 66
    assert len(FOLLOW_UPS) >= 20
    assert all(question.after for question in FOLLOW_UPS)
    assert sum(question.is_unanswered for question in QUESTIONS) >= 8
