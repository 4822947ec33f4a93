"""What a reader sees in JupyterLab, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("jupyterlab", reason="needs JupyterLab")

from .browser import MISSING, open_browser
from .lab import Lab, open_lab

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

MONEY = """
from llama_cloud_chat import Stop, Text, Thinking, ToolCall, ToolResult, Turn
from llama_cloud_chat.notebook import show

money = "Up to $18,500 a team lead decides, above $40,000 the board."
results = {"results": [{"content": money, "metadata": {"file_name": "limits $5 to $9.md"}}]}
found = [ToolCall("c", "retrieve", {"query": money}), ToolResult("c", "retrieve", results)]
show(Turn.from_events(money, [Thinking(money), *found, Text(money), Stop()]))
"""
FORMULA = """
from IPython.display import HTML
HTML('<div class="lcc">Between $18,500 and $40,000</div>')
"""
# The agent goes on whenever a file comes into being: the test's hand on its thread.
LIVE = """
import pathlib, time
from llama_cloud_chat import ChatClient
from llama_cloud_chat.local import LocalService

def wait_for(name):
    while not pathlib.Path(name).exists():
        time.sleep(0.01)

def agent(turn):
    yield {"type": "thinking_delta", "content": "I begin here. " + "And go on. " * 500 + "I end there."}
    wait_for("call")
    yield {"type": "tool_call", "call_id": "c", "name": "retrieve", "arguments": {"query": "leave"}}
    wait_for("answer")
    found = {"results": [{"content": "Thirty days.", "metadata": {"file_name": "leave.md"}}]}
    yield {"type": "tool_result", "call_id": "c", "name": "retrieve", "result": found}
    yield {"type": "text_delta", "content": "Thirty days."}
    wait_for("end")

with LocalService([], agent=agent) as service, ChatClient(service.api_key, base_url=service.base_url) as client:
    turn = show(client.create(service.index_ids).stream("How many days?"))
"""
MONEY_CELL, FORMULA_CELL, LIVE_CELL = range(3)


OPEN = "[...output.querySelectorAll('details[data-step]')].filter(each => each.open).map(each => each.dataset.step)"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with (
        open_browser(tmp_path_factory.mktemp("profile")) as browser,
        open_lab(browser, tmp_path_factory.mktemp("lab"), [MONEY, FORMULA, LIVE]) as lab,
    ):
        lab.run_cells()
        yield lab


def test_amounts_of_money_stay_what_they_are(lab: Lab) -> None:
    # What does not say that it holds no formulas is one by then.
    lab.wait_for(FORMULA_CELL, "output.querySelector('mjx-container')")
    assert lab.output(MONEY_CELL, "output.querySelectorAll('mjx-container').length") == 0
    assert lab.output(MONEY_CELL, "output.textContent").count("Up to $18,500 a team lead decides, above $40,000") >= 5


def test_a_view_that_grows_shows_where_it_is_and_keeps_what_its_reader_has_opened(lab: Lab) -> None:
    def go_on(to: str) -> None:
        (lab.folder / to).touch()

    def click(step: str) -> None:
        lab.output(LIVE_CELL, f"output.querySelector('[data-step=\"{step}\"] > summary').click()")

    # The last step is open, at its end.
    lab.wait_for(LIVE_CELL, "output.textContent.includes('I end there.')")
    assert lab.output(LIVE_CELL, OPEN) == ["1"]
    box = "output.querySelector('.lcc-last-words')"
    ends = f"{box}.getBoundingClientRect().bottom - {box}.firstElementChild.getBoundingClientRect().bottom"
    assert abs(lab.output(LIVE_CELL, ends)) < 2
    assert lab.output(LIVE_CELL, f"{box}.scrollHeight > 2 * {box}.clientHeight")
    # The seconds count, although nothing comes.
    clock = "Number(getComputedStyle(output.querySelector('.lcc-clock')).getPropertyValue('--lcc-seconds'))"
    now = lab.output(LIVE_CELL, clock)
    lab.output(LIVE_CELL, "output.dataset.same = 'yes'")
    lab.wait_for(LIVE_CELL, f"{clock} > {now}")
    assert lab.output(LIVE_CELL, "output.dataset.same") == "yes"
    # When the next step comes it folds, unless the reader wants it otherwise.
    go_on("call")
    lab.wait_for(LIVE_CELL, "output.textContent.includes('running …')")
    assert lab.output(LIVE_CELL, OPEN) == []
    click("1")
    click("2")
    go_on("answer")
    lab.wait_for(LIVE_CELL, "output.querySelector('.lcc-prose')")
    lab.wait_for(LIVE_CELL, f"({OPEN}).length === 3")
    assert lab.output(LIVE_CELL, OPEN) == ["1", "2", "sources"]
    click("2")
    click("sources")
    # So it is in the end, in a view that holds no script any more.
    go_on("end")
    lab.wait_for(LIVE_CELL, "!output.textContent.includes('Answering')")
    lab.wait_for(LIVE_CELL, f"({OPEN}).length === 1")
    assert lab.output(LIVE_CELL, OPEN) == ["1"]
    assert lab.output(LIVE_CELL, "output.parentElement.querySelector('script')") is None
