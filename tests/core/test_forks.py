"""Forked processes: each has connections of its own, and the parent's are the parent's alone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llama_cloud_chat import ConfigurationError, Message, _fork
from llama_cloud_chat._transport.line import lead_nowhere
from llama_cloud_chat._transport.pools import _PARENTS, Pools, _GivenClients

from ..support.http import httpx
from ..support.service import ChatService, Held
from ..support.turns import said

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")

ROOT = Path(__file__).parent.parent.parent
# The parent's service and connections, and what becomes of a child. Threads and a fork: Python 3.12 warns of them.
BEGIN = """
import asyncio, faulthandler, gc, multiprocessing, os, sys, threading, time, warnings
faulthandler.dump_traceback_later(50, exit=True)
from llama_cloud_chat import *
from tests.support.http import httpx
from tests.support.server import Gate
from tests.support.service import ChatService, Held, Play
from tests.support.turns import said

service = ChatService().__enter__()
service.reply = lambda prompt: Play(said("You said: " + prompt))

def new_client(kind=ChatClient, **settings):
    return kind("llx-1", base_url=service.base_url, **settings)

def in_child(act):
    "Fork; return what the child's `act` returned, or the error that it raised, as text."
    coming, going = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            said = str(act())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(going, said.encode())
        os._exit(0)
    os.close(going)
    with os.fdopen(coming) as answer:
        said = answer.read()
    assert os.waitpid(child, 0)[1] == 0
    return said
"""


def run(program: str) -> None:
    """Run a program in a process of its own; nothing may warn of what our own code does."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BEGIN + program + "\nprint('done')\nsys.stdout.flush()\nos._exit(0)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )
    assert done.stdout.endswith("done\n"), done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("uses", ["asks", "asks on"])
def test_a_client_used_before_a_fork_has_connections_of_its_own_in_the_child(uses: str) -> None:
    run(f"""
client = new_client()
session = client.create(["ix"])
assert session.ask("One?").text == "You said: One?"
ours = service.connections_made
asked = {"client.create(['ix'])" if uses == "asks" else "session"!r}
answers = [in_child(lambda: eval(asked).ask("Two?").text) for _ in range(3)]
assert answers == ["You said: Two?"] * 3, answers
assert service.connections_made == ours + 3
service.wait_until(lambda: service.open_connections == 1)
assert session.ask("Three?").text == "You said: Three?"
assert service.connections_made == ours + 3, "the parent's connection did not last"
""")


def test_a_pool_of_workers_after_a_request_gets_each_its_own_answers() -> None:
    run("""
client = new_client()
client.create(["ix"]).ask("Zero?")

def ask(number):
    return client.create(["ix"]).ask(f"{number}?").text

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    with multiprocessing.get_context("fork").Pool(4) as pool:
        answers = pool.map(ask, range(40), chunksize=1)
assert answers == [f"You said: {number}?" for number in range(40)], answers
""")


def test_a_session_in_use_at_the_fork_is_free_in_the_child_and_its_turn_goes_on_in_the_parent() -> None:
    run("""
client = new_client()
session = client.create(["ix"])
held = Held(said("Held on."))
service.plays.append(held)
stream = session.stream("One?")
next(stream)
service.plays.append(Play(said("Free.")))

def act():
    other = client.session(session.session_id)
    return other.ask("Two?").text

service.sessions[session.session_id].turns[0].play.history = [said("Held on.")]
assert in_child(act) == "Free.", "locked"
assert not service.received("stream")[0].hung_up.is_set(), "the child cut the parent's line"
held.gate.open()
list(stream)
assert stream.turn.text == "Held on."
""")


def test_a_turn_of_the_parent_s_that_the_child_lets_go_is_neither_cut_nor_cleaned_up() -> None:
    run("""
client = new_client()
held = Held(said("Held on."))
service.plays.append(held)
streams = [client.converse([Message("user", "One?")], index_ids=["ix"], keep_session=False)]
next(streams[0])

def act():
    streams.pop().close()
    gc.collect()
    client.close()
    return "let go"

assert in_child(act) == "let go"
assert service.operations() == ["create", "stream"]
assert not service.received("stream")[0].hung_up.is_set()
held.gate.open()
list(streams[0])
assert streams[0].turn.text == "Held on."
""")


def test_a_turn_of_the_parent_s_that_the_child_reads_on_is_delivered_by_the_history() -> None:
    run("""
client = new_client()
held = Held(said("Held on."))
service.plays.append(held)
stream = client.create(["ix"]).stream("One?")
next(stream)

def act():
    list(stream)
    return stream.turn.text

assert in_child(act) == "Held on."
assert not service.received("stream")[0].hung_up.is_set()
held.gate.open()
list(stream)
assert stream.turn.text == "Held on."
""")


def test_what_the_parent_hangs_up_is_hung_up_although_a_child_lives() -> None:
    run("""
client = new_client()
held = Held(said("Held on."))
service.plays.append(held)
stream = client.create(["ix"]).stream("One?")
next(stream)
waiting, go = os.pipe()
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    child = os.fork()
if child == 0:
    os.close(go)
    os.read(waiting, 1)
    os._exit(0)
stream.close()
assert service.received("stream")[0].hung_up.wait(60), "the child holds the parent's line"
os.close(go)
os.waitpid(child, 0)
""")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_an_asynchronous_client_too(loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    run(f"""
new_loop = __import__({loop!r}).new_event_loop
client = new_client(AsyncChatClient)

async def ask(prompt):
    return (await (await client.create(["ix"])).ask(prompt)).text

async def parent():
    assert await ask("One?") == "You said: One?"
    held = Held(said("Held on."))
    service.plays.append(held)
    stream = (await client.create(["ix"])).stream("Held?")
    await anext(stream)
    ours = service.connections_made

    def act():
        asyncio._set_running_loop(None)
        return new_loop().run_until_complete(ask("Two?"))

    answer = in_child(act)
    assert answer == "You said: Two?", answer
    assert service.connections_made == ours + 1
    assert not service.received("stream")[1].hung_up.is_set()
    held.gate.open()
    async for _ in stream:
        pass
    assert stream.turn.text == "Held on."
    assert await ask("Three?") == "You said: Three?"
    assert service.connections_made == ours + 1
    await client.aclose()

new_loop().run_until_complete(parent())
""")


@pytest.mark.parametrize("kind", ["ChatClient", "AsyncChatClient"])
def test_an_http_client_used_before_a_fork_is_refused_in_the_child_and_an_unused_one_is_not(kind: str) -> None:
    run(f"""
kind = {kind}
http = (httpx.Client if kind is ChatClient else httpx.AsyncClient)()
client, other = new_client(kind, http_client=http), new_client(kind, http_client=http)
loop = asyncio.new_event_loop()

def ask(client):
    if kind is ChatClient:
        return client.create(["ix"]).ask("Two?").text
    async def act():
        return (await (await client.create(["ix"])).ask("Two?")).text
    return loop.run_until_complete(act())

assert in_child(lambda: ask(client)) == "You said: Two?"
assert ask(client) == "You said: Two?"
asked = len(service.requests)
for used in (client, other):
    heard = in_child(lambda: ask(used))
    assert heard.startswith("ConfigurationError: The http_client was used before this process was forked"), heard
assert len(service.requests) == asked
assert ask(client) == "You said: Two?"
""")


# The same steps in one process, as if it were the child: what a child runs, no measuring of these tests sees.


class Wire:
    """A network stream over a socket."""

    def __init__(self, sock: socket.socket | None) -> None:
        self._sock = sock

    def get_extra_info(self, name: str) -> socket.socket | None:
        return self._sock


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def test_a_copy_of_a_descriptor_that_leads_nowhere_holds_no_line(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    number = near.fileno()
    lead_nowhere(Wire(near))
    assert far.recv(1) == b""  # nobody else had it
    assert near.fileno() == number
    near.close()
    lead_nowhere(Wire(near))
    lead_nowhere(Wire(None))


def test_the_pools_of_a_child_are_empty_and_its_parent_s_wires_lead_nowhere(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    pools = Pools(httpx.Client)
    pool = pools.enter(is_local=True)
    wire = Wire(near)
    pool.note(httpx.Response(200, extensions={"network_stream": wire}))
    pools._begin_anew()
    assert far.recv(1) == b""
    assert pools.clear() == []
    assert pool in _PARENTS
    _PARENTS.remove(pool)
    pool.http.close()


def test_a_given_client_of_the_parent_s_is_refused() -> None:
    given = _GivenClients()
    with httpx.Client() as http:
        given.use(http)
        given._begin_anew()
        with pytest.raises(ConfigurationError, match="used before this process was forked"):
            given.use(http)


def test_a_turn_that_the_parent_asked_is_not_cleaned_up_by_its_child(
    client: Any, service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.plays.append(Held(said("Held on.")))
    messages = [Message("user", "One?")]
    stream = client.converse(messages, index_ids=["ix"], keep_session=False)
    next(stream)
    process = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: process + 1)
    stream.close()
    monkeypatch.undo()
    assert service.operations() == ["create", "stream"]


def test_all_that_lives_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fork, "_LIVING", weakref.WeakSet())
    given = _GivenClients()
    with httpx.Client() as http:
        given.use(http)
        _fork._begin_anew()
        with pytest.raises(ConfigurationError):
            given.use(http)
