"""What a ledger is, and why a question under a key is asked once, whoever dies when.

A *key* names a question. Whoever asks under it goes through these steps, all of them inside `hold(key)`:

    1. read the note                                   none: go on with 2; one: go on with 5
    2. make or find the session, count its turns
    3. write the note: session, count, prompt          durable before the next step begins
    4. send the prompt, read the answer, then write the note again with the turn's number (and with the turn itself
       where the session will not be kept)
    5. a note is there: look for the turn in the session's history, after the first `turns_before`, by its prompt.
       Finished: deliver it. Running: wait for it. Absent: send the prompt, as the note says, in the session it names;
       of a prompt that is told in parts, those parts that are not there.

A process may be killed, or lose its ledger, between any two of them. What the next one finds:

    after   the ledger says   the service has         so the next one
    1       nothing           nothing                 begins anew
    2       nothing           an empty session        begins anew; the session is an orphan, no question was asked twice
    3       the session       no such turn            sends the prompt, in that session
    4a      the session       the turn, running       waits for it: the service goes on when its client leaves
    4b      the session       the turn, finished      delivers it from the history
    4c      session, number   the same                delivers it, by its number
    4d      the whole turn    nothing, it was deleted delivers it from the note

So the note comes first: whoever may have sent a prompt has left word of where it would be. And the session is deleted
last, after the finished turn was written down. A note written twice says the same or more, so a write that may or may
not have arrived is repeated without harm.

Two processes that live at the same time could both find "absent". That is what `hold` is for: it is a lock of the
operating system or of the database, and goes when its holder's process, or connection, goes. No lease runs out in the
middle of a long turn, and nobody waits for the dead. A connection that is lost in the middle of a turn loses the lock
before the holder is done; the note of step 3 still leads whoever comes next to the turn that runs, and not to a second
one. Only a prompt that was sent and has not arrived yet could escape that look; so absence counts only when it is seen
twice, with a pause (see `recovery`).

Counts of turns (`remember`) are hints about sessions, not promises: what is older than `freshness`, or of unknown age,
is looked up. A ledger that holds sessions is asked to before each turn, and its count is forgotten until the turn is
over: a holder that dies leaves none behind, and the next one looks. So its counts are right.

Keys come in hashed, over service, project, key and the user's words for it. A ledger sees no prompt and no secret; it
sees an answer only where a session will not be kept, since nothing else could give it back.
"""

from __future__ import annotations

import abc
import json
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Note:
    """What is written under a key, first before its prompt is sent.

    Attributes:
        question: A digest of the question, so that another question under the same key is noticed.
        session_id: The session that it is asked in.
        turns_before: How many turns the session had.
        prompt: A digest of the prompt as it was sent; the turn is found by it.
        number: Which turn it became; None until that is known.
        turn: The finished turn as plain JSON, where its session is not kept; else None.
        is_kept: Whether the session stays once the question is answered.
    """

    question: str
    session_id: str
    turns_before: int
    prompt: str
    number: int | None = None
    turn: dict[str, Any] | None = None
    is_kept: bool = True

    @property
    def is_finished(self) -> bool:
        """Whether it says which turn answers the question, or holds it."""
        return self.number is not None or self.turn is not None

    def to_json(self) -> str:
        """Return the note as one line of JSON, in ASCII: no database alters or refuses that."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Note:
        """Return a note from what `to_json` wrote.

        Args:
            text: One line of JSON.
        """
        return cls(**json.loads(text))


class SessionCount(NamedTuple):
    """How many turns a session had, and how long ago.

    Attributes:
        turns: How many turns it had, all over.
        age: For how long that has been known, in seconds, by the ledger's own clock; never negative.
    """

    turns: int
    age: float


class Hold(abc.ABC):
    """A name to be held by one at a time: `with hold:` or `async with hold:`.

    Entering waits until the name is free. Waiting can be interrupted or cancelled, and gives everything back. Leaving,
    or the end of the process, however it ends, frees the name. Each `hold()` is for one `with` at a time.
    """

    @abc.abstractmethod
    def __enter__(self) -> Hold: ...

    @abc.abstractmethod
    def __exit__(self, *error: object) -> None: ...

    @abc.abstractmethod
    async def __aenter__(self) -> Hold: ...

    @abc.abstractmethod
    async def __aexit__(self, *error: object) -> None: ...


class Ledger(abc.ABC):
    """A memory for keys that outlives a client: what was asked where, and who asks at this moment.

    Give one to a client (`ledger=`), and ask with `key=`. `MemoryLedger` is for one process, `SqliteLedger` for one
    machine, `PostgresLedger` for many. The methods are for clients, but for `hold` and `close`; any thread and any task
    may call them. Each async twin has an `a` in front.

    A ledger that cannot be used raises one `ChatError` that names it; a `ConfigurationError` where it never could be.

    Attributes:
        holds_sessions: Whether clients hold each session by it, too, for one turn at a time.
    """

    holds_sessions: bool = False

    @abc.abstractmethod
    def read(self, key: str) -> Note | None:
        """Return the note under a key; None if there is none.

        Args:
            key: The key, hashed over its scope.
        """

    @abc.abstractmethod
    async def aread(self, key: str) -> Note | None:
        """Do as `read`."""

    @abc.abstractmethod
    def write(self, key: str, note: Note) -> None:
        """Put a note under a key, in place of the one there was; it is durable when this returns.

        Args:
            key: The key, hashed over its scope.
            note: What to write.
        """

    @abc.abstractmethod
    async def awrite(self, key: str, note: Note) -> None:
        """Do as `write`; a write that has begun is over before a cancellation goes on."""

    @abc.abstractmethod
    def hold(self, name: str) -> Hold:
        """Return a lock on a name, for `with` or `async with`, that one process, thread and task holds at a time.

        Hold a name of the thread or the user around a whole graph run, so that its checkpoint is read, continued and
        written by one worker at a time. Whoever asks for a second name inside a hold must ask in the same order
        everywhere, or two may wait for each other for ever.

        Args:
            name: Any text; the same one on every worker.

        Raises:
            SessionBusyError: On entering: who asks holds the name already, so waiting for it would never end.
            ChatError: On entering: the ledger cannot be used.
        """

    @abc.abstractmethod
    def recall(self, session: str) -> SessionCount | None:
        """Return how many turns a session had when that was last remembered; None if that is not known.

        Args:
            session: The session, hashed over its scope.
        """

    @abc.abstractmethod
    async def arecall(self, session: str) -> SessionCount | None:
        """Do as `recall`."""

    @abc.abstractmethod
    def remember(self, session: str, turns: int | None) -> None:
        """Take note of how many turns a session has from now on.

        Args:
            session: The session, hashed over its scope.
            turns: How many, all over; None forgets the session.
        """

    @abc.abstractmethod
    async def aremember(self, session: str, turns: int | None) -> None:
        """Do as `remember`."""

    @abc.abstractmethod
    def close(self) -> None:
        """Give back what the ledger keeps open. It can be used again, and opens what it needs."""

    @abc.abstractmethod
    async def aclose(self) -> None:
        """Do as `close`."""

    def __copy__(self) -> Ledger:
        """Return the same ledger: whatever is copied goes on with it."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Ledger:
        """Return the same ledger: whatever is copied goes on with it."""
        return self
