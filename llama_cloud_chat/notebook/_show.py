"""What the notebook's user calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

from llama_cloud_chat import (
    AsyncChatClient,
    AsyncChatSession,
    AsyncTurnStream,
    Attachment,
    ChatClient,
    ChatSession,
    ConfigurationError,
    SessionDetail,
    Turn,
    TurnStream,
)
from llama_cloud_chat._session.clock import Clock

from ._display import Display, make_bundle, open_display
from ._excerpts import SHORTENED, WHOLE
from ._live import afollow, find_stream, follow
from ._pictures import MOST_PICTURES, afetch_pictures, fetch_pictures
from ._render import attachments_of, render_html, render_markdown
from ._transcript import Transcript, aread_transcript, read_transcript

_CLOCK = Clock()

if TYPE_CHECKING:
    from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream
    from langchain_core.messages import AIMessage, BaseMessage
    from llama_index.core.agent.workflow import AgentOutput
    from llama_index.core.base.llms.types import ChatMessage

    from llama_index_ext import (
        AsyncLlamaCloudStreamingQuery,
        LlamaCloudChatResponse,
        LlamaCloudResponse,
        LlamaCloudStreamingQuery,
        LlamaCloudStreamingResponse,
    )

    _Answer: TypeAlias = BaseMessage | ChatMessage | LlamaCloudChatResponse | LlamaCloudResponse | AgentOutput
    _Piece: TypeAlias = BaseMessage | Mapping[str, Any] | tuple[Any, ...]  # of LangChain's streams, and LangGraph's
    _Finished: TypeAlias = (
        Turn | ChatSession | SessionDetail | _Answer | Sequence[Turn] | Sequence[_Answer] | Mapping[str, Any]
    )

# LlamaIndex's streams become the answers that they are.
_Live = TypeVar("_Live", "LlamaCloudStreamingResponse", "LlamaCloudStreamingQuery")
_ALive = TypeVar("_ALive", "LlamaCloudStreamingResponse", "LlamaCloudStreamingQuery", "AsyncLlamaCloudStreamingQuery")


@overload
def show(x: TurnStream, *, client: ChatClient | None = None, thumbnails: bool | int = False) -> Turn: ...
@overload
def show(x: _Live, *, client: ChatClient | None = None, thumbnails: bool | int = False) -> _Live: ...
@overload
def show(
    x: Iterator[_Piece] | ChatModelStream, *, client: ChatClient | None = None, thumbnails: bool | int = False
) -> AIMessage: ...
@overload
def show(x: _Finished, *, client: ChatClient | None = None, thumbnails: bool | int = False) -> None: ...
def show(x: Any, *, client: ChatClient | None = None, thumbnails: bool | int = False) -> Any:
    """Show a conversation, or a turn while it is being answered.

    A stream is read to its end, a few times a second the view is brought up to date, and what is left in the end is
    what `show` makes of its turn. Outside of notebooks, plain text is printed.

    Args:
        x: A `Turn`, a `ChatSession`, a `SessionDetail`; an `AIMessage` of `ChatLlamaCloud`, an answer of
            `LlamaCloudChatEngine` or `LlamaCloudQueryEngine`; a list of turns or messages. Or a stream: a
            `TurnStream`, what `stream` and `stream_events(version="v3")` of a LangChain model give, a streaming
            answer of LlamaIndex.
        client: Who fetches page pictures; a `ChatSession` and a `TurnStream` bring their own.
        thumbnails: Whether to fetch page pictures, or how many at most; True means 12.

    Returns:
        Of a stream, what it has become: the `Turn`, LangChain's `AIMessage`, or LlamaIndex's answer. A notebook shows
        the value of a cell's last line: assign it, or end that line with `;`. Of anything else, None.

    Raises:
        TypeError: There is nothing to show in `x`.
        ChatError: A history cannot be read; or the turn of a stream failed, and what came of it is shown.
        KeyboardInterrupt: The kernel was interrupted; the stream is closed, and what came of it is shown.
    """
    stream = find_stream(x, by_task=False)
    if (stream is not None and stream.is_async) or isinstance(x, AsyncChatSession):
        raise TypeError(f"A {type(x).__name__} is read by a task: use await ashow(...).")
    if isinstance(x, (ChatSession, TurnStream)):
        client = client or x._client
    most = _most_thumbnails(thumbnails, client)
    display = open_display()
    if stream is None:
        _finish(display, read_transcript(x), client, most)
        return None
    try:
        follow(stream, display, _CLOCK)
    except BaseException:
        display.finish(Transcript([stream.turn()]))
        raise
    _finish(display, Transcript([stream.turn()]), client, most)
    return stream.answer()


@overload
async def ashow(
    x: TurnStream | AsyncTurnStream,
    *,
    client: AsyncChatClient | ChatClient | None = None,
    thumbnails: bool | int = False,
) -> Turn: ...
@overload
async def ashow(
    x: _ALive, *, client: AsyncChatClient | ChatClient | None = None, thumbnails: bool | int = False
) -> _ALive: ...
@overload
async def ashow(
    x: Iterator[_Piece] | AsyncIterator[_Piece] | ChatModelStream | AsyncChatModelStream,
    *,
    client: AsyncChatClient | ChatClient | None = None,
    thumbnails: bool | int = False,
) -> AIMessage: ...
@overload
async def ashow(
    x: _Finished | AsyncChatSession,
    *,
    client: AsyncChatClient | ChatClient | None = None,
    thumbnails: bool | int = False,
) -> None: ...
async def ashow(x: Any, *, client: AsyncChatClient | ChatClient | None = None, thumbnails: bool | int = False) -> Any:
    """Show a conversation, or a turn while it is being answered, without blocking; see `show`.

    Args:
        x: What `show` takes, and the asynchronous kinds of it.
        client: Who fetches page pictures; sessions and the core's streams bring their own.
        thumbnails: Whether to fetch page pictures, or how many at most; True means 12.

    Returns:
        What `show` returns.

    Raises:
        TypeError: There is nothing to show in `x`.
        ChatError: A history cannot be read; or the turn of a stream failed, and what came of it is shown.
        CancelledError: The task was cancelled; the stream is closed, and what came of it is shown.
    """
    stream = find_stream(x, by_task=True)
    if stream is not None and not stream.is_async:
        return await asyncio.to_thread(show, x, client=_as_sync(client), thumbnails=thumbnails)
    if isinstance(x, (AsyncChatSession, AsyncTurnStream, ChatSession)):
        client = client or x._client
    most = _most_thumbnails(thumbnails, client)
    display = open_display()
    if stream is None:
        await _afinish(display, await aread_transcript(x), client, most)
        return None
    try:
        await afollow(stream, display, _CLOCK)
    except BaseException:
        display.finish(Transcript([stream.turn()]))
        raise
    await _afinish(display, Transcript([stream.turn()]), client, most)
    return stream.answer()


def to_html(
    x: Any,
    *,
    standalone: bool = False,
    shortened: bool = True,
    client: ChatClient | None = None,
    thumbnails: bool | int = False,
) -> str:
    """Return as HTML what `show` shows.

    Args:
        x: What `show` takes, streams excepted.
        standalone: Whether to return a page of its own; else a fragment that fits into any page.
        shortened: Whether to leave out what would take long to look at, and say so; else everything is there.
        client: Who fetches page pictures; a `ChatSession` brings its own.
        thumbnails: Whether to fetch page pictures, or how many at most; True means 12.

    Raises:
        TypeError: There is nothing to show in `x`.
        ChatError: A history cannot be read.
    """
    client = client or (x._client if isinstance(x, ChatSession) else None)
    most = _most_thumbnails(thumbnails, client)
    transcript = read_transcript(x)
    pictures = fetch_pictures(client, _wanted(transcript, most)) if client is not None and most else {}
    limits = SHORTENED if shortened else WHOLE
    return render_html(transcript, limits=limits, pictures=pictures, standalone=standalone)


def to_markdown(x: Any, *, shortened: bool = True) -> str:
    """Return a conversation as Markdown: prompts quoted, tools named, answers as they are, sources listed.

    Args:
        x: What `show` takes, streams excepted.
        shortened: Whether to leave out what would take long to read, and say so; else everything is there.

    Raises:
        TypeError: There is nothing to show in `x`.
        ChatError: A history cannot be read.
    """
    return render_markdown(read_transcript(x), limits=SHORTENED if shortened else WHOLE)


def to_mimebundle(x: Any) -> dict[str, str]:
    """Return what `show` shows in every format that a notebook may choose from; see IPython's `_repr_mimebundle_`.

    Raises:
        TypeError: There is nothing to show in `x`.
        ChatError: A history cannot be read.
    """
    return make_bundle(read_transcript(x))


def _most_thumbnails(thumbnails: bool | int, client: object) -> int:
    most = MOST_PICTURES if thumbnails is True else int(thumbnails)
    if most and client is None:
        raise ConfigurationError("Page pictures are fetched through a client: give client= along with thumbnails=.")
    return most


def _as_sync(client: AsyncChatClient | ChatClient | None) -> ChatClient | None:
    return client.as_sync() if isinstance(client, AsyncChatClient) else client


def _wanted(transcript: Transcript, most: int) -> list[Attachment]:
    found = (attachment for turn in reversed(transcript.turns) for _, attachment in attachments_of(turn))
    return list(islice(found, most))


def _finish(display: Display, transcript: Transcript, client: ChatClient | None, most: int) -> None:
    display.finish(transcript)
    wanted = _wanted(transcript, most)
    if client is not None and wanted:
        display.finish(transcript, fetch_pictures(client, wanted))


async def _afinish(
    display: Display, transcript: Transcript, client: AsyncChatClient | ChatClient | None, most: int
) -> None:
    display.finish(transcript)
    wanted = _wanted(transcript, most)
    if isinstance(client, AsyncChatClient) and wanted:
        display.finish(transcript, await afetch_pictures(client, wanted))
    elif isinstance(client, ChatClient) and wanted:
        display.finish(transcript, await asyncio.to_thread(fetch_pictures, client, wanted))
