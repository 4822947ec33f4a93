"""A tiny fake of the chat service: sessions with histories, and prompts that go as wrong as they are told to."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from .server import CHUNKED, UNTIL_CLOSED, Cut, Gate, Request, ScriptedServer, Step, chunk, head, in_json, plain
from .turns import Style, WireEvent, messages, said, told

NOT_THERE: None = None


@dataclass
class Play:
    """How one prompt is treated.

    Attributes:
        events: What the agent does.
        cut_after: After how many bytes of the answer, its head included, the connection is cut.
        reset: Whether it is cut with a reset.
        chunked: Whether the answer comes in chunks, whose end shows; else it goes on until the connection is closed.
        is_taken: Whether the prompt comes into the session's history.
        instead: What is answered instead of the stream; the prompt may have been taken nevertheless.
        steps: Makes the answer's steps from its pieces: the head, each message, the end.
        history: What successive readings of the history show of the turn, the last one for good; `NOT_THERE` for not
            even its prompt. By default all of it, in the service's style.
    """

    events: Sequence[WireEvent] = field(default_factory=lambda: said("Yes."))
    cut_after: int | None = None
    reset: bool = False
    chunked: bool = True
    is_taken: bool = True
    instead: Sequence[Step] | None = None
    steps: Callable[[list[bytes]], Iterable[Step]] | None = None
    history: Sequence[Sequence[WireEvent] | None] | None = None

    def answer(self) -> Iterable[Step]:
        """Return the steps of the answer."""
        if self.instead is not None:
            return self.instead
        if self.steps is not None:
            return self.steps(self.pieces())
        whole = b"".join(self.pieces())
        if self.cut_after is not None:
            return [whole[: self.cut_after], Cut(self.reset)]
        return [whole] if self.chunked else [whole, Cut()]

    def pieces(self) -> list[bytes]:
        """Return the head, each message and the end of the answer."""
        if not self.chunked:
            return [head(200, UNTIL_CLOSED), *messages(self.events), b""]
        return [head(200, CHUNKED), *map(chunk, messages(self.events)), chunk(b"")]


class Held(Play):
    """A turn that begins, waits at its gate, and goes on when that is opened, if ever.

    Args:
        events: What the agent does.
        before: How many pieces come before the gate; -1 for all but the end.
        gate: Where it waits, if several are to wait at one.
        fields: As of any play.
    """

    def __init__(
        self, events: Sequence[WireEvent] | None = None, before: int = 2, gate: Gate | None = None, **fields: Any
    ) -> None:
        super().__init__(said("Held.") if events is None else events, steps=self._hold, **fields)
        self.before = before
        self.gate = gate or Gate()

    def _hold(self, pieces: list[bytes]) -> Iterator[Step]:
        yield b"".join(pieces[: self.before])
        yield self.gate
        yield b"".join(pieces[self.before :])


@dataclass
class Asked:
    """A prompt that was taken."""

    prompt: str
    play: Play
    readings: int = 0

    def in_history(self, style: Style) -> list[WireEvent]:
        """Return what the history shows of it, this time."""
        self.readings += 1
        shown: Sequence[WireEvent] | None = told(self.play.events, style)
        if self.play.history is not None:
            shown = self.play.history[min(self.readings, len(self.play.history)) - 1]
        return [] if shown is NOT_THERE else [{"type": "user_input", "content": self.prompt}, *shown]


@dataclass
class FakeSession:
    """A session as the service keeps it."""

    session_id: str
    index_ids: list[str] | None = None
    turns: list[Asked] = field(default_factory=list)
    title: str | None = None

    def summary(self) -> dict[str, Any]:
        """Return its summary."""
        return {
            "session_id": self.session_id,
            "last_updated_at": "2026-04-22T12:34:41.342245",
            "generated_title": self.title,
            "index_ids": self.index_ids,
            "job_metadata": None,
        }


class ChatService(ScriptedServer):
    """The chat API, as far as a client can tell.

    Attributes:
        style: How its histories tell turns.
        sessions: Its sessions, by id.
        plays: How the next prompts are treated; after them, and from the start if there are none, every prompt is
            answered by `reply`.
        reply: Answers a prompt.
        instead: What is answered instead, by operation, the next times.
        max_prompt_chars: How many characters a prompt may hold.
    """

    def __init__(self, style: Style = "both") -> None:
        super().__init__()
        self.style = style
        self.max_prompt_chars: int | None = None
        self.sessions: dict[str, FakeSession] = {}
        self.plays: deque[Play] = deque()
        self.reply: Callable[[str], Play] = lambda prompt: Play(said(f"You said: {prompt}"))
        self.instead: defaultdict[str, deque[Sequence[Step]]] = defaultdict(deque)
        self._asked: list[tuple[str, Request]] = []

    def add_session(self, *turns: tuple[str, Sequence[WireEvent]], index_ids: list[str] | None = None) -> str:
        """Add a session with these turns; return its id."""
        session_id = f"ses-{len(self.sessions) + 1}"
        asked = [Asked(prompt, Play(events)) for prompt, events in turns]
        self.sessions[session_id] = FakeSession(session_id, index_ids, asked)
        return session_id

    def add_turn(self, session_id: str, prompt: str, events: Sequence[WireEvent]) -> None:
        """Let another client have a turn."""
        self.sessions[session_id].turns.append(Asked(prompt, Play(events)))

    def received(self, operation: str) -> list[Request]:
        """Return the requests for one operation."""
        return [request for name, request in self._asked if name == operation]

    @property
    def prompts(self) -> list[str]:
        """The prompts that arrived, whatever became of them."""
        return [request.json["prompt"] for request in self.received("stream")]

    def operations(self) -> list[str]:
        """Return the names of the operations asked for, in order."""
        return [name for name, _ in self._asked]

    def answer(self, request: Request) -> Iterable[Step]:
        """Return the answer to a request."""
        operation, session_id = _operation(request)
        self.note(lambda: self._asked.append((operation, request)))
        session = self.sessions.get(session_id)
        if self.instead[operation]:
            return self.instead[operation].popleft()
        if operation == "create":
            session = self.sessions[self.add_session(index_ids=request.json.get("index_ids"))]
            return [in_json(session.summary())]
        if operation == "list":
            return [in_json({"items": [one.summary() for one in self.sessions.values()]})]
        if operation in {"attachment", "file"}:
            url = {"url": f"{self.base_url}/files/1?signature=s3cret", "expires_at": "2026-04-22T12:34:41"}
            return [in_json(url) if operation == "attachment" else plain(200, b"\x89PNG")]
        if session is None:
            return [in_json({"detail": "No such session."}, 404)]
        return self._answer_in(session, operation, request)

    def _answer_in(self, session: FakeSession, operation: str, request: Request) -> Iterable[Step]:
        if operation in {"retrieve", "summary", "title"}:
            if operation == "title":
                session.title = request.json["first_message"]
            answer = session.summary()
            if operation == "retrieve":
                answer["events"] = [event for asked in session.turns for event in asked.in_history(self.style)]
            return [in_json(answer)]
        if operation == "delete":
            del self.sessions[session.session_id]
            return [plain(204)]
        assert operation == "stream", operation
        prompt = request.json["prompt"]
        if self.max_prompt_chars is not None and len(prompt) > self.max_prompt_chars:
            return [in_json(too_long(prompt, self.max_prompt_chars), 422)]
        play = self.plays.popleft() if self.plays else self.reply(prompt)
        if play.is_taken:
            session.turns.append(Asked(prompt, play))
        return play.answer()


def too_long(prompt: str, limit: int) -> dict[str, Any]:
    """Return how the service refuses a prompt that is too long."""
    problem = {
        "type": "string_too_long",
        "loc": ["body", "prompt"],
        "msg": f"String should have at most {limit} characters",
        "input": prompt,
        "ctx": {"max_length": limit},
    }
    return {"detail": [problem]}


def _operation(request: Request) -> tuple[str, str]:
    """Return which operation a request is for, and which session it names."""
    parts = request.path.removeprefix("/api/v1/").split("/")
    session_id = unquote(parts[1]) if len(parts) > 1 else ""
    if parts[0] == "indexes":
        return "indexes", ""
    if parts[0] != "chat":
        return "attachment" if parts[0] == "beta" else "file", ""
    names = {
        ("GET", 1): "list",
        ("POST", 1): "create",
        ("GET", 2): "retrieve",
        ("DELETE", 2): "delete",
        ("GET", 3): "summary",
        ("POST", 3): "title",
        ("POST", 4): "stream",
    }
    return names.get((request.method, len(parts)), f"{request.method} {request.path}"), session_id
