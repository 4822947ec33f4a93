"""What the child of a fork must not share with its parent, it begins anew."""

from __future__ import annotations

import abc
import os
import weakref


class FreshInChild(abc.ABC):
    """Something whose state is its process's own: locks, queues, connections."""

    def __init__(self) -> None:
        self._begin_anew()
        _LIVING.add(self)

    @abc.abstractmethod
    def _begin_anew(self) -> None:
        """Set the state as it is at first. In a child, what is there is the parent's: it is dropped, not closed."""


_LIVING: weakref.WeakSet[FreshInChild] = weakref.WeakSet()


def _begin_anew() -> None:
    for thing in list(_LIVING):
        thing._begin_anew()


if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows does not fork
    os.register_at_fork(after_in_child=_begin_anew)
