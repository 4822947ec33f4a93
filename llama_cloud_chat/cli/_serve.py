"""`llama-cloud-chat serve`: the embedded service in the foreground."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from llama_cloud_chat.local import LocalService


def run_service(docs: Sequence[Path] | None, port: int, data: Path | None) -> None:
    """Serve until Ctrl-C or SIGTERM, printing what a client needs to know.

    The key is that of the environment if there is one, so that a restart does not lock clients out.
    """
    key = os.environ.get("LLAMA_CLOUD_API_KEY") or None
    service = LocalService(docs or None, port=port, data=data, api_key=key)
    service.serve_forever(lambda running: _announce(running, shows_key=key is None))


def _announce(service: LocalService, *, shows_key: bool) -> None:
    lines = [f"The chat API listens on {service.base_url} (Ctrl-C stops it). In another terminal:", ""]
    lines.append(f"  export LLAMA_CLOUD_BASE_URL={service.base_url}")
    if shows_key:
        lines.append(f"  export LLAMA_CLOUD_API_KEY={service.api_key}")
    lines += ["", "Indexes:"]
    lines += [f"  {index_id}  {name}" for index_id, name in service.index_names.items()]
    lines += [f"Left out {skipped.path}: {skipped.reason}." for skipped in service.skipped]
    print("\n".join(lines), flush=True)
