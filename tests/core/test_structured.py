"""Structured output by prompt: how it is asked for, read, and repaired once."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import enum
import itertools
import json
import pickle
import sys
import warnings
from collections.abc import Callable
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, field_validator
from typing_extensions import NotRequired, TypedDict

from llama_cloud_chat import (
    ConfigurationError,
    Message,
    PromptTooLongError,
    StructuredOutput,
    StructuredOutputError,
    Turn,
    render_transcript,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pydantic import v1

LEAD = "End with one JSON object of this type:\n"


class Joke(BaseModel):
    """A joke."""

    setup: str = Field(description="asks")
    punchline: str = Field(description="resolves")
    rating: int | None = Field(default=None, description="how funny", ge=1, le=10)


class JokeV1(v1.BaseModel):
    setup: str
    punchline: str
    rating: int | None = None


class JokeDict(TypedDict):
    setup: str
    punchline: str
    rating: NotRequired[int]


@dataclasses.dataclass
class JokeData:
    setup: str
    punchline: str
    rating: int | None = None


JOKE_SCHEMA = {
    "type": "object",
    "title": "Joke",
    "properties": {"setup": {"type": "string"}, "punchline": {"type": "string"}, "rating": {"type": "integer"}},
    "required": ["setup", "punchline"],
}
SCHEMAS = [Joke, JokeV1, JokeDict, JokeData, JOKE_SCHEMA]
JOKE = {"setup": "Why?", "punchline": "Because.", "rating": 7}


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Part(BaseModel):
    name: str
    weight: float


class Machine(BaseModel):
    """A machine."""

    name: str = Field(description="what it is called, by those who built it and by those who have to look after it now")
    color: Color
    parts: list[Part]
    spare: Part | None = None
    built: dt.date
    year: int = Field(ge=1900, lt=2100)


class Node(BaseModel):
    name: str
    children: list[Node] = []


def told(schema: Any, budget: int | None = None) -> str:
    return StructuredOutput(schema).instruction(budget).removeprefix(LEAD)


def flaw_in(schema: Any, text: str) -> StructuredOutputError:
    with pytest.raises(StructuredOutputError) as caught:
        StructuredOutput(schema).read(text)
    assert caught.value.answer == text
    return caught.value


# How a schema is told


def test_a_class_of_three_fields_takes_about_120_characters() -> None:
    assert len(StructuredOutput(JokeData).instruction()) == 96
    # LangChain's format instructions for this class have more than a thousand.
    assert len(StructuredOutput(Joke).instruction()) < 200


@pytest.mark.parametrize("schema", [*SCHEMAS, Machine, Node], ids=str)
def test_no_word_of_json_schema_is_told(schema: Any) -> None:
    instruction = StructuredOutput(schema).instruction()
    assert not [word for word in ('"properties"', '"$defs"', "$ref", '"type"', "required") if word in instruction]


@pytest.mark.parametrize("schema", [JokeV1, JokeDict, JOKE_SCHEMA], ids=str)
def test_what_may_be_left_out_is_marked(schema: Any) -> None:
    assert told(schema) == "{setup: string, punchline: string, rating?: integer}"


def test_descriptions_and_limits_stand_behind_their_field() -> None:
    assert told(Joke) == (
        "{setup: string, // asks\n"
        "punchline: string, // resolves\n"
        "rating?: integer|null // >=1; <=10; how funny\n"
        "} // A joke."
    )


def test_what_is_used_twice_is_defined_once() -> None:
    assert told(Machine).splitlines()[1:] == [
        'color: "red"|"blue", parts: Part[], spare?: Part|null, built: date, year: integer // >=1900; <2100',
        "} // A machine.",
        "Part = {name: string, weight: number}",
    ]


def test_a_schema_that_holds_itself_is_told_once() -> None:
    assert told(Node) == "Node\nNode = {name: string, children?: Node[]}"


def test_a_schema_whose_definitions_double_each_time_stays_short() -> None:
    definitions = {
        f"D{number}": {
            "type": "object",
            "properties": {key: {"$ref": f"#/$defs/D{number + 1}"} for key in ("left", "right")},
        }
        for number in range(40)
    }
    definitions["D40"] = {"type": "string"}
    assert len(told({"$ref": "#/$defs/D0", "$defs": definitions})) < 2000


def test_what_space_is_short_of_goes_in_order_and_the_names_stay() -> None:
    output = StructuredOutput(Machine)
    told_less = [output.instruction()]
    lost = [output.left_out("?")]
    while True:
        try:
            told_less.append(output.instruction(len(told_less[-1]) - 1))
        except PromptTooLongError:
            break
        lost.append(output.left_out("?", len(told_less[-1]) + 3))
    gone = ["descriptions", "limits", "nested", "lists", "enums", "optional", "types"]
    assert lost[0] == ()
    assert all(later[: len(earlier)] == earlier for earlier, later in itertools.pairwise(lost))
    assert list(lost[-1]) == gone
    assert told_less[-1] == LEAD + "{name, color, parts, spare, built, year}"
    without_types = LEAD + "{name: string, color: string, parts: list, spare: object|null, built: date, year: integer}"
    assert told_less[-2] == without_types
    assert "…" in told_less[1]


@pytest.mark.parametrize(
    ("field", "notation"),
    [
        (True, "any"),
        (False, "never"),
        ({}, "any"),
        ({"type": ["string", "null"]}, "string|null"),
        ({"const": "fixed"}, '"fixed"'),
        ({"enum": []}, "never"),
        ({"enum": ["a", 1, None, True]}, '"a"|1|null|true'),
        ({"type": "array"}, "any[]"),
        ({"type": "array", "items": {"type": ["string", "null"]}}, "(string|null)[]"),
        ({"type": "array", "prefixItems": [{"type": "string"}, True], "minItems": 2}, "[string, any]"),
        ({"type": "array", "items": {"type": "integer", "minimum": 0}}, "integer[] // each >=0\n"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "{[key]: number}"),
        ({"type": "object", "patternProperties": {"^x": {"type": "number"}}}, "{[key]: number}"),
        ({"type": "object"}, "{}"),
        ({"type": "string", "format": "date-time"}, "date-time"),
        ({"type": "string", "format": "binary"}, "string"),
        ({"type": "string", "pattern": "^a$"}, "string // pattern ^a$\n"),
        ({"type": "string", "pattern": "x" * 99}, "string"),
        ({"type": "array", "uniqueItems": True}, "any[] // no item twice\n"),
        ({"type": "array", "uniqueItems": False}, "any[]"),
        ({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}, "integer|null // >=1\n"),
        ({"oneOf": [{"type": "integer"}, {"type": "integer"}]}, "integer"),
        ({"allOf": [{"type": "string"}], "description": "so"}, "string // so\n"),
        ({"allOf": [{"$ref": "#/$defs/A~1B%20"}, {"properties": {"b": True}}]}, "{a?: any}&{b?: any}"),
        ({"$ref": "#/$defs/A~1B%20"}, "{a?: any} // of A\n"),
        ({"$ref": "#/$defs/list/prefixItems/0"}, "string"),
        ({"type": "string", "description": " two\n lines \u202e "}, "string // two lines\n"),
    ],
)  # fmt: skip
def test_every_kind_of_field_has_its_notation(field: Any, notation: str) -> None:
    schema = {
        "properties": {"f": field},
        "required": ["f"],
        "$defs": {
            "A/B ": {"type": "object", "properties": {"a": {}}, "description": "of A"},
            "list": {"prefixItems": [{"type": "string"}]},
        },
    }
    assert told(schema) == f"{{f: {notation}}}"


def test_odd_names_are_written_as_json() -> None:
    schema = {"properties": {"two words": {"type": "string"}, 'quote"': {"type": "string"}, "größe": {}}}
    assert told(schema) == '{"two words"?: string, "quote\\""?: string, "größe"?: any}'


def test_names_of_definitions_are_nothing_else_s() -> None:
    twice = {"properties": {"a": {"type": "string"}}}
    schema = {
        "properties": {
            f"{definition}{number}": {"$ref": f"#/{place}/{definition}"}
            for number in (1, 2)
            for place, definition in (("$defs", "date"), ("definitions", "T[int]"), ("$defs", "T[int]"), ("$defs", "ä"))
        },
        "$defs": {"date": twice, "T[int]": {"type": "integer"}, "ä": {"type": "null"}},
        "definitions": {"T[int]": twice},
    }
    # The second place of one key wins, so one of the two lists is referred to twice in all the same.
    schema["properties"].update({"x": {"$ref": "#/definitions/T[int]"}, "y": {"$ref": "#/definitions/T[int]"}})
    lines = told(schema).splitlines()[1:]
    assert sorted(line.partition(" = ")[0] for line in lines) == ["Answer", "T_int", "T_int2", "date2"]


def test_a_union_of_objects_can_be_asked_for() -> None:
    schema = {"anyOf": [{"properties": {"a": {}}}, {"allOf": [{"properties": {"b": {}}}]}]}
    assert told(schema) == "{a?: any}|{b?: any}"
    assert told({"properties": {"self": {"$ref": "#"}}}) == "{self?: Answer}\nAnswer = {self?: Answer}"


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (type("Empty", (BaseModel,), {}), "no fields"),
        ({"type": "object"}, "no fields"),
        ({"anyOf": [{"properties": {"a": {}}}, {"type": "object"}]}, "no fields"),
        ({}, "no objects"),
        (int, "no objects"),
        (list[int], "no objects"),
        ({"anyOf": [{"properties": {"a": {}}}, {"type": "null"}]}, "no objects"),
        ({"allOf": [True]}, "no objects"),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}, "no objects"),
        ({"properties": {"a": {"$ref": "https://example.com/a.json"}}}, "not in it"),
        ({"properties": {"a": {"$ref": "#/$defs/Missing"}}}, "not in it"),
        ({"properties": {"a": {"$ref": "#/required/0"}}, "required": ["a"]}, "not in it"),
        ({"type": "nothing"}, "no JSON schema"),
        ({"properties": {"a": {"pattern": "("}}}, "no JSON schema"),
        ({"properties": {"a": {"enum": {1, 2}}}}, "no JSON"),
        ({"properties": {"\ud83d": {}}}, "half a character"),
        ("Joke", "A schema is"),
        (Joke(setup="a", punchline="b"), "A schema is"),
        (type("Strange", (), {}), "pydantic cannot use"),
        (type("Any", (BaseModel,), {"__annotations__": {"f": Callable[[], int]}}), "pydantic cannot use"),
    ],
)  # fmt: skip
def test_a_schema_that_cannot_work_is_refused_at_once(schema: Any, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        StructuredOutput(schema)


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"properties": {"a": schema}}
    return schema


@pytest.mark.parametrize("depth", [1000, 100_000])
def test_a_schema_nested_a_thousand_deep_is_refused(depth: int) -> None:
    with pytest.raises(ConfigurationError, match="too deeply"):
        StructuredOutput(nested(depth))


def test_a_schema_nested_too_deep_for_its_notation_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llama_cloud_chat._structured.json_schema.checker", lambda _: print)
    frame, depth = sys._getframe(), 0
    while frame := frame.f_back:  # type: ignore[assignment]
        depth += 1
    with pytest.raises(ConfigurationError, match="too deeply"):
        StructuredOutput(nested((sys.getrecursionlimit() - depth) // 3))


def test_without_jsonschema_a_json_schema_is_refused_with_the_extra_s_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "llama_cloud_chat._structured.json_schema", raising=False)
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(ModuleNotFoundError, match=r"llama-cloud-chat\[structured\]"):
        StructuredOutput(JOKE_SCHEMA)
    assert StructuredOutput(Joke).read(json.dumps(JOKE)).value == Joke(**JOKE)


def test_a_schema_that_is_changed_later_stays_as_it_was() -> None:
    schema = json.loads(json.dumps(JOKE_SCHEMA))
    output = StructuredOutput(schema)
    schema["properties"]["setup"]["type"] = "integer"
    assert output.json_schema == JOKE_SCHEMA
    assert output.read(json.dumps(JOKE)).value == JOKE


# What is asked


def test_the_question_stays_as_it_is() -> None:
    question = "  Tell me\n\n{a joke}\t"
    assert StructuredOutput(Joke).prompt(question).startswith(f"{question}\n\nEnd with")


@pytest.mark.parametrize(
    "question", ["How many?", f"What does it mean?\n\n{LEAD}{{a: string}}\n\nAnd why?", f"\n\n{LEAD}{{a: string}}"]
)
def test_a_history_tells_the_question_without_the_schema(question: str) -> None:
    output = StructuredOutput(Joke)
    assert Turn(output.prompt(question)).question == question
    folded = render_transcript([Message("user", "One?"), Message("user", output.prompt(question))])
    assert Turn(folded).question == question


def test_an_empty_question_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="prompt is empty"):
        StructuredOutput(Joke).prompt(" ")


def test_what_does_not_fit_beside_the_question_says_by_how_many_characters() -> None:
    output = StructuredOutput(Joke)
    shortest = len(f"{LEAD}{{setup, punchline, rating}}")
    with pytest.raises(
        PromptTooLongError, match=rf"\(990 characters\).*\({shortest}\).* {shortest - 8} char"
    ) as caught:
        output.prompt("x" * 990, 1000)
    assert (caught.value.length, caught.value.limit) == (992 + shortest, 1000)
    assert len(output.prompt("x" * (998 - shortest), 1000)) == 1000
    with pytest.raises(PromptTooLongError, match=" 1 more than there is room for") as caught:
        output.instruction(shortest - 1)
    assert (caught.value.length, caught.value.limit) == (shortest, shortest - 1)
    assert isinstance(caught.value, ConfigurationError)


# What is read


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_every_kind_of_schema_gives_a_value_of_its_own_kind(schema: Any) -> None:
    answer = StructuredOutput(schema).read(f"Here:\n```json\n{json.dumps(JOKE)}\n```\n")
    wanted = JOKE if schema in (JokeDict, JOKE_SCHEMA) else schema(**JOKE)
    assert answer.value == wanted
    assert type(answer.value) is type(wanted)
    assert json.loads(answer.json) == JOKE


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_every_kind_of_schema_is_validated_and_the_field_is_named(schema: Any) -> None:
    error = flaw_in(schema, json.dumps({**JOKE, "rating": "very"}))
    assert error.field == "rating"
    assert "integer" in error.reason
    assert f"rating: {error.reason}" in str(error)
    assert "punchline" in f"{(missing := flaw_in(schema, json.dumps({'setup': ''}))).field} {missing.reason}"


def test_a_field_inside_lists_and_objects_is_named_by_its_path() -> None:
    machine = {"name": "a", "color": "red", "built": "2020-02-02", "year": 2000}
    parts = [{"name": "p", "weight": 1}, {"name": "q", "weight": "heavy"}]
    error = flaw_in(Machine, json.dumps({**machine, "parts": parts}))
    assert error.field == "parts[1].weight"
    error = flaw_in(StructuredOutput(Machine).json_schema, json.dumps({**machine, "parts": parts}))
    assert (error.field, error.reason) == ("parts[1].weight", 'must fit type "number"')
    value = StructuredOutput(Machine).read(json.dumps({**machine, "parts": parts[:1]})).value
    assert value.built == dt.date(2020, 2, 2)


def test_several_errors_are_counted() -> None:
    assert flaw_in(Joke, '{"setup": 1}').reason.endswith("(and 1 more)")


def test_words_of_any_length_are_made_short() -> None:
    class Shouts(BaseModel):
        model_config = {"extra": "forbid"}
        a: str = ""

        @field_validator("a")
        @classmethod
        def refuse(cls, value: str) -> str:
            raise ValueError(value)

    for schema in (Shouts, {"properties": {"a": {"type": "null"}}, "additionalProperties": False}):
        for answer in ({"a": "x" * 10**6}, {"y" * 10**6: 1}):
            error = flaw_in(schema, json.dumps(answer))
            assert len(f"{error.field}: {error.reason}") < 300
            assert len(str(error)) < 500


# fmt: off
ANSWERS: list[tuple[str, Any]] = [
    ("", "there is no JSON object in it"),
    ("none at all", "there is no JSON object in it"),
    ("[1, 2]", "there is no JSON object in it"),
    ("the sets {x} and {'a'} and {\"x\", \"y\"}", "there is no JSON object in it"),
    ('{"a": 1} and then {"a": 2}', {"a": 2}),
    ('{"a": 1}{"b": {"a": 3}} That is all }.', {"b": {"a": 3}}),
    ('{ "a" : [ 1 , -2.5e+3 , true , null , "{}" , [ ] , { } ] }', {"a": [1, -2500.0, True, None, "{}", [], {}]}),
    ('[{"a": 1}, {"a": 2}]', {"a": 2}),
    ("{}", {}),
    ('{"a": 1} and the set {"x", "y"} or {x}', {"a": 1}),
    ('{"a": "\\" } \\\\"}', {"a": '" } \\'}),
    ('{"a": 1, "a": 2}', {"a": 2}),
    ('{"a": 1} then {"a": 2', "the JSON object is cut off"),
    ('{"a": 1} then {', "the JSON object is cut off"),
    ('{"a": {"b": 1}', "the JSON object is cut off"),
    ('{"a": "text {} ', "the JSON object is cut off"),
    ('{"a": "x\\u12', "the JSON object is cut off"),
    ('{"a": tru', "the JSON object is cut off"),
    ('{"a": 1.', "the JSON object is cut off"),
    ('{"a": 1} then {"b": oops}', "the JSON object is malformed"),
    ('{"a": oops, "b": {"c": 1}}', "the JSON object is malformed"),
    ('{"a": oops, "b": {"c": 1}', "the JSON object is malformed"),
    ('{"a": 1, {"b": 1}', "the JSON object is malformed"),
    ('{"a": {"b": 1} {"c": 1}', "the JSON object is malformed"),
    ('{"a": {oops: {"c": 1}}}', "the JSON object is malformed"),
    ('{"a": oops, x {"c": 1} [ {', "the JSON object is malformed"),
    ('{"a": "in\n{} two lines", "b": 1}', "the JSON object is malformed"),
    ('{"a": 1,}', "the JSON object is malformed"),
    ('{"a": 01}', "the JSON object is malformed"),
    ('{"a": "\\x"}', "the JSON object is malformed"),
    # Written as the schema is told, or as Python does.
    ('The table says {"a": 1}, so: {a: 2}', "the JSON object is malformed"),
    ("The table says {\"a\": 1}, so: {'a': 2}", "the JSON object is malformed"),
    ('{a: 1, b: [{"a": 2}]}', "the JSON object is malformed"),
    ('{a: {"a": 2}}', "the JSON object is malformed"),
    ("Draft: {a: oops}\nFinal: {\"a\": 1}", {"a": 1}),
    # A passage was cut, and quoted so; the answer comes after it.
    ('{"name": "Ac\n\nThe answer is: {"b": 2}', {"b": 2}),
    ('{"rows": [{"a": 1}, {"a": 2\n\nSo:\n```json\n{"b": 2}\n```', {"b": 2}),
    ('Draft: {"a": oops}\nFinal: {"a": 1}', {"a": 1}),
    ('{"a": NaN, "b": {"c": 1}}', "it holds a number that JSON cannot hold, such as NaN"),
    ('{"a": -Infinity}', "it holds a number that JSON cannot hold, such as NaN"),
    ('{"a": 1e999}', "it holds a number that JSON cannot hold, such as NaN"),
    ('{"a":' + "9" * 5000 + "}", "it holds a number that JSON cannot hold, such as NaN"),
    ('{"a": "\\ud83d"}', {"a": "\ufffd"}),
    ('{"a": "\ud83d"}', {"a": "\ufffd"}),
    ('{"\ud83e\udd81": "\\ud83e\\udd81 \\\\ud83d \\n"}', {"🦁": "🦁 \\ud83d \n"}),
    ('{"a":' * 100 + "1" + "}" * 100, "depth 100"),
    ('{"a":' * 101 + "1" + "}" * 101, "the JSON object is nested deeper than 100"),
    ('{"a":' + "[" * 1000 + "]" * 1000 + '} {"b": 1', "the JSON object is cut off"),
    ('{"a":' * 100_000 + "1" + "}" * 100_000, "the JSON object is nested deeper than 100"),
    ('{"a":' * 100_000, "the JSON object is cut off"),
]
# fmt: on
ANYTHING = {"properties": {"a": {}}}


@pytest.mark.parametrize(("text", "wanted"), ANSWERS, ids=range(len(ANSWERS)))
def test_the_last_complete_outermost_object_counts(text: str, wanted: Any) -> None:
    if wanted == "depth 100":
        assert StructuredOutput(ANYTHING).read(text).value["a"]["a"]
    elif isinstance(wanted, str):
        assert flaw_in(ANYTHING, text).reason == wanted
    else:
        answer = StructuredOutput(ANYTHING).read(text)
        assert answer.value == wanted
        assert json.loads(answer.json) == wanted
        answer.json.encode()


def test_recursion_is_an_error_of_ours_whoever_runs_into_it() -> None:
    class Recursive(BaseModel):
        a: int

        @field_validator("a")
        @classmethod
        def call_itself(cls, value: int) -> int:
            return cls.call_itself(value)

    assert "nested" in flaw_in(Recursive, '{"a": 1}').reason
    loop = {
        "properties": {"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#/$defs/A"}},
        "$defs": {"A": {"$ref": "#/$defs/A"}},
    }
    assert "nested" in flaw_in(loop, '{"a": 1}').reason


def test_an_answer_nested_deep_is_read_or_refused_where_little_is_left_of_the_stack() -> None:
    output = StructuredOutput(ANYTHING)
    text = '{"a":' * 90 + "1" + "}" * 90
    seen = set()

    def descend() -> None:
        with contextlib.suppress(RecursionError):
            descend()
        try:
            seen.add(output.read(text).json == text.replace(":", ": "))
        except StructuredOutputError as error:
            seen.add(error.reason)
        except RecursionError:  # not even our own functions could be called
            seen.add("none")

    descend()
    assert True in seen
    assert all(one in (True, "none") or "nested" in str(one) for one in seen)


HUGE = {
    "nested and cut": '{"a":1,' * 50_000,
    "many that are broken": '{"a": x ' * 20_000,
    "many that are whole": '{"a":1} ' * 20_000,
    "many braces": "{ " * 500_000,
    "keys without quotes": "{a:" * 100_000,
    "braces and quotes": '{"' * 20_000,
    "escaped quotes": '{"a":"' + '\\"' * 200_000,
    "backslashes": '{"a": "' + "\\" * 200_000,
    "spaces": '{"a"' + " " * 1_000_000 + "x",
    "one long string": '{"a":"' + "x" * 5_000_000 + '"}',
    "halves": '{"a":"' + "\\ud83d" * 100_000 + '"}',
}


@pytest.mark.parametrize("text", HUGE.values(), ids=HUGE)
def test_megabytes_are_read_in_a_time_that_grows_as_they_do(text: str) -> None:
    """Whatever looks at a character again for each brace would take hours."""
    output = StructuredOutput({"properties": {"b": {}}, "required": ["b"]})
    with pytest.raises(StructuredOutputError) as caught:
        output.read(text)
    error = caught.value
    assert len(output.repair(error, 1000)) <= 1000
    output.partial(text)


def test_a_streamed_answer_grows() -> None:
    text = 'Well: ```{"a": {"b": ["x\\ud83e\\udd81", 10, true]}, "c": "y"}``` Done {x'
    output = StructuredOutput(ANYTHING)
    grown: list[Any] = []
    for place in range(len(text) + 1):
        now = output.partial(text[:place])
        if not grown or now != grown[-1]:
            grown.append(now)
    assert grown[:6] == [None, {}, {"a": {}}, {"a": {"b": []}}, {"a": {"b": [""]}}, {"a": {"b": ["x"]}}]
    assert {"a": {"b": ["x🦁"]}} in grown
    assert grown[-1] == {"a": {"b": ["x🦁", 10, True]}, "c": "y"}
    assert output.partial('{"a": oops}') is None
    assert output.partial('{"a": NaN') is None
    assert output.partial('{"a":' * 1000) is None


# What is asked again


def test_a_repair_names_the_field_and_tells_the_schema_again_where_there_is_room() -> None:
    output = StructuredOutput(Joke)
    error = flaw_in(Joke, json.dumps({**JOKE, "rating": 11}))
    assert output.repair(error) == (
        "That did not fit: rating: Input should be less than or equal to 10. Send the whole corrected JSON object "
        f"alone.\n\n{output.instruction()}"
    )
    assert output.repair(error, 120) == (
        "That did not fit: rating: Input should be less than or equal to 10. Send the whole corrected JSON "
        "object alone."
    )
    assert output.repair(error, 100) == "That did not fit: rating. Send the whole corrected JSON object alone."
    assert output.repair(error, 50) == "Send the whole corrected JSON object alone."
    assert all(len(output.repair(error, limit)) <= limit for limit in range(43, 400))
    with pytest.raises(PromptTooLongError, match="43 characters") as caught:
        output.repair(error, 42)
    assert (caught.value.length, caught.value.limit) == (43, 42)
    assert "no JSON. Send" in output.repair(flaw_in(Joke, "no"), 70)


# The play


def test_a_first_answer_that_fits_is_the_end() -> None:
    play = StructuredOutput(Joke).play("A joke?", 1000)
    assert play.prompt == StructuredOutput(Joke).prompt("A joke?", 1000)
    assert play.left_out == ()
    play.take(json.dumps(JOKE))
    assert (play.prompt, play.askings) == (None, 1)
    assert play.answer is not None
    assert play.answer.value == Joke(**JOKE)


def test_a_second_answer_that_fits_is_the_end() -> None:
    output = StructuredOutput(Joke)
    play = output.play("A joke?")
    play.take("No.")
    assert play.prompt == output.repair(flaw_in(Joke, "No."))
    assert play.answer is None
    play.take(json.dumps(JOKE))
    assert (play.prompt, play.askings) == (None, 2)
    assert play.answer is not None


def test_nothing_is_asked_a_third_time_and_the_raw_answer_stays() -> None:
    play = StructuredOutput(Joke).play("A joke?")
    play.take("No.")
    with pytest.raises(StructuredOutputError) as caught:
        play.take("Never.")
    assert caught.value.answer == "Never."
    assert play.askings == 2


def test_a_limit_that_the_service_teaches_is_kept_from_then_on_and_costs_no_asking() -> None:
    output = StructuredOutput(Machine)
    play = output.play("A machine?")
    assert play.prompt is not None
    # 50 characters of something else were told with it.
    play.refuse(PromptTooLongError("too long", length=len(play.prompt) + 50, limit=250))
    assert (play.prompt, play.askings) == (output.prompt("A machine?", 200), 0)
    assert play.left_out == output.left_out("A machine?", 200)
    play.take("No.")
    assert len(play.prompt) <= 200
    play.refuse(PromptTooLongError("too long", length=len(play.prompt), limit=100))
    assert len(play.prompt) <= 100
    assert play.askings == 1
    error = PromptTooLongError("too long", length=len(play.prompt), limit=1000)
    with pytest.raises(PromptTooLongError) as caught:
        play.refuse(error)
    assert caught.value is error


def test_a_question_that_no_shorter_notation_helps_is_refused() -> None:
    play = StructuredOutput(Joke).play("x" * 200)
    with pytest.raises(PromptTooLongError, match="longer than the 200"):
        play.refuse(PromptTooLongError("too long", length=10, limit=200))


def test_the_errors_travel_in_a_pickle() -> None:
    for error in (
        PromptTooLongError("m", length=2, limit=1),
        StructuredOutputError("m", reason="r", field="f", answer="a"),
    ):
        copied = pickle.loads(pickle.dumps(error))
        assert (type(copied), str(copied), vars(copied)) == (type(error), "m", vars(error))


def test_literal_values_that_are_no_strings_are_told() -> None:
    class Choice(BaseModel):
        value: Literal[1, "b"]

    assert told(Choice) == '{value: 1|"b"}'
    assert told(Choice, len(LEAD) + 13) == "{value}"
