"""Which session a turn is asked on, with which prompt, and when it is this turn's turn.

A session is held from before it is looked at until its turn is over, so that what was decided stays true. It is found
in one of three ways:

    named by the user        -> used as it is
    named by an answer       -> continued where that answer stands, else left alone: a fork
    neither                  -> a new one
"""

from __future__ import annotations

from dataclasses import dataclass, field

from llama_cloud_chat._config import check_id, check_prompt, check_seconds
from llama_cloud_chat._errors import ConfigurationError, NotFoundError

from . import operations
from .clock import Clock
from .conversation import Continue, Conversation, Fork, Look, Plan, Snapshot, Start, check_messages, decide
from .flows import AwaitTurn, Flow, Wait, call
from .knowledge import KnownSessions, SessionKnowledge
from .operations import Operation
from .patience import Patience, pauses
from .queue import PATIENCE, Ticket, busy_error
from .retry import RetryPolicy


@dataclass
class Seat:
    """Where a turn is asked.

    Attributes:
        session_id: The session.
        prompt: What it is asked.
        knowledge: What is known of the session.
        was_opened: Whether the session was opened for this turn.
    """

    session_id: str = ""
    prompt: str = ""
    knowledge: SessionKnowledge = field(default_factory=SessionKnowledge)
    was_opened: bool = False


class Settling:
    """Finds the seat of one turn.

    Args:
        asked: A session's id and the prompt for it; or a conversation that decides both.
        index_ids: The indexes to ask, or to bind a new session to.
        require_all_indexes: Whether an index that cannot be queried fails the turn.
        sessions: What is known of sessions.
        patience: How long a turn that was let go is waited for.
        policy: How often and how fast requests are repeated.
        clock: What the time is.

    Attributes:
        seat: Where the turn is asked, as far as that is decided.

    Raises:
        ConfigurationError: An argument cannot work, or there is nothing to ask.
    """

    def __init__(
        self,
        asked: tuple[str, str] | Conversation,
        index_ids: list[str] | None,
        require_all_indexes: bool | None,
        *,
        sessions: KnownSessions,
        patience: Patience,
        policy: RetryPolicy,
        clock: Clock,
    ) -> None:
        self.seat = Seat()
        self._first_plan: Plan | None = None
        self._conversation = asked if isinstance(asked, Conversation) else None
        self._index_ids = index_ids
        self._require_all_indexes = require_all_indexes
        self._sessions = sessions
        self._patience = patience
        self._policy = policy
        self._clock = clock
        if isinstance(asked, Conversation):
            check_seconds("freshness", asked.freshness)
            check_messages(asked.messages)
            # What needs no look at a session is decided, and may fail, before any request.
            self._first_plan = self._decide(Snapshot())
        else:
            self._sit(check_id("session_id", asked[0]), check_prompt(asked[1]))

    def settle(self, ticket: Ticket) -> Flow[None]:
        """Find the session to ask on, wait until it is free, and know how many turns it has."""
        plan = yield from self._plan(ticket)
        if isinstance(plan, Continue):
            self.seat.prompt = plan.prompt
        elif plan is not None:
            yield from self._open(ticket, plan)

    def fork(self, ticket: Ticket) -> Flow[None]:
        """Settle anew, on a session of its own: the one at hand is gone."""
        self._sessions.drop(self.seat.session_id)
        plan = self._decide(Snapshot(is_gone=True))
        assert isinstance(plan, Fork)
        yield from self._open(ticket, plan)

    @property
    def may_fork(self) -> bool:
        """Whether the session at hand was only taken up because an answer named it."""
        return self._conversation is not None and self._conversation.session_id is None and not self.seat.was_opened

    def request(self) -> operations.Request:
        """Return the request that asks.

        Raises:
            ConfigurationError: The session is bound to other indexes than those wanted.
        """
        bound = self.seat.knowledge.index_ids
        if bound and self._index_ids and set(bound) != set(self._index_ids):
            raise ConfigurationError(
                f"The session is bound to the indexes {bound}, which cannot be changed. Leave index_ids out, or "
                "create a session for the others."
            )
        return operations.stream(
            self.seat.session_id, self.seat.prompt, bound or self._index_ids or [], self._require_all_indexes
        )

    def cleanup(self) -> Operation[None] | None:
        """Return what is left to do when the turn is over, however it ended: delete a passing session."""
        if self.seat.was_opened and self._conversation and not self._conversation.keep_session:
            self._sessions.drop(self.seat.session_id)
            return operations.delete(self.seat.session_id)
        return None

    def _plan(self, ticket: Ticket) -> Flow[Plan | None]:
        """Decide how it goes on, and hold the session if there is one already; None if all is decided."""
        plan = self._first_plan
        if isinstance(plan, Look):
            return (yield from self._plan_at_anchor(ticket, plan.session_id))
        if isinstance(plan, Continue):  # on a session that the user named
            self._sit(plan.session_id, plan.prompt)
        if plan is None or isinstance(plan, Continue):
            yield from self._hold(ticket)
        return plan

    def _plan_at_anchor(self, ticket: Ticket, session_id: str) -> Flow[Plan]:
        """Decide, with the anchor's session held from before it is looked at until it is asked."""
        self._sit(session_id, "")
        plan = self._decide(self._snapshot())
        if isinstance(plan, (Look, Continue)) and not self.seat.knowledge.queue.enter(ticket):
            plan = self._decide(Snapshot(is_in_use=True))
        if isinstance(plan, Look):
            plan = self._decide((yield from self._look_for_anchor()))
        return plan

    def _open(self, ticket: Ticket, plan: Plan) -> Flow[None]:
        assert isinstance(plan, (Start, Fork))
        self.seat.knowledge.queue.leave(ticket)
        # A fork keeps the indexes of the session it leaves.
        index_ids = self._index_ids or (self.seat.knowledge.index_ids if isinstance(plan, Fork) else None)
        summary = yield from call(operations.create(index_ids, None), self._policy, self._clock)
        self._sit(summary.session_id, plan.prompt, was_opened=True)
        self.seat.knowledge.note(summary.index_ids or index_ids, [], self._clock.monotonic())
        self.seat.knowledge.queue.enter(ticket)

    def _decide(self, snapshot: Snapshot) -> Plan:
        assert self._conversation is not None
        return decide(self._conversation, index_ids=self._index_ids, snapshot=snapshot)

    def _sit(self, session_id: str, prompt: str, *, was_opened: bool = False) -> None:
        self.seat = Seat(session_id, prompt, self._sessions.get(session_id), was_opened)

    def _snapshot(self) -> Snapshot:
        knowledge = self.seat.knowledge
        return Snapshot(
            turn_count=knowledge.turn_count,
            age=self._clock.monotonic() - knowledge.known_at,
            index_ids=knowledge.index_ids,
            is_in_use=not knowledge.queue.is_idle,
        )

    def _look_for_anchor(self) -> Flow[Snapshot]:
        try:
            yield from self._look()
        except NotFoundError:
            return Snapshot(is_gone=True)
        knowledge = self.seat.knowledge
        return Snapshot(turn_count=knowledge.turn_count, index_ids=knowledge.index_ids, was_read=True)

    def _hold(self, ticket: Ticket) -> Flow[None]:
        """Wait until the session is free, then know how many turns it has."""
        yield from self._take_turn(ticket)
        if self.seat.knowledge.turn_count is None:
            yield from self._look()

    def _take_turn(self, ticket: Ticket) -> Flow[None]:
        queue = self.seat.knowledge.queue
        if queue.enter(ticket):
            return
        before = queue.sample()
        # The queue is asked as well: a wake-up may come just as the wait runs out.
        while not ((yield AwaitTurn(ticket, PATIENCE)) or queue.holds(ticket)):
            now = queue.sample()
            if now == before:
                raise busy_error()
            before = now

    def _look(self) -> Flow[None]:
        """Find out how many turns the session has, and wait for one that was let go while it ran."""
        knowledge = self.seat.knowledge
        for pause in pauses():  # pragma: no branch  # they do not end
            detail = yield from call(operations.retrieve(self.seat.session_id), self._policy, self._clock)
            is_running = bool(detail.turns) and not detail.turns[-1].is_complete
            if not (is_running and knowledge.may_be_running) or self._patience.is_exhausted(pause):
                self._patience.renew()
                knowledge.learn(len(detail.turns), self._clock.monotonic())
                knowledge.index_ids = detail.index_ids
                return
            yield Wait(pause)
