"""Objects that travel: copied with their callbacks, pickled without them."""

from __future__ import annotations

import copy
from typing import Any

from llama_index.core.callbacks import CallbackManager
from typing_extensions import Self


class Portable:
    """Base of what has a `callback_manager`, whose handlers belong to a process and are shared within it."""

    callback_manager: CallbackManager

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "callback_manager"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, callback_manager=CallbackManager([]))

    def __copy__(self) -> Self:
        return copy.deepcopy(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = type(self).__new__(type(self))
        twin.__dict__.update(copy.deepcopy(self.__getstate__(), memo), callback_manager=self.callback_manager)
        return twin
