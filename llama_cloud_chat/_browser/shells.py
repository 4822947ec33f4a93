"""The writer fed from a stream, for threads and for asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import closing
from copy import copy
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from llama_cloud_chat._errors import ChatError, TurnFailedError
from llama_cloud_chat._turn.events import Event
from llama_cloud_chat._turn.turn import Turn, TurnReader

from .writer import Sign, UIMessageWriter

if TYPE_CHECKING:
    from llama_cloud_chat._async_stream import AsyncTurnStream
    from llama_cloud_chat._stream import TurnStream

UI_MESSAGE_STREAM_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "content-type": "text/event-stream",
        "cache-control": "no-cache",
        "x-vercel-ai-ui-message-stream": "v1",
        "x-accel-buffering": "no",  # nginx would hold the frames back
    }
)
"""The headers of a response whose body is `ui_message_stream` or `aui_message_stream`."""


def ui_message_stream(stream: TurnStream | Turn, *, sign: Sign = dict) -> Generator[str, None, None]:
    r"""Write a turn as the AI SDK's UI message stream, as its events arrive; `aui_message_stream` is its async twin.

    Thinking becomes reasoning parts, the agent's tools become dynamic tools that the provider executed, what they
    retrieved becomes source parts, with page pictures by name. The message's metadata say `session_id` and `turn`
    before any text, and `usage` at the end; `messages_from_ui` reads the first two from the page's next request, so
    that a server need keep nothing. An error becomes one `error` chunk with its message, which holds no secret.

    Each string is one or more whole frames. Closing the generator lets the turn go.

    Args:
        stream: A turn's stream, that of `client.converse` or another; or a turn of a session's history, written whole.
        sign: Given what says where the answer stands (`session_id`, `turn` and more), returns the metadata that the
            page gets instead; `messages_from_ui` says why.

    Yields:
        Frames of server-sent events, the last one `data: [DONE]`. Send them with `UI_MESSAGE_STREAM_HEADERS`.

    Example:
        >>> client = ChatClient()
        >>> stream = client.create(index_ids=index_ids).stream("How many days of leave?")
        >>> frames = "".join(ui_message_stream(stream)).split("\n\n")
        >>> print(frames[0])
        data: {"type":"start"}
        >>> print(frames[1])
        data: {"type":"message-metadata","messageMetadata":{"session_id":"...","turn":1}}
        >>> print(frames[-3])
        data: {"type":"finish","finishReason":"stop"}
        >>> print(frames[-2])
        data: [DONE]
    """
    turn, events = (stream, _retell(stream)) if isinstance(stream, Turn) else (stream.turn, stream)
    writer = UIMessageWriter(turn, sign)
    with closing(events):
        yield writer.start()
        try:
            for event in events:
                if frames := writer.feed(event):
                    yield frames
        except ChatError as error:
            yield writer.fail(error)
    yield writer.finish()


async def aui_message_stream(stream: AsyncTurnStream, *, sign: Sign = dict) -> AsyncGenerator[str, None]:
    """Write a turn as the AI SDK's UI message stream, as its events arrive; see `ui_message_stream`.

    Args:
        stream: A turn's stream, that of `client.converse` or another. A turn of a history needs no twin: see
            `ui_message_stream`.
        sign: Given what says where the answer stands (`session_id`, `turn` and more), returns the metadata that the
            page gets instead; `messages_from_ui` says why.

    Yields:
        Frames of server-sent events, the last one `data: [DONE]`. Send them with `UI_MESSAGE_STREAM_HEADERS`.
    """
    writer = UIMessageWriter(stream.turn, sign)
    async with stream:
        yield writer.start()
        try:
            async for event in stream:
                if frames := writer.feed(event):
                    yield frames
        except ChatError as error:
            yield writer.fail(error)
    yield writer.finish()


def _retell(turn: Turn) -> Generator[Event, None, None]:
    """Tell a turn of a history as it was streamed, each segment in one delta."""
    reader = TurnReader(Turn(turn.prompt))
    for event in turn.events:
        yield from reader.feed(copy(event))
    if turn.is_error:
        raise TurnFailedError(f"The agent ended its turn with an error: {turn.error}", turn)
