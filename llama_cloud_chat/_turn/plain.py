"""A turn as plain JSON, and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .events import Event, UnknownEvent, parse_event
from .turn import Turn, TurnReader


def write_plain(turn: Turn) -> dict[str, Any]:
    """Return a turn's prompt and events as plain JSON."""
    return {"prompt": turn.prompt, "events": [_write_event(event) for event in turn.events]}


def read_plain(data: dict[str, Any], reader: TurnReader) -> list[Event]:
    """Build the turn that `write_plain` wrote; return the events that tell it."""
    reader.turn.prompt = data["prompt"]
    return [told for event in data["events"] for told in reader.feed(parse_event(event))]


def _write_event(event: Event) -> dict[str, Any]:
    if isinstance(event, UnknownEvent):
        return dict(event.raw)
    fields = asdict(event)
    return {"type": event.type, **{name: value for name, value in fields.items() if name not in {"index", "raw"}}}
