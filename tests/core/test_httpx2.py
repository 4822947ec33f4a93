"""A user's httpx2, beside or in place of httpx. `HTTP_LIBRARY=httpx2` runs all other tests of the core by it, too."""

from __future__ import annotations

import asyncio
import copy
import gzip
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from llama_cloud_chat import (
    APIConnectionError,
    APITimeoutError,
    AsyncChatClient,
    Attachment,
    ChatClient,
    ConfigurationError,
    Timeouts,
)
from llama_cloud_chat._config import make_config
from llama_cloud_chat._httpx import alike

from ..support.clients import KEY, Blocking, FakeClock
from ..support.server import Cut, Gate, plain
from ..support.service import ChatService, Held, Play
from ..support.turns import RECORDED, messages

httpx2 = pytest.importorskip("httpx2", reason="httpx2 needs Python 3.11")

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def http(colour: str, loop: Any) -> Iterator[Any]:
    """A user's own client; it is theirs to close."""
    if colour == "sync":
        with httpx2.Client(trust_env=False) as client:
            yield client
    else:
        client = httpx2.AsyncClient(trust_env=False)
        yield client
        loop.run_until_complete(client.aclose())


@pytest.fixture
def loop() -> Iterator[Any]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


@pytest.fixture
def client(colour: str, service: ChatService, http: Any, loop: Any, clock: FakeClock) -> Any:
    """A client over the user's own, that never really waits."""
    kind: Any = ChatClient if colour == "sync" else AsyncChatClient
    client = kind(KEY, base_url=service.base_url, http_client=http, timeout=httpx2.Timeout(20))
    client._clock = client._transport._clock = clock.as_clock()
    return client if colour == "sync" else Blocking(client, loop)


def test_the_suite_speaks_by_the_library_it_is_told(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from ..support.http import httpx as told

    sent: list[str] = []
    for library in (httpx, httpx2):
        for kind in (library.Client, library.AsyncClient):

            def send(http: Any, *given: Any, kind: Any = kind, send: Any = kind.send, **settings: Any) -> Any:
                sent.append(kind.__module__)
                return send(http, *given, **settings)

            monkeypatch.setattr(kind, "send", send)
    make().create()
    assert sent == [told.__name__]


def test_every_operation_goes_by_it_with_the_key_and_a_download_without(client: Any, service: ChatService) -> None:
    service.plays.append(Play(RECORDED))
    session = client.create()
    assert session.ask("What?").is_complete
    assert [one.session_id for one in client.list()] == [session.session_id]
    assert client.download(Attachment("p.jpg", "f1")) == b"\x89PNG"
    *ours, fetched = service.requests
    assert {request.headers["authorization"] for request in ours} == {f"Bearer {KEY}"}
    assert "authorization" not in fetched.headers


def test_a_stream_of_it_that_is_cut_is_made_whole_and_asked_once(client: Any, service: ChatService) -> None:
    service.plays.append(Play(RECORDED, steps=lambda pieces: [*pieces[:5], Cut()]))
    assert client.create().ask("What?").is_complete
    assert service.prompts == ["What?"]
    assert "retrieve" in service.operations()


def test_a_compressed_stream_of_it_is_read(client: Any, service: ChatService) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "text/event-stream"}
    packed = plain(200, gzip.compress(b"".join(messages(RECORDED))), headers)
    service.plays.append(Play(RECORDED, instead=[packed]))
    assert client.create().ask("What?").is_complete


def test_it_waits_as_long_as_the_service_says(client: Any, service: ChatService, clock: FakeClock) -> None:
    service.instead["create"].append([plain(429, headers={"Retry-After": "7"})])
    client.create()
    assert clock.waits == [7]


def test_what_it_raises_becomes_our_errors(client: Any, service: ChatService) -> None:
    session = client.create()
    service.stop_listening()
    with pytest.raises(APIConnectionError, match="Could not connect"):
        session.summary()
    service.listen_again()
    service.instead["summary"].extend([[Cut()]] * 6)
    with pytest.raises(APIConnectionError, match="broke"):
        session.summary()


def test_its_silence_and_its_full_pool_are_timeouts(service: ChatService) -> None:
    gate = Gate()
    service.plays.append(Held(gate=gate))
    with httpx2.Client(limits=httpx2.Limits(max_connections=1)) as http:
        client = ChatClient(KEY, base_url=service.base_url, http_client=http, timeout=Timeouts(pool=0.05, idle=1.5),
                            max_retries=0)  # fmt: skip
        one, other = client.create(), client.create()
        with one.stream("One?") as stream:
            next(stream)
            with pytest.raises(APITimeoutError, match=r"connections were in use for 0.05 seconds"):
                other.ask("Two?")
            gate.open()
        silent = Gate()
        service.instead["summary"].append([silent])
        with pytest.raises(APITimeoutError, match=r"did not answer for 1\.5 seconds"):
            other.summary()
        silent.open()


@pytest.mark.parametrize(("kind", "name"), [(ChatClient, "AsyncClient"), (AsyncChatClient, "Client")])
async def test_one_of_the_wrong_colour_or_closed_is_refused_at_once(kind: Any, name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"must be an httpx\.\w+, not {name}: .*httpx2's serve as well"):
        kind(KEY, http_client=getattr(httpx2, name)())
    if kind is ChatClient:
        http = httpx2.Client()
        http.close()
    else:
        http = httpx2.AsyncClient()
        await http.aclose()
    with pytest.raises(ConfigurationError, match="http_client is closed"):
        kind(KEY, http_client=http)


async def test_a_twin_does_not_go_around_it(service: ChatService) -> None:
    with httpx2.Client() as http:
        twin = ChatClient(KEY, base_url=service.base_url, http_client=http).as_async()
        with pytest.raises(ConfigurationError, match="an http_client of its own"):
            await twin.create()
    assert service.requests == []


def test_its_timeout_is_read_as_httpx_s_is() -> None:
    assert make_config(api_key=KEY, timeout=httpx2.Timeout(7)).timeout == Timeouts(connect=7, idle=7, pool=7)
    assert make_config(api_key=KEY, timeout=httpx2.Timeout(None, pool=3)).timeout == Timeouts(None, None, 3)


def test_a_copy_keeps_it(service: ChatService) -> None:
    with httpx2.Client() as http:
        client = ChatClient(KEY, base_url=service.base_url, http_client=http, timeout=httpx2.Timeout(7))
        assert copy.deepcopy(client) is client
        assert client.config.timeout == Timeouts(connect=7, idle=7, pool=7)
        assert pickle.loads(pickle.dumps(client)).config == client.config


def test_while_it_is_being_imported_by_another_thread_httpx_s_names_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx2", SimpleNamespace(HTTPError=httpx2.HTTPError))
    assert set(alike(httpx.HTTPError)) == {httpx.HTTPError, httpx2.HTTPError}
    assert set(alike(httpx.PoolTimeout)) == {httpx.PoolTimeout}


def run(script: str) -> str:
    """Run a script in a process of its own; return what it printed."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_nobody_imports_it_who_has_no_use_for_it() -> None:
    script = "import sys, llama_cloud_chat; llama_cloud_chat.ChatClient('k', timeout=3); print('httpx2' in sys.modules)"
    assert run(script) == "False"


def test_in_place_of_httpx_it_serves_as_well(service: ChatService) -> None:
    """`alias_httpx` makes every `import httpx` one of httpx2."""
    service.plays.append(Play(RECORDED, steps=lambda pieces: [*pieces[:5], Cut()]))
    said = run(f"""
import httpx2
httpx2.alias_httpx()
from llama_cloud_chat import ChatClient
with ChatClient("k", base_url={service.base_url!r}) as client:
    print(client.create(["ix"]).ask("What?").is_complete)
""")
    assert said == "True"
    assert "retrieve" in service.operations()
