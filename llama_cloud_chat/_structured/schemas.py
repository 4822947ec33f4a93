"""What a schema may be, and how a value is checked against it: each kind by the library that made it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_origin

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import SchemaError

from llama_cloud_chat._errors import ConfigurationError
from llama_cloud_chat._extras import needing
from llama_cloud_chat._turn.wording import clean_line

from .flaw import Flaw, path_of


@dataclass(frozen=True)
class Shape:
    """A schema of any kind.

    Attributes:
        json_schema: It as a JSON schema.
        validate: Takes the JSON values of an object, and the same as JSON; gives the value; raises `Flaw`.
    """

    json_schema: dict[str, Any]
    validate: Callable[[dict[str, Any], str], Any]


def shape_of(schema: Any) -> Shape:
    """Return what is needed of `schema`.

    Raises:
        ConfigurationError: It is none of the kinds that are known.
        ModuleNotFoundError: It is a JSON schema, and the extra `structured` is not installed.
    """
    if isinstance(schema, Mapping):
        return _of_json_schema(schema)
    generic = get_origin(schema) is not None  # Python 3.10 takes `list[int]` for a class, which `issubclass` does not
    if not isinstance(schema, type) and not generic:
        raise ConfigurationError(
            f"A schema is a pydantic class, a TypedDict, a dataclass or a JSON schema, not {clean_line(repr(schema))}."
        )
    # Who has a class of pydantic 1 has imported it; importing it here would only cost time.
    v1 = sys.modules.get("pydantic.v1")
    if v1 is not None and not generic and issubclass(schema, v1.BaseModel):
        return _of_pydantic_v1(schema, v1.ValidationError)
    return _of_type(schema)


def _of_json_schema(schema: Mapping[str, Any]) -> Shape:
    with needing("A JSON schema needs"):
        from .json_schema import checker  # noqa: PLC0415  # there only with the extra
    try:
        own: dict[str, Any] = json.loads(json.dumps(dict(schema)))  # what its owner changes later changes nothing here
        check = checker(own)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"The schema is no JSON: {clean_line(str(error))}.") from None
    except RecursionError:
        raise ConfigurationError("The schema is nested too deeply. Make it flatter.") from None

    def validate(value: dict[str, Any], _: str) -> dict[str, Any]:
        check(value)
        return value

    return Shape(own, validate)


def _of_pydantic_v1(schema: Any, refusal: type[Exception]) -> Shape:
    def validate(value: dict[str, Any], _: str) -> Any:
        try:
            return schema.parse_obj(value)
        except refusal as error:
            raise _flaw_of(error.errors()) from None  # type: ignore[attr-defined]

    return Shape(schema.schema(), validate)


def _of_type(schema: Any) -> Shape:
    try:
        adapter = TypeAdapter(schema)
        json_schema = adapter.json_schema()
    except (PydanticUserError, SchemaError) as error:
        raise ConfigurationError(f"pydantic cannot use this as a schema: {clean_line(str(error), 300)}") from None

    def validate(_: dict[str, Any], text: str) -> Any:
        try:
            return adapter.validate_json(text)
        except ValidationError as error:
            raise _flaw_of(error.errors(include_url=False, include_input=False)) from None

    return Shape(json_schema, validate)


def _flaw_of(errors: Sequence[Mapping[str, Any]]) -> Flaw:
    """Return the first of pydantic's errors, and how many more there are."""
    first, *others = errors
    more = f" (and {len(others)} more)" if others else ""
    return Flaw(clean_line(first["msg"]) + more, path_of(first["loc"]))
