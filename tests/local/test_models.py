"""Language models of both frameworks as the agent: with the tools where they know how, from passages where not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage, SystemMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, LLMMetadata, ThinkingBlock
from llama_index.core.llms import MockLLM, TextBlock
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from pydantic import Field, PrivateAttr

from llama_cloud_chat._errors import ConfigurationError
from llama_cloud_chat.local import LocalService, agent_from
from llama_cloud_chat.local._agents.model import MAX_CALLS_AT_ONCE, MAX_STEPS
from tests.local.harness import Api

Start = Callable[..., LocalService]
Connect = Callable[[LocalService], Api]
# What a model does when it is asked: thinks, says, and calls tools with arguments.
Step = tuple[str, str, list[tuple[str, Any]]]

LOOK_UP: Step = ("I had better look. ", "", [("retrieve", {"query": "paid leave"}), ("find", {"name": "travel"})])
ANSWER: Step = ("", "There are 30 days (leave.md).", [])


class LangChainModel(BaseChatModel):
    """A chat model that follows a plan, a step each time it is asked."""

    plan: list[Step]
    asked: list[list[BaseMessage]] = Field(default_factory=list)
    offered: list[list[str]] = Field(default_factory=list)
    tools: list[str] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "planned"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        return self.model_copy(update={"tools": [tool["function"]["name"] for tool in tools]})

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    def _stream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        thought, said, calls = self.plan[min(len(self.asked), len(self.plan) - 1)]
        self.asked.append(list(messages))
        self.offered.append(self.tools)
        if thought:
            for word in thought.split(" "):
                yield chunk(content=[{"type": "reasoning", "reasoning": f"{word} "}])
        if said == "fail":
            raise ConnectionError("the model is gone")
        for word in said.split(" ") if said else []:
            yield chunk(content=[{"type": "text", "text": f"{word} "}])
        for number, (name, arguments) in enumerate(calls):
            # Ids that begin anew at every step, as some models give them.
            yield chunk(tool_call_chunks=[tool_call_chunk(name=name, id=f"c{number}", index=number, args=arguments)])
        yield chunk(usage_metadata=UsageMetadata(input_tokens=10, output_tokens=5, total_tokens=15))


def chunk(content: Any = "", **fields: Any) -> ChatGenerationChunk:
    for call in fields.get("tool_call_chunks", ()):
        if not isinstance(call["args"], str):
            call["args"] = str(call["args"]).replace("'", '"')
    fields["response_metadata"] = {"output_version": "v1"}
    return ChatGenerationChunk(message=AIMessageChunk(content=content, **fields))


class LlamaIndexModel(FunctionCallingLLM):
    """The same plan, followed by a LlamaIndex LLM."""

    plan: list[Step]
    _asked: list[list[ChatMessage]] = PrivateAttr(default_factory=list)
    _offered: list[list[str]] = PrivateAttr(default_factory=list)

    @property
    def asked(self) -> list[list[ChatMessage]]:
        return self._asked

    @property
    def offered(self) -> list[list[str]]:
        return self._offered

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(is_chat_model=True, is_function_calling_model=True)

    def stream_chat_with_tools(self, tools: Any, **kwargs: Any) -> Any:
        for tool in tools:
            assert tool.metadata.to_openai_tool()["function"]["parameters"]["type"] == "object"
        return self._follow(kwargs["chat_history"], [tool.metadata.name for tool in tools])

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        return self._follow(messages, [])

    def _follow(self, messages: Sequence[ChatMessage], tools: list[str]) -> Iterator[ChatResponse]:
        thought, said, calls = self.plan[min(len(self._asked), len(self.plan) - 1)]
        self._asked.append(list(messages))
        self._offered.append(tools)
        blocks: list[Any] = []
        if thought:
            blocks.append(ThinkingBlock(content=""))
            for word in thought.split(" "):
                blocks[0] = ThinkingBlock(content=f"{blocks[0].content}{word} ")
                yield response(blocks, "")
        if said == "fail":
            raise ConnectionError("the model is gone")
        blocks.append(TextBlock(text=""))
        for word in said.split(" ") if said else []:
            blocks[-1] = TextBlock(text=f"{blocks[-1].text}{word} ")
            yield response(blocks, f"{word} ")
        last = response(blocks, "")
        last.message.additional_kwargs["calls"] = calls
        last.raw = {"usage": {"prompt_tokens": 10, "completion_tokens": 5}}
        yield last

    def get_tool_calls_from_response(self, response: ChatResponse, *args: Any, **kwargs: Any) -> list[ToolSelection]:
        calls = response.message.additional_kwargs["calls"]
        return [ToolSelection(tool_id=f"c{n}", tool_name=name, tool_kwargs=a) for n, (name, a) in enumerate(calls)]

    def _prepare_chat_with_tools(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def _unused(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    chat = complete = stream_complete = achat = acomplete = astream_chat = astream_complete = _unused


def response(blocks: list[Any], delta: str) -> ChatResponse:
    return ChatResponse(message=ChatMessage(role="assistant", blocks=list(blocks)), delta=delta)


BOTH = pytest.mark.parametrize("kind", [LangChainModel, LlamaIndexModel])


@pytest.fixture
def ask(start: Start, connect: Connect, handbook: Path) -> Callable[..., list[list[dict[str, Any]]]]:
    def ask_model(model: Any, *prompts: str, index_ids: list[str] | None = None) -> list[list[dict[str, Any]]]:
        api = connect(start(handbook, agent=model))
        session_id = api.create()
        answers = [api.ask(session_id, prompt, index_ids=index_ids or api.index_ids) for prompt in prompts]
        assert api.events(session_id)[-1] == answers[-1][-1]
        return answers

    return ask_model


def wholes(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if not event["type"].endswith("_delta")]


def text_of(message: Any) -> str:
    return str(message.content)


@BOTH
def test_a_model_with_tools_uses_them_and_answers(kind: Any, ask: Any) -> None:
    model = kind(plan=[LOOK_UP, ANSWER])
    (events,) = ask(model, "How many days of leave?")
    kinds = [event["type"] for event in wholes(events)]
    assert kinds == ["thinking", "tool_call", "tool_call", "tool_result", "tool_result", "text", "stop"]
    _, first, second, one, two, text, stop = wholes(events)
    assert (first["name"], first["arguments"]) == ("retrieve", {"query": "paid leave"})
    assert one["call_id"] == first["call_id"] != second["call_id"] == two["call_id"]
    assert one["result"]["results"][0]["metadata"]["file_name"] == "leave.md"
    assert two["result"]["items"][0]["file_name"] == "travel.txt"
    assert text["content"].strip() == "There are 30 days (leave.md)."
    deltas = [event["content"] for event in events if event["type"] == "text_delta"]
    assert len(deltas) > 3
    assert "".join(deltas) == text["content"]
    assert stop["is_error"] is False
    assert stop["usage"] | {"duration_ms": 0} == {
        "duration_ms": 0,
        "total_input_tokens": 20,
        "total_output_tokens": 10,
        "turns": 2,
    }
    assert model.offered == [["retrieve", "find", "grep", "read"]] * 2
    assert "30 days of paid leave" in text_of(model.asked[1][-2])


@BOTH
def test_a_model_is_reminded_of_what_was_said(kind: Any, ask: Any) -> None:
    model = kind(plan=[ANSWER])
    ask(model, "How many days of leave?", "And when sick?")
    said = [text_of(message).strip() for message in model.asked[1][1:]]
    assert said == ["How many days of leave?", "There are 30 days (leave.md).", "And when sick?"]


@BOTH
def test_a_model_that_never_answers_is_stopped(kind: Any, ask: Any) -> None:
    model = kind(plan=[LOOK_UP])
    (events,) = ask(model, "How many days of leave?")
    assert len(model.asked) == MAX_STEPS
    assert text_of(model.asked[-1][-1]) == "Answer now, with what you have found."
    assert model.offered[-1] == model.offered[0]
    calls = [event["call_id"] for event in events if event["type"] == "tool_call"]
    assert len(calls) == len(set(calls)) == 2 * (MAX_STEPS - 1)
    assert events[-1]["is_error"] is True
    assert events[-1]["error"] == f"The model was asked {MAX_STEPS} times and gave no answer."


@BOTH
def test_a_model_that_fails_ends_the_turn_with_the_reason(kind: Any, ask: Any) -> None:
    plan = [LOOK_UP, ("", "fail", [])]
    model = kind(plan=plan)
    (events,) = ask(model, "How many days of leave?")
    assert events[-1]["is_error"] is True
    assert events[-1]["error"] == "The agent failed: ConnectionError: the model is gone"
    assert "tool_result" in [event["type"] for event in events]


@BOTH
def test_calls_that_make_no_sense_are_told_so(kind: Any, ask: Any) -> None:
    calls = [
        ("delete", {"file_id": "x"}),
        ("retrieve", {}),
        ("retrieve", {"query": 7}),
        ("grep", {"file_id": "x", "pattern": "(", "depth": 3}),
        *[("find", {})] * MAX_CALLS_AT_ONCE,
    ]
    plan: list[Step] = [("", "", calls), ANSWER]
    model = kind(plan=plan)
    (events,) = ask(model, "How many days of leave?")
    results = [event["result"] for event in events if event["type"] == "tool_result"]
    assert "no tool 'delete'" in results[0]["error"]
    assert "needs the argument 'query'" in results[1]["error"]
    assert "type string" in results[2]["error"]
    assert "no argument 'depth'" in results[3]["error"]
    assert results[4]["items"]
    assert "At most" in results[-1]["error"]
    assert events[-1]["is_error"] is False


def test_arguments_that_are_no_json_are_told_so(ask: Any) -> None:
    model = LangChainModel(plan=[("", "", [("retrieve", '{"query": ')]), ANSWER])
    # Partial JSON is completed by the framework; what is left is an argument that is missing.
    (events,) = ask(model, "How many days of leave?")
    (result,) = [event["result"] for event in events if event["type"] == "tool_result"]
    assert "error" in result
    answer = next(message for message in model.asked[1] if isinstance(message, ToolMessage))
    assert answer.status == "error"


@pytest.mark.parametrize("index_ids", [None, ["idx-gone"]], ids=["handbook", "none"])
def test_a_langchain_model_without_tools_answers_from_passages(ask: Any, index_ids: list[str] | None) -> None:
    model = FakeListChatModel(responses=["Thirty days."])
    (events,) = ask(model, "How many days of leave?", index_ids=index_ids)
    kinds = [event["type"] for event in wholes(events)]
    assert kinds == (["text", "stop"] if index_ids else ["tool_call", "tool_result", "text", "stop"])
    assert wholes(events)[-2]["content"] == "Thirty days."


def test_a_llama_index_model_without_tools_is_given_the_passages(ask: Any) -> None:
    (events,) = ask(MockLLM(), "How many days of leave?")
    assert [event["type"] for event in wholes(events)] == ["tool_call", "tool_result", "text", "stop"]
    # It says what it is given.
    said = wholes(events)[-2]["content"]
    assert "[leave.md]" in said
    assert "30 days of paid leave" in said
    assert "Question: How many days of leave?" in said


def test_a_turn_that_is_called_off_lets_go_of_the_model(start: Start, connect: Connect) -> None:
    begun, closed = threading.Event(), threading.Event()

    class Endless(LangChainModel):
        def _stream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
            assert isinstance(messages[0], SystemMessage)
            try:
                while True:
                    begun.set()
                    yield chunk(content=[{"type": "text", "text": "and "}])
            finally:
                closed.set()

    api = connect(start([], agent=Endless(plan=[])))
    session_id = api.create()
    with api.stream(session_id) as events:
        next(events)
        assert begun.is_set()
        api.http.delete(f"/api/v1/chat/{session_id}")
        assert closed.wait(60)


def test_a_model_is_taken_by_its_name(monkeypatch: pytest.MonkeyPatch, ask: Any) -> None:
    named: list[str] = []

    def init_chat_model(name: str) -> Any:
        named.append(name)
        return FakeListChatModel(responses=["Hello!"])

    monkeypatch.setattr("langchain.chat_models.init_chat_model", init_chat_model)
    (events,) = ask("acme:small", "Hi?")
    assert named == ["acme:small"]
    assert events[-2]["content"] == "Hello!"


@pytest.mark.parametrize("name", ["nobody:knows", "gpt", ""])
def test_a_name_that_cannot_be_used_is_one_clear_sentence(name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be used") as caught:
        agent_from(name)
    assert caught.value.__cause__ is None


def test_without_langchain_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "langchain.chat_models", None)
    with pytest.raises(ConfigurationError, match="pip install langchain"):
        agent_from("openai:gpt-5")
