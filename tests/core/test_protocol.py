"""The protocol, tried in every order: two processes ask on one session, lines break, processes die.

No socket and no clock: the flows of the exchange are driven against a model of the service, one command at a time, and
whatever may happen next is a choice. Every sequence of choices is tried.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from llama_cloud_chat import APIConnectionError, ChatError, MemoryLedger, Message, StreamInterruptedError
from llama_cloud_chat._config import make_config
from llama_cloud_chat._session.conversation import Conversation
from llama_cloud_chat._session.exchange import Exchange, StreamEnded
from llama_cloud_chat._session.flows import AwaitTurn, CallUser, Consult, Deliver, Enter, OpenStream, Send, Wait
from llama_cloud_chat._session.knowledge import KnownSessions
from llama_cloud_chat._session.ledger import Hold, Ledger
from llama_cloud_chat._session.queue import Ticket
from llama_cloud_chat._session.retry import Answer

from ..support.clients import FakeClock

CONFIG = make_config(api_key="llx-1", base_url="http://127.0.0.1:1", recovery_timeout=4, max_retries=2)


class Choices:
    """One sequence of choices, and then the next one, until all were made."""

    def __init__(self) -> None:
        self._made: list[list[int]] = []  # what was chosen, of how many
        self._position = 0

    def choose(self, count: int) -> int:
        """Choose one of so many."""
        if self._position == len(self._made):
            self._made.append([0, count])
        chosen = self._made[self._position][0]
        self._position += 1
        return chosen

    def next(self) -> bool:
        """Begin anew with the next sequence; return whether there is one."""
        while self._made and self._made[-1][0] + 1 == self._made[-1][1]:
            self._made.pop()
        if self._made:
            self._made[-1][0] += 1
        self._position = 0
        return bool(self._made)

    def __repr__(self) -> str:
        return str([chosen for chosen, _ in self._made])


@dataclass
class Taken:
    """A turn that the service took."""

    prompt: str
    owner: str

    def events(self) -> list[dict[str, Any]]:
        """Return what answers it: the same whoever reads it, and different for everybody."""
        return [
            {"type": "text_delta", "content": "For "},
            {"type": "text_delta", "content": f"{self.owner}."},
            {"type": "stop", "is_error": False, "usage": {}},
        ]


@dataclass
class Service:
    """The service: a turn that it took goes on whoever reads it."""

    turns: list[Taken] = field(default_factory=list)
    received: list[str] = field(default_factory=list)

    def answer(self, request: Any) -> Answer:
        """Answer anything but a prompt."""
        summary = {"session_id": "ses-1", "last_updated_at": "now", "index_ids": ["idx"]}
        if request.method == "POST":
            return Answer(201, {}, json.dumps(summary).encode())
        events = [
            event for turn in self.turns for event in ({"type": "user_input", "content": turn.prompt}, *turn.events())
        ]
        return Answer(200, {}, json.dumps({**summary, "events": events}).encode())


class Lock(Hold):
    """What one holds at a time; the model knows who waits."""

    def __init__(self, held: set[str], name: str) -> None:
        self._held, self.name = held, name

    @property
    def is_free(self) -> bool:
        return self.name not in self._held

    def __enter__(self) -> Hold:
        self._held.add(self.name)
        return self

    def __exit__(self, *error: object) -> None:
        self._held.discard(self.name)

    async def __aenter__(self) -> Hold:
        raise NotImplementedError

    async def __aexit__(self, *error: object) -> None:
        raise NotImplementedError


class DurableLedger(MemoryLedger):
    """What outlives the processes of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.held: set[str] = set()

    def hold(self, name: str) -> Hold:
        return Lock(self.held, name)


OUTCOMES = ["whole", "cut after 2", "cut after 1", "cut after 0", "taken, 502", "never taken, 502", "refused"]


class Process:
    """A process that asks one question, one command at a time."""

    def __init__(
        self,
        name: str,
        service: Service,
        choices: Choices,
        asked: Any,
        *,
        outcomes: list[str],
        ledger: Ledger | None = None,
        key: str | None = None,
    ) -> None:
        self.name = name
        self.error: ChatError | None = None
        self.is_over = False
        self.was_answered = False
        self._service, self._choices, self._outcomes = service, choices, outcomes
        self._exchange = Exchange(
            asked,
            ["idx"],
            None,
            sessions=KnownSessions(),
            config=CONFIG,
            clock=FakeClock().as_clock(),
            ledger=ledger,
            key=key,
        )
        self.turn = self._exchange.turn
        self.heard: list[str] = []
        self._flow = self._exchange.run(Ticket(object(), lambda: None, lambda: True, lambda: None))
        self._cleanup: Any = None
        self._holds: list[Lock] = []
        self._outcome: object = None
        self._stream: Iterator[object] | None = None
        self._waits_for: Lock | None = None

    @property
    def can_go_on(self) -> bool:
        return not self.is_over and (self._waits_for is None or self._waits_for.is_free)

    def step(self) -> None:
        """Do one thing."""
        try:
            if self._waits_for is not None:
                self._take(self._waits_for)
            elif self._stream is not None:
                self._read_on()
            else:
                self._do(self._flow.send(self._take_outcome()))
        except StopIteration:
            self._end()
        except ChatError as error:
            self.error = error
            self._exchange.leave()
            self._end()

    def kill(self) -> None:
        """End the process: nothing more of it happens, and what it holds is free."""
        for lock in self._holds:
            lock.__exit__()
        self.is_over = True

    def _take_outcome(self) -> object:
        outcome, self._outcome = self._outcome, None
        return outcome

    def _take(self, lock: Lock) -> None:
        self._waits_for = None
        lock.__enter__()
        self._holds.append(lock)

    def _do(self, command: object) -> None:
        if isinstance(command, Send):
            self._outcome = self._service.answer(command.request)
        elif isinstance(command, OpenStream):
            self._post(command)
        elif isinstance(command, Deliver):
            self._hear(command.events)
        elif isinstance(command, Consult):
            self._outcome = command.call()
        elif isinstance(command, Enter):
            assert isinstance(command.hold, Lock)
            self._waits_for = command.hold
        else:
            assert isinstance(command, Wait), command
            assert not isinstance(command, (AwaitTurn, CallUser))

    def _post(self, command: OpenStream) -> None:
        outcome = self._outcomes[self._choices.choose(len(self._outcomes))]
        self._service.received.append(self.name)
        assert command.request.body is not None
        turn = Taken(command.request.body["prompt"], self.name)
        if outcome not in {"never taken, 502", "refused"}:
            self._service.turns.append(turn)
        if outcome == "refused":
            self._service.received.pop()
            self._outcome = Answer(429, {})
        elif outcome.endswith("502"):
            self._outcome = Answer(502, {})
            if outcome.startswith("never"):
                self._service.received.pop()
        else:
            self.was_answered = True
            events = turn.events()
            self._stream = iter(events if outcome == "whole" else events[: int(outcome[-1])])

    def _read_on(self) -> None:
        assert self._stream is not None
        event = next(self._stream, None)
        if event is not None:
            self._hear(self._exchange.read(f"data: {json.dumps(event)}\n\n".encode()))
            return
        self._stream = None
        self._outcome = StreamEnded(None if self.turn.is_complete else APIConnectionError("The line broke."))

    def _hear(self, events: Any) -> None:
        self.heard += [event.content for event in events if event.type == "text_delta"]

    def _end(self) -> None:
        cleanup = self._exchange.cleanup()
        outcome: object = None
        for command in iter(lambda: next(cleanup, None) if outcome is None else cleanup.send(outcome), None):
            if isinstance(command, Consult):
                command.call()
        self.kill()


def run(choices: Choices, processes: list[Process]) -> None:
    """Let processes go on in the order that is chosen, to their ends."""
    while ready := [process for process in processes if process.can_go_on]:
        ready[choices.choose(len(ready)) if len(ready) > 1 else 0].step()


def every_way(scenario: Callable[[Choices], None], at_least: int) -> None:
    """Try a scenario with every sequence of choices."""
    choices, count = Choices(), 0
    while True:
        scenario(choices)
        count += 1
        if not choices.next():
            break
    assert count >= at_least


def check(process: Process, service: Service, others: list[Process]) -> None:
    """Check that what a process heard is its own turn, once, and that it is told where that cannot be known."""
    own = f"For {process.name}."
    if process.error is None:
        text = "".join(process.heard)
        assert process.turn.text == text
        if text != own:  # which nobody could tell from an answer of one's own: nothing was heard, and only one fits
            assert not process.was_answered
            assert service.received.count(process.name) == 0
            assert any(text == f"For {other.name}." for other in others)
            return
        assert process.turn.number is not None
        places = [place for place, turn in enumerate(service.turns, 1) if turn.owner == process.name]
        assert len(places) == 1
    else:
        assert isinstance(process.error, (StreamInterruptedError, ChatError))
        assert own.startswith("".join(process.heard))
    assert service.received.count(process.name) <= 1


@pytest.mark.rule("design-3")
@pytest.mark.parametrize("other_prompt", ["yes", "no"])
@pytest.mark.parametrize("before", [0, 1])
def test_two_processes_ask_on_one_session(other_prompt: str, before: int) -> None:
    def scenario(choices: Choices) -> None:
        service = Service([Taken("yes", "before") for _ in range(before)])
        one = Process("A", service, choices, ("ses-1", "yes"), outcomes=OUTCOMES)
        other = Process("B", service, choices, ("ses-1", other_prompt), outcomes=["whole"])
        # The other asks in one go: what matters is between which steps of the first.
        while one.can_go_on:
            if not other.is_over and choices.choose(2):
                run(choices, [other])
            one.step()
        run(choices, [other])
        check(one, service, [other])
        check(other, service, [one])
        others_fit = other_prompt == "yes"
        if one.error is not None and one.was_answered:
            assert others_fit, "the history left no doubt"

    every_way(scenario, at_least=30)


@pytest.mark.rule("design-3")
def test_two_processes_ask_on_one_session_step_by_step() -> None:
    def scenario(choices: Choices) -> None:
        service = Service()
        one = Process("A", service, choices, ("ses-1", "yes"), outcomes=["whole", "cut after 1", "cut after 2"])
        other = Process("B", service, choices, ("ses-1", "yes"), outcomes=["whole", "cut after 2"])
        run(choices, [one, other])
        check(one, service, [other])
        check(other, service, [one])

    every_way(scenario, at_least=1000)


def conversation() -> Conversation:
    return Conversation([Message("user", "yes")])


@pytest.mark.rule("design-12")
@pytest.mark.parametrize("asked", [("ses-1", "yes"), conversation()], ids=["on a session", "by its messages"])
def test_a_question_with_a_key_is_asked_once_though_its_process_is_killed_at_any_step(asked: Any) -> None:
    def scenario(choices: Choices) -> None:
        service, ledger = Service(), DurableLedger()

        def process(name: str, outcomes: list[str]) -> Process:
            return Process(name, service, choices, asked, outcomes=outcomes, ledger=ledger, key="q-1")

        first = process("A", OUTCOMES)
        while first.can_go_on:
            if choices.choose(2):
                first.kill()
                break
            first.step()
        again = process("B", ["whole", "cut after 1"])
        run(choices, [again])
        assert len(service.received) == 1
        assert again.error is None
        assert "".join(again.heard) == f"For {service.turns[0].owner}." == again.turn.text
        assert again.turn.number == 1

    every_way(scenario, at_least=40)


@pytest.mark.rule("design-12")
def test_two_processes_under_one_key_ask_once_in_any_order() -> None:
    def scenario(choices: Choices) -> None:
        service, ledger = Service(), DurableLedger()
        both = [
            Process(name, service, choices, conversation(), outcomes=["whole", "cut after 1"], ledger=ledger, key="q-1")
            for name in "AB"
        ]
        run(choices, both)
        assert len(service.received) == 1
        assert [one.error for one in both] == [None, None]
        assert {one.turn.text for one in both} == {f"For {service.turns[0].owner}."}

    every_way(scenario, at_least=3)
