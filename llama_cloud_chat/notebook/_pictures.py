"""Page pictures, fetched through a client and made small enough to be part of a page."""

from __future__ import annotations

import asyncio
import base64
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from llama_cloud_chat import AsyncChatClient, Attachment, ChatClient, ChatError
from llama_cloud_chat._turn.wording import clean_line

if TYPE_CHECKING:
    from PIL import Image

MOST_PICTURES = 12
_WIDTH, _HEIGHT = 960, 1360
"""So large a page can be read; it is shown small until somebody opens it."""

_SMALL_WIDTH, _SMALL_HEIGHT = 150, 200
_MOST_BYTES = 100_000
"""Of one picture: all of them together pass through Jupyter at once, which drops what is more than 3 MB."""

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

    @property
    def small(self) -> tuple[int, int]:
        """The width and height at which it is shown first, in pixels."""
        scale = min(_SMALL_WIDTH / self.width, _SMALL_HEIGHT / self.height, 1)
        return max(1, round(self.width * scale)), max(1, round(self.height * scale))


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
    """Return a picture made small enough, drawn anew: nothing of the file but its pixels is kept."""
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
    written = _write(small, quality=80)
    while len(written) > _MOST_BYTES:
        small.thumbnail((small.width * 3 // 4, small.height * 3 // 4))
        written = _write(small, quality=60)
    encoded = base64.b64encode(written).decode()
    return Picture(f"data:image/webp;base64,{encoded}", width=small.width, height=small.height)


def _write(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "WEBP", quality=quality)
    return file.getvalue()
