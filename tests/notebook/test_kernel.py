"""In a real kernel: what its user sees of a live view, and of interrupting it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel

PATIENCE = 60.0

SETUP = """
import os
import threading
from langchain_ext import ChatLlamaCloud
from llama_cloud_chat import ChatClient
from llama_cloud_chat.local import LocalService
from llama_cloud_chat.notebook import ashow, show

def agent(turn):
    yield {"type": "text_delta", "content": "Thirty days"}
    threading.Event().wait()

service = LocalService([], agent=agent).__enter__()
os.environ["LLAMA_CLOUD_INDEX_IDS"] = service.index_ids[0]
client = ChatClient(service.api_key, base_url=service.base_url)
model = ChatLlamaCloud(client=client)
"""

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")


@pytest.fixture(scope="module")
def kernel() -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    manager, client = start_new_kernel(startup_timeout=PATIENCE)
    try:
        assert [shown["msg_type"] for shown in run((manager, client), SETUP)] == []
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def run(kernel: Any, code: str, *, interrupt_at: str = "") -> list[dict[str, Any]]:
    """Run a cell; interrupt it when this is seen; return what it shows."""
    manager, client = kernel
    request = client.execute(code)
    shown: list[dict[str, Any]] = []
    while True:
        message = client.get_iopub_msg(timeout=PATIENCE)
        if message["parent_header"].get("msg_id") != request or message["msg_type"] == "execute_input":
            continue
        if message["msg_type"] == "status":
            if message["content"]["execution_state"] == "idle":
                return shown
            continue
        shown.append(message)
        if interrupt_at and interrupt_at in str(message["content"]):
            manager.interrupt_kernel()
            interrupt_at = ""


@pytest.mark.parametrize(
    ("cell", "error"),
    [
        ("show(client.create().stream('How many?'))", "KeyboardInterrupt"),
        ("await ashow(client.as_async().session(client.create().session_id).stream('How many?'))", "CancelledError"),
        ("show(model.stream('How many?'))", "KeyboardInterrupt"),
        ("await ashow(model.astream('How many?'))", "CancelledError"),
    ],
)
def test_an_interrupted_cell_shows_what_came_marked_so(kernel: Any, cell: str, error: str) -> None:
    first, *updates, last = run(kernel, cell, interrupt_at="Thirty days")
    assert first["msg_type"] == "display_data"
    assert {update["msg_type"] for update in updates} == {"update_display_data"}
    final = updates[-1]["content"]["data"]["text/html"]
    assert "Thirty days" in final
    assert "This turn is not finished." in final
    assert (last["msg_type"], last["content"]["ename"]) == ("error", error)
