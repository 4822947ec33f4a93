"""Sources: every shape in which the service's tools answer, read into one; and the pictures of pages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llama_cloud_chat import Attachment, ConfigurationError, PresignedURL, ProtocolError, Source, Turn
from llama_cloud_chat._turn.events import parse_event
from llama_cloud_chat._turn.sources import read_sources
from llama_cloud_chat._turn.turn import TurnReader

from ..support.clients import KEY
from ..support.server import ScriptedServer, in_json, plain
from ..support.service import ChatService
from ..support.turns import tool

PASSAGE = {
    "content": "Revenue rose.",
    "score": 0.5,
    "rerank_score": 1,
    "metadata": {"file_name": "q3.pdf", "author": "x"},
    "static_fields": {
        "parsed_directory_file_id": "f1",
        "page_range_start": 7,
        "page_range_end": 8,
        "chunk_index": 3,
        "chunk_start_char": 10,
        "chunk_end_char": 23,
        "chunk_token_count": 4,
        "attachments": [
            {"attachment_name": "screenshots/page_7.jpg", "source_id": "f1", "type": "screenshot"},
            {"attachment_name": "incomplete"},
        ],
    },
}


def read(result: Any, **arguments: Any) -> list[Source]:
    return read_sources("c1", arguments, result)


def test_a_retrieved_passage_with_everything() -> None:
    assert read({"results": [PASSAGE]}) == [
        Source(
            text="Revenue rose.",
            score=0.5,
            rerank_score=1.0,
            file_id="f1",
            file_name="q3.pdf",
            page_start=7,
            page_end=8,
            start_char=10,
            end_char=23,
            metadata={"file_name": "q3.pdf", "author": "x"},
            attachments=[Attachment("screenshots/page_7.jpg", "f1", "screenshot")],
            tool_call_id="c1",
        )
    ]


def test_a_retrieved_passage_with_nothing_but_its_text() -> None:
    assert read(
        {"results": [{"content": "a"}, {"content": "b", "score": None, "metadata": None, "static_fields": None}]}
    ) == [
        Source("a", tool_call_id="c1"),
        Source("b", tool_call_id="c1"),
    ]


def test_found_files() -> None:
    assert read({"items": [{"file_id": "f1", "file_name": "a.pdf"}, {"file_id": "f2"}, {"file_name": "c.pdf"}]}) == [
        Source("", file_id="f1", file_name="a.pdf", tool_call_id="c1"),
        Source("", file_id="f2", tool_call_id="c1"),
        Source("", file_name="c.pdf", tool_call_id="c1"),
    ]


def test_matches_of_a_grep_belong_to_the_file_it_was_called_with() -> None:
    result = {"items": [{"content": "a", "start_char": 0, "end_char": 1}, {"content": "b"}]}
    assert read(result, file_id="f1", pattern="x") == [
        Source("a", file_id="f1", start_char=0, end_char=1, tool_call_id="c1"),
        Source("b", file_id="f1", tool_call_id="c1"),
    ]


def test_what_was_read_belongs_to_the_file_it_was_read_from() -> None:
    assert read({"content": "all"}, file_id="f1", file_name="a.md") == [
        Source("all", file_id="f1", file_name="a.md", tool_call_id="c1")
    ]


@pytest.mark.parametrize("result", [{"results": [PASSAGE]}, {"items": [{"file_id": "f"}]}, {"content": "x"}])
def test_json_inside_a_string_is_read_as_well(result: Any) -> None:
    assert read(json.dumps(result)) == read(result) != []
    assert read(" \n" + json.dumps(result, ensure_ascii=False, indent=1)) == read(result)


@pytest.mark.parametrize(
    "result",
    [
        None,
        "plain text",
        "",
        "{broken",
        "[1]",
        "{" * 100_000,
        0,
        True,
        [],
        [{"content": "a list is none of the shapes"}],
        {},
        {"results": []},
        {"results": None},
        {"results": "x"},
        {"results": [None, 1, "x", {}, {"content": None}, {"score": 1}]},
        {"items": [None, {}, {"file_id": ""}, {"file_id": 3}]},
        {"content": None},
        {"content": ["x"]},
        {"rows": 3},
    ],
)
def test_anything_else_is_no_source(result: Any) -> None:
    assert read(result) == []


def test_values_of_the_wrong_type_are_left_out_not_believed() -> None:
    odd = {
        "content": "a",
        "score": "high",
        "rerank_score": True,
        "metadata": ["x"],
        "static_fields": {"page_range_start": "7", "page_range_end": 1.5, "chunk_start_char": True, "attachments": "x"},
    }
    assert read({"results": [odd]}, file_id=3) == [Source("a", tool_call_id="c1")]


@pytest.mark.rule("wire-5")
def test_the_order_is_that_of_the_calls_and_raw_results_stay_reachable() -> None:
    reader = TurnReader(Turn("?"))
    (call_a, result_a) = tool("a", "retrieve", {}, {"results": [{"content": "A"}]})
    (call_b, result_b) = tool("b", "read", {"file_id": "f"}, '{"content": "B"}')
    for event in [call_a, call_b, result_b, result_a, *tool("c", "weather", {}, {"rain": True})]:
        reader.feed(parse_event(event))
    assert [(one.text, one.tool_call_id, one.file_id) for one in reader.turn.sources] == [
        ("A", "a", None),
        ("B", "b", "f"),
    ]
    assert reader.turn.tool_calls[1].result == '{"content": "B"}'
    assert reader.turn.tool_calls[2].result == {"rain": True}


def test_a_picture_s_address_is_asked_for_when_it_is_wanted(client: Any, service: ChatService) -> None:
    (source,) = read({"results": [PASSAGE]})
    assert service.requests == []
    url = client.get_attachment(source.attachments[0])
    assert url.url.startswith(service.base_url)
    assert url.expires_at == "2026-04-22T12:34:41"
    (request,) = service.requests
    assert request.target == "/api/v1/beta/attachments/screenshots%2Fpage_7.jpg?source_id=f1"


@pytest.mark.rule("design-8")
def test_a_picture_s_bytes_are_fetched_without_the_key_and_the_project(make: Any, service: ChatService) -> None:
    client = make(project_id="prj", organization_id="org")
    assert client.download(Attachment("p.jpg", "f1")) == b"\x89PNG"
    asked, fetched = service.requests
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert fetched.target == "/files/1?signature=s3cret"
    assert "authorization" not in fetched.headers
    assert KEY not in str(fetched)


def test_an_address_that_was_made_before_is_used_as_it_is(client: Any, service: ChatService) -> None:
    url = PresignedURL(url=f"{service.base_url}/files/1?a=%2F&b", expires_at="")
    assert client.download(url) == b"\x89PNG"
    assert service.requests[0].target == "/files/1?a=%2F&b"


def test_a_download_that_failed_is_tried_again(client: Any, service: ChatService) -> None:
    service.instead["file"].append([plain(503)])
    assert client.download(PresignedURL(url=f"{service.base_url}/files/1", expires_at="")) == b"\x89PNG"


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://files.example.com/x", ConfigurationError),
        ("ftp://127.0.0.1/x", ConfigurationError),
        ("https://a\0b", ProtocolError),
    ],
)
def test_an_address_that_is_not_safe_or_no_address_is_not_fetched(
    client: Any, url: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        client.download(PresignedURL(url=url, expires_at=""))


def test_an_address_without_a_scheme_does_not_get_the_key(client: Any, service: ChatService) -> None:
    for url in ("/api/v1/chat", "//127.0.0.1/x", "files/1", ".example.com/x", "@example.com/x?a=://", ""):
        with pytest.raises((ConfigurationError, ProtocolError)):
            client.download(PresignedURL(url=url, expires_at=""))
    assert not any("authorization" in request.headers for request in service.requests)


def test_a_redirect_of_a_download_is_followed_without_the_key(client: Any) -> None:
    with (
        ScriptedServer(lambda _: [plain(200, b"there")]) as other,
        ScriptedServer(lambda _: [plain(302, headers={"Location": f"{other.base_url}/x"})]) as storage,
    ):
        assert client.download(PresignedURL(url=f"{storage.base_url}/y", expires_at="")) == b"there"
        assert "authorization" not in other.requests[0].headers


@pytest.mark.parametrize("attachment", [Attachment("", "f"), Attachment("a", " ")])
def test_an_attachment_without_a_name_or_source_is_refused(
    client: Any, service: ChatService, attachment: Attachment
) -> None:
    with pytest.raises(ConfigurationError):
        client.get_attachment(attachment)
    assert service.requests == []


def test_an_answer_that_is_no_address_is_a_protocol_error(client: Any, service: ChatService) -> None:
    service.instead["attachment"].append([in_json({"link": "x"})])
    with pytest.raises(ProtocolError, match="get_attachment"):
        client.get_attachment(Attachment("a", "f"))
