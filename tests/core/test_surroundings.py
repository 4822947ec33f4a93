"""What lies between us and the service: the environment's proxies, given httpx clients, compression, other loops."""

from __future__ import annotations

import asyncio
import gzip
import json
import pickle
import socket
import threading
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from llama_cloud_chat import (
    APIStatusError,
    AsyncChatClient,
    ChatClient,
    ClientPair,
    ConfigurationError,
    NotFoundError,
    PresignedURL,
    ProtocolError,
    StreamInterruptedError,
    UnknownEvent,
    UnprocessableEntityError,
)
from llama_cloud_chat._config import make_config
from llama_cloud_chat._transport.http import Morsels, unpacking
from llama_cloud_chat._transport.line import Line
from llama_cloud_chat._transport.tasks import Nothing, _OfSharedLine, _Unpacked

from ..support.clients import KEY, FakeClock, make_client
from ..support.http import httpx
from ..support.server import CHUNKED, PATIENCE, Cut, Gate, ScriptedServer, chunk, head, in_json, plain
from ..support.service import ChatService, Held, Play
from ..support.turns import RECORDED, message, messages, said
from .conftest import MakeClient

# Proxies and certificates of the environment.

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def proxy() -> Iterator[ScriptedServer]:
    with ScriptedServer(lambda request: [plain(502)]) as server:
        yield server


@pytest.mark.rule("design-8")
def test_what_is_for_this_machine_never_goes_to_a_proxy(
    make: MakeClient, proxy: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.base_url)
    client = make()
    assert client.create().ask("What?").is_complete
    assert client.download(client.get_attachment(_attachment())) == b"\x89PNG"
    assert proxy.requests == []


def _attachment() -> Any:
    from llama_cloud_chat import Attachment

    return Attachment("page.png", "file-1")


@pytest.mark.rule("design-8")
def test_what_is_for_elsewhere_goes_to_the_proxy_and_its_redirects_to_this_machine_do_not(
    make: MakeClient, proxy: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.base_url)
    with ScriptedServer(lambda _: [plain(200, b"here")]) as here:
        proxy.handle = lambda _: [plain(302, headers={"Location": f"{here.base_url}/x"})]
        client = make(allow_http=True)
        assert client.download(PresignedURL(url="http://far.example/x", expires_at="")) == b"here"
        assert [request.target for request in proxy.requests] == ["http://far.example/x"]
        assert len(here.requests) == 1


UNUSABLE = {
    "a SOCKS proxy": ({"ALL_PROXY": "socks5://user:pa55@127.0.0.1:1080"}, "SOCKS proxy"),
    "no scheme of a proxy": ({"HTTPS_PROXY": "gopher://user:pa55@proxy"}, "proxy settings"),
    "no port": ({"HTTPS_PROXY": "http://user:pa55@proxy:port"}, "proxy settings"),
    "a network": ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "fe80::/10"}, "NO_PROXY"),
    "a missing file": ({"SSL_CERT_FILE": "/nowhere/certs.pem"}, "SSL_CERT_FILE"),
}


@pytest.mark.parametrize("which", UNUSABLE)
def test_an_environment_that_httpx_cannot_use_is_one_error_and_not_for_this_machine(
    make: MakeClient, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if which == "a network" and httpx.__name__ == "httpx2":
        pytest.skip("httpx2 knows networks, and would connect")
    settings, named = UNUSABLE[which]
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=named) as caught:
            make(base_url="https://api.example.com").create()
        assert "pa55" not in str(caught.value)
    assert make().create().ask("What?").is_complete


@pytest.mark.parametrize(
    "url",
    [
        "https://a..b",
        "https://.example.com",
        f"https://{'a' * 64}.com",
        f"https://{'a.' * 130}com",
        "https://a!b",
        "https://{region}.example.com",
        "https://api.example.com:0",
    ],
)
def test_a_host_that_cannot_be_one_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match="base_url"):
        make_config(api_key=KEY, base_url=url)


@pytest.mark.parametrize(
    "url", ["https://bücher.example", "https://a_b.example.", "https://[2001:db8::1]:8", "https://h"]
)
def test_a_host_that_can_be_one_is_taken(url: str) -> None:
    assert make_config(api_key=KEY, base_url=url).base_url


def test_an_attachment_at_a_host_that_cannot_be_one_is_no_address(client: Any) -> None:
    for url in ("https://a..b/x", "https://h:port/x"):
        with pytest.raises(ProtocolError, match="no web address"):
            client.download(PresignedURL(url=url, expires_at=""))


# httpx clients that people give.


@pytest.mark.parametrize(("kind", "other"), [(ChatClient, httpx.AsyncClient), (AsyncChatClient, httpx.Client)])
async def test_an_http_client_of_the_wrong_colour_or_closed_is_refused_at_once(kind: Any, other: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"http_client must be an httpx\.\w+, not {other.__name__}"):
        kind(KEY, http_client=other())
    right = httpx.Client() if kind is ChatClient else httpx.AsyncClient()
    if isinstance(right, httpx.Client):
        right.close()
    else:
        await right.aclose()
    with pytest.raises(ConfigurationError, match="http_client is closed"):
        kind(KEY, http_client=right)


def test_an_http_client_that_was_closed_later_is_said_to_be(service: ChatService) -> None:
    with httpx.Client() as http:
        client = ChatClient(KEY, base_url=service.base_url, http_client=http)
        client.create()
    with pytest.raises(ConfigurationError, match="http_client is closed"):
        client.create()


async def test_a_twin_does_not_go_around_a_given_http_client(service: ChatService) -> None:
    with httpx.Client() as http:
        client = ChatClient(KEY, base_url=service.base_url, http_client=http)
        pair = ClientPair(client)
        with pytest.raises(ConfigurationError, match=r"AsyncChatClient\(http_client=httpx.AsyncClient.*async_client="):
            await pair.async_client.create()
        assert pair.async_client.as_sync() is client
        await pair.async_client.aclose()
        client.create()
    async with httpx.AsyncClient() as other:
        async_client = AsyncChatClient(KEY, base_url=service.base_url, http_client=other)
        with pytest.raises(ConfigurationError, match=r"ChatClient\(http_client=httpx.Client.* client="):
            async_client.as_sync().create()
    assert service.operations() == ["create"]


@pytest.mark.parametrize("twice", [False, True])
async def test_a_pickled_client_does_not_go_around_the_http_client_it_had(
    twice: bool, service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", KEY)
    with httpx.Client() as http:
        client = ChatClient(KEY, base_url=service.base_url, http_client=http)
        pickled = pickle.dumps(pickle.loads(pickle.dumps(client)) if twice else client)
        twins = pickle.dumps(client.as_async())
    arrived = pickle.loads(pickled)
    with pytest.raises(ConfigurationError, match=r"pickled.*Make ChatClient\(http_client=...\) anew"):
        arrived.create()
    with pytest.raises(ConfigurationError, match="pickled"):
        await arrived.as_async().create()
    with pytest.raises(ConfigurationError, match="must not go around"):
        await pickle.loads(twins).create()
    assert service.requests == []


# Other event loops.


@pytest.mark.parametrize("held", ["in the middle", "after the end"])
def test_on_uvloop_a_line_can_be_cut(service: ChatService, held: str) -> None:
    uvloop = pytest.importorskip("uvloop")
    play = Held(RECORDED, -1 if held == "after the end" else 4)
    service.plays.append(play)

    async def act() -> None:
        async with make_client("async", service.base_url) as client:
            session = await client.create()
            if held == "after the end":
                assert (await session.ask("What?")).is_complete
            else:
                stream = session.stream("What?")
                reading = asyncio.create_task(_read(stream))
                await asyncio.to_thread(play.gate.reached.wait, PATIENCE)
                await stream.aclose()
                await asyncio.wait_for(reading, PATIENCE)
                assert not stream.turn.is_complete
        assert await asyncio.to_thread(service.received("stream")[0].hung_up.wait, PATIENCE)

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(asyncio.wait_for(act(), 30))
    finally:
        loop.close()


async def _read(stream: Any) -> None:
    async for _ in stream:
        pass


# HTTP/2: several turns on one connection.


class SharedLine:
    """A service that speaks HTTP/2, for one connection: every turn begins, and ends when it is told to."""

    def __init__(self) -> None:
        self._h2: Any = pytest.importorskip("h2.connection")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        self._changed = threading.Condition()
        self._turns: dict[str, int] = {}

    def __enter__(self) -> SharedLine:
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        sock, _ = self._listener.accept()
        config = __import__("h2.config").config.H2Configuration(client_side=False, header_encoding="utf-8")
        self._sock, self._connection = sock, self._h2.H2Connection(config)
        with sock:
            self._connection.initiate_connection()
            sock.sendall(self._connection.data_to_send())
            while data := sock.recv(65536):
                with self._lock:
                    for event in self._connection.receive_data(data):
                        if type(event).__name__ == "RequestReceived":
                            self._answer(event.stream_id, dict(event.headers)[":path"])
                    sock.sendall(self._connection.data_to_send())

    def _answer(self, number: int, path: str) -> None:
        if not path.endswith("/stream"):
            self._connection.send_headers(number, [(":status", "200"), ("content-type", "application/json")])
            body = {"session_id": f"ses-{number}", "last_updated_at": "now", "events": []}
            self._connection.send_data(number, json.dumps(body).encode(), end_stream=True)
            return
        self._connection.send_headers(number, [(":status", "200"), ("content-type", "text/event-stream")])
        self._connection.send_data(number, message({"type": "text_delta", "content": "Yes"}))
        with self._changed:
            self._turns[path.split("/")[4]] = number
            self._changed.notify_all()

    def finish(self, session_id: str) -> None:
        """Send the rest of a session's turn."""
        with self._changed:
            assert self._changed.wait_for(lambda: session_id in self._turns, PATIENCE)
        with self._lock:
            rest = b"".join(map(message, [{"type": "text", "content": "Yes"}, {"type": "stop", "is_error": False}]))
            self._connection.send_data(self._turns[session_id], rest, end_stream=True)
            self._sock.sendall(self._connection.data_to_send())


@pytest.fixture
def shared_line() -> Iterator[SharedLine]:
    with SharedLine() as service:
        yield service


async def test_cutting_one_turn_of_a_shared_connection_ends_its_wait_and_no_other(shared_line: SharedLine) -> None:
    async with httpx.AsyncClient(http1=False, http2=True) as http:
        client = AsyncChatClient(KEY, base_url=shared_line.base_url, http_client=http)
        sessions = [await client.create(["ix"]) for _ in range(2)]
        cut, kept = (session.stream("What?") for session in sessions)
        for stream in (cut, kept):
            await anext(stream)
        reading = [asyncio.create_task(_read(stream)) for stream in (cut, kept)]
        await asyncio.sleep(0)
        await cut.aclose()
        await asyncio.wait_for(reading[0], PATIENCE)
        assert not cut.turn.is_complete
        shared_line.finish(sessions[1].session_id)
        await asyncio.wait_for(reading[1], PATIENCE)
        assert kept.turn.text == "Yes"
        assert (await client.create(["ix"])).session_id


async def test_a_turn_of_a_shared_connection_that_was_cut_between_two_packets_ends_there(
    shared_line: SharedLine,
) -> None:
    async with httpx.AsyncClient(http1=False, http2=True) as http:
        client = AsyncChatClient(KEY, base_url=shared_line.base_url, http_client=http)
        stream = (await client.create(["ix"])).stream("What?")
        await anext(stream)
        stream._line.cut()
        await asyncio.wait_for(_read(stream), PATIENCE)
        assert not stream.turn.is_complete


def test_a_thread_s_turn_of_a_shared_connection_is_let_go_at_its_next_packet(shared_line: SharedLine) -> None:
    with httpx.Client(http1=False, http2=True) as http:
        client = ChatClient(KEY, base_url=shared_line.base_url, http_client=http)
        sessions = [client.create(["ix"]) for _ in range(2)]
        cut, kept = (session.stream("What?") for session in sessions)
        for stream in (cut, kept):
            next(stream)
        reader = threading.Thread(target=lambda: list(cut), daemon=True)
        reader.start()
        while not cut._line.is_read():
            pass
        cut.close()
        shared_line.finish(sessions[0].session_id)
        reader.join(PATIENCE)
        assert not reader.is_alive()
        assert not cut.turn.is_complete
        shared_line.finish(sessions[1].session_id)
        list(kept)
        assert kept.turn.text == "Yes"


# Compression that nobody asked for.


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


EVENTS = {"Content-Type": "text/event-stream"}
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": _raw_deflate,
    "gzip, deflate": lambda data: zlib.compress(gzip.compress(data)),
}


@pytest.mark.parametrize("encoding", PACKED)
def test_compressed_answers_are_read(client: Any, service: ChatService, encoding: str) -> None:
    pack = PACKED[encoding]
    headers = {"Content-Encoding": encoding}
    session = client.create()
    service.plays.append(
        Play(
            RECORDED,
            instead=[plain(200, pack(b"".join(messages(RECORDED))), {**headers, "Content-Type": "text/event-stream"})],
        )
    )
    assert session.ask("What?").is_complete
    summary = service.sessions[session.session_id].summary()
    service.instead["summary"].append([plain(200, pack(in_json(summary).partition(b"\r\n\r\n")[2]), headers)])
    assert session.summary().session_id == session.session_id
    service.instead["create"].append([plain(422, pack(b'{"detail": "No such thing."}'), headers)])
    with pytest.raises(UnprocessableEntityError, match="No such thing"):
        client.create()


def test_brotli_is_read_where_httpx_can(client: Any, service: ChatService) -> None:
    brotli = pytest.importorskip("brotli")
    packed = brotli.compress(b"".join(messages(RECORDED)))
    service.plays.append(Play(RECORDED, instead=[plain(200, packed, {"Content-Encoding": "br", **EVENTS})]))
    assert client.create().ask("What?").is_complete


def test_a_compressed_stream_is_handed_on_event_by_event(client: Any, service: ChatService) -> None:
    packer = zlib.compressobj(wbits=31)
    gates = [Gate() for _ in RECORDED]

    def steps(_: list[bytes]) -> Iterator[Any]:
        yield head(200, {**CHUNKED, "Content-Encoding": "gzip"})
        for gate, wire in zip(gates, messages(RECORDED), strict=True):
            yield chunk(packer.compress(wire) + packer.flush(zlib.Z_SYNC_FLUSH))
            yield gate
        yield chunk(packer.flush()) + chunk(b"")

    service.plays.append(Play(RECORDED, steps=steps))
    stream = client.create().stream("What?")
    seen = 0
    for _ in stream:  # the service goes on only once this event was seen
        seen += 1
        for gate in gates[:-1]:
            if gate.reached.is_set():
                gate.open()
    gates[-1].open()
    assert seen
    assert stream.turn.is_complete


@pytest.mark.parametrize("part", [0.5, 0.9])
def test_a_compressed_stream_that_is_cut_is_recovered(client: Any, service: ChatService, part: float) -> None:
    packed = gzip.compress(b"".join(messages(RECORDED)))
    packed = packed[: int(len(packed) * part)]
    headers = {**CHUNKED, "Content-Encoding": "gzip"}
    service.plays.extend(
        [
            Play(RECORDED, instead=[head(200, headers), chunk(packed), chunk(b"")]),
            Play(RECORDED, instead=[head(200, headers), chunk(packed), Cut()]),
        ]
    )
    for _ in range(2):
        turn = client.create().ask("What?")
        assert turn.is_complete
        assert "retrieve" in service.operations()


def test_broken_or_unknown_compression_is_a_protocol_error(client: Any, service: ChatService) -> None:
    session = client.create()
    for encoding, said_ in (("gzip", "compressed, and broken"), ("lz5", r"cannot be read here \(lz5\)")):
        answer = plain(200, b"no such thing at all", {**EVENTS, "Content-Encoding": encoding})
        service.plays.append(Play(instead=[answer], is_taken=False))
        service.instead["summary"].append([answer])
        with pytest.raises(ProtocolError, match=said_):
            client.create().ask("What?")
        with pytest.raises(ProtocolError, match=said_):
            session.summary()


def test_a_packer_that_complains_of_a_missing_end_is_not_believed_over_what_it_holds() -> None:
    morsels = Morsels(httpx.ByteStream(b""))
    morsels.is_over = True
    with unpacking(morsels):
        raise httpx.DecodingError("incomplete")


async def test_a_compressed_stream_whose_end_is_missing_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b""))

    async def incomplete() -> AsyncIterator[bytes]:
        unpacked._morsels.is_over = True
        raise httpx.DecodingError("incomplete")
        yield b""

    unpacked = _Unpacked(packed)
    unpacked._bytes = incomplete()
    assert [piece async for piece in unpacked] == []


async def test_a_cut_that_comes_when_the_wait_is_over_cancels_nobody() -> None:
    _OfSharedLine(Nothing(), Line())._let_go()
    await asyncio.sleep(0)


# What the service says of its errors.


@pytest.mark.parametrize(
    "body",
    [
        {"error": "No credit."},
        {"error": {"message": "No credit."}},
        {"message": "No credit."},
        {"detail": "No credit."},
    ],
)
def test_a_200_that_is_an_error_in_json_says_which(client: Any, service: ChatService, body: Any) -> None:
    service.plays.append(Play(instead=[in_json({**body, "key": KEY})], is_taken=False))
    with pytest.raises(ProtocolError, match=r"'application/json' instead of an event stream\. It says: No credit\."):
        client.create().ask("What?")


@pytest.mark.parametrize(
    "answer",
    [
        [in_json({"odd": 1})],
        [head(200, {"Content-Type": "application/json", "Content-Length": "9"}) + b"{", Cut()],
        [plain(200, b"?", {"Content-Type": "application/json", "Content-Encoding": "lz5"})],
    ],
)
def test_a_200_that_says_nothing_of_use_is_still_a_protocol_error(
    client: Any, service: ChatService, answer: Any
) -> None:
    service.plays.append(Play(instead=answer, is_taken=False))
    with pytest.raises(ProtocolError, match="Is base_url really"):
        client.create().ask("What?")


@pytest.mark.parametrize(
    ("wire", "what"),
    [
        (b'event: error\ndata: {"message": "No credit."}\n\n', r"reported an error: No credit"),
        (b'data: {"type": "error", "error": {"message": "No credit."}}\n\n', r"reported an error: No credit"),
        (b"event: error\ndata: No credit.\n\n", r"reported an error: No credit"),
        (b"event: error\ndata: {}\n\n", r"reported an error: it does not say which"),
    ],
)
def test_an_error_event_that_ends_a_stream_is_said(
    make: MakeClient, service: ChatService, wire: bytes, what: str
) -> None:
    service.plays.append(Play(said("Yes."), steps=lambda pieces: [*pieces[:2], chunk(wire), chunk(b"")], history=[[]]))
    stream = make(recovery_timeout=1).create().stream("What?")
    with pytest.raises(StreamInterruptedError, match=what):
        list(stream)
    assert any(isinstance(event, UnknownEvent) and event.is_error for event in stream.turn.events)


def test_an_error_event_in_a_turn_that_ends_well_is_no_error(client: Any, service: ChatService) -> None:
    warning = b'event: error\ndata: {"message": "One tool is slow."}\n\n'
    service.plays.append(Play(said("Yes."), steps=lambda pieces: [pieces[0], chunk(warning), *pieces[1:]]))
    assert client.create().ask("What?").text == "Yes."


@pytest.mark.parametrize("wait", ["0", "-3", "Mon, 01 Jan 2001 00:00:00 GMT"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_of_nothing_is_the_ordinary_one(
    client: Any, service: ChatService, clock: FakeClock, wait: str, status: int
) -> None:
    service.plays.extend([Play(instead=[plain(status, headers={"Retry-After": wait})], is_taken=False)] * 3)
    assert client.create().ask("What?").is_complete
    assert clock.waits == [0.5, 1.0, 2.0]


# Titles.


@pytest.mark.parametrize("status", [404, 405])
def test_a_title_that_the_service_no_longer_offers_is_said_to_be(
    client: Any, service: ChatService, status: int
) -> None:
    session = client.create()
    service.instead["title"].append([in_json({"detail": "Not Found"}, status)])
    with pytest.raises(APIStatusError, match="no longer offers to set a title") as caught:
        session.set_title("What?")
    assert caught.value.status_code == status
    assert service.operations()[-2:] == ["title", "summary"]


@pytest.mark.parametrize("status", [404, 405])
def test_a_title_of_a_session_that_is_gone_is_about_the_session(client: Any, service: ChatService, status: int) -> None:
    service.instead["title"].append([in_json({"detail": "Not Found"}, status)])
    with pytest.raises(NotFoundError, match="No such session"):
        client.set_title("ses-9", "What?")


def test_where_nothing_can_be_learnt_of_the_session_the_first_error_counts(client: Any, service: ChatService) -> None:
    session = client.create()
    service.instead["title"].append([in_json({"detail": "Gone fishing"}, 405)])
    service.instead["summary"].append([in_json({}, 403)])
    with pytest.raises(APIStatusError, match="Gone fishing"):
        session.set_title("What?")
    service.instead["title"].append([in_json({"detail": "Not yours"}, 403)])
    with pytest.raises(APIStatusError, match="Not yours"):
        session.set_title("What?")


# Indexes.


def pages(*tokens: Any) -> list[Any]:
    made: list[Any] = []
    for number, token in enumerate(tokens):
        item = {"id": f"idx-{number}", "name": f"n{number}", "export_config_id": f"exp-{number}", "more": 1}
        made.append([in_json({"items": [item], **({} if token == "absent" else {"next_page_token": token})})])
    return made


@pytest.mark.parametrize("last", [None, "absent", ""])
def test_indexes_are_listed_page_by_page(client: Any, service: ChatService, last: Any) -> None:
    service.instead["indexes"].extend(pages("a", "b", last))
    assert [index.id for index in client.indexes(page_size=1)] == ["idx-0", "idx-1", "idx-2"]
    asked = service.received("indexes")
    assert [request.query for request in asked] == [
        {"page_size": "1"},
        {"page_size": "1", "page_token": "a"},
        {"page_size": "1", "page_token": "b"},
    ]


def test_an_index_says_what_the_service_says_of_it(client: Any, service: ChatService) -> None:
    item = {"id": "i", "name": "handbook", "description": "Rules", "metadata": {"status": "ready"}, "new": 1}
    service.instead["indexes"].append([in_json({"items": [item, {"id": "j", "name": "bare"}]})])
    full, bare = client.indexes()
    assert (full.name, full.description, full.export_config_id, full.status) == ("handbook", "Rules", None, "ready")
    assert full.new == 1
    assert (bare.description, bare.status) == (None, None)


def test_pages_that_lead_in_a_circle_end(client: Any, service: ChatService) -> None:
    service.instead["indexes"].extend(pages("a", "b", "a", "b"))
    with pytest.raises(ProtocolError, match="do not end"):
        list(client.indexes())
    assert len(service.received("indexes")) == 3
    with pytest.raises(ConfigurationError, match="page_size"):
        client.indexes(page_size=0)


def test_an_unknown_index_is_named_by_its_other_id(client: Any, service: ChatService) -> None:
    unknown = in_json({"detail": "No such index: exp-0."}, 404)
    service.instead["create"].append([unknown])
    service.instead["indexes"].extend(pages(None) * 3)
    with pytest.raises(NotFoundError, match=r"'n0' has two ids; try the other one: idx-0\.") as caught:
        client.create(["exp-0"])
    assert caught.value.status_code == 404
    session = client.create([])
    service.plays.append(Play(instead=[in_json({"detail": "No such index: idx-0."}, 422)], is_taken=False))
    with pytest.raises(UnprocessableEntityError, match=r"try the other one: exp-0\."):
        session.ask("What?", ["idx-0"])


def test_where_the_indexes_say_nothing_the_error_is_as_it_was(client: Any, service: ChatService) -> None:
    for answer in ([in_json({}, 403)], *pages(None)):
        service.instead["create"].append([in_json({"detail": "No such index: zzz."}, 404)])
        service.instead["indexes"].append(answer)
        with pytest.raises(NotFoundError, match="No such index: zzz") as caught:
            client.create(["zzz"])
        assert "two ids" not in str(caught.value)
