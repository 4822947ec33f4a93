"""The service's operations: for each, the request that asks for it and how its answer is read. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from llama_cloud_chat._config import check_id, check_index_ids, check_prompt, check_text
from llama_cloud_chat._errors import ConfigurationError, ProtocolError
from llama_cloud_chat._turn.events import Attachment
from llama_cloud_chat._turn.json import read_json

from .answers import IndexPage, PresignedURL, SessionDetail, SessionPage, SessionSummary

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
P = TypeVar("P", SessionPage, IndexPage)

_SESSIONS = "/api/v1/chat"
_INDEXES = "/api/v1/indexes"
_SHARED_ACCESS = ("query", "read_only")


@dataclass(frozen=True)
class Request:
    """A request, but for its host, its key, and the project.

    Attributes:
        is_foreign: Whether `path` is a whole URL that leads elsewhere: no key and no project goes there.
    """

    method: str
    path: str = field(repr=False)
    query: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] | None = None
    accept: str = "application/json"
    is_foreign: bool = False


class Repeating(Enum):
    """What happens if a request is sent twice."""

    HARMLESS = "the second asks or does the same"
    DELETES = "the second finds nothing, which is what was wanted"
    DOUBLES = "the second makes another one"


@dataclass(frozen=True)
class Operation(Generic[T]):
    """One request and how to read its answer.

    Attributes:
        name: What it is called in messages.
        request: What to send.
        read: Reads the answer's body; raises `ProtocolError` if it is not this operation's.
        repeating: What happens if it is sent twice.
    """

    name: str
    request: Request
    read: Callable[[bytes], T]
    repeating: Repeating = Repeating.HARMLESS


def _answer(name: str, model: type[M]) -> Callable[[bytes], M]:
    """Return what reads an answer of the shape of `model`."""

    def read(body: bytes) -> M:
        try:
            return model.model_validate(read_json(body))
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, one['loc'])) or 'answer'}: {one['msg']}" for one in error.errors()[:3]
            )
        except ValueError:
            problems = "it is not JSON"
        raise ProtocolError(
            f"The service's answer to {name} is not what the Chat API gives ({problems}). "
            "Is base_url really the address of LlamaCloud?"
        )

    return read


def _nothing(_: bytes) -> None:
    return None


def _as_it_is(body: bytes) -> bytes:
    return body


def _segment(value: str) -> str:
    """Percent-encode `value` as one segment of a path; dots too where they alone would mean another folder."""
    return "%2E" * len(value) if value in {".", ".."} else quote(value, safe="")


def _session_path(session_id: str, *rest: str) -> str:
    return "/".join([_SESSIONS, _segment(check_id("session_id", session_id)), *rest])


@dataclass(frozen=True)
class PageOperation(Operation[P]):
    """One page of a list.

    Attributes:
        seen: The tokens of the pages so far.
    """

    seen: set[str] = field(default_factory=set)


def list_page(page_size: int | None) -> PageOperation[SessionPage]:
    """List the sessions as the service sorts them: the first page."""
    return PageOperation("list", Request("GET", _SESSIONS, _page_query(page_size)), _answer("list", SessionPage))


def index_page(page_size: int | None) -> PageOperation[IndexPage]:
    """List the indexes: the first page."""
    return PageOperation("indexes", Request("GET", _INDEXES, _page_query(page_size)), _answer("indexes", IndexPage))


def _page_query(page_size: int | None) -> dict[str, str]:
    if page_size is not None and (isinstance(page_size, bool) or not isinstance(page_size, int) or page_size < 1):
        raise ConfigurationError(f"page_size must be a whole number of at least 1, not {page_size!r}.")
    return {} if page_size is None else {"page_size": str(page_size)}


def next_page(page: PageOperation[P], answer: P) -> PageOperation[P] | None:
    """List what follows; None after the last page.

    Raises:
        ProtocolError: The service leads in a circle.
    """
    token = answer.next_page_token
    if not token:
        return None
    if token in page.seen:
        raise ProtocolError(
            f"The service's answers to {page.name} do not end: a page names an earlier one as the next."
        )
    page.seen.add(token)
    return replace(page, request=replace(page.request, query={**page.request.query, "page_token": token}))


def create(index_ids: Sequence[str] | None, shared_access: str | None) -> Operation[SessionSummary]:
    """Create a session. An empty list of indexes means an unbound one."""
    body: dict[str, Any] = {}
    if ids := check_index_ids(index_ids):
        body["index_ids"] = ids
    if shared_access is not None:
        if shared_access not in _SHARED_ACCESS:
            raise ConfigurationError(f"shared_access must be one of {_SHARED_ACCESS}, not {shared_access!r}.")
        body["shared_access"] = shared_access
    return Operation(
        "create", Request("POST", _SESSIONS, body=body), _answer("create", SessionSummary), Repeating.DOUBLES
    )


def retrieve(session_id: str) -> Operation[SessionDetail]:
    """Read a session with its history."""
    return Operation("retrieve", Request("GET", _session_path(session_id)), _answer("retrieve", SessionDetail))


def get_summary(session_id: str) -> Operation[SessionSummary]:
    """Read a session without its history."""
    return Operation(
        "get_summary", Request("GET", _session_path(session_id, "summary")), _answer("get_summary", SessionSummary)
    )


def set_title(session_id: str, first_message: str) -> Operation[SessionSummary]:
    """Have the service title a session after its first message."""
    if not check_text("first_message", first_message).strip():
        raise ConfigurationError("first_message is empty. Give the session's first prompt.")
    request = Request("POST", _session_path(session_id, "title"), body={"first_message": first_message})
    return Operation("set_title", request, _answer("set_title", SessionSummary))


def delete(session_id: str) -> Operation[None]:
    """Delete a session."""
    request = Request("DELETE", _session_path(session_id), accept="*/*")
    return Operation("delete", request, _nothing, Repeating.DELETES)


def get_attachment(attachment: Attachment) -> Operation[PresignedURL]:
    """Have an attachment's download URL made."""
    name = _segment(check_id("attachment_name", attachment.attachment_name))
    query = {"source_id": check_id("source_id", attachment.source_id)}
    return Operation(
        "get_attachment",
        Request("GET", f"/api/v1/beta/attachments/{name}", query),
        _answer("get_attachment", PresignedURL),
    )


def download(url: PresignedURL) -> Operation[bytes]:
    """Fetch the bytes behind a presigned URL."""
    return Operation("download", Request("GET", url.url, accept="*/*", is_foreign=True), _as_it_is)


def stream(session_id: str, prompt: str, index_ids: Sequence[str], require_all_indexes: bool | None) -> Request:
    """Ask a prompt; the answer is an event stream."""
    body: dict[str, Any] = {"index_ids": list(index_ids), "prompt": check_prompt(prompt)}
    if require_all_indexes is not None:
        body["require_all_indexes"] = require_all_indexes
    return Request("POST", _session_path(session_id, "messages", "stream"), body=body, accept="text/event-stream")
