"""The recipes of docs/browser.md for other people's pages: each keeps its session. What is not installed is skipped."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llama_cloud_chat import ChatClient
from llama_cloud_chat.local import LocalService

ROOT = Path(__file__).parent.parent.parent
BLOCK = re.compile(r'^```python title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
RECIPES = dict(BLOCK.findall((ROOT / "docs/browser.md").read_text(encoding="utf-8")))
QUESTIONS = ["How many days of leave do I have?", "And when does it expire?"]
ANSWERS = ["Everyone has 30 days of paid leave each year. (leave.md)", "What is left over expires at the end of March."]


@pytest.fixture
def service() -> Iterator[LocalService]:
    with LocalService(ROOT / "examples/handbook") as service:
        yield service


def run(driver: str, recipe: str, service: LocalService, folder: Path) -> list[str]:
    """Run a recipe under a driver that asks both questions, in a process of its own; return what was answered."""
    (folder / recipe).write_text(RECIPES[recipe], encoding="utf-8")
    program = f"import json\nQUESTIONS = {QUESTIONS!r}\n{driver}\nprint('\\n' + json.dumps(answers))\n"
    environment = {
        **os.environ,
        "LLAMA_CLOUD_API_KEY": service.api_key,
        "LLAMA_CLOUD_BASE_URL": service.base_url,
        "LLAMA_CLOUD_INDEX_IDS": ",".join(service.index_ids),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HOME": str(folder),
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
    }
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert result.returncode == 0, result.stderr
    answers: list[str] = json.loads(result.stdout.splitlines()[-1])
    return answers


def asked(service: LocalService) -> list[list[str]]:
    """Return what was asked, by session."""
    with ChatClient(service.api_key, base_url=service.base_url) as client:
        return [[turn.prompt for turn in client.retrieve(each.session_id).turns] for each in client.list()]


AG_UI = """
import uuid
import httpx
from ag_ui_server import app
from tests.browser.support import serve

answers, messages = [], []
with serve(app) as address, httpx.Client(base_url=address, trust_env=False, timeout=60) as page:
    for question in QUESTIONS:
        messages.append({"id": str(uuid.uuid4()), "role": "user", "content": question})
        run = {"threadId": "t", "runId": str(uuid.uuid4()), "messages": messages}
        body = {**run, "state": {}, "tools": [], "context": [], "forwardedProps": {}}
        lines = page.post("/agent", json=body).text.splitlines()
        events = [json.loads(line.removeprefix("data: ")) for line in lines if line]
        messages = next(event["messages"] for event in events if event["type"] == "MESSAGES_SNAPSHOT")
        kinds = {event["type"] for event in events}
        assert {"RUN_STARTED", "REASONING_MESSAGE_CONTENT", "TEXT_MESSAGE_CONTENT", "RUN_FINISHED"} <= kinds, kinds
        answers.append("".join(event["delta"] for event in events if event["type"] == "TEXT_MESSAGE_CONTENT"))
"""

STREAMLIT = """
from streamlit.testing.v1 import AppTest

page = AppTest.from_file("streamlit_chat.py").run(timeout=60)
for question in QUESTIONS:
    page.chat_input[0].set_value(question).run(timeout=60)
    assert not page.exception, page.exception
answers = [message.markdown[0].value for message in page.chat_message if message.name == "assistant"]
"""

GRADIO = """
from gradio_client import Client
from gradio_chat import chat

chat.launch(prevent_thread_lock=True, quiet=True)
page = Client(chat.local_url, verbose=False)
answers = [page.predict(question, api_name="/answer") for question in QUESTIONS]
chat.close()
"""

CHAINLIT = """
import asyncio
import chainlit
from chainlit.context import init_http_context
from chainlit_chat import answer

async def ask():
    init_http_context()
    for question in QUESTIONS:
        await answer(chainlit.Message(question))
    return [message.text for message in chainlit.user_session.get("messages")[1::2]]

answers = asyncio.run(ask())
"""


@pytest.mark.parametrize(
    ("package", "recipe", "driver"),
    [
        ("ag_ui_langgraph", "ag_ui_server.py", AG_UI),
        ("streamlit", "streamlit_chat.py", STREAMLIT),
        ("gradio", "gradio_chat.py", GRADIO),
        ("chainlit", "chainlit_chat.py", CHAINLIT),
    ],
)
def test_a_recipe_answers_and_keeps_its_session(
    service: LocalService, tmp_path: Path, package: str, recipe: str, driver: str
) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    answers = run(driver, recipe, service, tmp_path)
    assert len(answers) == 2
    assert all(answer.startswith(expected) for answer, expected in zip(answers, ANSWERS, strict=True))
    assert asked(service) == [QUESTIONS]
