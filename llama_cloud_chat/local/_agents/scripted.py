"""Agents that say what they are told, for tests of one's own program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from .protocol import Agent, AgentTurn, WireEvent, speak, words_of

Said: TypeAlias = "str | Iterable[str | WireEvent]"


def scripted_agent(script: Said | Callable[[AgentTurn], Said]) -> Agent:
    """Return an agent that follows a script.

        scripted_agent("Hello!")
        scripted_agent([{"type": "tool_call", ...}, {"type": "tool_result", ...}, "Hello!"])
        scripted_agent(lambda turn: ["Who?", "Me."][turn.number - 1])

    Args:
        script: What to say at every turn, or a function that says it of a turn. A string is said as text, in
            deltas of a word each and then whole; a dict is sent as it is. A `stop` is added unless there is one.
    """
    if not callable(script) and not isinstance(script, str):
        # A generator would be used up by the first turn.
        script = list(script)

    def follow(turn: AgentTurn) -> Iterator[WireEvent]:
        said = script(turn) if callable(script) else script
        for item in [said] if isinstance(said, str) else said:
            if isinstance(item, str):
                yield from speak("text", words_of(item))
            else:
                yield item

    return follow
