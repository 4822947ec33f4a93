"""The recipes of docs/evaluation.md: each judges a run's output file when the service is gone.

What is not installed is skipped.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llama_cloud_chat.local import AgentTurn, LocalService, scripted_agent

ROOT = Path(__file__).parent.parent.parent
BLOCK = re.compile(r'^```python title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
PAGE = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")
RECIPES = dict(BLOCK.findall(PAGE))
[COMMAND] = re.findall(r"^\$ llama-cloud-chat (bulk .*)$", PAGE, re.MULTILINE)
QUESTIONS = [
    {"id": "right", "question": "Who books hotels?", "reference": "the office"},
    {"id": "wrong", "question": "How many days of leave do I have?", "reference": "30 days"},
    {"id": "failed", "question": "What is the meaning of it all?", "reference": "42"},
]
ANSWERS = {"Who books hotels?": "Hotels are booked by the office.", "How many days of leave do I have?": "You have 40."}

LLAMA_INDEX = """
import asyncio
from llama_index.core.llms import CustomLLM, CompletionResponse, LLMMetadata
from judge_with_llama_index import judge

class Judge(CustomLLM):
    @property
    def metadata(self):
        return LLMMetadata()

    def complete(self, prompt, formatted=False, **kwargs):
        return CompletionResponse(text="NO" if "You have 40." in prompt else "YES")

    def stream_complete(self, prompt, formatted=False, **kwargs):
        raise NotImplementedError

scores = asyncio.run(judge("answers.jsonl", Judge()))
"""

DEEPEVAL = """
from deepeval.models import DeepEvalBaseLLM
from judge_with_deepeval import judge

class Judge(DeepEvalBaseLLM):
    def load_model(self):
        return self

    def get_model_name(self):
        return "a judge of the tests"

    async def a_generate(self, prompt, schema):
        return self.generate(prompt, schema)

    def generate(self, prompt, schema):
        said = ["You have 40." if "You have 40." in prompt else "What the answer says."]
        verdicts = [{"verdict": "no" if "You have 40." in prompt else "yes"}]
        told = {"truths": said, "claims": said, "statements": said, "verdicts": verdicts, "reason": "So it is."}
        return schema.model_validate(told)

scores = judge("answers.jsonl", Judge())
"""

LANGSMITH = """
from judge_with_langsmith import judge

scores = judge("answers.jsonl")
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output file of a run as the page has it: a right answer, a wrong one, and none. Its service is gone."""

    def answer(turn: AgentTurn) -> list[Any]:
        if turn.prompt not in ANSWERS:
            return [{"type": "stop", "is_error": True, "error": "Out of tokens.", "usage": {}}]
        found = {"results": [{"content": "A passage of the handbook."}]}
        call = {"call_id": "c1", "name": "retrieve"}
        return [
            {"type": "tool_call", "arguments": {"query": turn.prompt}, **call},
            {"type": "tool_result", "result": found, **call},
            ANSWERS[turn.prompt],
        ]

    folder = tmp_path_factory.mktemp("run")
    (folder / "golden.jsonl").write_text("".join(json.dumps(question) + "\n" for question in QUESTIONS))
    with LocalService([], agent=scripted_agent(answer)) as service:
        environment = {
            **os.environ,
            "LLAMA_CLOUD_API_KEY": service.api_key,
            "LLAMA_CLOUD_BASE_URL": service.base_url,
            "LLAMA_CLOUD_INDEX_IDS": ",".join(service.index_ids),
        }
        program = "from llama_cloud_chat.cli import main; main()"
        run = subprocess.run(
            [sys.executable, "-c", program, *COMMAND.split()], cwd=folder, env=environment, check=False
        )
    assert run.returncode == 1  # one question failed
    return folder / "answers-to-judge.jsonl"


@pytest.mark.parametrize(
    ("recipe", "driver", "package", "right", "wrong"),
    [
        (
            "judge_with_llama_index.py", LLAMA_INDEX, "llama_index.core",
            {"faithful": 1.0, "relevant": 1.0}, {"faithful": 0.0, "relevant": 0.0},
        ),
        (
            "judge_with_deepeval.py", DEEPEVAL, "deepeval",
            {"Faithfulness": 1.0, "Answer Relevancy": 1.0}, {"Faithfulness": 0.0, "Answer Relevancy": 0.0},
        ),
        (
            "judge_with_langsmith.py", LANGSMITH, "langsmith",
            {"says_the_reference": True, "rests_on_a_source": True},
            {"says_the_reference": False, "rests_on_a_source": True},
        ),
    ],
)  # fmt: skip
def test_a_recipe_judges_what_was_answered_and_leaves_out_what_failed(
    recipe: str, driver: str, package: str, right: dict[str, Any], wrong: dict[str, Any], answers: Path, tmp_path: Path
) -> None:
    if importlib.util.find_spec(package.partition(".")[0]) is None:
        pytest.skip(f"{package} is not installed: pip install -e '.[evaluation]'")
    (tmp_path / recipe).write_text(RECIPES[recipe], encoding="utf-8")
    (tmp_path / "answers.jsonl").write_bytes(answers.read_bytes())
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LLAMA_CLOUD_")}
    done = subprocess.run(
        [sys.executable, "-c", f"{driver}\nimport json\nprint(); print(json.dumps(scores))"],
        cwd=tmp_path,
        env={**environment, "DEEPEVAL_TELEMETRY_OPT_OUT": "YES", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"right": right, "wrong": wrong}
