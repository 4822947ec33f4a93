"""Secrets stay secret, requests go where they should, and what comes is bounded."""

from __future__ import annotations

import copy
import gzip
import logging
import pickle
import traceback
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from llama_cloud_chat import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncChatClient,
    Attachment,
    ChatClient,
    ChatError,
    ConfigurationError,
    PresignedURL,
    ProtocolError,
    RateLimitError,
    StreamInterruptedError,
    Timeouts,
    Turn,
    TurnFailedError,
)
from llama_cloud_chat import __all__ as names
from llama_cloud_chat._config import make_config

from ..support.clients import KEY
from ..support.http import httpx
from ..support.server import CHUNKED, Cut, Gate, ScriptedServer, Step, chunk, head, in_json, plain
from ..support.service import ChatService, Play
from ..support.turns import RECORDED, message, segment, stop

# Where requests go.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.rule("design-8")
def test_a_redirect_to_another_host_carries_no_key(client: Any, service: ChatService, status: int) -> None:
    session_id = service.add_session()
    summary = in_json(service.sessions[session_id].summary())
    with ScriptedServer(lambda _: [summary]) as other:
        service.instead["summary"].append([plain(status, headers={"Location": f"{other.base_url}/elsewhere"})])
        client.get_summary(session_id)
        (request,) = other.requests
        assert "authorization" not in request.headers
        assert KEY not in str(request)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_of_a_prompt_is_not_followed(client: Any, service: ChatService, status: int) -> None:
    with ScriptedServer(lambda _: [plain(200)]) as other:
        redirect = plain(status, headers={"Location": f"{other.base_url}/elsewhere"})
        service.plays.append(Play(instead=[redirect], is_taken=False))
        service.instead["title"].append([redirect])
        session = client.create()
        service.instead["create"].append([redirect])
        for ask in (lambda: session.ask("What?"), lambda: session.set_title("What?"), client.create):
            with pytest.raises(APIStatusError, match=r"redirect.*base_url") as caught:
                ask()
            assert caught.value.status_code == status
        assert other.requests == []


def test_redirects_in_a_circle_end(client: Any, service: ChatService) -> None:
    session_id = service.add_session()
    circle = plain(302, headers={"Location": f"/api/v1/chat/{session_id}/summary"})
    service.instead["summary"].extend([[circle]] * 100)
    with pytest.raises(APIConnectionError, match="led nowhere"):
        client.get_summary(session_id)
    assert len(service.requests) < 30


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com",
        "http://10.0.0.1",
        "http://localhost.example.com",
        "http://[2001:db8::1]",
        "http://127.0.0.1.example.com",
    ],
)
@pytest.mark.rule("design-8")
def test_plain_http_to_another_machine_is_refused_unless_asked_for(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"unencrypted.*allow_http"):
        make_config(api_key=KEY, base_url=url)
    assert make_config(api_key=KEY, base_url=url, allow_http=True).base_url == url


@pytest.mark.parametrize(
    "url",
    ["http://localhost:8000", "http://127.0.0.1", "http://127.8.8.8:1", "http://[::1]:9", "https://api.example.com"],
)
def test_loopback_and_https_are_fine(url: str) -> None:
    assert make_config(api_key=KEY, base_url=url + "/").base_url == url


IDS = {
    "..": "%2E%2E",
    ".": "%2E",
    "a/b": "a%2Fb",
    "../../v2/keys": "..%2F..%2Fv2%2Fkeys",
    "a?b=c": "a%3Fb%3Dc",
    "a#b": "a%23b",
    "a b": "a%20b",
    "%2e%2e": "%252e%252e",
    "a\\b": "a%5Cb",
    "é🦁": "%C3%A9%F0%9F%A6%81",
    "a\r\nX: y": "a%0D%0AX%3A%20y",
    "a;b,c:d@e": "a%3Bb%2Cc%3Ad%40e",
    "a_b-c.d~e": "a_b-c.d~e",
}


@pytest.mark.parametrize(("given", "sent"), IDS.items())
def test_an_id_is_one_segment_of_the_path(client: Any, service: ChatService, given: str, sent: str) -> None:
    session = client.session(given)
    for ask in (
        lambda: client.retrieve(given),
        session.summary,
        lambda: session.set_title("x"),
        lambda: session.ask("What?"),
        session.delete,
        lambda: client.get_attachment(Attachment(given, "f")),
    ):
        with pytest.raises(ChatError):
            ask()
            raise ChatError("an attachment has no session that could be missing")
    targets = [request.target for request in service.requests]
    assert targets == [
        f"/api/v1/chat/{sent}",
        f"/api/v1/chat/{sent}/summary",
        f"/api/v1/chat/{sent}/title",
        f"/api/v1/chat/{sent}/summary",  # whether it is the session that is missing
        f"/api/v1/chat/{sent}",
        f"/api/v1/chat/{sent}",
        f"/api/v1/beta/attachments/{sent}?source_id=f",
    ]


def test_ids_of_the_project_are_one_value_of_the_query(make: Any, service: ChatService) -> None:
    client = make(project_id="p&organization_id=x", organization_id="ö #")
    list(client.list(page_size=3))
    assert service.requests[0].query == {
        "page_size": "3",
        "project_id": "p&organization_id=x",
        "organization_id": "ö #",
    }


# What shows.


def assert_hidden(*shown: object) -> None:
    for one in shown:
        text = one if isinstance(one, (str, bytes)) else repr(one) + str(one)
        assert (KEY.encode() if isinstance(text, bytes) else KEY) not in text


def test_nothing_shows_the_key(client: Any, service: ChatService) -> None:
    session = client.create()
    stream = session.stream("What?")
    assert_hidden(
        client, client.config, session, stream, stream.turn, list(stream), vars(client.config), client.config.api_key
    )


def trouble(client: Any, service: ChatService) -> Iterator[tuple[str, Any]]:
    """Yield everything that can go wrong, ready to be called."""
    session_id = service.add_session()
    session = client.session(session_id)
    for status in (302, 400, 401, 403, 404, 409, 422, 429, 500):
        service.instead["summary"].extend([[in_json({"detail": "Because."}, status)]] * 6)
        yield f"status {status}", session.summary
        service.instead["summary"].clear()
    service.instead["summary"].extend([[Cut()]] * 6)
    yield "cut", session.summary
    service.instead["summary"].clear()
    service.instead["summary"].append([plain(200, b"<html>")])
    yield "protocol", session.summary
    gate = Gate()
    service.instead["summary"].extend([[gate]] * 6)
    yield "silence", session.summary
    service.instead["summary"].clear()
    gate.open()
    service.plays.append(Play(instead=[plain(401)], is_taken=False))
    yield "refused prompt", lambda: session.ask("What?")
    service.plays.append(Play(instead=[plain(200, b"<html>")], is_taken=False))
    yield "no stream", lambda: session.ask("What?")
    service.plays.append(Play(RECORDED, steps=lambda pieces: [*pieces[:3], chunk(b"data: {\n\n")], history=[[]]))
    yield "bad event", lambda: client.create().ask("What?")
    service.plays.append(Play([stop(is_error=True, error="bad")]))
    yield "failed turn", lambda: client.create().ask("What?")
    service.plays.append(Play(RECORDED, cut_after=480, history=[[]]))
    yield "interrupted", lambda: client.create().ask("What?")


@pytest.mark.rule("design-8")
def test_no_error_traceback_or_log_shows_the_key(
    make: Any, service: ChatService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = make(timeout=Timeouts(connect=60, idle=0.05), recovery_timeout=2)
    seen = 0
    for _name, ask in trouble(client, service):
        with pytest.raises(ChatError) as caught:
            ask()
        error = caught.value
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        assert_hidden(error, error.message, "".join(shown.format()), vars(error), pickle.dumps(error))
        seen += 1
    assert seen == 17
    assert_hidden(caplog.text, *(str(vars(record)) for record in caplog.records))
    assert caplog.records


def test_a_key_that_the_service_repeats_is_not_shown(client: Any, service: ChatService) -> None:
    session_id = service.add_session()
    detail = {"detail": f"Invalid API key {KEY}."}
    service.instead["summary"].append([in_json(detail, 401)])
    service.plays.append(Play(instead=[in_json(detail, 422)], is_taken=False))
    for ask in (lambda: client.get_summary(session_id), lambda: client.session(session_id).ask("What?")):
        with pytest.raises(APIStatusError, match="Invalid API key") as caught:
            ask()
        assert_hidden(caught.value, vars(caught.value), pickle.dumps(caught.value))


def test_a_short_key_is_not_masked_inside_ordinary_words(service: ChatService) -> None:
    service.instead["summary"].append([in_json({"detail": "An invalid API key: in."}, 401)])
    with (
        ChatClient("in", base_url=service.base_url) as client,
        pytest.raises(APIStatusError, match=r"An invalid API key: \*{10}\.") as caught,
    ):
        client.get_summary(service.add_session())
    assert caught.value.body == {"detail": "An invalid API key: **********."}


@pytest.mark.parametrize("kind", [ChatClient, AsyncChatClient])
@pytest.mark.rule("design-8")
def test_a_key_does_not_travel_in_a_pickle(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = kind(KEY, base_url="https://api.example.com", project_id="prj", max_retries=1)
    for one in (client, client.config):
        pickled = pickle.dumps(one)
        assert_hidden(pickled)
        arrived = pickle.loads(pickled)
        assert type(arrived) is type(one)
    arrived = pickle.loads(pickle.dumps(client))
    assert arrived.config == client.config
    with pytest.raises(ConfigurationError, match="API key"):
        _ = arrived.config.api_key
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", "llx-of-the-other-machine")
    assert arrived.config.api_key.get_secret_value() == "llx-of-the-other-machine"


@pytest.mark.rule("design-10")
def test_a_pickled_client_without_a_key_fails_before_any_request(client: Any, service: ChatService) -> None:
    arrived = pickle.loads(pickle.dumps(getattr(client, "_wrapped", client)))
    if isinstance(arrived, ChatClient):
        with arrived, pytest.raises(ConfigurationError, match="API key"):
            arrived.create()
    assert service.requests == []


@pytest.mark.parametrize("kind", [ChatClient, AsyncChatClient])
@pytest.mark.rule("design-10")
def test_copies_in_a_process_are_the_same_client(kind: Any) -> None:
    client = kind(KEY)
    assert copy.copy(client) is client
    assert copy.deepcopy({"a": client})["a"] is client
    config = copy.deepcopy(client.config)
    assert config.api_key.get_secret_value() == KEY
    assert copy.copy(config) == config
    assert hash(config) == hash(client.config)


def test_a_key_may_come_as_a_secret_and_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_config(api_key=SecretStr(f" {KEY}\n")).api_key.get_secret_value() == KEY
    monkeypatch.setenv("LLAMA_PARSE_API_KEY", "llx-parse")
    assert make_config().api_key.get_secret_value() == "llx-parse"
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", "llx-cloud")
    assert make_config().api_key.get_secret_value() == "llx-cloud"
    assert make_config(api_key=KEY).api_key.get_secret_value() == KEY


def test_the_environment_fills_in_what_arguments_leave_open(monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_config(api_key=KEY).base_url == "https://api.cloud.llamaindex.ai"
    monkeypatch.setenv("LLAMA_CLOUD_BASE_URL", "https://api.cloud.eu.llamaindex.ai/")
    monkeypatch.setenv("LLAMA_CLOUD_PROJECT_ID", "prj")
    monkeypatch.setenv("LLAMA_CLOUD_ORGANIZATION_ID", " ")
    config = make_config(api_key=KEY)
    assert (config.base_url, config.project_id, config.organization_id) == (
        "https://api.cloud.eu.llamaindex.ai",
        "prj",
        None,
    )
    assert make_config(api_key=KEY, project_id="other").project_id == "other"


def test_a_presigned_address_is_not_shown() -> None:
    url = PresignedURL(url="https://x.example.com/?signature=s3cret", expires_at="", form_fields={"policy": "s3cret"})
    assert "s3cret" not in repr(url) + str(url)


def test_a_failed_download_does_not_show_the_address(client: Any, service: ChatService) -> None:
    service.instead["file"].append([plain(403, b"<Error>AccessDenied</Error>")])
    with pytest.raises(ChatError) as caught:
        client.download(Attachment("a", "f"))
    shown = "".join(traceback.TracebackException.from_exception(caught.value).format())
    assert "s3cret" not in str(caught.value) + shown


def test_every_error_can_be_pickled() -> None:
    import llama_cloud_chat

    turn = Turn("?", session_id="ses-1", number=3)
    errors: list[ChatError] = [
        getattr(llama_cloud_chat, name)("What happened.") for name in names if name.endswith("Error")
    ]
    errors += [TurnFailedError("a", turn), StreamInterruptedError("b", turn)]
    errors.append(RateLimitError("c", status_code=429, body={"detail": 1}, request_id="r"))
    protocol = ProtocolError("d")
    protocol.turn = turn
    for error in [*errors, protocol]:
        arrived = pickle.loads(pickle.dumps(error))
        assert type(arrived) is type(error)
        assert arrived.message == error.message == str(error)
        assert vars(arrived) == vars(error)


# How much comes.


def endless(piece: bytes) -> Iterator[bytes]:
    while True:
        yield piece


def assert_bounded(ask: Any, match: str, most: int) -> ProtocolError:
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match=match) as caught:
            ask()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < most
    return caught.value


@pytest.mark.rule("design-9")
def test_an_event_without_an_end_is_refused(make: Any, service: ChatService) -> None:
    piece = chunk(b"x" * 10_000)
    service.plays.append(Play(steps=lambda pieces: iter([pieces[0], chunk(b"data: "), *[piece] * 2000])))
    session = make(max_event_bytes=200_000).create()
    error = assert_bounded(lambda: session.ask("What?"), "more than 200000 bytes", 4_000_000)
    assert error.turn is not None
    assert service.received("stream")[0].hung_up.wait(60)


@pytest.mark.parametrize("good", [0, 1, 2])
def test_an_event_over_the_limit_is_refused_whatever_shares_its_packet(
    make: Any, service: ChatService, good: int
) -> None:
    packet = b"".join(message({"type": "text_delta", "content": one}) for one in [*"Hi"[:good], "x" * 2_000])
    service.plays.append(Play(steps=lambda pieces: [pieces[0], chunk(packet), *pieces[1:]]))
    with pytest.raises(ProtocolError, match="more than 1000 bytes") as caught:
        make(max_event_bytes=1_000).create().ask("What?")
    assert caught.value.turn is not None
    assert caught.value.turn.text == "Hi"[:good]


@pytest.mark.rule("design-7")
def test_a_turn_without_an_end_is_refused_with_what_came(make: Any, service: ChatService) -> None:
    def steps(pieces: list[bytes]) -> Iterator[Step]:
        yield pieces[0]
        yield from endless(chunk(message({"type": "text_delta", "content": "x" * 100}) * 10))

    service.plays.append(Play(steps=steps))
    session = make(max_event_bytes=2_000).create()
    error = assert_bounded(lambda: session.ask("What?"), "turn holds more than 32000 bytes", 4_000_000)
    assert error.turn is not None
    assert error.turn.text.startswith("xxx")
    assert len(error.turn.text) < 32_000
    assert service.received("stream")[0].hung_up.wait(60)


def test_comments_without_an_end_are_refused_too(make: Any, service: ChatService) -> None:
    def steps(pieces: list[bytes]) -> Iterator[Step]:
        yield pieces[0]
        yield from endless(chunk(b": x\n\n" * 100))

    service.plays.append(Play(steps=steps))
    assert_bounded(lambda: make(max_event_bytes=2_000).create().ask("What?"), "more than", 4_000_000)


@pytest.mark.parametrize("operation", ["retrieve", "summary", "list", "file", "error"])
def test_an_answer_without_an_end_is_refused(make: Any, service: ChatService, operation: str) -> None:
    def answer(status: int) -> Iterator[Step]:
        yield head(status, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"})
        yield from endless(chunk(b" " * 10_000))

    client = make(max_event_bytes=2_000)
    session_id = service.add_session()
    ask = {
        "retrieve": lambda: client.retrieve(session_id),
        "summary": lambda: client.get_summary(session_id),
        "list": lambda: list(client.list()),
        "file": lambda: client.download(Attachment("a", "f")),
        "error": lambda: client.get_summary(session_id),
    }[operation]
    service.instead["summary" if operation == "error" else operation].append(
        answer(400 if operation == "error" else 200)
    )
    assert_bounded(ask, "more than 32000 bytes", 4_000_000)


def test_an_event_of_a_size_that_is_allowed_passes(make: Any, service: ChatService) -> None:
    service.plays.append(Play([*segment("text", "x" * 100_000), stop()]))
    assert len(make(max_event_bytes=100_200).create().ask("What?").text) == 100_000


def test_the_default_limit_is_sixteen_mebibytes() -> None:
    config = make_config(api_key=KEY)
    assert config.max_event_bytes == 16 * 2**20
    assert config.max_body_bytes == 256 * 2**20


BOMB = gzip.compress(b" " * 50_000_000)


@pytest.mark.parametrize("operation", ["stream", "retrieve", "file"])
def test_what_a_compressed_answer_unpacks_to_is_bounded(make: Any, service: ChatService, operation: str) -> None:
    client = make(max_event_bytes=20_000)
    session = client.create()
    headers = {"Content-Encoding": "gzip", "Content-Type": "text/event-stream"}
    bomb: list[Step] = [plain(200, BOMB, headers)]
    service.plays.append(Play(instead=bomb))
    service.instead["retrieve"].append(bomb)
    service.instead["file"].append(bomb)
    ask = {
        "stream": lambda: session.ask("What?"),
        "retrieve": session.turns,
        "file": lambda: client.download(Attachment("a", "f")),
    }[operation]
    assert_bounded(ask, "more than", 2_000_000)


def test_answers_are_asked_for_uncompressed(client: Any, service: ChatService) -> None:
    client.create().ask("What?")
    assert {request.headers["accept-encoding"] for request in service.requests} == {"identity"}


@pytest.mark.parametrize("encoding", ["identity", "", "Identity"])
def test_an_encoding_that_is_none_passes(client: Any, service: ChatService, encoding: str) -> None:
    service.plays.append(
        Play(RECORDED, steps=lambda pieces: [head(200, {**CHUNKED, "Content-Encoding": encoding}), *pieces[1:]])
    )
    assert client.create().ask("What?").is_complete


def test_a_given_client_s_own_headers_do_not_reach_another_host() -> None:
    with ScriptedServer(lambda _: [plain(200, b"x")]) as storage:
        headers = {"Authorization": f"Bearer {KEY}"}
        with httpx.Client(headers=headers) as http:
            client = ChatClient(KEY, base_url="https://api.example.com", http_client=http)
            assert client.download(PresignedURL(url=f"{storage.base_url}/x", expires_at="")) == b"x"
        assert "authorization" not in storage.requests[0].headers


def test_silence_on_an_open_line_is_a_timeout_not_a_leak(make: Any, service: ChatService) -> None:
    gate = Gate()
    service.instead["create"].append([gate])
    with pytest.raises(APITimeoutError):
        make(timeout=Timeouts(connect=60, idle=0.05)).create()
    assert service.requests[0].hung_up.wait(60)
    gate.open()
