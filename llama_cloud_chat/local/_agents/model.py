"""Language models as agents: one loop for every framework.

A model is asked, may call tools, is given what they answer, and is asked again, until it answers without calling
any. How a framework's models are asked is the matter of a `Dialogue`: `langchain.py` and `llama_index.py` have
one each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from llama_cloud_chat.local._library.tools import TOOL_SCHEMAS, ToolUse

from .protocol import Agent, AgentTurn, WireEvent

MAX_STEPS = 8
MAX_CALLS_AT_ONCE = 16

_SYSTEM = (
    "You answer questions about the user's documents. Look things up with the tools before you answer, say which "
    "file each statement comes from, and say so plainly when the documents do not hold the answer."
)
_SYSTEM_WITHOUT_TOOLS = (
    "You answer questions about the user's documents from the passages given with each question. Say which file "
    "each statement comes from, and say so plainly when the passages do not hold the answer."
)
_LAST_STEP = "Answer now, with what you have found."


@dataclass(frozen=True)
class Piece:
    """A piece of what a model says, as it comes."""

    kind: Literal["thinking", "text"]
    content: str


@dataclass(frozen=True)
class Request:
    """A tool that the model wants used.

    Attributes:
        call_id: What the model calls it.
        name: The tool's name.
        arguments: As the model gave them; a string if they are no JSON object.
    """

    call_id: str
    name: str
    arguments: Mapping[str, Any] | str


@dataclass
class Usage:
    """The tokens that a model said it took; zero if it did not say."""

    input_tokens: int = 0
    output_tokens: int = 0


class Dialogue(Protocol):
    """A conversation with one model, in one framework's words."""

    requests: list[Request]
    """The tools that the model wants used, once what it said was read."""
    usage: Usage
    """What it took so far."""

    def say(self, role: Literal["system", "user", "assistant"], content: str) -> None:
        """Add a message."""

    def ask(self, tools: Mapping[str, Mapping[str, Any]]) -> Iterator[Piece]:
        """Ask the model, which may want these tools used; yield what it says."""
        ...

    def give(self, request: Request, use: ToolUse) -> None:
        """Give it what a tool answered."""


@dataclass(frozen=True)
class Model:
    """A model of some framework.

    Attributes:
        calls_tools: Whether it knows how to; one that does not is given passages with the question.
        begin: Begins a dialogue with it.
    """

    calls_tools: bool
    begin: Callable[[], Dialogue]


def model_agent(model: Model, *, max_steps: int = MAX_STEPS) -> Agent:
    """Return an agent that lets a model answer, asking it at most `max_steps` times a turn."""

    def answer(turn: AgentTurn) -> Iterator[WireEvent]:
        began = time.monotonic()
        dialogue = model.begin()
        if model.calls_tools and turn.tools.index_ids:
            steps = yield from _answer_with_tools(turn, dialogue, max_steps)
        else:
            steps = yield from _answer_from_passages(turn, dialogue)
        error = f"The model was asked {steps} times and gave no answer." if dialogue.requests else None
        if error or dialogue.usage.input_tokens or dialogue.usage.output_tokens:
            yield _stop(turn, dialogue.usage, steps, time.monotonic() - began, error)

    return answer


def _answer_with_tools(turn: AgentTurn, dialogue: Dialogue, max_steps: int) -> Generator[WireEvent, None, int]:
    """Let the model look things up itself; returns how often it was asked."""
    dialogue.say("system", _SYSTEM)
    _recall(turn, dialogue)
    dialogue.say("user", turn.prompt)
    calls = 0
    for step in range(1, max_steps + 1):
        is_last = step == max_steps
        if is_last:
            dialogue.say("user", _LAST_STEP)
        # With the tools to the last: some providers refuse a conversation in which tools were used without them.
        yield from _in_segments(dialogue.ask(TOOL_SCHEMAS))
        if not dialogue.requests or is_last or turn.cancelled():
            return step
        yield from _use_tools(turn, dialogue, dialogue.requests, calls)
        calls += len(dialogue.requests)
    return max_steps


def _use_tools(
    turn: AgentTurn, dialogue: Dialogue, requests: Sequence[Request], calls_before: int
) -> Iterator[WireEvent]:
    """Use the tools that the model wants used, at once, and report it."""
    # Models count their calls anew at every step or turn; in a session's history each has an id of its own.
    ids = [f"call-{turn.number}-{calls_before + position}" for position in range(1, len(requests) + 1)]
    for call_id, request in zip(ids, requests, strict=True):
        arguments = request.arguments if isinstance(request.arguments, Mapping) else {"unreadable": request.arguments}
        yield {"type": "tool_call", "call_id": call_id, "name": request.name, "arguments": dict(arguments)}
    refused = [_refusal(position, request) for position, request in enumerate(requests)]
    usable = [(each.name, each.arguments) for each, no in zip(requests, refused, strict=True) if no is None]
    used = turn.tools.use_all([(name, arguments) for name, arguments in usable if isinstance(arguments, Mapping)])
    for call_id, request, no in zip(ids, requests, refused, strict=True):
        use = no or next(used)
        dialogue.give(request, use)
        yield use.report(call_id)


def _refusal(position: int, request: Request) -> ToolUse | None:
    if position >= MAX_CALLS_AT_ONCE:
        return ToolUse(request.name, {}, {"error": f"At most {MAX_CALLS_AT_ONCE} tools can be used at once."})
    if not isinstance(request.arguments, Mapping):
        return ToolUse(request.name, {}, {"error": "The arguments are not a JSON object."})
    return None


def _answer_from_passages(turn: AgentTurn, dialogue: Dialogue) -> Generator[WireEvent, None, int]:
    """Look things up for a model that cannot ask for it; returns how often it was asked."""
    dialogue.say("system", _SYSTEM_WITHOUT_TOOLS)
    _recall(turn, dialogue)
    prompt = turn.prompt
    if turn.tools.index_ids:
        call_id = f"call-{turn.number}-1"
        arguments = {"query": turn.prompt}
        yield {"type": "tool_call", "call_id": call_id, "name": "retrieve", "arguments": arguments}
        use = turn.tools.use("retrieve", arguments)
        yield use.report(call_id)
        passages = [f"[{each['metadata']['file_name']}]\n{each['content']}" for each in use.result.get("results", [])]
        prompt = "\n\n".join(["Passages:", *(passages or ["(none found)"]), f"Question: {turn.prompt}"])
    dialogue.say("user", prompt)
    yield from _in_segments(dialogue.ask({}))
    return 1


def _recall(turn: AgentTurn, dialogue: Dialogue) -> None:
    """Say again what was said in the session: prompts and answers, without what the tools said."""
    answer: list[str] = []
    for event in turn.history:
        if event.get("type") == "user_input":
            dialogue.say("user", str(event["content"]))
        elif event.get("type") == "text":
            answer.append(str(event.get("content", "")))
        elif event.get("type") == "stop":
            # Models expect an answer to every question, also to one that failed.
            dialogue.say("assistant", "\n\n".join(answer) or "(no answer)")
            answer = []


def _in_segments(pieces: Iterator[Piece]) -> Iterator[WireEvent]:
    """Yield each piece as a delta, and after the last of its kind in a row the whole."""
    kind, said = "", list[str]()
    for piece in pieces:
        if piece.kind != kind:
            if said:
                yield {"type": kind, "content": "".join(said)}
            kind, said = piece.kind, []
        if piece.content:
            said.append(piece.content)
            yield {"type": f"{kind}_delta", "content": piece.content}
    if said:
        yield {"type": kind, "content": "".join(said)}


def _stop(turn: AgentTurn, usage: Usage, steps: int, seconds: float, error: str | None) -> WireEvent:
    event: WireEvent = {
        "type": "stop",
        "is_error": error is not None,
        "error": error,
        "usage": {
            "duration_ms": round(seconds * 1000, 3),
            "total_input_tokens": usage.input_tokens,
            "total_output_tokens": usage.output_tokens,
            "turns": steps,
        },
    }
    if turn.skipped_index_ids:
        event["skipped_index_ids"] = list(turn.skipped_index_ids)
    return event
