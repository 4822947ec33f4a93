"""Which session a turn is asked on, with which prompt, and when it is this turn's turn.

A session is held from before it is looked at until its turn is over, so that what was decided stays true. It is found
in one of three ways:

    named by the user        -> used as it is
    named by an answer       -> continued where that answer stands, else left alone: a fork; of several, the last one
                                that has the indexes that are wanted
    neither                  -> a new one

What this process knows of a session is believed for `freshness` seconds; what is older, and what the messages know
better, is looked up: another process may have moved the session on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from llama_cloud_chat._config import DEFAULT_FRESHNESS, ClientConfig, check_id, check_prompt, check_seconds
from llama_cloud_chat._errors import (
    APIStatusError,
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
    UnprocessableEntityError,
)
from llama_cloud_chat._turn.turn import Turn, count_turns

from . import operations
from .clock import Clock
from .conversation import (
    Briefing,
    Continue,
    Conversation,
    Fork,
    Look,
    Message,
    Plan,
    Snapshot,
    Start,
    anchored_sessions,
    check_messages,
    decide,
    find_anchor,
    has_other_indexes,
    leave_to_others,
)
from .flows import AwaitTurn, CallUser, Consult, Enter, Flow, Wait, call, create
from .folding import Prompt, Summary, fold, fold_summary, plain_prompt
from .knowledge import KnownSessions, SessionKnowledge
from .ledger import Ledger, Note
from .limits import PROMPT_LIMITS
from .patience import Patience, pauses
from .question import name_session
from .queue import PATIENCE, Ticket, busy_error
from .retry import RetryPolicy

_LOGGER = logging.getLogger("llama_cloud_chat")
_GONE = 410

_MOST_LOOKED_AT = 8
"""How many sessions of one conversation are looked at for the indexes that are wanted."""


@dataclass
class Seat:
    """Where a turn is asked, and how.

    Attributes:
        session_id: The session.
        prompt: What it is asked.
        instructions: What stands for the system text that the session has been told then.
        knowledge: What is known of the session.
        turns_before: How many turns it has before this one.
        was_opened: Whether the session was opened for this turn.
    """

    session_id: str = ""
    prompt: Prompt = field(default_factory=Prompt)
    instructions: str | None = None
    knowledge: SessionKnowledge = field(default_factory=SessionKnowledge)
    turns_before: int = 0
    was_opened: bool = False


class Settling:
    """Finds the seat of one turn.

    Args:
        asked: A session's id and the prompt for it; or a conversation that decides both.
        index_ids: The indexes to ask, or to bind a new session to.
        require_all_indexes: Whether an index that cannot be queried fails the turn.
        sessions: What is known of sessions.
        config: The client's configuration.
        patience: How long a turn that was let go is waited for.
        policy: How often and how fast requests are repeated.
        clock: What the time is.
        ledger: What holds sessions across processes, if anything does.

    Attributes:
        seat: Where the turn is asked, as far as that is decided.

    Raises:
        ConfigurationError: An argument cannot work, there is nothing to ask, or it is too long.
    """

    def __init__(
        self,
        asked: tuple[str, str] | Conversation,
        index_ids: list[str] | None,
        require_all_indexes: bool | None,
        *,
        sessions: KnownSessions,
        config: ClientConfig,
        patience: Patience,
        policy: RetryPolicy,
        clock: Clock,
        ledger: Ledger | None = None,
    ) -> None:
        self.seat = Seat()
        self._conversation = asked if isinstance(asked, Conversation) else None
        self._index_ids = index_ids
        self._require_all_indexes = require_all_indexes
        self._sessions = sessions
        self._config = config
        self._patience = patience
        self._policy = policy
        self._clock = clock
        self._ledger = ledger if ledger is not None and ledger.holds_sessions else None
        self._freshness = DEFAULT_FRESHNESS
        self._held: set[str] = set()
        self._plan: Plan | None = None
        self._briefing: Briefing | None = None
        if isinstance(asked, Conversation):
            self._prepare(asked)
        else:
            self._sit(check_id("session_id", asked[0]))
            self.seat.prompt = self._plain_prompt(check_prompt(asked[1]))
        self._check_indexes()

    def _prepare(self, conversation: Conversation) -> None:
        """Check and decide what needs no look at a session, so that it fails, if it does, before any request."""
        self._freshness = check_seconds("freshness", conversation.freshness)
        check_messages(conversation.messages)
        self._plan = self._decide(Snapshot())
        if isinstance(self._plan, Look):
            asked = self._decide(Snapshot(is_gone=True))
            assert isinstance(asked, Fork)
            self._plain_prompt(asked.briefing.asked.text)
            return
        if isinstance(self._plan, Continue):
            self._sit(self._plan.session_id)
        self._brief(self._plan.briefing)

    def sit_at(self, ticket: Ticket, note: Note) -> Flow[None]:
        """Take the seat where the question was asked before, and wait until its session is free."""
        prompt = self.seat.prompt
        self._sit(note.session_id)
        self.seat.prompt = prompt
        self.seat.turns_before = note.turns_before
        self.seat.was_opened = self._was_opened(note)
        yield from self._take_turn(ticket)

    def settle(self, ticket: Ticket, note: Note | None = None) -> Flow[None]:
        """Find the session to ask on, wait until it is free, and know how many turns it has.

        Args:
            ticket: The place in the queue.
            note: Where the question was to be asked before and was not: a session that was opened for it is used.
        """
        if note is not None:
            if self._was_opened(note):
                yield from self._settle_there()
                return
            self.seat.knowledge.queue.leave(ticket)  # where it stands is decided anew
        plan = self._plan
        if isinstance(plan, Look):
            plan = yield from self._plan_among_sessions()
            if isinstance(plan, Look):
                plan = yield from self._plan_at_anchor(ticket, plan.session_id)
            self._brief(plan.briefing)
        elif plan is None or isinstance(plan, Continue):
            yield from self._hold(ticket)
        if isinstance(plan, (Start, Fork)):
            yield from self._open(ticket, plan)
        else:
            yield from self._summarise()

    def _settle_there(self) -> Flow[None]:
        """Stay in the seat that was opened for this question, and tell its session everything."""
        plan = self._decide(Snapshot(is_gone=True))
        assert isinstance(plan, (Start, Fork))
        if self.seat.knowledge.index_ids is None:
            yield from self._look()
        self._brief(plan.briefing)
        yield from self._summarise()

    def _was_opened(self, note: Note) -> bool:
        """Whether the session of a note was opened for its question: neither the user nor an answer names it."""
        if self._conversation is None:
            return False
        return note.session_id not in {self._conversation.session_id, *anchored_sessions(self._messages)}

    def fork(self, ticket: Ticket) -> Flow[None]:
        """Settle anew, on a session of its own: the one at hand is gone."""
        self._sessions.drop(self.seat.session_id)
        plan = self._decide(Snapshot(is_gone=True))
        assert isinstance(plan, Fork)
        self._brief(plan.briefing)
        yield from self._open(ticket, plan)

    def shorten(self, error: APIStatusError) -> Flow[bool]:
        """Make the prompt fit if the service said that it is too long; return whether that can help.

        Raises:
            PromptTooLongError: It cannot be made to fit.
        """
        length = len(self.seat.prompt.text)
        if not PROMPT_LIMITS.learn(self._config.base_url, error):
            return False
        limit = self._limit
        if self.seat.prompt.parts or limit is None or length <= limit:
            return False
        if self._briefing is None:
            self.seat.prompt = self._plain_prompt(self.seat.prompt.text)
        else:
            self._brief(self._briefing)
            yield from self._summarise()
        return True

    def may_fork(self, error: APIStatusError) -> bool:
        """Whether the session was only taken up because an answer named it, and an error says that it is gone."""
        is_ours = self._conversation is not None and self._conversation.session_id is None and not self.seat.was_opened
        return is_ours and not isinstance(error, UnprocessableEntityError) and _says_gone(error)

    def request(self, prompt: str) -> operations.Request:
        """Return the request that asks `prompt`."""
        self._check_indexes()
        bound = self.seat.knowledge.index_ids
        return operations.stream(
            self.seat.session_id,
            prompt,
            bound or self._index_ids or list(self._config.index_ids),
            self._require_all_indexes,
        )

    @property
    def is_passing(self) -> bool:
        """Whether the session was opened for this turn, and is not to outlive it."""
        return self.seat.was_opened and self._conversation is not None and not self._conversation.keep_session

    @property
    def _limit(self) -> int | None:
        return PROMPT_LIMITS.of(self._config.base_url, self._config.max_prompt_chars)

    @property
    def _may_part(self) -> bool:
        return self._config.long_prompts == "parts"

    def _plain_prompt(self, text: str) -> Prompt:
        return plain_prompt(text, self._limit, may_part=self._may_part)

    def _brief(self, briefing: Briefing) -> None:
        """Decide what is told; what takes a summary is told without it until `_summarise` has one."""
        self._briefing = briefing
        self.seat.prompt = Prompt("")
        self._summary: Summary | None = None
        assert self._conversation is not None
        folded = fold(
            briefing,
            self._limit,
            render=self._conversation.render,
            may_part=self._may_part,
            summarises=self._config.fold is not None,
        )
        if isinstance(folded, Summary):
            self._summary = folded
        else:
            self.seat.prompt = folded

    def _summarise(self) -> Flow[None]:
        """Have earlier messages summarised if that is needed, and say so if any are left out."""
        if self._briefing is None:
            return
        self.seat.instructions = self._briefing.instructions
        if self._summary is not None:
            assert self._config.fold is not None
            text = yield CallUser("fold", self._config.fold, (list(self._summary.messages), self._summary.budget))
            self.seat.prompt = fold_summary(self._briefing, self._summary, text)
            self._summary = None
        if self.seat.prompt.left_out:
            _LOGGER.warning(
                "The service takes prompts of at most %s characters: %s earlier messages were not told whole.",
                self._limit,
                self.seat.prompt.left_out,
            )

    def _plan_among_sessions(self) -> Flow[Plan]:
        """Leave the sessions that have other indexes to whoever asks there, as far as others are named, and decide."""
        assert self._conversation is not None
        sessions, others = anchored_sessions(self._messages), []
        if self._index_ids and len(sessions) > 1:
            for session_id in sessions[:_MOST_LOOKED_AT]:
                try:
                    bound = yield from self._indexes_of(session_id)
                except APIStatusError as error:
                    if not _says_gone(error):
                        raise
                    return self._decide(Snapshot(is_gone=True))
                if not has_other_indexes(self._index_ids, bound):
                    break
                others.append(session_id)
            else:
                others = sessions
            self._conversation = leave_to_others(self._conversation, others)
        return self._decide(Snapshot())

    def _indexes_of(self, session_id: str) -> Flow[Sequence[str]]:
        """Return the indexes that a session is bound to. They never change: they are looked up once."""
        knowledge = self._sessions.get(session_id)
        if knowledge.index_ids is None:
            summary = yield from call(operations.get_summary(session_id), self._policy, self._clock)
            knowledge.index_ids = list(summary.index_ids or ())
        return knowledge.index_ids

    def _plan_at_anchor(self, ticket: Ticket, session_id: str) -> Flow[Continue | Start | Fork]:
        """Decide, with the anchor's session held from before it is looked at until it is asked."""
        self._sit(session_id)
        plan = self._decide(self._snapshot())
        if isinstance(plan, (Look, Continue)):
            if not self.seat.knowledge.queue.enter(ticket):
                plan = self._decide(Snapshot(is_in_use=True))
            elif (yield from self._hold_across_processes()):
                plan = self._decide(replace(self._snapshot(), is_in_use=False))
        self.seat.turns_before = self.seat.knowledge.turn_count or 0
        if isinstance(plan, Look):
            plan = self._decide((yield from self._look_for_anchor()))
        assert not isinstance(plan, Look)
        return plan

    def _open(self, ticket: Ticket, plan: Start | Fork) -> Flow[None]:
        self.seat.knowledge.queue.leave(ticket)
        # A fork keeps the indexes of the session it leaves.
        index_ids = self._index_ids or (self.seat.knowledge.index_ids if isinstance(plan, Fork) else None)
        index_ids = index_ids or list(self._config.index_ids)
        if not index_ids:
            raise _no_indexes_error()
        yield from self._summarise()
        summary = yield from create(index_ids, None, self._policy, self._clock)
        prompt, instructions = self.seat.prompt, self.seat.instructions
        self._sit(summary.session_id)
        self.seat.prompt, self.seat.instructions, self.seat.was_opened = prompt, instructions, True
        self.seat.knowledge.note(summary.index_ids or index_ids, [], self._clock.monotonic())
        self.seat.knowledge.queue.enter(ticket)

    def _check_indexes(self) -> None:
        """Check, as far as the session is known, that there are indexes to ask.

        Raises:
            ConfigurationError: There are none, or others than those that the session is bound to.
        """
        bound, wanted = self.seat.knowledge.index_ids, self._index_ids
        if bound and wanted and set(bound) != set(wanted):
            raise ConfigurationError(
                f"The session is bound to the indexes {bound}, which cannot be changed. Leave index_ids out, or "
                "create a session for the others."
            )
        is_unbound = isinstance(self._plan, Start) or bound == []
        if is_unbound and not wanted and not self._config.index_ids:
            raise _no_indexes_error()

    def _decide(self, snapshot: Snapshot) -> Plan:
        assert self._conversation is not None
        return decide(self._conversation, index_ids=self._index_ids, snapshot=snapshot)

    def _sit(self, session_id: str) -> None:
        self.seat = Seat(session_id, knowledge=self._sessions.get(session_id))

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
            turns = yield from self._look()
        except APIStatusError as error:
            if not _says_gone(error):
                raise
            return Snapshot(is_gone=True)
        anchor = find_anchor(self._messages)
        assert anchor is not None
        named = next((turn for turn in turns if turn.number == anchor.turn), None)
        return Snapshot(
            turn_count=self.seat.turns_before,
            index_ids=self.seat.knowledge.index_ids,
            last_text=turns[-1].text if turns else None,
            anchor_text=None if named is None else named.text,
            was_read=True,
        )

    @property
    def _messages(self) -> Sequence[Message]:
        return () if self._conversation is None else self._conversation.messages

    def _hold(self, ticket: Ticket) -> Flow[None]:
        """Wait until the session is free, then know how many turns it has."""
        yield from self._take_turn(ticket)
        knowledge = self.seat.knowledge
        count = knowledge.turn_count
        is_fresh = self._clock.monotonic() - knowledge.known_at < self._freshness
        if count is None or not is_fresh or count < self._told_count():
            yield from self._look()
        else:
            self.seat.turns_before = count
        self._check_indexes()

    def _told_count(self) -> int:
        """Return how many turns the messages know the session to have at least."""
        told = [message.turn or 0 for message in self._messages if message.session_id == self.seat.session_id]
        return max(told, default=0)

    def _take_turn(self, ticket: Ticket) -> Flow[None]:
        queue = self.seat.knowledge.queue
        if not queue.enter(ticket):
            before = queue.sample()
            # The queue is asked as well: a wake-up may come just as the wait runs out.
            while not ((yield AwaitTurn(ticket, PATIENCE)) or queue.holds(ticket)):
                now = queue.sample()
                if now == before:
                    raise busy_error()
                before = now
        yield from self._hold_across_processes()

    def _hold_across_processes(self) -> Flow[bool]:
        """Have the ledger hold the session, and take over what it knows; return whether there is such a ledger."""
        ledger, name = self._ledger, name_session(self.seat.session_id, self._config) if self._ledger else ""
        if ledger is None or name in self._held:
            return False
        yield Enter(ledger.hold(name))
        self._held.add(name)
        count = yield Consult(partial(ledger.recall, name), partial(ledger.arecall, name))
        knowledge = self.seat.knowledge
        if count is None:
            knowledge.forget()  # who held it last may have died, and its turn go on
        else:
            # Nobody can say that a holder died: what it held is unknown until its turn is over.
            yield Consult(partial(ledger.remember, name, None), partial(ledger.aremember, name, None))
            knowledge.learn(count.turns, self._clock.monotonic() - count.age)
        return True

    def remember(self) -> Flow[None]:
        """Tell the ledger that holds the session how many turns it has now."""
        ledger = self._ledger
        if ledger is not None and self.seat.session_id:
            name, count = name_session(self.seat.session_id, self._config), self.seat.knowledge.turn_count
            yield Consult(partial(ledger.remember, name, count), partial(ledger.aremember, name, count))

    def _look(self) -> Flow[list[Turn]]:
        """Read the session's turns, and wait for one that was let go while it ran."""
        knowledge, further_pauses = self.seat.knowledge, pauses()
        while True:
            detail = yield from call(operations.retrieve(self.seat.session_id), self._policy, self._clock)
            is_running = bool(detail.turns) and not detail.turns[-1].is_complete
            pause = next(further_pauses)
            if not (is_running and knowledge.may_be_running) or self._patience.is_exhausted(pause):
                break
            yield Wait(pause)
        self._patience.renew()
        self.seat.turns_before = count_turns(detail.turns)
        knowledge.index_ids = list(detail.index_ids or ())
        knowledge.learn(self.seat.turns_before, self._clock.monotonic())
        if is_running:  # somebody else's, for all that is known: how the session stands is not
            knowledge.turn_count = None
        return detail.turns


def _says_gone(error: APIStatusError) -> bool:
    """Whether an error says that a session is there no longer, or may no longer be read."""
    gone = (NotFoundError, PermissionDeniedError, UnprocessableEntityError)
    return isinstance(error, gone) or error.status_code == _GONE


def _no_indexes_error() -> ConfigurationError:
    return ConfigurationError(
        "There is no index to ask. Set LLAMA_CLOUD_INDEX_IDS, or pass index_ids, here or where the session is created; "
        "client.indexes(), and on the command line `llama-cloud-chat indexes`, list what there is."
    )
