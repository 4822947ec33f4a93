"""What the operations other than a turn answer with. Fields this version does not know stay reachable."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llama_cloud_chat._display import Displayable
from llama_cloud_chat._turn.events import Event, parse_event
from llama_cloud_chat._turn.turn import Turn, read_history


class _Answer(BaseModel):
    model_config = ConfigDict(extra="allow")


class JobMetadata(_Answer):
    """What a session's most recent run took and how it ended, as far as the service says.

    Attributes:
        duration_ms: Milliseconds from prompt to end.
        error: Why it failed.
        export_config_ids: The exports it belongs to.
        is_error: Whether it failed.
        total_input_tokens: Tokens the agent read.
        total_output_tokens: Tokens the agent wrote.
        turns: Steps the agent took.
    """

    duration_ms: float | None = None
    error: str | None = None
    export_config_ids: list[str] | None = None
    is_error: bool | None = None
    total_input_tokens: int | None = None
    total_output_tokens: int | None = None
    turns: int | None = None


class SessionSummary(_Answer):
    """A session without its conversation.

    Attributes:
        session_id: Its id.
        last_updated_at: When it last changed, as the service writes it (ISO 8601).
        generated_title: Its title, derived from its first prompt.
        index_ids: The indexes it is bound to; None for an unbound session.
        job_metadata: Its most recent run; None before the first.
        shared_access: What others of the project may do; None from services that do not know of it.
    """

    session_id: str
    last_updated_at: str
    generated_title: str | None = None
    index_ids: list[str] | None = None
    job_metadata: JobMetadata | None = None
    shared_access: Literal["query", "read_only"] | str | None = None  # the known ones, and the future


class SessionDetail(Displayable, SessionSummary):
    """A session with its conversation.

    Attributes:
        messages: The history as JSON values; `events` and `turns` read it.
    """

    messages: list[Any] = Field(validation_alias="events", repr=False)

    @cached_property
    def events(self) -> list[Event]:
        """The history as the service keeps it."""
        return [parse_event(message) for message in self.messages]

    @cached_property
    def turns(self) -> list[Turn]:
        """The history as turns."""
        return read_history(self.events, self.session_id)


class SessionPage(_Answer):
    """One page of the list of sessions."""

    items: list[SessionSummary]
    next_page_token: str | None = None


class IndexSummary(_Answer):
    """An index that can be asked.

    Attributes:
        id: Its id, as sessions and prompts take it.
        name: What people call it.
        description: What is in it, if somebody said so.
        export_config_id: The id that retrieval takes; None if the service does not say.
        status: `ready` or `failed`; None if the service does not say.
    """

    id: str
    name: str
    description: str | None = None
    export_config_id: str | None = None
    status: Literal["ready", "failed"] | str | None = None  # the known ones, and the future

    @model_validator(mode="before")
    @classmethod
    def _read_status(cls, data: Any) -> Any:
        """Take the status from the metadata, where the service has it."""
        metadata = data.get("metadata") if isinstance(data, dict) else None
        return {**data, "status": metadata.get("status")} if isinstance(metadata, dict) else data


class IndexPage(_Answer):
    """One page of the list of indexes."""

    items: list[IndexSummary]
    next_page_token: str | None = None


class PresignedURL(_Answer):
    """Where an attachment can be downloaded for a while, without the key.

    Attributes:
        url: The address. It is a secret as long as it is valid.
        expires_at: Until when, as the service writes it (ISO 8601).
        form_fields: Fields to send along, where the service asks for a form.
    """

    url: str = Field(repr=False)
    expires_at: str
    form_fields: dict[str, str] | None = Field(default=None, repr=False)
