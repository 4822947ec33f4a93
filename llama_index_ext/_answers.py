"""LlamaIndex's answers, each with the turn it was made of."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any

from llama_index.core.base.response.schema import AsyncStreamingResponse, Response, StreamingResponse
from llama_index.core.chat_engine.types import AgentChatResponse
from llama_index.core.schema import NodeWithScore
from typing_extensions import Self

from llama_cloud_chat import Turn

from ._converter import Findings, turn_told
from ._streaming import LlamaCloudStreamingResponse


class _OfTurn:
    """The turn of an answer, kept beside its fields: whatever writes an answer down writes plain data."""

    def _keep(self, turn: Turn) -> Self:
        self.__dict__["_turn"] = turn
        return self

    @property
    def turn(self) -> Turn:
        """The turn it was made of; of an answer that was written down and read again, what its fields tell of it."""
        turn = self.__dict__.get("_turn")
        if isinstance(turn, Turn):
            return turn
        text, metadata = getattr(self, "response", None), getattr(self, "metadata", None)
        return turn_told(text or "", getattr(self, "sources", ()), metadata or {})


class LlamaCloudChatResponse(_OfTurn, AgentChatResponse):
    """An answer of a chat engine. Its fields are plain data; `turn` is what they were made of."""

    @classmethod
    def of(cls, turn: Turn, findings: Findings) -> Self:
        """Return the answer of a turn.

        Args:
            turn: The turn.
            findings: What LlamaIndex shows of it beside its text.
        """
        answer = cls(turn.text, findings.sources, findings.source_nodes, metadata=findings.metadata)
        return answer._keep(turn)


class LlamaCloudResponse(_OfTurn, Response):
    """An answer of a query engine. Its fields are plain data; `turn` is what they were made of."""

    @classmethod
    def of(cls, turn: Turn, source_nodes: list[NodeWithScore], metadata: dict[str, Any] | None) -> Self:
        """Return the answer of a turn.

        Args:
            turn: The turn.
            source_nodes: What its tools retrieved.
            metadata: What the answer carries beside its text.
        """
        return cls(turn.text, source_nodes, metadata)._keep(turn)


class LlamaCloudStreamingQuery(StreamingResponse):
    """An answer of a query engine that is read as it comes, by a thread.

    Made by `LlamaCloudQueryEngine`.

    Attributes:
        response_gen: The one reader of the text.
        answer: What it reads.
    """

    response_gen: Generator[str, None, None]
    answer: LlamaCloudStreamingResponse

    @classmethod
    def of(cls, answer: LlamaCloudStreamingResponse, reader: Generator[str, None, None]) -> Self:
        """Return what reads an answer.

        Args:
            answer: The answer.
            reader: The one reader of its text.
        """
        query = cls(reader, answer.source_nodes, answer.metadata)
        query.answer = answer
        return query

    @property
    def turn(self) -> Turn:
        """The turn so far."""
        return self.answer.turn

    def get_response(self) -> LlamaCloudResponse:
        """Return the whole answer, also what has been read before; what is left is read first."""
        for _ in self.response_gen:
            pass
        return LlamaCloudResponse.of(self.turn, self.source_nodes, self.metadata)


class AsyncLlamaCloudStreamingQuery(AsyncStreamingResponse):
    """An answer of a query engine that is read as it comes, by a task.

    Made by `LlamaCloudQueryEngine`.

    Attributes:
        response_gen: The one reader of the text.
        answer: What it reads.
    """

    response_gen: AsyncGenerator[str, None]
    answer: LlamaCloudStreamingResponse

    @classmethod
    def of(cls, answer: LlamaCloudStreamingResponse, reader: AsyncGenerator[str, None]) -> Self:
        """Return what reads an answer.

        Args:
            answer: The answer.
            reader: The one reader of its text.
        """
        query = cls(reader, answer.source_nodes, answer.metadata)
        query.answer = answer
        return query

    @property
    def turn(self) -> Turn:
        """The turn so far."""
        return self.answer.turn

    async def get_response(self) -> LlamaCloudResponse:
        """Return the whole answer, also what has been read before; what is left is read first."""
        async for _ in self.response_gen:
            pass
        return LlamaCloudResponse.of(self.turn, self.source_nodes, self.metadata)
