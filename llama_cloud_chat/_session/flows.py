"""What takes more than one request, written once for both colours.

A flow is a generator: it yields what it needs done (a command), and is sent what came of it. The two clients drive
flows and do the I/O and the waiting; nothing here does either.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from llama_cloud_chat._errors import ConfigurationError
from llama_cloud_chat._turn.events import Event

from .clock import Clock
from .ledger import Hold
from .operations import Operation, Request
from .queue import Ticket
from .retry import Answer, GiveUp, Outcome, RetryPolicy

T = TypeVar("T")


@dataclass(frozen=True)
class Send:
    """Send the request and read the whole answer; give back an `Outcome`."""

    request: Request


@dataclass(frozen=True)
class Wait:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True)
class AwaitTurn:
    """Wait until the ticket is woken; give back whether it was within so many seconds."""

    ticket: Ticket
    seconds: float


@dataclass(frozen=True)
class OpenStream:
    """Send the prompt; hand on what its stream brings; give back a `StreamEnded` or an `Outcome`."""

    request: Request


@dataclass(frozen=True)
class Deliver:
    """Hand these events on."""

    events: Sequence[Event]


@dataclass(frozen=True)
class CallUser:
    """Call a function that people gave, which may take its time and may be asynchronous; give back what it returns."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def failure(self, error: Exception) -> ConfigurationError:
        """Return what says that the function failed."""
        return ConfigurationError(f"{self.name}= raised {type(error).__name__}: {error}. Nothing was asked.")


@dataclass(frozen=True)
class Consult:
    """Ask the ledger: call the one, or the other where it can be awaited; give back what it returns."""

    call: Callable[[], Any]
    acall: Callable[[], Awaitable[Any]]


@dataclass(frozen=True)
class Enter:
    """Enter a hold, however long that takes; it is left when the exchange is over."""

    hold: Hold


Command: TypeAlias = Send | Wait | AwaitTurn | OpenStream | Deliver | CallUser | Consult | Enter
Flow: TypeAlias = Generator[Command, Any, T]


def call(operation: Operation[T], policy: RetryPolicy, clock: Clock) -> Flow[T]:
    """Run one operation, with its retries.

    Raises:
        ChatError: It failed for good.
    """
    attempt = 0
    while True:
        attempt += 1
        outcome: Outcome = yield Send(operation.request)
        decision = policy.decide(operation.repeating, attempt, outcome, jitter=clock.jitter(), now=clock.time())
        if decision is None:
            assert isinstance(outcome, Answer)
            return operation.read(outcome.body)
        if isinstance(decision, GiveUp):
            raise decision.error
        yield Wait(decision.delay)


def call_user(command: CallUser) -> Any:
    """Call what people gave.

    Raises:
        ConfigurationError: It failed.
    """
    try:
        return command.function(*command.arguments)
    except Exception as error:
        raise command.failure(error) from error


async def acall_user(command: CallUser) -> Any:
    """Call what people gave, in a thread if it would block, or await it.

    Raises:
        ConfigurationError: It failed.
    """
    try:
        if inspect.iscoroutinefunction(command.function):
            return await command.function(*command.arguments)
        return await asyncio.to_thread(command.function, *command.arguments)
    except Exception as error:
        raise command.failure(error) from error
