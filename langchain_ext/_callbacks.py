"""What listeners are told beside the tokens: the agent's tool calls and their results, as custom events.

The framework gives streams no run manager. Inside another run, a chain's or a graph's, that one's listeners are told
all the same; a model that is streamed by itself has nobody who could be told. A graph's custom stream is told, too.
"""

from __future__ import annotations

import sys
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.callbacks.manager import ahandle_event, handle_event
from langchain_core.runnables.config import (
    ensure_config,
    get_async_callback_manager_for_config,
    get_callback_manager_for_config,
)

from llama_cloud_chat import Event, ToolCall, ToolResult

from ._blocks import Block, call_block, result_block


def report_tool(run_manager: CallbackManagerForLLMRun | None, event: Event) -> None:
    """Tell of a tool's call or result; other events are nobody's business."""
    custom = _custom_event(event)
    if custom is None:
        return
    if run_manager is not None:
        handle_event(run_manager.handlers, "on_custom_event", "ignore_custom_event", *custom, **_run_of(run_manager))
    else:
        parent = get_callback_manager_for_config(ensure_config())
        if parent.parent_run_id is not None:
            parent.on_custom_event(*custom, run_id=parent.parent_run_id)
    _write_to_graph(*custom)


async def areport_tool(run_manager: AsyncCallbackManagerForLLMRun | None, event: Event) -> None:
    """Tell of a tool's call or result, asynchronously."""
    custom = _custom_event(event)
    if custom is None:
        return
    if run_manager is not None:
        await ahandle_event(
            run_manager.handlers, "on_custom_event", "ignore_custom_event", *custom, **_run_of(run_manager)
        )
    else:
        parent = get_async_callback_manager_for_config(ensure_config())
        if parent.parent_run_id is not None:
            await parent.on_custom_event(*custom, run_id=parent.parent_run_id)
    _write_to_graph(*custom)


def _write_to_graph(name: str, data: Block) -> None:
    """Write to the custom stream of the graph that this runs in, if it does."""
    config = sys.modules.get("langgraph.config")  # a graph that runs has loaded it
    if config is None:
        return
    try:
        write = config.get_stream_writer()
    except (RuntimeError, KeyError):  # outside of a graph
        return
    write({"name": name, "data": data})


def _custom_event(event: Event) -> tuple[str, Block] | None:
    if isinstance(event, ToolCall):
        return "llama_cloud.tool_call", call_block(event, event.index)
    if isinstance(event, ToolResult):
        return "llama_cloud.tool_result", result_block(event, event.index)
    return None


def _run_of(run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun) -> dict[str, Any]:
    # LLM run managers have no method for custom events, as those of chains have.
    return {"run_id": run_manager.run_id, "tags": run_manager.tags, "metadata": run_manager.metadata}
