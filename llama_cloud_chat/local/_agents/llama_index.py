"""A dialogue with a LlamaIndex LLM."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from llama_index.core.base.llms import types as llm_types
from llama_index.core.llms import LLM, ChatMessage, ChatResponse, MessageRole
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.tools import BaseTool, ToolMetadata, ToolOutput

from llama_cloud_chat.local._library.tools import ToolUse

from .model import Model, Piece, Request, Usage

_ROLES = {"system": MessageRole.SYSTEM, "user": MessageRole.USER, "assistant": MessageRole.ASSISTANT}
# Under which keys providers report tokens, in the raw response or beside it.
_INPUT_KEYS = ("prompt_tokens", "input_tokens", "prompt_eval_count", "prompt_token_count")
_OUTPUT_KEYS = ("completion_tokens", "output_tokens", "eval_count", "candidates_token_count")


def is_model(given: object) -> bool:
    """Whether this is one of LlamaIndex's LLMs."""
    return isinstance(given, LLM)


def model(given: LLM) -> Model:
    """Return the model as the agent's loop takes it."""
    calls_tools = isinstance(given, FunctionCallingLLM) and given.metadata.is_function_calling_model
    return Model(calls_tools, lambda: _Dialogue(given))


class _Dialogue:
    def __init__(self, llm: LLM) -> None:
        self._llm = llm
        self._messages: list[ChatMessage] = []
        self.requests: list[Request] = []
        self.usage = Usage()

    def say(self, role: Literal["system", "user", "assistant"], content: str) -> None:
        self._messages.append(ChatMessage(content, role=_ROLES[role]))

    def ask(self, tools: Mapping[str, Mapping[str, Any]]) -> Iterator[Piece]:
        answer: ChatResponse | None = None
        thought = ""
        responses = self._stream(tools)
        try:
            for response in responses:
                answer = response
                more = _thinking_of(response, thought)
                thought += more
                if more:
                    yield Piece("thinking", more)
                if response.delta:
                    yield Piece("text", response.delta)
        finally:
            # Closed when the turn is called off, so that the provider's connection is.
            close = getattr(responses, "close", None)
            if close is not None:
                close()
        self.requests = []
        if answer is not None:
            self._messages.append(answer.message)
            self._count(answer)
            if tools:
                self.requests = self._requests_of(answer)

    def give(self, request: Request, use: ToolUse) -> None:
        self._messages.append(
            ChatMessage(
                json.dumps(use.result, ensure_ascii=False),
                role=MessageRole.TOOL,
                additional_kwargs={"name": request.name, "tool_call_id": request.call_id},
            )
        )

    def _stream(self, tools: Mapping[str, Mapping[str, Any]]) -> Iterator[ChatResponse]:
        if tools and isinstance(self._llm, FunctionCallingLLM):
            described = [_Tool(name, schema) for name, schema in tools.items()]
            return self._llm.stream_chat_with_tools(
                described, chat_history=self._messages, allow_parallel_tool_calls=True
            )
        return self._llm.stream_chat(self._messages)

    def _requests_of(self, answer: ChatResponse) -> list[Request]:
        assert isinstance(self._llm, FunctionCallingLLM)
        calls = self._llm.get_tool_calls_from_response(answer, error_on_no_tool_call=False)
        return [Request(call.tool_id, call.tool_name, call.tool_kwargs) for call in calls]

    def _count(self, answer: ChatResponse) -> None:
        raw = answer.raw
        usage = raw.get("usage") if isinstance(raw, dict) else getattr(raw, "usage", None)
        places = (answer.additional_kwargs, usage, raw)
        self.usage.input_tokens += _first_number(places, _INPUT_KEYS)
        self.usage.output_tokens += _first_number(places, _OUTPUT_KEYS)


class _Tool(BaseTool):
    """A tool as the model is told of it; using it is the matter of the loop."""

    def __init__(self, name: str, schema: Mapping[str, Any]) -> None:
        self._metadata = _Metadata(description=schema["description"], name=name)
        self._metadata.parameters = dict(schema["parameters"])

    @property
    def metadata(self) -> ToolMetadata:
        return self._metadata

    def __call__(self, input: Any) -> ToolOutput:  # noqa: A002 - the framework's name
        raise NotImplementedError


class _Metadata(ToolMetadata):
    """Describes a tool by JSON Schema; LlamaIndex itself goes the way over a pydantic model."""

    parameters: dict[str, Any]

    def get_parameters_dict(self) -> dict[str, Any]:
        return self.parameters


def _thinking_of(response: ChatResponse, before: str) -> str:
    """Return what is new of the model's thinking; some integrations send deltas, others all of it so far."""
    delta = response.additional_kwargs.get("thinking_delta")
    if isinstance(delta, str):
        return delta
    kind: Any = getattr(llm_types, "ThinkingBlock", ())  # llama-index-core 0.14.0 has none
    blocks: list[Any] = [block for block in response.message.blocks if isinstance(block, kind)]
    thought = "".join(block.content or "" for block in blocks)
    return thought[len(before) :] if thought.startswith(before) else ""


def _first_number(places: tuple[Any, ...], keys: tuple[str, ...]) -> int:
    for place in places:
        for key in keys:
            value = place.get(key) if isinstance(place, dict) else getattr(place, key, None)
            if isinstance(value, int):
                return value
    return 0
