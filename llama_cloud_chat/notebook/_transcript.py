"""What can be shown: everything that holds turns, read into one `Transcript`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llama_cloud_chat import AsyncChatSession, ChatSession, SessionDetail, Turn


@dataclass
class Transcript:
    """Turns, and the session they are of as far as it is known.

    Attributes:
        turns: The turns.
        session_id: The session's id.
        title: The session's title.
        updated_at: When the session last changed, as the service writes it.
        hint: What the reader can do to see more.
    """

    turns: Sequence[Turn]
    session_id: str | None = None
    title: str | None = None
    updated_at: str | None = None
    hint: str | None = None


def read_transcript(x: Any) -> Transcript:
    """Read what is to be shown.

    Raises:
        TypeError: It holds no turns.
        ChatError: The history of a session cannot be read.
    """
    if isinstance(x, ChatSession):
        x = x._client.retrieve(x.session_id)
    if isinstance(x, Turn):
        return Transcript([x])
    if isinstance(x, SessionDetail):
        return Transcript(x.turns, x.session_id, x.generated_title, x.last_updated_at)
    if isinstance(x, AsyncChatSession):
        return Transcript([], x.session_id, hint="await ashow(session) shows its turns.")
    if isinstance(x, Mapping) and "messages" in x:  # what a LangGraph agent gives back
        x = x["messages"]
    if isinstance(x, Sequence) and not isinstance(x, (str, bytes)) and all(isinstance(item, Turn) for item in x):
        return Transcript(x)
    return Transcript(_read_answers(x))


def _read_answers(x: Any) -> list[Turn]:
    framework = framework_of(x[0] if isinstance(x, Sequence) and not isinstance(x, str) and x else x)
    if framework == "langchain_core":
        from langchain_ext import as_turns  # noqa: PLC0415  # a framework is touched only when it is there

        return as_turns(x)
    if framework == "llama_index":
        from llama_index_ext import as_turns as read_answers  # noqa: PLC0415

        return read_answers(x)
    raise TypeError(
        f"A {type(x).__name__} holds no turns to show. Give a Turn, a ChatSession, a SessionDetail, an AIMessage of "
        "ChatLlamaCloud, an answer of LlamaCloudChatEngine, or a list of turns or messages; show and ashow also take "
        "their streams."
    )


async def aread_transcript(x: Any) -> Transcript:
    """Read what is to be shown, without blocking where it has to be asked for."""
    if isinstance(x, AsyncChatSession):
        x = await x._client.retrieve(x.session_id)
    return read_transcript(x)


def framework_of(x: Any) -> str | None:
    """Return the framework an object, or one of its bases, belongs to; its modules are imported, then."""
    roots = [kind.__module__.partition(".")[0] for kind in type(x).__mro__]
    return next((root for root in roots if root in {"langchain_core", "llama_index"}), None)
