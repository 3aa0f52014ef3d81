from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft4Validator, Draft202012Validator

from hookline.events.explain import (
    BodyProblem,
    Finding,
    Path,
    explained,
    nearest,
    place,
    pointer,
    quoted,
    to_problems,
)

CANARY = "canary-91ab"


def told(schema: Any, value: object, validator: Any = Draft202012Validator) -> list[tuple[Path, str]]:
    return [(found.path, found.message) for found in findings(schema, value, validator)]


def findings(schema: Any, value: object, validator: Any = Draft202012Validator) -> list[Finding]:
    return [finding for error in validator(schema).iter_errors(value) for finding in explained(error)]


def at(*path: str | int) -> Finding:
    return Finding(path, "type", "x")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), "$"),
        (("Visitors", 0, "Email"), "$.Visitors[0].Email"),
        (("$schema",), "$.$schema"),
        (("two words", "", "Straße"), '$["two words"][""]["Stra\\u00dfe"]'),
        (("\x1b[31m",), '$["\\u001b[31m"]'),
        (("a" * 500,), f'$["{"a" * 39}\\u2026"]'),
    ],
)
def test_a_place_is_a_json_path(path: Path, text: str) -> None:
    assert place(path) == text


@given(st.lists(st.integers(0, 9) | st.text()).map(tuple))
def test_a_place_is_short_and_safe_to_print(path: Path) -> None:
    text = place(path)
    assert len(text) <= 201
    assert text.replace("…", "").isascii()
    assert text.isprintable()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("Visitors", 0, "Email"), "/Visitors/0/Email"),
        (("",), "/"),
        (("a/b", "m~n", "~1"), "/a~1b/m~0n/~01"),
        (("two words", "Straße", '"\\', "\x1b\0"), '/two words/Straße/"\\/\x1b\0'),
        (("0", 0), "/0/0"),
        (("a" * 255,), "/" + "a" * 255),
        (("a" * 256,), ""),
        (("a", "/" * 127, "b"), "/a"),
        (("a", "b" * 100_000, "c"), "/a"),
        (("a", "\ud800", "c"), "/a"),
        (("a", "x\udfff", "c"), "/a"),
    ],
)
def test_a_pointer_is_exact_and_ends_before_what_does_not_fit(path: Path, text: str) -> None:
    assert pointer(path) == text


names = st.text(st.characters(), max_size=6) | st.sampled_from(["~", "/", "~1", "", "a" * 300])


@given(st.lists(st.integers(0, 9) | names).map(tuple))
def test_a_pointer_is_the_path_or_its_beginning_and_can_be_sent(path: Path) -> None:
    text = pointer(path)
    steps = [token.replace("~1", "/").replace("~0", "~") for token in text.split("/")[1:]]
    assert steps == [str(step) for step in path[: len(steps)]]
    assert len(text.encode()) <= 256 * 4
    left_out = str(path[len(steps)]) if len(steps) < len(path) else ""
    assert not left_out or len(text) > 200 or len(left_out) == 300 or not left_out.isprintable()


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        ({"type": "integer"}, CANARY, "must be an integer, but is a string"),
        ({"type": ["null", "string"]}, True, "must be null or a string, but is true or false"),
        ({"enum": ["Active", "Inactive", None]}, CANARY, 'must be one of "Active", "Inactive", null'),
        ({"const": 5}, CANARY, "must be 5"),
        ({"minLength": 1}, "", "must not be empty"),
        ({"minLength": 99}, CANARY, "must have at least 99 characters"),
        ({"maxLength": 1}, CANARY, "must have at most 1 character"),
        ({"pattern": "^x"}, CANARY, "must match the pattern ^x"),
        ({"minimum": 3}, 1, "must be at least 3"),
        ({"exclusiveMaximum": 3}, 3, "must be less than 3"),
        ({"multipleOf": 2}, 3, "must be a multiple of 2"),
        ({"minItems": 2}, [CANARY], "must have at least 2 items"),
        ({"uniqueItems": True}, [CANARY, CANARY], "must not have two equal items"),
        ({"contains": {"type": "null"}}, [CANARY], "lacks an item of the form that the schema asks for"),
        ({"prefixItems": [True], "items": False}, [1, CANARY], "has more items than the schema allows"),
        ({"maxProperties": 0}, {"a": CANARY}, "must have at most 0 fields"),
        ({"unevaluatedProperties": False}, {"a": CANARY}, "has fields that the schema does not allow"),
        ({"dependentRequired": {"a": ["b"]}}, {"a": CANARY}, "has a field that requires another one, which is missing"),
        ({"not": {"type": "string"}}, CANARY, "has a form that the schema forbids"),
        ({"propertyNames": {"maxLength": 2}}, {"abc": CANARY}, "has a name that must have at most 2 characters"),
        ({"anyOf": [{"type": "null"}, {"type": "string", "minLength": 9}]}, "x", "must have at least 9 characters"),
        ({"anyOf": [{"enum": [1]}, {"enum": [2]}]}, CANARY, "must be one of 1; or must be one of 2"),
        ({"oneOf": [{}, {"type": "string"}]}, CANARY, "must have exactly one of the forms that the schema allows"),
        ({"not": {}}, CANARY, "is forbidden by the schema"),
    ],
)  # fmt: skip
def test_a_rule_is_told_without_the_value(schema: Any, value: object, message: str) -> None:
    assert told(schema, value) == [((), message)]


def test_draft_04_has_exclusive_limits_as_flags() -> None:
    assert told({"minimum": 3, "exclusiveMinimum": True}, 3, Draft4Validator) == [((), "must be more than 3")]
    assert told({"maximum": 3, "exclusiveMaximum": False}, 4, Draft4Validator) == [((), "must be at most 3")]


def test_each_missing_field_is_told_at_its_own_place_and_points_to_the_object_that_lacks_it() -> None:
    schema = {"items": {"required": ["a", "b", "c"]}}
    found = to_problems(findings(schema, [{"b": CANARY}]))
    assert found == (
        BodyProblem("$[0].a", "/0", "required", "is required but missing"),
        BodyProblem("$[0].c", "/0", "required", "is required but missing"),
    )


@pytest.mark.parametrize(
    ("schema", "value", "rule", "where"),
    [
        ({"type": "integer"}, CANARY, "type", ""),
        ({"maxLength": 1}, CANARY, "maxLength", ""),
        ({"properties": {"a": {"enum": [1]}}}, {"a": CANARY}, "enum", "/a"),
        ({"properties": {"a": {"not": {}}}}, {"a": CANARY}, "not", "/a"),
        ({"additionalProperties": False}, {"a/b": CANARY}, "additionalProperties", "/a~1b"),
        ({"propertyNames": {"maxLength": 2}}, {"abc": CANARY}, "propertyNames", ""),
        ({"dependentRequired": {"a": ["b"]}}, {"a": CANARY}, "dependentRequired", ""),
        ({"prefixItems": [True], "items": False}, [1, CANARY], "items", ""),
        ({"anyOf": [{"enum": [1]}, {"type": "null"}]}, CANARY, "anyOf", ""),
        ({"anyOf": [{"type": "null"}, {"type": "object", "required": ["a"]}]}, {"b": CANARY}, "required", ""),
    ],
)
def test_the_broken_rule_is_the_keyword_of_the_schema(schema: Any, value: object, rule: str, where: str) -> None:
    [problem] = to_problems(findings(schema, value))
    assert (problem.rule, problem.pointer) == (rule, where)
    assert CANARY not in str(problem)


def test_the_limits_of_draft_04_are_broken_by_their_own_name_whatever_their_flag() -> None:
    [finding] = findings({"minimum": 3, "exclusiveMinimum": True}, 3, Draft4Validator)
    assert finding.rule == "minimum"


def test_a_field_that_is_not_known_is_told_with_the_nearest_one() -> None:
    schema = {"properties": {"Email": {}}, "patternProperties": {"^x-": {}}, "additionalProperties": False}
    assert told(schema, {"emial": CANARY, "x-mine": CANARY, "Zzz": CANARY}) == [
        (("Zzz",), "is not a field of this schema"),
        (("emial",), "is not a field of this schema; did you mean Email?"),
    ]


def test_a_field_called_property_names_is_a_field() -> None:
    assert told({"properties": {"propertyNames": {"maxLength": 2}}}, {"propertyNames": CANARY}) == [
        (("propertyNames",), "must have at most 2 characters")
    ]


def test_the_best_of_several_forms_is_told() -> None:
    schema = {"properties": {"Host": {"oneOf": [{"type": "null"}, {"type": "object", "required": ["Id"]}]}}}
    assert told(schema, {"Host": {"Name": CANARY}}) == [(("Host", "Id"), "is required but missing")]


def test_long_lists_of_choices_are_shortened() -> None:
    [(_, message)] = told({"enum": [f"choice {number}" for number in range(100)]}, CANARY)
    assert len(message) < 100


def test_problems_come_once_in_the_order_of_places_and_at_most_ten() -> None:
    found = [at("b"), at(10), at(2), at("a", 1), at("b"), at()]
    assert [each.place for each in to_problems(found)] == ["$", "$[2]", "$[10]", "$.a[1]", "$.b"]
    assert len(to_problems([at(number) for number in range(50)])) == 10
    assert to_problems([at()], refuses=False) == (BodyProblem("$", "", "type", "x", refuses=False),)


def test_names_are_near_whatever_their_case() -> None:
    assert nearest("EMAIL", ["Email", "Status"]) == ("Email",)
    assert nearest("email", ["EMAIL"]) == ("EMAIL",)
    assert nearest("", ["Email"]) == ()
    assert nearest("x" * 100_000, ["Email"]) == ()


def test_quoted_names_cannot_speak_to_a_terminal() -> None:
    assert quoted("a\n\x1b]0;\x9b") == '"a\\n\\u001b]0;\\u009b"'
