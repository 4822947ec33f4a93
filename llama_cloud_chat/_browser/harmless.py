"""What a tool gave back, as JavaScript takes it."""

from __future__ import annotations

import math
from typing import Any

from llama_cloud_chat._turn.json import well_formed

_DEEPEST = 100
_CUT = "…"


def harmless(value: Any, room: int = _DEEPEST) -> Any:
    """Return a JSON value without what makes the AI SDK's client refuse all of it.

    The client parses JSON strictly, so NaN and infinity become null. It takes a key `__proto__`, and a `prototype`
    inside a `constructor`, for an attack and drops the whole stream: they are left out. Half characters become U+FFFD.

    Args:
        value: Any JSON value, as the service sent it.
        room: How many levels deep it may be; what lies deeper is cut off.
    """
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if not isinstance(value, (dict, list)):
        return value
    if room == 0:
        return _CUT
    if isinstance(value, list):
        return [harmless(item, room - 1) for item in value]
    cleaned = {well_formed(key): harmless(item, room - 1) for key, item in value.items() if key != "__proto__"}
    if isinstance(constructor := cleaned.get("constructor"), dict):
        constructor.pop("prototype", None)
    return cleaned
