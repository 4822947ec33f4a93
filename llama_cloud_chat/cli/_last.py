"""Which session was asked last from here: what `--continue` goes on in."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path

from llama_cloud_chat import ConfigurationError

from ._connection import folder

_MOST_PLACES = 100


def remember(place: str | None, session_id: str) -> None:
    """Note that this session was asked last at `place`; where nothing can be written, nothing is noted."""
    if place is None:
        return
    known = _read()
    known.pop(place, None)
    newest = [*known.items(), (place, session_id)][-_MOST_PLACES:]
    with contextlib.suppress(OSError):
        _write(json.dumps(dict(newest)))


def recall(place: str | None) -> str:
    """Return the session that was asked last at `place`.

    Raises:
        ConfigurationError: There is none.
    """
    session_id = None if place is None else _read().get(place)
    if session_id is None:
        raise ConfigurationError(
            "Nothing was asked from here yet that --continue could go on with; name a session with --session ID. "
            "The command sessions list shows them."
        )
    return session_id


def _file() -> Path:
    return folder("XDG_STATE_HOME") / "last-sessions.json"


def _read() -> dict[str, str]:
    try:
        known = json.loads(_file().read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {place: value for place, value in known.items() if isinstance(value, str)} if isinstance(known, dict) else {}


def _write(text: str) -> None:
    """Replace the file in one step, so that another command finds the old one or the new one."""
    file = _file()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=file.parent, delete=False
    ) as new:  # for its owner alone
        try:
            new.write(text)
            new.close()
            os.replace(new.name, file)  # noqa: PTH105
        except OSError:
            Path(new.name).unlink(missing_ok=True)
            raise
