"""Models for the tests: one that always says the same, one that hands off and then writes down what it sees."""

from __future__ import annotations

from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, LLMMetadata
from llama_index.core.llms import CompletionResponse, CustomLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.tools import ToolSelection
from pydantic import Field


class Says(CustomLLM):
    """A model that always says the same, and keeps what it was asked."""

    answer: str
    asked: list[str] = Field(default_factory=list)

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        self.asked.append(prompt)
        return CompletionResponse(text=self.answer)

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        raise NotImplementedError


class Writer(FunctionCallingLLM):
    """A model that hands the user's request to the researcher, and writes down what comes back."""

    seen: list[Any] = Field(default_factory=list)

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(is_function_calling_model=True)

    async def astream_chat_with_tools(self, *, chat_history: Any, **kwargs: Any) -> Any:
        self.seen.append(list(chat_history))
        is_handed_back = "handling the request" in (chat_history[-1].content or "")
        message = ChatMessage(role="assistant", content=f"Note: {chat_history[-2].content}" if is_handed_back else "")

        async def stream() -> Any:
            yield ChatResponse(message=message, delta=message.content)

        return stream()

    def get_tool_calls_from_response(self, response: Any, **kwargs: Any) -> list[ToolSelection]:
        if response.message.content:
            return []
        arguments = {"to_agent": "Researcher", "reason": "It knows."}
        return [ToolSelection(tool_id="h1", tool_name="handoff", tool_kwargs=arguments)]

    def _prepare_chat_with_tools(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def chat(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    achat = complete = acomplete = stream_chat = stream_complete = astream_chat = astream_complete = chat
