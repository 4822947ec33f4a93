"""Structured output as LangChain has it: which schema a call asks for, and what becomes of the answer.

What asks for it is the model's bound `response_format`: `create_agent` binds it, and so does `with_structured_output`.
The core asks, and the message's content is then the value's JSON alone; here it is read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from operator import itemgetter
from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, message_chunk_to_message
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnableMap, RunnablePassthrough
from langchain_core.runnables.utils import AddableDict
from langchain_core.utils.function_calling import convert_to_json_schema
from pydantic import PrivateAttr
from typing_extensions import is_typeddict

from llama_cloud_chat import AnswerDraft, ConfigurationError, Event, StructuredOutput, StructuredOutputError, Turn

from ._converter import ChunkWriter

_METHODS = ("json_schema", "function_calling", "json_mode")
_DRAFTS = "drafts"
"""What stands in a `response_format` where drafts of the value are wanted while it streams."""


def structured_model(
    model: BaseChatModel, schema: Any, *, include_raw: bool, method: str | None, strict: bool | None
) -> Runnable[LanguageModelInput, Any]:
    """Return a model whose answers are values of `schema`, asked for in the prompt.

    Raises:
        ConfigurationError: An argument cannot work.
    """
    plain = _plain(schema)
    output = StructuredOutput(plain)
    name = output.json_schema.get("title", "answer")
    # What is none of LangChain's own kinds, a union, its tracing takes as a JSON schema alone, and with a title.
    traced = schema if isinstance(schema, (type, Mapping)) else {**output.json_schema, "title": name}
    wanted = {"name": name, "schema": plain} if isinstance(plain, Mapping) else {"name": name, "class": plain}
    bound = model.bind(
        response_format={"type": "json_schema", "json_schema": wanted, _DRAFTS: isinstance(plain, Mapping)},
        ls_structured_output_format={"kwargs": _how(method, strict), "schema": traced},
    )
    return bound | _AnswerReader(plain, include_raw=include_raw)


def by_second_model(
    model: BaseChatModel, second: Any, schema: Any, *, include_raw: bool, method: str | None, strict: bool | None
) -> Runnable[LanguageModelInput, Any]:
    """Return a model whose answers are put into `schema` by a second one, which sees the sources, too.

    Raises:
        ConfigurationError: An argument cannot work.
    """
    if not isinstance(second, BaseChatModel):
        raise ConfigurationError(f"model must be a chat model of LangChain, not {type(second).__name__}.")
    filler = second.with_structured_output(schema, include_raw=True, **_how(method, strict, default=None))
    filled = RunnableMap(raw=model) | RunnablePassthrough.assign(
        filled=itemgetter("raw") | RunnableLambda(_tell) | filler
    )
    return filled | RunnableLambda(_with_raw if include_raw else _value_alone)


def _how(method: str | None, strict: bool | None, default: str | None = "json_schema") -> dict[str, Any]:
    if method is not None and method not in _METHODS:
        raise ConfigurationError(f"method must be one of {', '.join(_METHODS)}, not {method!r}.")
    if strict is not None and (not isinstance(strict, bool) or method == "json_mode"):
        raise ConfigurationError("strict must be True or False, and goes with the methods that know the schema.")
    told = {"method": method or default, "strict": strict}
    return {key: value for key, value in told.items() if value is not None}


def _plain(schema: Any) -> Any:
    """Return the schema in a form that the core knows: LangChain's own forms of dicts are JSON schemas to it."""
    if not isinstance(schema, Mapping) and not is_typeddict(schema):
        return schema
    form: Any = schema
    try:
        return convert_to_json_schema(form)
    except ValueError as error:
        if isinstance(schema, Mapping) and "title" not in schema and "properties" in schema:
            return dict(schema)  # LangChain wants a title; the agent does not
        raise ConfigurationError(f"This is no schema that LangChain knows: {error}") from None


def output_of(response_format: Any) -> StructuredOutput | None:
    """Return what a call's `response_format` wants; None if it wants nothing.

    Raises:
        ConfigurationError: It cannot be had.
    """
    if response_format is None:
        return None
    wanted = response_format.get("json_schema") if isinstance(response_format, Mapping) else None
    if not isinstance(wanted, Mapping) or not ("schema" in wanted or "class" in wanted):
        raise ConfigurationError(
            'response_format must be {"type": "json_schema", "json_schema": {"name": ..., "schema": ...}}, as '
            "ProviderStrategy makes it; for values of a class use with_structured_output."
        )
    return StructuredOutput(wanted["class"] if "class" in wanted else wanted["schema"])


def wants_drafts(response_format: Any) -> bool:
    """Whether drafts of the value are wanted while it streams."""
    return isinstance(response_format, Mapping) and bool(response_format.get(_DRAFTS))


class _DraftChunk(AIMessageChunk):
    """An empty chunk that shows its reader how far a value has come. In a sum of chunks nothing is left of that."""

    _draft: dict[str, Any] = PrivateAttr(default_factory=dict)


class DraftWriter(ChunkWriter):
    """Writes the drafts of a value, too."""

    def __init__(self, turn: Turn, stop: Any, output_version: str | None, output: StructuredOutput) -> None:
        super().__init__(turn, stop, output_version)
        self._output = output
        self._draft: dict[str, Any] | None = None

    def feed(self, event: Event) -> Iterator[ChatGenerationChunk]:
        """Yield the chunks that an event adds."""
        if not isinstance(event, AnswerDraft):
            yield from super().feed(event)
            return
        draft = _read_draft(self._output, event)
        if draft and draft != self._draft:
            self._draft = draft
            message = _DraftChunk(content="")
            message._draft = draft
            yield ChatGenerationChunk(message=message)


def _read_draft(output: StructuredOutput, draft: AnswerDraft) -> dict[str, Any]:
    """Return what a draft holds of the fields that are wanted."""
    known = output.json_schema.get("properties", {})
    return {name: value for name, value in (output.partial(draft.raw) or {}).items() if name in known}


class _AnswerReader(Runnable[AIMessage, Any]):
    """Reads the value in an answer; for dicts, drafts of it as they come.

    Args:
        schema: What the answer is to hold.
        include_raw: Whether to give the answer and the parsing's error beside the value.
    """

    def __init__(self, schema: Any, *, include_raw: bool) -> None:
        self._schema = schema
        self._include_raw = include_raw

    def invoke(self, input: AIMessage, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """Return the value in an answer.

        Raises:
            OutputParserException: There is none that fits; `llm_output` is the answer.
        """
        return self._call_with_config(self._read, input, config, run_type="parser")

    def transform(
        self,
        input: Iterator[AIMessage],  # noqa: A002  # Runnable's signature
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Yield what is known of the value as an answer comes; at the end all of it."""
        yield from self._transform_stream_with_config(input, self._follow, config, run_type="parser")

    async def atransform(
        self,
        input: AsyncIterator[AIMessage],  # noqa: A002  # Runnable's signature
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """Yield what is known of the value as an answer comes; at the end all of it."""
        async for item in self._atransform_stream_with_config(input, self._afollow, config, run_type="parser"):
            yield item

    def _read(self, message: AIMessage) -> Any:
        value, error = self._value(message)
        if self._include_raw:
            return {"raw": message, "parsed": value, "parsing_error": error}
        if error is not None:
            raise error
        return value

    def _value(self, message: AIMessage) -> tuple[Any, OutputParserException | None]:
        try:
            return StructuredOutput(self._schema).read(str(message.text)).value, None
        except StructuredOutputError as error:
            failure = OutputParserException(str(error), llm_output=error.answer)
            failure.__cause__ = error
            return None, failure

    def _follow(self, chunks: Iterator[AIMessage]) -> Iterator[Any]:
        reading = _Reading(self._include_raw)
        for chunk in chunks:
            yield from reading.take(chunk)
        yield from self._end(reading)

    async def _afollow(self, chunks: AsyncIterator[AIMessage]) -> AsyncIterator[Any]:
        reading = _Reading(self._include_raw)
        async for chunk in chunks:
            for item in reading.take(chunk):
                yield item
        for item in self._end(reading):
            yield item

    def _end(self, reading: _Reading) -> Iterator[Any]:
        value, error = self._value(reading.message())
        if self._include_raw:
            if value is not None and value != reading.draft:
                yield AddableDict(parsed=value)
            yield AddableDict({"parsing_error": error, **({"parsed": None} if error else {})})
        elif error is not None:
            raise error
        elif value != reading.draft:
            yield value


class _Reading:
    """An answer that is being read.

    Attributes:
        draft: The value as it was last shown.
    """

    def __init__(self, include_raw: bool) -> None:
        self.draft: dict[str, Any] | None = None
        self._include_raw = include_raw
        self._total: AIMessage | None = None

    def take(self, chunk: AIMessage) -> Iterator[Any]:
        """Take a chunk; yield what it shows."""
        if isinstance(chunk, _DraftChunk):
            self.draft = chunk._draft
            yield AddableDict(parsed=self.draft) if self._include_raw else self.draft
            return
        self._total = chunk if self._total is None else self._total + chunk  # type: ignore[assignment]
        if self._include_raw:
            yield AddableDict(raw=chunk)

    def message(self) -> AIMessage:
        """Return the whole answer."""
        assert self._total is not None
        whole = message_chunk_to_message(self._total) if isinstance(self._total, AIMessageChunk) else self._total
        assert isinstance(whole, AIMessage)
        return whole


def _tell(message: AIMessage) -> list[HumanMessage]:
    """Return what the second model is told: the answer, and what it rests on."""
    sources = [
        f"[{source.get('file_name')}, page {source.get('page_start')}]\n{source.get('text')}"
        for source in message.response_metadata.get("sources", ())
    ]
    told = ["Put this answer into the form that is asked for, and add nothing to it.", f"Answer:\n{message.text}"]
    if sources:
        told.append("Sources:\n" + "\n\n".join(sources))
    return [HumanMessage("\n\n".join(told))]


def _with_raw(result: dict[str, Any]) -> dict[str, Any]:
    filled = result["filled"]
    return {"raw": result["raw"], "parsed": filled["parsed"], "parsing_error": filled["parsing_error"]}


def _value_alone(result: dict[str, Any]) -> Any:
    if (error := result["filled"]["parsing_error"]) is not None:
        raise error
    return result["filled"]["parsed"]
