"""LlamaIndex's messages as the core takes them: who said which text, and where an answer stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole, TextBlock

from llama_cloud_chat import Anchor, ConfigurationError, Message, media_mark

_ROLES = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.USER: "user",
    MessageRole.TOOL: "tool",
    MessageRole.FUNCTION: "tool",
}

_QUOTING = {"citable", "citation"}
"""Kinds of blocks that hold others."""

_WORKINGS = {"thinking", "tool_call", "cache"}
"""Kinds of blocks that are not part of what was said."""

_NO_TITLE = "input_document"
"""What LlamaIndex calls a document without a title."""


def to_core(messages: Iterable[ChatMessage]) -> list[Message]:
    """Convert a conversation."""
    return [_convert(message) for message in messages]


def anchor_of(message: ChatMessage) -> Anchor:
    """Return where an answer stands, as far as it says."""
    return Anchor.read(message.additional_kwargs)


def user_message(text: str) -> ChatMessage:
    """Return a message of the user."""
    return ChatMessage(role=MessageRole.USER, content=text)


def system_message(text: str) -> ChatMessage:
    """Return a standing instruction."""
    return ChatMessage(role=MessageRole.SYSTEM, content=text)


def check_text(message: object) -> str:
    """Return a prompt that somebody gave, if it is one.

    Raises:
        ConfigurationError: It is no text.
    """
    if isinstance(message, str):
        return message
    hint = "Pass its text: message.content." if isinstance(message, ChatMessage) else "Ask something."
    raise ConfigurationError(f"The prompt must be a str, not {type(message).__name__}. {hint}")


def to_data(messages: Iterable[ChatMessage]) -> list[dict[str, Any]]:
    """Return a conversation as plain data: what was said, by whom, and where it stands. Instructions are left out."""
    return [
        {key: value for key, value in asdict(one).items() if value is not None and key != "media"}
        for one in to_core(messages)
        if one.role != "system"
    ]


def from_data(messages: Iterable[dict[str, Any]]) -> list[ChatMessage]:
    """Return the conversation that plain data tell of."""
    return [
        ChatMessage(
            role=one["role"],
            content=one["text"],
            additional_kwargs={key: value for key, value in one.items() if key not in {"role", "text"}},
        )
        for one in messages
    ]


def _convert(message: ChatMessage) -> Message:
    role: Any = _ROLES.get(message.role, "assistant")
    name = message.additional_kwargs.get("name")
    anchor = anchor_of(message)
    parts = list(_parts(message.blocks))
    return Message(
        role,
        "\n".join(text for text, _ in parts),
        name if isinstance(name, str) else None,
        anchor.session_id,
        anchor.turn,
        anchor.instructions,
        tuple(kind for _, kind in parts if kind is not None),
    )


def _parts(blocks: Iterable[Any]) -> Iterator[tuple[str, str | None]]:
    """Yield what blocks say, and of what kind that is if it is no text."""
    for block in blocks:
        kind = getattr(block, "block_type", None)
        if isinstance(block, TextBlock):
            yield block.text, None
        elif kind in _QUOTING:
            quoted = getattr(block, "content", None) or getattr(block, "cited_content", None)
            yield from _parts(quoted if isinstance(quoted, list) else [quoted])
        elif kind not in _WORKINGS:
            kind = str(kind or type(block).__name__)
            yield media_mark(kind, _name_of(block)), kind


def _name_of(block: Any) -> str | None:
    """Return what a file is called, if it says so; never its address, which may hold a secret."""
    title, path = getattr(block, "title", None), getattr(block, "path", None)
    if isinstance(title, str) and title != _NO_TITLE:
        return title
    return Path(path).name if path else None
