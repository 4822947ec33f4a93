"""What run managers are told beside the tokens: the agent's tool calls and their results, as custom events."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.callbacks.manager import ahandle_event, handle_event

from llama_cloud_chat import Event, ToolCall, ToolResult

from ._blocks import Block, call_block, result_block


def report_tool(run_manager: CallbackManagerForLLMRun, event: Event) -> None:
    """Tell the handlers of a tool's call or result; other events are none of their business."""
    custom = _custom_event(event)
    if custom is not None:
        handle_event(run_manager.handlers, "on_custom_event", "ignore_custom_event", *custom, **_run_of(run_manager))


async def areport_tool(run_manager: AsyncCallbackManagerForLLMRun, event: Event) -> None:
    """Tell the handlers of a tool's call or result, asynchronously."""
    custom = _custom_event(event)
    if custom is not None:
        await ahandle_event(
            run_manager.handlers, "on_custom_event", "ignore_custom_event", *custom, **_run_of(run_manager)
        )


def _custom_event(event: Event) -> tuple[str, Block] | None:
    if isinstance(event, ToolCall):
        return "llama_cloud.tool_call", call_block(event, event.index)
    if isinstance(event, ToolResult):
        return "llama_cloud.tool_result", result_block(event, event.index)
    return None


def _run_of(run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun) -> dict[str, Any]:
    # LLM run managers have no method for custom events, as those of chains have.
    return {"run_id": run_manager.run_id, "tags": run_manager.tags, "metadata": run_manager.metadata}
