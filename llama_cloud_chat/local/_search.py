"""Ranks passages for a query: BM25 first, then by how much of the query they speak of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ._index import FoundPassage, Index
from ._words import match_of, prefix_of, query_words

_CANDIDATES = 60
_LEAST_PREFIX = 3


@dataclass(frozen=True)
class Hit:
    """A passage that was found.

    Attributes:
        passage: The passage.
        score: BM25.
        share: The share (0 to 1) of the query's words that the passage, its heading or its file's name holds,
            rare words counting more.
    """

    passage: FoundPassage
    score: float
    share: float


def search(index: Index, query: str, index_ids: Sequence[str], top_k: int) -> list[Hit]:
    """Return the passages that speak most of the words of `query`, best first."""
    words = query_words(query)
    if not words or not index_ids or top_k < 1:
        return []
    weighed = [_match(index, word) for word in words]
    matches, weights = [match for match, _ in weighed], [weight for _, weight in weighed]
    candidates = index.candidates(" OR ".join(matches), index_ids, _CANDIDATES)
    numbers = [number for number, _ in candidates]
    held = [index.among(match, numbers) for match in matches]

    def share(number: int) -> float:
        return sum(weight for weight, holding in zip(weights, held, strict=True) if number in holding) / sum(weights)

    # BM25 alone lets one rare word repeated often outrank a passage that speaks of everything asked for.
    ranked = sorted(
        ((number, score, share(number)) for number, score in candidates),
        key=lambda candidate: (-candidate[1] * candidate[2] ** 2, candidate[0]),
    )
    return [Hit(index.passage(number), score, each) for number, score, each in ranked[:top_k]]


def _match(index: Index, word: str) -> tuple[str, float]:
    """Return what to ask the index for, and how much the word weighs."""
    match = match_of(word)
    holding = index.count(match)
    if not holding and len(word) >= _LEAST_PREFIX:
        # Perhaps only the beginning of a word was given.
        match = prefix_of(word)
        holding = index.count(match)
    # A word that no passage holds weighs most: an answer that leaves it out has missed the question.
    return match, math.log(1 + (index.passages + 1) / (holding + 0.5))
