"""The pytest fixture, used as a project of its own would use it; and what importing the package costs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import llama_cloud_chat
from llama_cloud_chat import local

ROOT = Path(llama_cloud_chat.__file__).parents[1]

PROJECT = """
import os
import pytest
from llama_cloud_chat import ChatClient, RateLimitError

def test_a_client_without_arguments_finds_the_service(llama_cloud_chat_service):
    assert os.environ["LLAMA_CLOUD_BASE_URL"] == llama_cloud_chat_service.base_url
    assert "LLAMA_CLOUD_PROJECT_ID" not in os.environ
    with ChatClient() as client:
        assert list(client.list()) == []
        assert os.environ["LLAMA_CLOUD_INDEX_IDS"] == "idx-empty"
        assert "nothing in the indexes" in client.create().ask("Hello?").text

@pytest.mark.llama_cloud_chat(docs="docs", agent=["Hello!"])
def test_the_mark_says_how_it_is_made(llama_cloud_chat_service):
    with ChatClient(max_retries=0) as client:
        session = client.create(llama_cloud_chat_service.index_ids)
        assert session.ask("Hello?").text == "Hello!"
        llama_cloud_chat_service.fail_next(status=429)
        with pytest.raises(RateLimitError):
            session.ask("Hello?")

def test_afterwards_the_environment_is_as_it_was():
    assert os.environ["LLAMA_CLOUD_PROJECT_ID"] == "mine"
    assert not {"LLAMA_CLOUD_BASE_URL", "LLAMA_CLOUD_INDEX_IDS"} & set(os.environ)
"""


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LLAMA_CLOUD_")}
    environment |= {"PYTHONPATH": str(ROOT), "LLAMA_CLOUD_PROJECT_ID": "mine"}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_fixture_gives_a_service_that_clients_find(tmp_path: Path) -> None:
    (tmp_path / "test_app.py").write_text(PROJECT)
    # By the module, not the entry point: the package may not be installed where this test runs.
    (tmp_path / "conftest.py").write_text("from llama_cloud_chat.local.pytest_plugin import *\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("Something to read.")
    options = (
        "-q",
        "--strict-markers",
        "-p",
        "no:randomly",
        "-p",
        "no:xdist",
        "-p",
        "no:asyncio",
        "-p",
        "no:cacheprovider",
    )
    result = run(tmp_path, "-W", "error", "-m", "pytest", *options)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "3 passed" in result.stdout


def test_importing_the_plugin_loads_neither_a_server_nor_a_framework(tmp_path: Path) -> None:
    program = (
        "import sys, llama_cloud_chat.local.pytest_plugin\n"
        "print([n for n in ('fastapi', 'uvicorn', 'pypdfium2', 'langchain_core', 'llama_index') if n in sys.modules])"
    )
    assert run(tmp_path, "-c", program).stdout == "[]\n"


def test_the_service_loads_no_framework(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom llama_cloud_chat.local import LocalService\nLocalService([])\n"
        "print([n for n in ('langchain_core', 'langchain', 'llama_index', 'typer') if n in sys.modules])"
    )
    result = run(tmp_path, "-c", program)
    assert result.stdout == "[]\n", result.stderr


def test_without_the_extra_it_is_said_what_to_install(tmp_path: Path) -> None:
    program = "import sys\nsys.modules['fastapi'] = None\nfrom llama_cloud_chat.local import LocalService"
    assert "pip install 'llama-cloud-chat[local]'" in run(tmp_path, "-c", program).stderr


def test_everything_that_is_exported_is_there() -> None:
    assert dir(local) == sorted(local.__all__)
    assert all(getattr(local, name) is not None for name in local.__all__)
