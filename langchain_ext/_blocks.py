"""A turn as content blocks: read piece by piece from its events, live or afterwards, and kept beside the text.

An answer's `content` is its text, one string, unless `output_version="v1"` asks for blocks. The other blocks then
lie in `additional_kwargs`, each text block among them as a marker that says where in the string it starts;
`content_blocks` puts both together again. So it does with the passages of a tool's result: they stand once in a
message, in its `response_metadata["sources"]`, and the result that is kept points there. Numbers in `index` make pieces
of one block find each other when chunks are added up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

from langchain_core.messages import AIMessage

from llama_cloud_chat import (
    Attachment,
    Event,
    Source,
    Stop,
    Text,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolResult,
    ToolRun,
    Turn,
)

BLOCKS_KEY = "llama_cloud_blocks"
LENGTH_KEY = "llama_cloud_text_length"
"""How long the text was, so that one that was edited since is not cut where the old one was."""

_PASSAGE = "llama_cloud_source"
"""What stands for a passage: which of the sources of its result holds it."""

_SOURCE_COUNT = "sources"
"""How many sources a result has whose passages are not in it."""

Block: TypeAlias = dict[str, Any]


def text_block(text: str, index: int) -> Block:
    """Return a text block, or a piece of one."""
    return {"type": "text", "text": text, "index": index}


def reasoning_block(reasoning: str, index: int) -> Block:
    """Return a reasoning block, or a piece of one."""
    return {"type": "reasoning", "reasoning": reasoning, "index": index}


def call_block(call: ToolCall, index: int) -> Block:
    """Return the block that reports a call of one of the agent's tools."""
    return {"type": "server_tool_call", "id": call.call_id, "name": call.name, "args": call.arguments, "index": index}


def result_block(result: ToolResult, index: int) -> Block:
    """Return the block that reports a tool's result; the pictures it names are in `extras`."""
    return {
        "type": "server_tool_result",
        "tool_call_id": result.call_id,
        "status": "success",
        "output": result.result,
        "extras": _extras(result),
        "index": index,
    }


def _extras(result: ToolResult) -> dict[str, Any]:
    extras: dict[str, Any] = {"name": result.name}
    if result.image_attachment is not None:
        extras["image_attachment"] = _coordinates(result.image_attachment)
    sources = _sources_of(result.call_id, result.result)
    attachments = [_coordinates(attachment) for source in sources for attachment in source.attachments]
    if attachments:
        extras["attachments"] = attachments
    return extras


def _sources_of(call_id: str, result: Any) -> list[Source]:
    """Return what a result holds, but for what only its call's arguments tell."""
    return ToolRun(call_id, "", result=result).sources


def _coordinates(attachment: Attachment) -> dict[str, str]:
    return {name: value for name, value in asdict(attachment).items() if value is not None}


class BlockReader:
    """Turns events into pieces of content blocks, numbered in the order in which the blocks appear."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}

    def feed(self, event: Event) -> Sequence[Block]:
        """Return the pieces that an event adds."""
        make = _MAKERS.get(type(event))
        return () if make is None else (make(event, self.number(event.index)),)  # type: ignore[union-attr]

    def flush(self) -> Sequence[Block]:
        """Return what was held back."""
        return ()

    def number(self, position: int) -> int:
        """Return the number of the block that stands at `position` among the turn's events."""
        return self._numbers.setdefault(position, len(self._numbers))


_MAKERS: dict[type, Callable[[Any, int], Block]] = {
    TextDelta: lambda delta, index: text_block(delta.content, index),
    ThinkingDelta: lambda delta, index: reasoning_block(delta.content, index),
    ToolCall: call_block,
    ToolResult: result_block,
}


class CuttingReader(BlockReader):
    """Ends with the text before the first stop sequence, the one that is complete first, as models have it.

    What may be the beginning of one is held back, so how the text is cut into pieces makes no difference. A sequence is
    looked for within each segment, blank line included.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        super().__init__()
        self._stop = [sequence for sequence in stop if sequence]
        self._is_done = False
        self._position = -1
        self._held = ""

    def feed(self, event: Event) -> Sequence[Block]:
        """Return the pieces that an event adds, and those it shows to be no stop sequence."""
        if self._is_done:
            return ()
        held = self.flush() if self._is_over(event) else ()
        return [*held, *(self._cut(event) if isinstance(event, TextDelta) else super().feed(event))]

    def flush(self) -> Sequence[Block]:
        """Return what was held back; it turned out to begin no stop sequence."""
        held, self._held = self._held, ""
        return [text_block(held, self.number(self._position))] if held else ()

    def _is_over(self, event: Event) -> bool:
        """Whether the segment that holds something back is complete: the event says so, or begins another block."""
        if isinstance(event, Text):
            return event.index == self._position
        return isinstance(event, Stop) or (type(event) in _MAKERS and self._begins_block(event.index))  # type: ignore[union-attr]

    def _begins_block(self, position: int) -> bool:
        return position != self._position and position not in self._numbers

    def _cut(self, delta: TextDelta) -> Sequence[Block]:
        self._position = delta.index
        text = self._held + delta.content
        end = self._find_stop(text)
        if end is not None:
            self._is_done, self._held = True, ""
        else:
            end = len(text) - self._suspicious(text)
            self._held = text[end:]
        return [text_block(text[:end], self.number(delta.index))] if end else ()

    def _find_stop(self, text: str) -> int | None:
        """Return where the stop sequence begins that is complete first; None if there is none.

        Which one begins first is not asked: it could be decided only once more of the text is there.
        """
        found = [(start + len(one), start) for one in self._stop if (start := text.find(one)) >= 0]
        return min(found)[1] if found else None

    def _suspicious(self, text: str) -> int:
        """Return how many characters at the end of `text` may begin a stop sequence."""
        longest = max((len(sequence) for sequence in self._stop), default=1) - 1
        for count in range(min(longest, len(text)), 0, -1):
            if any(sequence.startswith(text[-count:]) for sequence in self._stop):
                return count
        return 0


def block_reader(stop: Sequence[str] | None) -> BlockReader:
    """Return what reads a turn up to the first of the `stop` sequences, if there are any."""
    return CuttingReader(stop) if stop else BlockReader()


def blocks_of(turn: Turn, stop: Sequence[str] | None = None) -> list[Block]:
    """Return the blocks of a turn, in event order, up to the first of the `stop` sequences."""
    reader = block_reader(stop)
    blocks: dict[int, Block] = {}
    for piece in (*(piece for event in turn.deltas() for piece in reader.feed(event)), *reader.flush()):
        begun = blocks.setdefault(piece["index"], piece)
        if begun is not piece:  # the rest of a text whose end could have been a stop sequence
            begun["text"] += piece["text"]
    return list(blocks.values())


def text_marker(index: int, start: int) -> Block:
    """Return what stands for a text block whose text is in `content`, from character `start` on."""
    return {"type": "text", "index": index, "start": start}


def without_passages(block: Block) -> Block:
    """Return a result's block as one that points to the message's sources where it held their passages."""
    if block["type"] != "server_tool_result":
        return block
    passages = [source.text for source in _sources_of(block["tool_call_id"], block["output"])]
    if not passages:
        return block
    places = {text: place for place, text in enumerate(passages)}

    def point(content: Any) -> Any:
        return {_PASSAGE: places[content]} if isinstance(content, str) and content in places else content

    return {**block, "output": _with_contents(block["output"], point), _SOURCE_COUNT: len(passages)}


def _with_passages(blocks: Sequence[Block], sources: Any) -> list[Block]:
    """Return blocks with the passages in them again, as far as the message still has its sources."""
    if not any(_SOURCE_COUNT in block for block in blocks):
        return [*blocks]
    unread: dict[Any, list[Any]] = {}
    for source in sources if isinstance(sources, list) else ():
        if isinstance(source, dict):
            unread.setdefault(source.get("tool_call_id"), []).append(source.get("text"))
    return [_with_its_passages(block, unread) if _SOURCE_COUNT in block else block for block in blocks]


def _with_its_passages(block: Block, unread: dict[Any, list[Any]]) -> Block:
    count = block[_SOURCE_COUNT]
    found = unread.get(block["tool_call_id"], [])
    passages = found[:count]
    del found[:count]  # should the agent have used an id twice

    def read(content: Any) -> Any:
        place = content.get(_PASSAGE) if isinstance(content, dict) else None
        return passages[place] if isinstance(place, int) and place < len(passages) else content

    whole = {name: value for name, value in block.items() if name != _SOURCE_COUNT}
    return {**whole, "output": _with_contents(block["output"], read)}


def _with_contents(output: Any, change: Callable[[Any], Any]) -> Any:
    """Return what a tool brought with its contents changed, wherever the service's retrieval tools have them."""
    if not isinstance(output, dict):
        return output
    changed = _with_content(output, change)
    for name in ("results", "items"):
        items = output.get(name)
        if isinstance(items, list):
            changed[name] = [_with_content(item, change) if isinstance(item, dict) else item for item in items]
    return changed


def _with_content(item: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    return {**item, "content": change(item["content"])} if "content" in item else {**item}


def fold(blocks: Sequence[Block]) -> tuple[str, list[Block]]:
    """Return the text of blocks, and what is kept beside it: the others, and a marker for each that is text."""
    texts: list[str] = []
    kept: list[Block] = []
    length = 0
    for block in blocks:
        if block["type"] == "text":
            kept.append(text_marker(block["index"], length))
            texts.append(block["text"])
            length += len(block["text"])
        else:
            kept.append(block)
    return "".join(texts), kept


def unfold(message: AIMessage) -> list[Any]:
    """Return the content blocks of one of our messages, of a chunk, or of a sum of chunks."""
    content = message.content
    if isinstance(content, list):
        return [{"type": "text", "text": item} if isinstance(item, str) else item for item in content]
    kept = _with_passages(message.additional_kwargs.get(BLOCKS_KEY) or [], message.response_metadata.get("sources"))
    starts = [block["start"] for block in kept if block["type"] == "text"]
    length = message.additional_kwargs.get(LENGTH_KEY)
    if starts and length is not None and length - starts[0] != len(content):  # the text was edited
        starts = []
        kept = [block for block in kept if block["type"] != "text"]
    if not starts:
        return [*kept, {"type": "text", "text": content}] if content else [*kept]
    # A chunk from the middle holds the text from its first marker on. What is left over belongs to the last block.
    ends = iter([*(start - starts[0] for start in starts[1:]), len(content)])
    blocks: list[Block] = []
    position = 0
    for block in kept:
        if block["type"] != "text":
            blocks.append(block)
            continue
        end = next(ends)
        blocks.append(text_block(content[position:end], block["index"]))
        position = end
    return blocks
