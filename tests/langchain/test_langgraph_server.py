"""The recipe of docs/langgraph.md for LangGraph's own server, which watches that nothing blocks its event loop."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llama_cloud_chat import ChatClient
from llama_cloud_chat.local import LocalService

pytestmark = [
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("langgraph_cli", "langgraph_api")),
        reason="langgraph-cli[inmem] is not installed",
    ),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
ROOT = Path(__file__).parent.parent.parent
FILES = dict(
    re.findall(
        r'^```\w+ title="([^"]+)"\n(.*?)^```$', (ROOT / "docs/langgraph.md").read_text(), re.MULTILINE | re.DOTALL
    )
)


@contextlib.contextmanager
def serving(service: LocalService, folder: Path) -> Iterator[str]:
    """Run the server until its tests are over; give its address."""
    for name in ("agent.py", "langgraph.json"):
        (folder / name).write_text(FILES[name], encoding="utf-8")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    environment = {
        **os.environ,
        "LLAMA_CLOUD_API_KEY": service.api_key,
        "LLAMA_CLOUD_BASE_URL": service.base_url,
        "LLAMA_CLOUD_INDEX_IDS": ",".join(service.index_ids),
        "LANGGRAPH_CLI_NO_ANALYTICS": "1",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", "langgraph_cli", "dev", "--no-browser", "--no-reload", "--port", str(port)]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        try:
            assert server.stdout is not None
            said: list[str] = []
            # The line comes once the graphs are loaded; an end of the output, should the server die.
            for line in server.stdout:
                said.append(line)
                if "Application started up" in line:
                    break
            else:
                pytest.fail("".join(said))
            threading.Thread(target=server.stdout.read, daemon=True).start()
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def test_a_thread_of_the_server_streams_and_keeps_its_session(tmp_path: Path) -> None:
    from langgraph_sdk import get_sync_client

    with LocalService(ROOT / "examples/handbook") as service, serving(service, tmp_path) as address:
        page = get_sync_client(url=address)
        thread = page.threads.create()["thread_id"]
        told: list[str] = []
        for question in ("How many days of leave do I have?", "And when does it expire?"):
            said = ""
            for part in page.runs.stream(
                thread,
                "agent",
                input={"messages": [{"role": "user", "content": question}]},
                stream_mode=["messages-tuple", "custom"],
            ):
                data: Any = part.data
                if part.event == "custom":
                    told.append(data["name"])
                elif part.event == "messages":
                    said += "".join(block.get("text", "") for block in data[0]["content"])
            assert said.endswith("(leave.md)")
        assert told == ["llama_cloud.tool_call", "llama_cloud.tool_result"] * 2
        messages = page.threads.get_state(thread)["values"]["messages"]
        page.http.client.close()
        answers = [message["response_metadata"] for message in messages if message["type"] == "ai"]
        assert [answer["turn"] for answer in answers] == [1, 2]
        with ChatClient(service.api_key, base_url=service.base_url) as client:
            (session,) = client.list()
            assert len(client.session(session.session_id).turns()) == 2
