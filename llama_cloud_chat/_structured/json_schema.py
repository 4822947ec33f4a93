"""Whether a value fits a JSON schema, by the `jsonschema` library: it is there only with the extra `structured`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from jsonschema.validators import validator_for
from referencing import Registry

from llama_cloud_chat._errors import ConfigurationError
from llama_cloud_chat._turn.wording import brief, clean_line

from .flaw import Flaw, path_of

_FORMATS = FormatChecker(["regex"])
"""What of a schema is looked at more closely: others are checked only where other packages happen to be installed."""
_NAMING = {"required", "additionalProperties", "dependentRequired"}
"""Keywords whose message names the field and quotes no value."""


def checker(schema: Mapping[str, Any]) -> Callable[[Any], None]:
    """Return what raises a `Flaw` for a value that does not fit `schema`.

    Raises:
        ConfigurationError: It is no JSON schema.
    """
    kind: Any = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema, format_checker=_FORMATS)
    except SchemaError as error:
        raise ConfigurationError(f"This is no JSON schema: {clean_line(error.message)}.") from None
    validator = kind(schema, registry=Registry())  # an empty registry: nothing is fetched

    def check(value: Any) -> None:
        found = best_match(validator.iter_errors(value))
        if found is not None:
            raise Flaw(_reason(found), path_of(found.absolute_path))

    return check


def _reason(error: ValidationError) -> str:
    if error.validator in _NAMING:
        return clean_line(error.message)
    # The library's own words begin with the value, which may be of any length.
    return clean_line(f"must fit {error.validator} {brief(error.validator_value)}")
