"""Asking many questions from asyncio. `_bulk_crew.py` is its twin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from ._async_client import AsyncChatClient
from ._bulk.lanes import Lane, Lanes
from ._bulk.question import Question
from ._bulk.result import BulkResult
from ._bulk.run import Run, SessionPer, check_questions
from ._client import ChatClient
from ._errors import ChatError, ConfigurationError
from ._session.ledger import Ledger


def abulk(
    questions: Iterable[str | Mapping[str, Any]] | AsyncIterable[str | Mapping[str, Any]],
    *,
    client: AsyncChatClient | ChatClient,
    concurrency: int = 8,
    ledger: Ledger | None = None,
    index_ids: Sequence[str] | None = None,
    keep_sessions: bool = True,
    session_per: SessionPer = "question",
) -> AsyncGenerator[BulkResult, None]:
    """Ask many questions, each once, on the event loop; the twin of `bulk`, which says more.

    Args:
        questions: As for `bulk`; or an asynchronous iterable.
        client: Who asks; either kind will do.
        concurrency: How many are asked at once.
        ledger: Where it is kept what was asked where.
        index_ids: The indexes to ask; by default those of LLAMA_CLOUD_INDEX_IDS.
        keep_sessions: Whether the sessions outlive their questions.
        session_per: What has a session of its own: each `question`, or each `row-group`.

    Returns:
        The results, in the order in which they come. Nothing is asked before the first is wanted.

    Raises:
        ConfigurationError: An argument cannot work; nothing was asked.
    """
    asker = _as_client(client)
    check_questions(questions, may_be_async=True)
    run = asker._make_run(concurrency, ledger, index_ids, keep_sessions=keep_sessions, session_per=session_per)
    return _results(run, asker, _read(questions))


def _as_client(client: object) -> AsyncChatClient:
    if isinstance(client, ChatClient):
        return client.as_async()
    if not isinstance(client, AsyncChatClient):
        raise ConfigurationError(f"client must be an AsyncChatClient, not {type(client).__name__}.")
    return client


async def _read(questions: Any) -> AsyncIterator[object]:
    if hasattr(questions, "__aiter__"):
        async for question in questions:
            yield question
    else:
        for question in questions:
            yield question


async def _results(
    run: Run, client: AsyncChatClient, questions: AsyncIterator[object]
) -> AsyncGenerator[BulkResult, None]:
    crew = _Crew(run, client, questions)
    try:
        crew.start()
        while (result := await crew.next_result()) is not None:
            yield result
    finally:
        await crew.let_go()


_END = object()


class _Crew:
    """Those who ask: so many tasks, which share the questions and hand in their results."""

    def __init__(self, run: Run, client: AsyncChatClient, questions: AsyncIterator[object]) -> None:
        self._run = run
        self._client = client
        self._questions = questions
        self._lanes = Lanes(by_group=run.by_group)
        self._reading = asyncio.Lock()
        self._is_read = False
        self._results: asyncio.Queue[BulkResult | BaseException | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(run.concurrency)  # for questions that run, or whose results nobody took
        self._tasks: list[asyncio.Task[None]] = []
        self._working = run.concurrency
        self._failure: BaseException | None = None

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self._working)]

    async def next_result(self) -> BulkResult | None:
        """Wait for the next result; None if there is no more."""
        while self._working:
            result = await self._results.get()
            self._room.release()
            if isinstance(result, BulkResult):
                return result
            self._working -= 1
            self._failure = self._failure or result
        if self._failure is not None:
            raise self._failure
        return None

    async def let_go(self) -> None:
        """Close what runs, and begin nothing more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _work(self) -> None:
        failure: BaseException | None = None
        lane = Lane()
        try:
            while (question := await self._next_question(lane)) is not None:
                self._results.put_nowait(await self._ask(question, lane))
        except (Exception, asyncio.CancelledError) as error:  # mostly of the questions' own; the reader is told
            self._is_read, failure = True, error
        self._results.put_nowait(failure)

    async def _next_question(self, lane: Lane) -> Question | None:
        await self._room.acquire()
        async with self._reading:
            while not (lane.waiting or self._is_read):
                given = await anext(self._questions, _END)
                if given is _END:
                    self._is_read = True
                else:
                    self._lanes.take(given, lane)
            return lane.waiting.popleft() if lane.waiting else None

    async def _ask(self, question: Question, lane: Lane) -> BulkResult:
        asking = self._run.begin(question, lane)
        try:
            async with self._client._play(self._run.exchange(asking)) as stream:
                async for _ in stream:
                    pass
            return self._run.end(asking, stream.turn)
        except ChatError as error:
            return self._run.end(asking, None, error)
