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

from llama_cloud_chat import Anchor, Message

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


def to_core(messages: Sequence[BaseMessage]) -> list[Message]:
    """Convert a conversation whose last message is to be answered.

    Raises:
        ValueError: The service cannot take it; the message says what it takes.
    """
    if not messages:
        raise ValueError("There are no messages. Give at least one message of the user.")
    converted = [_convert(message) for message in messages]
    last = converted[-1]
    if last.role != "user":
        raise ValueError(
            f"The last message is of type {messages[-1].type!r}, but the agent answers the user: end with a "
            "HumanMessage."
        )
    if not last.text.strip():
        raise ValueError("The last message is empty. Ask something; the service takes text.")
    return converted


def anchor_of(message: BaseMessage) -> Anchor:
    """Return where an answer stands, as far as it says."""
    return Anchor.read(message.response_metadata)


def _convert(message: BaseMessage) -> Message:
    role = _role(message)
    name = message.name or None
    if role != "assistant":
        return Message(role, _plain_text(message), name)
    anchor = anchor_of(message)
    # What else an answer holds (reasoning, tool reports, another model's pictures) is not part of what was said.
    return Message(role, str(message.text), name, anchor.session_id, anchor.turn, anchor.instructions)


def _role(message: BaseMessage) -> Role:
    for kind, role in _ROLES.items():
        if isinstance(message, kind):
            return role
    if isinstance(message, ChatMessage) and message.role.lower() in _NAMED_ROLES:
        return _NAMED_ROLES[message.role.lower()]
    kind_of = f"role {message.role!r}" if isinstance(message, ChatMessage) else f"type {message.type!r}"
    raise ValueError(f"A message of {kind_of} cannot be sent; the service takes system, human, AI and tool messages.")


def _plain_text(message: BaseMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    return "".join(_text_of(block, message.type) for block in message.content)


def _text_of(block: object, message_type: str) -> str:
    if isinstance(block, str):
        return block
    if isinstance(block, dict) and block.get("type") == "text" and isinstance(block.get("text"), str):
        return str(block["text"])
    kind = block.get("type") if isinstance(block, dict) else type(block).__name__
    raise ValueError(
        f"A {message_type} message holds a block of type {kind!r}, but the service takes text alone. Upload files to "
        "an index, and name the index in index_ids."
    )
