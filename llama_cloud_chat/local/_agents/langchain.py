"""A dialogue with a LangChain chat model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from llama_cloud_chat.local._library.tools import TOOL_SCHEMAS, ToolUse

from .model import Model, Piece, Request, Usage

_MESSAGES = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}


def is_model(given: object) -> bool:
    """Whether this is one of LangChain's chat models."""
    return isinstance(given, BaseChatModel)


def model(given: BaseChatModel) -> Model:
    """Return the model as the agent's loop takes it."""
    try:
        given.bind_tools(_described(TOOL_SCHEMAS))
    except NotImplementedError:
        return Model(False, lambda: _Dialogue(given))
    return Model(True, lambda: _Dialogue(given))


class _Dialogue:
    def __init__(self, model: BaseChatModel) -> None:
        self._model = model
        self._messages: list[BaseMessage] = []
        self.requests: list[Request] = []
        self.usage = Usage()

    def say(self, role: Literal["system", "user", "assistant"], content: str) -> None:
        self._messages.append(_MESSAGES[role](content))

    def ask(self, tools: Mapping[str, Mapping[str, Any]]) -> Iterator[Piece]:
        model = self._model.bind_tools(_described(tools)) if tools else self._model
        answer: Any = None
        # Closed when the turn is called off, so that the provider's connection is.
        with closing(model.stream(self._messages)) as chunks:  # type: ignore[type-var]
            for chunk in chunks:
                answer = chunk if answer is None else answer + chunk
                yield from _pieces(chunk)
        answer = answer or AIMessageChunk(content="")
        self._messages.append(answer)
        self._count(answer)
        self.requests = [Request(call["id"] or "", call["name"], call["args"]) for call in answer.tool_calls]
        self.requests += [
            Request(call["id"] or "", call["name"] or "", str(call["args"])) for call in answer.invalid_tool_calls
        ]

    def give(self, request: Request, use: ToolUse) -> None:
        content = json.dumps(use.result, ensure_ascii=False)
        status: Literal["error", "success"] = "error" if "error" in use.result else "success"
        self._messages.append(ToolMessage(content, tool_call_id=request.call_id, name=request.name, status=status))

    def _count(self, answer: Any) -> None:
        usage = answer.usage_metadata
        if usage is not None:
            self.usage.input_tokens += usage["input_tokens"]
            self.usage.output_tokens += usage["output_tokens"]


def _pieces(chunk: BaseMessage) -> Iterator[Piece]:
    for block in chunk.content_blocks:
        if block["type"] == "text":
            yield Piece("text", block.get("text", ""))
        elif block["type"] == "reasoning":
            yield Piece("thinking", block.get("reasoning", ""))


def _described(tools: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": name, **schema}} for name, schema in tools.items()]
