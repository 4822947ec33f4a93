"""What may be asked, and how stop sequences end the answer."""

from __future__ import annotations

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_ext import ChatLlamaCloud
from langchain_ext._converter import message_of
from llama_cloud_chat import AsyncChatClient, ChatClient, StreamInterruptedError, Text, Turn

from ..support.service import ChatService
from .conftest import Make
from .harness import added_up, broken_off, comparable, read_until


def test_every_kind_of_message_is_told(model: ChatLlamaCloud) -> None:
    said = model.invoke(
        [
            SystemMessage("Be brief."),
            HumanMessage("Who is there?", name="ada"),
            AIMessage([{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "Me."}]),
            ToolMessage("It rains.", tool_call_id="1", name="weather"),
            FunctionMessage("It snows.", name="forecast"),
            ChatMessage("Really?", role="user"),
            HumanMessage([{"type": "text", "text": "And "}, "now?"]),
        ]
    ).text
    for words in (
        "Be brief.",
        "ada",
        "Who is there?",
        "Me.",
        "weather",
        "It rains.",
        "It snows.",
        "Really?",
        "And now?",
    ):
        assert words in said
    assert "hm" not in said


def test_a_single_question_is_sent_as_it_is(model: ChatLlamaCloud) -> None:
    assert model.invoke("  one\n two ").text == "turn 1:   one\n two "
    assert model.invoke([{"role": "user", "content": "hi"}]).text == "turn 1: hi"


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
FILE = {"type": "file", "base64": "aGk=", "mime_type": "application/pdf"}


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "no messages"),
        ([HumanMessage("")], "empty"),
        ([HumanMessage("  \n")], "empty"),
        ([HumanMessage([])], "empty"),
        ([HumanMessage([IMAGE])], "takes text alone"),
        ([HumanMessage([{"type": "text", "text": "see"}, FILE])], "takes text alone"),
        ([HumanMessage([{"type": "mystery"}])], "mystery content"),
        ([HumanMessage([{"inline": "aGk="}])], "untyped content"),
        ([SystemMessage("hi")], "no message of the user"),
        ([AIMessage("ho"), ToolMessage("hi", tool_call_id="1")], "no message of the user"),
        (
            [HumanMessage("hi"), AIMessage("ho", response_metadata={"session_id": "s", "turn": 1})],
            "no message of the user",
        ),
        ([ChatMessage("hi", role="narrator")], "'narrator'"),
        ([RemoveMessage(id="1"), HumanMessage("hi")], "'remove'"),
    ],
)
def test_what_the_service_does_not_take_is_refused_before_any_request(
    raw: ChatService, raw_client: ChatClient, messages: list[BaseMessage], reason: str
) -> None:
    model = ChatLlamaCloud(client=raw_client)
    with pytest.raises(ValueError, match=reason):
        model.invoke(messages)
    with pytest.raises(ValueError, match=reason):
        list(model.stream(messages))
    assert raw.requests == []


async def test_asyncio_refuses_too(amodel: ChatLlamaCloud) -> None:
    with pytest.raises(ValueError, match="takes text alone"):
        await amodel.ainvoke([HumanMessage([IMAGE])])


def test_tools_are_refused_with_what_to_do_instead(model: ChatLlamaCloud) -> None:
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    with pytest.raises(NotImplementedError, match="LlamaCloudChatTool"):
        model.bind_tools([add])
    with pytest.raises(NotImplementedError, match="LlamaCloudChatTool"):
        model.bind(tools=[{"name": "add"}]).invoke("hi")
    assert model.bind_tools([]).invoke("text alone").content == "Hello"


STOPS = [
    ("text alone", ["l"], "He"),
    ("text alone", ["lo", "ll"], "He"),
    ("text alone", ["H"], ""),
    ("text alone", ["xyz", ""], "Hello"),
    ("text alone", ["lloyd", "o!"], "Hello"),
    ("text alone", [], "Hello"),
    ("several segments", ["\n\n"], "One"),
    ("a late whole amid the next text", ["ee"], "A\n\nb"),
    ("several segments", ["n"], "O"),
    ("late wholes", ["nsw"], "A"),
    ("an answer in two around a tool, whole late", ["Lookout"], "Look\n\nfound"),
    ("several segments", ["thr"], "One\n\nTwo "),
    ("two texts side by side", ["B"], "A\n\n"),
    ("late wholes", ["sw"], "An"),
    ("wholes alone", ["once"], "All at "),
    ("think, look, answer", ["days"], "30 "),
    ("a whole that says more", ["yo"], "Hello, "),
    ("an answer in two around a tool, whole late", ["kx", "fx"], "Look\n\nfound"),
    ("many pieces", ["two three four", "wo t"], "One t"),
    ("many pieces", ["wo", "two"], "One "),
]


@pytest.mark.parametrize(("script", "stop", "text"), STOPS)
@pytest.mark.parametrize("output_version", [None, "v1"])
def test_stop_sequences_cut_what_is_delivered(
    make: Make, script: str, stop: list[str], text: str, output_version: str | None
) -> None:
    model = make(output_version=output_version)
    answer = model.invoke(script, stop=stop)
    assert answer.text == text
    assert comparable(added_up(model.stream(script, stop=stop))) == comparable(answer)
    assert answer.usage_metadata is not None
    followed = model.invoke([HumanMessage(script), answer, HumanMessage("more")])
    assert followed.response_metadata["turn"] == 2


@pytest.mark.parametrize(("script", "stop", "text"), STOPS)
@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
def test_stop_sequences_cut_v3_streams(make: Make, script: str, stop: list[str], text: str) -> None:
    if not hasattr(ChatLlamaCloud, "_chat_model_stream_v3"):
        pytest.skip("this langchain-core has no stream_events v3")
    from langchain_tests.utils.stream_lifecycle import assert_valid_event_stream

    stream = make().stream_events(script, version="v3", stop=stop)
    assert_valid_event_stream(list(stream))
    assert stream.output.text == text


def test_what_a_stop_sequence_held_back_is_part_of_a_turn_that_never_ended() -> None:
    turn = Turn.from_events("Why?", [Text("Hello")])
    assert message_of(turn, stop=["lo!"]).text == "Hello"


def test_what_a_stop_sequence_held_back_is_delivered_before_an_error(raw: ChatService, raw_client: ChatClient) -> None:
    raw.reply = lambda _: broken_off("Half an")
    stream = ChatLlamaCloud(client=raw_client).stream("one", stop=["and"])
    assert [chunk.text for chunk in read_until(StreamInterruptedError, stream)] == ["Half ", "an"]


async def test_asyncio_delivers_what_was_held_back_too(raw: ChatService) -> None:
    raw.reply = lambda _: broken_off("Half an")
    pieces: list[str] = []

    async def read() -> None:
        async for chunk in ChatLlamaCloud(async_client=client).astream("one", stop=["and"]):
            pieces.append(str(chunk.text))  # noqa: PERF401  # what came before the error counts

    async with AsyncChatClient("key", base_url=raw.base_url, max_retries=0, recovery_timeout=0.1) as client:
        with pytest.raises(StreamInterruptedError):
            await read()
    assert pieces == ["Half ", "an"]


PICTURED = {"type": "image", "base64": "aGk=", "mime_type": "image/png"}


def test_what_is_no_text_is_told_by_name_where_it_is_not_asked(model: ChatLlamaCloud) -> None:
    said = model.invoke(
        [
            HumanMessage([{"type": "text", "text": "See "}, {**FILE, "extras": {"filename": "plan.pdf"}}]),
            AIMessage([{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "Like "}, PICTURED]),
            ToolMessage([{"type": "input_audio"}, {"type": "video"}, {"type": "mystery"}], tool_call_id="1"),
            HumanMessage([{"type": "file", "file": {"filename": "b.pdf"}}, IMAGE, FILE]),
            HumanMessage([{"type": "text-plain", "text": "And now?", "mime_type": "text/plain"}]),
        ]
    ).text
    for words in ("See [document: plan.pdf]", "Like [image]", "[audio][video][mystery]", "[document: b.pdf][image]"):
        assert words in said
    assert "And now?" in said
    assert "hm" not in said


def test_what_other_providers_call_texts_and_pictures_is_told_too(model: ChatLlamaCloud) -> None:
    picture = {"type": "media", "mime_type": "image/png", "data": "aGk="}
    said = model.invoke(
        [
            HumanMessage([{"type": "input_text", "text": "Draw a leaf "}, picture]),
            AIMessage(
                [
                    {"type": "reasoning", "summary": []},
                    {"type": "output_text", "text": "Here: "},
                    {"type": "image_generation_call", "id": "1", "result": "aGk="},
                    {"type": "media", "file_uri": "gs://a.pdf", "mime_type": "application/pdf"},
                    {"type": "refusal", "refusal": " No more."},
                ]
            ),
            HumanMessage([{"type": "input_text", "text": "And now?"}]),
        ]
    ).text
    assert "> Draw a leaf [image]\n" in said
    assert "> Here: [image][document] No more.\n" in said
    assert said.endswith("And now?")


def test_a_picture_that_is_never_sent_disturbs_nobody(model: ChatLlamaCloud, client: ChatClient) -> None:
    first = model.invoke("one")
    pictured = [HumanMessage([IMAGE]), first, HumanMessage("two")]
    assert model.invoke(pictured).text == "turn 2: two"
    named = model.bind(session_id=client.create().session_id)
    assert named.invoke(pictured).text == "turn 1: two"


def test_a_text_that_lies_elsewhere_is_a_document(model: ChatLlamaCloud) -> None:
    plain = {"type": "text-plain", "url": "https://example.org/a.txt", "title": "a.txt", "mime_type": "text/plain"}
    assert "[document: a.txt]" in model.invoke([AIMessage([plain]), HumanMessage("hi")]).text
