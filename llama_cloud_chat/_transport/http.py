"""httpx, as both clients use it: requests with the key, failures as our errors."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from typing import Any, cast

import httpx

from llama_cloud_chat._config import ClientConfig, can_be_reached, is_loopback
from llama_cloud_chat._errors import APIConnectionError, APITimeoutError, ConfigurationError, ProtocolError
from llama_cloud_chat._httpx import alike, library_of
from llama_cloud_chat._session.operations import Request
from llama_cloud_chat._session.retry import Answer, Failed, read_body, reason_in
from llama_cloud_chat._version import __version__

LOGGER = logging.getLogger("llama_cloud_chat")

_USER_AGENT = f"llama-cloud-chat/{__version__}"
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)

Authenticate = Callable[[httpx.Request], httpx.Request]


def bearer(config: ClientConfig) -> Authenticate:
    """Return what puts the key into a request at the last moment, so that no frame or log holds it before.

    httpx takes the header away from redirects to another host.
    """

    def authenticate(request: httpx.Request) -> httpx.Request:
        request.headers["Authorization"] = f"Bearer {config.api_key.get_secret_value()}"
        return request

    return authenticate


def build_request(
    http: httpx.Client | httpx.AsyncClient, request: Request, config: ClientConfig
) -> tuple[httpx.Request, Authenticate | None]:
    """Return the request and what authenticates it.

    Answers are asked for as they are: a compressed stream would arrive in lumps.
    """
    headers = {"Accept": request.accept, "Accept-Encoding": "identity", "User-Agent": _USER_AGENT}
    extensions = {"timeout": config.httpx_timeout}
    if request.is_foreign:
        _check_foreign_url(request.path, config)
        foreign = http.build_request(request.method, request.path, extensions=extensions)
        foreign.headers.pop("Authorization", None)
        return _with_headers(foreign, headers), None
    scope = {"organization_id": config.organization_id, "project_id": config.project_id}
    query = {**request.query, **{name: value for name, value in scope.items() if value is not None}}
    built = http.build_request(
        request.method,
        config.base_url + request.path,
        params=query or None,
        json=request.body,
        extensions=extensions,
    )
    return _with_headers(built, headers), bearer(config)


def _with_headers(request: httpx.Request, headers: dict[str, str]) -> httpx.Request:
    for name, value in headers.items():  # several times as fast as to have httpx merge them
        request.headers[name] = value
    return request


def _check_foreign_url(url: str, config: ClientConfig) -> None:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if not parsed.scheme or not parsed.host or not can_be_reached(parsed):
        raise ProtocolError("The service gave an attachment's address that is no web address.")
    if parsed.scheme != "https" and not (parsed.scheme == "http" and (config.allow_http or is_loopback(parsed.host))):
        raise ConfigurationError(
            f"The attachment lies at {parsed.scheme}://{parsed.host}, which is not encrypted. Pass allow_http=True "
            "if the network between is yours."
        )


def is_local(request: Request, config: ClientConfig) -> bool:
    """Whether a request is for this machine, so that no proxy has any business with it."""
    if not request.is_foreign:
        return config.is_local
    try:
        return is_loopback(httpx.URL(request.path).host)
    except httpx.InvalidURL:
        return False


def follows_redirects(request: Request) -> bool:
    """Whether a redirect may be followed: never with a body, which it could carry to another host."""
    return request.method == "GET"


def failure_of(error: httpx.HTTPError, config: ClientConfig) -> Failed:
    """Translate what httpx raised."""
    reason = f": {error}" if str(error) else f" ({type(error).__name__})"
    host = _host_of(error, config)
    if isinstance(error, alike(httpx.PoolTimeout)):
        message = (
            f"All connections were in use for {config.timeout.pool:g} seconds. Close streams that nobody reads, or "
            "pass http_client= with larger httpx.Limits."
        )
        return Failed(APITimeoutError(message), was_sent=False, is_final=True)
    if isinstance(error, alike(httpx.TooManyRedirects, httpx.UnsupportedProtocol)):
        failed = APIConnectionError(f"The request to {host} led nowhere{reason}. Check base_url.")
        return Failed(failed, was_sent=False, is_final=True)
    was_sent = not isinstance(error, alike(*_NEVER_SENT))
    if isinstance(error, alike(httpx.TimeoutException)):
        what = f"did not answer for {config.timeout.idle:g} seconds" if was_sent else "could not be reached in time"
        return Failed(APITimeoutError(f"{host} {what}. Try again, or pass a larger timeout."), was_sent)
    if was_sent:
        return Failed(APIConnectionError(f"The connection to {host} broke{reason}."), was_sent)
    return Failed(
        APIConnectionError(
            f"Could not connect to {host}{reason}. Check base_url ({config.base_url}), and that the service is running."
        ),
        was_sent,
    )


def _host_of(error: httpx.HTTPError, config: ClientConfig) -> str:
    """Name where a request went: never its query, which signs a download."""
    try:
        url = error.request.url
    except RuntimeError:
        return config.base_url
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def check_encoding(response: httpx.Response) -> bool:
    """Return whether an answer is compressed, as it may be although it was asked not to.

    Raises:
        ProtocolError: Nobody here can unpack it.
    """
    names = {name.strip().lower() for name in response.headers.get("content-encoding", "").split(",")}
    names -= {"", "identity"}
    if not names <= _known_encodings(library_of(response)):
        raise ProtocolError(
            "The service, or a proxy before it, compresses answers in a way that cannot be read here "
            f"({', '.join(sorted(names))}), although it is asked not to. Turn that off for {response.request.url.host}."
        )
    return bool(names)


@cache
def _known_encodings(library: Any) -> frozenset[str]:
    """Return what httpx, or httpx2, can unpack, which depends on what is installed."""
    with library.Client(transport=library.BaseTransport(), trust_env=False) as http:
        return frozenset(name.strip() for name in http.headers["accept-encoding"].split(","))


class Morsels:
    """A compressed stream in pieces so small that what one unpacks to is small as well.

    A library reads only what is of a kind of its own: see `in_morsels`.

    Attributes:
        is_over: Whether all of it was handed on.
    """

    def __init__(self, stream: httpx.SyncByteStream | httpx.AsyncByteStream) -> None:
        self.is_over = False
        self._stream: Any = stream

    def __iter__(self) -> Iterator[bytes]:
        for packet in self._stream:
            yield from _cut(packet)
        self.is_over = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for packet in self._stream:
            for piece in _cut(packet):
                yield piece
        self.is_over = True

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()


_MORSEL_BYTES = 16


def _cut(packet: bytes) -> Iterator[bytes]:
    return (packet[start : start + _MORSEL_BYTES] for start in range(0, len(packet), _MORSEL_BYTES))


def in_morsels(response: httpx.Response) -> Morsels:
    """Have a compressed response read in small pieces."""
    morsels: Morsels = _morsels_of(library_of(response))(response.stream)
    response.stream = cast("httpx.SyncByteStream", morsels)
    return morsels


@cache
def _morsels_of(library: Any) -> type[Any]:
    return type("Morsels", (Morsels, library.SyncByteStream, library.AsyncByteStream), {})


@contextlib.contextmanager
def unpacking(morsels: Morsels) -> Iterator[None]:
    """Say what is wrong with compressed bytes; that they broke off is said by what they hold."""
    try:
        yield
    except alike(httpx.DecodingError) as error:
        if not morsels.is_over:
            raise ProtocolError(f"The service's answer is compressed, and broken: {error}.") from None


def is_event_stream(response: httpx.Response) -> bool:
    """Whether a 200 is what answers a prompt."""
    return _content_type(response) == "text/event-stream"


def may_say_why(response: httpx.Response) -> bool:
    """Whether a 200 that is no event stream may say what went wrong."""
    return _content_type(response).endswith("json")


def no_stream(response: httpx.Response, answer: Answer | None) -> ProtocolError:
    """Return the error for a 200 that is no event stream, with what it says."""
    reason = reason_in(read_body(answer.body)) if answer is not None else ""
    said = f"It says: {reason}." if reason else "Is base_url really the address of LlamaCloud?"
    return ProtocolError(
        f"The service answered a prompt with {_content_type(response) or 'no content type'!r} instead of an event "
        f"stream. {said}"
    )


def _content_type(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


class BodyBuffer:
    """Collects a whole answer, up to a limit."""

    def __init__(self, config: ClientConfig) -> None:
        self._config = config
        self._limit = config.max_body_bytes
        self._size = 0
        self._chunks: list[bytes] = []

    def add(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            ProtocolError: It is too much.
        """
        self._size += len(chunk)
        if self._size > self._limit:
            raise ProtocolError(
                f"The service's answer holds more than {self._limit} bytes. If that can be right, give the client a "
                "larger max_event_bytes; an answer may hold sixteen times that."
            )
        self._chunks.append(chunk)

    def content(self, *, is_error: bool) -> bytes:
        """Return all of it; from an error, which people are shown, without the key, should the service repeat it."""
        body = b"".join(self._chunks)
        return _without_key(body, self._config.api_key.get_secret_value().encode()) if is_error else body


_SHORT_KEY = 8
"""Fewer bytes stand inside ordinary words as well."""


def _without_key(text: bytes, key: bytes) -> bytes:
    if len(key) >= _SHORT_KEY:
        return text.replace(key, b"**********")
    return re.sub(rb"(?<!\w)" + re.escape(key) + rb"(?!\w)", b"**********", text)
