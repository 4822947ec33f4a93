"""A conversation as the AI SDK's page sends it, as the core sees it. Pure.

Everything in it comes from a browser: what cannot be a conversation is refused before anything is asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from llama_cloud_chat._errors import ConfigurationError
from llama_cloud_chat._session.conversation import Message
from llama_cloud_chat._turn.json import read_json

from .harmless import harmless

Verify: TypeAlias = Callable[[dict[str, Any]], Mapping[str, Any]]

_ROLES = ("system", "user", "assistant")


def messages_from_ui(body: Mapping[str, Any] | bytes | str, *, verify: Verify = dict) -> list[Message]:
    """Read the messages of a request that the AI SDK's page sends (`useChat`, `DefaultChatTransport`).

    An answer's metadata, which `ui_message_stream` wrote, say in which session and turn it was given, so
    `client.converse` with these messages continues that session, or forks it. What an answer holds beside its words
    (thinking, the agent's tools, sources) is not sent again. Pictures and files are told by name in earlier messages.

    **The metadata come from a browser**: whoever writes a page can name a session that is not theirs. Where several
    people share one key, sign what goes out (`sign=` of `ui_message_stream`) and check it here.

    Args:
        body: The request's body: as it came, or its JSON value.
        verify: Given an answer's metadata that name a session, returns those that can be trusted (their `session_id`
            and `turn` are read), or raises an error of its own. By default the page is believed.

    Returns:
        The conversation.

    Raises:
        ConfigurationError: The body is no such request, or the message that is asked holds a file.

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
    messages = _messages_of(body)
    read: list[Message] = []
    for number, message in enumerate(messages, 1):
        read += _read(message, f"Message {number} of the request", verify, is_asked=number == len(messages))
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


def _read(message: Any, place: str, verify: Verify, *, is_asked: bool) -> Iterator[Message]:
    role, parts = _field(message, "role"), _field(message, "parts")
    if role not in _ROLES:
        raise ConfigurationError(f"{place} has the role {role!r}; it must be one of {', '.join(_ROLES)}.")
    if not isinstance(parts, list):
        raise ConfigurationError(f"{place} has no list of parts. Messages of the AI SDK before version 5 are not read.")
    said: list[str] = []
    for part in parts:
        kind = _field(part, "type")
        if not isinstance(kind, str):
            raise ConfigurationError(f"{place} has a part without a type.")
        if kind == "text":
            said.append(_text_of(part, place))
        elif kind == "file":
            said.append(_name_of_file(part, place, is_asked=is_asked))
        elif (tool := _tool_of(part, kind)) is not None:
            yield tool
    session_id, turn = _anchor_of(message, place, verify) if role == "assistant" else (None, None)
    # An answer of ours has its blank lines inside; another's parts are parted here.
    yield Message(role, ("" if session_id else "\n\n").join(said), session_id=session_id, turn=turn)


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _text_of(part: dict[str, Any], place: str) -> str:
    text = part.get("text")
    if not isinstance(text, str):
        raise ConfigurationError(f"{place} has a part of type 'text' without text.")
    return text


def _name_of_file(part: dict[str, Any], place: str, *, is_asked: bool) -> str:
    if is_asked:
        raise ConfigurationError(
            f"{place} holds a file, but the agent takes text alone. Upload files to an index, and ask about them."
        )
    kind, _, _ = str(part.get("mediaType")).partition("/")
    name = part.get("filename")
    kind = kind if kind in {"image", "audio", "video"} else "document"
    return f"[{kind}: {name}]" if isinstance(name, str) and name else f"[{kind}]"


def _tool_of(part: dict[str, Any], kind: str) -> Message | None:
    """Return what a tool gave back that was not the agent's own: another model's, or the page's."""
    is_tool = kind == "dynamic-tool" or kind.startswith("tool-")
    if not is_tool or part.get("providerExecuted") is True or "output" not in part:
        return None
    name, output = part.get("toolName") or kind.removeprefix("tool-"), harmless(part["output"])
    return Message("tool", output if isinstance(output, str) else json.dumps(output, ensure_ascii=False), str(name))


def _anchor_of(message: dict[str, Any], place: str, verify: Verify) -> tuple[str | None, int | None]:
    """Return in which session and turn an answer was given, as far as its metadata say."""
    metadata = message.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("session_id") is None:
        return None, None
    trusted = verify(metadata)
    session_id, turn = trusted.get("session_id"), trusted.get("turn")
    if turn is None:
        return None, None
    if not isinstance(session_id, str) or not session_id or type(turn) is not int or turn < 1:
        raise ConfigurationError(f"{place} has metadata that are not those of an answer: {session_id!r}, {turn!r}.")
    return session_id, turn
