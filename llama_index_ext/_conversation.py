"""What has been said so far, as the user of an engine sees it, and which session it goes on in."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property

from llama_index.core.base.llms.types import ChatMessage

from llama_cloud_chat import ConfigurationError, Message, SessionBusyError, Turn

from ._converter import answer_message, answer_to_core, history_messages
from ._messages import anchor_of, to_core


class Place:
    """A place in the queue before a conversation's next turn."""

    def __init__(self) -> None:
        self.reached: Future[None] = Future()
        self.loop = running_loop()


@dataclass
class _Asked:
    """A prompt and its turn, which grows by itself until it is over.

    If it broke off, asking the same again delivers the rest.
    """

    prompt: ChatMessage
    turn: Turn
    is_over: bool = False
    broke_off: bool = False

    def to_core(self) -> tuple[Message, Message]:
        """Return the prompt and the answer as the core takes them."""
        return self._prompt, self._answer if self.is_over else answer_to_core(self.turn)

    @cached_property
    def _prompt(self) -> Message:
        return to_core([self.prompt])[0]

    @cached_property
    def _answer(self) -> Message:
        return answer_to_core(self.turn)


class Conversation:
    """A conversation: messages that began it, or a session that is resumed, and the turns since.

    Turns queue up until the one before them has begun, for only then the session is known; from there on the core
    queues them up. A session that the user named is used as it is. Any other is found by where the last answer stands,
    so that it is forked if it is gone or has moved on; only while a turn of this conversation still runs on it, the
    next one waits there.

    Args:
        messages: What was said before; the last answer among them that carries a session is continued.
        session_id: A session to use as it is, instead.
    """

    def __init__(self, messages: Sequence[ChatMessage] = (), session_id: str | None = None) -> None:
        self._named = session_id
        self._messages = [_copied(message) for message in messages]
        self._past: list[Turn] | None = None if session_id is not None else []
        self._since: list[_Asked] = []
        self._running = 0
        self._lock = threading.Lock()
        self._queue: deque[Place] = deque()

    @property
    def session_id(self) -> str | None:
        """The session it goes on in; None until that is decided."""
        if self._since:
            return self._since[-1].turn.session_id
        stands = (anchor_of(message).session_id for message in reversed(self._messages))
        return self._named or next((session_id for session_id in stands if session_id), None)

    @property
    def unread_session_id(self) -> str | None:
        """The session that is resumed and must be read before `messages` is whole; None once it was."""
        return self.session_id if self._past is None else None

    def take_history(self, turns: Sequence[Turn]) -> None:
        """Take up what was read of a resumed session."""
        if self._past is None:
            self._past = list(turns)

    def question(self, new: Sequence[ChatMessage]) -> tuple[list[Message], str | None]:
        """Return what to ask with: messages, and the session to ask them on if it is not theirs to say."""
        with self._lock:
            since = [one for one in self._since if not self._is_asked_again(one, new[-1])]
            session_id = self._named or (self.session_id if self._running else None)
        said = to_core([*self._messages, *history_messages(self._past_turns())])
        for one in since:
            said += one.to_core()  # an empty answer says where it stands, too
        return [*said, *to_core(new)], session_id

    def note(self, prompt: ChatMessage, turn: Turn) -> None:
        """Take note of a turn that has begun; it grows by itself."""
        with self._lock:
            self._since = [one for one in self._since if not self._is_asked_again(one, prompt)]
            self._since.append(_Asked(prompt, turn))
            self._running += 1

    def close(self, turn: Turn, *, broke_off: bool) -> None:
        """Take note that a turn is over: read to its end, let go, or broken off."""
        with self._lock:
            self._running -= 1
            for one in self._since:
                if one.turn is turn:
                    one.is_over, one.broke_off = True, broke_off

    def _is_asked_again(self, asked: _Asked, prompt: ChatMessage) -> bool:
        """Whether a prompt is that of the last turn, which broke off: the conversation is then asked as it was."""
        return asked.broke_off and asked is self._since[-1] and asked.prompt.content == prompt.content

    def _past_turns(self) -> list[Turn]:
        first = self._since[0].turn.number if self._since else None
        return [turn for turn in self._past or () if first is None or turn.number is None or turn.number < first]

    def messages(self) -> list[ChatMessage]:
        """Return what was said so far, without the past of a session that was not read."""
        said = [*copy.deepcopy(self._messages), *history_messages(self._past_turns())]
        for one in list(self._since):
            said.append(one.prompt.model_copy(deep=True))
            answer = answer_message(one.turn)
            if answer.blocks:
                said.append(answer)
        return said

    def __reduce__(self) -> tuple[type[Conversation], tuple[list[ChatMessage], str | None]]:
        # In a copy the messages say where it stands, so that it forks if this one goes on first. A session that was
        # never read is still a session and nothing else.
        return Conversation, (self.messages(), None) if self._past is not None else ([], self._named)

    def queue_up(self) -> Place:
        """Take a place in the queue."""
        place = Place()
        with self._lock:
            self._queue.append(place)
            if len(self._queue) == 1:
                place.reached.set_result(None)
        return place

    def wait(self, place: Place) -> None:
        """Block until it is this place's turn.

        Raises:
            SessionBusyError: That would never come: a task of the event loop that this blocks is before it.
        """
        with self._lock:
            is_hopeless = place.loop is not None and any(
                other.loop is place.loop for other in self._queue if other is not place
            )
        if is_hopeless and not place.reached.done():
            raise SessionBusyError(
                "A task of this event loop is asking on the same conversation, and a blocking call would keep it "
                "from getting on. Use the asynchronous methods here."
            )
        place.reached.result()

    async def wait_async(self, place: Place) -> None:
        """Wait until it is this place's turn."""
        # Shielded: a cancelled wait must leave the future alone, which another thread may be about to set.
        await asyncio.shield(asyncio.wrap_future(place.reached))

    def wake(self, place: Place) -> None:
        """Let whoever waits at a place go on, because they are not going to ask."""
        with self._lock:
            if not place.reached.done():
                place.reached.set_result(None)

    def leave(self, place: Place) -> None:
        """Give the place up, whether it was reached or not; the next one in the queue comes up."""
        with self._lock:
            if place in self._queue:
                self._queue.remove(place)
            if self._queue and not self._queue[0].reached.done():
                self._queue[0].reached.set_result(None)


def _copied(message: ChatMessage) -> ChatMessage:
    if not isinstance(message, ChatMessage):
        raise ConfigurationError(f"chat_history must be a list of ChatMessage; it holds {type(message).__name__}.")
    return message.model_copy(deep=True)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
