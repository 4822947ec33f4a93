"""The former names of modules, so that what was pickled under them can still be read.

A pickle says in which module each of its classes is. Checkpoints, caches and chat stores keep turns, events and
messages for longer than a module keeps its place.
"""

from __future__ import annotations

import sys
from types import ModuleType

from ._session import answers, conversation, folding
from ._turn import events, sources, turn

_ROOMS_NOW: dict[str, tuple[ModuleType, ...]] = {
    "_events": (events,),
    "_sources": (sources,),
    "_turn": (turn,),
    "_models": (answers,),
    "_conversation": (conversation, folding),
}


def keep_former_names() -> None:
    """Have every class and function found where it once was."""
    for name, rooms in _ROOMS_NOW.items():
        full_name = f"{__package__}.{name}"
        former = sys.modules.setdefault(full_name, ModuleType(full_name))  # `_turn` is there, a package now
        for room in rooms:
            for thing, value in vars(room).items():
                if getattr(value, "__module__", None) == room.__name__:
                    setattr(former, thing, value)
