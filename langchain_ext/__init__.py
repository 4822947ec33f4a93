"""LlamaCloud's chat agent in LangChain: as a chat model, as a tool for other models, as a message history.

Examples:
    >>> from langchain_ext import ChatLlamaCloud
    >>> answer = ChatLlamaCloud(index_ids=index_ids).invoke("How many days of leave are there?")
    >>> print(answer.text)
    Everyone has 30 days of paid leave each year. ...
    >>> [source["file_name"] for source in answer.response_metadata["sources"]]
    ['leave.md']
"""

from langchain_core.messages.block_translators import register_translator

from ._blocks import unfold
from ._metadata import PROVIDER
from .chat_models import ChatLlamaCloud
from .documents import sources_as_documents
from .history import LlamaCloudChatMessageHistory
from .tools import LlamaCloudChatTool
from .turns import AnswerReader, as_turns

register_translator(PROVIDER, unfold, unfold)

__all__ = [
    "AnswerReader",
    "ChatLlamaCloud",
    "LlamaCloudChatMessageHistory",
    "LlamaCloudChatTool",
    "as_turns",
    "sources_as_documents",
]
