"""What counts as a word, when texts are indexed and when they are asked for.

SQLite's tokenizer takes runs of letters and digits, in lower case, without accents, and stems them. That is not
enough for four kinds of words, so passages are indexed with further forms of these, and queries ask for both:

- identifiers: `ChatClient` is also `chat client` (`max_retries` the tokenizer splits by itself);
- hyphens: `pre-signed` is also `presigned`;
- contractions: `where's` is `where`, and `don't` says nothing that a search could use;
- scripts without spaces: every two neighbouring characters are a word, in a text and in a query.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

MAX_WORDS = 24
# Nobody looks for a longer word, and SQLite takes long over one that is made of very many parts.
MAX_WORD_CHARS = 100

_WORD = re.compile(r"\w+(?:[./+\-'\u2019]\w+)*\*?")
_CONTRACTED = re.compile(r"(?:(?<=\w)n['\u2019]t|['\u2019](?:s|m|re|ve|ll|d))$", re.I)
_CAMEL = re.compile(r"\b[A-Za-z][A-Za-z0-9]*\b")
_HUMP = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_HYPHENATED = re.compile(r"\b\w+(?:-\w+)+\b")
_UNSPACED = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]+")
_STOP_WORDS = frozenset(
    """a able about above after again all already also am an and any anybody anyone anything are as at be because
    been before being below between both but by can could did do does doing done down during each else even ever
    everything few for from further get gets give gives go got had happen happened happens has have having he
    her here hers him his how however i if in into is it its itself just know let like long make makes many may
    me might mine more most much must my need needed needs no nor not nothing now of off often on once one only
    onto or other our out over own please put really same say says shall she should show since so some someone
    something soon still such take takes tell than that the their them then there these they thing things this
    those through to too under until up upon us use used uses using very want was way we well were what whatever
    when where whether which while who whom whose why will with within without work works would yes yet
    you your""".split()  # noqa: SIM905 - two hundred quoted words are no easier to read
)


def content_words(text: str) -> list[str]:
    """Return the words of `text` that say what it is about: lower case, each once, in order, at most 24."""
    return list(dict.fromkeys(word.lower().rstrip("*") for word in query_words(text, fallback=False)))


def query_words(text: str, *, fallback: bool = True) -> list[str]:
    """Return the words to search for as they were written, a prefix with its `*`, each once, at most 24.

    Args:
        text: A question, or search words.
        fallback: Whether a text of stop words only is searched for these.
    """
    words: dict[str, str] = {}
    for written in _WORD.findall(unicodedata.normalize("NFC", text)):
        for word in _split_unspaced(_uncontracted(written[:MAX_WORD_CHARS])):
            words.setdefault(word.lower(), word)
    ordered = list(words.values())
    telling = [word for word in ordered if word.lower() not in _STOP_WORDS]
    return (telling or ordered if fallback else telling)[:MAX_WORDS]


def match_of(word: str) -> str:
    """Write a word of `query_words` as an FTS5 expression; no operator is left in it."""
    if word.endswith("*") or (len(word) == 1 and _UNSPACED.match(word)):
        return prefix_of(word)
    forms = [word]
    if _is_camel(word):
        forms.append(" ".join(_HUMP.findall(word)))
    if "-" in word:
        forms.append(word.replace("-", ""))
    return "(" + " OR ".join(_quoted(form) for form in forms) + ")"


def is_pair(word: str) -> bool:
    """Whether this is a pair of characters from a script without spaces."""
    return len(word) == 2 and _UNSPACED.fullmatch(word) is not None


def pairs_in(text: str) -> list[str]:
    """Return the pairs of characters that stand for words in scripts without spaces."""
    return [pair for run in _UNSPACED.findall(text) for pair in _pairs(run)]


def in_words(words: Sequence[str]) -> list[str]:
    """Return words for people to read: pairs that overlap as the run of characters they were."""
    whole: list[str] = []
    last = ""
    for word in words:
        if is_pair(word) and is_pair(last) and last[1] == word[0]:
            whole[-1] += word[1]
        else:
            whole.append(word)
        last = word
    return whole


def prefix_of(word: str) -> str:
    """Write a word as an FTS5 expression that words which begin with it match too."""
    return _quoted(word.rstrip("*")) + "*"


def further_forms(text: str) -> str:
    """Return the forms under which words of `text` are to be found beside their own."""
    forms = [" ".join(_HUMP.findall(word)) for word in _CAMEL.findall(text) if _is_camel(word)]
    forms += [word.replace("-", "") for word in _HYPHENATED.findall(text)]
    forms += pairs_in(unicodedata.normalize("NFC", text))
    return "\n".join(dict.fromkeys(forms))


def _uncontracted(word: str) -> str:
    return "not" if _CONTRACTED.search(word) and word[-1] in "tT" else _CONTRACTED.sub("", word)


def _is_camel(word: str) -> bool:
    # `HTTPClient` and `chatClient` are two words, `Client` and `HTTP` one.
    return word.isascii() and len(_HUMP.findall(word)) > 1 and not word.islower() and not word.isupper()


def _split_unspaced(word: str) -> list[str]:
    pieces: list[str] = []
    at = 0
    for run in _UNSPACED.finditer(word):
        pieces += [word[at : run.start()], *_pairs(run[0])]
        at = run.end()
    return [piece for piece in [*pieces, word[at:]] if _WORD.search(piece)]


def _pairs(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run) - 1)] or [run]


def _quoted(text: str) -> str:
    return '"' + text.replace('"', "") + '"'
