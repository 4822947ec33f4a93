"""Programs that use Ray, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from llama_cloud_chat.local import LocalService

_TRIES = 3


def run_on_ray(arguments: list[str], service: LocalService, folder: Path, **variables: str) -> str:
    """Run a program of Python that asks a service, and return what it printed.

    It is run again where Ray did not start in time, as happens on a machine with too much to do: Ray gives its own
    processes half a minute, whatever it is told. Nothing was asked by then.
    """
    environment = {
        **os.environ,
        "LLAMA_CLOUD_API_KEY": service.api_key,
        "LLAMA_CLOUD_BASE_URL": service.base_url,
        "LLAMA_CLOUD_INDEX_IDS": ",".join(service.index_ids),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_agent_register_timeout_ms": "100000",
        **variables,
    }
    for _ in range(_TRIES):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        if "timed out during startup" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr
    return done.stdout
