"""Streaming answers: everywhere the base class works, at no cost, closed at once, text before errors."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.chat_engine.types import StreamingAgentChatResponse

from llama_cloud_chat import AsyncChatClient, ChatClient, SessionBusyError, TurnFailedError
from llama_index_ext import LlamaCloudChatEngine, LlamaCloudStreamingResponse
from tests.llama_index.harness import WAIT, Gate, HoldingService, echo, failing, researcher, text_of

Serve = Callable[..., ChatClient]
AServe = Callable[..., AsyncChatClient]
Hold = Callable[..., HoldingService]

WHOLE = "There are 30 days.\n\nThey expire."


async def _within(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, WAIT)


def _client(service: HoldingService) -> ChatClient:
    return ChatClient("key", base_url=service.base_url)


def test_the_pieces_add_up_to_the_answer(serve: Serve) -> None:
    response = LlamaCloudChatEngine(serve(researcher)).stream_chat("How many?")
    assert isinstance(response, StreamingAgentChatResponse)
    assert "".join(response.response_gen) == WHOLE == response.response == str(response)
    assert response.unformatted_response == WHOLE
    assert response.is_done
    assert response.exception is None


async def test_the_pieces_add_up_to_the_answer_for_a_task(aserve: AServe) -> None:
    response = await LlamaCloudChatEngine(async_client=aserve(researcher)).astream_chat("How many?")
    assert "".join([text async for text in response.async_response_gen()]) == WHOLE == str(response)
    assert response.is_done


def test_an_answer_can_be_printed_as_it_comes(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    LlamaCloudChatEngine(serve(researcher)).stream_chat("How many?").print_response_stream()
    assert capsys.readouterr().out == WHOLE


async def test_an_answer_can_be_printed_by_a_task(aserve: AServe, capsys: pytest.CaptureFixture[str]) -> None:
    response = await LlamaCloudChatEngine(async_client=aserve(researcher)).astream_chat("How many?")
    await response.aprint_response_stream()
    assert capsys.readouterr().out == WHOLE


async def test_a_response_is_read_in_either_colour_wherever_it_was_made(aserve: AServe) -> None:
    engine = LlamaCloudChatEngine(async_client=aserve(echo))
    response = engine.stream_chat("a")
    assert [text async for text in response.async_response_gen()] == ["1: ", "a"]
    other = await engine.astream_chat("b")
    assert await asyncio.to_thread(lambda: list(other.response_gen)) == ["2: ", "b"]
    engine._clients.client.close()


def test_nothing_is_asked_before_it_is_read(serve: Serve) -> None:
    client = serve(echo)
    response = LlamaCloudChatEngine(client).stream_chat("a")
    assert response.response == ""
    assert list(client.list()) == []
    list(response.response_gen)
    assert len(list(client.list())) == 1


def test_saying_an_answer_that_nobody_reads_reads_it(serve: Serve) -> None:
    assert str(LlamaCloudChatEngine(serve(echo)).stream_chat("a")) == "1: a"


async def test_saying_an_answer_never_blocks_the_event_loop(aserve: AServe) -> None:
    response = await LlamaCloudChatEngine(async_client=aserve(echo)).astream_chat("a")
    assert str(response) == ""
    assert [text async for text in response.async_response_gen()] == ["1: ", "a"]
    assert str(response) == "1: a"


def test_a_later_reader_gets_the_whole_text_at_once(serve: Serve) -> None:
    response = LlamaCloudChatEngine(serve(echo)).stream_chat("a")
    assert list(response.response_gen) == ["1: ", "a"]
    assert list(response.response_gen) == ["1: a"]


def test_sources_and_nodes_are_there_before_the_text_that_uses_them(serve: Serve) -> None:
    response = LlamaCloudChatEngine(serve(researcher)).stream_chat("How many?")
    sources, nodes = response.sources, response.source_nodes
    seen = [(text, len(sources), len(nodes)) for text in response.response_gen]
    assert seen == [("There are ", 1, 1), ("30 days.", 1, 1), ("\n\nThey ", 2, 1), ("expire.", 2, 1)]
    assert response.sources is sources
    assert response.source_nodes is nodes


def test_thinking_and_text_grow_as_they_come(hold: Hold) -> None:
    service = hold([{"type": "thinking_delta", "content": "Hm"}, *text_of(["Hello"])])
    with _client(service) as client:
        response = LlamaCloudChatEngine(client).stream_chat("a")
        pieces = response.response_gen
        assert next(pieces) == "Hello"
        assert (response.thinking, response.response, str(response)) == ("Hm", "Hello", "Hello")
        assert (response.metadata["session_id"], response.metadata["turn"]) == ("ses-1", 1)
        assert not response.is_done
        pieces.close()


def test_metadata_is_whole_at_the_end(serve: Serve) -> None:
    engine = LlamaCloudChatEngine(serve(researcher))
    response = engine.stream_chat("How many?")
    list(response.response_gen)
    usage = response.metadata["usage"]
    assert usage["total_input_tokens"] > 0
    assert response.metadata == {
        "session_id": engine.session_id,
        "turn": 1,
        "usage": usage,
        "thinking": "Let me look.",
        "skipped_index_ids": [],
    }


def test_text_is_delivered_before_an_error_is_raised(serve: Serve) -> None:
    response = LlamaCloudChatEngine(serve(failing)).stream_chat("a")
    pieces = response.response_gen
    assert next(pieces) == "So far "
    with pytest.raises(TurnFailedError, match="on fire"):
        next(pieces)
    assert isinstance(response.exception, TurnFailedError)
    assert response.is_done
    again = response.response_gen
    assert next(again) == "So far "
    with pytest.raises(TurnFailedError):
        next(again)


async def test_text_is_delivered_before_an_error_is_raised_to_a_task(aserve: AServe) -> None:
    response = await LlamaCloudChatEngine(async_client=aserve(failing)).astream_chat("a")
    pieces = response.async_response_gen()
    assert await anext(pieces) == "So far "
    with pytest.raises(TurnFailedError, match="on fire"):
        await anext(pieces)
    assert isinstance(response.exception, TurnFailedError)


def test_breaking_out_closes_the_connection(hold: Hold) -> None:
    service = hold(text_of(["one", "two"]))
    with _client(service) as client:
        response = LlamaCloudChatEngine(client).stream_chat("a")
        for text in response.response_gen:
            assert text == "one"
            break
        assert service.left.wait(WAIT)
        assert response.is_done
        assert response.exception is None
        assert list(response.response_gen) == [response.response]


def test_closing_the_response_closes_the_connection(hold: Hold) -> None:
    service = hold(text_of(["one"]))
    with _client(service) as client:
        response = LlamaCloudChatEngine(client).stream_chat("a")
        pieces = response.response_gen
        next(pieces)
        response.close()
        assert service.left.wait(WAIT)
        assert response.is_done
        assert list(pieces) == []


def test_another_thread_can_close_while_the_reader_waits(hold: Hold) -> None:
    service = hold(text_of(["one"]))
    with _client(service) as client:
        response = LlamaCloudChatEngine(client).stream_chat("a")
        first = threading.Event()
        reader = threading.Thread(target=lambda: [first.set() for _ in response.response_gen])
        reader.start()
        assert first.wait(WAIT)
        response.close()
        reader.join(WAIT)
        assert not reader.is_alive()
        assert service.left.wait(WAIT)
        assert response.response == "one"
        assert response.is_done


async def test_breaking_out_of_a_task_closes_the_connection(hold: Hold) -> None:
    service = hold(text_of(["one", "two"]))
    async with AsyncChatClient("key", base_url=service.base_url) as client:
        response = await LlamaCloudChatEngine(async_client=client).astream_chat("a")
        async for _ in response.async_response_gen():
            break
        assert await asyncio.to_thread(service.left.wait, WAIT)
        assert response.is_done


async def test_aclose_closes_the_connection(hold: Hold) -> None:
    service = hold(text_of(["one", "two"]))
    async with AsyncChatClient("key", base_url=service.base_url) as client:
        response = await LlamaCloudChatEngine(async_client=client).astream_chat("a")
        pieces = response.async_response_gen()
        await anext(pieces)
        await response.aclose()
        assert await asyncio.to_thread(service.left.wait, WAIT)
        assert response.is_done
        await pieces.aclose()


async def test_another_task_can_close_while_the_reader_waits(hold: Hold) -> None:
    service = hold(text_of(["one"]))
    async with AsyncChatClient("key", base_url=service.base_url) as client:
        response = await LlamaCloudChatEngine(async_client=client).astream_chat("a")
        first = asyncio.Event()
        read: list[str] = []

        async def reading() -> None:
            async for text in response.async_response_gen():
                read.append(text)
                first.set()

        reader = asyncio.create_task(reading())
        await _within(first.wait())
        await response.aclose()
        await _within(reader)
        assert read == ["one"]
        assert await asyncio.to_thread(service.left.wait, WAIT)


async def test_a_thread_can_close_what_a_task_reads(hold: Hold) -> None:
    service = hold(text_of(["one"]))
    async with AsyncChatClient("key", base_url=service.base_url) as client:
        response = await LlamaCloudChatEngine(async_client=client).astream_chat("a")
        first = asyncio.Event()

        async def reading() -> None:
            async for _ in response.async_response_gen():
                first.set()

        reader = asyncio.create_task(reading())
        await _within(first.wait())
        await asyncio.to_thread(response.close)
        await _within(reader)
        assert await asyncio.to_thread(service.left.wait, WAIT)


@pytest.mark.parametrize("is_streaming", [True, False])
async def test_cancelling_the_task_closes_the_connection(hold: Hold, is_streaming: bool) -> None:
    service = hold(text_of(["one"]))
    async with AsyncChatClient("key", base_url=service.base_url) as client:
        engine = LlamaCloudChatEngine(async_client=client)

        async def asking() -> None:
            if is_streaming:
                await (await engine.astream_chat("a")).aprint_response_stream()
            else:
                await engine.achat("a")

        task = asyncio.create_task(asking())
        assert await asyncio.to_thread(service.held.wait, WAIT)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await _within(task)
        assert await asyncio.to_thread(service.left.wait, WAIT)


def test_a_reader_that_still_waits_in_the_queue_can_be_closed(hold: Hold) -> None:
    service = hold([{"type": "text_delta", "content": ""}])  # nothing is said, so that no event comes
    with _client(service) as client:
        engine = LlamaCloudChatEngine(client)
        first, second = engine.stream_chat("a"), engine.stream_chat("b")
        readers = [threading.Thread(target=lambda one=one: list(one.response_gen)) for one in (first, second)]
        readers[0].start()
        assert service.held.wait(WAIT)
        readers[1].start()
        while second._live._place is None:
            readers[1].join(0.01)
        second.close()
        readers[1].join(WAIT)
        assert not readers[1].is_alive()
        assert second.is_done
        assert service.prompts == ["a"]
        first.close()
        readers[0].join(WAIT)
        assert not readers[0].is_alive()


async def test_a_task_that_still_waits_in_the_queue_can_be_closed(hold: Hold) -> None:
    service = hold([{"type": "text_delta", "content": ""}])  # nothing is said, so that no event comes
    async with AsyncChatClient("key", base_url=service.base_url) as client:
        engine = LlamaCloudChatEngine(async_client=client)
        first, second = await engine.astream_chat("a"), await engine.astream_chat("b")
        readers = [asyncio.create_task(first.aprint_response_stream())]
        assert await asyncio.to_thread(service.held.wait, WAIT)
        readers.append(asyncio.create_task(second.aprint_response_stream()))
        while second._live._place is None:  # noqa: ASYNC110  # nothing to wait on from outside
            await asyncio.sleep(0)
        await second.aclose()
        await _within(readers[1])
        assert service.prompts == ["a"]
        await first.aclose()
        await _within(readers[0])


def test_closing_before_reading_asks_nothing(serve: Serve) -> None:
    client = serve(echo)
    response = LlamaCloudChatEngine(client).stream_chat("a")
    response.close()
    assert list(response.response_gen) == []
    assert list(client.list()) == []


async def test_a_reader_of_the_other_colour_is_turned_away(hold: Hold) -> None:
    service = hold(text_of(["one"]))
    async with AsyncChatClient("key", base_url=service.base_url) as client:
        response = await LlamaCloudChatEngine(async_client=client).astream_chat("a")
        pieces = response.async_response_gen()
        await anext(pieces)
        with pytest.raises(SessionBusyError, match="asynchronously"):
            next(response.response_gen)
        await pieces.aclose()


def test_waiting_takes_no_time_and_no_thread(hold: Hold) -> None:
    service = hold(text_of(["one"]))
    with _client(service) as client:
        response = LlamaCloudChatEngine(client).stream_chat("a")
        used: list[float] = []
        threads = set(threading.enumerate())

        def read() -> None:
            pieces = response.response_gen
            next(pieces)
            began = time.thread_time()
            list(pieces)
            used.append(time.thread_time() - began)

        reader = threading.Thread(target=read)
        reader.start()
        assert service.held.wait(WAIT)
        others = set(threading.enumerate()) - threads - {reader}
        assert others == set()
        reader.join(0.5)  # how long it is watched
        response.close()
        reader.join(WAIT)
        assert used[0] < 0.25


async def test_waiting_takes_a_task_no_time(hold: Hold) -> None:
    service = hold(text_of(["one"]))
    async with AsyncChatClient("key", base_url=service.base_url) as client:
        response = await LlamaCloudChatEngine(async_client=client).astream_chat("a")
        pieces = response.async_response_gen()
        await anext(pieces)
        waiting = asyncio.ensure_future(anext(pieces, None))
        began = time.thread_time()
        await asyncio.wait([waiting], timeout=0.5)  # how long it is watched
        assert time.thread_time() - began < 0.25
        await response.aclose()
        assert await _within(waiting) is None


async def test_a_slow_turn_does_not_hold_up_the_event_loop(aserve: AServe) -> None:
    gate = Gate()
    response = await LlamaCloudChatEngine(async_client=aserve(gate)).astream_chat("a")
    pieces = response.async_response_gen()
    assert await anext(pieces) == "a one "
    waiting = asyncio.ensure_future(anext(pieces))
    gate.open.set()
    assert await _within(waiting) == "two"
    assert [text async for text in pieces] == []


def test_the_response_says_nothing_secret(serve: Serve) -> None:
    client = serve(echo)
    response = LlamaCloudChatEngine(client).stream_chat("a")
    assert isinstance(response, LlamaCloudStreamingResponse)
    assert client.config.api_key.get_secret_value() not in repr(response)
    response.close()
