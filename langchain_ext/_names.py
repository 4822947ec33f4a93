"""Names that are not known: an error that says which one was meant, for the frameworks would drop them silently."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Collection, Iterable, Sequence

from pydantic import BaseModel

from llama_cloud_chat import ChatClient, ConfigurationError

PASSED_BY_FRAMEWORKS = frozenset(
    {
        "cache_control",
        "frequency_penalty",
        "logprobs",
        "max_completion_tokens",
        "max_output_tokens",
        "max_tokens",
        "model",
        "model_kwargs",
        "model_name",
        "model_provider",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning",
        "reasoning_effort",
        "seed",
        "stop",
        "stop_sequences",
        "stream",
        "stream_options",
        "stream_usage",
        "streaming",
        "strict",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
        "user",
        "verbosity",
    }
)
"""What frameworks pass to any model by themselves; what has no meaning here is of no effect."""

_OWN_PREFIXES = ("ls_", "lc_")
"""How LangChain's own names begin."""

_OF_THE_CLIENT = frozenset(inspect.signature(ChatClient).parameters)


def field_names(model: type[BaseModel]) -> set[str]:
    """Return the names under which a model's fields can be given."""
    fields = model.model_fields
    return {*fields, *(field.alias for field in fields.values() if field.alias)}


def check_names(given: Iterable[object], known: Collection[str], where: str) -> None:
    """Check that each name given is one that is known, or one that frameworks pass.

    Args:
        given: The names.
        known: Those that mean something.
        where: What they are given to.

    Raises:
        ConfigurationError: One of them is neither.
    """
    for name in given:
        if name in known or name in PASSED_BY_FRAMEWORKS or str(name).startswith(_OWN_PREFIXES):
            continue
        raise ConfigurationError(f"{where} takes no argument {name!r}. {_hint(str(name), sorted(known))}")


def _hint(name: str, known: Sequence[str]) -> str:
    if name in _OF_THE_CLIENT:
        return f"It is the client's: make one with it, and pass that, client=ChatClient({name}=...)."
    near = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"It takes {', '.join(known)}."
