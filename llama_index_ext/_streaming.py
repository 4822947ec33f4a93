"""Answers that are read as they come."""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing
from typing import Any

from llama_index.core.base.llms.types import ChatResponseGen
from llama_index.core.chat_engine.types import StreamingAgentChatResponse

from llama_cloud_chat import TextDelta, Turn

from ._conversation import running_loop
from ._live_turn import LiveTurn


class LlamaCloudStreamingResponse(StreamingAgentChatResponse):
    """An answer that is read as it comes: nothing is asked before it is first read, by whichever of the ways below.

    Examples:
        >>> from llama_index_ext import LlamaCloudChatEngine
        >>> response = LlamaCloudChatEngine(index_ids=index_ids).stream_chat("How many days of leave are there?")
        >>> for text in response.response_gen:
        ...     print(text, end="")
        Everyone has 30 days of paid leave each year. ...
        >>> response.metadata["turn"]
        1

    It is pulled by its reader, so that it needs no thread, and no time while it waits. `sources` and `source_nodes`
    grow in place, ahead of the text that uses them. Text is delivered before an error is raised. The reader that
    goes away, by `break`, `close`, `aclose` or a cancelled task, closes the connection; the service finishes the
    turn on its own. A reader that comes after the end gets the whole text at once. Made by `LlamaCloudChatEngine`.

    Attributes:
        response: The text so far; at the end, the answer.
        sources: The agent's tool calls so far, a `ToolOutput` each.
        source_nodes: What the tools have retrieved so far.
        metadata: `session_id` and `turn` from the first event on; at the end also `usage`, `thinking` and
            `skipped_index_ids`.
    """

    def __init__(self, live: LiveTurn) -> None:
        self._live = live
        super().__init__(
            # There is one wherever LlamaIndex answers piece by piece, and tracers look whether it is still open.
            chat_stream=_nothing(),
            sources=live.findings.sources,
            source_nodes=live.findings.source_nodes,
            is_function=False,
        )
        self.metadata: dict[str, Any] = live.findings.metadata
        # An answer that nobody reads must still end its span.
        weakref.finalize(self, live.close).atexit = False

    @property
    def response(self) -> str:
        """The text so far."""
        return self._live.turn.text

    @response.setter
    def response(self, value: str) -> None:
        """Ignore what the base class sets: the turn says it."""

    @property
    def unformatted_response(self) -> str:
        """The text so far."""
        return self._live.turn.text

    @unformatted_response.setter
    def unformatted_response(self, value: str) -> None:
        """Ignore what the base class sets: the turn says it."""

    @property
    def turn(self) -> Turn:
        """The turn so far, in the core's terms."""
        return self._live.turn

    @property
    def thinking(self) -> str:
        """The agent's thinking so far."""
        return self._live.turn.thinking

    @property
    def is_done(self) -> bool:
        """Whether the answer is complete, let go, or failed."""
        return self._live.is_over

    @is_done.setter
    def is_done(self, value: bool) -> None:
        """Ignore what the base class sets: the turn says it."""

    @property
    def exception(self) -> Exception | None:
        """What it failed with."""
        error = self._live.error
        return error if isinstance(error, Exception) else None

    @exception.setter
    def exception(self, value: Exception | None) -> None:
        """Ignore what the base class sets: the turn says it."""

    @property
    def response_gen(self) -> Generator[str, None, None]:
        """One reader of the text, for a thread. Dropping or closing it lets the turn go.

        Raises:
            ChatError: While reading: the turn failed; the text before was handed on.
        """
        return self._read()

    def _read(self) -> Generator[str, None, None]:
        if self.is_done:
            yield from self._whole()
            return
        with closing(self._live.events()) as events:
            for event in events:
                if type(event) is TextDelta:
                    yield event.content

    async def async_response_gen(self) -> AsyncGenerator[str, None]:
        """One reader of the text, for a task. Closing it lets the turn go.

        Yields:
            The text, piece by piece.

        Raises:
            ChatError: While reading: the turn failed; the text before was handed on.
        """
        if self.is_done:
            for text in self._whole():
                yield text
            return
        async with aclosing(self._live.aevents()) as events:
            async for event in events:
                if type(event) is TextDelta:
                    yield event.content

    def _whole(self) -> Generator[str, None, None]:
        if self.response:
            yield self.response
        if self.exception is not None:
            raise self.exception

    def __str__(self) -> str:
        """Return the text so far; of an answer that nobody reads, read all of it, but never block an event loop."""
        if self._live.is_unread and not self.is_done and running_loop() is None:
            self._live.run()
        return self.response

    def close(self) -> None:
        """Let the turn go. Any thread may call this, also while another one reads."""
        self._live.close()

    async def aclose(self) -> None:
        """Let the turn go. Any task may call this, also while another one reads."""
        await self._live.aclose()


def _nothing() -> ChatResponseGen:
    yield from ()
