"""LlamaIndex's messages as the core takes them: who said which text, and where an answer stands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole

from llama_cloud_chat import Anchor, Message

_ROLES = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.USER: "user",
    MessageRole.TOOL: "tool",
    MessageRole.FUNCTION: "tool",
}


def to_core(messages: Iterable[ChatMessage]) -> list[Message]:
    """Convert a conversation."""
    return [_convert(message) for message in messages]


def anchor_of(message: ChatMessage) -> Anchor:
    """Return where an answer stands, as far as it says."""
    return Anchor.read(message.additional_kwargs)


def user_message(text: str) -> ChatMessage:
    """Return a message of the user."""
    return ChatMessage(role=MessageRole.USER, content=text)


def _convert(message: ChatMessage) -> Message:
    role: Any = _ROLES.get(message.role, "assistant")
    name = message.additional_kwargs.get("name")
    anchor = anchor_of(message)
    return Message(
        role,
        message.content or "",
        name if isinstance(name, str) else None,
        anchor.session_id,
        anchor.turn,
        anchor.instructions,
    )
