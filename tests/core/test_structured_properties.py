"""Structured output over generated schemas, values and answers.

An agent that does what the notation says is understood, and no answer yields anything but the object with which it
ends.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal

from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, create_model

from llama_cloud_chat import PromptTooLongError, StructuredOutput, StructuredOutputError, Turn

# An agent that knows some facts and does what the end of its prompt says, reading nothing else.

_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|\[key\]|-?\d[\d.e+-]*|[A-Za-z_][A-Za-z0-9_-]*|[^\s]|\n(?=[A-Za-z])')
TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda fact: isinstance(fact, str),
    "integer": lambda fact: isinstance(fact, int) and not isinstance(fact, bool),
    "number": lambda fact: isinstance(fact, (int, float)) and not isinstance(fact, bool),
    "boolean": lambda fact: isinstance(fact, bool),
    "null": lambda fact: fact is None,
}


class MisunderstoodError(Exception):
    """The notation does not allow what the agent knows."""


class ObedientAgent:
    """Writes what it knows as the notation says."""

    def __init__(self, notation: str) -> None:
        self._tokens = [token for token in _TOKENS.findall(notation) if not token.startswith("//")]
        self._top = self._union()
        self._named: dict[str, Any] = {}
        while self._tokens:
            assert self._take() == "\n"
            name = self._take()
            assert self._take() == "="
            self._named[name] = self._union()

    def answer(self, facts: Any) -> str:
        return json.dumps(self._write(self._top, facts), ensure_ascii=False)

    def _take(self) -> str:
        return self._tokens.pop(0)

    def _has(self, token: str) -> bool:
        if self._tokens[:1] == [token]:
            self._take()
            return True
        return False

    def _union(self) -> Any:
        kinds = [self._one()]
        while self._has("|"):
            kinds.append(self._one())
        return ("union", kinds)

    def _one(self) -> Any:
        token = self._take()
        if token == "{":
            kind = self._object()
        elif token == "(":
            kind = self._union()
            assert self._has(")")
        elif token[0] in '"-0123456789' or token in ("true", "false"):
            kind = ("value", json.loads(token))
        else:
            kind = ("name", token)
        while self._tokens[:2] == ["[", "]"]:
            self._take(), self._take()
            kind = ("list", kind)
        return kind

    def _object(self) -> Any:
        fields: dict[str, tuple[bool, Any]] = {}
        while not self._has("}"):
            token = self._take()
            name = json.loads(token) if token.startswith('"') else token
            optional = self._has("?")
            assert self._has(":")
            fields[name] = (optional, self._union())
            self._has(",")
            while self._has("\n"):
                pass
        return ("object", fields)

    def _write(self, kind: Any, fact: Any) -> Any:  # noqa: PLR0911
        what, of = kind
        if what == "union":
            for one in of:
                with contextlib.suppress(MisunderstoodError):
                    return self._write(one, fact)
        elif what == "value" and of == fact and type(of) is type(fact):
            return fact
        elif what == "name" and of in self._named:
            return self._write(self._named[of], fact)
        elif what == "name" and TYPES[of](fact):
            return fact
        elif what == "list" and isinstance(fact, list):
            return [self._write(of, item) for item in fact]
        elif what == "object" and isinstance(fact, dict) and "[key]" in of:
            return {key: self._write(of["[key]"][1], value) for key, value in fact.items()}
        elif what == "object" and isinstance(fact, dict) and not fact.keys() - of.keys():
            if missing := {name for name, (optional, _) in of.items() if not optional} - fact.keys():
                raise MisunderstoodError(missing)
            return {name: self._write(of[name][1], fact[name]) for name in of if name in fact}
        raise MisunderstoodError(kind, fact)


# Schemas with facts that fit them.

NAMES = st.sampled_from(["title", "year", "tags", "kind", "place", "who"])
ODD_NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5).filter(
    lambda name: name != "[key]"
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('{}[]",:\\`\n🦁'), max_size=8)
WORDS = st.text(max_size=40).map(lambda text: re.sub("[\ud800-\udfff]", "", text))
Pair = tuple[dict[str, Any], st.SearchStrategy[Any]]
PLAIN: st.SearchStrategy[Pair] = st.sampled_from(
    [
        ({"type": "string"}, TEXTS),
        ({"type": "integer"}, st.integers()),
        ({"type": "number"}, st.floats(allow_nan=False, allow_infinity=False)),
        ({"type": "boolean"}, st.booleans()),
        ({"type": "null"}, st.none()),
        ({"enum": ["a|b", 'c"', "// d", 1]}, st.sampled_from(["a|b", 'c"', "// d", 1])),
        ({"const": "{x}"}, st.just("{x}")),
    ]
)


def lists(inner: Pair) -> Pair:
    return {"type": "array", "items": inner[0]}, st.lists(inner[1], max_size=3)


def maps(inner: Pair) -> Pair:
    return {"type": "object", "additionalProperties": inner[0]}, st.dictionaries(TEXTS, inner[1], max_size=3)


def nullable(inner: Pair) -> Pair:
    return {"anyOf": [inner[0], {"type": "null"}]}, inner[1] | st.none()


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Pair], names: st.SearchStrategy[str]) -> Pair:
    fields = draw(st.dictionaries(names, inner, min_size=1, max_size=4))
    required = [name for name in fields if draw(st.booleans())]
    described = {
        name: {**kind, **draw(st.just({}) | st.builds(dict, description=WORDS))} for name, (kind, _) in fields.items()
    }
    schema = {"type": "object", "properties": described, "required": required, "additionalProperties": False}
    facts = st.fixed_dictionaries(
        {name: fields[name][1] for name in required},
        optional={name: facts for name, (_, facts) in fields.items() if name not in required},
    )
    return schema, facts


def schemas(names: st.SearchStrategy[str]) -> st.SearchStrategy[Pair]:
    inner = st.recursive(
        PLAIN,
        lambda kinds: kinds.map(lists) | kinds.map(maps) | kinds.map(nullable) | objects(kinds, names),
        max_leaves=8,
    )
    return objects(inner, names)


def share(schema: Any, definitions: dict[str, Any]) -> Any:
    """Put every object inside into a definition of its own, so that what is equal is shared."""
    if isinstance(schema, list):
        return [share(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    shared = {
        key: {name: share(one, definitions) for name, one in value.items()}
        if key == "properties"
        else share(value, definitions)
        for key, value in schema.items()
    }
    if shared.get("type") != "object":
        return shared
    name = next((name for name, one in definitions.items() if one == shared), f"D{len(definitions)}")
    definitions[name] = shared
    return {"$ref": f"#/$defs/{name}"}


def ask(output: StructuredOutput, question: str, facts: Any, limit: int | None = None) -> str:
    """Let the obedient agent answer."""
    prompt = output.prompt(question, limit)
    assert limit is None or len(prompt) <= limit
    assert prompt.startswith(question)
    assert Turn(prompt).question == question
    notation = prompt.removeprefix(question).removeprefix("\n\nEnd with one JSON object of this type:\n")
    return ObedientAgent(notation).answer(facts)


def too_long(output: StructuredOutput, question: str, limit: int) -> PromptTooLongError | None:
    try:
        output.prompt(question, limit)
    except PromptTooLongError as error:
        return error
    return None


WRAPPED = st.sampled_from(
    [
        "{}",
        "Here you are: {}",
        "```json\n{}\n```",
        "I thought of {{x}} and [1].\n\n```\n{}\n```\nDone.",
        '{{"a": "draft"}} {} .',
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.data(), schemas(NAMES | ODD_NAMES), st.booleans(), WRAPPED)
def test_an_obedient_agent_s_value_comes_back_as_it_was(
    data: st.DataObject, pair: Pair, sharing: bool, wrap: str
) -> None:
    schema, known = pair
    facts = data.draw(known)
    if sharing:
        definitions: dict[str, Any] = {}
        schema = {**share(schema, definitions), "$defs": definitions}
    output = StructuredOutput(schema)
    answer = output.read(wrap.format(ask(output, "What is it?", facts)))
    assert answer.value == facts
    assert json.loads(answer.json) == facts
    assert output.partial(wrap.format(answer.json)) == facts


@settings(max_examples=100, deadline=None)
@given(st.data(), schemas(NAMES), st.integers(20, 400), st.text("?x", min_size=1, max_size=50))
def test_within_the_budget_the_agent_is_told_enough_or_the_error_says_by_how_much_not(
    data: st.DataObject, pair: Pair, limit: int, question: str
) -> None:
    schema, known = pair
    output = StructuredOutput(schema)
    error = too_long(output, question, limit)
    if error is not None:
        assert error.limit == limit < error.length
        assert len(output.prompt(question, error.length)) == error.length
        assert f" {error.length - limit} characters longer" in str(error)
        return
    left_out = output.left_out(question, limit)
    if left_out in ((), ("descriptions",)):
        facts = data.draw(known)
        assert output.read(ask(output, question, facts, limit)).value == facts
    else:
        prompt = output.prompt(question, limit)
        assert len(prompt) <= limit
        assert all(name in prompt for name in schema["properties"])


PYTHON = {"string": str, "integer": int, "number": float, "boolean": bool, "null": None}


def python_type(schema: dict[str, Any], made: Iterator[int]) -> Any:
    if "anyOf" in schema:
        return python_type(schema["anyOf"][0], made) | None
    if "enum" in schema or "const" in schema:
        return Literal[tuple(schema.get("enum") or [schema["const"]])]
    if schema["type"] == "array":
        return list[python_type(schema["items"], made)]  # type: ignore[misc]
    if "properties" in schema:
        fields: dict[str, Any] = {
            name: (
                python_type(one, made),
                Field(... if name in schema["required"] else None, description=one.get("description")),
            )
            for name, one in schema["properties"].items()
        }
        return create_model(f"Made{next(made)}", **fields)
    if "additionalProperties" in schema:
        return dict[str, python_type(schema["additionalProperties"], made)]  # type: ignore[misc]
    return PYTHON[schema["type"]]


def is_for_python(schema: Any) -> bool:
    """`None | None` and a union that tells `1` from `true` only by order are no types to test with."""
    text = json.dumps(schema)
    return '{"type": "null"}, {"type": "null"}' not in text and '"anyOf": [{"anyOf"' not in text


@settings(max_examples=100, deadline=None)
@given(st.data(), schemas(NAMES).filter(lambda pair: is_for_python(pair[0])))
def test_an_obedient_agent_s_value_is_an_instance_of_its_class(data: st.DataObject, pair: Pair) -> None:
    schema, known = pair
    facts = data.draw(known)
    model: type[BaseModel] = python_type(schema, iter(range(1000)))
    output = StructuredOutput(model)
    value = output.read(ask(output, "What is it?", facts)).value
    assert type(value) is model
    assert value.model_dump(mode="json", exclude_unset=True) == facts


# Hostile answers.


def whole_objects(text: str) -> list[tuple[int, int, Any]]:
    """Where objects stand in a text, found the slow way: by trying every brace."""
    found = []
    for place, mark in enumerate(text):
        if mark == "{":
            try:
                value, end = json.JSONDecoder().raw_decode(text, place)
            except ValueError:
                continue
            found.append((place, end, value))
    return found


def read_or_none(text: str) -> Any:
    try:
        return StructuredOutput({"type": "object", "additionalProperties": {}}).read(text).value
    except StructuredOutputError:
        return None


PIECES = st.sampled_from('{}[]":,\\\n a1-🦁') | st.sampled_from(
    [
        *("NaN", "null", '{"a": 1}', '{"a": {"b": [{}]}}', '{"a":', "{}", '"a": ', "```", "```json\n", "So: ", "1e5"),
        *('{"a": oops, ', '{"a": "\n', "{'a': 1}", '{"x", "y"}', "\\u0041"),
    ]
)
HOSTILE = st.lists(PIECES, max_size=12).map("".join)


@settings(max_examples=600, deadline=None)
@given(HOSTILE)
@example('{"a": oops, "b": {"c": 1}} {"d"')
def test_no_answer_yields_a_value_that_its_text_does_not_end_with(text: str) -> None:
    value = read_or_none(text)
    if value is None:
        return
    objects = whole_objects(text)
    outermost = [
        (start, end, one) for start, end, one in objects if not any(a < start and end <= b for a, b, _ in objects)
    ]
    assert value == outermost[-1][2]
    # Nothing that is begun stands after it.
    assert not re.search(r'\{\s*("[^"]*"\s*:|\Z)', text[outermost[-1][1] :])


@settings(max_examples=150, deadline=None)
@given(HOSTILE, st.dictionaries(TEXTS, TEXTS | st.integers() | st.lists(TEXTS), min_size=1), st.data())
def test_an_answer_that_is_cut_inside_its_last_object_yields_nothing(
    before: str, last: dict[str, Any], data: Any
) -> None:
    written = json.dumps(last)
    cut = data.draw(st.integers(1, len(written) - 1))
    assert read_or_none(f"Before it: 1. \n{written[:cut]}") is None
    assert read_or_none(f'{{"a": 1}} \n{written[:cut]}') is None
    # Where `before` ends inside a string, a string of the last object may hold what looks like one.
    assert read_or_none(f"{before}\n{written[:cut]}") in (None, *(one for *_, one in whole_objects(written[:cut])))


@settings(max_examples=150, deadline=None)
@given(
    st.text("{ab 1.'\n`x}", max_size=20),
    st.dictionaries(TEXTS, TEXTS | st.floats(allow_nan=False, allow_infinity=False)),
)
def test_whatever_prose_stands_around_an_object_it_is_found(prose: str, value: dict[str, Any]) -> None:
    text = f"{prose} {json.dumps(value)}"
    assert read_or_none(text) == value
    assert read_or_none(f"{text} Well.") == value


@settings(max_examples=100, deadline=None)
@given(HOSTILE | st.text(max_size=2000), st.integers(60, 400), schemas(NAMES))
def test_a_play_asks_twice_at_most_and_every_prompt_fits(answer: str, limit: int, pair: Pair) -> None:
    output = StructuredOutput(pair[0])
    try:
        play = output.play("What?", limit)
    except PromptTooLongError:
        return
    prompts = []
    with contextlib.suppress(StructuredOutputError):
        while play.prompt is not None:
            prompts.append(play.prompt)
            play.take(answer)
    assert len(prompts) <= 2
    assert all(len(prompt) <= limit for prompt in prompts)
