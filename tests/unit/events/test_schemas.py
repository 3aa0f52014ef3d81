from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft4Validator
from referencing.exceptions import Unresolvable

from hookline.events import schemas as schemas_module
from hookline.events.builtin_events import EVENTS, event_named, sample_of, schema_of
from hookline.events.envelope import MAX_BODY_BYTES
from hookline.events.keywords import FORMATS
from hookline.events.notices import NOTICES
from hookline.events.schemas import (
    EVENT_NAME_MAX_LENGTH,
    EVENT_NAME_PATTERN,
    MAX_SAMPLE_BYTES,
    Catalogue,
    EventTypeSpec,
    UnknownEvent,
    check_sample,
    check_schema,
)
from hookline.events.strictjson import MAX_DEPTH

CANARY = "canary-91ab"
CATALOGUE = Catalogue()
DRAFTS = (
    "http://json-schema.org/draft-04/schema#",
    "http://json-schema.org/draft-06/schema#",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
)
T = TypeVar("T")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def _schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Schemas of any draft and of none: the keywords are those of all drafts, some with values that fit nowhere."""
    named = st.dictionaries(st.sampled_from("abc"), inner, max_size=2)
    values: dict[str, st.SearchStrategy[Any]] = {
        **dict.fromkeys(("properties", "patternProperties", "definitions", "$defs", "dependentSchemas"), named),
        **dict.fromkeys(("items", "additionalItems", "additionalProperties", "not", "if", "then", "contains"), inner),
        **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), st.lists(inner, min_size=1, max_size=2)),
        "dependencies": named | st.just({"a": ["b"]}),
        "$ref": st.sampled_from(["#", "#/definitions/a", "#/properties/b", "#/items/x", "//[", "#a"]) | json_values,
        "id": st.sampled_from(["http://[", "#a", "x"]) | json_values,
        "type": st.sampled_from(["string", "object", "array", "number"]),
        "pattern": st.sampled_from(["a", "[", "(?i)b", "\\-"]),
        "unevaluatedProperties": inner,
        "uniqueItems": st.booleans(),
    }
    return st.fixed_dictionaries({}, optional=values)


schemas = _schemas(st.recursive(st.booleans() | json_values, _schemas, max_leaves=4))


def with_stack_used(frames: int, work: Callable[[], T]) -> T:
    """Call `work` as if from deep inside a program."""
    return work() if frames == 0 else with_stack_used(frames - 1, work)


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


@pytest.mark.parametrize(
    ("body", "pointer", "rule"),
    [
        (deleted(AccountId=""), "/AccountId", "minLength"),
        (deleted(Ordinal="1"), "/Ordinal", "type"),
        (deleted(DeletionDateUtc="yesterday"), "/DeletionDateUtc", "format"),
        (deleted(**{"a/b~": None}), "/a~1b~0", "additionalProperties"),
        ({}, "", "required"),
        ([], "", "type"),
        (b"{", "", "json"),
        (b'{"Ordinal": NaN}', "/Ordinal", "json"),
        (b'{"Ordinal": ' + b"[" * 10_000, "/Ordinal" + "/0" * (MAX_DEPTH - 1), "json"),
        (b'"' + b"a" * MAX_BODY_BYTES + b'"', "", "json"),
    ],
)
def test_a_wrong_body_is_told_to_programs_by_a_pointer_and_a_rule(body: object, pointer: str, rule: str) -> None:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    first = CATALOGUE.check("IdentityDeleted", text)[0]
    assert (first.pointer, first.rule) == (pointer, rule)


@pytest.mark.parametrize(
    ("schema", "pointer", "rule"),
    [
        ({"properties": {"a": {"type": "objct"}}}, "/properties/a/type", "anyOf"),
        ({"properties": {"a/b": {"pattern": "("}}}, "/properties/a~1b/pattern", "schema"),
        ({"properties": {"a": {"$ref": "other.json"}}}, "/properties/a/$ref", "schema"),
        ({"enum": [float("nan")]}, "/enum/0", "json"),
        ({"$schema": "http://example.com/mine"}, "/$schema", "schema"),
    ],
)
def test_a_wrong_schema_is_told_to_programs_in_the_same_way(schema: Any, pointer: str, rule: str) -> None:
    assert (pointer, rule) in [(each.pointer, each.rule) for each in check_schema(schema)]


def test_a_body_that_cannot_be_checked_breaks_the_rule_that_schemas_can_be_used() -> None:
    [problem] = Catalogue([EventTypeSpec("A", {"type": "objct"})]).check("A", b"{}")
    assert (problem.pointer, problem.rule) == ("", "schema")


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


def test_near_names_of_an_unknown_event_are_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_for: list[str] = []

    def look(name: str, _: object) -> tuple[str, ...]:
        looked_for.append(name)
        return ()

    monkeypatch.setattr(schemas_module, "nearest", look)
    catalogue = Catalogue()
    for name in ["IdentityCreate"] * 1000 + ["x" * 200, "x" * 201]:
        with pytest.raises(UnknownEvent):
            catalogue.get(name)
    assert looked_for == ["IdentityCreate", "x" * 100]


def test_a_custom_type_adds_or_replaces() -> None:
    custom = Catalogue([EventTypeSpec("order.created", {"required": ["id"]}), EventTypeSpec("IdentityCreated", {})])
    assert len(custom.names()) == 20 + len(NOTICES) + 1
    assert custom.check("IdentityCreated", b"{}") == ()
    assert [each.place for each in custom.check("order.created", b"{}")] == ["$.id"]


@pytest.mark.parametrize(("validation", "refusals", "notes"), [("Enforce", 1, 1), ("Warn", 0, 1), ("Ignore", 0, 0)])
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
        {"$defs": {"A": True}, "items": {"$ref": "#/$defs/A"}},
        {"properties": {"child": {"oneOf": [{"type": "null"}, {"$ref": "#"}]}}},
    ],
)
def test_usable_schemas_are_taken(schema: dict[str, Any]) -> None:
    assert check_schema(schema) == ()


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"not": {"$ref": "#"}},
        {"$ref": "#/definitions/A", "definitions": {"A": {"$ref": "#/definitions/B"}, "B": {"anyOf": [{"$ref": "#"}]}}},
        {"if": {"$ref": "#"}, "$schema": "http://json-schema.org/draft-07/schema#"},
    ],
)
def test_a_schema_that_refers_to_itself_without_end_is_a_problem_and_no_exception(schema: dict[str, Any]) -> None:
    assert "refers to itself" in check_schema(schema)[0].message
    endless = Catalogue([EventTypeSpec("A", schema)])
    assert "cannot be checked" in endless.check("A", b"{}")[0].message


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf", "the second of oneOf"])
@pytest.mark.parametrize("draft", DRAFTS)
def test_the_deepest_body_fits_the_most_winding_schema(draft: str, keyword: str) -> None:
    """jsonschema's references are looked up in native code that ends the process when the stack overflows."""

    def winding(windings: int) -> dict[str, Any]:
        schema: dict[str, Any] = {"properties": {"a": {"$ref": "#"}}, "additionalProperties": False}
        for _ in range(windings):
            schema = {keyword: [schema]} if keyword in ("anyOf", "oneOf") else {"oneOf": [{}, schema]}
        return {"$schema": draft, **schema}

    most = next(count for count in range(20) if check_schema(winding(count + 1)))
    body: object = {"b": CANARY}
    for _ in range(MAX_DEPTH - 1):
        body = {"a": body}
    catalogue = Catalogue([EventTypeSpec("A", winding(most))])
    assert most >= 6
    found = with_stack_used(200, lambda: catalogue.check("A", json.dumps(body).encode()))
    assert "cannot be checked" not in str(found)
    if keyword in ("anyOf", "oneOf"):
        assert [each.place for each in found] == [f"${'.a' * (MAX_DEPTH - 1)}.b"]


@pytest.mark.parametrize("draft", DRAFTS)
def test_the_deepest_schema_is_checked_and_a_deeper_one_refused(draft: str) -> None:
    def nested(levels: int) -> dict[str, Any]:
        schema: dict[str, Any] = {}
        for _ in range(levels):
            schema = {"items": schema}
        return {"$schema": draft, **schema}

    assert with_stack_used(200, lambda: check_schema(nested(64))) == ()
    assert "nests deeper" in check_schema(nested(65))[0].message


def test_yaml_aliases_that_go_in_circles_or_multiply_are_a_problem() -> None:
    circle: dict[str, Any] = {}
    circle["properties"] = {"a": circle}
    assert "nests deeper" in check_schema(circle)[0].message
    laughs: list[Any] = [1]
    for _ in range(9):
        laughs = [laughs] * 10
    assert "values or more" in check_schema({"enum": laughs})[0].message


def test_a_schema_is_json_although_it_was_written_in_yaml() -> None:
    written = {"enum": [date(2026, 4, 29), float("nan")], "properties": {404: {}}}
    assert {each.place for each in check_schema(written)} == {"$.enum[0]", "$.enum[1]", "$.properties"}


@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef", "$recursiveRef"])
@pytest.mark.parametrize(
    "target", ["https://example.com/x?token=canary-91ab", "file:///etc/passwd", "other.json", "//[", 5]
)
def test_nothing_is_ever_fetched(keyword: str, target: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched(*_: object, **__: object) -> None:
        raise AssertionError("a reference was fetched")

    monkeypatch.setattr("urllib.request.urlopen", fetched)
    monkeypatch.setattr("socket.socket.connect", fetched)
    schema = {"$schema": DRAFTS[-1], "properties": {"a": {keyword: target}}}
    found = check_schema(schema)
    assert [each.place for each in found][:1] == [f"$.properties.a.{keyword}"]
    assert CANARY not in str(found)
    body = Catalogue([EventTypeSpec("A", schema)]).check("A", b'{"a": 1}')
    assert [each.place for each in body] == ["$"]
    assert "cannot be checked: the schema of A is wrong" in body[0].message


def test_the_validator_itself_fetches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[object] = []
    monkeypatch.setattr("urllib.request.urlopen", fetched.append)
    with pytest.raises(Unresolvable):
        schemas_module.validator_of({"$ref": "https://example.com/x"}).is_valid(1)
    assert fetched == []


def test_references_are_found_in_all_dependencies() -> None:
    schema = {"$schema": DRAFTS[2], "dependencies": {"a": ["b"], "c": {"$ref": "https://example.com/x"}}}
    assert [each.place for each in check_schema(schema)] == ["$.dependencies.c.$ref"]


def test_a_reference_into_an_unknown_keyword_must_lead_to_a_valid_schema() -> None:
    assert check_schema({"x-mine": {"type": "string"}, "$ref": "#/x-mine"}) == ()
    assert [each.place for each in check_schema({"x-mine": {"type": "strnig"}, "$ref": "#/x-mine"})] == [
        "$.x-mine.type"
    ]
    assert "not a schema" in check_schema({"enum": [[1]], "$ref": "#/enum/0"})[0].message


def test_what_only_looks_like_a_reference_is_none() -> None:
    assert check_schema({"const": {"$ref": "https://example.com"}, "properties": {"$ref": {"type": "string"}}}) == ()


def test_a_pattern_that_cannot_be_used_is_named_by_its_place() -> None:
    schema = {"properties": {"a": {"pattern": r"^a\Z"}}, "patternProperties": {"[": {}, "(?i)b": {}, "c": {}}}
    assert {each.place for each in check_schema(schema)} == {
        "$.properties.a.pattern",
        '$.patternProperties["["]',
        '$.patternProperties["(?i)b"]',
    }


def test_half_of_a_surrogate_pair_is_a_problem_wherever_a_schema_has_it() -> None:
    schema = {"enum": ["a\ud800"], "properties": {"\udc00": {}}, "pattern": "\udbff"}
    found = check_schema(schema)
    assert {each.place for each in found} == {"$.enum[0]", "$.properties", "$.pattern"}
    assert all("half of a surrogate pair" in each.message for each in found)
    str(found).encode()


def test_a_schema_that_mixes_drafts_is_a_problem_and_no_exception() -> None:
    mixed = {"$schema": DRAFTS[3], "items": True, "additionalItems": False}
    assert "cannot be applied" in check_schema(mixed)[0].message
    inner = {"$schema": DRAFTS[0], "definitions": {"A": {"$schema": DRAFTS[4]}}}
    assert [each.place for each in check_schema(inner)] == ["$.definitions.A.$schema"]


@given(schema=schemas, draft=st.sampled_from(DRAFTS), body=json_values)
def test_any_schema_and_body_are_judged_without_an_exception(schema: dict[str, Any], draft: str, body: object) -> None:
    schema = {"$schema": draft, **schema}
    usable = not check_schema(schema)
    found = Catalogue([EventTypeSpec("A", schema)]).check("A", json.dumps(body).encode())
    assert usable or found


@given(value=json_values, changed=st.sampled_from(sorted(sample_of(event_named("VisitEventCreated")))))
def test_what_is_accepted_is_what_the_reference_validator_accepts(value: object, changed: str) -> None:
    event = event_named("VisitEventCreated")
    body = {**sample_of(event), changed: value}
    accepted = Draft4Validator(schema_of(event), format_checker=FORMATS).is_valid(body)
    assert (CATALOGUE.check(event.name, json.dumps(body).encode()) == ()) == accepted


def test_problems_are_in_the_order_of_their_places_and_at_most_ten() -> None:
    body = sample_of(event_named("VisitEventCreated"))
    body["Visitors"] = [{"VisitorId": ""} for _ in range(40)]
    found = [each.place for each in CATALOGUE.check("VisitEventCreated", json.dumps(body).encode())]
    assert found == [f"$.Visitors[{index}].VisitorId" for index in range(10)]


def test_a_body_as_large_as_allowed_with_thousands_of_errors_is_judged() -> None:
    body = sample_of(event_named("VisitEventCreated"))
    body["Visitors"] = [{}] * 60_000
    assert len(CATALOGUE.check("VisitEventCreated", json.dumps(body).encode())) == 10


def test_a_problem_never_says_more_than_a_page_however_long_the_names_are() -> None:
    long = [("é\0" * 1_000) + str(number) for number in range(10)]
    found = CATALOGUE.check("IdentityDeleted", json.dumps(deleted(**dict.fromkeys(long, CANARY))).encode())
    assert len(found) == 10
    assert len(json.dumps([vars(each) for each in found])) < 8_000


def test_a_specification_shows_no_schema_in_its_repr() -> None:
    assert CANARY not in repr(EventTypeSpec("A", {"description": CANARY}))


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("IdentityCreated", True),
        ("order.created-2", True),
        ("1st", False),
        ("a..b", False),
        ("a_b", False),
        ("a-", False),
    ],
)
def test_event_names_are_dns_subdomains_but_for_their_case(name: str, fits: bool) -> None:
    subdomain = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
    assert (re.fullmatch(EVENT_NAME_PATTERN, name) is not None) == fits
    assert not fits or subdomain.fullmatch(name.lower())
    assert EVENT_NAME_MAX_LENGTH <= 253


@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize(
    ("sample", "place", "message"),
    [
        ({"id": "ab"}, None, ""),
        ({"id": "AB"}, "$.id", "must match the pattern"),
        ({}, "$.id", "is required but missing"),
        ([], "$", "must be an object"),
        ({"id": date(2026, 1, 1)}, "$.id", "is a date, which JSON does not have"),
        ({"id": float("nan")}, "$.id", "is a number that JSON does not have"),
        ({"id": 10**400}, "$.id", "is a number of more than 308 characters"),
        ({1: "ab"}, "$", "has a name that is no string"),
        ({"id": "\ud800"}, "$.id", "half of a surrogate pair"),
        ({"id": "a" * MAX_SAMPLE_BYTES}, "$", "takes more than 16 KiB"),
    ],
)
def test_a_sample_is_held_against_its_schema_as_a_body_is(
    draft: str, sample: Any, place: str | None, message: str
) -> None:
    schema = {
        "$schema": draft,
        "type": "object",
        "required": ["id"],
        "properties": {"id": {"type": "string", "pattern": "^[a-z]+$"}},
    }
    found = check_sample(schema, sample)
    assert [each.place for each in found] == ([] if place is None else [place])
    assert all(message in each.message and "AB" not in each.message for each in found)


def nested(levels: int) -> Any:
    found: Any = {}
    for _ in range(levels):
        found = {"a": found}
    return found


def twice_shared(levels: int) -> list[Any]:
    """A few values in YAML, by aliases, and a power of two in JSON."""
    found: list[Any] = []
    for _ in range(levels):
        found = [found, found]
    return found


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (nested(MAX_DEPTH), "nests deeper"),
        (nested(2000), "very deep"),
        (twice_shared(60), "takes more than 16 KiB"),
        (["x"] * 30_000, "takes more than 16 KiB"),
    ],
)
def test_a_sample_of_any_size_and_depth_is_told_in_little_time(sample: Any, message: str) -> None:
    (found,) = check_sample({}, sample)
    assert message in found.message


@pytest.mark.parametrize(
    ("schema", "sample"),
    [
        ({"pattern": "^(a+)+$"}, "a" * 60 + "b"),
        ({"patternProperties": {"^(a|a)*$": {}}}, {"a" * 60 + "b": 1}),
        ({"patternProperties": {"^(a|a)*$": {}}, "additionalProperties": False}, {"a" * 60 + "b": 1}),
        (
            {"anyOf": [{"required": ["x"], "properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}},
                       {"not": {"properties": {"a": {"$ref": "#"}}}}]},
            nested(MAX_DEPTH - 1),
        ),
    ],
)  # fmt: skip
def test_a_sample_that_would_take_for_ever_is_not_tried(schema: dict[str, Any], sample: Any) -> None:
    assert check_schema(schema) == ()
    (found,) = check_sample(schema, sample)
    assert "takes too long" in found.message


@pytest.mark.parametrize("event", EVENTS, ids=lambda each: each.name)
def test_samples_of_built_in_events_would_be_taken(event: Any) -> None:
    assert check_sample(schema_of(event), sample_of(event)) == ()
