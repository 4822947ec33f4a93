"""LlamaCloud's chat agent inside LlamaIndex: as a chat engine, a query engine, a workflow agent and a chat store.

Examples:
    >>> from llama_index_ext import LlamaCloudChatEngine
    >>> engine = LlamaCloudChatEngine(index_ids=index_ids)
    >>> answer = engine.chat("How many days of leave are there?")
    >>> print(answer)
    Everyone has 30 days of paid leave each year. ...
    >>> answer.source_nodes[0].node.metadata["file_name"]
    'leave.md'

The parts share one way of reading a turn (`_live_turn.py`), of taking messages in (`_messages.py`) and giving answers
out (`_converter.py`), and one tracer (`_tracing.py`); which session a conversation goes on in is the core's decision.
"""

from ._answers import (
    AsyncLlamaCloudStreamingQuery,
    LlamaCloudChatResponse,
    LlamaCloudResponse,
    LlamaCloudStreamingQuery,
)
from ._page_images import PageImageNode
from ._streaming import LlamaCloudStreamingResponse
from .agent import LlamaCloudAgent
from .chat_engine import LlamaCloudChatEngine
from .chat_store import LlamaCloudChatStore
from .query_engine import LlamaCloudQueryEngine
from .turns import as_turns

__all__ = [
    "AsyncLlamaCloudStreamingQuery",
    "LlamaCloudAgent",
    "LlamaCloudChatEngine",
    "LlamaCloudChatResponse",
    "LlamaCloudChatStore",
    "LlamaCloudQueryEngine",
    "LlamaCloudResponse",
    "LlamaCloudStreamingQuery",
    "LlamaCloudStreamingResponse",
    "PageImageNode",
    "as_turns",
]
