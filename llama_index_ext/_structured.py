"""Structured output as LlamaIndex has it: the value of an answer that the core asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_origin

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.base.response.schema import PydanticResponse
from pydantic import BaseModel

from llama_cloud_chat import ConfigurationError, StructuredOutput

from ._live_turn import LiveTurn


def output_of(output_cls: type[BaseModel] | None) -> StructuredOutput | None:
    """Return what is to be asked for, if anything is.

    Raises:
        ConfigurationError: It cannot be asked for.
    """
    if output_cls is None:
        return None
    # Python 3.10 takes `list[int]` for a class, which `issubclass` does not.
    is_class = isinstance(output_cls, type) and get_origin(output_cls) is None
    if not (is_class and issubclass(output_cls, BaseModel)):
        raise ConfigurationError(
            f"output_cls must be a class of pydantic, as LlamaIndex has it, not {output_cls!r}. Write the fields into "
            "one that derives from pydantic.BaseModel."
        )
    return StructuredOutput(output_cls)


def structured_response(live: LiveTurn, output: StructuredOutput) -> PydanticResponse:
    """Return what a query engine of LlamaIndex gives for an output class.

    Raises:
        StructuredOutputError: The answer does not fit.
    """
    value = output.read(live.turn.text).value
    return PydanticResponse(response=value, source_nodes=live.findings.source_nodes, metadata=live.findings.metadata)


class AnswerReader:
    """A `structured_output_fn` that asks nobody: it reads the value in the latest answer of an agent.

    Args:
        output: What its answers hold.
        agent: Its name.
    """

    def __init__(self, output: StructuredOutput, agent: str) -> None:
        self._output = output
        self._agent = agent

    def __call__(self, messages: Sequence[ChatMessage]) -> dict[str, Any]:
        """Return the value as JSON values.

        Args:
            messages: What was said.

        Raises:
            StructuredOutputError: The answer does not fit.
        """
        said = (one for one in reversed(messages) if one.additional_kwargs.get("agent") == self._agent)
        return self.read(next(said).content or "")

    def read(self, text: str) -> dict[str, Any]:
        """Return the value of an answer's text as JSON values.

        Args:
            text: The text.

        Raises:
            StructuredOutputError: The answer does not fit.
        """
        value: BaseModel = self._output.read(text).value
        return value.model_dump(mode="json")
