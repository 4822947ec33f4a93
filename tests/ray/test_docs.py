"""The program of docs/ray.md, as somebody runs it who copied it: with a Ray of its own that it starts by itself."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed")

import pyarrow.parquet

from llama_cloud_chat.local import LocalService

from ..support import postgres
from ..support.on_ray import run_on_ray

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
        arguments = ["ask.py", "questions.jsonl", "answers", "tonight"]
        run_on_ray(arguments, service, tmp_path, DATABASE_URL=server.dsn(database))
    rows = pyarrow.parquet.read_table(tmp_path / "answers").to_pylist()
    assert sorted(row["id"] for row in rows) == list(range(50))
    for row in rows:
        assert "by the office" in row["answer"]
        assert row["sources"][0]["file_name"] == "travel.pdf"
        assert (row["reference"], row["error"]) == ("the office", None)
    assert len({row["session_id"] for row in rows}) == 50
