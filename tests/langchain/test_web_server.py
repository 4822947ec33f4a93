"""The server of docs/screens.md: an agent's answer as events of an async route."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from llama_cloud_chat.local import LocalService

from ..browser.support import serve
from ..support.service import ChatService, Held, Play
from . import scripts
from .harness import needs_listeners_in_tasks

pytest.importorskip("langchain.agents")
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), needs_listeners_in_tasks]
PAGE = (Path(__file__).parent.parent.parent / "docs/screens.md").read_text(encoding="utf-8")
(RECIPE,) = re.findall(r'^```python title="agent_server.py"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """A page of the recipe's server; the test's parameter, or else `raw`, is the service behind it."""
    service: Any = request.getfixturevalue(getattr(request, "param", "raw"))
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", getattr(service, "api_key", "key"))
    monkeypatch.setenv("LLAMA_CLOUD_BASE_URL", service.base_url)
    names: dict[str, Any] = {"__name__": "agent_server"}
    exec(compile(RECIPE, "agent_server.py", "exec"), names)
    with serve(names["app"]) as address, httpx.Client(base_url=address, trust_env=False, timeout=30) as page:
        yield page


def ask(page: httpx.Client, text: str) -> list[tuple[str, str]]:
    answer = page.post("/ask", json={"thread": "t", "text": text})
    assert answer.status_code == 200
    return re.findall(r"^event: (.*)\ndata: (.*)$", answer.text, re.MULTILINE)


@pytest.mark.parametrize("page", ["service"], indirect=True)
def test_text_and_tools_come_in_order_and_the_thread_goes_on(page: httpx.Client, service: LocalService) -> None:
    events = ask(page, "think, look, answer")
    kinds = [kind for kind, _ in events]
    assert [kind for at, kind in enumerate(kinds) if kind != kinds[at - 1]] == ["tool", "text", "done"]
    assert kinds.count("tool") == 2
    assert ("text", '"turn 2: "') in ask(page, "And?")


def test_an_error_in_the_middle_of_an_answer_is_an_event(page: httpx.Client, raw: ChatService) -> None:
    raw.plays.append(Play([scripts.text_delta("I was"), scripts.stop(is_error=True, error="The model is out.")]))
    *before, last = ask(page, "one")
    assert before == [("text", '"I was"')]
    assert last == ("error", '{"kind": "TurnFailedError", "retry": false}')


def test_a_client_that_leaves_closes_the_connection_and_its_next_question_is_asked_on_a_fork(
    page: httpx.Client, raw: ChatService
) -> None:
    raw.plays.append(Held())
    with page.stream("POST", "/ask", json={"thread": "t", "text": "Tell me"}) as answer:
        next(answer.iter_lines())
    assert raw.received("stream")[-1].hung_up.wait(60)
    assert ask(page, "And now?")[-1] == ("done", "null")
    assert len(raw.sessions) == 2
    assert "Tell me" in raw.prompts[-1]
