"""How far the embedded service has come with its documents."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from llama_cloud_chat._turn.wording import clean_line, count

if TYPE_CHECKING:
    from llama_cloud_chat.local import LocalService

_MOST_SKIPPED = 5


def what_was_read(service: LocalService) -> list[str]:
    """Return in lines what an embedded service has read, and what it has left out."""
    counts = service.document_counts
    read = [f"{clean_line(name)} ({count(counts[each], 'document')})" for each, name in service.index_names.items()]
    lines = [f"The embedded service has read {', '.join(read)}."]
    told = [clean_line(f"Left out {each.path}: {each.reason}.", 400) for each in service.skipped]
    # A line that says that there is one file more could as well name it.
    if len(told) <= _MOST_SKIPPED + 1:
        return [*lines, *told]
    more = count(len(told) - _MOST_SKIPPED, "file")
    return [*lines, *told[:_MOST_SKIPPED], f"Left out, too: {more} more; the command serve names all."]


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
