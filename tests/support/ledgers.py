"""What every ledger must do, as tests to inherit; and other processes that use one."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import llama_cloud_chat
from llama_cloud_chat import Hold, Ledger, Note, SessionBusyError, SessionCount

ROOT = Path(__file__).parent.parent.parent
NOTE = Note("question", "session-1", 4, "prompt")
HARD = {"text": "\0 \ud83d \u2028 ü", "nested": [{"a": None, "b": 1.5}]}

HOLDER = """
import sys, time
from llama_cloud_chat import *
ledger = {ledger}
with ledger.hold("name"):
    ledger.write("key", Note("question", "session-1", 4, "prompt"))
    print("held", flush=True)
    {then}
"""
COUNTER = """
from dataclasses import replace
from llama_cloud_chat import *
ledger = {ledger}
for _ in range({times}):
    with ledger.hold("counter"):
        note = ledger.read("counter") or Note("question", "session-1", 0, "prompt")
        ledger.write("counter", replace(note, turns_before=note.turns_before + 1))
ledger.close()
"""


@contextlib.contextmanager
def process(script: str, **values: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a script in a process of its own; killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", script.format(**values)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def said(running: subprocess.Popen[str]) -> str:
    assert running.stdout is not None
    return running.stdout.readline().strip()


@contextlib.asynccontextmanager
async def entered(colour: str, hold: Hold) -> AsyncIterator[None]:
    """Hold it as one colour does."""
    if colour == "sync":
        with hold:
            yield
    else:
        async with hold:
            yield


async def call(colour: str, ledger: Ledger, name: str, *values: Any) -> Any:
    """Call a method or its async twin."""
    if colour == "sync":
        return getattr(ledger, name)(*values)
    return await getattr(ledger, f"a{name}")(*values)


async def soon(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, 30)


async def chances() -> None:
    """Give whoever should be waiting every chance not to."""
    await asyncio.sleep(0.15)


class LedgerContract:
    """A ledger, whatever it is made of. A subclass has a fixture `ledger`."""

    @pytest.fixture(params=["sync", "async"])
    def colour(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    async def test_a_note_comes_back_as_it_was_written(self, ledger: Ledger, colour: str) -> None:
        assert await call(colour, ledger, "read", "key") is None
        note = replace(NOTE, number=5, turn=HARD, is_kept=False)
        await call(colour, ledger, "write", "key", note)
        assert await call(colour, ledger, "read", "key") == note
        assert await call(colour, ledger, "read", "another") is None

    async def test_the_last_note_under_a_key_counts(self, ledger: Ledger, colour: str) -> None:
        for note in (NOTE, NOTE, replace(NOTE, number=5)):
            await call(colour, ledger, "write", "key", note)
            assert await call(colour, ledger, "read", "key") == note

    async def test_what_one_colour_writes_the_other_reads(self, ledger: Ledger) -> None:
        ledger.write("one", NOTE)
        await ledger.awrite("two", NOTE)
        assert await ledger.aread("one") == ledger.read("two") == NOTE

    async def test_counts_are_remembered_with_their_age_and_forgotten(self, ledger: Ledger, colour: str) -> None:
        assert await call(colour, ledger, "recall", "s") is None
        await call(colour, ledger, "remember", "s", 3)
        first: SessionCount = await call(colour, ledger, "recall", "s")
        assert first.turns == 3
        assert 0 <= first.age < 30
        await chances()
        assert (await call(colour, ledger, "recall", "s")).age > first.age
        await call(colour, ledger, "remember", "s", None)
        assert await call(colour, ledger, "recall", "s") is None

    async def test_a_key_and_a_session_of_one_name_are_two_things(self, ledger: Ledger) -> None:
        ledger.write("x", NOTE)
        ledger.remember("x", 1)
        ledger.remember("x", None)
        assert ledger.read("x") == NOTE

    async def test_tasks_and_threads_hold_a_name_one_after_another(self, ledger: Ledger) -> None:
        inside: list[int] = []
        seen: list[int] = []

        async def task(number: int) -> None:
            async with ledger.hold("name"):
                inside.append(number)
                await asyncio.sleep(0)
                seen.append(len(inside))
                inside.pop()

        def thread(number: int) -> None:
            with ledger.hold("name"):
                inside.append(number)
                seen.append(len(inside))
                inside.pop()

        await soon(asyncio.gather(*(task(n) for n in range(8)), *(asyncio.to_thread(thread, n) for n in range(8))))
        assert seen == [1] * 16

    async def test_those_who_wait_are_served_in_the_order_they_came(self, ledger: Ledger) -> None:
        order: list[int] = []

        async def one(number: int) -> None:
            async with ledger.hold("name"):
                order.append(number)

        async with ledger.hold("name"):
            waiting = [asyncio.create_task(one(number)) for number in range(5)]
            await chances()
        await soon(asyncio.gather(*waiting))
        assert order == [0, 1, 2, 3, 4]

    async def test_other_names_do_not_wait(self, ledger: Ledger, colour: str) -> None:
        async with entered(colour, ledger.hold("one")), entered(colour, ledger.hold("two")):
            pass

    async def test_a_name_may_be_anything(self, ledger: Ledger, colour: str) -> None:
        for name in ("", "a/../b", "\0", "\ud83d", "ü" * 5000):
            async with entered(colour, ledger.hold(name)):
                pass

    async def test_waiting_does_not_stop_the_event_loop_and_can_be_cancelled(self, ledger: Ledger) -> None:
        waits, go = threading.Event(), threading.Event()

        def hold() -> None:
            with ledger.hold("name"):
                waits.set()
                go.wait(30)

        async def wait() -> None:
            async with ledger.hold("name"):
                raise AssertionError

        async def take() -> str:
            async with ledger.hold("name"):
                return "taken"

        holder = asyncio.create_task(asyncio.to_thread(hold))
        await asyncio.to_thread(waits.wait, 30)
        waiting = asyncio.create_task(wait())
        behind = asyncio.create_task(take())
        await chances()
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(waiting)
        assert not behind.done()
        go.set()
        assert await soon(behind) == "taken"
        await holder

    async def test_an_error_inside_frees_the_name(self, ledger: Ledger, colour: str) -> None:
        for _ in range(2):
            with pytest.raises(KeyError):
                async with entered(colour, ledger.hold("name")):
                    raise KeyError

    async def test_one_hold_can_be_used_again(self, ledger: Ledger, colour: str) -> None:
        hold = ledger.hold("name")
        for _ in range(2):
            async with entered(colour, hold):
                pass

    @pytest.mark.parametrize("second", ["sync", "async"])
    async def test_waiting_for_oneself_is_an_error_and_no_deadlock(
        self, ledger: Ledger, colour: str, second: str
    ) -> None:
        async with entered(colour, ledger.hold("name")):
            with pytest.raises(SessionBusyError, match="'name' is held here already"):
                async with entered(second, ledger.hold("name")):
                    raise AssertionError
        async with entered(second, ledger.hold("name")):
            pass

    async def test_a_thread_does_not_wait_for_a_task_that_only_it_could_run(self, ledger: Ledger) -> None:
        inside, go = asyncio.Event(), asyncio.Event()

        async def other() -> None:
            async with ledger.hold("name"):
                inside.set()
                await go.wait()

        task = asyncio.create_task(other())
        await soon(inside.wait())
        with pytest.raises(SessionBusyError), ledger.hold("name"):
            raise AssertionError
        go.set()
        await task

    def test_an_event_loop_inside_a_hold_does_not_wait_for_it(self, ledger: Ledger) -> None:
        async def main() -> None:
            async with ledger.hold("name"):
                raise AssertionError

        with ledger.hold("name"), pytest.raises(SessionBusyError):
            asyncio.run(main())

    def test_whoever_waits_in_a_loop_that_was_closed_is_passed_over(self, ledger: Ledger) -> None:
        loop = asyncio.new_event_loop()

        async def wait() -> None:
            async with ledger.hold("name"):
                raise AssertionError

        async def begin() -> asyncio.Task[None]:
            task = loop.create_task(wait())
            await asyncio.sleep(0)
            return task

        entered_, go = threading.Event(), threading.Event()

        def hold() -> None:
            with ledger.hold("name"):
                entered_.set()
                go.wait(30)

        thread = threading.Thread(target=hold)
        thread.start()
        entered_.wait(30)
        lost = loop.run_until_complete(begin())
        loop.close()
        lost._log_destroy_pending = False  # type: ignore[attr-defined]
        go.set()
        thread.join(30)
        done = threading.Event()
        threading.Thread(target=lambda: (ledger.hold("name").__enter__().__exit__(), done.set())).start()
        assert done.wait(30)

    async def test_it_works_in_one_event_loop_after_another_and_after_being_closed(self, ledger: Ledger) -> None:
        def use() -> None:
            async def main() -> None:
                await ledger.awrite("key", NOTE)
                async with ledger.hold("name"):
                    assert await ledger.aread("key") == NOTE

            asyncio.run(main())

        for _ in range(2):
            await asyncio.to_thread(use)
        ledger.close()
        await asyncio.to_thread(use)
        await ledger.aclose()
        ledger.write("key", NOTE)
        assert await ledger.aread("key") == NOTE

    def test_a_copy_is_the_same_ledger(self, ledger: Ledger) -> None:
        assert copy.copy(ledger) is copy.deepcopy(ledger) is ledger

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
    @pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
    def test_the_child_of_a_fork_has_its_own_locks_and_leaves_its_parent_s_alone(self, ledger: Ledger) -> None:
        with ledger.hold("name"):
            child = os.fork()
            if child == 0:  # pragma: no cover
                code = 1
                try:
                    with ledger.hold("another"):
                        ledger.write("child", NOTE)
                        code = 0 if ledger.read("child") == NOTE else 2
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            ledger.write("parent", NOTE)
        assert ledger.read("parent") == NOTE


class SharedLedgerContract(LedgerContract):
    """A ledger that many processes use. A subclass has a fixture `expression`, which makes it anew in one of them."""

    def test_a_note_is_there_for_other_processes_and_survives_the_writer_s_death(
        self, ledger: Ledger, expression: str
    ) -> None:
        with process(HOLDER, ledger=expression, then="time.sleep(60)") as running:
            assert said(running) == "held"
            assert ledger.read("key") == NOTE
            running.kill()
        assert ledger.read("key") == NOTE

    async def test_a_hold_is_free_at_once_when_its_process_is_killed(
        self, ledger: Ledger, expression: str, colour: str
    ) -> None:
        async def take() -> None:
            if colour == "sync":
                await asyncio.to_thread(lambda: ledger.hold("name").__enter__().__exit__())
            else:
                async with ledger.hold("name"):
                    pass

        with process(HOLDER, ledger=expression, then="time.sleep(60)") as running:
            assert said(running) == "held"
            taking = asyncio.create_task(take())
            await chances()
            assert not taking.done()
            running.kill()
            await asyncio.wait_for(taking, 15)

    async def test_waiting_for_another_process_can_be_cancelled(self, ledger: Ledger, expression: str) -> None:
        with process(HOLDER, ledger=expression, then="time.sleep(60)") as running:
            assert said(running) == "held"
            taking = asyncio.create_task(ledger.hold("name").__aenter__())
            await chances()
            taking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await soon(taking)
            running.kill()
        async with ledger.hold("name"):  # nothing of it is left, here or elsewhere
            pass

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
    async def test_a_hold_is_free_when_its_process_is_killed_though_a_child_lives_on(
        self, ledger: Ledger, expression: str
    ) -> None:
        fork = "import os; child = os.fork(); print(child, flush=True) if child else None; time.sleep(60)"
        with process(HOLDER, ledger=expression, then=fork) as running:
            assert said(running) == "held"
            child = int(said(running))
            try:
                os.kill(running.pid, 9)
                held = await asyncio.wait_for(ledger.hold("name").__aenter__(), 5)
                await held.__aexit__()
            finally:
                os.kill(child, 9)

    def test_many_may_make_a_new_one_at_once(self, expression: str) -> None:
        start = threading.Barrier(12)

        def use(number: int) -> Note | None:
            start.wait(30)
            ledger: Ledger = eval(expression, vars(llama_cloud_chat))
            try:
                ledger.write(str(number), NOTE)
                return ledger.read(str(number))
            finally:
                ledger.close()

        with ThreadPoolExecutor(12) as threads:
            assert list(threads.map(use, range(12))) == [NOTE] * 12

    def test_processes_open_a_new_one_at_once_and_what_they_do_inside_a_hold_is_never_crossed(
        self, expression: str, request: pytest.FixtureRequest
    ) -> None:
        with contextlib.ExitStack() as stack:
            running = [stack.enter_context(process(COUNTER, ledger=expression, times=30)) for _ in range(4)]
            assert [one.wait(90) for one in running] == [0] * 4
        note = request.getfixturevalue("ledger").read("counter")
        assert note is not None
        assert note.turns_before == 120

    def test_a_pickled_ledger_is_the_same_one_where_it_arrives(self, ledger: Ledger) -> None:
        ledger.write("key", NOTE)
        there = pickle.loads(pickle.dumps(ledger))
        assert there.read("key") == NOTE
        there.close()
