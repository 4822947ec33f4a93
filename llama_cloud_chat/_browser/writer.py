"""A turn as frames of the AI SDK's UI message stream. Pure: events go in, text comes out.

https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol tells the protocol. Its client takes `start` first and `[DONE]` last,
knows a part by its id only while it is open, and stops reading at an `error`.
"""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import asdict, fields
from typing import Any, TypeAlias

from llama_cloud_chat._errors import ChatError
from llama_cloud_chat._turn.events import (
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
    UserInput,
)
from llama_cloud_chat._turn.json import well_formed
from llama_cloud_chat._turn.sources import Source
from llama_cloud_chat._turn.turn import ToolRun, Turn, TurnReader
from llama_cloud_chat._turn.wording import name_of, pages_of

from .harmless import harmless

Chunk: TypeAlias = dict[str, Any]
Sign: TypeAlias = Callable[[dict[str, Any]], Mapping[str, Any]]

PROVIDER = "llama_cloud"
"""Under which name the protocol's parts hold what is ours alone."""

DONE = "data: [DONE]\n\n"
_NO_RESULT = "The turn ended before the tool's result came."

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def _frame(chunk: Chunk) -> str:
    return f"data: {_encode(chunk)}\n\n"


def _frames(chunks: Iterable[Chunk]) -> str:
    return "".join(map(_frame, chunks))


class UIMessageWriter:
    """Writes one turn.

    Args:
        turn: The turn; it grows while its events are fed.
        sign: Makes the metadata that the page gets of what says where the answer stands.
    """

    def __init__(self, turn: Turn, sign: Sign = dict) -> None:
        self._turn = turn
        self._sign = sign
        self._told: Chunk = {}
        self._open: dict[int, str] = {}  # what kind of part, by the place of its segment
        # The turn may be ahead of the events, so calls and results are joined as they are written.
        self._joined = TurnReader(Turn(turn.prompt))
        self._runs: dict[str, ToolRun] = {}  # the latest of each id
        self._tools: dict[str, Chunk] = {}  # what names it to the page
        self._waiting: dict[str, Chunk] = {}  # of those, the ones without a result
        self._runs_begun = 0
        self._sources_told = 0
        self._finish_reason = "other"

    def start(self) -> str:
        """Return what comes first."""
        return _frame({"type": "start"})

    def feed(self, event: Event) -> str:
        """Return the frames that an event adds, whole; often one, sometimes none."""
        return _frames([*self._stand(), *_WRITERS[type(event)](self, event)])

    def fail(self, error: ChatError) -> str:
        """Return what tells of an error."""
        self._finish_reason = "error"
        return _frames([*self._stand(), *self._close(), {"type": "error", "errorText": harmless(error.message)}])

    def finish(self) -> str:
        """Return what comes last, also after an error."""
        return _frames([*self._stand(), *self._close(), {"type": "finish", "finishReason": self._finish_reason}]) + DONE

    def _stand(self) -> Iterator[Chunk]:
        """Say where the answer stands, as soon as that is known and before any text: a page that stops can go on."""
        turn = self._turn
        told: Chunk = {"session_id": turn.session_id, "turn": turn.number}
        if turn.instructions is not None:
            told["instructions"] = turn.instructions
        if turn.left_out:
            told["left_out"] = turn.left_out
        if told != self._told and turn.session_id is not None:
            self._told = told
            yield {"type": "message-metadata", "messageMetadata": dict(self._sign(told.copy()))}

    def _close(self) -> Iterator[Chunk]:
        """End what is still open."""
        for index in list(self._open):
            yield self._end(index)
        for tool in self._waiting.values():
            yield {"type": "tool-output-error", **tool, "errorText": _NO_RESULT}
        self._waiting.clear()

    def _end(self, index: int) -> Chunk:
        return {"type": f"{self._open.pop(index)}-end", "id": str(index)}

    def _write_delta(self, event: TextDelta | ThinkingDelta) -> Iterator[Chunk]:
        kind = "text" if type(event) is TextDelta else "reasoning"
        if event.index not in self._open:  # new, or gone on with after its end, which a recovered stream may do
            self._open[event.index] = kind
            yield {"type": f"{kind}-start", "id": str(event.index)}
        yield {"type": f"{kind}-delta", "id": str(event.index), "delta": event.content}

    def _write_whole(self, event: Text | Thinking) -> Iterator[Chunk]:
        if event.index in self._open:
            yield self._end(event.index)

    def _write_tool_event(self, event: ToolCall | ToolResult) -> Iterator[Chunk]:
        self._joined.feed(copy(event))
        run = self._joined.turn.run_of(event.call_id)
        is_new = run is not self._runs.get(event.call_id)
        if is_new:
            self._runs[event.call_id] = run
            self._tools[event.call_id] = self._begin(event.call_id)
        tool = self._tools[event.call_id]
        if is_new or isinstance(event, ToolCall):
            yield {
                "type": "tool-input-available",
                **tool,
                "toolName": harmless(run.name),
                "input": harmless(run.arguments),
            }
        if run.has_result:  # said again after a call that came late, which made the page forget it
            self._waiting.pop(tool["toolCallId"], None)
            yield {"type": "tool-output-available", **tool, "output": harmless(run.result), **_picture_of(run)}
        if isinstance(event, ToolResult):
            yield from map(self._source, run.sources)

    def _begin(self, call_id: str) -> Chunk:
        """Name a run: by its call, unless an earlier one had that name."""
        self._runs_begun += 1
        page_id = f"{call_id}#{self._runs_begun}" if call_id in self._tools else call_id
        tool: Chunk = {"toolCallId": harmless(page_id), "providerExecuted": True, "dynamic": True}
        self._waiting[tool["toolCallId"]] = tool
        return tool

    def _source(self, source: Source) -> Chunk:
        self._sources_told += 1
        named: Chunk = {"sourceId": f"source-{self._sources_told}", "title": _title_of(source)}
        ours: Chunk = {"providerMetadata": {PROVIDER: _all_of(source)}}
        if url := _url_of(source):
            return {"type": "source-url", **named, "url": url, **ours}
        media_type = mimetypes.guess_type(source.file_name or "")[0] or "application/octet-stream"
        filename = {"filename": name_of(source)} if source.file_name else {}
        return {"type": "source-document", **named, "mediaType": media_type, **filename, **ours}

    def _write_stop(self, event: Stop) -> Iterator[Chunk]:
        yield from self._close()
        self._finish_reason = "error" if event.is_error else "stop"
        told: Chunk = {"usage": {name: value for name, value in asdict(event.usage).items() if value is not None}}
        if event.skipped_index_ids:
            told["skipped_index_ids"] = event.skipped_index_ids
        yield {"type": "message-metadata", "messageMetadata": harmless(told)}

    def _write_unknown(self, event: UnknownEvent) -> Iterator[Chunk]:
        # The page's `onData` hears of it; its message does not keep it.
        yield {"type": "data-event", "data": harmless(event.raw), "transient": True}

    def _write_nothing(self, _: UserInput) -> Iterator[Chunk]:
        return iter(())


_WRITERS: dict[type, Callable[[UIMessageWriter, Any], Iterable[Chunk]]] = {
    TextDelta: UIMessageWriter._write_delta,
    ThinkingDelta: UIMessageWriter._write_delta,
    Text: UIMessageWriter._write_whole,
    Thinking: UIMessageWriter._write_whole,
    ToolCall: UIMessageWriter._write_tool_event,
    ToolResult: UIMessageWriter._write_tool_event,
    Stop: UIMessageWriter._write_stop,
    UnknownEvent: UIMessageWriter._write_unknown,
    UserInput: UIMessageWriter._write_nothing,
}


def _title_of(source: Source) -> str:
    pages = pages_of(source)
    return f"{name_of(source)}, page {pages}" if pages else name_of(source)


def _url_of(source: Source) -> str | None:
    """Return where a source lies on the web: what its metadata call `url`, or a file name that is an address."""
    for address in (source.metadata.get("url"), source.file_name):
        if isinstance(address, str) and address.startswith(("http://", "https://")):
            return well_formed(address)
    return None


def _picture_of(run: ToolRun) -> Chunk:
    picture = run.image_attachment
    return {} if picture is None else {"providerMetadata": {PROVIDER: {"image_attachment": _coordinates(picture)}}}


def _all_of(source: Source) -> Chunk:
    """Return all that is known of a source, under the names that `Source` gives it."""
    known = {each.name: getattr(source, each.name) for each in fields(source)}
    known["attachments"] = [_coordinates(attachment) for attachment in source.attachments]
    whole: Chunk = harmless({name: value for name, value in known.items() if value not in (None, "", [], {})})
    return whole


def _coordinates(attachment: Attachment) -> Chunk:
    return {name: harmless(value) for name, value in asdict(attachment).items() if value is not None}
