"""Which extra to install where a package is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_PACKAGES = {
    "structured": ("jsonschema", "referencing"),
    "langchain": ("langchain_core",),
    "llama-index": ("llama_index",),
    "local": ("fastapi", "PIL", "pypdfium2", "regex", "sse_starlette", "starlette", "uvicorn"),
    "notebook": ("jinja2", "markdown_it", "markupsafe", "nh3"),
    "parquet": ("pyarrow",),
    "ray": ("ray",),
    "cli": ("prompt_toolkit", "rich", "tomli", "typer"),
}


class MissingExtraError(ModuleNotFoundError):
    """A package is missing that an extra of ours brings; the message says which."""


@contextmanager
def needing(who: str) -> Iterator[None]:
    """Within it, the lack of a package that one of our extras brings is told in those words.

    Args:
        who: What needs the package, as the subject of a sentence: "Views need".

    Raises:
        MissingExtraError: A package of an extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extra = next((extra for extra, packages in _PACKAGES.items() if package in packages), None)
        if extra is None or isinstance(error, MissingExtraError):
            raise
        raise MissingExtraError(
            f"{who} {error.name}, which is not installed. Install it with: pip install 'llama-cloud-chat[{extra}]'",
            name=error.name,
        ) from error
