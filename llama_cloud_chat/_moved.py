"""The former names of modules, so that what was pickled under them can still be read.

A pickle says in which module each of its classes is. Checkpoints, caches and chat stores keep turns, events and
messages for longer than a module keeps its place.
"""

from __future__ import annotations

import sys

from . import _turn
from ._session import answers, conversation
from ._session.folding import render_transcript
from ._turn import events, sources, turn

_FORMER_NAMES = {"_events": events, "_sources": sources, "_models": answers, "_conversation": conversation}
_ONCE_IN_TURN = ("Turn", "ToolRun", "_Segment")


def keep_former_names() -> None:
    """Have every class found where it once was."""
    for name, module in _FORMER_NAMES.items():
        sys.modules[f"{__package__}.{name}"] = module
    setattr(conversation, render_transcript.__name__, render_transcript)  # which wrote prompts before folding did
    for name in _ONCE_IN_TURN:  # that module is a package now
        setattr(_turn, name, getattr(turn, name))
