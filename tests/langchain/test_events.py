"""The streaming protocols: `stream_events` v3, `astream_events` v2 and v3."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser

from langchain_ext import ChatLlamaCloud
from llama_cloud_chat import AsyncChatClient, ChatClient, TurnFailedError
from llama_cloud_chat.local import AgentTurn, LocalService

from ..support.service import ChatService
from . import scripts
from .conftest import Make
from .harness import comparable, endless, read_until

HAS_V3 = hasattr(BaseChatModel, "_chat_model_stream_v3")
needs_v3 = pytest.mark.skipif(not HAS_V3, reason="this langchain-core has no stream_events v3")
pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")

EVERY_SCRIPT = pytest.mark.parametrize("script", [name for name in scripts.ALL if name != "an error"])

# What a stream has said cannot be taken back; and of an answer without blocks the framework makes an empty string.
UNLIKE_INVOKE = {"a contradiction", "an empty answer"}


def assert_valid(events: Iterable[Any]) -> None:
    from langchain_tests.utils.stream_lifecycle import assert_valid_event_stream

    assert_valid_event_stream(events)


def summary_of(event: dict[str, Any]) -> str:
    kind = event["event"].removeprefix("content-block-")
    block = event.get("content") or event.get("delta")
    return f"{kind} {block['type']}" if block else kind


@needs_v3
@EVERY_SCRIPT
def test_v3_events_obey_the_protocol_and_make_the_message_of_invoke(make: Make, script: str) -> None:
    stream = make().stream_events(script, version="v3")
    assert_valid(list(stream))
    assert isinstance(stream.output.content, list) or script == "an empty answer"
    if script not in UNLIKE_INVOKE:
        expected = make(output_version="v1").invoke(script)
        assert comparable(stream.output) == comparable(expected)
        assert str(stream.text) == expected.text


@needs_v3
@EVERY_SCRIPT
async def test_async_v3_events_obey_the_protocol(amake: Make, script: str) -> None:
    stream = await amake().astream_events(script, version="v3")
    assert_valid([event async for event in stream])
    assert isinstance((await stream.output).content, list) or script == "an empty answer"
    if script not in UNLIKE_INVOKE:
        expected = await amake(output_version="v1").ainvoke(script)
        assert comparable(await stream.output) == comparable(expected)


@needs_v3
def test_v3_finishes_each_block_when_it_is_over(model: ChatLlamaCloud) -> None:
    events = [summary_of(event) for event in model.stream_events("think, look, answer", version="v3")]  # type: ignore[arg-type]
    assert events == [
        "message-start",
        "start reasoning",
        "delta reasoning-delta",
        "delta reasoning-delta",
        "finish reasoning",
        "start server_tool_call",
        "finish server_tool_call",
        "start server_tool_result",
        "finish server_tool_result",
        "start text",
        "delta text-delta",
        "delta text-delta",
        "finish text",
        "message-finish",
    ]


@needs_v3
def test_a_block_that_is_continued_after_its_end_becomes_another_one() -> None:
    from langchain_ext._converter import ProtocolWriter
    from llama_cloud_chat import Stop, Text, TextDelta, Turn

    writer = ProtocolWriter(Turn("x", session_id="s", number=1), None)
    turn = [TextDelta("Hel", 0), Text("Hel", 0), TextDelta("lo", 0), Stop()]  # as when a cut stream was recovered
    events = [*(written for event in turn for written in writer.feed(event)), *writer.finish()]
    assert_valid(events)
    finished = [event["content"]["text"] for event in events if event["event"] == "content-block-finish"]
    assert finished == ["Hel", "lo"]


@needs_v3
async def test_an_agents_graph_streams_messages_live(amodel: ChatLlamaCloud) -> None:
    agents = pytest.importorskip("langchain.agents")
    agent = agents.create_agent(amodel, tools=[])
    question = {"messages": [("user", "think, look, answer")]}
    streamed = [message async for message, _ in agent.astream(question, stream_mode="messages")]
    assert "".join(chunk.text for chunk in streamed) == "30 days."
    assert len({chunk.id for chunk in streamed}) == 1


@needs_v3
def test_v3_says_at_its_start_whose_message_it_is(model: ChatLlamaCloud) -> None:
    stream = model.stream_events("text alone", version="v3")
    start = next(iter(stream))
    assert start["event"] == "message-start"
    assert start["metadata"]["provider"] == "llama_cloud"
    assert start["metadata"]["turn"] == 1
    assert start["id"] == stream.output.id


@pytest.fixture
def gated() -> Iterator[tuple[LocalService, threading.Event]]:
    """A service whose agent calls a tool, then waits for the gate before it goes on."""
    gate = threading.Event()

    def agent(turn: AgentTurn) -> Iterator[dict[str, Any]]:
        yield scripts.call("c1", query="leave")
        yield scripts.result("c1", {"results": [scripts.PASSAGE]})
        assert gate.wait(60)
        yield scripts.text("30 days.")

    with LocalService([], agent=agent) as service:
        yield service, gate
        gate.set()


@needs_v3
def test_in_v3_a_tools_result_is_there_before_the_answer_begins(gated: tuple[LocalService, threading.Event]) -> None:
    service, gate = gated
    with ChatClient(service.api_key, base_url=service.base_url) as client:
        stream = ChatLlamaCloud(client=client).stream_events("How many?", version="v3")
        seen = []
        for event in stream:
            seen.append(summary_of(event))  # type: ignore[arg-type]
            if seen[-1] == "finish server_tool_result":
                assert event["content"]["output"] == {"results": [scripts.PASSAGE]}  # type: ignore[typeddict-item]
                gate.set()
        assert seen[-1] == "message-finish"


def test_tool_chunks_are_there_before_the_answer_begins(gated: tuple[LocalService, threading.Event]) -> None:
    service, gate = gated
    with ChatClient(service.api_key, base_url=service.base_url) as client:
        kinds = []
        for chunk in ChatLlamaCloud(client=client).stream("How many?"):
            kinds += [block["type"] for block in chunk.content_blocks]
            if kinds[-1:] == ["server_tool_result"]:
                gate.set()
    assert kinds == ["server_tool_call", "server_tool_result", "text"]


@needs_v3
async def test_in_async_v3_a_tools_result_is_there_before_the_answer_begins(
    gated: tuple[LocalService, threading.Event],
) -> None:
    service, gate = gated
    async with AsyncChatClient(service.api_key, base_url=service.base_url) as client:
        stream = await ChatLlamaCloud(async_client=client).astream_events("How many?", version="v3")
        seen = []
        async for event in stream:
            seen.append(summary_of(event))
            if seen[-1] == "finish server_tool_result":
                gate.set()
        assert seen[-1] == "message-finish"


@needs_v3
def test_v3_gives_the_text_so_far_and_then_the_error(model: ChatLlamaCloud) -> None:
    stream = model.stream_events("an error", version="v3")
    assert read_until(TurnFailedError, stream.text) == ["I was ", "about to"]
    with pytest.raises(TurnFailedError, match="the model is out"):
        _ = stream.output
    events = read_until(TurnFailedError, model.stream_events("an error", version="v3"))
    assert [summary_of(event) for event in events].count("delta text-delta") == 2


@needs_v3
async def test_closing_async_v3_early_hangs_up(raw: ChatService) -> None:
    raw.reply = lambda _: endless()
    async with AsyncChatClient("key", base_url=raw.base_url) as client:
        stream = await ChatLlamaCloud(async_client=client).astream_events("Tell me", version="v3")
        async with stream:
            async for event in stream:
                if event["event"] == "content-block-delta":
                    break
        assert await asyncio.to_thread(raw.received("stream")[-1].hung_up.wait, 10)


@needs_v3
def test_an_abandoned_v3_stream_hangs_up(raw: ChatService, raw_client: ChatClient) -> None:
    raw.reply = lambda _: endless()
    stream = ChatLlamaCloud(client=raw_client).stream_events("Tell me", version="v3")
    for event in stream:
        if event["event"] == "content-block-delta":
            break
    del stream, event
    gc.collect()
    assert raw.received("stream")[-1].hung_up.wait(60)


def test_closing_a_stream_early_hangs_up(raw: ChatService, raw_client: ChatClient) -> None:
    raw.reply = lambda _: endless()
    stream = ChatLlamaCloud(client=raw_client).stream("Tell me")
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert raw.received("stream")[-1].hung_up.wait(60)


async def test_closing_an_async_stream_early_hangs_up(raw: ChatService) -> None:
    raw.reply = lambda _: endless()
    async with AsyncChatClient("key", base_url=raw.base_url) as client:
        stream = ChatLlamaCloud(async_client=client).astream("Tell me")
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
        assert await asyncio.to_thread(raw.received("stream")[-1].hung_up.wait, 10)


async def test_a_session_is_free_as_soon_as_its_stream_is_closed(
    amake: Make, client: ChatClient, async_client: AsyncChatClient
) -> None:
    session = async_client.session(client.create().session_id)
    chunks = amake(session_id=session.session_id)._astream([HumanMessage("think, look, answer")])
    await anext(chunks)
    await chunks.aclose()  # type: ignore[attr-defined]
    assert (await session.ask("two")).text == "turn 2: two"


async def test_cancelling_the_reader_hangs_up(raw: ChatService) -> None:
    raw.reply = lambda _: endless()
    begun = asyncio.Event()
    async with AsyncChatClient("key", base_url=raw.base_url) as client:

        async def read() -> None:
            async for _ in ChatLlamaCloud(async_client=client).astream("Tell me"):
                begun.set()

        task = asyncio.create_task(read())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(raw.received("stream")[-1].hung_up.wait, 10)


async def test_v2_events_show_chunks_and_the_answer(amodel: ChatLlamaCloud) -> None:
    events = [event async for event in amodel.astream_events("think, look, answer", version="v2")]
    assert {event["event"] for event in events} == {
        "on_chat_model_start",
        "on_chat_model_stream",
        "on_chat_model_end",
    }
    chunks = [event["data"]["chunk"] for event in events if event["event"] == "on_chat_model_stream"]
    assert "".join(chunk.text for chunk in chunks) == "30 days."
    assert events[-1]["data"]["output"].usage_metadata["total_tokens"] == 12


async def test_v2_events_show_the_chunks_of_an_invoke_inside_a_chain(amodel: ChatLlamaCloud) -> None:
    chain = amodel | StrOutputParser()
    events = [event async for event in chain.astream_events("text alone", version="v2")]
    chunks = [event["data"]["chunk"] for event in events if event["event"] == "on_chat_model_stream"]
    assert [chunk.text for chunk in chunks] == ["Hel", "lo", ""]


async def test_asyncio_is_served_without_threads(amodel: ChatLlamaCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("something was run in a thread")

    monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", refuse)
    await amodel.ainvoke("think, look, answer")
    await amodel.abatch(["a", "b"])
    assert await collect(amodel.astream("think, look, answer"))
    if HAS_V3:
        assert await collect(await amodel.astream_events("think, look, answer", version="v3"))


async def test_the_event_loop_runs_on_while_the_agent_works(gated: tuple[LocalService, threading.Event]) -> None:
    service, gate = gated
    async with AsyncChatClient(service.api_key, base_url=service.base_url) as client:
        stream = ChatLlamaCloud(async_client=client).astream("How many?")
        first = await anext(stream)
        waiting = asyncio.ensure_future(collect(stream))
        await asyncio.sleep(0)
        gate.set()  # were the loop blocked, this would never be reached
        assert "".join(chunk.text for chunk in [first, *await waiting]) == "30 days."


async def collect(stream: Any) -> list[Any]:
    return [item async for item in stream]
