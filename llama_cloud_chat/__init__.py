"""LlamaCloud's chat agent: sessions, and turns that stream what the agent thinks, does and says.

    from llama_cloud_chat import ChatClient

    with ChatClient() as client:
        session = client.create(index_ids=["idx-..."])
        for text in session.stream("What changed in the third quarter?").text_deltas():
            print(text, end="")

This package knows no framework; `langchain_ext` and `llama_index_ext` stand on it. `llama_cloud_chat.local` is the
same service on this machine.
"""

from . import _moved
from ._async_bulk_crew import abulk
from ._async_client import AsyncChatClient, AsyncChatSession
from ._async_stream import AsyncTurnStream
from ._browser.reader import messages_from_ui
from ._browser.shells import UI_MESSAGE_STREAM_HEADERS, aui_message_stream, ui_message_stream
from ._bulk.result import BulkResult
from ._bulk_crew import bulk
from ._client import ChatClient, ChatSession
from ._client_pair import ClientPair
from ._config import (
    DEFAULT_FRESHNESS,
    DEFAULT_MAX_EVENT_BYTES,
    DEFAULT_MAX_RETRIES,
    DEFAULT_RECOVERY_TIMEOUT,
    ClientConfig,
    Timeouts,
)
from ._errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    ChatError,
    ConfigurationError,
    ConflictError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    PromptTooLongError,
    ProtocolError,
    RateLimitError,
    SessionBusyError,
    StreamInterruptedError,
    StructuredOutputError,
    TurnFailedError,
    UnprocessableEntityError,
)
from ._httpx import AsyncHttpClient, HttpClient, HttpTimeout
from ._ledgers.memory import MemoryLedger
from ._ledgers.postgres import PostgresLedger
from ._ledgers.sqlite import SqliteLedger
from ._session.answers import IndexSummary, JobMetadata, PresignedURL, SessionDetail, SessionSummary
from ._session.conversation import Anchor, ConverseOptions, Message, media_mark
from ._session.folding import render_transcript
from ._session.ledger import Hold, Ledger, Note, SessionCount
from ._stream import TurnStream
from ._structured.output import StructuredAnswer, StructuredOutput, StructuredPlay
from ._structured_stream import AnswerDraft
from ._turn.events import (
    Attachment,
    Event,
    Stop,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolResult,
    UnknownEvent,
    Usage,
    UserInput,
)
from ._turn.sources import Source
from ._turn.turn import ToolRun, Turn
from ._version import __version__

_moved.keep_former_names()

__all__ = [  # noqa: RUF022  # by the alphabet
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "Anchor",
    "AnswerDraft",
    "AsyncChatClient",
    "AsyncChatSession",
    "AsyncHttpClient",
    "AsyncTurnStream",
    "Attachment",
    "AuthenticationError",
    "BulkResult",
    "ChatClient",
    "ChatError",
    "ChatSession",
    "ClientConfig",
    "ClientPair",
    "ConfigurationError",
    "ConflictError",
    "ConverseOptions",
    "DEFAULT_FRESHNESS",
    "DEFAULT_MAX_EVENT_BYTES",
    "DEFAULT_MAX_RETRIES",
    "DEFAULT_RECOVERY_TIMEOUT",
    "Event",
    "Hold",
    "HttpClient",
    "HttpTimeout",
    "IndexSummary",
    "InternalServerError",
    "JobMetadata",
    "Ledger",
    "MemoryLedger",
    "Message",
    "NotFoundError",
    "Note",
    "PermissionDeniedError",
    "PostgresLedger",
    "PresignedURL",
    "PromptTooLongError",
    "ProtocolError",
    "RateLimitError",
    "SessionBusyError",
    "SessionCount",
    "SessionDetail",
    "SessionSummary",
    "Source",
    "SqliteLedger",
    "Stop",
    "StreamInterruptedError",
    "StructuredAnswer",
    "StructuredOutput",
    "StructuredOutputError",
    "StructuredPlay",
    "Text",
    "TextDelta",
    "Thinking",
    "ThinkingDelta",
    "Timeouts",
    "ToolCall",
    "ToolResult",
    "ToolRun",
    "Turn",
    "TurnFailedError",
    "TurnStream",
    "UI_MESSAGE_STREAM_HEADERS",
    "UnknownEvent",
    "UnprocessableEntityError",
    "Usage",
    "UserInput",
    "__version__",
    "abulk",
    "aui_message_stream",
    "bulk",
    "media_mark",
    "messages_from_ui",
    "render_transcript",
    "ui_message_stream",
]
