"""What is said of an event type whose schema changes."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from hookline.events.schemas import EventTypeSpec
from hookline.routing.type_changes import compatible, differs

Validation = Literal["Enforce", "Warn", "Ignore"]
WIDE: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 9}}}
NARROW: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 5}}}


def spec(schema: dict[str, Any], validation: Validation = "Enforce", description: str = "") -> EventTypeSpec:
    return EventTypeSpec("Order", schema, validation=validation, description=description)


@pytest.mark.parametrize(
    ("former", "new", "status", "reason", "words"),
    [
        (
            spec(WIDE),
            spec(NARROW),
            "False",
            "RefusesMore",
            "bodies that were taken may be refused: /properties/a/maxLength is 5 now, and was 9",
        ),
        (
            spec(NARROW),
            spec(WIDE),
            "False",
            "PromisesLess",
            "on what they had: /properties/a/maxLength (of the former schema) was 5, and is 9 now",
        ),
        (spec(WIDE), spec(NARROW, "Warn"), "False", "PromisesLess", "the schema is not enforced any more"),
        (spec(WIDE, "Warn"), spec(NARROW, "Ignore"), "True", "Compatible", ""),
        (spec(NARROW, "Ignore"), spec(NARROW), "False", "RefusesMore", "the schema is enforced now, and was not"),
        (spec(WIDE), spec({**WIDE, "title": "x"}), "True", "Compatible", ""),
        (spec({"oneOf": [{}, False]}), spec({"oneOf": [{}, {}]}), "Unknown", "NotJudged", "/oneOf cannot be judged"),
    ],
)  # fmt: skip
def test_the_condition_says_what_the_change_means(
    former: EventTypeSpec, new: EventTypeSpec, status: str, reason: str, words: str
) -> None:
    found = compatible(former, new)
    assert (found.type, found.status, found.reason) == ("Compatible", status, reason)
    assert words in found.message


def test_a_change_of_much_is_told_in_few_words() -> None:
    many = {f"p{number}": {"type": "integer"} for number in range(50)}
    found = compatible(spec({}), spec({"properties": many, "required": list(many)}))
    assert ", and 15 more" in found.message
    assert len(found.message) < 2048


def test_only_schema_and_validation_are_a_change() -> None:
    assert not differs(spec(WIDE), spec(dict(WIDE), description="other"))
    assert differs(spec(WIDE), spec(NARROW))
    assert differs(spec(WIDE), spec(WIDE, "Warn"))
