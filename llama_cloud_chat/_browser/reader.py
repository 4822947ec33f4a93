"""A conversation as the AI SDK's page sends it, as the core sees it. Pure.

Everything in it comes from a browser: what cannot be a conversation is refused before anything is asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from llama_cloud_chat._errors import ConfigurationError
from llama_cloud_chat._session.conversation import Anchor, Message, media_mark
from llama_cloud_chat._turn.json import read_json

from .harmless import harmless

Verify: TypeAlias = Callable[[dict[str, Any]], Mapping[str, Any]]

_ROLES = ("system", "user", "assistant")


def messages_from_ui(body: Mapping[str, Any] | bytes | str, *, verify: Verify = dict) -> list[Message]:
    """Read the messages of a request that the AI SDK's page sends (`useChat`, `DefaultChatTransport`).

    An answer's metadata, which `ui_message_stream` wrote, say in which session and turn it was given, so
    `client.converse` with these messages continues that session, or forks it. What an answer holds beside its words
    (thinking, the agent's tools, sources) is not sent again. Pictures and files are told by name; `client.converse`
    refuses them in what is asked.

    **The metadata come from a browser**: whoever writes a page can name a session that is not theirs. Where several
    people share one key, sign what goes out (`sign=` of `ui_message_stream`) and check it here.

    Args:
        body: The request's body: as it came, or its JSON value.
        verify: Given an answer's metadata that name a session, returns those that can be trusted, which are
            read instead, or raises an error of its own. By default the page is believed.

    Returns:
        The conversation.

    Raises:
        ConfigurationError: The body is no such request.

    Example:
        >>> body = '''{"id": "chat-1", "trigger": "submit-message", "messages": [
        ...     {"id": "1", "role": "user", "parts": [{"type": "text", "text": "How many days of leave?"}]},
        ...     {"id": "2", "role": "assistant", "metadata": {"session_id": "ses-1", "turn": 1},
        ...      "parts": [{"type": "text", "text": "30 days."}]},
        ...     {"id": "3", "role": "user", "parts": [{"type": "text", "text": "And when do they expire?"}]}]}'''
        >>> for message in messages_from_ui(body):
        ...     print(message.role, message.session_id, message.turn, message.text)
        user None None How many days of leave?
        assistant ses-1 1 30 days.
        user None None And when do they expire?
    """
    read: list[Message] = []
    for number, message in enumerate(_messages_of(body), 1):
        read += _read(message, f"Message {number} of the request", verify)
    return read


def _messages_of(body: Mapping[str, Any] | bytes | str) -> list[Any]:
    if isinstance(body, (bytes, str)):
        try:
            body = read_json(body if isinstance(body, bytes) else body.encode("utf-8", "replace"))
        except ValueError as error:
            raise ConfigurationError(f"The request is not JSON: {error}.") from None
    messages = body.get("messages") if isinstance(body, Mapping) else None
    if not isinstance(messages, list) or not messages:
        raise ConfigurationError(
            "The request holds no messages. Send a JSON object whose `messages` is a list of UI messages, as the AI "
            "SDK's DefaultChatTransport does."
        )
    return messages


def _read(message: Any, place: str, verify: Verify) -> Iterator[Message]:
    role, parts = _field(message, "role"), _field(message, "parts")
    if role not in _ROLES:
        raise ConfigurationError(f"{place} has the role {role!r}; it must be one of {', '.join(_ROLES)}.")
    if not isinstance(parts, list):
        raise ConfigurationError(f"{place} has no list of parts. Messages of the AI SDK before version 5 are not read.")
    said: list[str] = []
    media: list[str] = []
    for part in parts:
        kind = _field(part, "type")
        if not isinstance(kind, str):
            raise ConfigurationError(f"{place} has a part without a type.")
        if kind == "text":
            said.append(_text_of(part, place))
        elif kind == "file":
            name = part.get("filename")
            media.append(_kind_of_file(part))
            said.append(media_mark(media[-1], name if isinstance(name, str) else None))
        elif (tool := _tool_of(part, kind)) is not None:
            yield tool
    anchor = _anchor_of(message, verify) if role == "assistant" else Anchor()
    # An answer of ours has its blank lines inside; another's parts are parted here.
    text = ("" if anchor.session_id else "\n\n").join(said)
    yield Message(role, text, None, anchor.session_id, anchor.turn, anchor.instructions, tuple(media))


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _text_of(part: dict[str, Any], place: str) -> str:
    text = part.get("text")
    if not isinstance(text, str):
        raise ConfigurationError(f"{place} has a part of type 'text' without text.")
    return text


def _kind_of_file(part: dict[str, Any]) -> str:
    kind, _, _ = str(part.get("mediaType")).partition("/")
    return kind if kind in {"image", "audio", "video"} else "document"


def _tool_of(part: dict[str, Any], kind: str) -> Message | None:
    """Return what a tool gave back that was not the agent's own: another model's, or the page's."""
    is_tool = kind == "dynamic-tool" or kind.startswith("tool-")
    if not is_tool or part.get("providerExecuted") is True or "output" not in part:
        return None
    name, output = part.get("toolName") or kind.removeprefix("tool-"), harmless(part["output"])
    return Message("tool", output if isinstance(output, str) else json.dumps(output, ensure_ascii=False), str(name))


def _anchor_of(message: dict[str, Any], verify: Verify) -> Anchor:
    """Return where an answer stands, as far as its metadata say and can be trusted."""
    metadata = message.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("session_id") is None:
        return Anchor()
    return Anchor.read(verify(metadata))
