"""A turn while it is asked and read: the one loop, in two colours, that every part of this package reads through."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

from llama_index.core.base.llms.types import ChatMessage

from llama_cloud_chat import (
    APIConnectionError,
    APIStatusError,
    AsyncTurnStream,
    ClientPair,
    ConfigurationError,
    ConverseOptions,
    Event,
    Message,
    SessionBusyError,
    TextDelta,
    ToolCall,
    ToolResult,
    Turn,
    TurnStream,
)

from ._conversation import Conversation, Place
from ._converter import Findings
from ._tracing import TurnTrace

S = TypeVar("S", TurnStream, AsyncTurnStream)

_REFUSALS = (APIStatusError, APIConnectionError, ConfigurationError, SessionBusyError)


class LiveTurn:
    """One turn. It is asked when it is first read, by a thread or a task, whichever comes.

    Args:
        clients: Who asks.
        conversation: What it belongs to.
        new: The messages to ask with; the last one is the user's.
        options: How to ask; the conversation says on which session.
        trace: What tracers see of it.
        page_images: Whether page pictures come along as nodes.

    Attributes:
        turn: The turn; it grows.
        findings: What LlamaIndex shows of it beside its text; it grows.
        error: What it failed with.
        is_over: Whether it is complete, let go, or failed.
    """

    def __init__(
        self,
        clients: ClientPair,
        conversation: Conversation,
        new: Sequence[ChatMessage],
        options: ConverseOptions,
        trace: TurnTrace,
        *,
        page_images: bool = False,
    ) -> None:
        self.turn = Turn(new[-1].content or "")
        self.findings = Findings(clients.client if page_images else None)
        self.error: BaseException | None = None
        self.is_over = False
        self._clients = clients
        self._conversation = conversation
        self._new = list(new)
        self._options = options
        self._trace = trace
        self._place: Place | None = None
        self._has_begun = False
        self._is_cut = False
        self._ending = threading.Lock()
        self._stream: TurnStream | AsyncTurnStream | None = None
        self._reader: Generator[Event, None, None] | AsyncGenerator[Event, None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._noters: dict[type, Callable[[Any], None]] = {ToolCall: self._note_call, ToolResult: self._note_result}
        if trace.wants_deltas:
            self._noters[TextDelta] = self._note_delta

    def events(self) -> Generator[Event, None, None]:
        """Return the turn's events, read by a thread. Closing the generator lets the turn go.

        Raises:
            SessionBusyError: A task reads it already.
            ChatError: While reading: it failed; what came before was handed on.
        """
        if self._reader is None:
            self._reader = self._read()
        if not isinstance(self._reader, Generator):
            raise SessionBusyError("This answer is being read asynchronously. Go on there, or ask again.")
        return self._reader

    def aevents(self) -> AsyncGenerator[Event, None]:
        """Return the turn's events, read by a task. Closing the generator lets the turn go.

        Raises:
            SessionBusyError: A thread reads it already.
            ChatError: While reading: it failed; what came before was handed on.
        """
        if self._reader is None:
            self._loop = asyncio.get_running_loop()
            self._reader = self._aread()
        if not isinstance(self._reader, AsyncGenerator):
            raise SessionBusyError("This answer is being read by a thread. Go on there, or ask again.")
        return self._reader

    @property
    def is_unread(self) -> bool:
        """Whether nobody has begun to read it."""
        return self._reader is None

    def run(self) -> Turn:
        """Read the turn to its end.

        Raises:
            ChatError: It failed.
        """
        for _ in self.events():
            pass
        return self.turn

    async def arun(self) -> Turn:
        """Read the turn to its end.

        Raises:
            ChatError: It failed.
        """
        async with contextlib.aclosing(self.aevents()) as events:
            async for _ in events:
                pass
        return self.turn

    def _read(self) -> Generator[Event, None, None]:
        if self.is_over:  # closed before it was read
            return
        with self._watched() as place:
            self._conversation.wait(place)
            messages, options = self._question()
            with self._follow(self._clients.client.converse(messages, **options)) as stream:
                if self._is_cut:
                    return
                for event in stream:
                    self._note(event)
                    yield event

    async def _aread(self) -> AsyncGenerator[Event, None]:
        if self.is_over:  # closed before it was read
            return
        with self._watched() as place:
            await self._conversation.wait_async(place)
            messages, options = self._question()
            async with self._follow(self._clients.async_client.converse(messages, **options)) as stream:
                if self._is_cut:
                    return
                async for event in stream:
                    self._note(event)
                    yield event

    @contextlib.contextmanager
    def _watched(self) -> Iterator[Place]:
        self._place = self._conversation.queue_up()
        try:
            self._trace.begin()
            yield self._place
        except GeneratorExit:
            self._end(None)
            raise
        except asyncio.CancelledError:
            self._end(None, broke_off=True)
            raise
        except BaseException as error:
            self._end(error, broke_off=True)
            raise
        else:
            self._end(None)

    def _question(self) -> tuple[list[Message], ConverseOptions]:
        messages, session_id = self._conversation.question(self._new)
        return messages, {**self._options, "session_id": session_id}

    def _follow(self, stream: S) -> S:
        self._stream = stream
        self.turn = stream.turn
        return stream

    def _note(self, event: Event) -> None:
        if not self._has_begun:
            self._begin()
        noter = self._noters.get(type(event))
        if noter is not None:
            noter(event)

    def _begin(self) -> None:
        """The session is known now: let the conversation's next turn come up behind this one."""
        self._has_begun = True
        self._conversation.note(self._new[-1], self.turn)
        if self._place is not None:
            self._conversation.leave(self._place)
        self.findings.describe(self.turn)

    def _note_delta(self, event: TextDelta) -> None:
        self._trace.receive(event.content)

    def _note_call(self, event: ToolCall) -> None:
        run = self.turn.run_of(event.call_id)
        self.findings.take_call(run)
        self._trace.begin_tool(run)

    def _note_result(self, event: ToolResult) -> None:
        run = self.turn.run_of(event.call_id)
        nodes = self.findings.take_result(run)
        self._trace.end_tool(run, self.findings.output_of(run), nodes)

    def _end(self, error: BaseException | None, *, broke_off: bool = False) -> None:
        with self._ending:
            if self.is_over:
                return
            self.is_over = True
        self.error = error
        if not self._has_begun and self.turn.number is not None and not isinstance(error, _REFUSALS):
            self._begin()  # nothing came of it, but the service may have taken the prompt
        if self._has_begun:
            self._conversation.close(self.turn, broke_off=broke_off and not self.turn.is_complete)
        if self._place is not None:
            self._conversation.leave(self._place)
        self.findings.describe(self.turn)
        self._trace.end(self.turn, error)

    def close(self) -> None:
        """Let the turn go. Any thread may call this, also while another one waits for an event.

        A turn that a task reads is closed by its event loop, which is not waited for.
        """
        if self.is_over:
            return
        if isinstance(self._reader, Generator):
            try:
                self._reader.close()
            except ValueError:  # another thread is inside the generator
                self._cut()
                if isinstance(self._stream, TurnStream):
                    self._stream.close()
        elif self._reader is not None and self._loop is not None and not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._aclose_reader(), self._loop)
            return
        self._end_unread()

    async def aclose(self) -> None:
        """Let the turn go. Any task may call this, also while another one waits for an event."""
        if isinstance(self._reader, AsyncGenerator):
            await self._aclose_reader()
            self._end_unread()
        else:
            await asyncio.to_thread(self.close)

    async def _aclose_reader(self) -> None:
        assert isinstance(self._reader, AsyncGenerator)
        try:
            await self._reader.aclose()
        except RuntimeError:
            if self.is_over:
                raise
            # Another task is inside the generator.
            self._cut()
            if isinstance(self._stream, AsyncTurnStream):
                await self._stream.aclose()

    def _cut(self) -> None:
        """Keep a reader that still waits in the queue from asking."""
        self._is_cut = True
        if self._place is not None:
            self._conversation.wake(self._place)

    def _end_unread(self) -> None:
        """A generator that was never started does not notice that it was closed."""
        if self._place is None:
            self._end(None)
