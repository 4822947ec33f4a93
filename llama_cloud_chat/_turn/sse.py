"""Server-Sent Events: from bytes, however they are cut into packets, to messages.

Cutting the stream into messages is ours: it bounds what one message may hold, and the message that nearly all are, one
plain delta, goes from bytes to JSON without ever being text, which takes a third of the time that httpx-sse takes for
it. Any other message is interpreted by httpx-sse. The rules are those of
https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation; of the fields, only
`event` and `data` matter here, for a turn cannot be resumed by the id of its last event.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from httpx_sse._decoders import SSEDecoder

from llama_cloud_chat._errors import ProtocolError

_BOM = b"\xef\xbb\xbf"
# What nearly every packet is while a service sends what it has at once.
_is_one_delta = re.compile(rb"event: delta\ndata: ([^\r\n]+)\n\n").fullmatch
_has_data = re.compile(rb"\ndata(?:[:\n]|\Z)").search
# Each byte a character of its own, and back again: what is no UTF-8 is for the reader of JSON to judge.
_BYTES = "latin-1"


class Named(bytes):
    """A message's data, with the message's name.

    Attributes:
        name: What `event:` says; `message` where it says nothing.
    """

    name: bytes

    def __new__(cls, data: bytes, name: bytes) -> Named:
        message = super().__new__(cls, data)
        message.name = name
        return message


class MessageDecoder:
    """Cuts one event stream into its messages.

    Args:
        max_bytes: The most that one message may hold.

    Attributes:
        failure: What is wrong with the bytes after the messages that were last returned.
    """

    def __init__(self, max_bytes: int) -> None:
        self.failure: ProtocolError | None = None
        self._max_bytes = max_bytes
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._head: bytes | None = b""
        self._after_cr = False
        self._interpreter = SSEDecoder()

    def feed(self, chunk: bytes) -> Sequence[bytes]:
        """Take the next bytes; return the data of each message that they complete, a `Named` unless it is a delta.

        A message without data is none, and one that the connection's end leaves incomplete is never returned. A
        message that is larger than allowed ends the stream: it is told by `failure`, for the messages before it
        count.
        """
        if not self._pending and self._head is None and len(chunk) <= self._max_bytes:
            delta = _is_one_delta(chunk)
            if delta is not None:
                return delta.groups()
        return self._cut(chunk)

    def _cut(self, chunk: bytes) -> list[bytes]:
        if self._head is not None or self._after_cr or b"\r" in chunk:
            chunk = self._normalise(chunk)
        if self._pending:
            if b"\n\n" not in chunk and not (chunk.startswith(b"\n") and self._pending[-1].endswith(b"\n")):
                self._keep(chunk)
                return []
            chunk = b"".join([*self._pending, chunk])
            self._pending.clear()
            self._pending_bytes = 0
        blocks = chunk.split(b"\n\n")
        rest = blocks.pop()
        is_large = len(chunk) > self._max_bytes
        del chunk  # the blocks are a copy, and may be large
        if is_large:
            blocks = self._up_to_the_first_oversized(blocks)
        messages: list[bytes] = []
        for block in blocks:
            head, _, data = block.partition(b"\ndata: ")
            if head == b"event: delta" and data and b"\n" not in data:
                messages.append(data)
            elif _has_data(b"\n" + block):
                messages.append(self._interpret(block))
        if rest and self.failure is None:
            self._keep(rest)
        return messages

    def _interpret(self, block: bytes) -> Named:
        """Read a message of any shape: fields in any order, several data lines, comments, other fields."""
        *_, message = map(self._interpreter.decode, [*block.decode(_BYTES).split("\n"), ""])
        assert message is not None
        return Named(message.data.encode(_BYTES), message.event.encode(_BYTES))

    def _normalise(self, chunk: bytes) -> bytes:
        """Make every line end a LF, and drop the byte order mark that may open the stream."""
        if self._head is not None:
            chunk = self._head + chunk
            if len(chunk) < len(_BOM) and _BOM.startswith(chunk):
                self._head = chunk
                return b""
            self._head = None
            chunk = chunk.removeprefix(_BOM)
        if not chunk:
            return chunk
        starts_inside_crlf = self._after_cr and chunk.startswith(b"\n")
        self._after_cr = chunk.endswith(b"\r")
        if starts_inside_crlf:
            chunk = chunk[1:]
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _keep(self, rest: bytes) -> None:
        if rest:
            self._pending.append(rest)
            self._pending_bytes += len(rest)
            self._check_size(self._pending_bytes)

    def _up_to_the_first_oversized(self, blocks: list[bytes]) -> list[bytes]:
        for place, block in enumerate(blocks):
            self._check_size(len(block))
            if self.failure is not None:
                return blocks[:place]
        return blocks

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            self.failure = ProtocolError(
                f"The service sent an event of more than {self._max_bytes} bytes. "
                "If that can be right, give the client a larger max_event_bytes."
            )
