"""Page pictures, fetched through a client and made small enough to be part of a page."""

from __future__ import annotations

import asyncio
import base64
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from llama_cloud_chat import AsyncChatClient, Attachment, ChatClient, ChatError
from llama_cloud_chat._turn.wording import clean_line

MOST_PICTURES = 12
_WIDTH, _HEIGHT = 320, 420
_MOST_PIXELS = 50_000_000
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")

PictureKey: TypeAlias = tuple[str, str]


@dataclass(frozen=True)
class Picture:
    """A page picture.

    Attributes:
        url: The picture itself, as a `data:` URL; empty if there is none.
        problem: Why there is none.
        width: Its width, in pixels.
        height: Its height.
    """

    url: str = ""
    problem: str = ""
    width: int = 0
    height: int = 0


def key_of(attachment: Attachment) -> PictureKey:
    """Return what tells one picture from another."""
    return attachment.source_id, attachment.attachment_name


def fetch_pictures(client: ChatClient, attachments: Sequence[Attachment]) -> dict[PictureKey, Picture]:
    """Fetch pictures; one that cannot be had is a note."""
    return {key_of(attachment): _fetch(client, attachment) for attachment in attachments}


async def afetch_pictures(client: AsyncChatClient, attachments: Sequence[Attachment]) -> dict[PictureKey, Picture]:
    """Fetch pictures, side by side; one that cannot be had is a note."""
    pictures = await asyncio.gather(*(_afetch(client, attachment) for attachment in attachments))
    return dict(zip(map(key_of, attachments), pictures, strict=True))


def _fetch(client: ChatClient, attachment: Attachment) -> Picture:
    try:
        return shrink(client.download(attachment))
    except ChatError as error:
        return Picture(problem=clean_line(error.message))


async def _afetch(client: AsyncChatClient, attachment: Attachment) -> Picture:
    try:
        return await asyncio.to_thread(shrink, await client.download(attachment))
    except ChatError as error:
        return Picture(problem=clean_line(error.message))


def shrink(content: bytes) -> Picture:
    """Return a picture as a thumbnail, drawn anew: nothing of the file but its pixels is kept."""
    from PIL import Image  # noqa: PLC0415  # it is needed for pictures alone

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=_FORMATS)
        if image.width * image.height > _MOST_PIXELS:
            return Picture(problem="It is too large.")
        image.draft("RGB", (_WIDTH, _HEIGHT))
        small = image.convert("RGB")
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        return Picture(problem="It is too large.")
    except (OSError, SyntaxError, ValueError):
        return Picture(problem="It is no picture that can be shown.")
    small.thumbnail((_WIDTH, _HEIGHT))
    file = io.BytesIO()
    small.save(file, "PNG", optimize=True)
    encoded = base64.b64encode(file.getvalue()).decode()
    return Picture(f"data:image/png;base64,{encoded}", width=small.width, height=small.height)
