"""Who is measured: one small function each.

A contestant is given the address of the service, and how many conversations it will be asked to hold at once. It sets
itself up as its users would, and returns what asks one question: a function, or a coroutine function, that hands
every piece of text to `take`. A contestant whose package is not installed is left out.

Ours are given sessions that they made themselves, so that their first prompt reads no history.
"""

from __future__ import annotations

import atexit
import json
import tempfile
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count, cycle
from typing import Any, TypeAlias

from .server import tokens

Take: TypeAlias = Callable[[str], None]
Ask: TypeAlias = Callable[[Take], None]
AsyncAsk: TypeAlias = Callable[[Take], Awaitable[None]]

KEY = "benchmark"
PROMPT = "What changed in the third quarter?"


@dataclass(frozen=True)
class Contestant:
    """Who is measured.

    Attributes:
        name: What it is called everywhere.
        kind: `floor`, `peer` or `ours`.
        is_async: Whether what `set_up` returns is a coroutine function.
        set_up: Makes it ready: takes the service's address and a number of conversations.
    """

    name: str
    kind: str
    is_async: bool
    set_up: Callable[[str, int], Any]


CONTESTANTS: dict[str, Contestant] = {}


def _enter(
    name: str, kind: str, *, is_async: bool = False
) -> Callable[[Callable[[str, int], Any]], Callable[[str, int], Any]]:
    def enter(set_up: Callable[[str, int], Any]) -> Callable[[str, int], Any]:
        CONTESTANTS[name] = Contestant(name, kind, is_async, set_up)
        return set_up

    return enter


def _message_path(number: int = 0) -> str:
    return f"/api/v1/chat/session-{number}/messages/stream"


_BODY = {"index_ids": [], "prompt": PROMPT}


# Floors: the least that anyone could do.


@_enter("httpx, raw bytes", "floor")
def _raw(url: str, _: int) -> Ask:
    import httpx

    http = httpx.Client(timeout=None)

    def ask(take: Take) -> None:
        with http.stream("POST", url + _message_path(), json=_BODY) as response:
            for chunk in response.iter_raw():
                take(chunk)  # type: ignore[arg-type]  # bytes: nothing is read from them

    return ask


@_enter("httpx, raw bytes, async", "floor", is_async=True)
def _araw(url: str, _: int) -> AsyncAsk:
    import httpx

    http = httpx.AsyncClient(timeout=None)

    async def ask(take: Take) -> None:
        async with http.stream("POST", url + _message_path(), json=_BODY) as response:
            async for chunk in response.aiter_raw():
                take(chunk)  # type: ignore[arg-type]

    return ask


@_enter("httpx + split + json.loads", "floor")
def _split(url: str, _: int) -> Ask:
    import httpx

    http = httpx.Client(timeout=None)

    def ask(take: Take) -> None:
        pending = b""
        with http.stream("POST", url + _message_path(), json=_BODY) as response:
            for chunk in response.iter_raw():
                *messages, pending = (pending + chunk).split(b"\n\n")
                for message in messages:
                    data = json.loads(message[message.index(b"data:") + 5 :])
                    if data["type"] == "text_delta":
                        take(data["content"])

    return ask


@_enter("httpx + split + json.loads, async", "floor", is_async=True)
def _asplit(url: str, _: int) -> AsyncAsk:
    import httpx

    http = httpx.AsyncClient(timeout=None)

    async def ask(take: Take) -> None:
        pending = b""
        async with http.stream("POST", url + _message_path(), json=_BODY) as response:
            async for chunk in response.aiter_raw():
                *messages, pending = (pending + chunk).split(b"\n\n")
                for message in messages:
                    data = json.loads(message[message.index(b"data:") + 5 :])
                    if data["type"] == "text_delta":
                        take(data["content"])

    return ask


@_enter("httpx-sse + json.loads", "floor")
def _httpx_sse(url: str, _: int) -> Ask:
    import httpx
    import httpx_sse

    http = httpx.Client(timeout=None)

    def ask(take: Take) -> None:
        with httpx_sse.connect_sse(http, "POST", url + _message_path(), json=_BODY) as source:
            for event in source.iter_sse():
                data = json.loads(event.data)
                if data["type"] == "text_delta":
                    take(data["content"])

    return ask


def _count(url: str) -> int:
    from .server import Script

    return Script.parse(url.rpartition("/")[2]).deltas


def _null_chat_model(count: int) -> Any:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessageChunk
    from langchain_core.outputs import ChatGenerationChunk

    class NullChatModel(BaseChatModel):
        @property
        def _llm_type(self) -> str:
            return "null"

        def _generate(self, *_: Any, **__: Any) -> Any:
            raise NotImplementedError

        def _stream(self, *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
            for piece in tokens(count):
                yield ChatGenerationChunk(message=AIMessageChunk(content=piece, id="null"))

        async def _astream(self, *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
            for piece in tokens(count):
                yield ChatGenerationChunk(message=AIMessageChunk(content=piece, id="null"))

    return NullChatModel()


@_enter("LangChain over nothing, stream", "floor")
def _null_stream(url: str, _: int) -> Ask:
    model = _null_chat_model(_count(url))

    def ask(take: Take) -> None:
        for chunk in model.stream(PROMPT):
            take(chunk.text)

    return ask


@_enter("LangChain over nothing, astream", "floor", is_async=True)
def _null_astream(url: str, _: int) -> AsyncAsk:
    model = _null_chat_model(_count(url))

    async def ask(take: Take) -> None:
        async for chunk in model.astream(PROMPT):
            take(chunk.text)

    return ask


def _null_engine(count: int) -> Any:
    from llama_index.core.base.llms.types import ChatMessage, ChatResponse, LLMMetadata
    from llama_index.core.chat_engine import SimpleChatEngine
    from llama_index.core.llms import CustomLLM

    class NullLLM(CustomLLM):
        @property
        def metadata(self) -> LLMMetadata:
            return LLMMetadata()

        def complete(self, *_: Any, **__: Any) -> Any:
            raise NotImplementedError

        def stream_complete(self, *_: Any, **__: Any) -> Any:
            raise NotImplementedError

        def stream_chat(self, *_: Any, **__: Any) -> Any:
            message = ChatMessage(role="assistant", content="")
            return (ChatResponse(message=message, delta=piece) for piece in tokens(count))

    return SimpleChatEngine.from_defaults(llm=NullLLM())


@_enter("LlamaIndex over nothing, stream_chat", "floor")
def _null_stream_chat(url: str, _: int) -> Ask:
    engine = _null_engine(_count(url))

    def ask(take: Take) -> None:
        engine.reset()
        for piece in engine.stream_chat(PROMPT).response_gen:
            take(piece)

    return ask


# Peers: what people would use instead.


@_enter("official SDK, raw lines", "peer")
def _sdk_lines(url: str, _: int) -> Ask:
    from llama_cloud import LlamaCloud

    client = LlamaCloud(api_key=KEY, base_url=url)

    def ask(take: Take) -> None:
        streaming = client.chat.with_streaming_response
        with streaming.stream("session-0", index_ids=[], prompt=PROMPT) as response:
            for line in response.iter_lines():
                if line.startswith("data:"):
                    data = json.loads(line[5:])
                    if data["type"] == "text_delta":
                        take(data["content"])

    return ask


@_enter("official SDK, stream", "peer")
def _sdk(url: str, _: int) -> Ask:
    from llama_cloud import LlamaCloud

    client = LlamaCloud(api_key=KEY, base_url=url)

    def ask(take: Take) -> None:
        take(str(client.chat.stream("session-0", index_ids=[], prompt=PROMPT)))  # the whole body, when it is over

    return ask


@_enter("openai SDK", "peer")
def _openai_sdk(url: str, _: int) -> Ask:
    import openai

    client = openai.OpenAI(api_key=KEY, base_url=url)

    def ask(take: Take) -> None:
        messages = [{"role": "user", "content": PROMPT}]
        for chunk in client.chat.completions.create(model="bench-model", messages=messages, stream=True):
            if content := chunk.choices[0].delta.content:
                take(content)

    return ask


@_enter("anthropic SDK", "peer")
def _anthropic_sdk(url: str, _: int) -> Ask:
    import anthropic

    client = anthropic.Anthropic(api_key=KEY, base_url=url)

    def ask(take: Take) -> None:
        messages = [{"role": "user", "content": PROMPT}]
        for event in client.messages.create(model="bench-model", max_tokens=1024, messages=messages, stream=True):
            if event.type == "content_block_delta":
                take(event.delta.text)

    return ask


def _chat_openai(url: str, **settings: Any) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model="bench-model", api_key=KEY, base_url=url, **settings)


@_enter("ChatOpenAI, stream", "peer")
def _chat_openai_stream(url: str, _: int) -> Ask:
    model = _chat_openai(url)

    def ask(take: Take) -> None:
        for chunk in model.stream(PROMPT):
            take(chunk.text)

    return ask


@_enter("ChatOpenAI, astream", "peer", is_async=True)
def _chat_openai_astream(url: str, _: int) -> AsyncAsk:
    model = _chat_openai(url)

    async def ask(take: Take) -> None:
        async for chunk in model.astream(PROMPT):
            take(chunk.text)

    return ask


@_enter("ChatOpenAI, streaming invoke", "peer")
def _chat_openai_invoke(url: str, _: int) -> Ask:
    model = _chat_openai(url, streaming=True)
    return lambda take: take(model.invoke(PROMPT).text)


def _chat_anthropic(url: str) -> Any:
    from langchain_anthropic import ChatAnthropic

    return ChatAnthropic(model_name="bench-model", api_key=KEY, base_url=url, timeout=None, stop=None)


@_enter("ChatAnthropic, stream", "peer")
def _chat_anthropic_stream(url: str, _: int) -> Ask:
    model = _chat_anthropic(url)

    def ask(take: Take) -> None:
        for chunk in model.stream(PROMPT):
            take(chunk.text)

    return ask


@_enter("ChatAnthropic, astream", "peer", is_async=True)
def _chat_anthropic_astream(url: str, _: int) -> AsyncAsk:
    model = _chat_anthropic(url)

    async def ask(take: Take) -> None:
        async for chunk in model.astream(PROMPT):
            take(chunk.text)

    return ask


def _simple_engine(url: str) -> Any:
    from llama_index.core.chat_engine import SimpleChatEngine
    from llama_index.llms.openai import OpenAI

    return SimpleChatEngine.from_defaults(llm=OpenAI(model="gpt-4o", api_key=KEY, api_base=url))


@_enter("SimpleChatEngine over OpenAI, stream_chat", "peer")
def _simple_stream_chat(url: str, _: int) -> Ask:
    engine = _simple_engine(url)

    def ask(take: Take) -> None:
        engine.reset()
        for piece in engine.stream_chat(PROMPT).response_gen:
            take(piece)

    return ask


@_enter("SimpleChatEngine over OpenAI, astream_chat", "peer", is_async=True)
def _simple_astream_chat(url: str, _: int) -> AsyncAsk:
    engine = _simple_engine(url)

    async def ask(take: Take) -> None:
        engine.reset()
        response = await engine.astream_chat(PROMPT)
        async for piece in response.async_response_gen():
            take(piece)

    return ask


# Ours.


@_enter("core", "ours")
def _core(url: str, conversations: int) -> Ask:
    from llama_cloud_chat import ChatClient, TextDelta

    client = ChatClient(KEY, base_url=url)
    sessions = cycle([client.create() for _ in range(conversations)])

    def ask(take: Take) -> None:
        for event in next(sessions).stream(PROMPT):
            if type(event) is TextDelta:
                take(event.content)

    return ask


def _asks_with_keys(url: str, ledger: Any, *, has_keys: bool = True) -> Ask:
    """Return what asks one question after another, each under a key of its own."""
    from llama_cloud_chat import ChatClient, TextDelta

    session = ChatClient(KEY, base_url=url, ledger=ledger).create()
    keys = map("question {}".format, count())

    def ask(take: Take) -> None:
        for event in session.stream(PROMPT, key=next(keys) if has_keys else None):
            if type(event) is TextDelta:
                take(event.content)

    return ask


@_enter("core, key in memory", "ours")
def _key_in_memory(url: str, _: int) -> Ask:
    from llama_cloud_chat import MemoryLedger

    return _asks_with_keys(url, MemoryLedger())


def _sqlite_ledger() -> Any:
    import filelock  # noqa: F401  # what it needs

    from llama_cloud_chat import SqliteLedger

    folder = tempfile.TemporaryDirectory(prefix="benchmark-")
    atexit.register(folder.cleanup)
    return SqliteLedger(f"{folder.name}/ledger.db")


@_enter("core, key in SQLite", "ours")
def _key_in_sqlite(url: str, _: int) -> Ask:
    return _asks_with_keys(url, _sqlite_ledger())


@_enter("core, SQLite and no key", "ours")
def _sqlite_and_no_key(url: str, _: int) -> Ask:
    return _asks_with_keys(url, _sqlite_ledger(), has_keys=False)


@_enter("core, key in PostgreSQL", "ours")
def _key_in_postgres(url: str, _: int) -> Ask:
    import pytest

    from llama_cloud_chat import PostgresLedger
    from tests.support.postgres import cluster

    server = ExitStack()
    try:
        dsn = server.enter_context(cluster(is_durable=True)).dsn()
    except pytest.skip.Exception as missing:
        raise ImportError(str(missing)) from None
    ledger = PostgresLedger(dsn)
    atexit.register(server.close)
    atexit.register(ledger.close)  # before the server, which waits for whoever is connected
    return _asks_with_keys(url, ledger)


@_enter("core, async", "ours", is_async=True)
def _acore(url: str, conversations: int) -> AsyncAsk:
    from llama_cloud_chat import ChatClient, TextDelta

    client = ChatClient(KEY, base_url=url)
    aclient = client.as_async()
    sessions = cycle([aclient.session(client.create().session_id) for _ in range(conversations)])

    async def ask(take: Take) -> None:
        async for event in next(sessions).stream(PROMPT):
            if type(event) is TextDelta:
                take(event.content)

    return ask


def _chat_llama_cloud(url: str, conversations: int) -> tuple[Any, Iterator[str]]:
    from langchain_ext import ChatLlamaCloud
    from llama_cloud_chat import ChatClient

    client = ChatClient(KEY, base_url=url)
    return ChatLlamaCloud(client=client), cycle([client.create().session_id for _ in range(conversations)])


@_enter("ChatLlamaCloud, stream", "ours")
def _langchain_stream(url: str, conversations: int) -> Ask:
    model, sessions = _chat_llama_cloud(url, conversations)

    def ask(take: Take) -> None:
        for chunk in model.stream(PROMPT, session_id=next(sessions)):
            take(chunk.text)

    return ask


@_enter("ChatLlamaCloud, astream", "ours", is_async=True)
def _langchain_astream(url: str, conversations: int) -> AsyncAsk:
    model, sessions = _chat_llama_cloud(url, conversations)

    async def ask(take: Take) -> None:
        async for chunk in model.astream(PROMPT, session_id=next(sessions)):
            take(chunk.text)

    return ask


@_enter("ChatLlamaCloud, invoke", "ours")
def _langchain_invoke(url: str, conversations: int) -> Ask:
    model, sessions = _chat_llama_cloud(url, conversations)
    return lambda take: take(model.invoke(PROMPT, session_id=next(sessions)).text)


@_enter("ChatLlamaCloud, stream_events", "ours")
def _langchain_stream_events(url: str, conversations: int) -> Ask:
    model, sessions = _chat_llama_cloud(url, conversations)

    def ask(take: Take) -> None:
        for piece in model.stream_events(PROMPT, version="v3", session_id=next(sessions)).text:
            take(piece)

    return ask


@_enter("ChatLlamaCloud, astream_events", "ours", is_async=True)
def _langchain_astream_events(url: str, conversations: int) -> AsyncAsk:
    from langchain_core._api import LangChainBetaWarning

    warnings.simplefilter("ignore", LangChainBetaWarning)
    model, sessions = _chat_llama_cloud(url, conversations)

    async def ask(take: Take) -> None:
        stream = await model.astream_events(PROMPT, version="v3", session_id=next(sessions))
        async for piece in stream.text:
            take(piece)

    return ask


def _engines(url: str, conversations: int) -> Iterator[Any]:
    from llama_cloud_chat import ChatClient
    from llama_index_ext import LlamaCloudChatEngine

    client = ChatClient(KEY, base_url=url)
    aclient = client.as_async()
    return cycle(
        [
            LlamaCloudChatEngine(client, async_client=aclient, session_id=client.create().session_id)
            for _ in range(conversations)
        ]
    )


@_enter("LlamaCloudChatEngine, stream_chat", "ours")
def _llama_index_stream_chat(url: str, conversations: int) -> Ask:
    engines = _engines(url, conversations)

    def ask(take: Take) -> None:
        for piece in next(engines).stream_chat(PROMPT).response_gen:
            take(piece)

    return ask


@_enter("LlamaCloudChatEngine, astream_chat", "ours", is_async=True)
def _llama_index_astream_chat(url: str, conversations: int) -> AsyncAsk:
    engines = _engines(url, conversations)

    async def ask(take: Take) -> None:
        response = await next(engines).astream_chat(PROMPT)
        async for piece in response.async_response_gen():
            take(piece)

    return ask
