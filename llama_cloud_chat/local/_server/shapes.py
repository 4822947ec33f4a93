"""The bodies of the API as its vendor publishes them: what a request may hold, and what an answer holds.

Written down once more on purpose: this is to judge the client, and shares nothing with it. `tests/local/published.py`
says where it differs from what is published, and why.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AnyUrl, BaseModel, Field, StringConstraints, create_model

MAX_INDEXES = 10
"""How many indexes a session can be bound to."""

_NonBlank = Annotated[str, StringConstraints(min_length=1, pattern=r"\S")]
_SharedAccess: TypeAlias = Literal["query", "read_only"]


class CreateBody(BaseModel):
    """What a session is opened with."""

    index_ids: Annotated[list[str], Field(max_length=MAX_INDEXES)] | None = None
    shared_access: _SharedAccess | None = None


class TitleBody(BaseModel):
    """What a session is named after."""

    first_message: _NonBlank


class StreamBody(BaseModel):
    """One prompt."""

    index_ids: list[str] = Field(min_length=1)
    prompt: _NonBlank
    require_all_indexes: bool = False


def stream_body(max_prompt_chars: int | None) -> type[StreamBody]:
    """Return `StreamBody` with a bound for the prompt, in characters; None leaves it unbounded."""
    prompt = Annotated[_NonBlank, Field(max_length=max_prompt_chars)]
    return create_model("StreamBody", __base__=StreamBody, __doc__=StreamBody.__doc__, prompt=(prompt, ...))


class JobMetadata(BaseModel):
    """The account of a session's last run."""

    total_input_tokens: int | None = None
    total_output_tokens: int | None = None
    turns: int = 1
    duration_ms: float = 0.0
    is_error: bool = False
    error: str | None = None
    export_config_ids: list[str] | None = None


class SessionSummary(BaseModel):
    """A session without its events."""

    session_id: str
    last_updated_at: str
    generated_title: str | None = None
    index_ids: list[str] | None = None
    shared_access: _SharedAccess = "query"
    job_metadata: JobMetadata | None = None


class SessionPage(BaseModel):
    """One page of sessions; `next_page_token` is null on the last."""

    items: list[SessionSummary]
    next_page_token: str | None = None


class ThinkingDelta(BaseModel):
    """A piece of what the agent thinks."""

    type: Literal["thinking_delta"] = "thinking_delta"
    content: str


class TextDelta(BaseModel):
    """A piece of what the agent says."""

    type: Literal["text_delta"] = "text_delta"
    content: str


class Thinking(BaseModel):
    """A segment of what the agent thinks, whole."""

    type: Literal["thinking"] = "thinking"
    content: str


class Text(BaseModel):
    """A segment of what the agent says, whole."""

    type: Literal["text"] = "text"
    content: str


class ToolCall(BaseModel):
    """What the agent looks up."""

    type: Literal["tool_call"] = "tool_call"
    call_id: str
    name: str
    arguments: dict[str, Any]


class ImageAttachmentRef(BaseModel):
    """Where the picture of a page can be had."""

    source_id: str
    attachment_name: str


class ToolResult(BaseModel):
    """What it found."""

    type: Literal["tool_result"] = "tool_result"
    call_id: str
    name: str
    result: Any
    image_attachment: ImageAttachmentRef | None = None


class Usage(BaseModel):
    """What a turn took."""

    total_input_tokens: int | None = None
    total_output_tokens: int | None = None
    turns: int = 1
    duration_ms: float = 0.0


class Stop(BaseModel):
    """The end of a turn."""

    type: Literal["stop"] = "stop"
    usage: Usage
    is_error: bool
    error: str | None
    skipped_index_ids: list[str] | None = None


class UserInput(BaseModel):
    """What was asked."""

    type: Literal["user_input"] = "user_input"
    content: str


Event: TypeAlias = Annotated[
    ThinkingDelta | TextDelta | Thinking | Text | ToolCall | ToolResult | Stop | UserInput, Field(discriminator="type")
]


class SessionDetail(SessionSummary):
    """A session with its events."""

    events: list[Event]


class IndexMetadata(BaseModel, extra="allow"):
    """How far an index is."""

    status: Literal["ready", "failed"]


class IndexDetail(BaseModel):
    """An index."""

    id: str
    export_config_id: str
    name: str
    description: str | None = None
    project_id: str
    source_directory_id: str
    output_directory_id: str
    sync_config_id: str
    created_at: datetime | None = None
    updated_at: datetime | None = None
    last_synced_at: datetime | None = None
    last_exported_at: datetime | None = None
    metadata: IndexMetadata = Field(default_factory=lambda: IndexMetadata(status="ready"))


class IndexPage(BaseModel):
    """One page of indexes; `next_page_token` is null on the last."""

    items: list[IndexDetail]
    next_page_token: str | None = None
    total_size: int | None = None


class PresignedURL(BaseModel):
    """Where an attachment can be fetched, and until when."""

    url: AnyUrl
    expires_at: datetime
    form_fields: dict[str, str] | None = None


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


class ValidationProblem(BaseModel):
    """One thing wrong with a request's arguments."""

    type: str
    loc: list[str | int]
    msg: str
    input: Any = None
    ctx: dict[str, Any] = Field(default_factory=dict)


class ValidationProblems(BaseModel):
    """What is wrong with a request's arguments."""

    detail: list[ValidationProblem] = Field(default_factory=list)
