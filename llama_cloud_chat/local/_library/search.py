"""Ranks passages for a query: BM25 first, then by how much of the query they speak of, and what they are worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .index import FoundPassage, Index
from .words import is_pair, match_of, prefix_of, query_words
from .worth import asks_for_history

_CANDIDATES = 60
_LEAST_PREFIX = 3
# What FTS5 makes of a word that more than half of the passages hold, and how much repeating a word can count.
_LEAST_IDF = 1e-6
_MOST_REPEATED = 2.2


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
    terms = [_term(index, word) for word in words]
    worths = dict(index.candidates(" OR ".join(term.match for term in terms), index_ids, _CANDIDATES))
    numbers = list(worths)
    if asks_for_history(words):
        worths = dict.fromkeys(numbers, 1.0)
    held = [(term, index.scores(term.match, numbers)) for term in terms]
    everything = sum(term.weight for term in terms)

    def hit(number: int) -> tuple[float, float]:
        found = [(term, scores[number]) for term, scores in held if number in scores]
        score = sum(term.weight * min(score / term.idf, _MOST_REPEATED) for term, score in found)
        return score, sum(term.weight for term, _ in found) / everything

    # BM25 alone lets one rare word repeated often outrank a passage that speaks of everything asked for.
    ranked = sorted(
        ((number, *hit(number)) for number in numbers),
        key=lambda candidate: (-candidate[1] * candidate[2] ** 2 * worths[candidate[0]], candidate[0]),
    )
    return [Hit(index.passage(number), score, share) for number, score, share in ranked[:top_k]]


@dataclass(frozen=True)
class _Term:
    """A word of a query.

    Attributes:
        match: What to ask the index for.
        weight: How much it says. Unlike FTS5's `idf` it never comes to nothing, however few passages there are.
        idf: What FTS5 has multiplied its scores with.
    """

    match: str
    weight: float
    idf: float


def _term(index: Index, word: str) -> _Term:
    match = match_of(word)
    holding = index.count(match)
    if not holding and len(word) >= _LEAST_PREFIX:
        # Perhaps only the beginning of a word was given.
        match = prefix_of(word)
        holding = index.count(match)
    # A pair of characters that no passage holds may be the end of one word and the beginning of another.
    says_nothing = is_pair(word) and not holding
    idf = math.log((index.passages - holding + 0.5) / (holding + 0.5))
    # A word that no passage holds weighs as much as the rarest: an answer that leaves it out has missed the question.
    weight = 0.0 if says_nothing else math.log(1 + (index.passages + 1) / (max(holding, 1) + 0.5))
    return _Term(match, weight, max(idf, _LEAST_IDF))
