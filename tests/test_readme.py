"""The README's examples are run as a reader would run them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def test_the_readme_has_an_example_for_each_framework_and_the_core():
    assert [re.findall("langchain_ext|llama_index_ext", example)[:1] for example in EXAMPLES] == [
        ["langchain_ext"],
        ["llama_index_ext"],
        [],
    ]


@pytest.mark.parametrize("example", EXAMPLES, ids=["langchain", "llama_index", "core"])
def test_an_example_runs_as_it_stands(example):
    result = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, timeout=90, check=False)
    assert result.returncode == 0, result.stderr
    assert "pydantic" in result.stdout
    assert "pydantic.md" in result.stdout.splitlines()[-1] or "httpx.md" in result.stdout.splitlines()[-1]
