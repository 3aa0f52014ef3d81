"""Keywords and formats of JSON Schema as the standard has them, in every draft and at every place of a schema."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema.validators import Draft202012Validator, validator_for

from hookline.events import schemas as schemas_module
from hookline.events.keywords import MAX_ERRORS_OF_A_FORM, is_date_time, is_uuid
from hookline.events.schemas import Catalogue, EventTypeSpec, check_schema

DRAFTS = (
    "http://json-schema.org/draft-04/schema#",
    "http://json-schema.org/draft-06/schema#",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
)
LOWER = "^[a-z]+$"
WITH_LINE_FEED = "abc\n"  # which Python's `$` would take


def wrong_places(schema: dict[str, Any], body: object) -> list[str]:
    assert check_schema(schema) == ()
    return [each.place for each in Catalogue([EventTypeSpec("A", schema)]).check("A", json.dumps(body).encode())]


@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"pattern": LOWER}}},
        {"$ref": "#/definitions/B", "definitions": {"B": {"properties": {"a": {"pattern": LOWER}}}}},
        {"properties": {"a": {"anyOf": [{"$schema": "", "pattern": LOWER}]}}},
        {"properties": {"b": {"$ref": "#"}, "a": {"pattern": LOWER}}},
    ],
)
def test_patterns_are_those_of_ecma_262_at_every_place(draft: str, schema: dict[str, Any]) -> None:
    text = json.dumps({"$schema": draft, **schema}).replace('"$schema": ""', f'"$schema": "{draft}"')
    schema = json.loads(text)
    assert wrong_places(schema, {"a": "abc"}) == []
    assert wrong_places(schema, {"a": WITH_LINE_FEED}) == ["$.a"]
    if "b" in schema.get("properties", {}):
        assert wrong_places(schema, {"b": {"b": {"a": WITH_LINE_FEED}}}) == ["$.b.b.a"]


@pytest.mark.parametrize("draft", DRAFTS[1:])
@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": False}},
        {"patternProperties": {"a": False}},
        {"properties": {"a": {"$ref": "#/definitions/no"}}, "definitions": {"no": False}},
        {"propertyNames": {"maxLength": 1}, "properties": {"a": {"allOf": [True, False]}}},
    ],
)
def test_what_the_schema_false_refuses_has_a_place(draft: str, schema: dict[str, Any]) -> None:
    assert wrong_places({"$schema": draft, **schema}, {"b": 1}) == []
    assert wrong_places({"$schema": draft, **schema}, {"b": 1, "a": 1}) == ["$.a"]
    [problem] = Catalogue([EventTypeSpec("A", {"$schema": draft, **schema})]).check("A", b'{"a": 1}')
    assert (problem.rule, problem.message) == ("not", "is forbidden by the schema")


@pytest.mark.parametrize("draft", DRAFTS)
def test_names_are_matched_as_ecma_262_says(draft: str) -> None:
    lower = {"$schema": draft, "patternProperties": {LOWER: {"type": "string"}}}
    assert wrong_places(lower, {"abc": 1, WITH_LINE_FEED: 1}) == ["$.abc"]
    closed = {**lower, "properties": {"A": {}}, "additionalProperties": False}
    assert wrong_places(closed, {"abc": "", "A": 1, WITH_LINE_FEED: ""}) == ['$["abc\\n"]']
    numbers = {**lower, "additionalProperties": {"type": "number"}}
    assert wrong_places(numbers, {"abc": "", WITH_LINE_FEED: ""}) == ['$["abc\\n"]']


@pytest.mark.parametrize("draft", DRAFTS[3:])
@pytest.mark.parametrize(
    ("schema", "known", "unknown"),
    [
        ({"patternProperties": {LOWER: {}}}, {"abc": 1}, {WITH_LINE_FEED: 1}),
        ({"properties": {"a": {}}}, {"a": 1}, {"b": 1}),
        ({"additionalProperties": {"type": "number"}}, {"a": 1}, None),
        ({"additionalProperties": {}}, {"a": "x"}, None),
        ({"allOf": [{"patternProperties": {LOWER: {}}}, {"properties": {"A": {}}}]}, {"A": 1, "b": 1}, {"B": 1}),
        ({"anyOf": [{"properties": {"a": {"type": "string"}}}, True]}, {"a": "x"}, {"a": 1}),
        ({"$ref": "#/$defs/B", "$defs": {"B": {"patternProperties": {LOWER: {}}}}}, {"b": 1}, {WITH_LINE_FEED: 1}),
        ({"dependentSchemas": {"a": {"properties": {"a": {}, "b": {}}}}}, {"a": 1, "b": 1}, {"b": 1}),
        (
            {"if": {"properties": {"a": {"const": 1}}, "required": ["a"]}, "then": {"properties": {"b": {}}}},
            {"a": 1, "b": 1},
            {"a": 2, "b": 1},
        ),
        ({"if": {"required": ["a"]}, "else": {"properties": {"b": {}}}}, {"b": 1}, {"a": 1, "b": 1}),
        ({"allOf": [{"unevaluatedProperties": True}]}, {"a": 1}, None),
        ({"not": {"properties": {"a": {"type": "string"}}}}, {}, {"a": 1}),
    ],
)
def test_what_no_keyword_looked_at_is_unevaluated(
    draft: str, schema: dict[str, Any], known: object, unknown: object
) -> None:
    closed = {"$schema": draft, **schema, "unevaluatedProperties": False}
    if "not" not in schema:
        assert wrong_places(closed, known) == []
    if unknown is not None:
        assert "$" in wrong_places(closed, unknown)


def test_unevaluated_names_may_have_a_rule_of_their_own() -> None:
    schema = {"$schema": DRAFTS[4], "properties": {"a": {}}, "unevaluatedProperties": {"type": "number"}}
    assert wrong_places(schema, {"a": "x", "b": 1}) == []
    assert wrong_places(schema, {"a": "x", "b": "y"}) == ["$"]


@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize(
    ("divisor", "number", "fits"),
    [
        (0.01, 0.29, True), (0.01, 0.07, True), (0.01, 19.99, True), (0.01, 4.02, True), (0.01, 5000000, True),
        (0.01, 1070468.14, True), (0.01, 0.295, False), (0.1, 92.6, True), (0.0001, 360.57, True), (0.01, -1.1, True),
        (1e-8, 12391239123, True), (0.5, 1e308, True), (1e-300, 1e300, True), (3, 9, True), (3, 10, False),
        (0.3, 0.9, True), (2.5, 10**300, True), (7, 10**300, False), (2, 0, True), (1, 1.5, False),
    ],
)  # fmt: skip
def test_multiples_count_in_decimals(draft: str, divisor: float, number: float, fits: bool) -> None:
    assert (wrong_places({"$schema": draft, "multipleOf": divisor}, number) == []) == fits


@given(st.integers(-(10**15), 10**15), st.integers(0, 6))
def test_every_decimal_of_so_many_places_is_a_multiple_of_the_last_place(digits: int, places: int) -> None:
    number, step = json.loads(f"{digits}e-{places}"), json.loads(f"1e-{places}")
    assert wrong_places({"multipleOf": step}, number) == []


@pytest.mark.parametrize(
    "text",
    [
        "2026-04-29T16:05:48Z", "2026-04-29t16:05:48.123456789z", "2026-04-29T16:05:48+05:30", "0001-01-01T00:00:00Z",
        "1998-12-31T23:59:60Z", "1998-12-31T15:59:60.5-08:00", "1999-01-01T00:59:60+01:00", "9999-12-31T15:59:60-08:00",
        "0001-01-01T00:59:60+01:00", "2024-02-29T00:00:00Z", "2026-04-29T16:05:48-00:00",
    ],
)  # fmt: skip
def test_dates_and_times_of_rfc_3339_are_taken_with_their_leap_seconds(text: str) -> None:
    assert is_date_time(text)
    assert wrong_places({"format": "date-time"}, text) == []


@pytest.mark.parametrize(
    "text",
    [
        "", "yesterday", "2026-04-29", "2026-04-29 16:05:48Z", "2026-04-29T16:05:48", "2026-04-29T16:05:48Z\n",
        "2026-04-29T24:00:00Z", "2026-04-29T16:60:00Z", "2026-04-29T16:05:61Z", "2026-02-30T00:00:00Z",
        "2023-02-29T00:00:00Z", "0000-01-01T00:00:00Z", "2026-04-29T16:05:48+24:00", "2026-04-29T16:05:48+05:60",
        "2026-04-29T16:05:48+0530", "2026-04-29T16:05:48.Z", "২০২৬-04-29T16:05:48Z", "1998-12-31T23:58:60Z",
        "1998-12-31T22:59:60Z", "1998-12-31T23:59:60-08:00", "1998-12-31T23:59:61Z", "2026-13-01T00:00:00Z",
    ],
)  # fmt: skip
def test_what_is_no_date_and_time_of_rfc_3339_is_refused(text: str) -> None:
    assert not is_date_time(text)
    assert wrong_places({"format": "date-time"}, text) == ["$"]


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("2EB8AA08-AA98-11EA-B4AA-73B441D16380", True),
        ("2eb8aa08-aa98-11ea-b4aa-73b441d1638", False),
        ("2eb8aa08-aa98-11ea-b4aa-73b441d1638২", False),
        ("2eb8aa08-aa98-11ea-b4aa73b441d16380-", False),
        ("{eb8aa08-aa98-11ea-b4aa-73b441d16380}", False),
        ("2eb8aa08-aa98-11ea-b4aa-73b441d16380\n", False),
    ],
)
def test_a_uuid_is_written_in_one_way(text: str, fits: bool) -> None:
    assert is_uuid(text) == fits


@pytest.mark.parametrize("name", ["date", "date-time", "email", "idn-email", "ipv4", "ipv6", "uuid"])
def test_each_format_that_is_promised_is_checked_and_only_for_strings(name: str) -> None:
    assert wrong_places({"format": name}, "no such thing") == ["$"]
    assert wrong_places({"format": name}, 5) == []


few_values = st.recursive(
    st.sampled_from(
        [None, True, False, 0, 1, -1, 1.0, -0.0, 1.5, 10**20, 1e20, 2**53 + 1, 2.0**53, "", "1", "[]", ","]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", ","]), inner, max_size=2),
    max_leaves=5,
)


@given(st.lists(few_values, max_size=4))
def test_items_are_equal_as_jsonschema_takes_them(items: list[Any]) -> None:
    schema = {"uniqueItems": True}
    body = json.loads(json.dumps(items))
    assert (wrong_places(schema, body) == []) == Draft202012Validator(schema).is_valid(body)


def test_many_different_objects_are_compared_by_no_pairs() -> None:
    """It would take minutes."""
    body = [{"a": [number]} for number in range(15_000)]
    assert wrong_places({"uniqueItems": True}, body) == []
    assert wrong_places({"uniqueItems": True}, [*body, {"a": [7.0]}]) == ["$"]
    assert wrong_places({"uniqueItems": False}, [1, 1]) == []


forms = st.lists(
    st.sampled_from(
        [
            True,
            {"type": "string"},
            {"minimum": 1},
            {"type": ["array", "null"]},
            {"items": {"type": "number"}},
            {"not": {}},
        ]
    ),
    min_size=1,
    max_size=3,
)


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf"])
@given(schemas=forms, body=few_values)
def test_a_value_has_the_forms_that_jsonschema_finds(keyword: str, schemas: list[Any], body: Any) -> None:
    schema = {keyword: schemas}
    assert (wrong_places(schema, body) == []) == Draft202012Validator(schema).is_valid(body)


@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize("keyword", ["anyOf", "oneOf"])
def test_of_a_form_that_does_not_fit_no_more_errors_are_collected_than_are_of_use(keyword: str, draft: str) -> None:
    schema = {"$schema": draft, keyword: [{"type": "null"}, {"items": {"type": "string"}}]}
    [error] = schemas_module.validator_of(schema).iter_errors([1] * 500)
    [reference] = validator_for(schema)(schema).iter_errors([1])
    assert len(error.context or []) == MAX_ERRORS_OF_A_FORM + 1
    assert [list(each.absolute_schema_path) for each in error.context or []][:2] == [
        list(each.absolute_schema_path) for each in reference.context or []
    ]
