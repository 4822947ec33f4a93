"""What an answer is based on, as LangChain documents."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage, ToolMessage


def sources_as_documents(message: BaseMessage) -> list[Document]:
    """Return the sources of an answer as documents, for evaluators and user interfaces that are built on them.

    Args:
        message: An answer of `ChatLlamaCloud`, also the sum of a stream's chunks; or the `ToolMessage` of a
            `LlamaCloudChatTool`.

    Returns:
        A document per source, in the order of retrieval. `page_content` is the passage, empty for a file that was
        only found; `metadata` holds the rest under the names of `llama_cloud_chat.Source`: `file_name`,
        `file_id`, `page_start`, `page_end`, `score`, `rerank_score`, `attachments`, `metadata` and so on.

    Raises:
        TypeError: It is no message: a tool that was run with a string gives back the text alone.
    """
    if not isinstance(message, BaseMessage):
        raise TypeError(
            f"Sources are read from a message, not {type(message).__name__}. Run the tool with a tool call, whose "
            "answer is a ToolMessage: tool.invoke({'type': 'tool_call', 'id': '1', 'name': tool.name, 'args': {...}})."
        )
    return [_document(source) for source in sources_of(message)]


def sources_of(message: BaseMessage) -> list[dict[str, Any]]:
    """Return the sources of an answer as plain dicts, in the order of retrieval."""
    found = message.artifact if isinstance(message, ToolMessage) else message.response_metadata.get("sources")
    return found if isinstance(found, list) else []


def _document(source: dict[str, Any]) -> Document:
    return Document(
        page_content=source["text"], metadata={name: value for name, value in source.items() if name != "text"}
    )
