"""The service keeps to its own description, whatever it is asked: only declared answers, none of them 5xx."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from llama_cloud_chat.local import LocalService
from tests.local.harness import Api, pdf_of, write_docs

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
OPERATIONS = [
    ("/api/v1/chat", "get"),
    ("/api/v1/chat", "post"),
    ("/api/v1/chat/{session_id}", "get"),
    ("/api/v1/chat/{session_id}", "delete"),
    ("/api/v1/chat/{session_id}/summary", "get"),
    ("/api/v1/chat/{session_id}/title", "post"),
    ("/api/v1/chat/{session_id}/messages/stream", "post"),
    ("/api/v1/indexes", "get"),
    ("/api/v1/indexes/{index_id}", "get"),
    ("/api/v1/beta/attachments/{attachment_name}", "get"),
    ("/presigned/{source_id}/{attachment_name}", "get"),
]


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, Any]]:
    folder = write_docs(tmp_path_factory.mktemp("docs"))
    (folder / "zoo.pdf").write_bytes(pdf_of("Elephants."))
    with LocalService(folder, titles=True) as service:
        api = Api(service)
        with api.http:
            yield api, schemathesis.openapi.from_dict(httpx.get(f"{service.base_url}/openapi.json").json())


def test_every_operation_is_tried(described: tuple[Api, Any]) -> None:
    _, schema = described
    assert {(path, method) for path in schema for method in schema[path]} == set(OPERATIONS)


@pytest.mark.parametrize("known_session", [True, False], ids=["a session that is there", "any session"])
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
@pytest.mark.filterwarnings("default")
def test_only_declared_answers(described: tuple[Api, Any], path: str, method: str, known_session: bool) -> None:
    api, schema = described
    if known_session and "{session_id}" not in path:
        pytest.skip("has no session")
    modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
    cases = st.one_of(*(schema[path][method].as_strategy(generation_mode=mode) for mode in modes))

    @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(cases)
    def answers(case: Any) -> None:
        if known_session:
            case.path_parameters["session_id"] = api.create()
        case.call_and_validate(
            base_url=str(api.http.base_url).rstrip("/"),
            headers={"Authorization": api.http.headers["Authorization"]},
            checks=CHECKS,
            timeout=20,
        )

    answers()


def test_a_refusal_for_lack_of_room_is_declared(described: tuple[Api, Any]) -> None:
    _, schema = described
    for path, method in OPERATIONS[:7]:
        assert "507" in schema.raw_schema["paths"][path][method]["responses"]
