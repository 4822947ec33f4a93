"""The chat engine: one conversation, continued, forked, resumed and begun anew."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.llms import types as llms
from llama_index.core.base.llms.types import ChatMessage, MessageRole, TextBlock
from llama_index.core.chat_engine.types import AgentChatResponse, BaseChatEngine

from llama_cloud_chat import (
    AsyncChatClient,
    ChatClient,
    ConfigurationError,
    NotFoundError,
    SessionBusyError,
    TurnFailedError,
)
from llama_cloud_chat.local import AgentTurn, LocalService, WireEvent, speak
from llama_index_ext import LlamaCloudChatEngine, PageImageNode
from tests.llama_index.harness import WAIT, Gate, HoldingService, echo, failing, passage, researcher, retrieve, text_of

Serve = Callable[..., ChatClient]
AServe = Callable[..., AsyncChatClient]
Hold = Callable[..., HoldingService]

has_all_blocks = pytest.mark.skipif(
    not hasattr(llms, "ToolCallBlock"), reason="this llama-index-core has no ThinkingBlock and ToolCallBlock"
)


def said(engine: LlamaCloudChatEngine) -> list[str | None]:
    return [message.content for message in engine.chat_history]


def sessions(client: ChatClient) -> dict[str, int]:
    return {one.session_id: len(client.retrieve(one.session_id).turns) for one in client.list()}


@pytest.mark.rule("design-5")
def test_an_answer_is_the_whole_text_with_sources_nodes_and_metadata(serve: Serve) -> None:
    engine = LlamaCloudChatEngine(serve(researcher))
    assert isinstance(engine, BaseChatEngine)
    answer = engine.chat("How many?")
    assert isinstance(answer, AgentChatResponse)
    assert answer.response == "There are 30 days.\n\nThey expire." == str(answer)
    assert [(one.tool_name, one.raw_input) for one in answer.sources] == [
        ("retrieve", {"query": "leave"}),
        ("grep", {"pattern": "expire"}),
    ]
    assert answer.sources[0].raw_output["results"][0]["content"] == "Everyone has 30 days of leave."
    assert '"Everyone has 30 days of leave."' in answer.sources[0].content
    assert len(answer.source_nodes) == 1
    metadata = answer.metadata
    assert metadata is not None
    assert (metadata["session_id"], metadata["turn"]) == (engine.session_id, 1)
    assert metadata["thinking"] == "Let me look."
    assert metadata["usage"]["total_output_tokens"] > 0
    assert metadata["skipped_index_ids"] == []


def test_a_node_says_where_its_passage_is(serve: Serve) -> None:
    picture = {"attachment_name": "screenshots/page_1.jpg", "source_id": "file-1", "type": "screenshot"}

    def agent(turn: AgentTurn) -> Iterator[WireEvent]:
        yield from retrieve("c1", "leave", passage("30 days.", attachments=[picture]))
        yield from speak("text", ["30"])

    engine = LlamaCloudChatEngine(serve(agent))
    found = engine.chat("How many?").source_nodes[0]
    assert (found.node.get_content(), found.score) == ("30 days.", 0.5)
    assert found.node.metadata == {
        "file_name": "leave.md",
        "file_id": "file-1",
        "team": "people",
        "page_start": 1,
        "page_end": 2,
        "start_char": 10,
        "end_char": 30,
        "rerank_score": 0.9,
        "attachments": json.dumps([picture]),  # vector stores take no lists
        "tool_call_id": "c1",
    }
    assert (found.node.start_char_idx, found.node.end_char_idx) == (10, 30)  # type: ignore[attr-defined]
    assert engine.chat("How many again?").source_nodes[0].node_id == found.node_id


def test_page_pictures_are_nodes_on_request_and_fetched_when_resolved(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = {"attachment_name": "screenshots/page_1.jpg", "source_id": "file-1"}

    def agent(turn: AgentTurn) -> Iterator[WireEvent]:
        yield from retrieve("c1", "leave", passage("30 days.", attachments=[picture, picture]))
        yield from speak("text", ["30"])

    client = serve(agent)
    fetched: list[Any] = []

    def download(self: ChatClient, attachment: Any) -> bytes:
        fetched.append(attachment)
        return b"a picture"

    monkeypatch.setattr(ChatClient, "download", download)
    with ChatClient(client.config.api_key, base_url=client.config.base_url) as pictures:
        answer = LlamaCloudChatEngine(pictures, page_images=True).chat("How many?")
        assert [type(one.node).__name__ for one in answer.source_nodes] == ["TextNode", "PageImageNode"]
        node = answer.source_nodes[1].node
        assert isinstance(node, PageImageNode)
        assert node.metadata == {**picture, "file_name": "leave.md", "tool_call_id": "c1"}
        assert fetched == []
        assert node.resolve_image().read() == b"a picture"
        assert asyncio.run(node.aresolve_image()).read() == b"a picture"
        assert len(fetched) == 1
    key = client.config.api_key.get_secret_value()
    assert key not in repr(node)
    assert key.encode() not in pickle.dumps(node)
    arrived = pickle.loads(pickle.dumps(node))
    assert (arrived.to_dict(), arrived.resolve_image().read()) == (node.to_dict(), b"a picture")


def test_turns_go_on_in_one_session(serve: Serve) -> None:
    client = serve(echo)
    engine = LlamaCloudChatEngine.from_defaults(client)
    assert engine.session_id is None
    assert [str(engine.chat(prompt)) for prompt in "ab"] == ["1: a", "2: b"]
    assert sessions(client) == {engine.session_id: 2}
    assert said(engine) == ["a", "1: a", "b", "2: b"]


async def test_turns_go_on_in_one_session_for_tasks(aserve: AServe) -> None:
    engine = LlamaCloudChatEngine(async_client=aserve(echo))
    assert [str(await engine.achat(prompt)) for prompt in "ab"] == ["1: a", "2: b"]
    assert [message.content for message in await engine.aload_history()] == ["a", "1: a", "b", "2: b"]


async def test_blocking_and_asynchronous_calls_share_the_conversation(aserve: AServe) -> None:
    engine = LlamaCloudChatEngine(async_client=aserve(echo))
    assert str(await engine.achat("a")) == "1: a"
    assert str(await asyncio.to_thread(engine.chat, "b")) == "2: b"
    assert [text async for text in (await engine.astream_chat("c")).async_response_gen()] == ["3: ", "c"]
    engine._clients.client.close()


def test_an_engine_works_in_one_event_loop_after_another(serve: Serve) -> None:
    engine = LlamaCloudChatEngine(serve(echo))

    async def ask(prompt: str) -> str:
        answer = await engine.achat(prompt)
        await engine._clients.async_client.aclose()
        return str(answer)

    assert [asyncio.run(ask(prompt)) for prompt in "ab"] == ["1: a", "2: b"]


@has_all_blocks
@pytest.mark.rule("design-5")
def test_history_messages_hold_thinking_calls_and_text_in_order(serve: Serve) -> None:
    engine = LlamaCloudChatEngine(serve(researcher))
    engine.chat("How many?")
    prompt, answer = engine.chat_history
    assert (prompt.role, prompt.content, prompt.additional_kwargs) == (MessageRole.USER, "How many?", {})
    assert answer.role == MessageRole.ASSISTANT
    assert answer.blocks == [
        llms.ThinkingBlock(content="Let me look."),
        llms.ToolCallBlock(tool_call_id="c1", tool_name="retrieve", tool_kwargs={"query": "leave"}),
        TextBlock(text="There are 30 days."),
        llms.ToolCallBlock(tool_call_id="c2", tool_name="grep", tool_kwargs={"pattern": "expire"}),
        TextBlock(text="\nThey expire."),
    ]
    assert answer.content == "There are 30 days.\n\nThey expire."
    assert answer.additional_kwargs == {"session_id": engine.session_id, "turn": 1}


def test_history_messages_say_the_one_text(serve: Serve) -> None:
    engine = LlamaCloudChatEngine(serve(researcher))
    text = str(engine.chat("How many?"))
    assert said(engine) == ["How many?", text]
    assert said(LlamaCloudChatEngine(engine._clients.client, session_id=engine.session_id)) == ["How many?", text]


def test_a_session_is_resumed_by_its_id_and_its_history_read_once(serve: Serve) -> None:
    client = serve(echo)
    first = LlamaCloudChatEngine(client)
    first.chat("a")
    reads: list[str] = []

    class Client(ChatClient):
        def retrieve(self, session_id: str) -> Any:
            reads.append(session_id)
            return super().retrieve(session_id)

    with Client(client.config.api_key, base_url=client.config.base_url) as counting:
        engine = LlamaCloudChatEngine(counting, session_id=first.session_id)
        assert str(engine.chat("b")) == "2: b"
        assert said(engine) == ["a", "1: a", "b", "2: b"]
        engine.chat("c")
        assert said(engine)[-2:] == ["c", "3: c"]
        assert reads == [first.session_id]


async def test_the_history_of_a_resumed_session_can_be_loaded_without_blocking(aserve: AServe) -> None:
    client = aserve(echo)
    first = LlamaCloudChatEngine(async_client=client)
    await first.achat("a")
    engine = LlamaCloudChatEngine(async_client=client, session_id=first.session_id)
    assert [message.content for message in await engine.aload_history()] == ["a", "1: a"]
    assert said(engine) == ["a", "1: a"]


def test_a_resumed_session_that_is_gone_is_not_found(serve: Serve) -> None:
    engine = LlamaCloudChatEngine(serve(echo), session_id="ses-gone")
    with pytest.raises(NotFoundError):
        engine.chat("a")
    with pytest.raises(NotFoundError):
        _ = engine.chat_history


def test_reset_begins_a_new_session_and_deletes_nothing(serve: Serve) -> None:
    client = serve(echo)
    engine = LlamaCloudChatEngine(client)
    engine.chat("a")
    old = engine.session_id
    engine.reset()
    assert (engine.session_id, engine.chat_history) == (None, [])
    assert str(engine.chat("b")) == "1: b"
    assert sessions(client) == {old: 1, engine.session_id: 1}
    assert said(engine) == ["b", "1: b"]


def test_a_history_that_is_given_is_continued_in_its_session(serve: Serve) -> None:
    client = serve(echo)
    first = LlamaCloudChatEngine(client)
    first.chat("a")
    engine = LlamaCloudChatEngine(client, session_id=client.create().session_id)
    assert str(engine.chat("b", chat_history=first.chat_history)) == "2: b"
    assert engine.session_id == first.session_id
    assert said(engine) == ["a", "1: a", "b", "2: b"]
    assert str(engine.chat("c")) == "3: c"


def test_a_history_that_is_no_longer_the_sessions_end_is_forked(serve: Serve) -> None:
    client = serve(echo)
    engine = LlamaCloudChatEngine(client)
    engine.chat("a")
    before = engine.chat_history
    old = engine.session_id
    engine.chat("b")
    answer = str(engine.chat("c", chat_history=before))
    assert answer.startswith("1: ")
    assert "> 1: a" in answer
    assert "> b" not in answer
    assert answer.endswith("c")
    assert engine.session_id != old
    assert sessions(client) == {old: 2, engine.session_id: 1}
    assert said(engine)[:3] == ["a", "1: a", "c"]


def test_a_stale_history_is_seen_even_if_another_client_moved_the_session_on(serve: Serve) -> None:
    client = serve(echo)
    engine = LlamaCloudChatEngine(client)
    engine.chat("a")
    before, old = engine.chat_history, engine.session_id
    with ChatClient(client.config.api_key, base_url=client.config.base_url) as other:
        LlamaCloudChatEngine(other, session_id=old).chat("elsewhere")
    engine.chat("b", chat_history=before)
    assert engine.session_id != old


def test_an_empty_history_begins_a_new_session(serve: Serve) -> None:
    client = serve(echo)
    engine = LlamaCloudChatEngine(client)
    engine.chat("a")
    old = engine.session_id
    assert str(engine.chat("b", chat_history=[])) == "1: b"
    assert engine.session_id != old


def test_a_foreign_history_is_told_in_the_first_prompt(serve: Serve) -> None:
    engine = LlamaCloudChatEngine(serve(echo))
    history = [
        ChatMessage(role="system", content="Be brief."),
        ChatMessage(role="user", content="Hello"),
        ChatMessage(role="assistant", content="Hello!"),
    ]
    answer = str(engine.chat("Who are you?", chat_history=history))
    assert all(part in answer for part in ("> Be brief.", "> Hello!", "Who are you?"))
    assert said(engine) == ["Be brief.", "Hello", "Hello!", "Who are you?", answer]
    history[0].blocks = [TextBlock(text="changed")]
    assert said(engine)[0] == "Be brief."


def test_indexes_bind_the_engines_sessions(tmp_path: Path) -> None:
    (tmp_path / "leave.md").write_text("Everyone has 30 days of paid leave each year.")
    with LocalService(tmp_path) as service, ChatClient(service.api_key, base_url=service.base_url) as client:
        engine = LlamaCloudChatEngine(client, index_ids=service.index_ids)
        answer = engine.chat("How many days of paid leave are there?")
        assert "30 days" in str(answer)
        assert answer.source_nodes[0].node.metadata["file_name"] == "leave.md"
        assert engine.session_id is not None
        assert client.get_summary(engine.session_id).index_ids == service.index_ids


def test_a_failed_turn_stays_in_the_history_with_what_came(serve: Serve) -> None:
    engine = LlamaCloudChatEngine(serve(failing))
    with pytest.raises(TurnFailedError) as caught:
        engine.chat("a")
    assert caught.value.turn is not None
    assert caught.value.turn.text == "So far "
    assert said(engine) == ["a", "So far "]


def test_a_turn_that_was_let_go_stays_in_the_history_and_the_next_waits_for_it(serve: Serve) -> None:
    gate = Gate()
    engine = LlamaCloudChatEngine(serve(gate))
    pieces = engine.stream_chat("a").response_gen
    next(pieces)
    pieces.close()
    assert said(engine) == ["a", "a one "]
    gate.open.set()
    assert str(engine.chat("b")) == "b one two"
    assert said(engine) == ["a", "a one ", "b", "b one two"]


def test_a_refused_prompt_leaves_no_trace_in_the_history(serve: Serve) -> None:
    engine = LlamaCloudChatEngine(serve(echo), index_ids=["idx-unknown"], require_all_indexes=True)
    with pytest.raises(ConfigurationError):
        engine.chat("  ")
    assert engine.chat_history == []


def test_turns_asked_at_once_do_not_interleave(serve: Serve) -> None:
    client = serve(echo)
    engine = LlamaCloudChatEngine(client)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: str(engine.chat(f"<{number}>")), range(8)))
    assert sorted(answer.split(":")[0] for answer in answers) == [str(number) for number in range(1, 9)]
    assert sessions(client) == {engine.session_id: 8}
    history = said(engine)
    for place in range(8):
        assert history[2 * place + 1] == f"{place + 1}: {history[2 * place]}"
    assert sorted(answers) == sorted(str(text) for text in history[1::2])


async def test_turns_asked_at_once_by_tasks_and_threads_do_not_interleave(aserve: AServe) -> None:
    engine = LlamaCloudChatEngine(async_client=aserve(echo))
    asked = [engine.achat(f"<{number}>") for number in range(4)]
    asked += [asyncio.to_thread(engine.chat, f"<{number}>") for number in range(4, 8)]
    answers = [str(answer) for answer in await asyncio.wait_for(asyncio.gather(*asked), WAIT)]
    assert sorted(answer.split(":")[0] for answer in answers) == [str(number) for number in range(1, 9)]
    engine._clients.client.close()


def test_a_second_turn_waits_until_the_first_is_read(serve: Serve) -> None:
    gate = Gate()
    engine = LlamaCloudChatEngine(serve(gate))
    pieces = engine.stream_chat("a").response_gen
    next(pieces)
    with ThreadPoolExecutor(1) as threads:
        second = threads.submit(engine.chat, "b")
        gate.open.set()
        list(pieces)
        assert str(second.result(WAIT)) == "b one two"
    assert said(engine) == ["a", "a one two", "b", "b one two"]


def test_asking_inside_an_open_turn_is_refused_instead_of_hanging(hold: Hold) -> None:
    service = hold(text_of(["one", "two"]))
    with ChatClient("key", base_url=service.base_url) as client:
        engine = LlamaCloudChatEngine(client)
        pieces = engine.stream_chat("a").response_gen
        next(pieces)
        with pytest.raises(SessionBusyError):
            engine.chat("b")
        pieces.close()


async def test_blocking_the_loop_that_the_turn_before_needs_is_refused(hold: Hold) -> None:
    service = hold([{"type": "text_delta", "content": ""}])  # nothing is said, so that no event comes
    async with AsyncChatClient("key", base_url=service.base_url) as client:
        engine = LlamaCloudChatEngine(async_client=client)
        task = asyncio.create_task(engine.achat("a"))
        assert await asyncio.to_thread(service.held.wait, WAIT)
        with pytest.raises(SessionBusyError, match="event loop"):
            engine.chat("b")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_turn_cancelled_in_the_queue_lets_the_next_one_up(hold: Hold) -> None:
    service = hold([{"type": "text_delta", "content": ""}])
    async with AsyncChatClient("key", base_url=service.base_url) as client:
        engine = LlamaCloudChatEngine(async_client=client)
        first = asyncio.create_task(engine.achat("a"))
        assert await asyncio.to_thread(service.held.wait, WAIT)
        second = asyncio.create_task(engine.achat("b"))
        await asyncio.sleep(0)
        third = asyncio.create_task(engine.achat("c", chat_history=None))
        await asyncio.sleep(0)
        for task in (second, third, first):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    assert service.prompts == ["a"]


def test_resetting_while_a_turn_runs_keeps_it_out_of_the_new_conversation(serve: Serve) -> None:
    gate = Gate()
    engine = LlamaCloudChatEngine(serve(gate))
    pieces = engine.stream_chat("a").response_gen
    next(pieces)
    engine.reset()
    gate.open.set()
    list(pieces)
    assert engine.chat_history == []
    assert str(engine.chat("b")) == "b one two"


@pytest.mark.parametrize("repl", ["chat_repl", "streaming_chat_repl"])
def test_the_repls_begin_anew_and_talk(
    serve: Serve, repl: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = LlamaCloudChatEngine(serve(echo))
    engine.chat("before")
    typed = iter(["a", "b", "exit"])
    monkeypatch.setattr("builtins.input", lambda _: next(typed))
    getattr(engine, repl)()
    shown = capsys.readouterr().out
    assert "Assistant: 1: a" in shown
    assert "Assistant: 2: b" in shown


def test_a_client_of_the_wrong_kind_is_refused(serve: Serve) -> None:
    client = serve(echo)
    with pytest.raises(ConfigurationError, match="async_client must be of type AsyncChatClient"):
        LlamaCloudChatEngine(async_client=client)  # type: ignore[arg-type]


def test_without_a_client_the_environment_is_used(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    client = serve(echo)
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", client.config.api_key.get_secret_value())
    monkeypatch.setenv("LLAMA_CLOUD_BASE_URL", client.config.base_url)
    engine = LlamaCloudChatEngine()
    assert str(engine.chat("a")) == "1: a"
    engine._clients.client.close()
    monkeypatch.delenv("LLAMA_CLOUD_API_KEY")
    with pytest.raises(ConfigurationError, match="no API key"):
        LlamaCloudChatEngine()


def test_threads_see_whole_answers_while_a_turn_runs(serve: Serve) -> None:
    gate = Gate()
    engine = LlamaCloudChatEngine(serve(gate))
    done = threading.Event()
    reader = threading.Thread(target=lambda: (engine.chat("a"), done.set()))
    reader.start()
    assert gate.waiting.wait(WAIT)
    gate.open.set()
    assert done.wait(WAIT)
    reader.join(WAIT)
    assert said(engine) == ["a", "a one two"]
