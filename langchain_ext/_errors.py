"""Errors of both families: what a model raises is one of our errors and one of LangChain's at once.

LangChain (from core 1.6 on) says by its own classes what failed, and whether trying again can help; its middleware
tries again whatever it does not know.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from langchain_core import exceptions

from llama_cloud_chat import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    ChatError,
    ConfigurationError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    PromptTooLongError,
    RateLimitError,
    UnprocessableEntityError,
)

_THEIRS: Mapping[type[ChatError], str] = {
    PromptTooLongError: "ContextOverflowError",
    ConfigurationError: "ModelInvalidRequestError",
    UnprocessableEntityError: "ModelInvalidRequestError",
    AuthenticationError: "ModelAuthenticationError",
    PermissionDeniedError: "ModelPermissionDeniedError",
    NotFoundError: "ModelNotFoundError",
    RateLimitError: "ModelRateLimitError",
    InternalServerError: "ModelAPIError",
    APITimeoutError: "ModelTimeoutError",
    APIConnectionError: "ModelConnectionError",
    ChatError: "ModelError",
}
"""LangChain's names for our errors, the narrower ones first. Older versions of it know fewer, or none."""


class BothFamilies:
    """A context whose `ChatError`s leave it as errors of LangChain's, too. They stay what they were.

    Args:
        more: What else they are to be.
    """

    def __init__(self, *more: type[Exception]) -> None:
        self._more = more

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, ChatError):
            # The error itself is changed, not wrapped: its traceback, its causes and whoever holds it stay right.
            ours = error.ours if isinstance(error, _Adopted) else type(error)
            changed: Any = error
            changed.__class__ = _adopted(ours, self._more)
            if sys.version_info < (3, 11):  # one that is on its way there keeps the class with which it was raised
                raise error


class _Adopted:
    """What is of both families. Pickled, it is known by the class that is ours."""

    ours: type[ChatError]
    more: tuple[type[Exception], ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (self.ours, self.more, self.args, self.__dict__)  # type: ignore[attr-defined]


def _revive(
    ours: type[ChatError], more: tuple[type[Exception], ...], args: tuple[Any, ...], state: dict[str, Any]
) -> ChatError:
    error = _adopted(ours, more)(*args)
    error.__dict__.update(state)
    return error


_classes: dict[tuple[Any, ...], type[ChatError]] = {}


def _adopted(ours: type[ChatError], more: tuple[type[Exception], ...]) -> type[ChatError]:
    """Return the class of both families; there is one for each of ours."""
    if (ours, more) not in _classes:
        _classes[ours, more] = _adopt(ours, more)
    return _classes[ours, more]


def _adopt(ours: type[ChatError], more: tuple[type[Exception], ...]) -> type[ChatError]:
    """Make the class of both families; where they say different things of trying again, ours holds."""
    name = next(name for kind, name in _THEIRS.items() if issubclass(ours, kind))
    theirs = getattr(exceptions, name, None)
    bases: list[type] = [_Adopted, ours, *([] if theirs is None else [theirs]), *more]
    if issubclass(ours, ConfigurationError):  # what other chat models raise for messages that they do not take
        bases.append(ValueError)
    said = {"__module__": ours.__module__, "__doc__": ours.__doc__, "ours": ours, "more": more}
    made: Any = type(ours.__name__, tuple(bases), said)
    return made  # type: ignore[no-any-return]
