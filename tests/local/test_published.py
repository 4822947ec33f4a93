"""The service's own description beside the published one, field by field and limit by limit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from llama_cloud_chat.local import LocalService

from .published import BODIES, BY_DESIGN, OPERATIONS

_BODY_NAME = re.compile(r"\b[A-Z]\w+")
_LIMITS = {
    "minLength": "at least {}",
    "maxLength": "at most {}",
    "minItems": "at least {}",
    "maxItems": "at most {}",
    "minimum": "from {}",
    "maximum": "to {}",
    "pattern": "like {}",
}


class Description:
    """A description that a service gives of itself, in the words of `published`."""

    def __init__(self, openapi: dict[str, Any]) -> None:
        self._openapi = openapi
        self._schemas: dict[str, dict[str, Any]] = openapi["components"]["schemas"]

    def operations(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for path, methods in self._openapi["paths"].items():
            for method, operation in methods.items():
                yield f"{method.upper()} {path}", operation

    def query(self, operation: dict[str, Any]) -> dict[str, str]:
        """Return the parameters that are no part of the path."""
        return {
            each["name"]: self._written(each["name"], each["schema"], required=each["required"])
            for each in operation.get("parameters", [])
            if each["in"] == "query"
        }

    def body(self, operation: dict[str, Any], place: Any) -> tuple[str, dict[str, Any]]:
        """Return the body of a request (`"body"`) or of an answer (its status): its media type, and its schema."""
        holder = operation.get("requestBody") if place == "body" else operation["responses"].get(str(place))
        if holder is None:
            return "(nothing)", {}
        ((media_type, described),) = holder.get("content", {"": {"schema": {}}}).items()
        return media_type, self._resolve(described["schema"])

    def fields(self, schema: dict[str, Any]) -> dict[str, str]:
        required = schema.get("required", [])
        return {
            name: self._written(name, field, required=name in required)
            for name, field in schema.get("properties", {}).items()
        }

    def parts(self, schema: dict[str, Any], field: str) -> list[dict[str, Any]]:
        """Return the bodies that a field is made of, in the order of its kinds."""
        inner = self._without_null(schema["properties"].get(field, {}))
        inner = self._without_null(inner.get("items", inner))
        return [self._resolve(each) for each in inner.get("oneOf", [inner]) if "$ref" in each]

    def _resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        while True:
            schema = self._without_null(schema)
            if "$ref" not in schema:
                return schema
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]

    def _without_null(self, schema: dict[str, Any]) -> dict[str, Any]:
        kinds = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
        return kinds[0] if len(kinds) == 1 else schema

    def _written(self, name: str, schema: dict[str, Any], *, required: bool) -> str:
        default = schema.get("default")
        has_default = default is not None and "const" not in schema
        after = f" = {json.dumps(default)}" if has_default else ""
        return f"{name}{'' if required else '?'}: {self._kind(schema)}{after}"

    def _kind(self, schema: dict[str, Any]) -> str:
        if kinds := schema.get("anyOf") or schema.get("oneOf"):
            return "|".join(self._kind(each) for each in kinds)
        if "$ref" in schema:
            return "{}"  # a body of its own, which is compared by itself
        if "const" in schema:
            return json.dumps(schema["const"])
        kind = schema.get("format") or schema.get("type", "any")
        if kind == "array":
            kind = f"[{self._kind(schema['items'])}]"
        limits = [word.format(schema[key]) for key, word in _LIMITS.items() if key in schema]
        return f"{kind}({', '.join(limits)})" if limits else kind


def fields_of(written: str, separator: str = "\n") -> dict[str, str]:
    lines = [line.strip() for line in written.split(separator) if line.strip()]
    return {line.partition(":")[0].rstrip("?"): line for line in lines}


def differences(description: Description) -> dict[str, str]:
    """Return where the description differs from what is published, and how."""
    found: dict[str, str] = {}
    compared: set[str] = set()

    def compare(place: str, published: dict[str, str], ours: dict[str, str]) -> None:
        for name in {**published, **ours}:
            # What a body within another is called is of no importance.
            expected = _BODY_NAME.sub("{}", published.get(name, "nothing"))
            if expected != ours.get(name):
                found[place + name] = f"published: {expected}; here: {ours.get(name, 'nothing')}"

    def compare_body(name: str, schema: dict[str, Any]) -> None:
        if name in compared:
            return
        compared.add(name)
        published = fields_of(BODIES[name])
        compare(f"{name}.", published, description.fields(schema))
        for field, written in published.items():
            for inner, part in zip(_BODY_NAME.findall(written), description.parts(schema, field), strict=False):
                compare_body(inner, part)

    ours = dict(description.operations())
    for place in {**OPERATIONS, **ours}:
        if place not in OPERATIONS or place not in ours:
            found[place] = "only here" if place in ours else "only published"
            continue
        for key, expected in OPERATIONS[place].items():
            if key == "query":
                compare(f"{place} ", fields_of(expected, ","), description.query(ours[place]))
                continue
            media_type, schema = description.body(ours[place], key)
            if expected in BODIES and media_type == "application/json":
                compare_body(expected, schema)
            elif expected != media_type:
                found[f"{place} {key}"] = f"published: {expected}; here: {media_type}"
    return found


@pytest.fixture
def openapi(service: LocalService) -> dict[str, Any]:
    described: dict[str, Any] = httpx.get(f"{service.base_url}/openapi.json").json()
    return described


def test_the_service_differs_from_what_is_published_only_where_that_is_written_down(openapi: dict[str, Any]) -> None:
    found = differences(Description(openapi))
    assert {place: how for place, how in found.items() if place not in BY_DESIGN} == {}
    assert set(BY_DESIGN) - set(found) == set()


def test_every_published_body_is_compared(openapi: dict[str, Any]) -> None:
    for schema in openapi["components"]["schemas"].values():
        schema["properties"] = {**schema.get("properties", {}), "new": {"type": "string"}}
    found = differences(Description(openapi))
    assert {name for name in BODIES if f"{name}.new" not in found} == set()


def schema_of(openapi: dict[str, Any], name: str) -> dict[str, Any]:
    schema: dict[str, Any] = openapi["components"]["schemas"][name]
    return schema


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda api: schema_of(api, "StreamBody")["properties"]["index_ids"].pop("minItems"), "Prompt.index_ids"),
        (lambda api: schema_of(api, "SessionSummary")["required"].remove("session_id"), "Session.session_id"),
        (lambda api: schema_of(api, "Usage")["properties"].pop("turns"), "Usage.turns"),
        (lambda api: schema_of(api, "IndexDetail")["properties"].update(colour={"type": "string"}), "Index.colour"),
        (lambda api: schema_of(api, "PresignedURL")["properties"]["url"].pop("format"), "PresignedUrl.url"),
        (lambda api: api["paths"].pop("/api/v1/indexes/{index_id}"), "GET /api/v1/indexes/{index_id}"),
        (lambda api: api["paths"]["/api/v1/chat"]["get"]["parameters"].pop(1), "GET /api/v1/chat page_token"),
    ],
)
def test_a_difference_is_seen(openapi: dict[str, Any], change: Any, place: str) -> None:
    change(openapi)
    assert place in differences(Description(openapi))


@pytest.mark.parametrize("limit", [999, None])
def test_another_limit_of_prompts_is_seen(limit: int | None) -> None:
    with LocalService([], max_prompt_chars=limit) as service:
        openapi = httpx.get(f"{service.base_url}/openapi.json").json()
    found = differences(Description(openapi))["Prompt.prompt"]
    assert "at most 1000" in found
    assert "at most 1000" not in found.partition("here: ")[2]
