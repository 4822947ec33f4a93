"""Answers and messages back to the core's turns, for whatever works on turns: views, exports, statistics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from llama_index.core.agent.workflow import AgentOutput, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage, MessageRole, TextBlock
from llama_index.core.tools import ToolOutput

from llama_cloud_chat import Event, Stop, Text, Thinking, ToolCall, ToolResult, Turn

from ._answers import (
    AsyncLlamaCloudStreamingQuery,
    LlamaCloudChatResponse,
    LlamaCloudResponse,
    LlamaCloudStreamingQuery,
)
from ._converter import ThinkingBlock, ToolCallBlock, ToolResultData
from ._messages import anchor_of
from ._streaming import LlamaCloudStreamingResponse

ANSWERS = (
    LlamaCloudChatResponse,
    LlamaCloudStreamingResponse,
    LlamaCloudResponse,
    LlamaCloudStreamingQuery,
    AsyncLlamaCloudStreamingQuery,
)


def as_turns(answers: Any) -> list[Turn]:
    """Return the turns of answers, or read a conversation into turns.

    Args:
        answers: An answer of an engine, the output of an agent's run, a chat message; or several of them. Messages do
            not hold the results of tools, and so no sources.

    Raises:
        TypeError: It is none of ours.
    """
    if isinstance(answers, ANSWERS):
        return [answers.turn]
    if isinstance(answers, AgentOutput):
        return [_read_output(answers)]
    if isinstance(answers, ChatMessage):
        answers = [answers]
    if not isinstance(answers, Sequence) or isinstance(answers, str):
        raise TypeError(
            f"A {type(answers).__name__} is no answer of LlamaCloud. Give an answer of LlamaCloudChatEngine, "
            "LlamaCloudQueryEngine or LlamaCloudAgent, or messages of a chat history."
        )
    if answers and all(isinstance(answer, ChatMessage) for answer in answers):
        return list(_read_messages(answers))
    return [turn for answer in answers for turn in as_turns(answer)]


def _read_output(output: AgentOutput) -> Turn:
    """Return the turn of a run's answer, with the results of the tools, also those that another agent of it used."""
    results = {one.tool_id: one.tool_output for one in output.tool_calls if isinstance(one, ToolCallResult)}
    events: list[Event] = []
    for event in _events(output.response):
        events.append(event)
        if isinstance(event, ToolCall) and (told := results.pop(event.call_id, None)):
            events.append(ToolResult(event.call_id, event.name, _result(told)))
    others = [(call_id, one) for call_id, one in results.items() if isinstance(one.raw_output, ToolResultData)]
    for call_id, one in reversed(others):
        call = ToolCall(call_id, one.tool_name, one.raw_input)
        events[:0] = [call, ToolResult(call_id, one.tool_name, _result(one))]
    anchor = anchor_of(output.response)
    return Turn.from_events("", [*events, Stop()], session_id=anchor.session_id, number=anchor.turn)


def _result(output: ToolOutput) -> Any:
    return output.raw_output.result if isinstance(output.raw_output, ToolResultData) else output.raw_output


def _read_messages(messages: Sequence[ChatMessage]) -> Iterator[Turn]:
    asked: list[str] = []
    for message in messages:
        if message.role is MessageRole.USER:
            asked.append(message.content or "")
        elif message.role is MessageRole.ASSISTANT:
            anchor = anchor_of(message)
            events = [*_events(message), Stop()]
            yield Turn.from_events("\n\n".join(asked), events, session_id=anchor.session_id, number=anchor.turn)
            asked = []
    if asked:
        yield Turn("\n\n".join(asked))


def _events(message: ChatMessage) -> Iterator[Event]:
    is_first_text = True
    blocks: list[Any] = message.blocks  # older versions of LlamaIndex do not know all kinds
    for block in blocks:
        if isinstance(block, TextBlock):
            yield Text(block.text if is_first_text else block.text.removeprefix("\n"))
            is_first_text = False
        elif ThinkingBlock is not None and isinstance(block, ThinkingBlock):
            yield Thinking(block.content or "")
        elif ToolCallBlock is not None and isinstance(block, ToolCallBlock):
            arguments = block.tool_kwargs if isinstance(block.tool_kwargs, dict) else {}
            yield ToolCall(block.tool_call_id or "", block.tool_name, arguments)
