"""Where an engine's conversation goes on: gone sessions, questions asked again, instructions, what is no text."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.base.llms import types as llms
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool

from llama_cloud_chat import (
    AsyncChatClient,
    ChatClient,
    ConfigurationError,
    Event,
    NotFoundError,
    Stop,
    Text,
    TextDelta,
    Thinking,
    ToolCall,
    ToolResult,
    Turn,
)
from llama_index_ext import LlamaCloudChatEngine
from llama_index_ext._converter import answer_message, answer_to_core
from llama_index_ext._messages import to_core
from tests.llama_index.harness import WAIT, Gate, echo, researcher

Serve = Callable[..., ChatClient]
AServe = Callable[..., AsyncChatClient]


def said(engine: LlamaCloudChatEngine) -> list[str | None]:
    return [message.content for message in engine.chat_history]


def turns(client: ChatClient) -> list[int]:
    return [len(client.retrieve(one.session_id).turns) for one in client.list()]


@pytest.mark.rule("design-4")
def test_an_engine_whose_session_was_deleted_goes_on_in_a_new_one(serve: Serve) -> None:
    client = serve(echo)
    engine = LlamaCloudChatEngine(client)
    engine.chat("a")
    old = engine.session_id
    assert old is not None
    client.delete(old)
    answer = str(engine.chat("b"))
    assert "> a" in answer
    assert answer.endswith("b")
    assert engine.session_id != old
    assert str(engine.chat("c")) == "2: c"
    assert said(engine) == ["a", "1: a", "b", answer, "c", "2: c"]


async def test_an_engine_whose_session_was_deleted_goes_on_for_a_task_too(aserve: AServe) -> None:
    client = aserve(echo)
    engine = LlamaCloudChatEngine(async_client=client)
    old = (await engine.achat("a")).metadata["session_id"]  # type: ignore[index]
    await client.delete(old)
    assert "> a" in str(await engine.achat("b"))


def test_a_session_that_the_user_named_is_missed_when_it_is_gone(serve: Serve) -> None:
    client = serve(echo)
    session_id = client.create().session_id
    engine = LlamaCloudChatEngine(client, session_id=session_id)
    engine.chat("a")
    client.delete(session_id)
    with pytest.raises(NotFoundError):
        engine.chat("b")


@pytest.mark.rule("design-3")
async def test_a_question_whose_task_was_cancelled_is_delivered_when_it_is_asked_again(aserve: AServe) -> None:
    gate = Gate()
    client = aserve(gate)
    engine = LlamaCloudChatEngine(async_client=client)
    asking = asyncio.create_task(engine.achat("a"))
    assert await asyncio.to_thread(gate.waiting.wait, WAIT)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    gate.open.set()
    assert str(await engine.achat("a")) == "a one two"
    assert [len((await client.retrieve(one.session_id)).turns) async for one in client.list()] == [1]
    assert [one.content for one in engine.chat_history] == ["a", "a one two"]
    assert (await engine.achat("b")).metadata["turn"] == 2  # type: ignore[index]


def test_a_system_prompt_holds_from_the_first_turn_and_is_told_again_when_it_changes(serve: Serve) -> None:
    engine = LlamaCloudChatEngine.from_defaults(serve(echo), system_prompt="Be brief.")
    first = str(engine.chat("a"))
    assert "> Be brief." in first
    assert str(engine.chat("b")) == "2: b"
    engine.system_prompt = "Be kind."
    third = str(engine.chat("c"))
    assert third.startswith("3: ")
    assert "> Be kind." in third
    assert said(engine)[::2] == ["a", "b", "c"]
    twin = copy.deepcopy(engine)
    assert (twin.system_prompt, str(twin.chat("d"))) == ("Be kind.", "4: d")


def test_a_named_session_is_told_a_system_prompt_once(serve: Serve) -> None:
    client = serve(echo)
    engine = LlamaCloudChatEngine(client, session_id=client.create().session_id, system_prompt="Be brief.")
    assert "> Be brief." in str(engine.chat("a"))
    assert str(engine.chat("b")) == "2: b"


def test_the_history_shows_the_users_words_and_never_what_was_told_along(serve: Serve) -> None:
    client = serve(echo)
    engine = LlamaCloudChatEngine(client, system_prompt="Be brief.")
    engine.chat(
        "b", chat_history=[ChatMessage(role="user", content="Hello"), ChatMessage(role="assistant", content="Hi")]
    )
    fresh = LlamaCloudChatEngine(client, session_id=engine.session_id)
    assert said(fresh)[0] == "b"


def test_a_key_names_a_question_which_is_asked_once(serve: Serve) -> None:
    client = serve(echo)
    assert str(LlamaCloudChatEngine(client).chat("a", key="q1")) == "1: a"
    again = LlamaCloudChatEngine(client).stream_chat("a", key="q1")
    assert "".join(again.response_gen) == "1: a"
    assert turns(client) == [1]


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda engine: pickle.loads(pickle.dumps(engine))])
def test_a_copy_knows_its_session(serve: Serve, how: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    client = serve(echo)
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", client.config.api_key.get_secret_value())
    engine = LlamaCloudChatEngine(client)
    engine.chat("a")
    assert how(engine).session_id == engine.session_id is not None


PICTURE = ImageBlock(image=b"\x89PNG\r\n\x1a\n", image_mimetype="image/png")


def _blocks() -> dict[str, Any]:
    """Return a block of every kind that this LlamaIndex has, by how it is told."""
    file = b"%PDF-1.4"
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "[document: report.pdf]": (
            "DocumentBlock",
            {"data": file, "title": "report.pdf", "document_mimetype": "application/pdf"},
        ),
        "[document]": ("DocumentBlock", {"data": file, "document_mimetype": "application/pdf"}),
        "[audio]": ("AudioBlock", {"audio": b"RIFF", "format": "wav"}),
        "[video]": ("VideoBlock", {"video": b"....ftyp", "video_mimetype": "video/mp4"}),  # not in the oldest
        "Cited.": ("CitableBlock", {"title": "Law", "source": "law", "content": "Cited."}),
    }
    made = {told: getattr(llms, kind)(**fields) for told, (kind, fields) in kinds.items() if hasattr(llms, kind)}
    return {"Look:": TextBlock(text="Look:"), "[image]": PICTURE, **made}


@pytest.mark.rule("design-4")
def test_what_is_no_text_is_told_as_what_it_is(serve: Serve) -> None:
    blocks = _blocks()
    assert len(blocks) >= 6
    history = [
        ChatMessage(role="user", blocks=list(blocks.values())),
        ChatMessage(role="assistant", content="I see."),
    ]
    answer = str(LlamaCloudChatEngine(serve(echo)).chat("And?", chat_history=history))
    for told in blocks:
        assert f"> {told}\n" in answer


def test_a_prompt_that_is_no_text_is_refused_with_the_reason(serve: Serve) -> None:
    client = serve(echo)
    engine = LlamaCloudChatEngine(client)
    with pytest.raises(ConfigurationError, match=r"must be a str, not ChatMessage. Pass its text: message.content"):
        engine.chat(ChatMessage(role="user", content="a"))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="must be a str, not NoneType"):
        engine.stream_chat(None)  # type: ignore[arg-type]
    assert turns(client) == []


def test_an_engine_is_a_tool_of_a_function(serve: Serve) -> None:
    engine = LlamaCloudChatEngine(serve(researcher))
    tool = FunctionTool.from_defaults(engine.chat, async_fn=engine.achat, name="ask")
    output = tool.call(message="How many?")
    assert output.content == "There are 30 days.\n\nThey expire."
    assert output.raw_output.source_nodes
    assert "message" in tool.metadata.get_parameters_dict()["properties"]


@pytest.mark.parametrize("history", ["a", [{"role": "user", "content": "a"}], [("user", "a")]])
def test_a_history_that_holds_no_messages_is_refused_before_anything_is_asked(serve: Serve, history: Any) -> None:
    client = serve(echo)
    with pytest.raises(ConfigurationError, match="list of ChatMessage"):
        LlamaCloudChatEngine(client).chat("b", chat_history=history)
    assert turns(client) == []


WORDS = st.sampled_from(["", " ", "One.", "\n", "Two\n\nlines"]) | st.text()
EVENTS: st.SearchStrategy[Event] = st.one_of(
    WORDS.map(Text),
    WORDS.map(TextDelta),
    WORDS.map(Thinking),
    st.just(ToolCall("call-1", "retrieve", {"query": "x"})),
    st.just(ToolResult("call-1", "retrieve", {"results": []})),
    st.sampled_from([Stop(), Stop(is_error=True, error="So.")]),
)


@given(
    st.lists(EVENTS),
    st.none() | st.just("ses-1"),
    st.none() | st.integers(1, 9),
    st.none() | st.just("a1"),
    st.integers(0, 2),
)
def test_an_answer_is_the_same_to_the_core_whether_or_not_it_was_a_message(
    events: list[Event], session_id: str | None, number: int | None, instructions: str | None, left_out: int
) -> None:
    turn = Turn.from_events("a", events, session_id=session_id, number=number)
    turn.instructions, turn.left_out = instructions, left_out
    assert to_core([answer_message(turn)]) == [answer_to_core(turn)]
