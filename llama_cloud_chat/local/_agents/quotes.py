"""Chooses what to quote: the sentences, points, rows and blocks that say most of what is asked."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from llama_cloud_chat.local._library.worth import asks_for_history, is_history, worth_of

from .question import Kind, Question
from .sentences import Sentence, lines, sentences, stems

_MOST_QUOTES = 3
_MOST_CHARS = 520
# How good a quote must be, measured by the best one, to stand beside it.
_LEAST_SHARE = 0.75
# What stands under a heading that says what is asked is quoted up to here.
_MOST_ANSWER_CHARS = 320
# How much a word counts that a sentence does not hold itself, by where it stands.
_QUESTION, _NEAREST_HEADING, _IN_BLOCK, _BEFORE, _HIGHER_HEADING, _FILE_NAME = 0.95, 0.7, 0.6, 0.5, 0.35, 0.2
# The file's name is one word, and it is this one: all of it is about that.
_WHOLE_NAME = 0.6
# How much it counts that a heading asks the same in other words.
_SAME_QUESTION = 0.6
_CARRIED = 0.5
_SAID, _RECENT, _ONE_OF_MANY, _OLD_NEWS = 0.6, 1.25, 0.6, 0.5
_FITS, _IS_BLOCK, _DEFINES = 1.35, 1.5, 2.0
# A row of a table, as it is told: each of its cells after the name of its column.
_ROW = re.compile(r"[^:;]{1,80}: [^;]+; [^:;]{1,80}: ")
_NOT = re.compile(r"(?<=\w)n['\u2019]t\b", re.I)
# Blocks that are not asked for: a list says more at once than a sentence, code and tables say it less plainly.
_UNASKED: dict[str, float] = {"list": 1.1, "steps": 1.1, "table": 0.9, "code": 0.7}
# What is longer than this many characters says more words, not more.
_LONG = 220
_ARTICLE = re.compile(r"(?:an?|the|one of|any|every|all)\b", re.I)
# A sentence that begins so says nothing without the one before it.
_LEANS = re.compile(
    r"(?:It|Its|He|She|They|Their|This|That|These|Those|Then|There|Otherwise|However|Also|After that|Until then|Mostly"
    r"|Yes|No)\b"
)
_NUMBER = re.compile(
    r"\d|\b(?:two|three|four|five|six|seven|eight|nine|ten|twelve|half|third|twice|free|nothing|none)\b", re.I
)
_HOW_OFTEN = re.compile(r"\b(?:each|every|daily|weekly|monthly|yearly)\b", re.I)
_UNIT_OF_TIME = re.compile(r"\b(?:second|minute|hour|day|week|month|quarter|year|night|morning|noon)s?\b", re.I)
_DATE = re.compile(
    r"\b(?:january|february|march|april|may \d|june|july|august|september|october|november|december|spring|summer"
    r"|autumn|winter|(?:mon|tues|wednes|thurs|fri|satur|sun)day|(?:19|20)\d\d|before|after|until|when|open)\b"
    r"|\d:\d\d",
    re.I,
)
_REASON = re.compile(r"\b(?:because|since|due to|so that|reasons?|in order to|therefore|differs?)\b", re.I)


def _is_span(text: str) -> bool:
    return bool(_HOW_OFTEN.search(text) or (_NUMBER.search(text) and _UNIT_OF_TIME.search(text)))


_FITTING: dict[Kind, Callable[[str], object]] = {
    "amount": _NUMBER.search,
    "span": _is_span,
    "time": lambda text: _DATE.search(text) or _is_span(text),
    "reason": _REASON.search,
}


@dataclass(frozen=True)
class Extract:
    """A piece of a document to quote from."""

    content: str
    file_name: str
    heading: str
    page: int | None
    relevance: float

    @property
    def source(self) -> str:
        """Where it is from, for people."""
        return self.file_name if self.page is None else f"{self.file_name}, page {self.page}"

    @cached_property
    def stems(self) -> set[str]:
        """The stems of all it says, and of what it stands under."""
        return stems(f"{self.file_name} {self.heading} {self.content}")


@dataclass(frozen=True)
class Chosen:
    """What is to be quoted, and the extract that the best of it is from."""

    quotes: list[str]
    best: Extract | None


def choose(question: Question, extracts: Sequence[Extract]) -> Chosen:
    """Return what says most of what is asked, best first: about one paragraph."""
    judge = _Judge(question, extracts)
    scored = judge.score_all(sentences)
    if not scored and not question.wants_more:
        # Perhaps a caption says it, or a heading with nothing below it.
        scored = judge.score_all(lines)
    return Chosen(list(_quotes(scored)), scored[0].extract if scored else None)


def weigh(words: Iterable[str], question: Question, extracts: Sequence[Extract]) -> dict[str, float]:
    """Weigh each word: one that every extract holds says little about which sentence to take."""
    held = [extract.stems for extract in extracts]

    def weight(word: str) -> float:
        holding = sum(bool(question.held(word, each)) for each in held)
        return math.log(1 + (len(held) + 1) / (holding + 0.5))

    return {word: weight(word) for word in words}


@dataclass(frozen=True)
class _Scored:
    """A sentence, how well it answers, and those of its extract, among which it is at `at`."""

    score: float
    sentence: Sentence
    extract: Extract
    among: Sequence[Sentence]
    at: int
    is_under_it: bool


class _Judge:
    """Says how well a sentence answers a question, among all that was found."""

    def __init__(self, question: Question, extracts: Sequence[Extract]) -> None:
        self._question = question
        self._extracts = extracts
        carried = weigh(question.carried, question, extracts)
        self._weights = weigh(question.words, question, extracts) | {
            word: weight * _CARRIED for word, weight in carried.items()
        }
        self._everything = sum(self._weights.values())
        self._top = max((extract.relevance for extract in extracts), default=0.0) or 1.0

    def score_all(self, cut: Callable[[str], Iterable[Sentence]]) -> list[_Scored]:
        """Return the sentences that say any of what is asked, the best first; `cut` takes a passage apart."""
        seen: set[tuple[str, str]] = set()
        scored: list[_Scored] = []
        for extract in self._extracts:
            among = list(cut(extract.content))
            factor = self._worth(extract, among)
            place = _Place(extract)
            for at, sentence in enumerate(among):
                key = (sentence.text, sentence.block)
                if key not in seen:
                    seen.add(key)
                    score, is_under_it = self._score(sentence, place)
                    if score > 0:
                        scored.append(_Scored(score * factor, sentence, extract, among, at, is_under_it))
        return sorted(scored, key=lambda each: -each.score)

    def _worth(self, extract: Extract, among: Sequence[Sentence]) -> float:
        """Return how much what an extract says counts, whatever that is."""
        worth = 0.7 + 0.3 * extract.relevance / self._top
        if is_history(extract.file_name, extract.heading) and not asks_for_history(self._question.words):
            worth *= _OLD_NEWS
        if self._question.answered and any(each.text in self._question.answered for each in among):
            # What has just been spoken of is what "it" is.
            worth *= _RECENT
        return worth

    def _score(self, sentence: Sentence, place: _Place) -> tuple[float, bool]:
        """Return how well a sentence answers, and whether rather by what it stands under than by what it says."""
        if not self._weights:
            return 1.0, False
        inside, around = place.held(sentence, self._weights, self._question)
        around += _SAME_QUESTION * self._everything * _likeness(self._question, sentence)
        score = (inside + around) * worth_of(sentence.text) * _fit(self._question, sentence)
        score *= min(2 * _LONG / (_LONG + len(sentence.text)), 1.0)
        if sentence.kind == "point" and not inside:
            # One of many, and not the one that was asked for: the list says it.
            score *= _ONE_OF_MANY
        # How something is done is told in more than one sentence.
        is_under_it = around > inside or (self._question.kind == "steps" and around > inside / 2)
        return score * self._freshness(sentence), is_under_it

    def _freshness(self, sentence: Sentence) -> float:
        """Return how much it counts that a sentence was said before: nothing is new in it, but it may be asked for."""
        said, block = self._question.said, sentence.block
        if sentence.text not in said or (block and block.split()[-1] not in said):
            return 1.0
        if self._question.wants_more:
            return 0.0
        # A row was quoted for one of its cells, and "it" may be asked for another.
        is_row = self._question.points_back and _ROW.match(sentence.text)
        return 1.0 if is_row or self._question.wants_it_again else _SAID


class _Place:
    """What the words around a sentence say, each looked at once."""

    def __init__(self, extract: Extract) -> None:
        self._name = stems(extract.file_name)
        stem = PurePosixPath(extract.file_name).stem
        self._whole_name = stems(stem) if stem.isalnum() else set()
        self._above = stems(extract.heading)
        self._known: dict[str, set[str]] = {}

    def held(self, sentence: Sentence, weights: dict[str, float], question: Question) -> tuple[float, float]:
        """Return how much of the question a sentence says itself, and how much is said around it."""
        own = stems(sentence.text)
        nearest = sentence.headings[-1] if sentence.headings else ""
        around = [
            (_IN_BLOCK, stems(sentence.block)),
            (_QUESTION if nearest.endswith("?") else _NEAREST_HEADING, self._stems(nearest) or self._above),
            (_BEFORE, self._stems(sentence.before)),
            (_HIGHER_HEADING, self._stems(" ".join(sentence.headings[:-1])) | self._above),
            (_FILE_NAME, self._name),
            (_WHOLE_NAME, self._whole_name),
        ]
        inside, outside = 0.0, 0.0
        for word, weight in weights.items():
            here = weight * question.held(word, own)
            there = weight * max(share * question.held(word, each) for share, each in around)
            inside += here
            outside += max(there - here, 0.0)
        return inside, outside

    def _stems(self, text: str) -> set[str]:
        if text not in self._known:
            self._known[text] = stems(text)
        return self._known[text]


def _likeness(question: Question, sentence: Sentence) -> float:
    """Return how many of its words, however little they say, a question shares with the one a sentence answers."""
    nearest = sentence.headings[-1] if sentence.headings else ""
    if not nearest.endswith("?"):
        return 0.0
    asked, answered = stems(_NOT.sub("", question.prompt[:_MOST_CHARS])), stems(_NOT.sub("", nearest))
    return len(asked & answered) / len(asked | answered)


def _fit(question: Question, sentence: Sentence) -> float:
    """Return how well the kind of a sentence fits that of the question."""
    kind, text = question.kind, sentence.text
    if sentence.block:
        wanted = kind == "steps" and sentence.kind in ("steps", "code")
        # Whoever asks when or how much is not told a whole list.
        return _IS_BLOCK if wanted else _UNASKED[sentence.kind] * (0.85 if kind in _FITTING else 1.0)
    if kind in _FITTING:
        return _FITS if _FITTING[kind](text) else 1.0
    if kind == "definition" and question.words:
        subject = r"\W*(?:an? |the )?" + r"[\s-]+".join(map(re.escape, question.words)) + r"s?\W*\s(?:is|are|means?) "
        defined = re.match(subject, text, re.I)
        return 1.0 if not defined else _DEFINES if _ARTICLE.match(text, defined.end()) else _FITS
    return 1.0


def _quotes(scored: Sequence[_Scored]) -> Iterator[str]:
    """Yield the best as they go into the answer, without saying anything twice."""
    quoted: set[tuple[int, int]] = set()
    good = [each for each in scored if each.score >= _LEAST_SHARE * scored[0].score]
    length = 0
    count = 0
    for each in good:
        span = _span(each, beside=good)
        places = {(id(each.among), at) for at in _covered(each, span)}
        quote = _quote(each, span)
        is_too_much = count and length + len(quote) > _MOST_CHARS
        if is_too_much or not places.isdisjoint(quoted):
            continue
        quoted |= places
        length += len(quote)
        count += 1
        yield quote
        if count == _MOST_QUOTES:
            return


def _quote(each: _Scored, span: range) -> str:
    text = " ".join(each.among[at].text for at in span)
    block = each.sentence.block
    return f"{text} ({each.extract.source})" + (f"\n\n{block}" if block else "")


def _covered(each: _Scored, span: range) -> Iterator[int]:
    """Yield the places that are quoted with a quote: those of the list or table with each of its points or rows."""
    yield from span
    if each.sentence.block or each.sentence.kind in ("point", "row"):
        for at, other in enumerate(each.among):
            is_same = other.paragraph == each.sentence.paragraph
            if is_same and bool(other.block) != bool(each.sentence.block):
                yield at


def _span(each: _Scored, beside: Sequence[_Scored]) -> range:
    """Return which sentences of the paragraph to quote with one: those that it needs, or that are as good."""
    if each.sentence.kind != "sentence":
        return range(each.at, each.at + 1)
    good = {other.at for other in beside if other.among is each.among}

    def is_beside(at: int) -> bool:
        return (
            0 <= at < len(each.among)
            and each.among[at].kind == "sentence"
            and each.among[at].paragraph == each.sentence.paragraph
        )

    def fits(first: int, last: int) -> bool:
        return each.is_under_it and _length(each.among[first : last + 1]) <= _MOST_ANSWER_CHARS

    first = last = each.at
    while is_beside(first - 1) and (_LEANS.match(each.among[first].text) or first - 1 in good or fits(first - 1, last)):
        first -= 1
    while is_beside(last + 1) and (last + 1 in good or fits(first, last + 1)):
        last += 1
    # What is quoted whole is no longer a quote.
    while _length(each.among[first : last + 1]) > _MOST_CHARS and first < last:
        first, last = (first + 1, last) if first < each.at else (first, last - 1)
    return range(first, last + 1)


def _length(quoted: Sequence[Sentence]) -> int:
    return sum(len(sentence.text) + 1 for sentence in quoted)
