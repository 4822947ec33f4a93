"""Inside LlamaIndex's own programs: its workflow server, and its runner of evaluations."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import httpx
import pytest
import uvicorn
from llama_index.core.evaluation import BatchEvalRunner, FaithfulnessEvaluator
from llama_index.core.evaluation.batch_runner import response_worker
from llama_index.core.workflow import JsonSerializer
from tenacity import wait_none

from llama_cloud_chat import AsyncChatClient, StreamInterruptedError
from llama_cloud_chat.local import AgentTurn
from llama_index_ext import LlamaCloudAgent, LlamaCloudQueryEngine
from tests.llama_index.harness import WAIT, Gate, researcher
from tests.llama_index.models import Says

pytestmark = [
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
    pytest.mark.filterwarnings(r"ignore:asyncio_module\(\) is deprecated"),  # LlamaIndex itself calls it
]

AServe = Callable[..., AsyncChatClient]

WHOLE = "There are 30 days.\n\nThey expire."


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Serve an app in this event loop; yields a client of it."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=WAIT) as client:
            yield client
        server.should_exit = True
        await serving


@pytest.mark.skipif(
    version("llama-index-core") == "0.14.0",
    reason="not even its own agents run on the server",
)
async def test_an_agent_runs_on_a_workflow_server(aserve: AServe) -> None:
    server = pytest.importorskip("llama_agents.server").WorkflowServer(serializer=JsonSerializer())
    server.add_workflow("handbook", LlamaCloudAgent(async_client=aserve(researcher)))
    start = {"user_msg": "How many?", "chat_history": None, "max_iterations": 20}
    async with served(server.app) as client:
        done = (await client.post("/workflows/handbook/run", json={"start_event": start})).raise_for_status().json()
        told = await client.get(f"/events/{done['handler_id']}", params={"after_sequence": -1, "sse": "false"})
    output = done["result"]["value"]["result"]
    assert output["current_agent_name"] == "LlamaCloud"
    assert [one["text"] for one in output["response"]["blocks"] if one["block_type"] == "text"]
    assert output["_data"]["source_nodes"][0]["node"]["text"] == "Everyone has 30 days of leave."
    events = [json.loads(line) for line in told.text.splitlines() if line]
    assert "".join(one["value"]["delta"] for one in events if one["type"] == "AgentStream") == WHOLE
    results = [one["value"]["tool_output"] for one in events if one["type"] == "ToolCallResult"]
    # This is how LlamaIndex's user interfaces read what was retrieved.
    assert results[0]["raw_output"]["source_nodes"][0]["node"]["text"] == "Everyone has 30 days of leave."


async def test_a_runner_of_evaluations_finds_answers_and_contexts(aserve: AServe) -> None:
    judge = Says(answer="YES")
    runner = BatchEvalRunner({"faithfulness": FaithfulnessEvaluator(llm=judge)}, workers=2)
    engine = LlamaCloudQueryEngine(async_client=aserve(researcher))
    results = await runner.aevaluate_queries(engine, queries=["How many?", "And when do they expire?"])
    assert [one.passing for one in results["faithfulness"]] == [True, True]
    assert [one.contexts for one in results["faithfulness"]] == [["Everyone has 30 days of leave."]] * 2
    assert [one.response for one in results["faithfulness"]] == [WHOLE] * 2


@pytest.mark.rule("design-3")
async def test_a_runner_that_asks_an_interrupted_question_again_gets_its_answer(
    aserve: AServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    asked: list[str] = []

    def agent(turn: AgentTurn) -> Any:
        asked.append(turn.prompt)
        return gate(turn)

    # The service is silent for longer than the client waits, and so does not answer in time.
    client = aserve(agent, timeout=3, recovery_timeout=0.5)
    failures: list[Any] = []

    def before_asking_again(state: Any) -> None:
        failures.append(state.outcome.exception())
        gate.open.set()

    monkeypatch.setattr(response_worker.retry, "wait", wait_none())  # type: ignore[attr-defined]
    monkeypatch.setattr(response_worker.retry, "before_sleep", before_asking_again)  # type: ignore[attr-defined]
    runner = BatchEvalRunner({"faithfulness": FaithfulnessEvaluator(llm=Says(answer="NO"))})
    results = await runner.aevaluate_queries(LlamaCloudQueryEngine(async_client=client), queries=["a"])
    assert [type(one) for one in failures] == [StreamInterruptedError]
    assert [one.response for one in results["faithfulness"]] == ["a one two"]
    assert asked == ["a"]
