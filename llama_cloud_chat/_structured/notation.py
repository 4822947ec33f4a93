"""A JSON schema in a few words: what an agent needs to know of it, and less where space is short.

    {title: string, // what it is called
    year?: integer, // >=1900
    genre: "drama"|"comedy", cast: {name: string}[]}

What two places refer to, or what holds itself, is written once under a name (`Node = {children: Node[]}`), so that the
notation is no longer than the schema. Names are kept longest; descriptions go first.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias
from urllib.parse import unquote

from llama_cloud_chat._config import check_text
from llama_cloud_chat._errors import ConfigurationError
from llama_cloud_chat._turn.wording import clean, clean_line

Schema: TypeAlias = "Mapping[str, Any]"

_IDENTIFIER = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_FORMATS = {"date", "date-time", "time", "duration", "uuid", "email", "uri"}
_SIMPLE = {"string", "integer", "number", "boolean", "null"}
_WORDS = _SIMPLE | _FORMATS | {"any", "never", "object", "list"}
_JSON_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


@dataclass(frozen=True)
class Detail:
    """What is told of a schema beside the names of its fields.

    Attributes:
        types: The fields' types.
        optional: Which fields may be left out.
        enums: The values that a field may have.
        lists: What lists hold.
        nested: What objects inside the object hold.
        limits: Smallest and largest values and lengths, and patterns.
        descriptions: The longest description, in characters; 0 for none, None for any.
    """

    types: bool = True
    optional: bool = True
    enums: bool = True
    lists: bool = True
    nested: bool = True
    limits: bool = True
    descriptions: int | None = None


_STEPS: list[tuple[str, Any]] = [
    ("descriptions", 80),
    ("descriptions", 30),
    ("descriptions", 0),
    *((name, False) for name in ("limits", "nested", "lists", "enums", "optional", "types")),
]
"""What goes first where space is short."""


@dataclass(frozen=True)
class Telling:
    """A schema as it is told, and what is left out or shortened."""

    text: str
    left_out: tuple[str, ...] = ()


class Notation:
    """Writes one schema, in any detail.

    Raises:
        ConfigurationError: It is no schema of an object with fields, refers to what is not in it, or is nested too
            deeply.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        uses = Counter(_references(schema))
        self._targets = {reference: self._find(reference) for reference in uses}
        self._names: dict[str, str] = {}
        for reference, count in uses.items():
            if count > 1 or reference == "#":
                self._names[reference] = _name_of(reference, {*_WORDS, *self._names.values()})
        try:
            self._check()
            check_text("schema", self._write(Detail()))
        except RecursionError:
            raise ConfigurationError("The schema is nested too deeply. Make it flatter.") from None

    def tellings(self) -> Iterator[Telling]:
        """Yield the schema with everything told, then shorter and shorter until only the names are left."""
        detail = Detail()
        telling = Telling(self._write(detail))
        yield telling
        for name, value in _STEPS:
            less = replace(detail, **{name: value})
            text = self._write(less)
            if len(text) < len(telling.text):
                detail = less
                telling = Telling(text, tuple(dict.fromkeys((*telling.left_out, name))))
                yield telling

    def _write(self, detail: Detail) -> str:
        return _Writer(self._targets, self._names, detail).write(self._schema)

    def _find(self, reference: str) -> Any:
        found: Any = self._schema
        try:
            for part in unquote(reference.removeprefix("#")).split("/")[1:]:
                name = part.replace("~1", "/").replace("~0", "~")
                found = found[int(name) if isinstance(found, list) else name]
        except (KeyError, IndexError, TypeError, ValueError):
            found = None
        if not reference.startswith("#") or not isinstance(found, (Mapping, bool)):
            raise ConfigurationError(
                f"The schema refers to {clean_line(reference)!r}, which is not in it. Put the definition into the "
                "schema: nothing is fetched."
            )
        return found

    def _check(self) -> None:
        has_fields = self._has_fields(self._schema, frozenset())
        if has_fields is None:
            raise ConfigurationError(
                "The schema's values are no objects. Put what you want into a field: "
                "class Answer(BaseModel): items: list[str]"
            )
        if not has_fields:
            raise ConfigurationError("The schema has no fields, so there is nothing to ask for. Give it some.")

    def _has_fields(self, schema: Any, seen: frozenset[str]) -> bool | None:
        """Return whether the schema's values have fields; None if they are no objects."""
        if not isinstance(schema, Mapping):
            return None
        reference = schema.get("$ref")
        if isinstance(reference, str):
            return None if reference in seen else self._has_fields(self._targets[reference], seen | {reference})
        if alternatives := _alternatives(schema):
            each = [self._has_fields(alternative, seen) for alternative in alternatives]
            return None if None in each else all(each)
        parts = [self._has_fields(part, seen) for part in schema.get("allOf") or ()]
        if schema.get("type") == "object" or "properties" in schema:
            parts.append(any(_members(schema)))
        known = [part for part in parts if part is not None]
        return any(known) if known else None


class _Writer:
    """Writes a schema once, in one detail, and notes which named definitions it spoke of."""

    def __init__(self, targets: Mapping[str, Any], names: Mapping[str, str], detail: Detail) -> None:
        self._targets = targets
        self._names = names
        self._detail = detail
        self._spoken_of: list[str] = []

    def write(self, schema: Schema) -> str:
        lines = [self._type(schema, is_top=True) + self._note(schema)]
        for reference in self._spoken_of:  # grows while it is walked
            target = self._targets[reference]
            lines.append(f"{self._names[reference]} = {self._type(target, is_top=True)}{self._note(target)}")
        return "\n".join(lines)

    def _type(self, schema: Any, *, is_top: bool = False) -> str:
        """Return a type; of the object asked for (`is_top`) the fields are always told."""
        if not isinstance(schema, Mapping):
            return "never" if schema is False else "any"
        if isinstance(reference := schema.get("$ref"), str):
            return self._reference(reference, is_top=is_top)
        if "enum" in schema or "const" in schema:
            return self._values(schema["enum"] if "enum" in schema else [schema["const"]])
        if alternatives := _alternatives(schema):
            return _joined((self._type(one, is_top=is_top) for one in alternatives), "|")
        if parts := schema.get("allOf"):
            own = {key: value for key, value in schema.items() if key != "allOf"}
            return _joined((self._type(one, is_top=is_top) for one in (*parts, own) if _is_telling(one)), "&")
        return self._plain(schema, is_top=is_top)

    def _plain(self, schema: Schema, *, is_top: bool) -> str:
        kind = schema.get("type")
        if _is_object(schema):
            return self._object(schema) if is_top or self._detail.nested else "object"
        if kind == "array" or "items" in schema:
            return self._list(schema) if self._detail.lists else "list"
        if kind == "string" and schema.get("format") in _FORMATS:
            return str(schema["format"])
        return str(kind) if kind in _SIMPLE else "any"

    def _reference(self, reference: str, *, is_top: bool) -> str:
        target = self._targets[reference]
        if reference not in self._names:
            return self._type(target, is_top=is_top)
        if _is_object(target) and not (is_top or self._detail.nested):
            return "object"
        if reference not in self._spoken_of:
            self._spoken_of.append(reference)
        return self._names[reference]

    def _values(self, values: Any) -> str:
        if self._detail.enums:
            return _joined((json.dumps(value, ensure_ascii=False) for value in values), "|")
        return _joined((_JSON_TYPES.get(type(value), "any") for value in values), "|")

    def _list(self, schema: Schema) -> str:
        places = schema.get("prefixItems", schema.get("items"))
        if isinstance(places, list):
            return f"[{', '.join(self._type(place) for place in places)}]"
        item = self._type(schema.get("items", True))
        return f"({item})[]" if "|" in item or "&" in item else f"{item}[]"

    def _object(self, schema: Schema) -> str:
        required = schema.get("required") or ()
        written = ""
        members = list(_members(schema))
        for place, (name, member) in enumerate(members, 1):
            written += name if name is _ANY_KEY else _key(name)
            if self._detail.optional and name is not _ANY_KEY and name not in required:
                written += "?"
            if self._detail.types:
                written += f": {self._type(member)}"
            written += "," if place < len(members) else ""
            note = self._note(member)
            written += f"{note}\n" if note else " " if place < len(members) else ""
        return f"{{{written}}}"

    def _note(self, schema: Any) -> str:
        """Return what is said of a value beside its type, as the comment that ends a line."""
        words = [*self._limits(schema)] if self._detail.limits else []
        longest = self._detail.descriptions
        if longest != 0 and (description := self._description(schema)):
            words.append(_fold(description) if longest is None else clean_line(description, longest))
        return f" // {'; '.join(words)}" if words else ""

    def _description(self, schema: Any) -> str:
        while isinstance(schema, Mapping):
            if isinstance(found := schema.get("description"), str) and found.strip():
                return found
            reference = schema.get("$ref")
            # What has a name is described where that is defined.
            schema = self._targets[reference] if isinstance(reference, str) and reference not in self._names else None
        return ""

    def _limits(self, schema: Any) -> Iterator[str]:
        if not isinstance(schema, Mapping) or "prefixItems" in schema:
            return
        for keyword, words in _LIMITS.items():
            limit = schema.get(keyword)
            told = _fold(words.format(limit))
            # A longer one is a pattern that a library made, of a decimal number say.
            if limit is not None and limit is not False and len(told) <= _LONGEST_LIMIT:
                yield told
        for alternative in _alternatives(schema):
            yield from self._limits(alternative)
        yield from (f"each {limit}" for limit in self._limits(schema.get("items")))


_LIMITS = {
    "minimum": ">={}",
    "exclusiveMinimum": ">{}",
    "maximum": "<={}",
    "exclusiveMaximum": "<{}",
    "multipleOf": "multiple of {}",
    "minLength": "length >={}",
    "maxLength": "length <={}",
    "pattern": "pattern {}",
    "minItems": ">={} items",
    "maxItems": "<={} items",
    "uniqueItems": "no item twice",
}

_LONGEST_LIMIT = 40

_ANY_KEY = "[key]"


def _members(schema: Schema) -> Iterator[tuple[str, Any]]:
    """Yield the fields of an object, and what other keys may hold if that is said."""
    properties = schema.get("properties")
    if isinstance(properties, Mapping):
        yield from properties.items()
    others = [schema.get("additionalProperties"), *(schema.get("patternProperties") or {}).values()]
    yield from ((_ANY_KEY, other) for other in others if isinstance(other, Mapping))


def _alternatives(schema: Schema) -> list[Any]:
    for keyword in ("anyOf", "oneOf"):
        if isinstance(found := schema.get(keyword), list):
            return found
    kinds = schema.get("type")
    return [{**schema, "type": kind} for kind in kinds] if isinstance(kinds, list) else []


def _is_object(schema: Any) -> bool:
    return isinstance(schema, Mapping) and (schema.get("type") == "object" or "properties" in schema)


def _is_telling(schema: Any) -> bool:
    """Whether a part of `allOf` says more than words."""
    return not isinstance(schema, Mapping) or bool(schema.keys() - {"description", "title", "default", "$defs"})


def _references(schema: Any) -> Iterator[str]:
    """Yield every reference of a schema, as often as it is made."""
    waiting = [schema]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            if isinstance(reference := one.get("$ref"), str):
                yield reference
            waiting.extend(one.values())
        elif isinstance(one, (list, tuple)):
            waiting.extend(one)


def _joined(types: Iterable[str], mark: str) -> str:
    return mark.join(dict.fromkeys(types)) or "never"


def _key(name: str) -> str:
    return name if _IDENTIFIER.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def _name_of(reference: str, taken: set[str]) -> str:
    """Return a name for what is referred to that nothing else has."""
    last = unquote(reference.rpartition("/")[2])
    name = re.sub("[^A-Za-z0-9_]+", "_", last).strip("_") or "Answer"
    numbered = (name if number == 1 else f"{name}{number}" for number in itertools.count(1))
    return next(one for one in numbered if one not in taken)


def _fold(text: str) -> str:
    return " ".join(clean(text).split())
