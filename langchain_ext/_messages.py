"""LangChain's messages as the core takes them: who said which text, and where an answer stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from llama_cloud_chat import Anchor, ConfigurationError, Message, media_mark

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]

_ROLES: dict[type[BaseMessage], Role] = {
    SystemMessage: "system",
    HumanMessage: "user",
    AIMessage: "assistant",
    ToolMessage: "tool",
    FunctionMessage: "tool",
}
_NAMED_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "tool": "tool",
}


_MEDIA: dict[str, str] = {
    "image": "image",
    "image_generation_call": "image",
    "image_url": "image",
    "input_image": "image",
    "audio": "audio",
    "input_audio": "audio",
    "video": "video",
    "file": "document",
    "input_file": "document",
    "document": "document",
}
"""What kinds of blocks hold something that people see or hear, and what they are called."""

_TEXTS = {"text": "text", "text-plain": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
"""What kinds of blocks are text, and where in them it stands."""

_NAME_KEYS = ("filename", "file_name", "name", "title")


def to_core(messages: Sequence[BaseMessage]) -> list[Message]:
    """Convert a conversation.

    Raises:
        ConfigurationError: A message is of nobody that the service knows.
    """
    return [_convert(message) for message in messages]


def anchor_of(message: BaseMessage) -> Anchor:
    """Return where an answer stands, as far as it says."""
    return Anchor.read(message.response_metadata)


def _convert(message: BaseMessage) -> Message:
    role = _role(message)
    text, media = _said(message, is_answer=role == "assistant")
    anchor = anchor_of(message) if role == "assistant" else Anchor()
    return Message(
        role, text, message.name or None, anchor.session_id, anchor.turn, anchor.instructions, media=tuple(media)
    )


def _role(message: BaseMessage) -> Role:
    for kind, role in _ROLES.items():
        if isinstance(message, kind):
            return role
    if isinstance(message, ChatMessage) and message.role.lower() in _NAMED_ROLES:
        return _NAMED_ROLES[message.role.lower()]
    kind_of = f"role {message.role!r}" if isinstance(message, ChatMessage) else f"type {message.type!r}"
    raise ConfigurationError(
        f"A message of {kind_of} cannot be sent; the service takes system, human, AI and tool messages."
    )


def _said(message: BaseMessage, *, is_answer: bool) -> tuple[str, list[str]]:
    """Return what a message says, with a mark for each thing in it that is no text, and what kinds of things those are.

    What else an answer holds (reasoning, calls of tools) is not part of what was said.
    """
    if isinstance(message.content, str):
        return message.content, []
    pieces: list[str] = []
    media: list[str] = []
    for block in message.content:
        text = _text_of(block)
        kind = None if text is not None else _kind_of(block, is_answer=is_answer)
        if text is not None:
            pieces.append(text)
        elif kind is not None:
            media.append(kind)
            pieces.append(media_mark(kind, _name_of(block)))
    return "".join(pieces), media


def _text_of(block: object) -> str | None:
    if isinstance(block, str):
        return block
    text = block.get(_TEXTS.get(str(block.get("type")))) if isinstance(block, dict) else None
    return text if isinstance(text, str) else None


def _kind_of(block: object, *, is_answer: bool) -> str | None:
    told = block if isinstance(block, dict) else {}
    kind = str(told.get("type") or "untyped")
    if kind in {"media", "text-plain"}:  # Gemini's, of any kind; a text that lies elsewhere
        return _MEDIA.get(str(told.get("mime_type")).partition("/")[0], "document")
    return _MEDIA.get(kind, None if is_answer else kind)


def _name_of(block: object) -> str | None:
    """Return what a file is called, wherever providers say so."""
    if not isinstance(block, dict):
        return None
    holders = (block, block.get("extras"), block.get("metadata"), block.get("file"))
    told = (holder.get(key) for holder in holders if isinstance(holder, dict) for key in _NAME_KEYS)
    return next((name for name in told if isinstance(name, str) and name), None)
