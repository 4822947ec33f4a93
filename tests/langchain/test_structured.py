"""Structured output: the schema is asked for in the prompt, read, corrected once, and comes as LangChain gives it."""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Union

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, StructuredOutputValidationError, ToolStrategy
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import PydanticOutputParser
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, Field
from pydantic import v1 as pydantic_v1
from typing_extensions import TypedDict

from langchain_ext import ChatLlamaCloud, LlamaCloudChatMessageHistory
from llama_cloud_chat import AsyncChatClient, ChatClient, ConfigurationError, PromptTooLongError, TurnFailedError
from llama_cloud_chat.local import AgentTurn, LocalService, speak

from .harness import WireEvent, added_up
from .scripts import PASSAGE, call, result


class Leave(BaseModel):
    """How much leave there is."""

    days: int = Field(ge=0)
    where: str = "leave.md"


class LeaveDict(TypedDict):
    """How much leave there is."""

    days: Annotated[int, ..., "how many"]
    where: Annotated[str, "leave.md", "the file"]


class OldLeave(pydantic_v1.BaseModel):
    """How much leave there is."""

    days: int
    where: str


@dataclass
class PlainLeave:
    """How much leave there is."""

    days: int
    where: str


VALUE = {"days": 30, "where": "leave.md"}
JSON = json.dumps(VALUE)
DICTS = [LeaveDict, Leave.model_json_schema(), convert_to_openai_tool(Leave), {"properties": {"days": {}, "where": {}}}]
Make = Callable[[list[str]], ChatLlamaCloud]


def saying(answers: list[str], prompts: list[str]) -> Callable[[AgentTurn], Iterable[WireEvent]]:
    """Return an agent that thinks, looks up and says what the prompt's place in its session makes it say."""

    def agent(turn: AgentTurn) -> Iterator[WireEvent]:
        prompts.append(turn.prompt)
        yield from speak("thinking", ["Let me ", "look."])
        if turn.number == 1:
            yield call("c1", query="leave")
            yield result("c1", {"results": [PASSAGE]})
        text = answers[min(turn.number, len(answers)) - 1]
        yield from speak("text", [text[place : place + 5] for place in range(0, len(text), 5)])

    return agent


class Scene:
    """A service whose agent says what it is told to, and models for it."""

    def __init__(self) -> None:
        self.answers: list[str] = [f"It is so: {JSON}"]
        self.prompts: list[str] = []

    def agent(self, turn: AgentTurn) -> Iterable[WireEvent]:
        return saying(self.answers, self.prompts)(turn)

    def model(self, **fields: Any) -> ChatLlamaCloud:
        return ChatLlamaCloud(client=self.client, async_client=self.async_client, **fields)

    client: ChatClient
    async_client: AsyncChatClient


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    with (
        LocalService([], agent=scene.agent) as service,
        ChatClient(service.api_key, base_url=service.base_url) as client,
    ):
        async with client.as_async() as async_client:
            scene.client, scene.async_client = client, async_client
            yield scene


@pytest.mark.parametrize("schema", [Leave, OldLeave, PlainLeave])
async def test_a_class_is_given_as_its_instance(scene: Scene, schema: Any) -> None:
    structured = scene.model().with_structured_output(schema)
    expected = schema(**VALUE)
    assert structured.invoke("How many?") == expected
    assert await structured.ainvoke("How many?") == expected
    assert structured.batch(["How many?", "And now?"]) == [expected, expected]
    assert await structured.abatch(["How many?", "And now?"]) == [expected, expected]
    assert [*structured.stream("How many?")] == [expected]
    assert [value async for value in structured.astream("How many?")] == [expected]


@pytest.mark.parametrize("schema", DICTS)
async def test_a_dict_grows_while_it_streams(scene: Scene, schema: Any) -> None:
    structured = scene.model().with_structured_output(schema)
    assert structured.invoke("How many?") == VALUE
    assert await structured.ainvoke("How many?") == VALUE
    for values in ([*structured.stream("How many?")], [value async for value in structured.astream("How many?")]):
        assert values[-1] == VALUE
        assert len(values) > 2
        assert all(value.keys() <= VALUE.keys() for value in values)
        assert all(earlier != later for earlier, later in itertools.pairwise(values))


def test_the_words_of_the_user_stay_and_the_schema_follows(scene: Scene) -> None:
    scene.model().with_structured_output(LeaveDict).invoke("How many?")
    [prompt] = scene.prompts
    question, told = prompt.split("\n\n")
    assert question == "How many?"
    assert told.startswith("End with one JSON object of this type:\n{days: integer")
    assert "properties" not in told


def test_a_history_shows_the_words_of_the_user(scene: Scene) -> None:
    answer = scene.model().with_structured_output(Leave, include_raw=True).invoke("How many?")
    history = LlamaCloudChatMessageHistory(answer["raw"].response_metadata["session_id"], scene.client)
    assert [message.text for message in history.messages] == ["How many?", scene.answers[0]]


def test_the_raw_message_says_where_the_conversation_goes_on(scene: Scene) -> None:
    model = scene.model()
    answer = model.with_structured_output(Leave, include_raw=True).invoke("How many?")
    raw = answer["raw"]
    assert (answer["parsed"], answer["parsing_error"]) == (Leave(**VALUE), None)
    assert raw.content == JSON
    assert [block["type"] for block in raw.content_blocks] == [
        "reasoning",
        "server_tool_call",
        "server_tool_result",
        "text",
    ]
    scene.answers = ["", "And so on."]
    following = model.invoke([HumanMessage("How many?"), raw, HumanMessage("And?")])
    assert following.response_metadata["session_id"] == raw.response_metadata["session_id"]
    assert (raw.response_metadata["turn"], following.response_metadata["turn"]) == (1, 2)


@pytest.mark.parametrize("version", [None, "v1"])
async def test_what_does_not_fit_is_corrected_once_in_the_same_session(scene: Scene, version: str | None) -> None:
    scene.answers = ['It is {"days": "many"}', f"Sorry. {JSON}"]
    structured = scene.model(output_version=version).with_structured_output(Leave, include_raw=True)
    answer = structured.invoke("How many?")
    raw = answer["raw"]
    assert answer["parsed"] == Leave(**VALUE)
    assert len(scene.prompts) == 2
    assert scene.prompts[1].startswith("That did not fit: days: ")
    assert raw.text == JSON
    assert raw.response_metadata["turn"] == 2
    [session] = scene.client.list()
    turns = scene.client.session(session.session_id).turns()
    assert raw.usage_metadata["output_tokens"] == sum(turn.usage.total_output_tokens or 0 for turn in turns)
    assert [source["file_name"] for source in raw.response_metadata["sources"]] == ["leave.md"]
    again = await structured.ainvoke("How many?")
    streamed = [*structured.stream("How many?")]
    assert streamed[-1] == {"parsing_error": None}
    summed = added_up(piece["raw"] for piece in streamed if "raw" in piece)
    for other in (again["raw"], summed):
        assert other.content == raw.content
        assert other.content_blocks == raw.content_blocks
        assert other.response_metadata["turn"] == 2
        assert other.id.startswith("llama_cloud-")
        assert other.id != raw.id


async def test_what_fits_no_second_time_is_the_frameworks_error_with_the_raw_answer(scene: Scene) -> None:
    scene.answers = ["I do not know.", "I still do not."]
    structured = scene.model().with_structured_output(Leave)
    with pytest.raises(OutputParserException) as caught:
        structured.invoke("How many?")
    assert caught.value.llm_output == "I still do not."
    assert len(scene.prompts) == 2
    with pytest.raises(OutputParserException):
        await structured.ainvoke("How many?")
    with pytest.raises(OutputParserException):
        [*structured.stream("How many?")]
    with pytest.raises(OutputParserException):
        [value async for value in structured.astream("How many?")]
    answer = scene.model().with_structured_output(Leave, include_raw=True).invoke("How many?")
    assert (answer["raw"].content, answer["parsed"]) == ("I still do not.", None)
    assert isinstance(answer["parsing_error"], OutputParserException)


def test_an_error_of_the_service_is_raised_and_is_no_parsing_error() -> None:
    def failing(turn: AgentTurn) -> Iterable[WireEvent]:
        yield from speak("text", [JSON])
        raise RuntimeError("the index is on fire")

    with LocalService([], agent=failing) as service, ChatClient(service.api_key, base_url=service.base_url) as client:
        structured = ChatLlamaCloud(client=client).with_structured_output(Leave, include_raw=True)
        with pytest.raises(TurnFailedError):
            structured.invoke("How many?")


def test_an_error_of_the_service_in_the_correction_is_raised_too() -> None:
    def failing(turn: AgentTurn) -> Iterable[WireEvent]:
        if turn.number == 2:
            raise RuntimeError("the index is on fire")
        return speak("text", ["No."])

    with LocalService([], agent=failing) as service, ChatClient(service.api_key, base_url=service.base_url) as client:
        structured = ChatLlamaCloud(client=client, keep_sessions=False).with_structured_output(Leave, include_raw=True)
        with pytest.raises(TurnFailedError):
            structured.invoke("How many?")
        with pytest.raises(TurnFailedError):
            [*structured.stream("How many?")]
        assert [*client.list()] == []


class Late(BaseModel):
    """When something is due."""

    due: str


async def test_one_of_several_classes_is_given_as_an_instance_of_that_one(scene: Scene) -> None:
    structured = scene.model().with_structured_output(Union[Leave, Late])  # type: ignore[arg-type]  # noqa: UP007
    assert structured.invoke("How many?") == Leave(**VALUE)
    scene.answers = ['{"due": "May"}']
    assert await structured.ainvoke("When?") == Late(due="May")


def test_what_is_bound_to_the_structured_model_reaches_the_agent(scene: Scene) -> None:
    session_id = scene.client.create().session_id
    structured = scene.model().with_structured_output(Leave)
    assert structured.bind(session_id=session_id).invoke("How many?") == Leave(**VALUE)
    assert structured.invoke("How many?", session_id=session_id) == Leave(**VALUE)
    assert len(scene.client.session(session_id).turns()) == 2


async def test_a_passing_session_is_deleted_only_after_the_correction(scene: Scene) -> None:
    scene.answers = ["No.", JSON]
    structured = scene.model(keep_sessions=False).with_structured_output(Leave)
    assert structured.invoke("How many?") == Leave(**VALUE)
    assert await structured.ainvoke("How many?") == Leave(**VALUE)
    assert [prompt.startswith("That did not fit") for prompt in scene.prompts] == [False, True] * 2
    assert [*scene.client.list()] == []


def test_one_call_is_one_run_whatever_it_takes(scene: Scene) -> None:
    started: list[dict[str, Any]] = []

    class Handler(BaseCallbackHandler):
        def on_chat_model_start(self, serialized: Any, messages: Any, *, options: Any = None, **kwargs: Any) -> None:
            started.append(options)

    scene.answers = ["No.", JSON]
    scene.model().with_structured_output(Leave).invoke("How many?", {"callbacks": [Handler()]})
    assert len(started) == 1
    assert started[0]["ls_structured_output_format"]["schema"]["title"] == "Leave"
    assert started[0]["ls_structured_output_format"]["kwargs"] == {"method": "json_schema"}


def test_what_cannot_work_is_an_error_at_once(scene: Scene) -> None:
    model = scene.model()
    wrong: list[tuple[type[Exception], Any, dict[str, Any]]] = [
        (ConfigurationError, {"title": "Nothing", "type": "object", "properties": {}}, {}),
        (ConfigurationError, Leave(days=1), {}),
        (ConfigurationError, Leave, {"method": "magic"}),
        (ConfigurationError, Leave, {"method": "json_mode", "strict": True}),
        (ConfigurationError, Leave, {"strict": "yes"}),
        (ConfigurationError, Leave, {"model": "gpt-5"}),
        (ValueError, Leave, {"tools": []}),
    ]
    for error, schema, arguments in wrong:
        with pytest.raises(error):
            model.with_structured_output(schema, **arguments)
    with pytest.raises(ConfigurationError, match="json_schema"):
        model.bind_tools([], response_format={"type": "json_object"})
    with pytest.raises(ConfigurationError, match="json_schema"):
        model.bind(response_format=Leave).invoke("How many?")
    with pytest.raises(ValueError, match="no fields"):  # of both families, as any other error
        model.with_structured_output({"title": "Nothing", "type": "object", "properties": {}})
    assert scene.prompts == []


def test_a_question_that_leaves_no_room_for_the_schema_says_by_how_many_characters(scene: Scene) -> None:
    structured = scene.model().with_structured_output(Leave)
    with pytest.raises(PromptTooLongError, match="characters longer than the 1000"):
        structured.invoke("How? " * 198)
    assert [*scene.client.list()] == []


def test_descriptions_go_where_the_question_needs_the_room(scene: Scene) -> None:
    class Long(BaseModel):
        days: int = Field(description="how many there are " * 4)

    assert scene.model().with_structured_output(Long).invoke("How? " * 189) == Long(days=30)
    assert "how many" not in scene.prompts[-1]
    assert len([*scene.client.list()]) == 1


def test_a_stored_model_is_whole_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    key = scene.client.config.api_key
    assert key is not None
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", key.get_secret_value())
    structured: Any = pickle.loads(pickle.dumps(scene.model().with_structured_output(Leave)))
    with structured.first.bound.client:
        assert structured.invoke("How many?") == Leave(**VALUE)


class Filler(FakeListChatModel):
    """Another model: it puts what it is told into a schema by parsing what it always says."""

    told: list[Any] = Field(default_factory=list)

    def with_structured_output(self, schema: Any, *, include_raw: bool = False, **kwargs: Any) -> Runnable[Any, Any]:
        def answer(messages: Any) -> dict[str, Any]:
            self.told.append((messages, kwargs))
            raw = self.invoke(messages)
            try:
                return {
                    "raw": raw,
                    "parsed": PydanticOutputParser(pydantic_object=schema).invoke(raw),
                    "parsing_error": None,
                }
            except OutputParserException as error:
                return {"raw": raw, "parsed": None, "parsing_error": error}

        return RunnableLambda(answer)


async def test_a_second_model_puts_answer_and_sources_into_the_schema(scene: Scene) -> None:
    scene.answers = ["There are thirty days."]
    second = Filler(responses=[JSON])
    structured = scene.model().with_structured_output(Leave, model=second, include_raw=True, method="json_mode")
    answer = structured.invoke("How many?")
    assert answer["parsed"] == Leave(**VALUE)
    assert answer["raw"].content == "There are thirty days."
    assert answer["raw"].response_metadata["turn"] == 1
    assert scene.prompts == ["How many?"]
    [([message], arguments)] = second.told
    assert "There are thirty days." in message.content
    assert PASSAGE["content"] in message.content
    assert arguments == {"method": "json_mode"}
    assert await scene.model().with_structured_output(Leave, model=second).ainvoke("How many?") == Leave(**VALUE)


def test_what_the_second_model_cannot_fill_is_its_parsing_error(scene: Scene) -> None:
    second = Filler(responses=["nothing"])
    with pytest.raises(OutputParserException):
        scene.model().with_structured_output(Leave, model=second).invoke("How many?")
    answer = scene.model().with_structured_output(Leave, model=second, include_raw=True).invoke("How many?")
    assert isinstance(answer["parsing_error"], OutputParserException)


@pytest.mark.parametrize("schema", [Leave, PlainLeave, LeaveDict])
async def test_an_agent_has_a_response_format(scene: Scene, schema: Any) -> None:
    agent = create_agent(scene.model(), tools=[], response_format=ProviderStrategy(schema))
    question: Any = {"messages": [("user", "How many?")]}
    expected = VALUE if schema is LeaveDict else schema(**VALUE)
    for state in (agent.invoke(question), await agent.ainvoke(question)):
        assert state["structured_response"] == expected
        message = state["messages"][-1]
        assert (message.content, message.response_metadata["turn"]) == (JSON, 1)


def test_an_agent_goes_on_in_its_session_and_streams(scene: Scene) -> None:
    scene.answers = ["No.", JSON, JSON]
    agent = create_agent(scene.model(), tools=[], response_format=ProviderStrategy(Leave))
    state: Any = agent.invoke({"messages": [("user", "How many?")]})
    later: Any = agent.invoke({"messages": [*state["messages"], HumanMessage("Really?")]})
    answers = [message for message in later["messages"] if isinstance(message, AIMessage)]
    assert [answer.response_metadata["turn"] for answer in answers] == [2, 3]
    streamed = [chunk for chunk, _ in agent.stream({"messages": [("user", "How many?")]}, stream_mode="messages")]
    assert "".join(chunk.text for chunk in streamed if chunk.type == "AIMessageChunk") == JSON


def test_an_agent_whose_answers_do_not_fit_ends_with_its_own_error(scene: Scene) -> None:
    scene.answers = ["No.", "No!"]
    agent = create_agent(scene.model(), tools=[], response_format=ProviderStrategy(Leave))
    # The oldest version that is supported raises the parser's own ValueError.
    with pytest.raises((StructuredOutputValidationError, ValueError)) as caught:
        agent.invoke({"messages": [("user", "How many?")]})
    assert len(scene.prompts) == 2
    if isinstance(caught.value, StructuredOutputValidationError):
        assert caught.value.ai_message.content == "No!"


def test_a_class_alone_will_do_where_the_framework_asks_models_what_they_can(scene: Scene) -> None:
    if "profile" not in ChatLlamaCloud.model_fields:
        pytest.skip("This version of LangChain does not ask.")
    model = scene.model()
    assert model.profile is not None
    assert model.profile["structured_output"] is True
    state: Any = create_agent(model, tools=[], response_format=Leave).invoke({"messages": [("user", "How many?")]})
    assert state["structured_response"] == Leave(**VALUE)


def test_a_strategy_that_takes_tools_is_refused_with_what_works_instead(scene: Scene) -> None:
    agent = create_agent(scene.model(), tools=[], response_format=ToolStrategy(Leave))
    with pytest.raises(NotImplementedError, match=r"ProviderStrategy\(schema\)"):
        agent.invoke({"messages": [("user", "How many?")]})
    assert scene.prompts == []
