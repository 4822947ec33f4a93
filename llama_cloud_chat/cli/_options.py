"""Options that several commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer
from typer.core import TyperCommand, TyperGroup

from ._connection import Connection, profile_names

_P = ParamSpec("_P")
_PANEL = "Where the service is"


class _ShowsFlagsBare:
    """Help that shows a flag by its name alone: some versions of Typer say that it takes a `<bool>`."""

    def get_params(self, ctx: Any) -> list[Any]:
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in parameters:
            if getattr(parameter, "is_flag", False):
                parameter.metavar = ""
        return parameters


class Command(_ShowsFlagsBare, TyperCommand):
    """A command of this program."""


class Group(_ShowsFlagsBare, TyperGroup):
    """Commands of this program under one name."""


def _complete_profile(incomplete: str) -> list[str]:
    return [name for name in profile_names() if name.startswith(incomplete)]


_CONNECTION: dict[str, Any] = {
    "profile": Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A profile of config.toml; options override it, it overrides the environment.",
            autocompletion=_complete_profile,
            rich_help_panel=_PANEL,
        ),
    ],
    "base_url": Annotated[
        str | None, typer.Option(metavar="URL", help="The service's address.", rich_help_panel=_PANEL)
    ],
    "project_id": Annotated[
        str | None, typer.Option("--project", metavar="ID", help="The project's id.", rich_help_panel=_PANEL)
    ],
    "organization_id": Annotated[
        str | None, typer.Option("--organization", metavar="ID", help="The organisation's id.", rich_help_panel=_PANEL)
    ],
    "local": Annotated[
        bool, typer.Option("--local", help="Start the embedded service for this command.", rich_help_panel=_PANEL)
    ],
    "data": Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --local, the file that keeps the sessions; without it they are gone at the end.",
            rich_help_panel=_PANEL,
        ),
    ],
}


def with_connection(command: Callable[Concatenate[Connection, _P], None]) -> Callable[..., None]:
    """Give a command the options that say where the service is; it gets them as its first argument."""
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        connection = Connection(**{name: values.pop(name) for name in _CONNECTION})
        command(connection, **values)  # type: ignore[call-arg]

    shared = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=getattr(Connection, name), annotation=annotation
        )
        for name, annotation in _CONNECTION.items()
    ]
    # Typer reads the signature and the annotations.
    named = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    run.__signature__ = inspect.Signature([*named, *shared])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*named, *shared]}
    return run
