"""`llama-cloud-chat serve`: the embedded service in the foreground; and how other commands start one."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from llama_cloud_chat._turn.wording import clean_line
from llama_cloud_chat.local import LocalService

from ._connection import INDEX_VARIABLE
from ._safe import complain


def run_service(
    docs: Sequence[Path] | None,
    *,
    host: str,
    port: int,
    allow_network: bool,
    data: Path | None,
    model: str | None,
) -> None:
    """Serve until Ctrl-C or SIGTERM, printing what a client needs to know.

    The key is that of the environment if there is one, so that a restart does not lock clients out.
    """
    key = os.environ.get("LLAMA_CLOUD_API_KEY") or None
    with _warnings_as_sentences(), indexing_bar() as on_progress:
        service = LocalService(
            docs,
            host=host,
            port=port,
            allow_network=allow_network,
            data=data,
            api_key=key,
            agent=model,
            on_progress=on_progress,
        )
        service.serve_forever(lambda running: _announce(running, shows_key=key is None))


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


@contextlib.contextmanager
def _warnings_as_sentences() -> Iterator[None]:
    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        complain(str(message))

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _announce(service: LocalService, *, shows_key: bool) -> None:
    key = "" if shows_key else ", with the LLAMA_CLOUD_API_KEY that is set here"
    lines = [f"The chat API listens on {service.base_url} (Ctrl-C stops it). In another terminal{key}:", ""]
    lines.append(f"  export LLAMA_CLOUD_BASE_URL={service.base_url}")
    if shows_key:
        lines.append(f"  export LLAMA_CLOUD_API_KEY={service.api_key}")
    lines.append(f"  export {INDEX_VARIABLE}={','.join(service.index_ids)}")
    lines += ["  llama-cloud-chat chat", "", "Indexes:"]
    lines += [f"  {index_id}  {clean_line(name)}" for index_id, name in service.index_names.items()]
    lines += [clean_line(f"Left out {skipped.path}: {skipped.reason}.", 400) for skipped in service.skipped]
    print("\n".join(lines), flush=True)
