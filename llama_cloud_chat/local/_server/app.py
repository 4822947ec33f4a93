"""The HTTP side: routes, statuses and bodies of LlamaCloud's chat API."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Annotated, Any
from uuid import UUID

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Body, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as ASGIScope

from llama_cloud_chat._version import __version__
from llama_cloud_chat.local._library.pictures import ExpiredLinkError, Pictures, UnknownPictureError

from .faults import Faults, FaultyConnection, Line, fault_of
from .indexes import Catalogue, UnknownIndexError
from .pages import BadPageTokenError
from .shapes import (
    CreateBody,
    IndexDetail,
    IndexPage,
    PresignedURL,
    Problem,
    SessionDetail,
    SessionPage,
    SessionSummary,
    StreamBody,
    TitleBody,
    ValidationProblems,
    stream_body,
)
from .store import (
    LockedIndexesError,
    Scope,
    SessionRunningError,
    StorageError,
    Store,
    UnknownSessionError,
)
from .turns import DELETED, RunningTurn, Turns

_PAGE_SIZE = 50
_LARGEST_PAGE = 1000


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
    catalogue: Catalogue,
    turns: Turns,
    pictures: Pictures,
    faults: Faults,
    line: Line,
    api_key: str,
    keep_alive: float,
    max_prompt_chars: int | None,
    titles: bool,
) -> FastAPI:
    """Return the application over the given parts; it starts and stops none of them."""
    app = FastAPI(
        title="LlamaCloud chat, on this machine",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        default_response_class=ASCIIResponse,
        # What has a default need not be in an answer either: that is how the description is published.
        separate_input_output_schemas=False,
    )
    app.add_exception_handler(RequestValidationError, _answer_validation)
    app.add_exception_handler(StorageError, _answer_storage)
    app.include_router(_session_routes(store, catalogue, turns))
    if titles:
        app.include_router(_title_route(store))
    app.include_router(_stream_route(turns, keep_alive, stream_body(max_prompt_chars)))
    app.include_router(_index_routes(catalogue))
    app.include_router(_attachment_route(pictures))
    app.include_router(_picture_route(pictures))
    app.add_middleware(FaultyConnection, faults=faults, line=line)
    # The last one is the first that a request meets.
    app.add_middleware(_RequireKey, api_key=api_key)
    return app


def _scope(
    organization_id: Annotated[UUID | None, Query()] = None, project_id: Annotated[UUID | None, Query()] = None
) -> Scope:
    return Scope(str(organization_id or ""), str(project_id or ""))


_InScope = Annotated[Scope, Depends(_scope)]
_PageSize = Annotated[int | None, Query(ge=1, le=_LARGEST_PAGE)]
_PageToken = Annotated[str | None, Query()]
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


def _session_routes(store: Store, catalogue: Catalogue, turns: Turns) -> APIRouter:
    routes = APIRouter(
        prefix="/api/v1/chat", tags=["chat"], dependencies=_KEY, responses=_UNAUTHORIZED | _INVALID | _NO_ROOM
    )

    @routes.get("", response_model=SessionPage, summary="List sessions, the newest first")
    def list_sessions(scope: _InScope, page_size: _PageSize = None, page_token: _PageToken = None) -> Response:
        with _page_of(page_token):
            return ASCIIResponse(store.page(scope, page_size or _PAGE_SIZE, page_token))

    @routes.post("", response_model=SessionSummary, status_code=201, responses=_BAD_BODY, summary="Open a session")
    def create(scope: _InScope, body: Annotated[CreateBody | None, Body()] = None) -> Response:
        index_ids = (body.index_ids if body else None) or []
        for unknown in catalogue.missing(index_ids):
            place = index_ids.index(unknown)
            raise _invalid("unknown_index", ["body", "index_ids", place], catalogue.explain(unknown), unknown)
        summary = store.create(scope, list(dict.fromkeys(index_ids)), body.shared_access if body else None)
        return ASCIIResponse(summary, status_code=201)

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


def _title_route(store: Store) -> APIRouter:
    """The operation that the service once had."""
    routes = APIRouter(
        prefix="/api/v1/chat", tags=["chat"], dependencies=_KEY, responses=_UNAUTHORIZED | _INVALID | _NO_ROOM
    )

    @routes.post(
        "/{session_id}/title",
        response_model=SessionSummary,
        responses=_NOT_FOUND | _BAD_BODY,
        summary="Name a session after its first message",
    )
    def set_title(session_id: str, scope: _InScope, body: TitleBody) -> Response:
        with _refusals(session_id):
            return ASCIIResponse(store.set_title(scope, session_id, body.first_message))

    return routes


class _EventStream(EventSourceResponse):
    """An event stream that ends with its turn, which this server sees to when it stops.

    sse-starlette ends all streams of a process once any uvicorn in it was told to stop, for good.
    """

    @staticmethod
    async def _listen_for_exit_signal() -> None:
        await asyncio.Event().wait()


def _stream_route(turns: Turns, keep_alive: float, body_shape: type[StreamBody]) -> APIRouter:
    routes = APIRouter(prefix="/api/v1/chat", tags=["chat"], dependencies=_KEY)
    # One server-sent event; its data is an event of the chat as JSON.
    event = {
        "type": "object",
        "properties": {"event": {"enum": ["delta", "message"]}, "data": {"type": "string"}},
        "required": ["event", "data"],
    }
    stream_content = {"text/event-stream": {"schema": event}}

    async def stream(session_id: str, scope: _InScope, body: StreamBody, request: Request) -> EventSourceResponse:
        fault = fault_of(request.scope)
        with _refusals(session_id):
            turn = await turns.begin(scope, session_id, body.prompt, body.index_ids, body.require_all_indexes, fault)
        return _EventStream(
            _as_sse(turn),
            ping=keep_alive,
            ping_message_factory=lambda: ServerSentEvent(comment="keep-alive"),
        )

    # Here, not above: how long a prompt may be is known only now.
    stream.__annotations__["body"] = body_shape
    routes.post(
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
    )(stream)
    return routes


def _index_routes(catalogue: Catalogue) -> APIRouter:
    routes = APIRouter(
        prefix="/api/v1/indexes", tags=["indexes"], dependencies=_KEY, responses=_UNAUTHORIZED | _INVALID
    )

    @routes.get("", response_model=IndexPage, summary="List indexes, in the order of the service's docs")
    def list_indexes(
        scope: _InScope,
        source_directory_id: Annotated[str | None, Query()] = None,
        page_size: _PageSize = None,
        page_token: _PageToken = None,
    ) -> Response:
        with _page_of(page_token):
            page = catalogue.page(scope.project_id, source_directory_id, page_size or _PAGE_SIZE, page_token)
            return ASCIIResponse(page)

    @routes.get(
        "/{index_id}",
        response_model=IndexDetail,
        responses={404: {"model": Problem, "description": "There is no such index."}},
        summary="Read about an index",
    )
    def get_index(index_id: str, scope: _InScope) -> Response:
        try:
            return ASCIIResponse(catalogue.detail(scope.project_id, index_id))
        except UnknownIndexError as error:
            raise HTTPException(404, str(error)) from None

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


@contextmanager
def _page_of(token: str | None) -> Iterator[None]:
    """Turn the refusal of a page's token into its status."""
    try:
        yield
    except BadPageTokenError:
        raise _invalid("page_token", ["query", "page_token"], "This page token was not given out here", token) from None


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
