"""Every way of reading a turn gives the same answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage

from langchain_ext import ChatLlamaCloud, as_turns
from langchain_ext._converter import ChunkWriter, message_of
from llama_cloud_chat import ChatClient, Text, TextDelta, ToolCall, ToolResult, Turn, TurnFailedError

from . import scripts
from .conftest import Make
from .harness import added_up, comparable, read_until

VERSIONS = pytest.mark.parametrize("output_version", [None, "v1"])
EVERY_SCRIPT = pytest.mark.parametrize("script", scripts.CONSISTENT)


@EVERY_SCRIPT
@VERSIONS
def test_the_sum_of_a_streams_chunks_is_the_message_of_invoke(
    make: Make, script: str, output_version: str | None
) -> None:
    model = make(output_version=output_version)
    assert comparable(added_up(model.stream(script))) == comparable(model.invoke(script))


@EVERY_SCRIPT
@VERSIONS
async def test_the_async_ways_read_the_same(amake: Make, script: str, output_version: str | None) -> None:
    model = amake(output_version=output_version)
    streamed = added_up([chunk async for chunk in model.astream(script)])
    answered = await model.ainvoke(script)
    assert comparable(streamed) == comparable(answered) == comparable(model.invoke(script))


@EVERY_SCRIPT
def test_the_blocks_are_the_same_in_both_output_versions(make: Make, script: str) -> None:
    plain, v1 = make().invoke(script), make(output_version="v1").invoke(script)
    assert isinstance(plain.content, str)
    assert v1.content == plain.content_blocks == v1.content_blocks
    assert v1.text == plain.text == plain.content
    assert [block["index"] for block in v1.content_blocks] == list(range(len(v1.content)))


@EVERY_SCRIPT
def test_the_text_is_the_one_text_of_the_turn(client: ChatClient, model: ChatLlamaCloud, script: str) -> None:
    turn = client.create().ask(script)
    assert model.invoke(script).text == turn.text
    assert "".join(chunk.text for chunk in model.stream(script)) == turn.text


@EVERY_SCRIPT
def test_chunks_hold_str_by_default_and_lists_in_v1(make: Make, script: str) -> None:
    assert all(isinstance(chunk.content, str) for chunk in make().stream(script))
    assert all(isinstance(chunk.content, list) for chunk in make(output_version="v1").stream(script))


@EVERY_SCRIPT
@pytest.mark.rule("design-5")
def test_tool_calls_are_always_empty(model: ChatLlamaCloud, script: str) -> None:
    assert model.invoke(script).tool_calls == added_up(model.stream(script)).tool_calls == []


@pytest.mark.rule("design-5")
def test_blocks_come_in_event_order_with_the_page_pictures(model: ChatLlamaCloud) -> None:
    answer = model.invoke("think, look, answer")
    assert answer.content == "30 days."
    assert answer.content_blocks == [
        {"type": "reasoning", "reasoning": "Let me look.", "index": 0},
        {"type": "server_tool_call", "id": "c1", "name": "retrieve", "args": {"query": "leave"}, "index": 1},
        {
            "type": "server_tool_result",
            "tool_call_id": "c1",
            "status": "success",
            "output": {"results": [scripts.PASSAGE]},
            "extras": {
                "name": "retrieve",
                "image_attachment": scripts.PICTURE,
                "attachments": scripts.PASSAGE["static_fields"]["attachments"],  # type: ignore[index]
            },
            "index": 2,
        },
        {"type": "text", "text": "30 days.", "index": 3},
    ]


def test_text_blocks_after_the_first_begin_with_the_blank_line(model: ChatLlamaCloud) -> None:
    texts = [b["text"] for b in model.invoke("several segments").content_blocks if b["type"] == "text"]
    assert texts == ["One", "\n\nTwo three"]


def test_an_answer_says_where_it_stands_what_it_took_and_what_it_is_based_on(model: ChatLlamaCloud) -> None:
    answer = model.invoke("think, look, answer")
    metadata = answer.response_metadata
    assert metadata["model_provider"] == "llama_cloud"
    assert isinstance(metadata["model_name"], str)
    assert metadata["session_id"]
    assert metadata["turn"] == 1
    assert metadata["duration_ms"] == 12.5
    assert metadata["skipped_index_ids"] == []
    assert [source["file_name"] for source in metadata["sources"]] == ["leave.md"]
    assert answer.usage_metadata == {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}
    assert model.invoke("skipped indexes and no usage").response_metadata["skipped_index_ids"] == ["idx-9"]
    assert model.invoke("skipped indexes and no usage").usage_metadata is None


@VERSIONS
def test_the_first_chunk_says_where_the_answer_stands_and_the_last_what_it_took(
    make: Make, output_version: str | None
) -> None:
    first, *between, last = make(output_version=output_version).stream("think, look, answer")
    assert first.response_metadata["session_id"]
    assert first.response_metadata["turn"] == 1
    assert last.usage_metadata == {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}
    assert last.chunk_position == "last"
    assert "session_id" not in last.response_metadata
    assert all(not {"session_id", "turn"} & set(chunk.response_metadata) for chunk in between)
    told = [chunk for chunk in (first, *between, last) if chunk.response_metadata.get("sources")]
    assert [block["type"] for chunk in told for block in chunk.content_blocks] == ["server_tool_result"]
    assert len({chunk.id for chunk in [first, *between, last]}) == 1


def test_each_chunk_shows_its_own_blocks(model: ChatLlamaCloud) -> None:
    kinds = [[block["type"] for block in chunk.content_blocks] for chunk in model.stream("think, look, answer")]
    assert kinds == [["reasoning"], ["reasoning"], ["server_tool_call"], ["server_tool_result"], ["text"], ["text"], []]
    second = [c for c in model.stream("several segments") if "Two" in c.text]
    assert second[0].content_blocks == [{"type": "text", "text": "\n\nTwo", "index": 5}]


def test_chunks_added_up_from_the_middle_keep_their_blocks_apart(model: ChatLlamaCloud) -> None:
    first, *others = model.stream("three texts")
    assert first.text == "A"
    texts = [block for block in added_up(others).content_blocks if block["type"] == "text"]
    assert [block["text"] for block in texts] == ["\n\nB", "\n\nC"]


def test_blocks_survive_a_round_trip_through_json(model: ChatLlamaCloud) -> None:
    answer = model.invoke("several segments")
    again = AIMessage.model_validate_json(answer.model_dump_json())
    assert again == answer
    assert again.content_blocks == answer.content_blocks


def test_a_passage_is_kept_once_and_read_both_ways(model: ChatLlamaCloud) -> None:
    for answer in (model.invoke("think, look, answer"), added_up(model.stream("think, look, answer"))):
        for one in (answer, AIMessage.model_validate_json(answer.model_dump_json())):
            (source,) = one.response_metadata["sources"]
            (result,) = (block for block in one.content_blocks if block["type"] == "server_tool_result")
            assert source["text"] == scripts.PASSAGE["content"]
            assert result["output"] == {"results": [scripts.PASSAGE]}
            assert "sources" not in result
            assert one.model_dump_json().count(scripts.PASSAGE["content"]) == 1
            assert as_turns(one)[0].sources[0].text == scripts.PASSAGE["content"]


def test_a_passage_is_once_in_a_checkpoint(model: ChatLlamaCloud) -> None:
    agents = pytest.importorskip("langchain.agents")
    memory = pytest.importorskip("langgraph.checkpoint.memory")
    serialisers = pytest.importorskip("langgraph.checkpoint.serde.jsonplus")
    saver = memory.InMemorySaver()
    agent = agents.create_agent(model, tools=[], checkpointer=saver)
    config: Any = {"configurable": {"thread_id": "t"}}
    for _ in agent.stream({"messages": [("user", "think, look, answer")]}, config, stream_mode="messages"):
        pass
    answer = agent.get_state(config).values["messages"][-1]
    _, written = serialisers.JsonPlusSerializer().dumps_typed([answer])
    assert written.count(scripts.PASSAGE["content"].encode()) == 1
    (result,) = (block for block in answer.content_blocks if block["type"] == "server_tool_result")
    assert result["output"] == {"results": [scripts.PASSAGE]}


RETRIEVED = [
    {"results": [{**scripts.PASSAGE, "content": "a"}, {"content": 5}, {**scripts.PASSAGE, "content": "b"}, "c"]},
    {"items": [{"file_name": "only-found.md"}, {"content": "a", "file_id": "1"}, {"content": "a", "file_id": "2"}]},
    {"content": "a", "file_id": "1"},
    {"content": {"llama_cloud_source": 7}, "results": [{"content": "d"}]},
    json.dumps({"results": [scripts.PASSAGE]}),
    ["a"],
    "a",
    None,
]


@given(st.lists(st.tuples(st.sampled_from(["c1", "c2"]), st.sampled_from(RETRIEVED)), max_size=4))
def test_results_are_read_as_they_came_whatever_they_are(results: list[tuple[str, Any]]) -> None:
    calls = [ToolCall(call_id, "find", {"file_name": "f"}) for call_id in ("c2", "c1")]
    brought = [ToolResult(call_id, "find", output) for call_id, output in results]
    turn = Turn.from_events("yes", [*calls, *brought, Text("So.")], session_id="s", number=1)
    assert outputs_of(message_of(turn)) == [event.result for event in turn.events if isinstance(event, ToolResult)]


@given(st.permutations(RETRIEVED))
def test_results_that_are_streamed_add_up_in_the_order_in_which_they_came(results: list[Any]) -> None:
    calls = [ToolCall(str(place), "find", {"file_name": "f"}) for place in range(len(results))]
    brought = [ToolResult(str(place), "find", results[place]) for place in reversed(range(len(results)))]
    events = [*calls, *brought, TextDelta("So.")]
    turn = Turn.from_events("yes", [*calls, *brought, Text("So.")], session_id="s", number=1)
    writer = ChunkWriter(turn, None, None)
    for index, event in enumerate(events):
        event.index = index
    chunks = [chunk.message for event in events for chunk in writer.feed(event)]
    whole = added_up([*chunks, *(chunk.message for chunk in writer.finish())])  # type: ignore[misc]
    assert outputs_of(whole) == results[::-1]
    assert whole.response_metadata["sources"] == message_of(turn).response_metadata["sources"]


def outputs_of(answer: AIMessage) -> list[Any]:
    return [block.get("output") for block in answer.content_blocks if block["type"] == "server_tool_result"]


def test_a_message_of_an_earlier_version_is_read_as_it_is() -> None:
    passage = {"text": scripts.PASSAGE["content"], "tool_call_id": "c1"}
    output = {"results": [scripts.PASSAGE]}
    kept = [
        {"type": "server_tool_result", "tool_call_id": "c1", "status": "success", "output": output},
        {"type": "text", "index": 1, "start": 0},
    ]
    metadata = {"model_provider": "llama_cloud", "sources": [passage]}
    answer = AIMessage("So.", additional_kwargs={"llama_cloud_blocks": kept}, response_metadata=metadata)
    assert [block.get("output") for block in answer.content_blocks] == [output, None]


@pytest.mark.parametrize("sources", [None, [], "redacted", [None], [{"tool_call_id": "c1"}]])
def test_a_message_whose_sources_were_removed_can_still_be_read(model: ChatLlamaCloud, sources: Any) -> None:
    answer = model.invoke("think, look, answer")
    answer.response_metadata["sources"] = sources
    (result,) = (block for block in answer.content_blocks if block["type"] == "server_tool_result")
    assert result["output"]["results"][0]["metadata"] == scripts.PASSAGE["metadata"]
    assert as_turns(answer)


def test_text_without_its_markers_is_one_block() -> None:
    bare = AIMessage("Hi", response_metadata={"model_provider": "llama_cloud"})
    assert bare.content_blocks == [{"type": "text", "text": "Hi"}]
    listed = AIMessage(["Hi", {"type": "text", "text": "!"}], response_metadata={"model_provider": "llama_cloud"})
    assert listed.content_blocks == [{"type": "text", "text": "Hi"}, {"type": "text", "text": "!"}]


def test_a_whole_that_contradicts_its_deltas_is_believed(model: ChatLlamaCloud) -> None:
    assert model.invoke("a contradiction").content == "Thirty"
    assert added_up(model.stream("a contradiction")).content == "Twenty"


def test_an_error_comes_after_the_text_so_far(model: ChatLlamaCloud) -> None:
    with pytest.raises(TurnFailedError, match="the model is out"):
        model.invoke("an error")
    received = read_until(TurnFailedError, model.stream("an error"))
    partial = added_up(received)
    assert partial.content == "I was about to"
    assert partial.response_metadata["turn"] == 1
    assert all(chunk.chunk_position is None for chunk in received)


def test_a_batch_gives_each_input_its_answer(model: ChatLlamaCloud) -> None:
    answers = model.batch(["a", "b", "text alone"])
    assert [answer.content for answer in answers] == ["turn 1: a", "turn 1: b", "Hello"]
    assert len({answer.response_metadata["session_id"] for answer in answers}) == 3


async def test_an_async_batch_gives_each_input_its_answer(amodel: ChatLlamaCloud) -> None:
    answers = await amodel.abatch([[HumanMessage("a")], "b"])
    assert [answer.content for answer in answers] == ["turn 1: a", "turn 1: b"]


def test_a_chunk_is_as_if_made_anew_and_shares_nothing_with_the_others(model: ChatLlamaCloud) -> None:
    first, *middle, _ = model.stream("many pieces")
    assert [chunk.content for chunk in middle] == [" two", " three", " four"]
    for chunk in middle:
        anew = AIMessageChunk(content=chunk.content, id=first.id, response_metadata={})
        assert chunk == anew
        assert list(chunk.__dict__) == list(anew.__dict__)
        assert chunk.model_dump(exclude_unset=True) == anew.model_dump(exclude_unset=True)
    held = [id(value) for chunk in middle for value in chunk.__dict__.values() if isinstance(value, (list, dict, set))]
    assert len(set(held)) == len(held)


def test_a_text_that_was_edited_is_not_cut_where_the_old_one_was(model: ChatLlamaCloud) -> None:
    for answer in (model.invoke("several segments"), added_up(model.stream("several segments"))):
        edited = answer.model_copy(update={"content": "Redacted, and longer than before."})
        assert [block["text"] for block in edited.content_blocks if block["type"] == "text"] == [edited.text]
        kinds = [block["type"] for block in edited.content_blocks]
        assert kinds == ["reasoning", "server_tool_call", "server_tool_result", "reasoning", "text"]
        assert model.invoke([HumanMessage("a"), edited, HumanMessage("more")]).text


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
def test_an_empty_answer_has_no_blocks_whichever_way_it_is_read(model: ChatLlamaCloud) -> None:
    assert model.invoke("an empty answer").content_blocks == []
    assert added_up(model.stream("an empty answer")).content_blocks == []
    if hasattr(model, "_chat_model_stream_v3"):
        assert model.stream_events("an empty answer", version="v3").output.content_blocks == []
