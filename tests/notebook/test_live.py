"""The same view while a turn is being answered: a few paintings a second, and in the end exactly the static one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
from IPython.utils.capture import capture_output

from llama_cloud_chat import AsyncChatClient, ChatClient, Turn, TurnFailedError, TurnStream
from llama_cloud_chat._session.clock import Clock
from llama_cloud_chat.notebook import ashow, show, to_html
from llama_cloud_chat.notebook._display import NotebookDisplay, TerminalDisplay
from llama_cloud_chat.notebook._live import SHORTEST_PAUSE, find_stream, follow
from llama_cloud_chat.notebook._render import keep_open

from ..support.server import Gate, Step
from ..support.service import ChatService, Play
from ..support.turns import said, segment, stop
from .conftest import Notebook, Ticks, interrupt_main, meanwhile
from .support import WITH_EVERYTHING, judge

SHOW = "from llama_cloud_chat.notebook import show\nanswer = show(x)"


def waiting_at(gate: Gate, after: int) -> Callable[[list[bytes]], Iterable[Step]]:
    """Make an answer wait at a gate, after its head and this many messages."""
    return lambda pieces: [*pieces[: after + 1], gate, *pieces[after + 1 :]]


@pytest.fixture
def stream(service: ChatService, client: ChatClient) -> TurnStream:
    service.plays.append(Play(WITH_EVERYTHING))
    return client.session(service.add_session()).stream("How many days?")


def test_a_stream_ends_in_exactly_the_static_view(stream: TurnStream, notebook: Notebook) -> None:
    shown = notebook.run(SHOW, x=stream)
    assert shown[-1]["text/html"] == to_html(stream.turn)
    assert notebook.shell.user_ns["answer"] is stream.turn
    assert stream.turn.is_complete


async def test_an_asynchronous_stream_ends_in_exactly_the_static_view(
    service: ChatService, aclient: AsyncChatClient, notebook: Notebook
) -> None:
    service.plays.append(Play(WITH_EVERYTHING))
    stream = aclient.session(service.add_session()).stream("How many days?")
    with capture_output() as captured:
        turn = await ashow(stream)
    assert turn is stream.turn
    assert notebook.displayed(captured)[-1]["text/html"] == to_html(turn)


def test_the_view_is_one_output_that_is_updated(stream: TurnStream, notebook: Notebook) -> None:
    notebook.shell.push({"x": stream})
    with capture_output() as captured:
        notebook.shell.run_cell(SHOW).raise_error()
    first, *rest = captured._outputs
    assert not first["update"]
    assert rest
    assert all(output["update"] and output["transient"] == first["transient"] for output in rest)


def test_what_came_is_shown_while_the_agent_works(
    service: ChatService, client: ChatClient, notebook: Notebook, ticks: Ticks
) -> None:
    gate = Gate()
    service.plays.append(Play(WITH_EVERYTHING, steps=waiting_at(gate, 3)))
    stream = client.session(service.add_session()).stream("How many days?")
    seen: list[str] = []

    def watch() -> None:
        ticks.painted()
        assert gate.reached.wait(60)
        while len(stream.turn.events) < 2:
            pass
        ticks.tick()
        seen.extend(output["data"]["text/html"] for output in captured._outputs)
        gate.open()

    with capture_output() as captured, meanwhile(watch):
        show(stream)
    words = judge(seen[-1].removesuffix(keep_open())).text
    assert "How many days?" in words
    assert "I look for it." in words
    assert "running …" in words
    assert "Answering …" in words
    final = captured._outputs[-1]["data"]["text/html"]
    assert "Answering …" not in final
    assert final == to_html(stream.turn)


def test_the_view_is_painted_by_the_clock_and_not_by_the_token(
    service: ChatService, client: ChatClient, notebook: Notebook, ticks: Ticks
) -> None:
    service.plays.append(Play(said("word " * 2000)))
    with capture_output() as captured:
        turn = show(client.session(service.add_session()).stream("Go on."))
    assert len(turn.text) == 10_000
    # The clock stands still: at the beginning, and at the end.
    assert len(captured._outputs) <= 2
    assert set(ticks.waits) == {SHORTEST_PAUSE}


def test_a_view_in_which_nothing_changed_is_not_painted_again(
    service: ChatService, client: ChatClient, notebook: Notebook, ticks: Ticks
) -> None:
    gate = Gate()
    service.plays.append(Play(said("Yes."), steps=waiting_at(gate, 0)))
    stream = client.session(service.add_session()).stream("Is it?")

    def watch() -> None:
        ticks.painted()
        for _ in range(5):
            ticks.tick()
        counts.append(len(captured._outputs))
        gate.open()

    counts: list[int] = []
    with capture_output() as captured, meanwhile(watch):
        show(stream)
    assert counts == [1]


def test_a_view_that_takes_long_to_paint_is_painted_less_often(
    service: ChatService, client: ChatClient, ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def paint(*_: Any) -> int:
        ticks.now += 1.5
        return 0

    monkeypatch.setattr("llama_cloud_chat.notebook._display.TerminalDisplay.paint", paint)
    monkeypatch.setattr("llama_cloud_chat.notebook._display.TerminalDisplay.finish", lambda *_: None)
    show(client.session(service.add_session()).stream("Is it?"))
    assert ticks.waits[0] == 6.0


def test_a_large_view_is_sent_less_often_than_jupyter_would_cut_off(
    service: ChatService, client: ChatClient, ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llama_cloud_chat.notebook._display.TerminalDisplay.paint", lambda *_: 1_250_000)
    monkeypatch.setattr("llama_cloud_chat.notebook._display.TerminalDisplay.finish", lambda *_: None)
    show(client.session(service.add_session()).stream("Is it?"))
    assert ticks.waits[0] == 2.5


def test_a_view_that_grows_says_since_when(
    service: ChatService, client: ChatClient, notebook: Notebook, ticks: Ticks
) -> None:
    gate = Gate()
    service.plays.append(Play(said("Yes."), steps=waiting_at(gate, 1)))
    stream = client.session(service.add_session()).stream("Is it?")

    def watch() -> None:
        ticks.painted()
        assert gate.reached.wait(60)
        while not stream.turn.text:
            pass
        ticks.now += 7
        ticks.tick()
        gate.open()

    with capture_output() as captured, meanwhile(watch):
        show(stream)
    painted = [data["text/html"] for data in notebook.displayed(captured)]
    assert "Answering … 0 s" in judge(painted[0].removesuffix(keep_open())).text
    assert "Answering … 7 s" in judge(painted[1].removesuffix(keep_open())).text


def test_a_view_that_grows_holds_the_one_script_and_the_one_that_is_kept_holds_none(
    stream: TurnStream, notebook: Notebook
) -> None:
    first, *_, last = notebook.run(SHOW, x=stream)
    assert first["text/html"].endswith(keep_open())
    assert first["text/html"].count("<script") == 1
    assert "<script" not in last["text/html"]


def test_a_view_in_a_notebook_knows_its_size(notebook: Notebook) -> None:
    turn = Turn("What?", session_id="ses-1")
    display = NotebookDisplay()
    with capture_output() as captured:
        size = display.paint(turn, 0.0)
        assert display.paint(turn, 1.0) == 0
    assert size == len(captured._outputs[0]["data"]["text/html"].encode())


def test_an_agent_that_fails_leaves_its_turn_and_the_error(
    service: ChatService, client: ChatClient, notebook: Notebook
) -> None:
    service.plays.append(Play([*segment("text", "So far"), stop(is_error=True, error="No index.")]))
    stream = client.session(service.add_session()).stream("Is it?")
    with capture_output() as captured, pytest.raises(TurnFailedError):
        show(stream)
    final = captured._outputs[-1]["data"]["text/html"]
    assert final == to_html(stream.turn)
    assert "So far" in final
    assert "No index." in final


async def test_an_agent_that_fails_a_task_leaves_its_turn_and_the_error(
    service: ChatService, aclient: AsyncChatClient, notebook: Notebook
) -> None:
    service.plays.append(Play([*segment("text", "So far"), stop(is_error=True, error="No index.")]))
    stream = aclient.session(service.add_session()).stream("Is it?")
    with capture_output() as captured, pytest.raises(TurnFailedError):
        await ashow(stream)
    assert captured._outputs[-1]["data"]["text/html"] == to_html(stream.turn)


def test_an_interrupted_kernel_closes_the_stream_and_leaves_the_partial_turn_marked_so(
    service: ChatService, client: ChatClient, notebook: Notebook, interruptible: None
) -> None:
    gate = Gate()
    service.plays.append(Play(said("Thirty days of leave."), steps=waiting_at(gate, 2)))
    stream = client.session(service.add_session()).stream("How many?")

    def interrupt() -> None:
        assert gate.reached.wait(60)
        while not stream.turn.text:
            pass
        interrupt_main()

    with capture_output() as captured, pytest.raises(KeyboardInterrupt), meanwhile(interrupt):
        show(stream)
    assert service.received("stream")[0].hung_up.wait(60)
    assert stream.turn.text
    assert not stream.turn.is_complete
    final = captured._outputs[-1]["data"]["text/html"]
    assert final == to_html(stream.turn)
    assert "This turn is not finished." in final


def test_a_view_that_fails_closes_the_stream(service: ChatService, client: ChatClient) -> None:
    gate = Gate()
    service.plays.append(Play(said("Thirty days."), steps=waiting_at(gate, 2)))
    found = find_stream(client.session(service.add_session()).stream("How many?"), by_task=False)
    assert found is not None

    def fail(piece: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        follow(replace(found, take=fail), TerminalDisplay(), Clock())
    assert service.received("stream")[0].hung_up.wait(60)


async def test_a_cancelled_task_closes_the_stream_and_leaves_the_partial_turn_marked_so(
    service: ChatService, aclient: AsyncChatClient, notebook: Notebook
) -> None:
    gate = Gate()
    service.plays.append(Play(said("Thirty days of leave."), steps=waiting_at(gate, 2)))
    stream = aclient.session(service.add_session()).stream("How many?")
    with capture_output() as captured:
        task = asyncio.create_task(ashow(stream))
        while not stream.turn.text:  # noqa: ASYNC110  # the loop that reads it is this one
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await asyncio.to_thread(service.received("stream")[0].hung_up.wait, 10)
    final = captured._outputs[-1]["data"]["text/html"]
    assert final == to_html(stream.turn)
    assert "This turn is not finished." in final


async def test_an_asynchronous_stream_is_refused_by_show(aclient: AsyncChatClient, service: ChatService) -> None:
    with pytest.raises(TypeError, match="await ashow"):
        show(aclient.session(service.add_session()).stream("Is it?"))
    assert service.prompts == []


async def test_ashow_reads_a_stream_for_threads_without_blocking(
    service: ChatService, client: ChatClient, capsys: pytest.CaptureFixture[str]
) -> None:
    turn = await ashow(client.session(service.add_session()).stream("Is it?"))
    assert turn.text == "You said: Is it?"
    assert "You said: Is it?\n" in capsys.readouterr().out


def test_outside_of_notebooks_the_answer_is_printed_as_it_comes(
    service: ChatService, client: ChatClient, ticks: Ticks, capsys: pytest.CaptureFixture[str]
) -> None:
    service.plays.append(Play(WITH_EVERYTHING))
    show(client.session(service.add_session()).stream("How many\x1b days?"))
    assert capsys.readouterr().out == (
        'You: How many days?\n→ retrieve(query="days of leave", top_k=6)\nYou have **30 days**.\n'
        "1 source: Employee handbook.pdf\n"
    )


def test_outside_of_notebooks_a_turn_that_breaks_off_says_so(
    service: ChatService, client: ChatClient, capsys: pytest.CaptureFixture[str]
) -> None:
    service.plays.append(Play([*segment("text", "So far"), stop(is_error=True, error="No index.")]))
    with pytest.raises(TurnFailedError):
        show(client.session(service.add_session()).stream("Is it?"))
    assert capsys.readouterr().out == "You: Is it?\nSo far\nThe agent failed: No index.\n"
