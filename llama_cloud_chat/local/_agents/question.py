"""Understands a prompt: what it asks for, which question it follows on from, and what has been said already."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Literal, TypeAlias

from llama_cloud_chat._turn.prompts import unfold_transcript
from llama_cloud_chat.local._library.words import content_words, pairs_in

from .kin import spellings_of
from .protocol import AgentTurn
from .sentences import speaks_of, stems

Kind: TypeAlias = Literal["", "definition", "steps", "amount", "span", "time", "reason"]

_CONNECTIVE = re.compile(
    r"\s*(?:and|but|or|so|also|what else|what about|how about|why|anything else|tell me more|more|go on)\b",
    re.I,
)
_POINTER = re.compile(
    r"\b(?:it|its|that|this|they|them|their|those|these|there|he|him|his|she|her|ones?|else|more|same|again)\b", re.I
)
_PRONOUN = re.compile(r"\b(?:it|its|they|them|their|he|him|his|she|her)\b", re.I)
_AGAIN = re.compile(r"\b(?:again|repeat|once more|remind)\b", re.I)
_MORE = re.compile(r"\b(?:else|more|further|other|others|go on|continue)\b", re.I)
# Looked for only where a word begins: a prompt may be megabytes long.
_FILE_NAME = re.compile(r"(?<![\w./-])[\w./-]*\.\w+")
_MOST_FILE_NAMES = 20
# As much of a prompt is looked at to tell what kind of answer it wants.
_PROMPT_CHARS = 500
# Words of a question that tell what kind of answer it wants, not what that is about.
_ASIDE = re.compile(
    r"\bhow (big|large|small|old|far|high|tall|wide|deep|heavy|fast|quickly)\b|\bhow long\b.{1,80}\b(last)\b"
    r"|\bwhat (?:does|do|did)\b.{1,80}\b(mean|stand for)\b|\bwhat(?:['\u2019]s| is) (new)\b",
    re.I,
)
_PATTERNS: tuple[tuple[Kind, str], ...] = (
    ("span", r"\bhow (?:long|often|soon|quickly|fast|much (?:time|notice))\b|\bresponse time\b"),
    ("time", r"^\W*(?:(?:and|but|so|from|since|until|by) )?when\b|\bwhat (?:time|date|day)\b"),
    (
        "amount",
        r"\bhow (?:much|many|big|large|high|far|old|hard|heavy)\b|\b(?:cost|price|fee|limit|rate|number)s?\b",
    ),
    (
        "amount",
        r"\bwhat(?:'s| is| was| were| are) the (?:\w+ ){0,2}(?:value|revenue|share|size|amount|percentage)\b",
    ),
    ("reason", r"\bwhy\b"),
    ("steps", r"\bhow (?:do|can|should|must|to|would)\b|\bwhat (?:do|should|must|to) (?:i|we|you|one)?\b"),
    ("definition", r"\bwhat(?:['\u2019]s| is| are) (?:an? |the )?[\w.-]+(?: [\w.-]+)?\s*\??$"),
)
_KINDS: tuple[tuple[Kind, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, re.I)) for kind, pattern in _PATTERNS
)


@dataclass(frozen=True)
class Question:
    """What a prompt asks for.

    Attributes:
        prompt: The user's words.
        words: Its own content words.
        carried: Those of the question it follows on from.
        previous: That question, the last one that stands on its own.
        file: The file it names, as `find` lists it.
        said: What the session's answers hold so far, if it follows on from them.
        answered: The last of them.
        kin: Other words to take for one that nothing speaks of.
    """

    prompt: str
    words: list[str]
    carried: list[str] = field(default_factory=list)
    previous: str = ""
    file: dict[str, str] | None = None
    said: str = ""
    answered: str = ""
    kin: dict[str, list[str]] = field(default_factory=dict)

    @property
    def all_words(self) -> list[str]:
        """Its own words, then those it carries on."""
        return [*self.words, *self.carried]

    @property
    def kind(self) -> Kind:
        """What kind of answer it asks for, "" if that cannot be told."""
        for kind, pattern in _KINDS:
            if pattern.search(self.prompt[:_PROMPT_CHARS]):
                return kind
        return ""

    @property
    def wants_more(self) -> bool:
        """Whether it asks for something that has not been said."""
        return bool(self.said and _MORE.search(self.prompt))

    @property
    def points_back(self) -> bool:
        """Whether a word of it stands for what was asked about before."""
        return bool(_PRONOUN.search(self.prompt[:_PROMPT_CHARS]))

    @property
    def wants_it_again(self) -> bool:
        """Whether it asks for what has been said."""
        return bool(_AGAIN.search(self.prompt))

    def alone(self) -> Question:
        """Return it as one that follows on from nothing."""
        return replace(self, carried=[], previous="", said="", answered="")

    @staticmethod
    def names(word: str, text_stems: set[str]) -> bool:
        """Whether a text with these stems holds `word` itself, however it is spelled."""
        return any(speaks_of(each, text_stems) for each in (word, *spellings_of(word)))

    def held(self, word: str, text_stems: set[str]) -> float:
        """Return how well a text with these stems speaks of `word`, from 0 to 1."""
        if self.names(word, text_stems):
            return 1.0
        return 0.8 if any(speaks_of(other, text_stems) for other in self.kin.get(word, ())) else 0.0


def understand(turn: AgentTurn) -> Question:
    """Return what a turn's prompt asks for, in the light of what was asked before."""
    earlier, prompt = unfold_transcript(turn.prompt)
    asked = (event["content"] for event in turn.history if event.get("type") == "user_input")
    earlier = [each for told, last in map(unfold_transcript, asked) for each in (*told, last)] + earlier
    file = _named_file(turn, prompt)
    words = content_words(prompt)
    if file is not None:
        names = names_of(file)
        words = [word for word in words if word not in names]
    aside = {
        word
        for match in _ASIDE.finditer(prompt[:_PROMPT_CHARS])
        for each in match.groups("")
        for word in each.lower().split()
    }
    words = [word for word in words if word not in aside] or words
    carried: list[str] = []
    previous = ""
    following = file is None and _follows(prompt, words)
    # A follow-up may follow a follow-up: go back to the question that stands on its own.
    while following and earlier:
        before = earlier.pop()
        previous = " ".join(before.split())
        carried = [*content_words(before), *carried]
        following = _follows(before, content_words(before))
    carried = [word for word in dict.fromkeys(carried) if not speaks_of(word, stems(" ".join(words)))]
    if not previous:
        return Question(prompt, words, file=file)
    answers = [str(event["content"]) for event in turn.history if event.get("type") == "text"]
    return Question(prompt, words, carried, previous, file, _folded(answers), _folded(answers[-1:]))


def names_of(file: dict[str, str]) -> set[str]:
    """Return how a file may be called: by its whole name, or without its folder."""
    name = file["file_name"].lower()
    return {name, name.rpartition("/")[2]}


def _folded(answers: Sequence[str]) -> str:
    return " ".join(" ".join(answers).split())


def _follows(prompt: str, words: Sequence[str]) -> bool:
    is_fragment = len(prompt.split()) <= 2 and not pairs_in(prompt)
    points_back = len(words) <= 4 and (_CONNECTIVE.match(prompt) or _POINTER.search(prompt))
    return not words or is_fragment or bool(points_back)


def _named_file(turn: AgentTurn, prompt: str) -> dict[str, str] | None:
    """Return the file whose name the prompt spells out, the longest if there are several."""
    prompt = prompt.lower()
    # A name may hold spaces, but its last word is in the prompt.
    words = islice(dict.fromkeys(match[0] for match in _FILE_NAME.finditer(prompt)), _MOST_FILE_NAMES)
    listed = [item for word in words for item in turn.tools.find(word)["items"]]
    named = [item for item in listed if _spells_out(prompt, item)]
    return max(named, key=lambda item: len(item["file_name"]), default=None)


def _spells_out(prompt: str, file: dict[str, str]) -> bool:
    return any(name in prompt and re.search(rf"(?<![\w./-]){re.escape(name)}(?!\w)", prompt) for name in names_of(file))
