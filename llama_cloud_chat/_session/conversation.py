"""Which session a list of messages belongs to, and what it has to be told: one decision, pure, for every adapter.

An answer carries where it stands, as `session_id` and `turn`: it is an anchor. A conversation goes on from the last
one, as long as that is still its session's last turn; otherwise it forks: a new session is told the conversation so
far. Where other indexes are wanted than its session has, it goes on from the last answer whose session has them: then
two agents share a thread, and each is told what the other said. Three things are told apart:

    what is asked       the last message of the user that no anchor follows
    the instruction     system text that stands before that; it holds until another one is told
    everything else     told as a transcript: before what is asked, or, as what happened since, after it
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

from llama_cloud_chat._config import DEFAULT_FRESHNESS, check_prompt, check_text
from llama_cloud_chat._errors import ConfigurationError
from llama_cloud_chat._turn.prompts import instructions_digest

if TYPE_CHECKING:
    from llama_cloud_chat._structured.output import StructuredOutput

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True)
class Message:
    """One message of a conversation, as the core sees it.

    Attributes:
        role: Whose it is.
        text: What it says; what is no text stands in it as `[image]`, `[document: name]` and so on.
        name: Whose it is by name, if there is one.
        session_id: For an answer: the session it was given in.
        turn: For an answer: which turn of that session it was, from 1.
        instructions: For an answer: what stands for the system text that its session had been told.
        media: What it holds that is no text, such as `image`. It can be told of, but not asked.
    """

    role: Role
    text: str
    name: str | None = None
    session_id: str | None = None
    turn: int | None = None
    instructions: str | None = None
    media: tuple[str, ...] = ()

    @property
    def is_anchor(self) -> bool:
        """Whether it says where in which session it was given."""
        return self.role == "assistant" and bool(self.session_id) and self.turn is not None


def media_mark(kind: str, name: str | None = None) -> str:
    """Return what stands in a message's text for what is no text.

    Args:
        kind: What it is: an image, a document.
        name: What it is called, if that is known.
    """
    return f"[{kind}: {name}]" if name else f"[{kind}]"


Renderer: TypeAlias = Callable[[Sequence[Message]], str]
"""Turns messages, of which the last is to be answered, into a prompt."""


@dataclass(frozen=True)
class Conversation:
    """Messages to go on from, when the session is to be decided by them.

    Attributes:
        messages: The conversation.
        session_id: A session to use as it is.
        freshness: After how many seconds knowledge of a session must be looked up again.
        render: Turns messages into a prompt; None for the transcript that people and histories can read back.
        keep_session: Whether a session that is opened for this outlives it.
    """

    messages: Sequence[Message]
    session_id: str | None = None
    freshness: float = DEFAULT_FRESHNESS
    render: Renderer | None = None
    keep_session: bool = True


@dataclass(frozen=True)
class Snapshot:
    """What is known of an anchor's session at the moment of deciding.

    Attributes:
        turn_count: How many turns it has, all over; None if that is unknown.
        age: How many seconds ago that was so.
        index_ids: The indexes it is bound to; None or empty if it is unbound.
        last_text: What its last turn says, if that was read.
        anchor_text: What the turn that the anchor names says, if that was read.
        is_gone: Whether the service no longer has it, or no longer lets it be read.
        is_in_use: Whether another turn is being asked on it at this moment.
        was_read: Whether this was read from the service for the decision at hand, so that looking again tells
            nothing new.
    """

    turn_count: int | None = None
    age: float = 0.0
    index_ids: Sequence[str] | None = None
    last_text: str | None = None
    anchor_text: str | None = None
    is_gone: bool = False
    is_in_use: bool = False
    was_read: bool = False


@dataclass(frozen=True)
class Briefing:
    """What a session has to be told.

    Attributes:
        asked: What is to be answered.
        system: The standing instruction, if it has not been told that.
        before: What was said before, oldest first.
        since: What happened after what is asked.
        instructions: What stands for the instruction that holds from then on.
    """

    asked: Message
    system: str | None = None
    before: tuple[Message, ...] = ()
    since: tuple[Message, ...] = ()
    instructions: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Continue:
    """Tell the session, and ask on it."""

    session_id: str
    briefing: Briefing


@dataclass(frozen=True)
class Look:
    """Read the session's history, then decide again."""

    session_id: str


@dataclass(frozen=True)
class Start:
    """Tell a new session, and ask on it."""

    briefing: Briefing


@dataclass(frozen=True)
class Fork:
    """Tell a new session everything, and ask on it; leave the old one as it is."""

    session_id: str
    briefing: Briefing


Plan: TypeAlias = Continue | Look | Start | Fork


def find_anchor(messages: Sequence[Message]) -> Message | None:
    """Return the last answer that carries its session and turn."""
    return next((message for message in reversed(messages) if message.is_anchor), None)


def anchored_sessions(messages: Sequence[Message]) -> list[str]:
    """Return the sessions that answers were given in, that of the last answer first."""
    named = (message.session_id for message in reversed(messages) if message.is_anchor and message.session_id)
    return list(dict.fromkeys(named))


def has_other_indexes(wanted: Sequence[str] | None, bound: Sequence[str] | None) -> bool:
    """Whether a session is bound to other indexes than those that are wanted, as far as either is known."""
    return bool(wanted and bound) and set(wanted or ()) != set(bound or ())


def leave_to_others(conversation: Conversation, session_ids: Collection[str]) -> Conversation:
    """Return the conversation as one in which the answers of some sessions are only what somebody else said."""
    messages = [
        replace(message, session_id=None, turn=None, instructions=None)
        if message.session_id in session_ids
        else message
        for message in conversation.messages
    ]
    return replace(conversation, messages=messages)


def decide(conversation: Conversation, *, index_ids: Sequence[str] | None, snapshot: Snapshot) -> Plan:
    """Decide how a conversation, already checked, goes on.

    Args:
        conversation: The messages, and how they are to be told.
        index_ids: The indexes wanted; None for those of the session.
        snapshot: What is known of the anchor's session.
    """
    messages = conversation.messages
    if conversation.session_id is not None:
        last = _last(messages[: asked_at(messages)], lambda message: message.role == "assistant")
        return Continue(conversation.session_id, _briefing(messages, last))
    at = _last(messages, lambda message: message.is_anchor)
    if at is None:
        return Start(_briefing(messages, None))
    anchor = messages[at]
    assert anchor.session_id is not None
    assert anchor.turn is not None
    if snapshot.is_gone or snapshot.is_in_use:
        return Fork(anchor.session_id, _briefing(messages, None))
    count = snapshot.turn_count
    is_stale = count is None or count < anchor.turn or snapshot.age >= conversation.freshness
    if is_stale and not snapshot.was_read:
        return Look(anchor.session_id)
    is_another = has_other_indexes(index_ids, snapshot.index_ids)
    if is_another or not (count == anchor.turn or _is_misnumbered(anchor, snapshot)):
        return Fork(anchor.session_id, _briefing(messages, None))
    return Continue(anchor.session_id, _briefing(messages, at))


def _is_misnumbered(anchor: Message, snapshot: Snapshot) -> bool:
    """Whether the anchor is its session's last turn although its number says another: two asked at the same time."""
    return snapshot.anchor_text is not None and snapshot.anchor_text != anchor.text == snapshot.last_text


def check_messages(messages: Sequence[Message]) -> None:
    """Check that there is something to ask, and that it can be sent.

    Raises:
        ConfigurationError: There is nothing, or it cannot.
    """
    if not messages:
        raise ConfigurationError("There are no messages. Give at least one message of the user.")
    for message in messages:
        if not isinstance(message, Message):
            raise ConfigurationError(f"messages must be a list of Message, not of {type(message).__name__}.")
        check_text("messages", message.text)
    asked = messages[asked_at(messages)]
    if asked.media:
        kinds = " and ".join(dict.fromkeys(asked.media))
        raise ConfigurationError(
            f"The message to be answered holds {kinds} content, but "
            "the service takes text alone. Upload files to an index, and name the index in index_ids."
        )
    check_prompt(asked.text)


def asked_at(messages: Sequence[Message]) -> int:
    """Return the position of what is asked.

    Where others have spoken since the last anchor but not the user, an agent of a team is called again: the user's last
    message is asked once more, in the light of that.
    """
    at = _last(messages, lambda message: message.role == "user")
    if at is None or messages[-1].is_anchor:
        raise ConfigurationError(
            f"The last message is of role {messages[-1].role!r}, and no message of the user is left to be answered. "
            "End with a message of the user."
        )
    return at


def _last(messages: Sequence[Message], is_wanted: Callable[[Message], bool]) -> int | None:
    return next((at for at in range(len(messages) - 1, -1, -1) if is_wanted(messages[at])), None)


def _briefing(messages: Sequence[Message], heard_until: int | None) -> Briefing:
    """Return what a session has to be told that has heard everything up to a position; None: that has heard nothing."""
    at = asked_at(messages)
    heard = -1 if heard_until is None else heard_until
    standing = max(at, heard)
    system = "\n\n".join(
        message.text for message in messages[:standing] if message.role == "system" and message.text.strip()
    )
    told = messages[heard].instructions if heard_until is not None else None
    wanted = instructions_digest(system) if system else None
    first = heard + 1
    return Briefing(
        messages[at],
        system if wanted is not None and wanted != told else None,
        tuple(message for message in messages[first:at] if message.role != "system" and message.text.strip()),
        tuple(message for message in messages[max(first, at + 1) :] if message.text.strip()),
        wanted or told,
    )


@dataclass(frozen=True)
class Anchor:
    """Where an answer stands.

    Attributes:
        session_id: The session it was given in; None if that is not told.
        turn: Which turn of that session it was, from 1; None if that is not told.
        instructions: What stands for the system text that the session had been told; None if it was told none.
    """

    session_id: str | None = None
    turn: int | None = None
    instructions: str | None = None

    @classmethod
    def read(cls, metadata: Mapping[str, Any]) -> Anchor:
        """Return what an answer's metadata says under `session_id`, `turn` and `instructions`.

        Args:
            metadata: What a framework's message carries beside its text. Messages travel, through stores and by hand:
                what is no id or no number counts as not told.
        """
        session_id, turn = metadata.get("session_id"), metadata.get("turn")
        is_number = isinstance(turn, int) and not isinstance(turn, bool)
        instructions = metadata.get("instructions")
        return cls(
            session_id if isinstance(session_id, str) else None,
            turn if is_number else None,
            instructions if isinstance(instructions, str) else None,
        )


class ConverseOptions(TypedDict, total=False):
    """The keyword arguments of `ChatClient.converse` and its twin, for whoever passes them on.

    Attributes:
        session_id: A session to use as it is.
        index_ids: The indexes of a new session, or for this prompt on an unbound one.
        require_all_indexes: Whether an index that cannot be queried fails the turn.
        keep_session: Whether a session that is opened for this outlives it.
        freshness: After how many seconds a session must be read again.
        render: Turns messages into a prompt.
        key: What the question is called.
        output: What the answer is to hold.
    """

    session_id: str | None
    index_ids: Sequence[str] | None
    require_all_indexes: bool | None
    keep_session: bool
    freshness: float
    render: Renderer | None
    key: str | None
    output: StructuredOutput | None
