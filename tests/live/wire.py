"""The wire as it comes, over plain HTTP: our own client is not to judge itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import httpx

Event: TypeAlias = "dict[str, Any]"

DEFAULT_QUESTION = "In one short sentence: what are these documents about?"

_CHAT = "/api/v1/chat"
_PATIENCE = 120.0
"""Seconds after which a turn that nobody listens to is given up."""


@dataclass(frozen=True)
class Place:
    """Where the service is, and what may be asked there.

    Attributes:
        base_url: Its address.
        api_key: The key.
        index_ids: The indexes.
        scope: The project and the organisation, as a query.
        question: What is asked; short, for it is asked several times.
        pause: Seconds between two looks at a history.
    """

    base_url: str
    api_key: str
    index_ids: tuple[str, ...]
    scope: dict[str, str] = field(default_factory=dict)
    question: str = DEFAULT_QUESTION
    pause: float = 2.0


@dataclass(frozen=True)
class Message:
    """One server-sent event, or a comment.

    Attributes:
        name: What stands after `event:`; empty if nothing does.
        data: What stands after `data:`; empty if nothing does.
        others: Its other lines.
    """

    name: str = ""
    data: str = ""
    others: tuple[str, ...] = ()

    @property
    def event(self) -> Event:
        """The data as JSON."""
        read = json.loads(self.data)
        assert isinstance(read, dict), f"data that is no object: {self.data[:80]}"
        return read


@dataclass
class Answer:
    """What came.

    Attributes:
        status: The status.
        headers: The headers.
        pieces: The body as it arrived, each piece with the seconds since the request.
        ended: The seconds until the end of the body.
    """

    status: int
    headers: httpx.Headers
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    ended: float = 0.0

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(piece for _, piece in self.pieces)

    @property
    def json(self) -> Any:
        """The body as JSON; None if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def messages(self) -> list[Message]:
        """The server-sent events and comments of the body."""
        blocks = self.body.decode().replace("\r\n", "\n").split("\n\n")
        return [_message(block.split("\n")) for block in blocks if block.strip()]

    @property
    def events(self) -> list[Event]:
        """The events alone."""
        return [message.event for message in self.messages if message.data]

    @property
    def problem(self) -> str:
        """A refusal in a few words."""
        return f"{self.status} {self.body.decode(errors='replace')[:160]}"

    def arrived(self, words: bytes) -> float | None:
        """Return after how many seconds these had arrived."""
        body = b""
        for seconds, piece in self.pieces:
            body += piece
            if words in body:
                return seconds
        return None


def _message(lines: Sequence[str]) -> Message:
    fields = {name: value.removeprefix(" ") for name, _, value in (line.partition(":") for line in lines) if name}
    others = tuple(line for line in lines if not line.startswith(("event:", "data:")))
    return Message(fields.get("event", ""), fields.get("data", ""), others)


class Wire:
    """Sends requests, and deletes at the end what they made.

    Attributes:
        place: Where the service is.
        recorded: The answers that are worth keeping, by name.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.recorded: dict[str, Answer] = {}
        self._http = httpx.Client(
            base_url=place.base_url,
            headers={"Authorization": f"Bearer {place.api_key}", "Accept-Encoding": "identity"},
            timeout=httpx.Timeout(_PATIENCE, connect=10.0),
        )
        self._made: list[str] = []

    def request(self, method: str, path: str, *, body: Any = None, key: str | None = None, **query: Any) -> Answer:
        """Send a request, with another key if one is given; return what came."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        with self._stream(method, path, body, headers, query) as (answer, pieces):
            for _ in pieces:
                pass
        if method == "POST" and path == _CHAT and answer.status < 300:
            self._made.append(answer.json["session_id"])
        return answer

    def create(self, *index_ids: str) -> str:
        """Open a session, bound to these indexes if there are any; return its id."""
        answer = self.request("POST", _CHAT, body={"index_ids": list(index_ids)} if index_ids else {})
        assert answer.status < 300, answer.problem
        return str(answer.json["session_id"])

    def history(self, session_id: str) -> Answer:
        """Read a session."""
        return self.request("GET", f"{_CHAT}/{session_id}")

    def history_when(self, session_id: str, is_so: Callable[[list[Event]], bool]) -> tuple[float, list[Event]]:
        """Read a session until its events are as expected, or patience ends; return after how long, and the events."""
        began = time.monotonic()
        while True:
            events = self.history(session_id).json["events"]
            passed = time.monotonic() - began
            if is_so(events) or passed > _PATIENCE:
                return passed, events
            time.sleep(self.place.pause)

    def ask(self, session_id: str, prompt: str, index_ids: Sequence[str] | None = None, **body: Any) -> Answer:
        """Ask, and read the answer to its end."""
        with self.asking(session_id, prompt, index_ids, **body) as (answer, pieces):
            for _ in pieces:
                pass
        return answer

    @contextmanager
    def asking(
        self, session_id: str, prompt: str, index_ids: Sequence[str] | None = None, **body: Any
    ) -> Iterator[tuple[Answer, Iterator[bytes]]]:
        """Ask; give the answer, which grows as the pieces of its body are read. Leaving early cuts the line."""
        asked = {"index_ids": list(self.place.index_ids if index_ids is None else index_ids), "prompt": prompt, **body}
        path = f"{_CHAT}/{session_id}/messages/stream"
        with self._stream("POST", path, asked, {"Accept": "text/event-stream"}, {}) as both:
            yield both

    def close(self) -> None:
        """Delete the sessions that were made."""
        for session_id in self._made:
            self.request("DELETE", f"{_CHAT}/{session_id}")
        self._http.close()

    @contextmanager
    def _stream(
        self, method: str, path: str, body: Any, headers: dict[str, str], query: dict[str, Any]
    ) -> Iterator[tuple[Answer, Iterator[bytes]]]:
        began = time.monotonic()
        params = {**self.place.scope, **query}
        with self._http.stream(method, path, json=body, headers=headers, params=params) as response:
            answer = Answer(response.status_code, response.headers)

            def pieces() -> Iterator[bytes]:
                for piece in response.iter_raw():
                    answer.pieces.append((time.monotonic() - began, piece))
                    yield piece
                answer.ended = time.monotonic() - began

            yield answer, pieces()


def told(events: Sequence[Event], kind: str) -> str:
    """Return what the segments of a kind say, by their wholes if there are any, else by their deltas."""
    wholes = [event["content"] for event in events if event.get("type") == kind]
    deltas = [event["content"] for event in events if event.get("type") == f"{kind}_delta"]
    return "".join(wholes or deltas)


def ends(events: Sequence[Event]) -> bool:
    """Whether the last turn is over."""
    return bool(events) and events[-1].get("type") == "stop"
