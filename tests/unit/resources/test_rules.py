from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from hookline.resources.problems import Refused
from hookline.resources.rules import CONFIDENTIAL, Distinct, TextRule, lifted, of_keys

LETTERS = TextRule("must be letters; write abc", "[a-z]+")
NO_X = TextRule("must not hold an x; leave it out", "x", refuses=True)
SHORT_NUMBER = TextRule("must have 2 digits; write 12", "[0-9]{2}", when="[0-9]+")


class Named(BaseModel):
    name: str
    value: int = 0


def test_the_whole_text_must_match() -> None:
    assert LETTERS.holds("abc")
    assert not any(LETTERS.holds(text) for text in ("", "1abc", "abc1", "abc\n"))


def test_no_part_of_the_text_may_match_what_is_refused() -> None:
    assert NO_X.holds("abc")
    assert not NO_X.holds("axc")


def test_a_rule_with_a_condition_leaves_other_texts_alone() -> None:
    assert SHORT_NUMBER.holds("12")
    assert SHORT_NUMBER.holds("abc")
    assert not SHORT_NUMBER.holds("123")


@pytest.mark.parametrize(
    ("rule", "expression"),
    [
        (LETTERS, 'self.matches("^(?:[a-z]+)$")'),
        (NO_X, '!self.matches("x")'),
        (SHORT_NUMBER, '!self.matches("^(?:[0-9]+)$") || self.matches("^(?:[0-9]{2})$")'),
        (TextRule("m", r'\."'), r'self.matches("^(?:\\.\")$")'),
    ],
)
def test_the_api_server_is_told_the_same(rule: TextRule, expression: str) -> None:
    assert rule.cel() == {"rule": expression, "message": rule.message, "reason": "FieldValueInvalid"}


def test_rules_add_up_in_one_schema() -> None:
    schema = TypeAdapter(Annotated[str, LETTERS, NO_X]).json_schema()
    assert [rule["message"] for rule in schema["x-kubernetes-validations"]] == [LETTERS.message, NO_X.message]
    assert CONFIDENTIAL not in schema


def test_a_confidential_rule_marks_its_text() -> None:
    assert TypeAdapter(Annotated[str, TextRule("m", "a", confidential=True)]).json_schema()[CONFIDENTIAL] is True


def test_a_lifted_rule_points_to_its_field_and_lets_an_absent_one_be() -> None:
    assert lifted(LETTERS.cel(), "value", required=False) == {
        "rule": '!has(self.value) || (self.value.matches("^(?:[a-z]+)$"))',
        "message": LETTERS.message,
        "reason": "FieldValueInvalid",
        "fieldPath": ".value",
    }
    both = lifted(SHORT_NUMBER.cel(), "url", required=True)["rule"]
    assert both == '!self.url.matches("^(?:[0-9]+)$") || self.url.matches("^(?:[0-9]{2})$")'


def test_rules_and_bounds_of_keys_become_rules_of_the_map() -> None:
    schema = TypeAdapter(dict[Annotated[str, LETTERS], int]).json_schema()["propertyNames"]
    rules = of_keys({**schema, "minLength": 1, "maxLength": 5})
    assert [rule["rule"] for rule in rules] == [
        "self.all(key, size(key) >= 1)",
        "self.all(key, size(key) <= 5)",
        'self.all(key, key.matches("^(?:[a-z]+)$"))',
    ]


def test_the_entry_that_repeats_another_is_named() -> None:
    numbers: TypeAdapter[tuple[int, ...]] = TypeAdapter(Annotated[tuple[int, ...], Distinct()])
    assert numbers.validate_python([1, 2]) == (1, 2)
    with pytest.raises(ValidationError) as error:
        numbers.validate_python([1, 2, 1])
    cause = error.value.errors()[0]["ctx"]["error"]
    assert isinstance(cause, Refused)
    assert [problem.path for problem in cause.problems] == [(2,)]
    assert numbers.json_schema()["x-kubernetes-list-type"] == "set"


def test_entries_with_a_key_differ_in_it() -> None:
    named: TypeAdapter[tuple[Named, ...]] = TypeAdapter(Annotated[tuple[Named, ...], Distinct("name")])
    assert len(named.validate_python([{"name": "a"}, {"name": "b"}])) == 2
    with pytest.raises(ValidationError):
        named.validate_python([{"name": "a", "value": 1}, {"name": "a", "value": 2}])
    assert named.json_schema()["x-kubernetes-list-map-keys"] == ["name"]
