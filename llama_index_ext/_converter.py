"""From the core's turns and events to what LlamaIndex gives: messages, nodes, tools' outputs. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from llama_index.core.base.llms import types as llms
from llama_index.core.base.llms.types import ChatMessage, ContentBlock, MessageRole, TextBlock
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.tools import ToolOutput

from llama_cloud_chat import (
    Anchor,
    ChatClient,
    Event,
    Message,
    Source,
    Stop,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    ToolRun,
    Turn,
    Usage,
)

from ._messages import user_message
from ._page_images import page_images

# The oldest llama-index-core that is supported has neither; history messages then hold text alone.
ThinkingBlock: Any = getattr(llms, "ThinkingBlock", None)
ToolCallBlock: Any = getattr(llms, "ToolCallBlock", None)

# What helps a program to find a passage again, but tells a language model nothing.
_TECHNICAL_KEYS = ["attachments", "end_char", "file_id", "rerank_score", "start_char", "tool_call_id"]


def answer_message(turn: Turn) -> ChatMessage:
    """Return what answers a turn, as far as it has come."""
    return ChatMessage(
        role=MessageRole.ASSISTANT,
        blocks=_blocks(turn.events),
        additional_kwargs=anchor_metadata(turn),
    )


def answer_to_core(turn: Turn) -> Message:
    """Return what answers a turn as the core takes it: its `answer_message`, converted, but at a fifth of the price."""
    return Message("assistant", turn.text, None, turn.session_id, turn.number, turn.instructions)


def anchor_metadata(turn: Turn) -> dict[str, Any]:
    """Return where an answer stands, and what its session has been told."""
    metadata: dict[str, Any] = {"session_id": turn.session_id, "turn": turn.number}
    if turn.instructions is not None:
        metadata["instructions"] = turn.instructions
    if turn.left_out:
        metadata["left_out"] = turn.left_out
    return metadata


def history_messages(turns: Iterable[Turn]) -> list[ChatMessage]:
    """Return a session's turns as messages, in the user's own words; a turn that nothing answers is those alone."""
    messages: list[ChatMessage] = []
    for turn in turns:
        if turn.prompt:
            messages.append(user_message(turn.question))
        answer = answer_message(turn)
        if answer.blocks:
            messages.append(answer)
    return messages


def _blocks(events: Sequence[Event]) -> list[ContentBlock]:
    blocks: list[ContentBlock] = []
    is_first_text = True
    for event in events:
        if isinstance(event, Text) and event.content:
            # `ChatMessage.content` joins text blocks with a newline; a turn's segments are parted by a blank line.
            blocks.append(TextBlock(text=event.content if is_first_text else "\n" + event.content))
            is_first_text = False
        elif isinstance(event, Thinking) and event.content and ThinkingBlock is not None:
            blocks.append(ThinkingBlock(content=event.content))
        elif isinstance(event, ToolCall) and ToolCallBlock is not None:
            blocks.append(ToolCallBlock(tool_call_id=event.call_id, tool_name=event.name, tool_kwargs=event.arguments))
    return blocks


def answer_metadata(turn: Turn) -> dict[str, Any]:
    """Return what an answer carries beside its text; plain values."""
    return {
        **anchor_metadata(turn),
        "usage": asdict(turn.usage),
        "thinking": turn.thinking,
        "skipped_index_ids": list(turn.skipped_index_ids),
    }


def tracer_usage(turn: Turn) -> dict[str, int]:
    """Return a turn's tokens under the keys that tracers count."""
    read, written = turn.usage.total_input_tokens, turn.usage.total_output_tokens
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": (read or 0) + (written or 0)}
    return {key: value for key, value in usage.items() if value}


def result_text(result: Any) -> str:
    """Return a tool's result as text; JSON unless it is text already."""
    return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)


def source_node(source: Source) -> NodeWithScore:
    """Return a source as a node. The same passage has the same node id, in every turn and process."""
    own = {
        "file_name": source.file_name,
        "file_id": source.file_id,
        "page_start": source.page_start,
        "page_end": source.page_end,
        "start_char": source.start_char,
        "end_char": source.end_char,
        "rerank_score": source.rerank_score,
        "attachments": [asdict(attachment) for attachment in source.attachments] or None,
        "tool_call_id": source.tool_call_id,
    }
    passage = [source.file_id, source.file_name, source.page_start, source.page_end, source.start_char, source.end_char]
    node = TextNode(
        id_=str(uuid5(NAMESPACE_URL, json.dumps([*passage, source.text]))),
        text=source.text,
        start_char_idx=source.start_char,
        end_char_idx=source.end_char,
        metadata={key: _flat(value) for key, value in {**source.metadata, **own}.items() if value is not None},
        excluded_llm_metadata_keys=_TECHNICAL_KEYS,
        excluded_embed_metadata_keys=_TECHNICAL_KEYS,
    )
    return NodeWithScore(node=node, score=source.score)


def _flat(value: Any) -> str | int | float:
    """Return a value as vector stores take it: lists and mappings as JSON."""
    return value if isinstance(value, (str, int, float)) else json.dumps(value, ensure_ascii=False, default=str)


class ToolResultData(dict[str, Any]):
    """What one of the agent's tools gave back, as `raw_output` of a workflow's event.

    It is the result itself, a result that is no mapping under `result`; under `source_nodes`, and as the attribute of
    that name, where LlamaIndex's programs look for it, is what it retrieved. Written down, it is plain data.

    Attributes:
        result: The result as it came.
    """

    def __init__(self, result: Any, source_nodes: Sequence[NodeWithScore]) -> None:
        super().__init__(result if isinstance(result, dict) else {"result": result}, source_nodes=list(source_nodes))
        self.result = result

    @property
    def source_nodes(self) -> list[NodeWithScore]:
        """What it retrieved."""
        nodes: list[NodeWithScore] = self["source_nodes"]
        return nodes

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.result, self.source_nodes)


def turn_told(text: str, outputs: Iterable[ToolOutput], metadata: Mapping[str, Any]) -> Turn:
    """Return the turn that an answer's plain data tell of, without its prompt; thinking and tools come first."""
    events: list[Event] = [Thinking(metadata["thinking"])] if metadata.get("thinking") else []
    for number, output in enumerate(outputs, 1):
        call_id = f"call-{number}"
        events.append(ToolCall(call_id, output.tool_name, output.raw_input))
        events.append(ToolResult(call_id, output.tool_name, output.raw_output))
    usage = Usage(**metadata.get("usage", {}))
    stop = Stop(usage=usage, skipped_index_ids=list(metadata.get("skipped_index_ids", ())))
    anchor = Anchor.read(metadata)
    return Turn.from_events("", [*events, Text(text), stop], session_id=anchor.session_id, number=anchor.turn)


class Findings:
    """What LlamaIndex shows of a turn beside its text. Its lists grow in place, ahead of the text that uses them.

    Args:
        image_client: Who fetches page pictures; None leaves them out.

    Attributes:
        sources: The agent's tool calls, in the order they were made, each with its result once that is there.
        source_nodes: What the tools retrieved, in the order it came.
        metadata: What `answer_metadata` says; filled when the turn begins and when it is over.
    """

    def __init__(self, image_client: ChatClient | None = None) -> None:
        self.sources: list[ToolOutput] = []
        self.source_nodes: list[NodeWithScore] = []
        self.metadata: dict[str, Any] = {}
        self._image_client = image_client
        self._nodes: dict[int, list[NodeWithScore]] = {}
        self._outputs: dict[str, tuple[ToolRun, ToolOutput]] = {}

    def output_of(self, run: ToolRun) -> ToolOutput:
        """Return the output of a run; it grows with it."""
        earlier, output = self._outputs.get(run.call_id, (None, None))
        if output is None or earlier is not run:  # an id may be used again
            output = ToolOutput(tool_name=run.name, content="", raw_input={}, raw_output=None)
            self._outputs[run.call_id] = run, output
            self.sources.append(output)
        return output

    def take_call(self, run: ToolRun) -> None:
        """Take up a call."""
        self.output_of(run).raw_input = run.arguments

    def take_result(self, run: ToolRun) -> list[NodeWithScore]:
        """Take up a result; return the nodes that it brought."""
        output = self.output_of(run)
        output.raw_input = run.arguments
        output.raw_output = run.result
        output.blocks = [TextBlock(text=result_text(run.result))]
        nodes = self._nodes[id(run)] = list(self._nodes_of(run))
        self.source_nodes.extend(nodes)
        return nodes

    def nodes_of(self, run: ToolRun) -> list[NodeWithScore]:
        """Return the nodes that a run's result brought."""
        return self._nodes.get(id(run), [])

    def _nodes_of(self, run: ToolRun) -> Iterable[NodeWithScore]:
        sources = run.sources
        yield from map(source_node, sources)
        if self._image_client is not None:
            yield from page_images(run, sources, self._image_client)

    def describe(self, turn: Turn) -> None:
        """Bring `metadata` up to date."""
        self.metadata.update(answer_metadata(turn))
