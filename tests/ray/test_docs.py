"""The program of docs/ray.md, as somebody runs it who copied it: with a Ray of its own that it starts by itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed")

import pyarrow.parquet

from llama_cloud_chat.local import LocalService

from ..support import postgres

ROOT = Path(__file__).parent.parent.parent
[PROGRAM] = re.findall(r'^```python title="ask.py"\n(.*?)^```$', (ROOT / "docs/ray.md").read_text(), re.M | re.S)


@pytest.mark.timeout(400)
def test_a_file_of_questions_becomes_a_table_of_answers(tmp_path: Path) -> None:
    asked = [{"id": number, "question": "Who books hotels?", "reference": "the office"} for number in range(50)]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    (tmp_path / "ask.py").write_text(PROGRAM)
    with (
        postgres.cluster() as server,
        server.database() as database,
        LocalService(ROOT / "examples/handbook") as service,
    ):
        environment = {
            **os.environ,
            "DATABASE_URL": server.dsn(database),
            "LLAMA_CLOUD_API_KEY": service.api_key,
            "LLAMA_CLOUD_BASE_URL": service.base_url,
            "LLAMA_CLOUD_INDEX_IDS": ",".join(service.index_ids),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        done = subprocess.run(
            [sys.executable, "ask.py", "questions.jsonl", "answers", "tonight"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    rows = pyarrow.parquet.read_table(tmp_path / "answers").to_pylist()
    assert sorted(row["id"] for row in rows) == list(range(50))
    for row in rows:
        assert "by the office" in row["answer"]
        assert row["sources"][0]["file_name"] == "travel.pdf"
        assert (row["reference"], row["error"]) == ("the office", None)
    assert len({row["session_id"] for row in rows}) == 50
