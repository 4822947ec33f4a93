"""LlamaCloud's chat API on this machine, so that everything can be tried and tested without a key.

    from llama_cloud_chat.local import LocalService

    with LocalService(docs="handbook/") as service:
        ...  # service.base_url, service.api_key, service.index_ids

It is a development and test double: real HTTP, real sessions, real retrieval, and an agent that quotes
instead of thinking. Give it another agent with `LocalService(agent=...)`: a function, a script, a LangChain
chat model or a LlamaIndex LLM. Let it fail with `LocalService.fail_next(...)`.

Who reads on, from the outside in: `_service` puts everything together. In `_server`, `thread` runs it, `app` speaks
HTTP, `turns` answers prompts and `store` keeps sessions. In `_agents`, `protocol` says what an agent is, `extractive`,
`scripted` and `model` are three, and `choose` makes one of whatever is given. In `_library`, `tools` are what they look
things up with, `search` and `index` find it, `documents` and `readers` read it, and `pictures` shows it.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_cloud_chat._extras import needing

if TYPE_CHECKING:
    from ._agents.choose import agent_from
    from ._agents.extractive import extractive_agent
    from ._agents.protocol import Agent, AgentTurn, WireEvent, speak
    from ._agents.scripted import scripted_agent
    from ._library.documents import Skipped
    from ._library.tools import Tools, ToolUse
    from ._service import LocalService

__all__ = [
    "HANDBOOK",
    "Agent",
    "AgentTurn",
    "LocalService",
    "Skipped",
    "ToolUse",
    "Tools",
    "WireEvent",
    "agent_from",
    "extractive_agent",
    "scripted_agent",
    "speak",
]

HANDBOOK = Path(__file__).parent / "handbook"
"""Three short documents to try things with."""

_HOMES = {
    "_agents.protocol": ("Agent", "AgentTurn", "WireEvent", "speak"),
    "_library.documents": ("Skipped",),
    "_agents.extractive": ("extractive_agent",),
    "_agents.choose": ("agent_from",),
    "_agents.scripted": ("scripted_agent",),
    "_service": ("LocalService",),
    "_library.tools": ("ToolUse", "Tools"),
}


def __getattr__(name: str) -> Any:
    # Loaded when first asked for: the pytest plugin beside this is imported by every pytest of the environment,
    # and must neither slow it down nor break it where the extra is not installed.
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with needing("The embedded service needs"):
        value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
