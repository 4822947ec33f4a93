"""LlamaIndex's answers, each with the turn it was made of."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, field

from llama_index.core.base.response.schema import AsyncStreamingResponse, Response, StreamingResponse
from llama_index.core.chat_engine.types import AgentChatResponse

from llama_cloud_chat import Turn

from ._streaming import LlamaCloudStreamingResponse


@dataclass
class LlamaCloudChatResponse(AgentChatResponse):
    """An answer of a chat engine.

    Attributes:
        turn: The turn it was made of.
    """

    turn: Turn = field(kw_only=True, repr=False)


@dataclass
class LlamaCloudResponse(Response):
    """An answer of a query engine.

    Attributes:
        turn: The turn it was made of.
    """

    turn: Turn = field(kw_only=True, repr=False)


@dataclass
class LlamaCloudStreamingQuery(StreamingResponse):
    """An answer of a query engine that is read as it comes, by a thread.

    Made by `LlamaCloudQueryEngine`.

    Attributes:
        response_gen: The one reader of the text.
        answer: What it reads.
    """

    response_gen: Generator[str, None, None]
    answer: LlamaCloudStreamingResponse = field(kw_only=True, repr=False)

    @property
    def turn(self) -> Turn:
        """The turn so far."""
        return self.answer.turn

    def get_response(self) -> LlamaCloudResponse:
        """Return the whole answer, also what has been read before; what is left is read first."""
        for _ in self.response_gen:
            pass
        return LlamaCloudResponse(self.turn.text, self.source_nodes, self.metadata, turn=self.turn)


@dataclass
class AsyncLlamaCloudStreamingQuery(AsyncStreamingResponse):
    """An answer of a query engine that is read as it comes, by a task.

    Made by `LlamaCloudQueryEngine`.

    Attributes:
        response_gen: The one reader of the text.
        answer: What it reads.
    """

    response_gen: AsyncGenerator[str, None]
    answer: LlamaCloudStreamingResponse = field(kw_only=True, repr=False)

    @property
    def turn(self) -> Turn:
        """The turn so far."""
        return self.answer.turn

    async def get_response(self) -> LlamaCloudResponse:
        """Return the whole answer, also what has been read before; what is left is read first."""
        async for _ in self.response_gen:
            pass
        return LlamaCloudResponse(self.turn.text, self.source_nodes, self.metadata, turn=self.turn)
