"""A value that is asked for, as one turn: what streams, what it adds up to, what is deleted, in either colour."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from llama_cloud_chat import (
    AnswerDraft,
    ChatClient,
    ConfigurationError,
    Message,
    PromptTooLongError,
    Source,
    Stop,
    StreamInterruptedError,
    StructuredOutput,
    StructuredOutputError,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolResult,
    TurnFailedError,
    UserInput,
)

from ..support.server import in_json
from ..support.service import ChatService, Held, Play
from ..support.turns import said, segment, stop, tool
from .conftest import MakeClient

SCHEMA = {"type": "object", "properties": {"days": {"type": "integer"}}, "required": ["days"]}
OUTPUT = StructuredOutput(SCHEMA)
WRONG = [
    *segment("thinking", "Hm, ", "look."),
    *tool("c1", "retrieve", {"query": "q"}, {"results": [{"content": "Thirty."}]}),
    *segment("text", "It is ", '{"days": "x"}'),
    stop(skipped_index_ids=["idx-9"]),
]
RIGHT = [*segment("thinking", "Oh, ", "yes."), *segment("text", "So: ", '{"days": 30}.'), stop()]
VALUE = '{"days": 30}'
INDEXES = ["idx-1"]
ASK: dict[str, Any] = {"index_ids": INDEXES, "output": OUTPUT}
QUESTION = [Message("user", "How many?")]


def plays(service: ChatService, *plays: Play) -> None:
    service.plays.extend(plays)


def test_both_askings_are_one_turn(make: MakeClient, service: ChatService) -> None:
    plays(service, Play(WRONG), Play(RIGHT))
    stream = make().converse([Message("system", "Be brief."), *QUESTION], **ASK)
    assert stream.turn.number is None
    events = list(stream)
    turn = stream.turn
    assert (turn.text, turn.number, turn.prompt, turn.is_complete) == (VALUE, 2, "How many?", True)
    assert OUTPUT.read(turn.text).value == {"days": 30}
    assert "".join(event.content for event in events if isinstance(event, TextDelta)) == turn.text
    assert "".join(event.content for event in events if isinstance(event, ThinkingDelta)) == turn.thinking
    assert turn.thinking == "Hm, look.\n\nOh, yes."
    assert [source.text for source in turn.sources] == ["Thirty."]
    assert [type(event) for event in turn.events] == [Thinking, ToolCall, ToolResult, Thinking, Text, Stop]
    assert (turn.usage.total_input_tokens, turn.usage.turns, turn.skipped_index_ids) == (60, 4, ["idx-9"])
    assert turn.instructions is not None
    drafts = [event.raw for event in events if isinstance(event, AnswerDraft)]
    assert drafts == ["It is ", 'It is {"days": "x"}', "So: ", 'So: {"days": 30}.']
    places = [event.index for event in events if not isinstance(event, AnswerDraft | UserInput)]
    assert places == sorted(places)
    assert service.prompts[1].startswith("That did not fit: ")
    assert len(service.sessions) == 1
    assert isinstance(turn.sources[0], Source)


def test_what_fits_is_asked_once(make: MakeClient, service: ChatService) -> None:
    plays(service, Play(RIGHT))
    stream = make().converse(QUESTION, **ASK)
    list(stream)
    assert (stream.turn.text, stream.turn.number, len(service.prompts)) == (VALUE, 1, 1)


def test_an_answer_that_never_fits_is_the_last_one_as_it_is(make: MakeClient, service: ChatService) -> None:
    plays(service, Play(WRONG), Play(said("No.")))
    stream = make().converse(QUESTION, **ASK)
    list(stream)
    assert stream.turn.text == "No."
    with pytest.raises(StructuredOutputError):
        OUTPUT.read(stream.turn.text)
    assert len(service.prompts) == 2


def test_an_agent_that_says_nothing_leaves_no_text(make: MakeClient, service: ChatService) -> None:
    plays(service, Play([stop()]), Play([stop()]))
    stream = make().converse(QUESTION, **ASK)
    assert [type(event) for event in stream] == [Stop]
    assert stream.turn.text == ""


def test_a_conversation_goes_on_and_is_corrected_where_it_is(make: MakeClient, service: ChatService) -> None:
    client = make()
    session_id = service.add_session(("Hello?", said("Hello.")), index_ids=INDEXES)
    plays(service, Play(WRONG), Play(RIGHT))
    said_before = [Message("user", "Hello?"), Message("assistant", "Hello.", None, session_id, 1)]
    stream = client.converse([*said_before, *QUESTION], keep_session=False, **ASK)
    list(stream)
    assert (stream.turn.session_id, stream.turn.number) == (session_id, 3)
    assert list(service.sessions) == [session_id]


@pytest.mark.parametrize("answers", [[RIGHT], [WRONG, RIGHT], [WRONG, WRONG]])
def test_a_passing_session_is_deleted_at_the_end(make: MakeClient, service: ChatService, answers: Any) -> None:
    plays(service, *map(Play, answers))
    stream = make().converse(QUESTION, keep_session=False, **ASK)
    events = iter(stream)
    for event in events:
        assert isinstance(event, TextDelta) == (not service.sessions) or isinstance(event, Text | Stop)
    assert service.operations() == ["create", *["stream"] * len(answers), "delete"]


def test_a_session_that_cannot_be_deleted_is_reported(
    make: MakeClient, service: ChatService, caplog: pytest.LogCaptureFixture
) -> None:
    plays(service, Play(RIGHT))
    service.instead["delete"].append([in_json({"detail": "No."}, 403)])
    stream = make().converse(QUESTION, keep_session=False, **ASK)
    list(stream)
    assert stream.turn.text == VALUE
    assert "could not be deleted" in caplog.text


def test_a_turn_that_fails_says_what_came_and_leaves_no_passing_session(make: MakeClient, service: ChatService) -> None:
    plays(service, Play([*segment("text", "So ", "far"), stop(is_error=True, error="out")]))
    stream = make().converse(QUESTION, keep_session=False, **ASK)
    events: list[Any] = []
    with pytest.raises(TurnFailedError, match="out"):
        for event in stream:
            events.append(event)  # noqa: PERF402
    assert [type(event) for event in events[-3:]] == [TextDelta, Text, Stop]
    assert (stream.turn.text, stream.turn.is_error, stream.turn.number) == ("So far", True, 1)
    assert service.sessions == {}


def test_an_interrupted_turn_is_found_by_whoever_asks_again(make: MakeClient, service: ChatService) -> None:
    client = make(recovery_timeout=1)
    play = Play(RIGHT, cut_after=480, history=[[]])
    plays(service, play)
    with pytest.raises(StreamInterruptedError):
        list(client.converse(QUESTION, keep_session=False, **ASK))
    assert len(service.sessions) == 1
    play.history = [RIGHT]
    again = client.converse(QUESTION, keep_session=False, **ASK)
    list(again)
    assert (again.turn.text, len(service.prompts)) == (VALUE, 1)
    assert service.sessions == {}


def test_the_schema_gives_way_to_the_question_once_the_limit_is_known(make: MakeClient, service: ChatService) -> None:
    service.max_prompt_chars = 100
    service.reply = lambda prompt: Play(RIGHT)
    output = StructuredOutput({"properties": {"days": {"type": "integer", "description": "how many " * 9}}})
    client = make()
    for _ in range(2):
        stream = client.converse([Message("user", "How many? " * 5)], output=output, index_ids=INDEXES)
        list(stream)
        assert stream.turn.text == VALUE
    # The session of the first try, which was refused, is gone.
    assert [service.operations().count(name) for name in ("create", "delete")] == [3, 1]
    assert len(service.prompts) == 3
    with pytest.raises(PromptTooLongError, match="characters longer than the 100"):
        client.converse([Message("user", "How many? " * 9)], output=output, index_ids=INDEXES)


def test_a_key_stands_for_both_askings(make: MakeClient, service: ChatService) -> None:
    plays(service, Play(WRONG), Play(RIGHT))
    client = make()
    for _ in range(2):
        stream = client.converse(QUESTION, key="leave", **ASK)
        list(stream)
        assert stream.turn.text == VALUE
    assert len(service.prompts) == 2


def test_there_must_be_something_to_ask(make: MakeClient, service: ChatService) -> None:
    client = make()
    for wrong in ([], [Message("user", " ")]):
        with pytest.raises(ConfigurationError):
            client.converse(wrong, **ASK)
    assert service.operations() == []


def test_a_stream_that_is_let_go_closes_its_connection(make: MakeClient, service: ChatService) -> None:
    play = Held(RIGHT, before=3)
    plays(service, play)
    stream = make().converse(QUESTION, keep_session=False, **ASK)
    events = iter(stream)
    next(events)
    stream.close()
    assert service.received("stream")[-1].hung_up.wait(60)
    assert list(events) == []


def test_another_thread_may_let_it_go_while_it_is_read(service: ChatService) -> None:
    play = Held(RIGHT, before=3)
    plays(service, play)
    with ChatClient("key", base_url=service.base_url) as client:
        stream = client.converse(QUESTION, **ASK)
        read: list[Any] = []
        reader = threading.Thread(target=lambda: read.extend(stream))
        reader.start()
        assert play.gate.reached.wait(60)
        stream.close()
        reader.join(60)
    assert not reader.is_alive()
    assert not any(isinstance(event, TextDelta) for event in read)


async def test_another_task_may_let_it_go_while_it_is_read(service: ChatService) -> None:
    play = Held(RIGHT, before=3)
    plays(service, play)
    with ChatClient("key", base_url=service.base_url) as client:
        async with client.as_async() as async_client:
            stream = async_client.converse(QUESTION, **ASK)

            async def read() -> list[Any]:
                return [event async for event in stream]

            reader = asyncio.create_task(read())
            assert await asyncio.to_thread(play.gate.reached.wait, 10)
            await stream.aclose()
            assert not any(isinstance(event, TextDelta) for event in await reader)
