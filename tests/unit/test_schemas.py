from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.catalogue import EVENTS, event_named, sample_of
from hookline.events import MAX_BODY_BYTES
from hookline.schemas import Catalogue, EventTypeSpec, UnknownEvent, check_schema

CANARY = "canary-91ab"
CATALOGUE = Catalogue()


def problems(name: str, body: object) -> dict[str, str]:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return {each.place: each.message for each in CATALOGUE.check(name, text)}


def deleted(**changes: Any) -> dict[str, Any]:
    return {**sample_of(event_named("IdentityDeleted")), **changes}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_every_sample_is_right(event: Any) -> None:
    assert problems(event.name, sample_of(event)) == {}


@pytest.mark.parametrize(
    ("body", "place", "message"),
    [
        (deleted(AccountId=""), "$.AccountId", "must not be empty"),
        (deleted(Ordinal="1"), "$.Ordinal", "must be an integer or null, but is a string"),
        (deleted(DeletionDateUtc="yesterday"), "$.DeletionDateUtc", "must be a date and time"),
        (deleted(Emial=None), "$.Emial", "did you mean Email?"),
        ({}, "$.AccountId", "is required but missing"),
        ([], "$", "must be an object, but is an array"),
        (b"{", "$", ""),
        (b"", "$", "is empty"),
        (b"\xff", "$", "UTF-8"),
        (b'{"AccountId": "a", "AccountId": "b"}', "$", ""),
        (b'{"Ordinal": NaN}', "$.Ordinal", ""),
        (b"[" * 5000, "$", ""),
        (b'"' + b"a" * MAX_BODY_BYTES + b'"', "$", "bytes"),
    ],
)
def test_a_wrong_body_is_named_by_its_place(body: object, place: str, message: str) -> None:
    found = problems("IdentityDeleted", body)
    assert any(where.startswith(place) and message in text for where, text in found.items()), found


def test_a_place_inside_a_list_is_named() -> None:
    body = sample_of(event_named("VisitEventCreated"))
    body["Visitors"][0]["VisitorId"] = ""
    assert problems("VisitEventCreated", body) == {"$.Visitors[0].VisitorId": "must not be empty"}


def test_messages_never_repeat_a_value() -> None:
    body = deleted(AccountId=[CANARY], Email={CANARY: 1}, DeletionDateUtc=CANARY, Ordinal=CANARY)
    found = problems("IdentityDeleted", body)
    assert len(found) >= 4
    assert CANARY not in str(found)


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_judged_without_an_exception(body: bytes) -> None:
    assert CATALOGUE.check("IdentityCreated", body)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("identitycreated", "IdentityCreated"),
        ("IdentityDelete", "IdentityDeleted"),
        ("VisitorCheckin", "VisitorCheckedIn"),
    ],
)
def test_an_unknown_event_is_told_its_nearest_names(name: str, nearest: str) -> None:
    with pytest.raises(UnknownEvent) as error:
        CATALOGUE.get(name)
    assert error.value.nearest[0] == nearest
    assert nearest in str(error.value)
    assert "hookline events list" in str(error.value)


def test_a_custom_type_adds_or_replaces() -> None:
    custom = Catalogue([EventTypeSpec("order.created", {"required": ["id"]}), EventTypeSpec("IdentityCreated", {})])
    assert len(custom.names()) == 21
    assert custom.check("IdentityCreated", b"{}") == ()
    assert [each.place for each in custom.check("order.created", b"{}")] == ["$.id"]


@pytest.mark.parametrize(("validation", "refusals", "notes"), [("Enforce", 1, 1), ("Warn", 0, 1), ("Off", 0, 0)])
def test_validation_says_what_a_breach_means_but_json_it_must_be(validation: Any, refusals: int, notes: int) -> None:
    custom = Catalogue([EventTypeSpec("A", {"type": "array"}, validation=validation)])
    found = custom.check("A", b"{}")
    assert (sum(each.refuses for each in found), len(found)) == (refusals, notes)
    assert all(each.refuses for each in custom.check("A", b"{"))
    assert custom.check("A", b"{")


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"type": "objct"}, "$.type"),
        ({"properties": {"a": {"pattern": "("}}}, "$.properties.a.pattern"),
        ({"$schema": "http://example.com/mine"}, "$.$schema"),
        ({"$ref": "https://example.com/schema.json"}, "$.$ref"),
        ({"$ref": "file:///etc/passwd"}, "$.$ref"),
        ({"$ref": "#/definitions/Missing"}, "$.$ref"),
    ],
)
def test_what_is_no_usable_json_schema_is_refused_at_its_place(schema: dict[str, Any], place: str) -> None:
    assert place in [each.place for each in check_schema(schema)]


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"$schema": "http://json-schema.org/draft-04/schema", "definitions": {"A": {}}, "$ref": "#/definitions/A"},
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"},
        {"$defs": {"A": {"type": "string"}}, "items": {"$ref": "#/$defs/A"}},
    ],
)
def test_usable_schemas_are_taken(schema: dict[str, Any]) -> None:
    assert check_schema(schema) == ()


def test_a_schema_that_refers_to_itself_without_end_is_a_problem_and_no_exception() -> None:
    endless = Catalogue([EventTypeSpec("A", {"$ref": "#"})])
    assert "cannot be checked" in endless.check("A", b"{}")[0].message
