"""How far the embedded service has come with its documents."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from llama_cloud_chat._turn.wording import clean_line


@contextlib.contextmanager
def indexing_bar() -> Iterator[Callable[[int, int, str], None]]:
    """Give the callback that shows on a terminal how far the embedded service has come with its documents."""
    bar = Progress(
        TextColumn("Reading"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}", markup=False),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    task = bar.add_task("", total=None)

    def report(done: int, total: int, name: str) -> None:
        bar.start()
        bar.update(task, completed=done, total=total, description=clean_line(name, 40))
        if done >= total:
            bar.stop()

    try:
        yield report
    finally:
        bar.stop()
