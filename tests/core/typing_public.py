"""What users rely on, for the type checker; nothing here is run."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import httpx
from pydantic import SecretStr
from typing_extensions import assert_never, assert_type

from llama_cloud_chat import (
    AsyncChatClient,
    AsyncChatSession,
    AsyncTurnStream,
    Attachment,
    ChatClient,
    ChatSession,
    ClientConfig,
    Event,
    Message,
    PresignedURL,
    ProtocolError,
    SessionDetail,
    SessionSummary,
    Source,
    Stop,
    StreamInterruptedError,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    Timeouts,
    ToolCall,
    ToolResult,
    ToolRun,
    Turn,
    TurnFailedError,
    TurnStream,
    UnknownEvent,
    Usage,
    UserInput,
    render_transcript,
)


def use(client: ChatClient, session: ChatSession) -> None:
    ChatClient("key", base_url="u", project_id="p", organization_id="o", timeout=3, max_retries=1)
    ChatClient(SecretStr("key"), timeout=Timeouts(total=3), http_client=httpx.Client(), allow_http=True)
    ChatClient(timeout=httpx.Timeout(3), recovery_timeout=3, max_event_bytes=1)
    if sys.version_info >= (3, 11):
        import httpx2

        ChatClient(timeout=httpx2.Timeout(3), http_client=httpx2.Client())
        AsyncChatClient(timeout=httpx2.Timeout(3), http_client=httpx2.AsyncClient())
        ChatClient(http_client=httpx2.AsyncClient())  # type: ignore[arg-type]
    ChatClient(http_client=httpx.AsyncClient())  # type: ignore[arg-type]
    AsyncChatClient(http_client=httpx.Client())  # type: ignore[arg-type]
    assert_type(client.config, ClientConfig)
    assert_type(client.config.api_key, SecretStr)
    assert_type(client.as_async(), AsyncChatClient)
    assert_type(client.create(index_ids=("a",), shared_access="query"), ChatSession)
    assert_type(client.list(page_size=3), Iterator[SessionSummary])
    assert_type(client.retrieve("s"), SessionDetail)
    assert_type(client.retrieve("s").turns, list[Turn])
    assert_type(client.retrieve("s").events, list[Event])
    assert_type(client.get_summary("s"), SessionSummary)
    assert_type(client.set_title("s", "t"), SessionSummary)
    client.delete("s")
    assert_type(client.stream("s", "p", ["i"], True), TurnStream)
    assert_type(client.get_attachment(Attachment("a", "s")), PresignedURL)
    assert_type(client.download(Attachment("a", "s")), bytes)
    assert_type(client.session("s"), ChatSession)
    messages: Sequence[Message] = [Message("user", "?"), Message("assistant", "!", session_id="s", turn=1)]
    assert_type(client.converse(messages, render=render_transcript), TurnStream)
    with ChatClient() as entered:
        assert_type(entered, ChatClient)
    assert_type(session.session_id, str)
    assert_type(session.index_ids, list[str] | None)
    assert_type(session.ask("?", index_ids=["a"], require_all_indexes=True), Turn)
    assert_type(session.turns(), list[Turn])
    with session.stream("?") as stream:
        assert_type(stream, TurnStream)
        for event in stream:
            assert_type(event, Event)
        assert_type(stream.turn, Turn)
    assert_type(stream.text_deltas(), Iterator[str])
    assert_type(next(stream), Event)


async def use_async(client: AsyncChatClient, session: AsyncChatSession) -> None:
    AsyncChatClient("key", http_client=httpx.AsyncClient())
    assert_type(client.as_sync(), ChatClient)
    assert_type(await client.create(), AsyncChatSession)
    assert_type(client.list(), AsyncIterator[SessionSummary])
    assert_type(await client.retrieve("s"), SessionDetail)
    assert_type(await client.download(Attachment("a", "s")), bytes)
    assert_type(client.stream("s", "p"), AsyncTurnStream)
    assert_type(client.converse([Message("user", "?")]), AsyncTurnStream)
    async with AsyncChatClient() as entered:
        assert_type(entered, AsyncChatClient)
    assert_type(await session.ask("?"), Turn)
    async with session.stream("?") as stream:
        async for event in stream:
            assert_type(event, Event)
    assert_type(stream.text_deltas(), AsyncIterator[str])


def tell(event: Event) -> str:
    """Tell every event apart: the union is closed."""
    if isinstance(event, (TextDelta, ThinkingDelta, Text, Thinking, UserInput)):
        return event.content
    if isinstance(event, ToolCall):
        assert_type(event.arguments, dict[str, Any])
        return event.name
    if isinstance(event, ToolResult):
        assert_type(event.image_attachment, Attachment | None)
        return event.name
    if isinstance(event, Stop):
        assert_type(event.usage, Usage)
        return event.error or ""
    if isinstance(event, UnknownEvent):
        return str(event.raw)
    assert_never(event)


def read(turn: Turn, run: ToolRun, source: Source) -> None:
    assert_type(turn.text, str)
    assert_type(turn.thinking, str)
    assert_type(turn.number, int | None)
    assert_type(turn.tool_calls, list[ToolRun])
    assert_type(turn.sources, list[Source])
    assert_type(turn.events, list[Event])
    assert_type(turn.usage.total_output_tokens, int | None)
    assert_type(run.has_result, bool)
    assert_type(source.score, float | None)
    assert_type(source.attachments, list[Attachment])


def handle(error: TurnFailedError | StreamInterruptedError | ProtocolError) -> None:
    assert_type(error.turn, Turn | None)
    assert_type(error.message, str)
