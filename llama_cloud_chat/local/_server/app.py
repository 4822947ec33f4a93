"""The HTTP side: routes, statuses and bodies of LlamaCloud's chat API."""

from __future__ import annotations

import hmac
import json
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Annotated, Any, Literal

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Body, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field, StringConstraints
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as ASGIScope

from llama_cloud_chat._version import __version__
from llama_cloud_chat.local._library.pictures import ExpiredLinkError, Pictures, UnknownPictureError

from .faults import Faults, FaultyConnection, Line, fault_of
from .store import (
    BadPageTokenError,
    LockedIndexesError,
    Scope,
    SessionRunningError,
    StorageError,
    Store,
    UnknownSessionError,
)
from .turns import DELETED, RunningTurn, Turns

MAX_INDEXES = 10

_NonBlank = Annotated[str, StringConstraints(min_length=1, pattern=r"\S")]


class CreateBody(BaseModel):
    """What a session is opened with."""

    index_ids: list[str] | None = Field(default=None, max_length=MAX_INDEXES)
    shared_access: Literal["query", "read_only"] | None = None


class TitleBody(BaseModel):
    """What a session is named after."""

    first_message: _NonBlank


class StreamBody(BaseModel):
    """One prompt."""

    index_ids: list[str] = Field(max_length=MAX_INDEXES)
    prompt: _NonBlank
    require_all_indexes: bool = False


class JobMetadata(BaseModel):
    """The account of a session's last run."""

    duration_ms: float | None = None
    error: str | None = None
    export_config_ids: list[str] | None = None
    is_error: bool | None = None
    total_input_tokens: int | None = None
    total_output_tokens: int | None = None
    turns: int | None = None


class SessionSummary(BaseModel):
    """A session without its events."""

    session_id: str
    last_updated_at: str
    generated_title: str | None = None
    index_ids: list[str] | None = None
    shared_access: Literal["query", "read_only"]
    job_metadata: JobMetadata | None = None


class SessionPage(BaseModel):
    """One page of sessions; `next_page_token` is null on the last."""

    items: list[SessionSummary]
    next_page_token: str | None = None


class SessionDetail(SessionSummary):
    """A session with its events."""

    events: list[dict[str, Any]]


class PresignedURL(BaseModel):
    """Where an attachment can be fetched, and until when."""

    url: str
    expires_at: str
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
    ctx: dict[str, Any] | None = None


class ValidationProblems(BaseModel):
    """What is wrong with a request's arguments."""

    detail: list[ValidationProblem]


class ASCIIResponse(JSONResponse):
    """JSON in ASCII: unlike FastAPI's own it can repeat all that came in, lone surrogates and NaN too."""

    def render(self, content: Any) -> bytes:
        """Write `content` as JSON."""
        try:
            text = json.dumps(content, separators=(",", ":"), allow_nan=False)
        except ValueError:
            text = json.dumps(_without_nan(content), separators=(",", ":"))
        return text.encode("ascii")


def build_app(
    *,
    store: Store,
    index_ids: Collection[str],
    turns: Turns,
    pictures: Pictures,
    faults: Faults,
    line: Line,
    api_key: str,
    keep_alive: float,
) -> FastAPI:
    """Return the application over the given parts; it starts and stops none of them."""
    app = FastAPI(
        title="LlamaCloud chat, on this machine",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        default_response_class=ASCIIResponse,
    )
    app.add_exception_handler(RequestValidationError, _answer_validation)
    app.add_exception_handler(StorageError, _answer_storage)
    app.include_router(_session_routes(store, index_ids, turns))
    app.include_router(_stream_route(turns, keep_alive))
    app.include_router(_attachment_route(pictures))
    app.include_router(_picture_route(pictures))
    app.add_middleware(FaultyConnection, faults=faults, line=line)
    # The last one is the first that a request meets.
    app.add_middleware(_RequireKey, api_key=api_key)
    return app


def _scope(
    organization_id: Annotated[str | None, Query()] = None, project_id: Annotated[str | None, Query()] = None
) -> Scope:
    return Scope(organization_id or "", project_id or "")


_InScope = Annotated[Scope, Depends(_scope)]
# The key itself is checked by _RequireKey, before a body is read; this puts it into the OpenAPI description.
_KEY = [Depends(HTTPBearer(auto_error=False, description="The service's api_key."))]
_Responses = dict[int | str, dict[str, Any]]
_UNAUTHORIZED: _Responses = {401: {"model": Problem, "description": "The key is missing or wrong."}}
_INVALID: _Responses = {422: {"model": ValidationProblems, "description": "The arguments are not valid."}}
_NOT_FOUND: _Responses = {404: {"model": Problem, "description": "There is no such session in this project."}}
_BAD_BODY: _Responses = {400: {"model": Problem, "description": "The body cannot be parsed."}}
_NO_ROOM: _Responses = {507: {"model": Problem, "description": "The data file cannot be written to."}}
_CONFLICT: _Responses = {
    409: {"model": Problem, "description": "A turn is running, or the session is bound to other indexes."}
}


def _session_routes(store: Store, known_indexes: Collection[str], turns: Turns) -> APIRouter:
    routes = APIRouter(
        prefix="/api/v1/chat", tags=["chat"], dependencies=_KEY, responses=_UNAUTHORIZED | _INVALID | _NO_ROOM
    )

    @routes.get("", response_model=SessionPage, summary="List sessions, the newest first")
    def list_sessions(
        scope: _InScope,
        page_size: Annotated[int, Query(ge=1, le=1000)] = 50,
        page_token: Annotated[str | None, Query()] = None,
    ) -> Response:
        try:
            return ASCIIResponse(store.page(scope, page_size, page_token))
        except BadPageTokenError:
            raise _invalid(
                "page_token", ["query", "page_token"], "This page token was not given out here", page_token
            ) from None

    @routes.post("", response_model=SessionSummary, responses=_BAD_BODY, summary="Open a session")
    def create(scope: _InScope, body: Annotated[CreateBody | None, Body()] = None) -> Response:
        body = body or CreateBody()
        index_ids = list(dict.fromkeys(body.index_ids or []))
        for index_id in index_ids:
            if index_id not in known_indexes:
                raise _invalid(
                    "unknown_index",
                    ["body", "index_ids", (body.index_ids or []).index(index_id)],
                    f"There is no index {index_id!r} here",
                    index_id,
                )
        return ASCIIResponse(store.create(scope, index_ids, body.shared_access))

    @routes.get("/{session_id}", response_model=SessionDetail, responses=_NOT_FOUND, summary="Read a session")
    def retrieve(session_id: str, scope: _InScope) -> Response:
        with _refusals(session_id):
            summary, events = store.detail(scope, session_id)
        # The events are JSON already; what is kept is what is sent.
        head = json.dumps(summary, separators=(",", ":"))[:-1]
        return Response(f'{head},"events":[{",".join(events)}]}}', media_type="application/json")

    @routes.get(
        "/{session_id}/summary",
        response_model=SessionSummary,
        responses=_NOT_FOUND,
        summary="Read a session's summary",
    )
    def get_summary(session_id: str, scope: _InScope) -> Response:
        with _refusals(session_id):
            return ASCIIResponse(store.summary(scope, session_id))

    @routes.post(
        "/{session_id}/title",
        response_model=SessionSummary,
        responses=_NOT_FOUND | _BAD_BODY,
        summary="Name a session after its first message",
    )
    def set_title(session_id: str, scope: _InScope, body: TitleBody) -> Response:
        with _refusals(session_id):
            return ASCIIResponse(store.set_title(scope, session_id, body.first_message))

    @routes.delete(
        "/{session_id}",
        status_code=204,
        response_class=Response,
        responses=_NOT_FOUND,
        summary="Delete a session",
    )
    async def delete(session_id: str, scope: _InScope) -> None:
        with _refusals(session_id):
            await run_in_threadpool(store.delete, scope, session_id)
        turns.cancel(session_id, DELETED)

    return routes


def _stream_route(turns: Turns, keep_alive: float) -> APIRouter:
    routes = APIRouter(prefix="/api/v1/chat", tags=["chat"], dependencies=_KEY)
    # One server-sent event; its data is an event of the chat as JSON.
    event = {
        "type": "object",
        "properties": {"event": {"enum": ["delta", "message"]}, "data": {"type": "string"}},
        "required": ["event", "data"],
    }
    stream_content = {"text/event-stream": {"schema": event}}

    @routes.post(
        "/{session_id}/messages/stream",
        response_class=EventSourceResponse,
        responses=_UNAUTHORIZED
        | _NOT_FOUND
        | _CONFLICT
        | _INVALID
        | _BAD_BODY
        | _NO_ROOM
        | {200: {"description": "The turn's events, as they are made.", "content": stream_content}},
        summary="Ask, and stream the answer",
    )
    async def stream(session_id: str, scope: _InScope, body: StreamBody, request: Request) -> EventSourceResponse:
        index_ids = list(dict.fromkeys(body.index_ids))
        fault = fault_of(request.scope)
        with _refusals(session_id):
            turn = await turns.begin(scope, session_id, body.prompt, index_ids, body.require_all_indexes, fault)
        return EventSourceResponse(
            _as_sse(turn),
            ping=keep_alive,
            ping_message_factory=lambda: ServerSentEvent(comment="keep-alive"),
        )

    return routes


def _attachment_route(pictures: Pictures) -> APIRouter:
    routes = APIRouter(prefix="/api/v1/beta/attachments", tags=["attachments"], dependencies=_KEY)

    @routes.get(
        "/{attachment_name:path}",
        response_model=PresignedURL,
        responses=_UNAUTHORIZED | _INVALID | {404: {"model": Problem, "description": "There is no such attachment."}},
        summary="Resolve an attachment",
    )
    def get_attachment(attachment_name: str, source_id: str, scope: _InScope, request: Request) -> Response:
        try:
            path, expires = pictures.sign(attachment_name, source_id)
        except UnknownPictureError:
            raise HTTPException(404, f"There is no attachment {attachment_name!r} of {source_id!r} here.") from None
        # As the client named this service: it may be known under more than one address.
        url = str(request.base_url).rstrip("/") + path
        expires_at = datetime.fromtimestamp(expires, timezone.utc).isoformat()
        return ASCIIResponse({"url": url, "expires_at": expires_at, "form_fields": None})

    return routes


def _picture_route(pictures: Pictures) -> APIRouter:
    routes = APIRouter(prefix=Pictures.PATH, tags=["attachments"])
    # So many pictures are made at once; others wait without holding up the rest of the service.
    limit = CapacityLimiter(2)
    picture_content = {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}

    @routes.get(
        "/{source_id}/{attachment_name:path}",
        response_class=Response,
        responses=_INVALID
        | {
            200: {"description": "The picture.", "content": picture_content},
            403: {"model": Problem, "description": "The URL has expired, or was tampered with."},
            404: {"model": Problem, "description": "The file is gone or has changed."},
        },
        summary="Fetch an attachment from its presigned URL; needs no key",
    )
    async def get_picture(source_id: str, attachment_name: str, expires: str, signature: str) -> Response:
        try:
            picture = await to_thread.run_sync(
                pictures.show, attachment_name, source_id, expires, signature, limiter=limit
            )
        except ExpiredLinkError as error:
            raise HTTPException(403, str(error)) from None
        except UnknownPictureError:
            raise HTTPException(404, "The file is gone, or has changed since it was read.") from None
        return Response(picture, media_type="image/jpeg")

    return routes


async def _as_sse(turn: RunningTurn) -> AsyncIterator[bytes]:
    """Write a turn's events as server-sent events; those that are ready together go out together."""
    async for batch in turn.batches():
        yield b"".join(ServerSentEvent(event=item.name, data=item.data).encode() for item in batch)


@contextmanager
def _refusals(session_id: str) -> Iterator[None]:
    """Turn the store's refusals into their statuses."""
    try:
        yield
    except UnknownSessionError:
        raise HTTPException(404, f"There is no session {session_id!r} in this project.") from None
    except SessionRunningError:
        raise HTTPException(409, "A turn of this session is still running; wait for its stop.") from None
    except LockedIndexesError:
        raise HTTPException(409, "The index set of this session is locked; send its own index_ids, or none.") from None


def _invalid(kind: str, loc: list[str | int], message: str, value: Any) -> RequestValidationError:
    return RequestValidationError([{"type": kind, "loc": loc, "msg": message, "input": value}])


async def _answer_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return ASCIIResponse({"detail": jsonable_encoder(error.errors())}, status_code=422)


async def _answer_storage(request: Request, error: Exception) -> Response:
    return ASCIIResponse({"detail": f"The data file cannot be written to: {error}. Make room, and try again."}, 507)


def _without_nan(content: Any) -> Any:
    """Put the names of NaN and the infinities in their place."""
    if isinstance(content, float):
        return content if content - content == 0 else str(content)
    if isinstance(content, Mapping):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_without_nan(value) for value in content]
    return content


class _RequireKey:
    """Answers 401 to whoever does not bring the key, before anything else is looked at."""

    OPEN = ("/openapi.json",)
    # A presigned URL is its own key.
    OPEN_BELOW = (f"{Pictures.PATH}/",)

    def __init__(self, app: ASGIApp, api_key: str) -> None:
        self._app = app
        self._expected = f"Bearer {api_key}".encode()

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_open(scope["path"]) or self._has_key(scope):
            await self._app(scope, receive, send)
            return
        refusal = ASCIIResponse(
            {"detail": "The API key is missing or wrong; send it as 'Authorization: Bearer <key>'."},
            status_code=401,
            headers={"WWW-Authenticate": "Bearer"},
        )
        await refusal(scope, receive, send)

    def _is_open(self, path: str) -> bool:
        return path in self.OPEN or path.startswith(self.OPEN_BELOW)

    def _has_key(self, scope: ASGIScope) -> bool:
        given = Headers(scope=scope).get("authorization", "").encode("latin-1")
        scheme, _, key = given.partition(b" ")
        return hmac.compare_digest(scheme.title() + b" " + key.strip(), self._expected)
