"""Options that several commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from ._connection import Connection, profile_names

_P = ParamSpec("_P")
_PANEL = "Where the service is"


def _complete_profile(incomplete: str) -> list[str]:
    return [name for name in profile_names() if name.startswith(incomplete)]


_CONNECTION: dict[str, Any] = {
    "profile": Annotated[
        str | None,
        typer.Option(
            help="A profile of config.toml; options override it, it overrides the environment.",
            autocompletion=_complete_profile,
            rich_help_panel=_PANEL,
        ),
    ],
    "base_url": Annotated[str | None, typer.Option(help="The service's address.", rich_help_panel=_PANEL)],
    "project_id": Annotated[str | None, typer.Option("--project", help="The project's id.", rich_help_panel=_PANEL)],
    "organization_id": Annotated[
        str | None, typer.Option("--organization", help="The organisation's id.", rich_help_panel=_PANEL)
    ],
    "local": Annotated[
        bool, typer.Option("--local", help="Start the embedded service for this command.", rich_help_panel=_PANEL)
    ],
    "data": Annotated[
        Path | None,
        typer.Option(
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
