from __future__ import annotations

from typing import Any

import pytest

from hookline.control import types
from hookline.control.types import judged
from hookline.resources.eventtype import EventType
from hookline.resources.problems import Problem
from hookline.resources.reasons import EventTypeReason
from hookline.routing.book_files import MAX_FILE_BYTES
from hookline.routing.routes import TypeRecord
from unit.control.objects import seen_event_type


def test_an_event_type_with_a_json_schema_may_be_used() -> None:
    schema = {"type": "object", "required": ["id"]}
    conditions, records = judged([seen_event_type("order.created", schema)])
    assert (conditions["order.created"].status, conditions["order.created"].reason) == ("True", "Accepted")
    (record,) = records
    assert (record.name, record.validation, record.schema_) == ("order.created", "Enforce", schema)


@pytest.mark.parametrize(
    ("schema", "place"),
    [({"type": "strnig"}, "type"), ({"$ref": "https://elsewhere.example/x"}, "$ref"), ({"pattern": "("}, "pattern")],
)
def test_one_whose_schema_is_none_says_where_and_is_not_used(schema: dict[str, Any], place: str) -> None:
    conditions, records = judged([seen_event_type("Order", schema, uid=f"of-{place}"), seen_event_type("Other")])
    assert (conditions["order"].status, conditions["order"].reason) == ("False", "InvalidSchema")
    assert "spec.schema: " in conditions["order"].message
    assert place in conditions["order"].message
    assert [each.name for each in records] == ["Other"]


def test_one_whose_spec_is_not_valid_says_so() -> None:
    seen = seen_event_type("Order", "no schema")
    conditions, records = judged([seen])
    assert (conditions["order"].reason, conditions["order"].message) == ("InvalidSpec", seen.problem)
    assert records == []


@pytest.mark.parametrize("wrong", [{"type": "strnig"}, "no schema"])
def test_of_one_that_is_wrong_now_the_version_before_stays_in_force_and_it_says_so(wrong: object) -> None:
    _, before = judged([seen_event_type("Order", {"title": "good"}), seen_event_type("Deleted")])
    conditions, records = judged([seen_event_type("Order", wrong, uid=f"now {wrong}")], lambda: before)
    assert [(each.name, each.schema_) for each in records] == [("Order", {"title": "good"})]
    assert conditions["order"].status == "False"
    assert conditions["order"].message.endswith("; the version before stays in force")


def test_the_version_before_is_asked_for_only_when_something_is_wrong() -> None:
    def before() -> list[TypeRecord]:
        raise AssertionError("all is well")

    assert len(judged([seen_event_type("Order")], before)[1]) == 1


def test_a_schema_is_checked_again_only_when_its_spec_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[Any] = []

    def check(value: EventType) -> tuple[EventTypeReason, list[Problem]]:
        checked.append(value)
        return EventTypeReason.INVALID_SCHEMA, []

    monkeypatch.setattr(types, "type_problems", check)
    for generation, version in ((1, 1), (1, 2), (2, 3)):
        judged([seen_event_type("Order", {"title": "x"}, uid="once", generation=generation, version=version)])
    assert len(checked) == 2
    judged([seen_event_type("Order", {"title": "x"}, uid="another")])
    assert len(checked) == 3


def test_schemas_that_are_too_large_together_are_named_and_left_out() -> None:
    large = {"description": "x" * (MAX_FILE_BYTES // 2)}
    conditions, records = judged(
        [seen_event_type("B", large), seen_event_type("A", large), seen_event_type("C", {"type": "object"})]
    )
    assert [each.name for each in records] == ["A", "C"]
    assert (conditions["b"].status, conditions["b"].reason) == ("False", "BookFull")
    assert conditions["a"].status == conditions["c"].status == "True"


def test_a_new_type_never_takes_the_room_of_an_older_one_whatever_they_are_called() -> None:
    large = {"description": "x" * (MAX_FILE_BYTES // 2)}
    older = seen_event_type("B", large, creationTimestamp="2026-01-01T00:00:00Z")
    newer = seen_event_type("A", large, creationTimestamp="2026-01-02T00:00:00Z")
    conditions, records = judged([newer, older])
    assert [each.name for each in records] == ["B"]
    assert (conditions["a"].reason, conditions["b"].status) == ("BookFull", "True")
