"""Threads of LangGraph, answered by several worker processes behind one address, any of which may be killed.

    python examples/workers/server.py

Three things make that safe, and each has its line below: a thread is held around a whole run, so that one worker at a
time reads, continues and writes it; a checkpoint is written before the model is asked, so that whoever comes next sees
that a question is open and finishes it first; and each question has a key, so that finishing it never asks it twice.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from multiprocessing.connection import wait
from typing import Any

import uvicorn
from fastapi import FastAPI
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import START, MessagesState, StateGraph
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel

from langchain_ext import ChatLlamaCloud
from llama_cloud_chat import AsyncChatClient, Ledger, PostgresLedger, TurnFailedError


class Question(BaseModel):
    """What is asked.

    Attributes:
        id: What the page calls the question. It sends the same one when it asks again.
        text: The question.
    """

    id: str
    text: str


class Threads:
    """Conversations that any worker can go on with.

    Args:
        model: Answers; its client has the ledger.
        ledger: Holds threads, one worker at a time.
        checkpointer: Keeps their messages.
    """

    def __init__(self, model: ChatLlamaCloud, ledger: Ledger, checkpointer: AsyncPostgresSaver) -> None:
        self._model, self._ledger = model, ledger
        graph = StateGraph(MessagesState)
        graph.add_node("answer", self._answer)
        graph.add_edge(START, "answer")
        self._graph = graph.compile(checkpointer=checkpointer)

    async def ask(self, thread_id: str, question: Question) -> AnyMessage:
        """Return the answer to a question, which is asked unless it was."""
        config: RunnableConfig = {"configurable": {"thread_id": thread_id}}
        async with self._ledger.hold(f"thread {thread_id}"):
            state = await self._graph.aget_state(config)
            # A worker died here: what it was asked is answered before anything else. (Not `state.next`: that is empty
            # already if the answer was written and the checkpoint was not.)
            if state.tasks:
                await self._run(None, config)
                state = await self._graph.aget_state(config)
            if not any(message.id == question.id for message in state.values.get("messages", [])):
                await self._run({"messages": [HumanMessage(question.text, id=question.id)]}, config)
                state = await self._graph.aget_state(config)
        messages: list[AnyMessage] = state.values["messages"]
        return messages[[message.id for message in messages].index(question.id) + 1]

    async def _run(self, given: Any, config: RunnableConfig) -> None:
        await self._graph.ainvoke(given, config, durability="sync")  # the question is written before it is asked

    async def _answer(self, state: MessagesState, config: RunnableConfig) -> dict[str, list[AnyMessage]]:
        messages = state["messages"]
        key = f"{config['configurable']['thread_id']} {messages[-1].id}"
        try:
            return {"messages": [await self._model.ainvoke(messages, config, key=key)]}
        except TurnFailedError as failure:  # under this key it will always have failed; the thread goes on
            return {"messages": [AIMessage(str(failure))]}


def create_app(dsn: str) -> FastAPI:
    """Return one worker's server.

    Args:
        dsn: The database of checkpoints and ledger.
    """

    @contextlib.asynccontextmanager
    async def with_threads(app: FastAPI) -> AsyncIterator[None]:
        ledger = PostgresLedger(dsn)
        pool: AsyncConnectionPool[AsyncConnection[dict[str, Any]]] = AsyncConnectionPool(
            dsn, min_size=1, max_size=8, open=False, kwargs={"autocommit": True, "row_factory": dict_row}
        )
        async with pool, AsyncChatClient(ledger=ledger) as client:
            app.state.threads = Threads(ChatLlamaCloud(async_client=client), ledger, AsyncPostgresSaver(pool))
            yield
        await ledger.aclose()

    app = FastAPI(lifespan=with_threads)

    @app.post("/threads/{thread_id}")
    async def ask(thread_id: str, question: Question) -> dict[str, Any]:
        answer = await app.state.threads.ask(thread_id, question)
        stands = answer.response_metadata
        return {"text": answer.text, "session_id": stands.get("session_id"), "turn": stands.get("turn")}

    return app


def main(workers: int = 4) -> None:
    """Serve with several workers until told to stop; one that dies is replaced."""
    dsn = os.environ["DATABASE_URL"]
    with PostgresSaver.from_conn_string(dsn) as checkpointer:
        checkpointer.setup()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    fork = multiprocessing.get_context("fork")
    with socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "8000")))) as listening:
        print(f"Threads are answered at http://127.0.0.1:{listening.getsockname()[1]}", flush=True)  # noqa: T201
        running: list[Any] = []
        while True:
            for _ in range(workers - len(running)):
                worker = fork.Process(target=_serve, args=(dsn, listening), daemon=True)
                worker.start()
                running.append(worker)
                print(f"Worker {worker.pid} is at work.", flush=True)  # noqa: T201
            wait([worker.sentinel for worker in running])
            running = [worker for worker in running if worker.is_alive()]


def _serve(dsn: str, listening: socket.socket) -> None:
    uvicorn.Server(uvicorn.Config(create_app(dsn), log_level="warning")).run(sockets=[listening])


if __name__ == "__main__":
    main()
