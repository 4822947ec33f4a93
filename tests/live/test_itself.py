"""The suite as somebody with a key runs it: what it needs, its table, what it leaves, what it records."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from llama_cloud_chat import ChatClient
from llama_cloud_chat.local import LocalService

ROOT = Path(__file__).parents[2]


def run_live(service: LocalService | None, *more: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("LLAMA_", "PYTEST_"))}
    if service is not None:
        env["LLAMA_CLOUD_BASE_URL"] = service.base_url
        env["LLAMA_CLOUD_API_KEY"] = service.api_key
        env["LLAMA_CLOUD_INDEX_IDS"] = ", ".join(service.index_ids)
    command = ["-m", "pytest", "tests/live", "--live", "-n", "0", "-p", "no:randomly", "-p", "no:cacheprovider", *more]
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=110, check=False
    )


def test_it_asks_nobody_without_a_key_and_indexes() -> None:
    result = run_live(None)
    assert result.returncode == 4
    assert "set LLAMA_CLOUD_API_KEY and LLAMA_CLOUD_INDEX_IDS" in result.stderr


def test_all_holds_of_the_embedded_service_and_nothing_is_left_or_told(tmp_path: Path) -> None:
    file = tmp_path / "recording.json"
    with LocalService(ROOT / "examples" / "handbook") as service:
        result = run_live(service, "--record", str(file))
        with ChatClient(service.api_key, base_url=service.base_url) as client:
            assert list(client.list()) == []
        secrets = [service.api_key, service.base_url, *service.index_ids]
    assert result.returncode == 0, result.stdout
    table = result.stdout.partition(f"What was assumed of {secrets[1]}")[2]
    assert "Creating answers 201, with an id and a date." in table
    assert "  NO  " not in table
    assert "not tried" not in table
    count = table.count("  yes  ")
    assert f"{count} of {count} assumptions held." in table
    recorded = json.loads(file.read_text())
    assert {"stream", "history", "too_long", "indexes"} <= recorded.keys()
    assert not [secret for secret in secrets if secret in file.read_text()]
    assert "ses-" not in file.read_text()


def test_what_does_not_hold_is_in_the_table_with_what_came_instead() -> None:
    with LocalService(ROOT / "examples" / "handbook", max_prompt_chars=None, titles=True) as service:
        result = run_live(service, "-k", "long_prompt or titles or wrong_key")
    table = " ".join(result.stdout.partition("What was assumed of")[2].split())
    assert result.returncode == 1
    assert "NO 200: it was taken" in table
    assert "A title on request is a 404 or a 405. NO 200" in table
    assert "1 of 3 assumptions held." in table
