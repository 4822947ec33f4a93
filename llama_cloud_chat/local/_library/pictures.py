"""Pictures of a PDF's pages, behind URLs that expire.

A picture is an attachment. Whoever has the key is given a URL for it; whoever has the URL, which carries a
signature and an expiry instead of the key, is given the picture, until it expires.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, urlencode

from .documents import stamp_of
from .index import File
from .pdf import BrokenPDFError, render_page

_CACHE_BYTES = 32 * 2**20
_NAME = re.compile(r"screenshots/page_([1-9]\d{0,8})\.jpg")


def picture_name(page: int) -> str:
    """Return the attachment's name of a page's picture."""
    return f"screenshots/page_{page}.jpg"


class ExpiredLinkError(Exception):
    """The URL has expired, or is not one that was given out."""


class UnknownPictureError(Exception):
    """There is no such picture, or not any more."""


class Pictures:
    """Gives out URLs for pictures, and pictures for URLs. Safe to use from any thread.

    Args:
        find: Returns a file by its id.
        seconds: How long a URL is good for.
        clock: Tells the time in seconds since 1970.
    """

    PATH = "/presigned"

    def __init__(
        self, find: Callable[[str], File | None], *, seconds: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._find = find
        self._seconds = seconds
        self._clock = clock
        # New at every start: no URL outlives the service that gave it out.
        self._secret = secrets.token_bytes(32)
        self._cache = _Cache(_CACHE_BYTES)

    def sign(self, name: str, source_id: str) -> tuple[str, float]:
        """Return the path and query of a picture's URL, and when it expires.

        Raises:
            UnknownPictureError: There is no such picture.
        """
        self._look_up(name, source_id)
        expires = int(self._clock() + self._seconds)
        query = urlencode({"expires": expires, "signature": self._signature(name, source_id, str(expires))})
        return f"{self.PATH}/{quote(source_id, safe='')}/{quote(name)}?{query}", float(expires)

    def show(self, name: str, source_id: str, expires: str, signature: str) -> bytes:
        """Return the JPEG behind a URL that `sign` gave out; rendered when it is first asked for.

        Raises:
            ExpiredLinkError: It has expired, or was tampered with.
            UnknownPictureError: The file is gone or has changed.
        """
        expected = self._signature(name, source_id, expires)
        if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
            raise ExpiredLinkError("This URL was not given out here, or not as it is now.")
        if self._clock() >= int(expires):
            raise ExpiredLinkError("This URL has expired; ask for the attachment again.")
        file, page = self._look_up(name, source_id)
        key = (source_id, page)
        picture = self._cache.get(key)
        if picture is None:
            picture = _render(file, page)
            self._cache.put(key, picture)
        return picture

    def _look_up(self, name: str, source_id: str) -> tuple[File, int]:
        match = _NAME.fullmatch(name)
        file = self._find(source_id)
        if match is None or file is None or int(match[1]) > file.pages:
            raise UnknownPictureError
        return file, int(match[1])

    def _signature(self, name: str, source_id: str, expires: str) -> str:
        message = "\n".join((source_id, name, expires)).encode("utf-8", "replace")
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()


def _render(file: File, page: int) -> bytes:
    try:
        # The text was read from another state of the file; its pages may not be these any more.
        if stamp_of(Path(file.path).stat()) != file.stamp:
            raise UnknownPictureError
        return render_page(file.path, page)
    except (OSError, BrokenPDFError):
        raise UnknownPictureError from None


class _Cache:
    """The pictures shown last, as many as the limit holds."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._pictures: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, int]) -> bytes | None:
        with self._lock:
            if key in self._pictures:
                self._pictures.move_to_end(key)
            return self._pictures.get(key)

    def put(self, key: tuple[str, int], picture: bytes) -> None:
        with self._lock:
            self._size += len(picture) - len(self._pictures.pop(key, b""))
            self._pictures[key] = picture
            while self._size > self._limit:
                _, oldest = self._pictures.popitem(last=False)
                self._size -= len(oldest)
