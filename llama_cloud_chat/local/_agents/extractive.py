"""The agent that is used when none is given: it looks things up and quotes them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from llama_cloud_chat._turn.prompts import unfold_transcript
from llama_cloud_chat.local._library.words import content_words, in_words, pairs_in

from .protocol import AgentTurn, WireEvent, speak, words_of
from .sentences import Sentence, lines, sentences, speaks_of, stems

_MAX_SENTENCES = 4
# How good a sentence must be, measured by the best one, to be quoted beside it.
_LEAST_SHARE = 0.4
_READ_CHARS = 2000
_LEAD_CHARS = 400
_GREP_CONTEXT = 80
_NO_INDEX = "This session has no index to search. Create it with index_ids, or send them with the message."
_CONNECTIVE = re.compile(
    r"\s*(?:and|but|or|so|also|what else|what about|how about|why|anything else|tell me more|more|go on)\b",
    re.I,
)
_POINTER = re.compile(r"\b(?:it|its|that|this|they|them|their|those|these|else|more|same)\b", re.I)
# Looked for only where a word begins: a prompt may be megabytes long.
_FILE_NAME = re.compile(r"(?<![\w./-])[\w./-]*\.\w+")
_MOST_FILE_NAMES = 20


def extractive_agent(turn: AgentTurn) -> Iterator[WireEvent]:
    """Answer in sentences taken from the passages that match the prompt, each with its source.

    It knows no language model: it looks up the prompt's content words (a follow-up's together with those of
    the question it follows), reports its tool calls, and says so plainly when nothing matches.

    Args:
        turn: What to answer.

    Yields:
        The turn's wire events.
    """
    question = _understand(turn)
    yield from speak("thinking", words_of(_thoughts(question)))
    if not turn.tools.index_ids:
        answer = _NO_INDEX
    elif question.file is not None:
        answer = _compose(question, (yield from _look_into(turn, question, question.file)))
    else:
        found = yield from _retrieve(turn, question, 1)
        if question.words and question.carried and not _best(question, found):
            # Perhaps it does not follow on after all.
            question = replace(question, carried=[], previous="", said="")
            found = yield from _retrieve(turn, question, 2)
        answer = _compose(question, found)
    yield from speak("text", words_of(answer))


@dataclass(frozen=True)
class _Question:
    """What a prompt asks for.

    Attributes:
        prompt: The user's words.
        words: Its own content words.
        carried: Those of the question it follows on from.
        previous: That question, the last one that stands on its own.
        file: The file it names, as `find` lists it.
        said: What the session's answers hold so far, if it follows on from them.
    """

    prompt: str
    words: list[str]
    carried: list[str]
    previous: str
    file: dict[str, str] | None
    said: str

    @property
    def all_words(self) -> list[str]:
        return [*self.words, *self.carried]


@dataclass(frozen=True)
class _Extract:
    """A piece of a document to take sentences from."""

    content: str
    file_name: str
    heading: str
    page: int | None
    relevance: float


def _understand(turn: AgentTurn) -> _Question:
    earlier, prompt = unfold_transcript(turn.prompt)
    asked = (event["content"] for event in turn.history if event.get("type") == "user_input")
    earlier = [each for told, last in map(unfold_transcript, asked) for each in (*told, last)] + earlier
    file = _named_file(turn, prompt)
    words = content_words(prompt)
    if file is not None:
        names = _names(file["file_name"])
        words = [word for word in words if word not in names]
    carried: list[str] = []
    previous = ""
    following = file is None and _follows(prompt, words)
    # A follow-up may follow a follow-up: go back to the question that stands on its own.
    while following and earlier:
        before = earlier.pop()
        previous = " ".join(before.split())
        carried = [*content_words(before), *carried]
        following = _follows(before, content_words(before))
    carried = [word for word in dict.fromkeys(carried) if word not in words]
    return _Question(prompt, words, carried, previous, file, _said(turn) if previous else "")


def _follows(prompt: str, words: Sequence[str]) -> bool:
    is_fragment = len(prompt.split()) <= 2 and not pairs_in(prompt)
    points_back = len(words) <= 4 and (_CONNECTIVE.match(prompt) or _POINTER.search(prompt))
    return not words or is_fragment or bool(points_back)


def _said(turn: AgentTurn) -> str:
    answers = (event["content"] for event in turn.history if event.get("type") == "text")
    return " ".join(" ".join(answers).split())


def _named_file(turn: AgentTurn, prompt: str) -> dict[str, str] | None:
    """Return the file whose name the prompt spells out, the longest if there are several."""
    prompt = prompt.lower()
    # A name may hold spaces, but its last word is in the prompt.
    words = islice(dict.fromkeys(match[0] for match in _FILE_NAME.finditer(prompt)), _MOST_FILE_NAMES)
    listed = [item for word in words for item in turn.tools.find(word)["items"]]
    named = [item for item in listed if _spells_out(prompt, item["file_name"])]
    return max(named, key=lambda item: len(item["file_name"]), default=None)


def _spells_out(prompt: str, file_name: str) -> bool:
    return any(
        name in prompt and re.search(rf"(?<![\w./-]){re.escape(name)}(?!\w)", prompt) for name in _names(file_name)
    )


def _names(file_name: str) -> set[str]:
    return {file_name.lower(), file_name.lower().rpartition("/")[2]}


def _thoughts(question: _Question) -> str:
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


def _use(turn: AgentTurn, number: int, name: str, **arguments: Any) -> Generator[WireEvent, None, dict[str, Any]]:
    """Use a tool, and report its use."""
    call_id = f"call-{turn.number}-{number}"
    yield {"type": "tool_call", "call_id": call_id, "name": name, "arguments": arguments}
    use = turn.tools.use(name, arguments)
    yield use.report(call_id)
    return use.result


def _retrieve(turn: AgentTurn, question: _Question, number: int) -> Generator[WireEvent, None, list[_Extract]]:
    """Search the indexes and keep what speaks of enough of the question, and not of the one before it alone."""
    words = question.all_words
    answer = yield from _use(turn, number, "retrieve", query=" ".join(words) or question.prompt, top_k=6)
    # A long question has words that no answer needs; of a short one, most must be there.
    needed = 0.5 if len(words) <= 3 else 0.3
    extracts = [
        _Extract(
            result["content"],
            result["metadata"]["file_name"],
            result["metadata"]["heading"],
            result["static_fields"]["page_range_start"],
            result["score"] * result["rerank_score"],
        )
        for result in answer["results"]
        if words and result["rerank_score"] >= needed
    ]
    if not question.carried or not question.words:
        return extracts
    return [extract for extract in extracts if any(speaks_of(word, _held(extract)) for word in question.words)]


def _look_into(
    turn: AgentTurn, question: _Question, file: dict[str, str]
) -> Generator[WireEvent, None, list[_Extract]]:
    """Find the question's words in one file, and read on from where most of them are."""
    file_id, offset = file["file_id"], 0
    if question.words:
        pattern = "|".join(map(re.escape, question.words))
        found = yield from _use(turn, 1, "grep", file_id=file_id, pattern=pattern, context_chars=_GREP_CONTEXT)
        if not found["items"]:
            return []
        offset = max(_densest(found["items"], question.words) - _LEAD_CHARS, 0)
    reading = yield from _use(turn, 2, "read", file_id=file_id, offset=offset, max_length=_READ_CHARS)
    return [_Extract(_whole_lines(reading["content"], offset), file["file_name"], "", None, 1.0)]


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


def _compose(question: _Question, extracts: Sequence[_Extract]) -> str:
    """Put the answer together from the best sentences, each with its source."""
    best = _best(question, extracts)
    if best:
        return "\n\n".join(best)
    where = question.file["file_name"] if question.file else "the indexes"
    further = "further " if extracts and question.said else ""
    about = f" about {_listed(question.all_words)}" if question.all_words else ""
    return f"I found nothing {further}in {where}{about}."


def _best(question: _Question, extracts: Sequence[_Extract]) -> list[str]:
    """Return what says most of what is asked, as it goes into the answer: sentences, else single lines."""
    return _chosen(question, extracts, sentences) or _chosen(question, extracts, lines)


def _chosen(question: _Question, extracts: Sequence[_Extract], cut: Callable[[str], Iterable[Sentence]]) -> list[str]:
    weights = _weights(question, extracts)
    top = max((extract.relevance for extract in extracts), default=0.0) or 1.0
    scored: dict[str, tuple[float, str]] = {}
    for extract in extracts:
        name = stems(f"{extract.file_name} {extract.heading}")
        # What the file's name or the heading says holds for each sentence below it, and sets none of them apart.
        around = sum(weight for word, weight in weights.items() if speaks_of(word, name))
        telling = {word: each for word, each in weights.items() if not speaks_of(word, name)} or weights
        for sentence in cut(extract.content):
            if sentence.text in scored or sentence.text in question.said:
                continue
            held = stems(sentence.text + sentence.code)
            inside = sum(weight for word, weight in telling.items() if speaks_of(word, held))
            if inside or around or not weights:
                score = (inside + around / 2) * (0.5 + extract.relevance / top / 2)
                scored[sentence.text] = score, _quote(sentence, extract)
    best = sorted(scored.values(), key=lambda pair: -pair[0])[:_MAX_SENTENCES]
    return [text for score, text in best if score >= _LEAST_SHARE * best[0][0]]


def _held(extract: _Extract) -> set[str]:
    return stems(f"{extract.file_name} {extract.heading} {extract.content}")


def _weights(question: _Question, extracts: Sequence[_Extract]) -> dict[str, float]:
    """Weigh each word: one that every extract holds says little about which sentence to take."""
    held = [_held(extract) for extract in extracts]

    def weight(word: str) -> float:
        holding = sum(speaks_of(word, each) for each in held)
        return math.log(1 + (len(held) + 1) / (holding + 0.5))

    own = {word: weight(word) for word in question.words}
    return own | {word: weight(word) / 2 for word in question.carried}


def _quote(sentence: Sentence, extract: _Extract) -> str:
    page = "" if extract.page is None else f", page {extract.page}"
    quote = f"{sentence.text} ({extract.file_name}{page})"
    return f"{quote}\n\n{sentence.code}" if sentence.code else quote


def _listed(words: Sequence[str]) -> str:
    words = in_words(words)
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
