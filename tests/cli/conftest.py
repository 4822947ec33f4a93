"""A service whose agent does what the question says, and the command with a home of its own."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from llama_cloud_chat.local import AgentTurn, LocalService, WireEvent, speak

from .support import Runner

# A test run in the background is deaf to Ctrl-C, and so would be the commands that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

PASSAGE = {
    "content": "Thirty days.",
    "score": 1.5,
    "metadata": {"file_name": "leave.md"},
    "static_fields": {"page_range_start": 3, "page_range_end": 4},
}


class Actor:
    """An agent that does what the first word of the question says.

    Attributes:
        gate: What `hold` waits for in the middle of its answer.
        prompts: Everything it was asked.
    """

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.prompts: list[str] = []

    def __call__(self, turn: AgentTurn) -> Iterator[WireEvent]:
        self.prompts.append(turn.prompt)
        act = getattr(self, turn.prompt.strip().split()[0], None)
        yield from act(turn) if act else speak("text", ["You said: ", turn.prompt])

    def hold(self, turn: AgentTurn) -> Iterator[WireEvent]:
        yield from speak("text", self._held(turn, "The **first** half", " and the rest."))

    def wide(self, turn: AgentTurn) -> Iterator[WireEvent]:
        yield from speak("text", self._held(turn, "有給休暇は三十日です。" * 6, "🎉 おわり"))

    def late(self, turn: AgentTurn) -> Iterator[WireEvent]:
        yield from speak("text", list(self._held(turn, "", "Here I am."))[1:])

    def long(self, turn: AgentTurn) -> Iterator[WireEvent]:
        rule = "\n".join(f"Rule {number}." for number in range(30))
        passage = {"content": rule, "metadata": {"file_name": "rules.md"}}
        yield {"type": "tool_result", "call_id": "1", "name": "retrieve", "result": {"results": [PASSAGE, passage]}}
        yield from speak("text", ["There are rules."])

    def _held(self, turn: AgentTurn, first: str, second: str) -> Iterator[str]:
        yield first
        while not self.gate.wait(0.02):
            if turn.cancelled():
                return
        yield second

    def fill(self, turn: AgentTurn) -> Iterator[WireEvent]:
        yield from speak("text", [f"- line {number}\n" for number in range(40)])

    def search(self, turn: AgentTurn) -> Iterator[WireEvent]:
        yield from speak("thinking", ["Let me look it up."])
        yield {"type": "tool_call", "call_id": "1", "name": "retrieve", "arguments": {"query": "leave"}}
        yield {"type": "tool_result", "call_id": "1", "name": "retrieve", "result": {"results": [PASSAGE]}}
        yield from speak("text", ["Thirty ", "**days**."])

    def fail(self, turn: AgentTurn) -> Iterator[WireEvent]:
        yield {"type": "text_delta", "content": "Half an answer"}
        yield {"type": "stop", "is_error": True, "error": "the model is\x1b[31m overloaded", "usage": {}}

    def huge(self, turn: AgentTurn) -> Iterator[WireEvent]:
        yield {"type": "tool_call", "call_id": "1", "name": "read", "arguments": {"path": "x" * 100_000}}
        yield {"type": "tool_result", "call_id": "1", "name": "read", "result": "y" * 2_000_000}
        yield from speak("text", ["That was a lot."])

    def evil(self, turn: AgentTurn) -> Iterator[WireEvent]:
        harm = "\x1b]0;owned\x07\x1b[2J\x9b2J\r[red]red[/red] :smile:"
        yield from speak("thinking", [f"I think {harm}"])
        yield {"type": "tool_call", "call_id": "1", "name": f"tool{harm}", "arguments": {f"a{harm}": harm}}
        passage = {"content": harm, "metadata": {"file_name": f"file{harm}"}}
        yield {"type": "tool_result", "call_id": "1", "name": "tool", "result": {"results": [passage]}}
        yield from speak("text", [f"Said {harm}", " &#27;[2J &#8238; <b>bold</b>\n\n[1]: http://kept.example"])


@pytest.fixture
def actor() -> Iterator[Actor]:
    actor = Actor()
    yield actor
    actor.gate.set()


@pytest.fixture
def service(actor: Actor) -> Iterator[LocalService]:
    with LocalService([], agent=actor, titles=True) as service:
        yield service


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


@pytest.fixture
def run(home: Path, service: LocalService) -> Runner:
    """The command, with the scripted service in its environment."""
    return Runner(home, service)


@pytest.fixture
def run_alone(home: Path) -> Runner:
    """The command, with nothing in its environment."""
    return Runner(home)


@pytest.fixture
def handbook(tmp_path: Path) -> Path:
    folder = tmp_path / "handbook"
    folder.mkdir()
    (folder / "leave.md").write_text("# Leave\n\nEverybody has thirty days of paid leave a year.\n")
    (folder / "travel.txt").write_text("Trains are booked in second class. Flights need approval.\n")
    return folder
