"""The agent that is used when none is given: it looks things up and quotes them."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from llama_cloud_chat.local._library.words import in_words, is_pair

from .kin import kin_of
from .protocol import AgentTurn, WireEvent, speak, words_of
from .question import Question, understand
from .quotes import Extract, choose, weigh

_PASSAGES = 6
_READ_CHARS = 2000
_LEAD_CHARS = 400
_GREP_CONTEXT = 80
# Of how many of a question's words nothing may speak for there to be an answer at all; and how much of them, rare ones
# counting more, a passage must hold to be more than the closest there is.
_MOST_UNKNOWN, _LEAST_TOGETHER = 0.75, 0.5
_MOST_KIN = 12
_NO_INDEX = "This session has no index to search. Create it with index_ids, or send them with the message."


def extractive_agent(turn: AgentTurn) -> Iterator[WireEvent]:
    """Answer in the words of the documents: what says most of what is asked, each quote with its source.

    It knows no language model: it looks up the prompt's content words (a follow-up's together with those of the
    question it follows) and everyday words for the same thing where nothing speaks of one. It reports its tool
    calls, and says so plainly when nothing matches, or when only something close does.

    Args:
        turn: What to answer.

    Yields:
        The turn's wire events.
    """
    question = understand(turn)
    yield from speak("thinking", words_of(_thoughts(question)))
    if not turn.tools.index_ids:
        answer = _NO_INDEX
    elif question.file is not None:
        answer = _compose(question, (yield from _look_into(turn, question, question.file)))
    else:
        answer = yield from _search(turn, question)
    yield from speak("text", words_of(answer))


def _thoughts(question: Question) -> str:
    if question.words:
        thoughts = [f"The question is about {_listed(question.words)}."]
    else:
        thoughts = ["The question has no content words of its own."]
    if question.carried:
        thoughts.append(f'It follows on from "{question.previous}", so I also look for {_listed(question.carried)}.')
    if question.file is not None:
        thoughts.append(f"It names {question.file['file_name']}, so I look into that file.")
    else:
        thoughts.append("I search the indexes for passages that speak of it.")
    return " ".join(thoughts)


def _search(turn: AgentTurn, question: Question) -> Generator[WireEvent, None, str]:
    """Search the indexes, once more in other words if some of the question's are not found, and answer."""
    numbers = count(1)
    found = yield from _retrieve(turn, next(numbers), question.all_words or [question.prompt])
    if not question.all_words:
        return _compose(question, [])
    missing = _unheld(question, found)
    if missing and question.carried and len(missing) == len(question.words):
        # Perhaps it does not follow on after all. If it does, what its pronoun stands for is still there to quote.
        elsewhere = yield from _retrieve(turn, next(numbers), question.words)
        if elsewhere or not question.points_back:
            question, found = question.alone(), elsewhere
            missing = _unheld(question, found)
    kin = {word: kin_of(word) for word in missing}
    others = [other for each in kin.values() for other in each][:_MOST_KIN]
    if missing and (found or others):
        # Other words together with those that are known, so that what speaks of both comes first.
        known = [word for word in question.all_words if others and word not in missing]
        question = replace(question, kin=kin)
        more = yield from _retrieve(turn, next(numbers), [*missing, *others, *known])
        found += [extract for extract in more if extract not in found]
    if question.carried and question.words and not (question.points_back and len(missing) == len(question.words)):
        # Not what speaks of the question before it alone.
        found = [each for each in found if len(_unheld(question, [each])) < len(question.words)]
    return _compose(question, found)


def _unheld(question: Question, extracts: Sequence[Extract]) -> list[str]:
    """Return which of the question's own words no extract holds."""
    held = set().union(*(extract.stems for extract in extracts))
    return [word for word in question.words if not question.held(word, held)]


def _use(turn: AgentTurn, number: int, name: str, **arguments: Any) -> Generator[WireEvent, None, dict[str, Any]]:
    """Use a tool, and report its use."""
    call_id = f"call-{turn.number}-{number}"
    yield {"type": "tool_call", "call_id": call_id, "name": name, "arguments": arguments}
    use = turn.tools.use(name, arguments)
    yield use.report(call_id)
    return use.result


def _retrieve(turn: AgentTurn, number: int, words: Sequence[str]) -> Generator[WireEvent, None, list[Extract]]:
    answer = yield from _use(turn, number, "retrieve", query=" ".join(words), top_k=_PASSAGES)
    return [
        Extract(
            result["content"],
            result["metadata"]["file_name"],
            result["metadata"]["heading"],
            result["static_fields"]["page_range_start"],
            result["score"] * result["rerank_score"],
        )
        for result in answer["results"]
    ]


def _look_into(turn: AgentTurn, question: Question, file: dict[str, str]) -> Generator[WireEvent, None, list[Extract]]:
    """Find the question's words in one file, and read on from where most of them are."""
    file_id, offset = file["file_id"], 0
    if question.words:
        pattern = "|".join(map(re.escape, question.words))
        found = yield from _use(turn, 1, "grep", file_id=file_id, pattern=pattern, context_chars=_GREP_CONTEXT)
        if not found["items"]:
            return []
        offset = max(_densest(found["items"], question.words) - _LEAD_CHARS, 0)
    reading = yield from _use(turn, 2, "read", file_id=file_id, offset=offset, max_length=_READ_CHARS)
    return [Extract(_whole_lines(reading["content"], offset), file["file_name"], "", None, 1.0)]


def _densest(items: Sequence[dict[str, Any]], words: Sequence[str]) -> int:
    """Return the offset from which one reading covers the most of the words."""

    def covered(start: int) -> int:
        near = [item["content"].lower() for item in items if start <= item["start_char"] < start + _READ_CHARS // 2]
        return sum(any(word in content for content in near) for word in words)

    starts: list[int] = [item["start_char"] for item in items]
    return max(starts, key=covered)


def _whole_lines(content: str, offset: int) -> str:
    """Leave out the lines that the reading cut at its ends."""
    first = content.find("\n", 0, _LEAD_CHARS) + 1 if offset else 0
    last = content.rfind("\n", first) if len(content) == _READ_CHARS else len(content)
    return content[first : last if last > first else len(content)]


def _compose(question: Question, extracts: Sequence[Extract]) -> str:
    """Put the answer together from the best quotes, each with its source."""
    if question.all_words or question.file:
        unheld = _unheld(question, extracts)
        # No text holds every pair of characters that a question of a script without spaces is made of.
        words = [word for word in question.words or question.carried if not (is_pair(word) and word in unheld)]
        weights = weigh(words, question, extracts)
        unknown = sum(word in unheld for word in words)
        chosen = choose(question, extracts)
        # What "it" is can be quoted, even if nothing speaks of what is asked of it.
        is_close = unknown <= _MOST_UNKNOWN * len(words) or (question.points_back and bool(question.carried))
        if chosen.best is not None and is_close:
            quotes = "\n\n".join(chosen.quotes)
            return f"{_caveat(question, weights, extracts, chosen.best)}{quotes}"
    where = question.file["file_name"] if question.file else "the indexes"
    further = "further " if extracts and question.said else ""
    about = f" about {_listed(question.all_words)}" if question.all_words else ""
    return f"I found nothing {further}in {where}{about}."


def _caveat(question: Question, weights: dict[str, float], extracts: Sequence[Extract], best: Extract) -> str:
    """Say what the quotes do not speak of, if it matters."""
    everything = set().union(*(extract.stems for extract in extracts))
    absent = [word for word in weights if not question.names(word, everything)]
    if absent:
        return f"Nothing speaks of {_listed(absent, 'or')}. The closest is:\n\n"
    held = best.stems
    together = sum(weight for word, weight in weights.items() if question.held(word, held))
    if together <= _LEAST_TOGETHER * sum(weights.values()) and weights and not any(map(is_pair, weights)):
        return f"Nothing speaks of {_listed(list(weights))} together. The closest is:\n\n"
    return ""


def _listed(words: Sequence[str], joint: str = "and") -> str:
    words = in_words(words)
    return f" {joint} ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
