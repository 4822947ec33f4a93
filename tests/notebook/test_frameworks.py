"""Answers of both frameworks, given whole and as streams: the same views as of the core's own turns."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from IPython.utils.capture import capture_output
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from llama_index.core.base.llms.types import ChatMessage

from langchain_ext import ChatLlamaCloud, LlamaCloudChatMessageHistory, as_turns
from langchain_ext._converter import message_of
from llama_cloud_chat import AsyncChatClient, ChatClient, ChatError, Text, Turn
from llama_cloud_chat._turn.events import parse_event
from llama_cloud_chat.notebook import ashow, show, to_html
from llama_index_ext import LlamaCloudChatEngine, LlamaCloudQueryEngine
from llama_index_ext import as_turns as read_answers

from ..core.strategies import turns as turn_events
from ..support.server import Gate
from ..support.service import ChatService, Held, Play
from ..support.turns import WireEvent
from .conftest import Notebook, interrupt_main, meanwhile
from .support import WITH_EVERYTHING, judge

AAsk = Callable[[Any], Awaitable[Any]]

pytestmark = pytest.mark.filterwarnings("ignore:.*is in beta")


@pytest.fixture(autouse=True)
def _everything(service: ChatService) -> None:
    service.reply = lambda prompt: Play(WITH_EVERYTHING)


def seen(html: str) -> str:
    return " ".join(judge(html).text.split())


def what_is_seen_of(service: ChatService, client: ChatClient, *, asked: bool) -> str:
    """Return what the core's own turn shows of the service's only session; of a message, the question is unknown."""
    (session_id,) = service.sessions
    (turn,) = client.session(session_id).turns()
    if not asked:
        turn = Turn.from_events("", turn.events, session_id=turn.session_id, number=turn.number)
    return seen(to_html(turn))


# --- answers ---


@pytest.mark.parametrize("version", [None, "v1"])
def test_a_message_shows_what_its_turn_shows(service: ChatService, client: ChatClient, version: str | None) -> None:
    message = ChatLlamaCloud(client=client, output_version=version).invoke("How many days?")
    assert seen(to_html(message)) == what_is_seen_of(service, client, asked=False)


def test_a_conversation_of_messages_shows_its_questions(service: ChatService, client: ChatClient) -> None:
    message = ChatLlamaCloud(client=client).invoke("How many days?")
    whole = what_is_seen_of(service, client, asked=True)
    assert seen(to_html([HumanMessage("How many days?"), message])) == whole
    assert seen(to_html({"messages": [SystemMessage("Be brief."), HumanMessage("How many days?"), message]})) == whole
    (session_id,) = service.sessions
    assert seen(to_html(LlamaCloudChatMessageHistory(session_id, client=client).messages)) == whole


def test_a_chat_engine_s_answer_shows_its_turn(service: ChatService, client: ChatClient) -> None:
    engine = LlamaCloudChatEngine(client=client)
    answer = engine.chat("How many days?")
    assert seen(to_html(answer)) == what_is_seen_of(service, client, asked=True)
    assert "You have 30 days." in seen(to_html(engine.chat_history))


def test_a_query_engine_s_answer_shows_its_turn(service: ChatService, client: ChatClient) -> None:
    answer = LlamaCloudQueryEngine(client=client).query("How many days?")
    assert seen(to_html(answer)) == what_is_seen_of(service, client, asked=True)


def turn_of(events: list[WireEvent]) -> Turn:
    return Turn.from_events("Why?", map(parse_event, events), session_id="ses-1", number=3)


@given(turn_events())
def test_a_message_and_its_turn_are_two_ways_to_say_the_same(events: list[WireEvent]) -> None:
    turn = turn_of(events)
    for version in (None, "v1"):
        (again,) = as_turns([HumanMessage("Why?"), message_of(turn, output_version=version)])
        assert again.steps == turn.steps
        assert (again.text, again.thinking, again.sources) == (turn.text, turn.thinking, turn.sources)
        assert (again.session_id, again.number) == ("ses-1", 3)
        assert (again.is_complete, again.is_error, again.error) == (True, turn.is_error, turn.error)


@pytest.mark.parametrize(
    ("told", "read"),
    [
        ({"session_id": "ses-1", "turn": 7}, ("ses-1", 7)),
        ({"session_id": "ses-1", "turn": "seven"}, ("ses-1", None)),
        ({"session_id": 1, "turn": True}, (None, None)),
    ],
)
def test_where_an_answer_stands_is_believed_only_if_it_can_be_true(
    told: dict[str, Any], read: tuple[str | None, int | None]
) -> None:
    (ours,) = as_turns([HumanMessage("Why?"), AIMessage("So.", response_metadata=told)])
    (theirs,) = read_answers([ChatMessage(role="assistant", content="So.", additional_kwargs=told)])
    assert (ours.session_id, ours.number) == (theirs.session_id, theirs.number) == read


def test_a_history_s_message_of_a_turn_that_is_not_finished_says_so() -> None:
    (again,) = as_turns(message_of(Turn.from_events("Why?", [Text("So far")], session_id="ses-1", number=1)))
    assert (again.text, again.is_complete) == ("So far", False)


def test_other_models_and_their_tools_are_shown_as_far_as_they_say() -> None:
    call = {"id": "c1", "name": "handbook", "args": {"question": "How many?"}}
    messages = [
        HumanMessage("How many?"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("30 days.", tool_call_id="c1"),
        AIMessage([{"type": "text", "text": "Thirty."}, {"type": "image", "url": "https://evil.example/x.png"}]),
        HumanMessage("Thanks."),
    ]
    first, second = as_turns(messages)
    assert (first.prompt, first.text, first.is_complete) == ("How many?", "Thirty.", True)
    assert [(run.name, run.arguments, run.result) for run in first.tool_calls] == [
        ("handbook", {"question": "How many?"}, "30 days.")
    ]
    assert (second.prompt, second.events) == ("Thanks.", [])
    assert "https://evil.example/x.png" in seen(to_html(messages))


@pytest.mark.parametrize("x", [["text"], [3], "text"])
def test_what_is_no_answer_is_refused(x: Any) -> None:
    with pytest.raises(TypeError, match="no answer of LlamaCloud"):
        read_answers(x)


# --- streams ---

SYNC: dict[str, Callable[[ChatClient], Any]] = {
    "stream": lambda client: ChatLlamaCloud(client=client).stream("How many days?"),
    "stream, v1": lambda client: ChatLlamaCloud(client=client, output_version="v1").stream("How many days?"),
    "v3": lambda client: ChatLlamaCloud(client=client).stream_events("How many days?", version="v3"),
    "stream_chat": lambda client: LlamaCloudChatEngine(client=client).stream_chat("How many days?"),
    "query": lambda client: LlamaCloudQueryEngine(client=client, streaming=True).query("How many days?"),
}


async def astream(client: AsyncChatClient) -> Any:
    return ChatLlamaCloud(async_client=client).astream("How many days?")


async def av3(client: AsyncChatClient) -> Any:
    return await ChatLlamaCloud(async_client=client).astream_events("How many days?", version="v3")


async def astream_chat(client: AsyncChatClient) -> Any:
    return await LlamaCloudChatEngine(async_client=client).astream_chat("How many days?")


async def aquery(client: AsyncChatClient) -> Any:
    return await LlamaCloudQueryEngine(async_client=client, streaming=True).aquery("How many days?")


ASYNC: list[Callable[[AsyncChatClient], Awaitable[Any]]] = [astream, av3, astream_chat, aquery]


@pytest.mark.parametrize("kind", list(SYNC))
def test_a_stream_ends_in_the_static_view_of_its_answer(
    kind: str, service: ChatService, client: ChatClient, notebook: Notebook
) -> None:
    with capture_output() as captured:
        answer = show(SYNC[kind](client))
    final = notebook.displayed(captured)[-1]["text/html"]
    assert final == to_html(answer)
    assert seen(final) == what_is_seen_of(service, client, asked=not isinstance(answer, AIMessage))


@pytest.mark.parametrize("kind", list(SYNC))
@pytest.mark.parametrize("has_begun", [False, True])
def test_a_kernel_interrupted_while_the_view_begins_lets_the_turn_go(
    kind: str,
    has_begun: bool,
    service: ChatService,
    client: ChatClient,
    notebook: Notebook,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held(service)
    stream = SYNC[kind](client)
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if has_begun:
            start(thread)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, capture_output(), pytest.raises(KeyboardInterrupt):
        patch.setattr(threading.Thread, "start", interrupted)
        show(stream)
    assert all(request.hung_up.wait(60) for request in service.received("stream"))
    assert len(service.received("stream")) == (kind == "query")  # which has begun before it is shown


@pytest.mark.parametrize("ask", ASYNC)
async def test_an_asynchronous_stream_ends_in_the_static_view_of_its_answer(
    ask: AAsk, service: ChatService, client: ChatClient, aclient: AsyncChatClient, notebook: Notebook
) -> None:
    with capture_output() as captured:
        answer = await ashow(await ask(aclient))
    final = notebook.displayed(captured)[-1]["text/html"]
    assert final == to_html(answer)
    assert seen(final) == what_is_seen_of(service, client, asked=not isinstance(answer, AIMessage))


def test_the_message_of_a_stream_goes_on_in_its_session(service: ChatService, client: ChatClient) -> None:
    model = ChatLlamaCloud(client=client)
    for stream in (model.stream("How many days?"), model.stream_events("How many days?", version="v3")):
        messages = [HumanMessage("How many days?"), show(stream)]
        model.invoke([*messages, HumanMessage("And then?")])
    assert [len(session.turns) for session in service.sessions.values()] == [2, 2]


@pytest.mark.parametrize("kind", list(SYNC))
def test_a_stream_that_breaks_off_leaves_what_came_marked_so(
    kind: str, service: ChatService, notebook: Notebook
) -> None:
    service.reply = lambda prompt: Play([*WITH_EVERYTHING[:-1], {"type": "stop", "is_error": True, "error": "Gone."}])
    with ChatClient("llx-key", base_url=service.base_url) as client:
        stream = SYNC[kind](client)
        with capture_output() as captured, pytest.raises(ChatError):
            show(stream)
    final = seen(notebook.displayed(captured)[-1]["text/html"])
    assert "You have 30 days." in final
    assert "This turn is not finished." in final or "The agent failed. Gone." in final


def held(service: ChatService) -> Gate:
    """Have every answer wait at this gate before its text."""
    play = Held(WITH_EVERYTHING, before=6)
    service.reply = lambda prompt: play
    return play.gate


@pytest.mark.parametrize("kind", list(SYNC))
def test_an_interrupted_kernel_leaves_what_came_marked_so(
    kind: str, service: ChatService, client: ChatClient, notebook: Notebook, interruptible: None
) -> None:
    held(service)
    stream = SYNC[kind](client)

    def interrupt() -> None:
        while not any("1 source" in data["text/html"] for data in notebook.displayed(captured)):
            pass
        interrupt_main()

    with capture_output() as captured, pytest.raises(KeyboardInterrupt), meanwhile(interrupt):
        show(stream)
    assert service.received("stream")[0].hung_up.wait(60)
    final = seen(notebook.displayed(captured)[-1]["text/html"])
    assert "1 source" in final
    assert "This turn is not finished." in final


@pytest.mark.parametrize("ask", ASYNC)
async def test_a_cancelled_task_leaves_what_came_marked_so(
    ask: AAsk, service: ChatService, aclient: AsyncChatClient, notebook: Notebook
) -> None:
    gate = held(service)
    stream = await ask(aclient)
    with capture_output() as captured:
        task = asyncio.create_task(ashow(stream))
        assert await asyncio.to_thread(gate.reached.wait, 10)
        while not any("1 source" in data["text/html"] for data in notebook.displayed(captured)):  # noqa: ASYNC110
            await asyncio.sleep(0)  # this very loop paints
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await asyncio.to_thread(service.received("stream")[0].hung_up.wait, 10)
    final = seen(notebook.displayed(captured)[-1]["text/html"])
    assert "1 source" in final
    assert "This turn is not finished." in final


def test_a_stream_of_something_else_is_refused(client: ChatClient) -> None:
    chain = ChatLlamaCloud(client=client) | StrOutputParser()
    with pytest.raises(TypeError, match="before a parser"):
        show(chain.stream("How many days?"))


def test_an_asynchronous_stream_is_refused_by_show(aclient: AsyncChatClient) -> None:
    with pytest.raises(TypeError, match="await ashow"):
        show(ChatLlamaCloud(async_client=aclient).astream("How many days?"))
