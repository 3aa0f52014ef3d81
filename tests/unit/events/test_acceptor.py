from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jsonschema.protocols import Validator

from hookline.events import schemas as schemas_module
from hookline.events.acceptor import acceptor
from hookline.events.builtin_events import EVENTS, sample_of, schema_of
from hookline.events.schemas import Catalogue, EventTypeSpec, check_schema
from hookline.events.strictjson import MAX_DEPTH

DRAFT_04 = "http://json-schema.org/draft-04/schema#"
DRAFT_07 = "http://json-schema.org/draft-07/schema#"
LATEST = "https://json-schema.org/draft/2020-12/schema"

texts = st.sampled_from(["", "a", "ab", "abc", "2026-11-30", "2016-12-31T23:59:60Z", "x@example.org", "😀"])
leaves = st.none() | st.booleans() | st.sampled_from([0, 1, 2, 1.0, 1.5, 10**20]) | texts
bodies = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
types = st.sampled_from(["string", "object", "array", "number", "integer", "boolean", "null"])


def _schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    named = st.dictionaries(st.sampled_from("abc"), inner, max_size=2)
    values: dict[str, st.SearchStrategy[Any]] = {
        **dict.fromkeys(("properties", "patternProperties", "definitions"), named),
        **dict.fromkeys(("additionalProperties", "unevaluatedProperties"), st.booleans() | inner),
        **dict.fromkeys(("not", "if", "then", "else"), inner),
        **dict.fromkeys(("allOf", "anyOf", "oneOf"), st.lists(inner, min_size=1, max_size=2)),
        **dict.fromkeys(("minLength", "maxLength", "minItems", "maxProperties"), st.integers(0, 3)),
        "type": types | st.lists(types, min_size=1, max_size=3, unique=True),
        "enum": st.lists(bodies, min_size=1, max_size=3, unique_by=repr),
        "const": bodies,
        "required": st.lists(st.sampled_from("abc"), min_size=1, max_size=2, unique=True),
        "items": inner | st.lists(inner, min_size=1, max_size=2),
        "prefixItems": st.lists(inner, min_size=1, max_size=2),
        "format": st.sampled_from(["date", "date-time", "email", "uuid", "int64"]),
        "pattern": st.sampled_from(["^a", "b$", "\\d"]),
        "minimum": st.sampled_from([0, 1.5]),
        "multipleOf": st.sampled_from([0.5, 2]),
        "$ref": st.sampled_from(["#", "#/definitions/a", "#/properties/b", "#/items"]),
        "$id": st.just("http://example.org/inner"),
    }
    few = st.lists(st.sampled_from(sorted(values)), max_size=4, unique=True)
    return few.flatmap(lambda names: st.fixed_dictionaries({name: values[name] for name in names}))


schemas = _schemas(st.recursive(st.booleans() | _schemas(st.booleans()), _schemas, max_leaves=4))


def validator_of(schema: dict[str, Any]) -> Validator:
    return schemas_module.validator_of(schema)


def accepts(schema: dict[str, Any], body: Any) -> bool:
    return acceptor(validator_of(schema), schema["$schema"])(body)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_a_right_body_is_accepted_without_jsonschema(event: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue, body = Catalogue(), json.dumps(sample_of(event)).encode()
    catalogue.check(event.name, body)
    monkeypatch.setattr(schemas_module._Compiled, "validator", None)
    assert catalogue.check(event.name, body) == ()


@given(event=st.sampled_from(EVENTS), changes=st.dictionaries(st.integers(0, 40), bodies, max_size=2), data=st.data())
def test_of_a_built_in_event_it_accepts_exactly_what_jsonschema_accepts(
    event: Any, changes: dict[int, Any], data: st.DataObject
) -> None:
    body = sample_of(event)
    names = [*schema_of(event)["properties"], "Unknown"]
    body.update({names[index % len(names)]: value for index, value in changes.items()})
    left_out = data.draw(st.sampled_from([None, *sorted(body)]))
    body = {name: value for name, value in body.items() if name != left_out}
    assert accepts(schema_of(event), body) == validator_of(schema_of(event)).is_valid(body)


@given(schema=schemas, draft=st.sampled_from([DRAFT_04, DRAFT_07, LATEST]), body=bodies)
def test_of_any_schema_it_accepts_nothing_that_jsonschema_refuses(
    schema: dict[str, Any], draft: str, body: Any
) -> None:
    schema = {"$schema": draft, **schema}
    assume(not check_schema(schema))
    if accepts(schema, body):
        assert validator_of(schema).is_valid(body)


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"type": "integer"}, [1, 10**20], [True, 1.5, "1", None]),
        ({"type": "number"}, [1, 1.5], [True, "1"]),
        ({"type": ["null", "boolean"]}, [None, True], [0, ""]),
        ({"enum": ["a", None]}, ["a", None], ["b", 0, False, [], {}]),
        ({"minLength": 2, "maxLength": 2}, ["😀😀", 1], ["a", "abc"]),
        ({"required": ["a"]}, [{"a": None}, 1], [{}]),
        ({"properties": {"a": {}}, "additionalProperties": False}, [{"a": 1}, {}, 1], [{"b": 1}, {"a": 1, "b": 1}]),
        ({"patternProperties": {"^b": {}}, "additionalProperties": False}, [{"b": 1}], [{"a": 1}]),
        ({"additionalProperties": {"type": "string"}}, [{"a": "x"}], [{"a": 1}]),
        ({"items": {"type": "string"}}, [["a"], [], 1], [[1], ["a", 1]]),
        ({"prefixItems": [True], "items": {"type": "string"}}, [[1, "a"]], [[1, 1]]),
        ({"format": "date-time"}, ["2016-12-31T23:59:60Z", 1], ["2016-12-31T12:00:60Z"]),
        ({"format": "nobody-knows"}, ["a"], []),
        ({"pattern": "^\\d$"}, ["1"], ["\u0661", "1\n"]),
        ({"properties": {"a": False}}, [{}], [{"a": 1}]),
        ({"properties": {"a": {"$ref": "#/$defs/no"}}, "$defs": {"no": False}}, [{}], [{"a": 1}]),
        ({"properties": {"a": {"$ref": "#"}, "b": {"type": "null"}}}, [{"a": {"a": {"b": None}}}], [{"a": {"b": 1}}]),
        ({"$ref": "#/$defs/a", "minLength": 2, "$defs": {"a": {"type": "string"}}}, ["ab"], ["a", 1]),
    ],
)
def test_each_keyword_it_decides(schema: dict[str, Any], right: list[Any], wrong: list[Any]) -> None:
    schema = {"$schema": LATEST, **schema}
    assert [accepts(schema, body) for body in (*right, *wrong)] == [True] * len(right) + [False] * len(wrong)


def test_draft_04_looks_at_nothing_beside_a_reference() -> None:
    schema = {"$schema": DRAFT_04, "properties": {"a": {"$ref": "#/definitions/b", "minLength": 9}}}
    assert accepts({**schema, "definitions": {"b": {"type": "string"}}}, {"a": "x"})


def test_a_number_that_only_jsonschema_takes_for_an_integer_is_right_all_the_same() -> None:
    catalogue = Catalogue([EventTypeSpec("A", {"$schema": LATEST, "type": "integer"})])
    assert catalogue.check("A", b"1.0") == ()


def test_a_reference_counts_from_the_id_around_it() -> None:
    inner = {"$id": "http://example.org/inner", "$defs": {"a": {"type": "null"}}, "items": {"$ref": "#/$defs/a"}}
    schema = {"$schema": LATEST, "$defs": {"a": {"type": "string"}}, "properties": {"list": inner}}
    assert accepts(schema, {"list": [None]})
    assert not accepts(schema, {"list": ["a"]})


def test_a_schema_that_stands_at_two_places_refers_from_each() -> None:
    shared = {"items": {"$ref": "#/$defs/a"}}

    def around(name: str, kind: str) -> dict[str, Any]:
        own = {"a": {"type": kind}, "shared": shared}
        return {"$id": f"http://example.org/{name}", "$defs": own, "$ref": "#/$defs/shared"}

    schema = {"$schema": LATEST, "properties": {"x": around("x", "string"), "y": around("y", "null")}}
    assert accepts(schema, {"x": ["a"], "y": [None]})
    assert not accepts(schema, {"x": [None]})
    assert not accepts(schema, {"y": ["a"]})


def test_a_long_chain_of_references_is_followed() -> None:
    links = {f"d{index}": {"properties": {"a": {"$ref": f"#/$defs/d{index + 1}"}}} for index in range(3000)}
    schema = {"$schema": LATEST, "$ref": "#/$defs/d0", "$defs": {**links, "d3000": {"type": "string"}}}
    body: Any = 1
    for _ in range(MAX_DEPTH):
        body = {"a": body}
    assert accepts(schema, body)
