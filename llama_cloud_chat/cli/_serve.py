"""`llama-cloud-chat serve`: the embedded service in the foreground."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llama_cloud_chat._config import key_from_environment
from llama_cloud_chat._turn.wording import clean_line
from llama_cloud_chat.local import LocalService

from ._program import shell_line
from ._progress import indexing_bar
from ._safe import complain


def run_service(
    docs: Sequence[Path] | None,
    *,
    host: str,
    port: int,
    allow_network: bool,
    data: Path | None,
    model: str | None,
    max_prompt_chars: int | None,
    titles: bool,
) -> None:
    """Serve until Ctrl-C or SIGTERM, printing what a client needs to know.

    The key is that of the environment if there is one, so that a restart does not lock clients out.
    """
    key = key_from_environment()
    with _warnings_as_sentences(), indexing_bar() as on_progress:
        service = LocalService(
            docs,
            host=host,
            port=port,
            allow_network=allow_network,
            data=data,
            api_key=key.get_secret_value() if key else None,
            agent=model,
            max_prompt_chars=max_prompt_chars,
            titles=titles,
            on_progress=on_progress,
        )
        service.serve_forever(lambda running: _announce(running, shows_key=key is None))


@contextlib.contextmanager
def _warnings_as_sentences() -> Iterator[None]:
    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        complain(str(message))

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _announce(service: LocalService, *, shows_key: bool) -> None:
    key = "" if shows_key else ", with the API key that is set here"
    lines = [f"The chat API listens on {service.base_url} (Ctrl-C stops it). In another terminal{key}:", ""]
    lines.append(f"  export LLAMA_CLOUD_BASE_URL={service.base_url}")
    if shows_key:
        lines.append(f"  export LLAMA_CLOUD_API_KEY={service.api_key}")
    lines.append(f"  export LLAMA_CLOUD_INDEX_IDS={','.join(service.index_ids)}")
    lines += [f"  {shell_line('chat')}", "", "Indexes:"]
    lines += [f"  {index_id}  {clean_line(name)}" for index_id, name in service.index_names.items()]
    lines += [clean_line(f"Left out {skipped.path}: {skipped.reason}.", 400) for skipped in service.skipped]
    print("\n".join(lines), flush=True)
