"""What takes more than one request, written once for both colours.

A flow is a generator: it yields what it needs done (a command), and is sent what came of it. The two clients drive
flows and do the I/O and the waiting; nothing here does either.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from llama_cloud_chat._errors import (
    APIStatusError,
    ChatError,
    ConfigurationError,
    NotFoundError,
    UnprocessableEntityError,
)
from llama_cloud_chat._turn.events import Event

from . import operations
from .answers import SessionSummary
from .clock import Clock
from .ledger import Hold
from .operations import Operation, Request
from .queue import Ticket
from .retry import Answer, Failed, GiveUp, Outcome, RetryPolicy, retold

_RETRIES = logging.getLogger("llama_cloud_chat.retries")

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
        if isinstance(outcome, Failed):
            _RETRIES.info("%s It is tried again.", outcome.error.message)
        yield Wait(decision.delay)


def create(
    index_ids: Sequence[str] | None, shared_access: str | None, policy: RetryPolicy, clock: Clock
) -> Flow[SessionSummary]:
    """Create a session.

    Raises:
        ChatError: It failed for good.
    """
    try:
        return (yield from call(operations.create(index_ids, shared_access), policy, clock))
    except (NotFoundError, UnprocessableEntityError) as error:
        raise (yield from explain_indexes(error, index_ids or (), clock)) from None


def explain_indexes(error: ChatError, index_ids: Sequence[str], clock: Clock) -> Flow[ChatError]:
    """Return an error about an index with the id that was meant, where the other one of its two ids was given."""
    named = [index_id for index_id in index_ids if index_id in error.message]
    if not named or not isinstance(error, APIStatusError):
        return error
    try:
        page = yield from call(operations.index_page(None), RetryPolicy(max_retries=0), clock)
    except ChatError:  # it was only to help
        return error
    for index in page.items:
        other = {index.export_config_id: index.id, index.id: index.export_config_id}
        for index_id in named:
            if other.get(index_id):
                hint = f"The index {index.name!r} has two ids; try the other one: {other[index_id]}."
                return retold(error, f"{error.message} {hint}")
    return error


def set_title(session_id: str, first_message: str, policy: RetryPolicy, clock: Clock) -> Flow[SessionSummary]:
    """Have a session titled; where that fails, say whether it is the session that is missing or the operation.

    Raises:
        NotFoundError: There is no such session.
        APIStatusError: The service no longer offers titles; or, like other errors, it failed.
    """
    try:
        return (yield from call(operations.set_title(session_id, first_message), policy, clock))
    except APIStatusError as error:
        if error.status_code not in {404, 405}:
            raise
        refusal = error
    try:
        yield from call(operations.get_summary(session_id), policy, clock)
    except NotFoundError:
        raise
    except ChatError:
        raise refusal from None
    raise retold(
        refusal,
        f"The service answered {refusal.status_code}: it no longer offers to set a title. A session gets its "
        "generated_title by itself, after its first prompt.",
    )


def call_user(command: CallUser) -> Any:
    """Call what people gave.

    Raises:
        ConfigurationError: It failed, or would have to be awaited.
    """
    try:
        given = command.function(*command.arguments)
    except Exception as error:
        raise command.failure(error) from error
    if inspect.isawaitable(given):
        if inspect.iscoroutine(given):
            given.close()  # else Python says of it that it was never awaited
        raise ConfigurationError(
            f"{command.name}= is asynchronous, and this client is not. Give it a plain function, or take an "
            "AsyncChatClient."
        )
    return given


async def acall_user(command: CallUser) -> Any:
    """Call what people gave in a thread, for it may block, and await what it returns if that can be awaited.

    Raises:
        ConfigurationError: It failed.
    """
    try:
        given = await asyncio.to_thread(command.function, *command.arguments)
        return await given if inspect.isawaitable(given) else given
    except Exception as error:
        raise command.failure(error) from error
