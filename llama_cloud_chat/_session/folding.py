"""How a session is told what it has to know, within the characters that a prompt may hold.

What is asked is told whole, then the instruction, then the newest messages that fit, without a gap; the prompt says how
many are left out. Where a known limit is exceeded, people can have what was said before summarised instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from llama_cloud_chat._config import check_prompt
from llama_cloud_chat._errors import ConfigurationError, PromptTooLongError
from llama_cloud_chat._turn.prompts import (
    CLOSING,
    OPENING,
    SINCE,
    heading,
    left_out_mark,
    quote,
    split_into_parts,
    summary_mark,
)

from .conversation import Briefing, Message, Renderer

_SHORTEST_SUMMARY = 40
"""A summary in fewer characters says nothing."""

Folder: TypeAlias = Callable[[Sequence[Message], int], str]
"""Says in at most so many characters what the messages say."""


@dataclass(frozen=True)
class Prompt:
    """What is asked.

    Attributes:
        text: The whole of it.
        left_out: How many earlier messages it does not tell whole.
        parts: The prompts to tell it in one after the other, where it is longer than one may be.
    """

    text: str = ""
    left_out: int = 0
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Summary:
    """A summary that is wanted of the messages, of at most `budget` characters."""

    messages: tuple[Message, ...]
    budget: int


def render_transcript(messages: Sequence[Message]) -> str:
    """Render a conversation as one prompt that ends with the user's last message.

    Every earlier message stands under its role with each of its lines quoted, so that none can pretend to be
    another's; what follows the last heading is the user's alone.

    Args:
        messages: The conversation; its last message is the user's.

    Returns:
        The prompt; a single message as it is.
    """
    *earlier, last = messages
    return _join(last.text, [_block(message) for message in earlier if message.text.strip()])


def plain_prompt(text: str, limit: int | None, *, may_part: bool) -> Prompt:
    """Return the prompt that asks `text` and tells nothing.

    Raises:
        PromptTooLongError: It holds more than `limit` characters, and may not be told in parts.
    """
    if limit is None or len(text) <= limit:
        return Prompt(text)
    return _in_parts(Prompt(text), limit, may_part=may_part)


def fold(
    briefing: Briefing,
    limit: int | None,
    *,
    render: Renderer | None = None,
    may_part: bool = False,
    summarises: bool = False,
) -> Prompt | Summary:
    """Return the prompt that tells a briefing, or the summary that it takes.

    Args:
        briefing: What is to be told.
        limit: How many characters a prompt may hold, if that is known.
        render: What to render it with instead.
        may_part: Whether what is too long may be told in several prompts.
        summarises: Whether there is somebody who summarises what does not fit.

    Raises:
        PromptTooLongError: What is asked and the instruction do not fit.
        ConfigurationError: `render` returned nothing.
    """
    write = _Writer(briefing, render)
    everything = (*briefing.before, *briefing.since)
    whole = write(everything)
    if limit is None or len(whole) <= limit:
        return Prompt(whole)
    least = write((), len(everything))
    if len(least) > limit:
        return _in_parts(Prompt(least, len(everything)), limit, may_part=may_part)
    if summarises and render is None:
        budget = limit - len(write.around_summary("", len(everything))) - len(quote("x")) + 1
        if budget >= _SHORTEST_SUMMARY:
            return Summary(everything, budget)
    return _with_the_newest(write, everything, limit)


def fold_summary(briefing: Briefing, summary: Summary, text: object) -> Prompt:
    """Return the prompt that tells a briefing with `text` for what was said before.

    Raises:
        ConfigurationError: `text` is not what was wanted.
    """
    if not isinstance(text, str) or not text.strip():
        raise ConfigurationError(f"fold= returned {text!r} instead of a text.")
    if len(text) > summary.budget:
        raise ConfigurationError(
            f"fold= returned {len(text)} characters, but there is room for {summary.budget}. Keep to the budget it is "
            "given."
        )
    count = len(summary.messages)
    write = _Writer(briefing, None)
    prompt = write.around_summary(quote(text), count)
    most = len(write.around_summary("", count)) + len(quote("x")) - 1 + summary.budget
    if len(prompt) > most:  # quoting many lines takes more room than there is
        prompt = write.around_summary(quote(" ".join(text.split())), count)
    return Prompt(prompt, count)


class _Writer:
    """Writes a briefing with as many of its messages as it is given."""

    def __init__(self, briefing: Briefing, render: Renderer | None) -> None:
        self._briefing = briefing
        self._render = render
        self._instruction = [] if briefing.system is None else [Message("system", briefing.system)]
        self._count_since = len(briefing.since)

    def __call__(self, messages: Sequence[Message], left_out: int = 0) -> str:
        """Return the prompt that tells these, which are the newest, and says how many are left out."""
        asked = self._briefing.asked
        is_plain = not self._instruction and not self._count_since and _is_plain([*messages, asked])
        if is_plain and not left_out:
            return "\n\n".join(message.text for message in (*messages, asked) if message.text.strip())
        if self._render is not None:
            return check_prompt(self._render([*self._instruction, *messages, asked]))
        cut = max(len(messages) - self._count_since, 0)
        left_out_block = [left_out_mark(left_out)] if left_out else []
        told = [_block(message) for message in messages[:cut]]
        return self._finish([*self._told_first(), *left_out_block, *told], messages[cut:])

    def _told_first(self) -> list[str]:
        return [_block(message) for message in self._instruction]

    def around_summary(self, summary: str, count: int) -> str:
        """Return the prompt that tells a summary, already quoted, of so many messages."""
        return self._finish([*self._told_first(), f"{summary_mark(count)}\n{summary}"], ())

    def _finish(self, blocks: list[str], since: Sequence[Message]) -> str:
        if since:
            blocks = [*blocks, SINCE, *(_block(message) for message in since)]
        return _join(self._briefing.asked.text, blocks)


def _with_the_newest(write: _Writer, messages: Sequence[Message], limit: int) -> Prompt:
    """Return the prompt with as many of the newest messages as fit."""
    prompt, told = write((), len(messages)), 0
    for count in range(1, len(messages)):
        longer = write(messages[len(messages) - count :], len(messages) - count)
        if len(longer) > limit:
            break
        prompt, told = longer, count
    return Prompt(prompt, len(messages) - told)


def _in_parts(prompt: Prompt, limit: int, *, may_part: bool) -> Prompt:
    parts = split_into_parts(prompt.text, limit) if may_part else []
    if not parts:
        hint = (
            "That is too little to mark parts in, too. Shorten it."
            if may_part
            else 'Shorten it, or pass long_prompts="parts" to the client to have it told in several turns.'
        )
        raise PromptTooLongError(
            f"What is asked, with what has to be told along, holds {len(prompt.text)} characters; the service takes "
            f"{limit}. {hint}",
            length=len(prompt.text),
            limit=limit,
        )
    return Prompt(prompt.text, prompt.left_out, tuple(parts))


def _is_plain(messages: Sequence[Message]) -> bool:
    return all(message.role == "user" and message.name is None for message in messages)


def _block(message: Message) -> str:
    return f"{heading(message.role, message.name)}\n{quote(message.text)}"


def _join(asked: str, blocks: Sequence[str]) -> str:
    return "\n\n".join([OPENING, *blocks, CLOSING, asked]) if blocks else asked
