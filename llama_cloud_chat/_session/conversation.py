"""How a list of messages meets a session: the one decision that both adapters share. Pure, on plain data.

An answer carries where it stands, as `session_id` and `turn`. A conversation goes on from the last answer that does,
as long as that is still its session's last turn; otherwise it forks: a new session is given the transcript so far.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypedDict

from llama_cloud_chat._config import DEFAULT_FRESHNESS, check_prompt, check_text
from llama_cloud_chat._errors import ConfigurationError

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True)
class Message:
    """One message of a conversation, as the core sees it.

    Attributes:
        role: Whose it is.
        text: What it says.
        name: Whose it is by name, if there is one.
        session_id: For an answer: the session it was given in.
        turn: For an answer: which turn of that session it was, from 1.
    """

    role: Role
    text: str
    name: str | None = None
    session_id: str | None = None
    turn: int | None = None

    @property
    def is_anchor(self) -> bool:
        """Whether it says where in which session it was given."""
        return self.role == "assistant" and bool(self.session_id) and self.turn is not None


Renderer: TypeAlias = Callable[[Sequence[Message]], str]


@dataclass(frozen=True)
class Snapshot:
    """What is known of an anchor's session at the moment of deciding.

    Attributes:
        turn_count: How many turns it has, all over; None if that is unknown.
        age: How many seconds ago that was so.
        index_ids: The indexes it is bound to; None or empty if it is unbound.
        is_gone: Whether the service no longer has it.
        is_in_use: Whether another turn is being asked on it at this moment.
        was_read: Whether this was read from the service for the decision at hand, so that looking again tells
            nothing new.
    """

    turn_count: int | None = None
    age: float = 0.0
    index_ids: Sequence[str] | None = None
    is_gone: bool = False
    is_in_use: bool = False
    was_read: bool = False


@dataclass(frozen=True)
class Continue:
    """Ask `prompt` on the session."""

    session_id: str
    prompt: str


@dataclass(frozen=True)
class Look:
    """Read the session's history, then decide again."""

    session_id: str


@dataclass(frozen=True)
class Start:
    """Ask `prompt` on a new session."""

    prompt: str


@dataclass(frozen=True)
class Fork:
    """Ask `prompt`, which holds the transcript, on a new session; leave the old one as it is."""

    session_id: str
    prompt: str


Plan: TypeAlias = Continue | Look | Start | Fork


def find_anchor(messages: Sequence[Message]) -> Message | None:
    """Return the last answer that carries its session and turn."""
    return next((message for message in reversed(messages) if message.is_anchor), None)


def decide(conversation: Conversation, *, index_ids: Sequence[str] | None, snapshot: Snapshot) -> Plan:
    """Decide how a conversation, already checked, goes on.

    Args:
        conversation: The messages, and how they are to be told.
        index_ids: The indexes wanted; None for those of the session.
        snapshot: What is known of the anchor's session.
    """
    messages, render = conversation.messages, conversation.render
    if conversation.session_id is not None:
        return Continue(conversation.session_id, _prompt(_after_last(messages, "assistant"), render))
    anchor = find_anchor(messages)
    if anchor is None:
        return Start(_prompt(messages, render))
    assert anchor.session_id is not None
    assert anchor.turn is not None
    if snapshot.is_gone or snapshot.is_in_use:
        return Fork(anchor.session_id, _prompt(messages, render))
    count = snapshot.turn_count
    is_stale = count is None or count < anchor.turn or snapshot.age >= conversation.freshness
    if is_stale and not snapshot.was_read:
        return Look(anchor.session_id)
    wanted, bound = set(index_ids or ()), set(snapshot.index_ids or ())
    has_other_indexes = bool(wanted and bound) and wanted != bound
    if count != anchor.turn or has_other_indexes:
        return Fork(anchor.session_id, _prompt(messages, render))
    return Continue(anchor.session_id, _prompt(messages[_position(messages, anchor) + 1 :], render))


def check_messages(messages: Sequence[Message]) -> None:
    """Check that there is something to ask, and that it can be sent.

    Raises:
        ConfigurationError: There is nothing, or it cannot.
    """
    if not messages:
        raise ConfigurationError("There are no messages. Give at least one message of the user.")
    if messages[-1].role != "user":
        raise ConfigurationError(
            f"The last message is of role {messages[-1].role!r}; the agent answers the user. End with a message of "
            "the user."
        )
    for message in messages:
        check_text("messages", message.text)
    check_prompt(messages[-1].text)


def _position(messages: Sequence[Message], wanted: Message) -> int:
    return max(position for position, message in enumerate(messages) if message is wanted)


def _after_last(messages: Sequence[Message], role: Role) -> Sequence[Message]:
    positions = [position for position, message in enumerate(messages) if message.role == role]
    return messages[positions[-1] + 1 :] if positions else messages


def _prompt(messages: Sequence[Message], render: Renderer) -> str:
    """Say what the agent has not heard: the user's words as they are, anything else as a transcript."""
    if all(message.role == "user" and message.name is None for message in messages):
        return "\n\n".join(message.text for message in messages if message.text.strip())
    return check_prompt(render(messages))


_OPENING = "This conversation has taken place so far:"
_CLOSING = "Answer the user's next message, which is everything below this line."


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
    quoted = [f"[{_heading(message)}]\n{_quote(message.text)}" for message in earlier if message.text.strip()]
    if not quoted:
        return last.text
    return "\n\n".join(
        [
            _OPENING,
            *quoted,
            _CLOSING,
            last.text,
        ]
    )


def unfold_transcript(prompt: str) -> tuple[list[str], str]:
    """Return what the user had asked before, as a prompt of `render_transcript` tells it, and what is asked now.

    A prompt that tells of nothing is returned as it is.
    """
    told, mark, asked = prompt.partition(f"\n\n{_CLOSING}\n\n")
    if not mark or not told.startswith(f"{_OPENING}\n\n"):
        return [], prompt
    # Everything that was said is quoted, so no message can be taken for a heading.
    blocks = [block.partition("\n") for block in told.split("\n\n")[1:]]
    return [_unquote(quoted) for heading, _, quoted in blocks if heading == "[user]"], asked


def _heading(message: Message) -> str:
    name = " ".join((message.name or "").split()).replace("[", "(").replace("]", ")")
    return f"{message.role}: {name}" if name else message.role


def _unquote(text: str) -> str:
    return "\n".join(line.removeprefix(">").removeprefix(" ") for line in text.split("\n"))


def _quote(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


@dataclass(frozen=True)
class Conversation:
    """Messages to go on from, when the session is to be decided by them.

    Attributes:
        messages: The conversation; its last message is the user's.
        session_id: A session to use as it is.
        freshness: After how many seconds knowledge of a session must be looked up again.
        render: Turns messages into a prompt.
        keep_session: Whether a session that is opened for this outlives it.
    """

    messages: Sequence[Message]
    session_id: str | None = None
    freshness: float = DEFAULT_FRESHNESS
    render: Renderer = render_transcript
    keep_session: bool = True


@dataclass(frozen=True)
class Anchor:
    """Where an answer stands.

    Attributes:
        session_id: The session it was given in; None if that is not told.
        turn: Which turn of that session it was, from 1; None if that is not told.
    """

    session_id: str | None = None
    turn: int | None = None

    @classmethod
    def read(cls, metadata: Mapping[str, Any]) -> Anchor:
        """Return what an answer's metadata says under `session_id` and `turn`.

        Args:
            metadata: What a framework's message carries beside its text. Messages travel, through stores and by hand:
                what is no id or no number counts as not told.
        """
        session_id, turn = metadata.get("session_id"), metadata.get("turn")
        is_number = isinstance(turn, int) and not isinstance(turn, bool)
        return cls(session_id if isinstance(session_id, str) else None, turn if is_number else None)


class ConverseOptions(TypedDict, total=False):
    """The keyword arguments of `ChatClient.converse` and its twin, for whoever passes them on.

    Attributes:
        session_id: A session to use as it is.
        index_ids: The indexes of a new session, or for this prompt on an unbound one.
        require_all_indexes: Whether an index that cannot be queried fails the turn.
        keep_session: Whether a session that is opened for this outlives it.
        freshness: After how many seconds a session must be read again.
        render: Turns a transcript into a prompt.
    """

    session_id: str | None
    index_ids: Sequence[str] | None
    require_all_indexes: bool | None
    keep_session: bool
    freshness: float
    render: Renderer
