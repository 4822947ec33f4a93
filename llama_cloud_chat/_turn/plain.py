"""A turn as plain JSON, and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .events import Event, UnknownEvent, parse_event
from .turn import Turn


def write_plain(turn: Turn) -> dict[str, Any]:
    """Return a turn as plain JSON."""
    return {
        "prompt": turn.prompt,
        "session_id": turn.session_id,
        "number": turn.number,
        "events": [_write_event(event) for event in turn.events],
    }


def read_plain(data: dict[str, Any]) -> Turn:
    """Return the turn that `write_plain` wrote."""
    events = [parse_event(event) for event in data["events"]]
    return Turn.from_events(data["prompt"], events, session_id=data["session_id"], number=data["number"])


def _write_event(event: Event) -> dict[str, Any]:
    if isinstance(event, UnknownEvent):
        return dict(event.raw)
    fields = asdict(event)
    return {"type": event.type, **{name: value for name, value in fields.items() if name not in {"index", "raw"}}}
