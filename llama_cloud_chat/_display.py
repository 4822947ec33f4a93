"""How the core's objects show themselves in a notebook, where `llama_cloud_chat.notebook` can render them."""

from __future__ import annotations

from typing import Any

from ._errors import ChatError


class Displayable:
    """Shows itself in notebooks where the extra `notebook` is installed; elsewhere its plain repr is shown."""

    __slots__ = ()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        try:
            # The one import that points up; only who looks at an object in a notebook comes here.
            from .notebook import to_mimebundle  # noqa: PLC0415

            return to_mimebundle(self)
        except (ImportError, ChatError):  # the renderer, or a session, is not there
            return {}

    def _repr_html_(self) -> str | None:
        return self._repr_mimebundle_().get("text/html")

    def _repr_markdown_(self) -> str | None:
        return self._repr_mimebundle_().get("text/markdown")
