"""Which agent answers: whatever was given is made into one.

The frameworks' modules are imported only when one of their models is given.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, cast

from llama_cloud_chat._errors import ConfigurationError

from .model import model_agent
from .protocol import Agent
from .scripted import scripted_agent


def agent_from(given: Any) -> Agent:
    """Return an agent made of whatever was given for one.

    Args:
        given: An `Agent`; a LangChain chat model; a LlamaIndex LLM; the name of a model as LangChain's
            `init_chat_model` takes it, "openai:gpt-5"; or a list of events, see `scripted_agent`.

    Raises:
        ConfigurationError: It is none of these, or the model cannot be made.
    """
    if isinstance(given, str):
        return _named_model_agent(given)
    # Whoever made a model has imported its framework; nobody else needs to.
    if "langchain_core.language_models" in sys.modules:
        from . import langchain  # noqa: PLC0415

        if langchain.is_model(given):
            return model_agent(langchain.model(given))
    if "llama_index.core" in sys.modules:
        from . import llama_index  # noqa: PLC0415

        if llama_index.is_model(given):
            return model_agent(llama_index.model(given))
    if callable(given):
        return cast("Agent", given)
    if isinstance(given, Iterable):
        return scripted_agent(given)
    raise ConfigurationError(
        f"agent must be a function, a LangChain chat model, a LlamaIndex LLM, the name of a model or a list of"
        f" events, not {type(given).__name__}."
    )


def _named_model_agent(name: str) -> Agent:
    """Return an agent for a model named as LangChain's `init_chat_model` names it, `PROVIDER:NAME`.

    Raises:
        ConfigurationError: The packages it needs are not installed, or it cannot be made: an unknown provider,
            a missing key.
    """
    if not name.strip():
        raise ConfigurationError("A model without a name cannot be used; give PROVIDER:NAME.")
    try:
        from langchain.chat_models import init_chat_model  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError(
            f"The model {name!r} needs LangChain: pip install langchain, and the package of its provider."
        ) from None
    from . import langchain  # noqa: PLC0415

    try:
        made = init_chat_model(name)
    except Exception as error:
        reason = " ".join(str(error).split())
        if reason.startswith("Unable to infer model provider"):
            # What LangChain goes on to say is about its own arguments.
            reason = "LangChain does not know its provider; give PROVIDER:NAME, for example openai:gpt-5."
        raise ConfigurationError(f"The model {name!r} cannot be used: {reason}".rstrip()) from None
    return model_agent(langchain.model(made))
