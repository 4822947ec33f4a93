"""Asking many questions from threads. `_async_bulk_crew.py` is its twin."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ._async_client import AsyncChatClient
from ._bulk.lanes import Lane, Lanes
from ._bulk.question import Question
from ._bulk.result import BulkResult
from ._bulk.run import Run, SessionPer, check_questions
from ._client import ChatClient
from ._errors import ChatError, ConfigurationError
from ._session.ledger import Ledger
from ._stream import TurnStream

_END = object()
_GRACE = 5.0
"""Seconds in which questions that are let go may end; httpx closes no connection that waits for an answer's head."""


def bulk(
    questions: Iterable[str | Mapping[str, Any]],
    *,
    client: ChatClient | AsyncChatClient,
    concurrency: int = 8,
    ledger: Ledger | None = None,
    index_ids: Sequence[str] | None = None,
    keep_sessions: bool = True,
    session_per: SessionPer = "question",
) -> Generator[BulkResult, None, None]:
    """Ask many questions, each once, and iterate over what comes of them, as it comes.

    Examples:
        >>> from llama_cloud_chat import ChatClient, bulk
        >>> with ChatClient() as client:
        ...     for result in bulk(["Who books hotels?"], client=client, index_ids=index_ids):
        ...         print(result.id, result.turn.text if result.turn else result.error)
        1 Hotels are booked by the office. ...

    Questions are read as there is somebody to ask them, by the run's own threads, one at a time; a slow reader of the
    results holds the run up. So neither has to fit into memory. A question that fails is a result like any other. Where
    the service says that it is asked too much, or is not there for a while, nobody asks until that is over; no question
    is lost by it. Leaving the loop, or closing the iterator, lets go what runs.

    Args:
        questions: Each is a text, or a mapping with `question` and perhaps `id` and `group`. Without an id it is called
            by its place, from 1.
        client: Who asks; either kind will do.
        concurrency: How many are asked at once.
        ledger: Where it is kept what was asked where. With one, the same questions asked again yield every result
            again, and only those are asked that were not; by default the client's, else nothing outlives the run.
        index_ids: The indexes to ask; by default those of LLAMA_CLOUD_INDEX_IDS.
        keep_sessions: Whether the sessions outlive their questions.
        session_per: What has a session of its own: each `question`; or each `row-group`, questions of one `group` that
            follow each other: they are asked one after another, and the agent knows what was said before.

    Returns:
        The results, in the order in which they come. Nothing is asked before the first is wanted.

    Raises:
        ConfigurationError: An argument cannot work; nothing was asked.
    """
    asker = _as_client(client)
    check_questions(questions)
    run = asker._make_run(concurrency, ledger, index_ids, keep_sessions=keep_sessions, session_per=session_per)
    return _results(run, asker, iter(questions))


def _as_client(client: object) -> ChatClient:
    if isinstance(client, AsyncChatClient):
        return client.as_sync()
    if not isinstance(client, ChatClient):
        raise ConfigurationError(f"client must be a ChatClient, not {type(client).__name__}.")
    return client


def _results(run: Run, client: ChatClient, questions: Iterator[object]) -> Generator[BulkResult, None, None]:
    crew = _Crew(run, client, questions)
    try:
        crew.start()
        while (result := crew.next_result()) is not None:
            yield result
    finally:
        crew.let_go()


class _Crew:
    """Those who ask: so many threads, which share the questions and hand in their results."""

    def __init__(self, run: Run, client: ChatClient, questions: Iterator[object]) -> None:
        self._run = run
        self._client = client
        self._questions = questions
        self._lanes = Lanes(by_group=run.by_group)
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._is_read = False
        self._is_let_go = False
        self._results: queue.SimpleQueue[BulkResult | BaseException | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(run.concurrency)  # for questions that run, or whose results nobody took
        self._streams: set[TurnStream] = set()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(run.concurrency)]
        self._working = len(self._threads)
        self._failure: BaseException | None = None

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def next_result(self) -> BulkResult | None:
        """Wait for the next result; None if there is no more."""
        while self._working:
            result = self._results.get()
            self._room.release()
            if isinstance(result, BulkResult):
                return result
            self._working -= 1
            self._failure = self._failure or result
        if self._failure is not None:
            raise self._failure
        return None

    def let_go(self) -> None:
        """Close what runs, and begin nothing more."""
        with self._lock:
            self._is_read = self._is_let_go = True
            streams = list(self._streams)
        for stream in streams:
            stream.close()
        for _ in self._threads:
            self._room.release()
        for thread in self._threads:
            thread.join(_GRACE / len(self._threads))

    def _work(self) -> None:
        failure: BaseException | None = None
        lane = Lane()
        try:
            while (question := self._next_question(lane)) is not None:
                self._results.put(self._ask(question, lane))
        except BaseException as error:  # mostly of the questions' own iterator; the reader is told
            self._is_read, failure = True, error
        self._results.put(failure)

    def _next_question(self, lane: Lane) -> Question | None:
        self._room.acquire()
        with self._reading:
            while not (lane.waiting or self._is_read):
                given = next(self._questions, _END)
                if given is _END:
                    self._is_read = True
                else:
                    self._lanes.take(given, lane)
            return None if self._is_let_go or not lane.waiting else lane.waiting.popleft()

    def _ask(self, question: Question, lane: Lane) -> BulkResult:
        asking = self._run.begin(question, lane)
        try:
            stream = self._client._play(self._run.exchange(asking))
            with stream, self._noted(stream):
                for _ in stream:
                    pass
            return self._run.end(asking, stream.turn)
        except ChatError as error:
            return self._run.end(asking, None, error)

    @contextlib.contextmanager
    def _noted(self, stream: TurnStream) -> Iterator[None]:
        """Have the stream closed when all are let go; at once, if they have been."""
        with self._lock:
            self._streams.add(stream)
            is_late = self._is_let_go
        if is_late:
            stream.close()
        try:
            yield
        finally:
            self._streams.discard(stream)
