"""LlamaCloud's chat API on this machine, so that everything can be tried and tested without a key.

    from llama_cloud_chat.local import LocalService

    with LocalService(docs="handbook/") as service:
        ...  # service.base_url, service.api_key, service.index_ids

It is a development and test double: real HTTP, real sessions, real retrieval, and an agent that quotes
instead of thinking. Give it another agent with `LocalService(agent=...)`.
"""

from ._agent import Agent, AgentTurn, WireEvent, speak
from ._documents import Skipped
from ._extractive import extractive_agent
from ._search import Tools
from ._service import LocalService

__all__ = [
    "Agent",
    "AgentTurn",
    "LocalService",
    "Skipped",
    "Tools",
    "WireEvent",
    "extractive_agent",
    "speak",
]
