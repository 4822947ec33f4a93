"""Answers as they came from a service, recorded by `make live RECORD=...`, replayed through the client."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llama_cloud_chat import ChatClient, NotFoundError, PromptTooLongError, TextDelta, Turn
from tests.support.clients import KEY
from tests.support.server import Cut, Request, ScriptedServer, Step, plain

RECORDINGS = sorted(Path(__file__).with_name("recorded").glob("*.json"))
LONG = "x" * 1001


class Replay(ScriptedServer):
    """Answers as recorded; a prompt stands in the history once it was asked.

    Attributes:
        packet: How many bytes of a stream go out at once; None for all.
        cut_after: After how many bytes of a stream the line is cut.
    """

    def __init__(self, recording: dict[str, Any]) -> None:
        super().__init__()
        self.recording = recording
        self.packet: int | None = None
        self.cut_after: int | None = None

    @property
    def history(self) -> dict[str, Any]:
        history: dict[str, Any] = json.loads(self.recording["history"]["body"])
        return history

    @property
    def prompts(self) -> list[str]:
        return [request.json["prompt"] for request in self.requests if request.path.endswith("/stream")]

    def answer(self, request: Request) -> Iterable[Step]:
        path = request.path.removeprefix("/api/v1")
        if path == "/indexes":
            return [self._plain("indexes")]
        if path == "/chat":
            return [self._plain("create")]
        if path.endswith("/stream"):
            return [self._plain("too_long")] if request.json["prompt"] == LONG else self._stream()
        if path.endswith("/summary"):
            return [self._plain("summary")]
        if self.history["session_id"] not in path:
            return [self._plain("no_session")]
        events = self.history["events"] if self.prompts else []
        return [plain(200, json.dumps({**self.history, "events": events}).encode())]

    def _plain(self, name: str) -> bytes:
        recorded = self.recording[name]
        return plain(
            recorded["status"], recorded["body"].encode(), {"Content-Type": recorded["headers"]["content-type"]}
        )

    def _stream(self) -> Iterator[Step]:
        whole = self._plain("stream")
        if self.cut_after is not None:
            yield whole[: whole.index(b"\r\n\r\n") + 4 + self.cut_after]
            yield Cut()
            return
        size = self.packet or len(whole)
        yield from (whole[start : start + size] for start in range(0, len(whole), size))


@pytest.fixture(params=RECORDINGS, ids=[file.stem for file in RECORDINGS])
def replay(request: pytest.FixtureRequest) -> Iterator[Replay]:
    with Replay(json.loads(request.param.read_text("utf-8"))) as server:
        yield server


@pytest.fixture
def client(replay: Replay) -> Iterator[ChatClient]:
    with ChatClient(KEY, base_url=replay.base_url) as client:
        yield client


def asked(replay: Replay, client: ChatClient) -> tuple[str, Turn]:
    """Ask what was asked; return the joined deltas, and the turn."""
    prompt = replay.history["events"][0]["content"]
    with client.stream(replay.history["session_id"], prompt) as stream:
        deltas = "".join(event.content for event in stream if isinstance(event, TextDelta))
    return deltas, stream.turn


def essence(turn: Turn) -> tuple[object, ...]:
    return turn.prompt, turn.text, turn.thinking, turn.tool_calls, turn.sources, turn.number, turn.is_error


def test_there_is_something_to_replay() -> None:
    assert RECORDINGS


@pytest.mark.parametrize("packet", [None, 1, 7, 64])
def test_a_recorded_turn_is_read_however_it_is_cut_into_packets(
    replay: Replay, client: ChatClient, packet: int | None
) -> None:
    replay.packet = packet
    deltas, turn = asked(replay, client)
    assert turn.is_complete
    assert deltas == turn.text != ""
    (read,) = client.session(replay.history["session_id"]).turns()
    assert essence(read) == essence(turn)


@pytest.mark.parametrize("tenths", range(1, 10))
def test_a_recorded_turn_that_breaks_off_is_completed_from_the_recorded_history(
    replay: Replay, client: ChatClient, tenths: int
) -> None:
    replay.cut_after = len(replay.recording["stream"]["body"].encode()) * tenths // 10
    deltas, turn = asked(replay, client)
    (read,) = client.session(replay.history["session_id"]).turns()
    assert deltas == turn.text == read.text
    assert essence(read) == essence(turn)
    assert len(replay.prompts) == 1


def test_what_was_recorded_besides_a_turn_is_read(replay: Replay, client: ChatClient) -> None:
    assert client.create().session_id
    assert client.get_summary(replay.history["session_id"]).generated_title
    assert [index.status for index in client.indexes()]
    with pytest.raises(NotFoundError):
        client.retrieve("nobody")


def test_the_limit_is_learnt_from_the_recorded_refusal(replay: Replay, client: ChatClient) -> None:
    if replay.recording.get("too_long", {}).get("status") != 422:
        pytest.skip("no limit was enforced there")
    with pytest.raises(PromptTooLongError) as caught:
        client.session(replay.history["session_id"]).ask(LONG)
    assert caught.value.limit == 1000
