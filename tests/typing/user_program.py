"""A user's program that touches every public class, for type checkers alone: `make types` runs them over it.

Every `assert_type` holds a type that an editor shows; none is `Any` where something is known.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from llama_index.core.agent.workflow import AgentOutput
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.base.response.schema import AsyncStreamingResponse, PydanticResponse, Response, StreamingResponse
from llama_index.core.schema import NodeWithScore
from llama_index.core.tools import ToolOutput
from pydantic import BaseModel, SecretStr
from typing_extensions import assert_type

import langchain_ext
import llama_index_ext
from langchain_ext import (
    AnswerReader,
    ChatLlamaCloud,
    LlamaCloudChatMessageHistory,
    LlamaCloudChatTool,
    sources_as_documents,
)
from llama_cloud_chat import (
    AnswerDraft,
    AsyncChatClient,
    AsyncChatSession,
    AsyncTurnStream,
    BulkResult,
    ChatClient,
    ChatSession,
    ClientPair,
    Event,
    Hold,
    IndexSummary,
    MemoryLedger,
    Message,
    Note,
    PostgresLedger,
    SessionDetail,
    SessionSummary,
    SqliteLedger,
    StructuredAnswer,
    StructuredOutput,
    Turn,
    TurnStream,
    abulk,
    aui_message_stream,
    bulk,
    messages_from_ui,
    ui_message_stream,
)
from llama_cloud_chat.local import (
    HANDBOOK,
    Agent,
    AgentTurn,
    LocalService,
    Skipped,
    Tools,
    ToolUse,
    WireEvent,
    agent_from,
    extractive_agent,
    scripted_agent,
    speak,
)
from llama_cloud_chat.notebook import ashow, show, to_html, to_markdown, to_mimebundle
from llama_index_ext import (
    AsyncLlamaCloudStreamingQuery,
    LlamaCloudAgent,
    LlamaCloudChatEngine,
    LlamaCloudChatResponse,
    LlamaCloudChatStore,
    LlamaCloudQueryEngine,
    LlamaCloudResponse,
    LlamaCloudStreamingQuery,
    LlamaCloudStreamingResponse,
    PageImageNode,
)


class Leave(BaseModel):
    """What an answer is to hold."""

    days: int


def the_core(ledger: SqliteLedger | PostgresLedger | MemoryLedger) -> None:
    """Ask with the client."""
    with ChatClient(api_key="key", base_url="http://127.0.0.1", timeout=30, ledger=ledger) as client:
        assert_type(client, ChatClient)
        session = client.create(["index"])
        assert_type(session, ChatSession)
        turn = session.ask("How many?", key="q-1")
        assert_type(turn, Turn)
        assert_type(turn.text, str)
        assert_type([source.score for source in turn.sources], list[float | None])
        with session.stream("How many?") as stream:
            assert_type(stream, TurnStream)
            assert_type(list(stream), list[Event])
            assert_type(stream.turn, Turn)
        assert_type(client.list(), Iterator[SessionSummary])
        assert_type(client.retrieve("s"), SessionDetail)
        assert_type(client.indexes(), Iterator[IndexSummary])
        assert_type(client.as_async(), AsyncChatClient)
        output = StructuredOutput(Leave)
        for event in client.converse([Message("user", "How many?")], output=output):
            if isinstance(event, AnswerDraft):
                assert_type(event.raw, str)
        assert_type(output.read("{}"), StructuredAnswer)
        assert_type(ClientPair(client, None).async_client, AsyncChatClient)
        assert_type(list(ui_message_stream(stream)), list[str])
        assert_type(messages_from_ui(b"{}"), list[Message])
        assert_type(list(bulk(["How many?"], client=client)), list[BulkResult])
    with ledger.hold("name") as hold:
        assert_type(hold, Hold)
    assert_type(ledger.read("q-1"), Note | None)


async def the_core_with_tasks() -> None:
    """Ask with the asynchronous client."""
    async with AsyncChatClient("key") as client:
        session = await client.create()
        assert_type(session, AsyncChatSession)
        async with session.stream("How many?") as stream:
            assert_type(stream, AsyncTurnStream)
            assert_type([event async for event in stream], list[Event])
        assert_type(await session.ask("How many?"), Turn)
        assert_type(aui_message_stream(stream), AsyncGenerator[str, None])
        async for result in abulk(["How many?"], client=client):
            assert_type(result, BulkResult)
            assert_type(result.turn, Turn | None)


def own_agent(turn: AgentTurn) -> Iterator[WireEvent]:
    """Look something up, and say it."""
    assert_type(turn.tools, Tools)
    yield from speak("text", ["It ", "is."])


def the_service(skipped: Skipped, use: ToolUse, agent: Agent, turn: AgentTurn) -> None:
    """Serve documents on this machine."""
    with LocalService(HANDBOOK, agent=own_agent) as service:
        assert_type(service, LocalService)
        assert_type(service.base_url, str)
        assert_type(service.api_key, str)
        assert_type(service.index_ids, list[str])
    assert_type(agent_from(agent), Agent)
    assert_type(scripted_agent(["It is."]), Agent)
    assert_type(extractive_agent(turn), Iterator[WireEvent])
    assert_type(skipped.reason, str)
    assert_type(use.result, dict[str, Any])


def views(client: ChatClient, turn: Turn, session: ChatSession, detail: SessionDetail) -> None:
    """Look at conversations."""
    assert_type(show(session.stream("How many?")), Turn)
    assert_type(show(ChatLlamaCloud(client=client).stream("How many?")), AIMessage)
    engine = LlamaCloudChatEngine(client)
    assert_type(show(engine.stream_chat("How many?")), LlamaCloudStreamingResponse)
    assert_type(show(engine.chat("How many?")), None)
    show(turn)
    show([turn], thumbnails=True, client=client)
    show(ChatLlamaCloud(client=client).invoke("How many?"))
    assert_type(to_html([turn, turn], standalone=True), str)
    assert_type(to_markdown(detail), str)
    assert_type(to_mimebundle(session), dict[str, str])


async def views_with_tasks(client: AsyncChatClient, session: AsyncChatSession) -> None:
    """Look at conversations."""
    assert_type(await ashow(session.stream("How many?")), Turn)
    assert_type(await ashow(ChatLlamaCloud(async_client=client).astream("How many?")), AIMessage)
    engine = LlamaCloudChatEngine(async_client=client)
    assert_type(await ashow(await engine.astream_chat("How many?")), LlamaCloudStreamingResponse)


def in_langchain(client: ChatClient) -> None:
    """Ask as a chat model."""
    model = ChatLlamaCloud(api_key="key", index_ids=["index"], keep_sessions=False)
    assert_type(ChatLlamaCloud(api_key=SecretStr("key"), client=client).api_key, SecretStr | None)
    answer = model.invoke("How many?")
    assert_type(answer, AIMessage)
    for chunk in model.stream("How many?"):
        assert_type(chunk, AIMessageChunk)
    assert_type(langchain_ext.as_turns(answer), list[Turn])
    assert_type(sources_as_documents(answer), list[Document])
    assert_type(LlamaCloudChatMessageHistory("s", client=client).messages, list[BaseMessage])
    tool = LlamaCloudChatTool(client=client, index_ids=["index"], name="handbook", description="Knows.")
    assert_type(tool.name, str)
    reader = AnswerReader()
    assert_type(reader.message, AIMessage)
    assert_type(reader.turn, Turn)


def in_llama_index(client: ChatClient) -> None:
    """Ask as engines."""
    engine = LlamaCloudChatEngine(client, index_ids=["index"])
    assert_type(LlamaCloudChatEngine.from_defaults(client), LlamaCloudChatEngine)
    answer = engine.chat("How many?", [ChatMessage(role="user", content="Hello")], key="q-1")
    assert_type(answer, LlamaCloudChatResponse)
    assert_type(answer.response, str)
    assert_type(answer.sources, list[ToolOutput])
    assert_type(answer.source_nodes, list[NodeWithScore])
    assert_type(answer.turn, Turn)
    response = engine.stream_chat("How many?")
    assert_type(response, LlamaCloudStreamingResponse)
    assert_type(response.response_gen, Generator[str, None, None])
    assert_type(response.metadata, dict[str, Any])
    assert_type(engine.chat_history, list[ChatMessage])
    assert_type(engine.session_id, str | None)
    query = LlamaCloudQueryEngine(client).query("How many?", key="q-1")
    assert_type(query, Response | StreamingResponse | PydanticResponse)
    if isinstance(query, LlamaCloudResponse):
        assert_type(query.turn, Turn)
    elif isinstance(query, LlamaCloudStreamingQuery):
        assert_type(query.get_response(), LlamaCloudResponse)
    store = LlamaCloudChatStore(client)
    assert_type(store.get_keys(), list[str])
    assert_type(store.get_messages("s"), list[ChatMessage])
    assert_type(llama_index_ext.as_turns(answer), list[Turn])
    for found in answer.source_nodes:
        if isinstance(found.node, PageImageNode):
            assert_type(found.node.resolve_image().getvalue(), bytes)


async def in_llama_index_with_tasks(client: AsyncChatClient) -> None:
    """Ask as engines, and as an agent."""
    engine = LlamaCloudChatEngine(async_client=client)
    assert_type(await engine.achat("How many?", key="q-1"), LlamaCloudChatResponse)
    response = await engine.astream_chat("How many?")
    assert_type(response, LlamaCloudStreamingResponse)
    assert_type(response.async_response_gen(), AsyncGenerator[str, None])
    assert_type(await engine.aload_history(), list[ChatMessage])
    query = await LlamaCloudQueryEngine(async_client=client).aquery("How many?", key="q-1")
    assert_type(query, Response | AsyncStreamingResponse | PydanticResponse)
    if isinstance(query, AsyncLlamaCloudStreamingQuery):
        assert_type(await query.get_response(), LlamaCloudResponse)
    agent = LlamaCloudAgent("Researcher", "Knows.", async_client=client, output_cls=Leave)
    output: AgentOutput = await run(agent)
    assert_type(llama_index_ext.as_turns(output), list[Turn])
    await ashow(output)


async def run(agent: LlamaCloudAgent) -> AgentOutput:
    """Run an agent, as LlamaIndex types it: what a run gives is nobody's to know there."""
    output = await agent.run(user_msg="How many?")  # pyright: ignore
    assert isinstance(output, AgentOutput)
    return output
