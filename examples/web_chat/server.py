"""A chat in the browser: one small server, which keeps no conversation, and one page, which needs no build.

    python examples/web_chat/server.py

It asks LlamaCloud where `LLAMA_CLOUD_API_KEY` and `LLAMA_CLOUD_INDEX_IDS` are set, else an embedded service over the
documents of `examples/handbook`. The page keeps its conversations itself and sends one along with every question;
each answer in it says in which session and turn it was given.

A page belongs to whoever has it open, so what it says of sessions is not believed: every answer carries a token, which
only this server can make and which only its user can use. Without that, anybody could read and continue anybody's
session by naming it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, Cookie, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, PlainTextResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from itsdangerous import BadSignature, URLSafeSerializer

from llama_cloud_chat import (
    UI_MESSAGE_STREAM_HEADERS,
    AsyncChatClient,
    Attachment,
    ChatError,
    NotFoundError,
    Turn,
    aui_message_stream,
    messages_from_ui,
    ui_message_stream,
)

PAGE = Path(__file__).parent / "page"
PATIENCE, PAUSE = 60.0, 0.5
"""For how many seconds an answer that is still being given is waited for, and how often it is looked for."""
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
PICTURE_HEADERS = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}


class Tokens:
    """Says in which session and turn an answer was given, so that only its user can say it back."""

    def __init__(self, secret: str) -> None:
        self._serializer = URLSafeSerializer(secret, salt="where an answer stands")

    def sign(self, user: str, anchor: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the page gets as an answer's metadata."""
        return {**anchor, "token": self._serializer.dumps([user, anchor])}

    def read(self, user: str, token: object) -> dict[str, Any]:
        """Return where an answer stands; nothing if the token was not made for this user."""
        try:
            owner, anchor = self._serializer.loads(str(token))
        except BadSignature:
            return {}
        return dict(anchor) if owner == user else {}


def create_app(client: AsyncChatClient, index_ids: Sequence[str], secret: str) -> FastAPI:
    """Return the server.

    Args:
        client: Asks the service; closed when the server stops.
        index_ids: What is asked about.
        secret: Signs tokens. With another one, earlier conversations go on in new sessions, given their transcripts.
    """
    tokens = Tokens(secret)

    @contextlib.asynccontextmanager
    async def with_client(_: FastAPI) -> AsyncIterator[None]:
        async with client:
            yield

    app = FastAPI(lifespan=with_client, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(ChatError, _refuse)

    @app.get("/")
    def show_page(user: Annotated[str, Depends(user_of)]) -> FileResponse:
        response = FileResponse(PAGE / "index.html", headers=HEADERS)
        response.set_cookie("user", user, max_age=365 * 86400, httponly=True, samesite="strict")
        return response

    @app.post("/api/chat")
    async def ask(request: Request, user: Annotated[str, Depends(user_of)]) -> StreamingResponse:
        messages = messages_from_ui(
            await request.body(),
            verify=lambda metadata: tokens.read(user, metadata.get("token")),
        )
        frames = aui_message_stream(
            client.converse(messages, index_ids=index_ids),
            sign=lambda anchor: tokens.sign(user, anchor),
        )
        return StreamingResponse(frames, headers=UI_MESSAGE_STREAM_HEADERS)

    @app.post("/api/answer")
    async def tell_again(
        token: Annotated[str, Body(embed=True)], user: Annotated[str, Depends(user_of)]
    ) -> StreamingResponse:
        """Give a page that was reloaded or cut off the whole answer, once it is there."""
        frames = ui_message_stream(
            await _finished(client, _trusted(tokens.read(user, token))),
            sign=lambda anchor: tokens.sign(user, anchor),
        )
        return StreamingResponse(frames, headers=UI_MESSAGE_STREAM_HEADERS)

    @app.get("/api/picture")
    async def show_picture(token: str, name: str, source_id: str, user: Annotated[str, Depends(user_of)]) -> Response:
        """Show a page picture, if the answer has it among its sources."""
        turn = await _turn(client, _trusted(tokens.read(user, token)))
        for attachment in _pictures_of(turn):
            if (attachment.attachment_name, attachment.source_id) == (name, source_id):
                picture = await client.download(attachment)
                return Response(picture, media_type=_media_type(picture), headers=PICTURE_HEADERS)
        raise HTTPException(404, "The answer has no such picture.")

    app.mount("/", StaticFiles(directory=PAGE))
    return app


def user_of(user: Annotated[str | None, Cookie()] = None) -> str:
    """Return who asks. Here a browser is a user; in an app of yours, this is whoever has logged in."""
    return user or secrets.token_urlsafe(16)


def _refuse(_: Request, error: Exception) -> PlainTextResponse:
    return PlainTextResponse(str(error), 404 if isinstance(error, NotFoundError) else 400)


def _trusted(anchor: dict[str, Any]) -> dict[str, Any]:
    if not anchor:
        raise HTTPException(403, "This answer was not given to you.")
    return anchor


async def _turn(client: AsyncChatClient, anchor: Mapping[str, Any]) -> Turn:
    turns, number = (await client.retrieve(anchor["session_id"])).turns, int(anchor["turn"])
    if not 1 <= number <= len(turns):
        raise HTTPException(404, "The question did not arrive.")
    return turns[number - 1]


async def _finished(client: AsyncChatClient, anchor: Mapping[str, Any]) -> Turn:
    turn = await _turn(client, anchor)
    for _ in range(int(PATIENCE / PAUSE)):
        if turn.is_complete:
            break
        await asyncio.sleep(PAUSE)
        turn = await _turn(client, anchor)
    return turn


def _pictures_of(turn: Turn) -> list[Attachment]:
    shown = [attachment for source in turn.sources for attachment in source.attachments]
    return [*shown, *(run.image_attachment for run in turn.tool_calls if run.image_attachment)]


def _media_type(picture: bytes) -> str:
    """Return what a picture is by its first bytes; anything else is not shown."""
    if picture.startswith(b"\x89PNG"):
        return "image/png"
    return "image/jpeg" if picture.startswith(b"\xff\xd8") else "application/octet-stream"


def main() -> None:
    """Serve the page until interrupted."""
    import uvicorn  # noqa: PLC0415  # only to serve it by itself

    with contextlib.ExitStack() as stack:
        if "LLAMA_CLOUD_API_KEY" in os.environ:
            client, index_ids = AsyncChatClient(), os.environ["LLAMA_CLOUD_INDEX_IDS"].split(",")
        else:
            from llama_cloud_chat.local import LocalService  # noqa: PLC0415  # only without a key

            service = stack.enter_context(LocalService(PAGE.parent.parent / "handbook", pace=0.03))
            client, index_ids = AsyncChatClient(service.api_key, base_url=service.base_url), service.index_ids
        secret = os.environ.get("WEB_CHAT_SECRET") or secrets.token_urlsafe(32)
        port = int(os.environ.get("PORT", "8000"))
        print(f"The chat is at http://127.0.0.1:{port}")  # noqa: T201
        uvicorn.run(create_app(client, index_ids, secret), port=port, log_level="warning")


if __name__ == "__main__":
    main()
