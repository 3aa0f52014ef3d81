"""What the change of a schema means: nothing is passed over that refuses a body or surprises a receiver."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hookline.events import inclusion
from hookline.events.builtin_events import EVENTS, schema_of
from hookline.events.compatibility import MAX_CHANGES, compare
from hookline.events.schemas import check_schema, validator_of

Json = Any
DRAFT_04, DRAFT_07, DRAFT_19, DRAFT_20 = (
    "http://json-schema.org/draft-04/schema#",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
)


def of(**properties: Json) -> Json:
    return {"type": "object", "properties": properties}


def closed(**properties: Json) -> Json:
    return {**of(**properties), "additionalProperties": False}


TEXT, WHOLE = {"type": "string"}, {"type": "integer"}

# Former schema, new schema, what producers and what receivers are told: (place, beginning of the words).
CASES: dict[str, tuple[Json, Json, list[tuple[str, str]], list[tuple[str, str]]]] = {
    "the same": (closed(a=TEXT), closed(a=TEXT), [], []),
    "other words": (closed(a=TEXT), {**closed(a={**TEXT, "title": "A", "default": "x"}), "description": "d"}, [], []),
    "required": (of(a=TEXT), {**of(a=TEXT), "required": ["a"]}, [("/required", 'asks for "a" now')], []),
    "required no more": ({**of(a=TEXT), "required": ["a"]}, of(a=TEXT), [], [("/required", '"a" may be missing now')]),
    "another type": (
        closed(a=TEXT),
        closed(a=WHOLE),
        [("/properties/a/type", "does not take a string any more")],
        [("/properties/a/type", "may be an integer now")],
    ),
    "a wider type": (
        closed(a=WHOLE), closed(a={"type": ["number", "null"]}), [],
        [("/properties/a/type", "may be a number with a fraction or null now")],
    ),
    "a value less": (
        closed(a={"enum": ["x", "y", "z"]}), closed(a={"enum": ["x"]}),
        [("/properties/a/enum", 'no longer takes "y", "z"')], [],
    ),
    "a value more": (
        closed(a={"enum": ["x"]}), closed(a={"enum": ["x", 1]}), [], [("/properties/a/enum", "may be 1 now")],
    ),
    "any value": (
        closed(a={"enum": ["x"]}), closed(a=TEXT), [], [("/properties/a/enum", "may be others now")],
    ),
    "a constant": (
        closed(a=TEXT), closed(a={"const": "x"}), [("/properties/a/const", "takes only these values now")], [],
    ),
    "shorter": (
        closed(a={**TEXT, "maxLength": 9}), closed(a={**TEXT, "maxLength": 5}),
        [("/properties/a/maxLength", "is 5 now, and was 9")], [],
    ),
    "longer": (
        closed(a={**TEXT, "maxLength": 9}), closed(a=TEXT), [],
        [("/properties/a/maxLength", "was 9, and is not asked for any more")],
    ),
    "a limit": (
        closed(a={**WHOLE, "minimum": 0}), closed(a={**WHOLE, "exclusiveMinimum": 0}),
        [("/properties/a/exclusiveMinimum", "is 0 now, and was 0")], [],
    ),
    "a pattern": (
        closed(a=TEXT), closed(a={**TEXT, "pattern": "^x"}), [("/properties/a/pattern", "is asked for now")], [],
    ),
    "another pattern": (
        closed(a={**TEXT, "pattern": "^y"}), closed(a={**TEXT, "pattern": "^x"}),
        [("/properties/a/pattern", "is another one than before")], [("/properties/a/pattern", "is another one now")],
    ),
    "a format": (
        closed(a=TEXT), closed(a={**TEXT, "format": "uuid"}), [("/properties/a/format", "is asked for now")], [],
    ),
    "a format that nobody checks": (closed(a=TEXT), closed(a={**TEXT, "format": "x-color"}), [], []),
    "closed": (
        of(a=TEXT), closed(a=TEXT),
        [("/additionalProperties", "does not take names that are not listed any more")], [],
    ),
    "opened": (closed(a=TEXT), of(a=TEXT), [], []),
    "a property of a closed schema": (closed(a=TEXT), closed(a=TEXT, b=WHOLE), [], []),
    "a property of an open schema": (
        of(a=TEXT), of(a=TEXT, b=WHOLE), [("/properties/b", "is checked now, and could be anything before")], [],
    ),
    "a property less, closed": (
        closed(a=TEXT, b=WHOLE), closed(a=TEXT),
        [("/additionalProperties", 'does not take "b" any more')], [("/properties/b", "is not described any more")],
    ),
    "a property less, open": (of(a=TEXT, b=WHOLE), of(a=TEXT), [], [("/properties/b", "is not described any more")]),
    "a map": (
        {"additionalProperties": WHOLE}, {"additionalProperties": TEXT},
        [("/additionalProperties/type", "does not take an integer any more")],
        [("/additionalProperties/type", "may be a string now")],
    ),
    "by reference": (
        {"$ref": "#/$defs/a", "$defs": {"a": closed(b=TEXT)}},
        closed(b={"$ref": "#/$defs/x"}) | {"$defs": {"x": WHOLE}},
        [("/$defs/x/type", "does not take a string any more")],
        [("/$defs/a/properties/b/type", "may be an integer now")],
    ),
    "a list that holds itself": (
        {"$ref": "#/$defs/n", "$defs": {"n": closed(v=WHOLE, next={"$ref": "#/$defs/n"})}},
        {"$ref": "#/$defs/m", "$defs": {"m": closed(v={"type": "number"}, next={"$ref": "#/$defs/m"})}},
        [], [("/$defs/n/properties/v/type", "may be a number with a fraction now")],
    ),
    "null as well": (
        closed(a=TEXT), closed(a={"anyOf": [TEXT, {"type": "null"}]}), [], [("/properties/a/type", "may be null now")],
    ),
    "a form less": (
        {"oneOf": [TEXT, WHOLE]}, {"oneOf": [TEXT]}, [("/oneOf", "has lost one of its forms")], [],
    ),
    "titled constants": (
        {"oneOf": [{"const": "x", "title": "X"}, {"const": "y"}]}, {"oneOf": [{"const": "x"}]},
        [("", 'no longer takes "y"')], [],
    ),
    "items": (
        {"type": "array", "items": TEXT, "maxItems": 3}, {"type": "array", "items": WHOLE, "maxItems": 2},
        [("/items/type", "does not take a string any more"), ("/maxItems", "is 2 now, and was 3")],
        [("/items/type", "may be an integer now")],
    ),
    "1.0 is no integer in draft-04": (
        {"$schema": DRAFT_04, "enum": [1]}, {"$schema": DRAFT_04, "type": "integer"},
        [("", "no longer takes 1")], [("/enum", "may be others now")],
    ),
    "limits in draft-04": (
        {"$schema": DRAFT_04, "minimum": 1, "exclusiveMinimum": True}, {"$schema": DRAFT_04, "minimum": 1},
        [], [("/exclusiveMinimum", "was 1, and is 1 now")],
    ),
    "items one by one before 2020": (
        {"$schema": DRAFT_07, "items": [TEXT], "additionalItems": False}, {"$schema": DRAFT_19, "items": [TEXT, WHOLE]},
        [], [("/additionalItems", "may be there now, and was not allowed")],
    ),
    "everything is refused": (TEXT, {"allOf": [False]}, [("/allOf/0", "takes nothing any more")], []),
}  # fmt: skip


@pytest.mark.parametrize(("former", "new", "refused", "lost"), CASES.values(), ids=CASES)
def test_what_a_change_means_is_told_with_its_place(
    former: Json, new: Json, refused: list[tuple[str, str]], lost: list[tuple[str, str]]
) -> None:
    found = compare(former, new)
    assert [(each.place, each.message) for each in found.refused] == refused
    assert [(each.place, each.message) for each in found.lost] == lost
    assert found.unjudged == ()
    assert all(each.former for each in found.lost)


@pytest.mark.parametrize(
    ("former", "new"),
    [
        ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"oneOf": [{"required": ["a"]}, {"required": ["c"]}]}),
        ({"not": {"required": ["a"]}}, {"not": {"required": ["b"]}}),
        ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, {"if": {}, "then": {"required": ["b"]}}),
        ({"contains": TEXT}, {"contains": {"const": "a"}}),
        ({"properties": {"a": {}}, "unevaluatedProperties": False}, {"unevaluatedProperties": False}),
        ({}, {"$id": "https://x.example/a", "properties": {"a": {"$id": "b", "$ref": "#/c", "c": {}}}}),
        ({"$schema": DRAFT_04}, {"$schema": DRAFT_07}),
        ({}, {"type": "strnig"}),
        ({"properties": 5}, {}),
        ({"$ref": "https://elsewhere.example/x"}, {}),
        ({"enum": [object()]}, {}),
    ],
)
def test_what_cannot_be_judged_is_said_as_such(former: Json, new: Json) -> None:
    found = compare(former, new)
    assert found.unjudged or found.refused


@pytest.mark.parametrize("event", EVENTS, ids=lambda each: each.name)
def test_a_built_in_schema_is_compatible_with_itself_and_its_spelling(event: Any) -> None:
    schema = schema_of(event)
    respelled = {"title": "x", **{name: schema[name] for name in reversed(schema)}, "x-note": 1}
    assert compare(schema, respelled) == compare(schema, schema) == compare({}, {})


def test_places_are_bounded_and_hold_nothing_that_a_terminal_obeys() -> None:
    name = "a/b~\x1b[2J" + "x" * 1000
    (found,) = compare(closed(**{name: TEXT}), closed(**{name: WHOLE})).refused
    assert found.place.startswith("/properties/a~1b~0\\u001b[2J")
    assert len(str(found)) < 400
    many = {f"p{number:03}": TEXT for number in range(100)}
    assert len(compare({}, {**closed(**many), "required": list(many)}).refused) == MAX_CHANGES


def chained(count: int) -> Json:
    return {f"d{n}": {"anyOf": [of(a={"$ref": f"#/$defs/d{n + 1}"}), of(b={"$ref": f"#/$defs/d{n + 1}"})]}
            for n in range(count)} | {f"d{count}": TEXT}  # fmt: skip


HOSTILE: dict[str, Json] = {
    "alternatives in alternatives": {"$ref": "#/$defs/d0", "$defs": chained(60)},
    "a long chain": {
        "$ref": "#/$defs/d0",
        "$defs": {f"d{n}": of(a={"$ref": f"#/$defs/d{n + 1}"}) for n in range(300)} | {"d300": TEXT},
    },
    "many at one place": {"allOf": [of(**{f"p{n}": TEXT for n in range(20)}) for _ in range(20)]},
    "many forms": {"anyOf": [of(**{f"p{n}": {"enum": [n]}}) for n in range(200)]},
    "many constants": {"enum": list(range(5_000))},
    "a pattern that takes for ever": {"patternProperties": {"^(a+)+$": TEXT}, "properties": {"a" * 60 + "b": WHOLE}},
    "a constant that takes for ever": {"enum": ["a" * 60 + "b"], "pattern": "^(a+)+$"},
    "itself in every form": {"anyOf": [of(a={"$ref": "#"}), of(b={"$ref": "#"}), {"items": {"$ref": "#"}}]},
}


@pytest.mark.parametrize("one", HOSTILE.values(), ids=HOSTILE)
def test_schemas_that_would_take_for_ever_are_left_in_time(one: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not cut short takes hours."""
    monkeypatch.setattr(inclusion, "_MAX_STEPS", 2000)
    assert check_schema(one) == ()
    other = copy.deepcopy(one)
    other["$comment"] = "another"
    other.setdefault("$defs", {})["extra"] = other.setdefault("not", {"const": 7})
    for former, new in ((one, other), (other, one)):
        compare(former, new)


# ---- what is passed over is certain ----------------------------------------------------------------------------------

SCALARS = [None, True, False, 0, 1, 2, 1.0, 1.5, -1, "", "a", "b", "ab", "aaa"]
FEW = [1, "a", {"a": 1}, [1]]
BODIES: list[Json] = [
    *SCALARS,
    *([one] for one in SCALARS),
    *([one, other] for one in FEW for other in FEW),
    [1, 1.0, "a"],
    ["b", 1, "a", 1.5],
    {},
    *({name: one} for name in ("a", "b", "ab", "c") for one in SCALARS[:8] + FEW),
    *({"a": one, "b": other} for one in FEW for other in FEW),
    {"a": 1, "b": 2, "c": 1.5},
]
PARTS = [True, False, TEXT, WHOLE, {"minimum": 1}, {"type": ["number", "null"]}]
NAMED = [{"a": TEXT}, {"a": WHOLE}, {"b": WHOLE}, {"a": WHOLE, "b": {}}, {"a": False}, {"^a": TEXT}]
OF_DRAFT_04: list[Json] = [
    WHOLE,
    {"enum": [1]},
    {"type": "number"},
    *({"minimum": value, "exclusiveMinimum": flag} for value in (1, 1.5) for flag in (False, True)),
    {"maximum": 1, "exclusiveMaximum": True},
    {"maximum": 1},
    {"items": [TEXT], "additionalItems": False},
    {"items": TEXT, "additionalItems": False},
    {"dependencies": {"a": ["b"]}},
    {"dependencies": {"a": {"required": ["b"]}}},
    {"$ref": "#/definitions/x", "type": "string", "definitions": {"x": WHOLE}},
]
OF_DRAFT_07: list[Json] = [
    WHOLE,
    {"items": [TEXT], "additionalItems": WHOLE},
    {"items": [TEXT, WHOLE]},
    {"prefixItems": [TEXT]},
    {"minContains": 2, "contains": WHOLE},
    {"contains": WHOLE},
    {"dependencies": {"a": ["b"], "b": {"required": ["a"]}}},
    {"dependentRequired": {"a": ["b"]}},
    {"unevaluatedProperties": False},
    {"$ref": "#/definitions/x", "type": "string", "definitions": {"x": {"minimum": 1}}},
]
# Forms of a schema of which each may become each other one.
FAMILIES: dict[str, list[Json]] = {
    "type": [{"type": each} for each in ("string", "integer", "number", "object", ["integer", "null"])],
    "enum": [*({"enum": each} for each in ([1], [1.0, "a"], ["a", {"a": 1}], [True, False])), WHOLE, {"const": 1}],
    "flags": [{"type": "boolean"}, {"enum": [True]}, {"type": ["boolean", "null"]}, {"not": {"type": "null"}}],
    "limits": [
        {limit: value} for limit in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum") for value in (1, 1.5)
    ],
    "counts": [
        *({limit: value} for limit in ("minLength", "maxLength", "minItems", "maxItems") for value in (0, 1, 2)),
        *({limit: value} for limit in ("minProperties", "maxProperties") for value in (0, 1, 2)),
        {"required": ["a"]},
        {"items": False},
        {"prefixItems": [True], "items": False},
        closed(a={}),
    ],
    "multiples": [*({"multipleOf": each} for each in (1, 0.5, 2, 1.5)), WHOLE, {"type": "number"}],
    "texts": [{"pattern": "a"}, {"pattern": "^a"}, {"format": "uuid"}, {"format": "x"}, {"enum": ["a", "ab"]}],
    "required": [
        *({"required": each} for each in ([], ["a"], ["a", "b"])),
        {"dependentRequired": {"a": ["b"]}},
        {"dependentRequired": {"a": []}},
        {"dependentRequired": {"b": ["a"]}},
        {"dependentSchemas": {"a": {"required": ["b"]}}},
        {"dependentSchemas": {"a": closed(a={})}},
    ],
    "properties": [
        *({keyword: each} for keyword in ("properties", "patternProperties") for each in NAMED),
        *({"properties": each, "additionalProperties": other} for each in NAMED for other in (False, WHOLE)),
        *({"patternProperties": {"a": each}, "additionalProperties": WHOLE} for each in (TEXT, False)),
        {"patternProperties": {"a": TEXT}, "properties": {"a": {"minLength": 1}}, "additionalProperties": False},
        {"allOf": [{"properties": {"a": WHOLE}}, {"additionalProperties": TEXT}]},
        {"propertyNames": {"maxLength": 1}},
        {"propertyNames": {"const": "a"}},
    ],
    "items": [
        *({"items": each} for each in PARTS),
        *({"prefixItems": [one], "items": each} for one in (TEXT, WHOLE) for each in (TEXT, False)),
        {"prefixItems": [TEXT, WHOLE]},
        {"uniqueItems": True},
        {"uniqueItems": True, "items": WHOLE},
        {"maxItems": 1},
        *({"contains": each, **more} for each in (WHOLE, TEXT) for more in ({}, {"minContains": 0, "maxContains": 1})),
        {"contains": {"minimum": 1}, "minContains": 2},
    ],
    "forms": [
        *({keyword: [TEXT, WHOLE]} for keyword in ("anyOf", "oneOf")),
        *({keyword: [WHOLE, {"minimum": 1}]} for keyword in ("anyOf", "oneOf", "allOf")),
        {"oneOf": [{"minimum": 1}, {"type": "number"}]},
        {"oneOf": [{"const": 1}, {"const": "a"}]},
        *({"not": each} for each in PARTS),
        *(
            {"if": one, "then": each, "else": other}
            for one in (TEXT, WHOLE)
            for each, other in ((False, True), (True, TEXT))
        ),
        {"anyOf": [{"properties": {"a": WHOLE}}, {"required": ["b"]}]},
    ],
    "references": [
        {"$ref": "#/$defs/x", "$defs": {"x": each}} for each in (WHOLE, TEXT, closed(a={"$ref": "#/$defs/x"}), True)
    ]
    + [
        {"$ref": "#/$defs/x", "minimum": 1, "$defs": {"x": WHOLE}},
        {"properties": {"a": {"$ref": "#"}}, "type": "object"},
    ],
    "draft-04": [{"$schema": DRAFT_04, **each} for each in OF_DRAFT_04],
    "draft-07": [{"$schema": DRAFT_07, **each} for each in OF_DRAFT_07],
    "drafts": [*({"$schema": DRAFT_07, **each} for each in OF_DRAFT_07[:6]), *OF_DRAFT_07[3:9]],
    "unevaluated": [
        {"unevaluatedProperties": False},
        {"properties": {"a": {}}, "unevaluatedProperties": False},
        {"unevaluatedItems": False},
        {"allOf": [of(a=WHOLE)], "unevaluatedProperties": WHOLE},
    ],
}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_between_any_two_forms_a_body_is_refused_only_if_that_is_told(family: list[Json]) -> None:
    taken = [({}, list(BODIES)), *((each, accepted(each)) for each in family)]
    opened_up = [accepted(opened(each)) for each, _ in taken]
    for number, (former, before) in enumerate(taken):
        for new, after in taken:
            found = compare(former, new)
            if not (found.refused or found.unjudged):
                assert [body for body in before if not any(body is each for each in after)] == [], (former, new)
            if not (found.lost or found.unjudged):
                there = opened_up[number]
                assert [body for body in after if not any(body is each for each in there)] == [], (former, new)


def accepted(schema: Json) -> list[Json]:
    assert check_schema(schema) == ()
    validator = validator_of(schema)
    return [body for body in BODIES if validator.is_valid(body)]


scalars = st.sampled_from(SCALARS)
bodies = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
counts = st.integers(0, 3)
types = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])
names = st.lists(st.sampled_from("abc"), unique=True, max_size=2)


def _some(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    forms = st.lists(inner, min_size=1, max_size=2)
    one = {
        "type": types | st.lists(types, min_size=1, max_size=2, unique=True),
        "enum": st.lists(scalars, min_size=1, max_size=3),
        "const": scalars,
        **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), counts),
        **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), st.sampled_from([0, 1, 1.5])),
        "multipleOf": st.sampled_from([1, 0.5, 2]),
        "pattern": st.sampled_from(["a", "^a", "b$"]),
        "uniqueItems": st.booleans(),
        "required": names,
        "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
        "patternProperties": st.dictionaries(st.sampled_from(["a", "^b", ""]), inner, max_size=2),
        "additionalProperties": inner,
        "propertyNames": inner,
        "dependentRequired": st.dictionaries(st.sampled_from("abc"), names, max_size=1),
        "dependentSchemas": st.dictionaries(st.sampled_from("abc"), inner, max_size=1),
        "prefixItems": forms,
        "items": inner,
        "contains": inner,
        "minContains": counts,
        "maxContains": counts,
        **dict.fromkeys(("allOf", "anyOf", "oneOf"), forms),
        **dict.fromkeys(("not", "if", "then", "else"), inner),
        "unevaluatedProperties": inner,
        "$ref": st.sampled_from(["#/$defs/a", "#/$defs/b"]),
    }
    return st.booleans() | st.lists(st.sampled_from(sorted(one)), max_size=3, unique=True).flatmap(
        lambda chosen: st.fixed_dictionaries({name: one[name] for name in chosen})
    )


parts = st.recursive(st.just({}) | st.builds(lambda each: {"type": each}, types), _some, max_leaves=5)


@st.composite
def schemas(draw: st.DrawFn) -> Json:
    top = draw(parts)
    return {**(top if isinstance(top, dict) else {"not": {}}), "$defs": {"a": draw(parts), "b": draw(parts)}}


@st.composite
def changed(draw: st.DrawFn) -> tuple[Json, Json]:
    """A schema and what became of it: mostly another part at one place of it, else another schema."""
    former = draw(schemas())
    new = copy.deepcopy(former)
    for _ in range(draw(st.integers(0, 2))):
        places = [
            (node, key) for node in _containers(new) for key in (node if isinstance(node, dict) else range(len(node)))
        ]
        node, key = draw(st.sampled_from(places))
        if isinstance(node[key], dict | bool) and key != "$defs":
            node[key] = draw(parts)
        elif isinstance(node[key], int | float) and not isinstance(node[key], bool):
            node[key] = max(0, node[key] + draw(st.sampled_from([-1, 1])))
        elif isinstance(node, dict) and key != "$defs" and draw(st.booleans()):
            del node[key]
    return former, new if draw(st.integers(0, 4)) else draw(schemas())


def _containers(node: Json) -> list[Json]:
    if not isinstance(node, dict | list):
        return []
    inner = node.values() if isinstance(node, dict) else node
    return [*([node] if node else []), *(found for each in inner for found in _containers(each))]


def opened(schema: Json) -> Json:
    """A schema to somebody who passes over names that he does not know."""
    if not isinstance(schema, dict):
        return schema
    found = {
        key: value
        for key, value in schema.items()
        if not (key in ("additionalProperties", "unevaluatedProperties") and value is False)
    }
    for key in ("properties", "patternProperties", "dependentSchemas", "$defs"):
        if key in found:
            found[key] = {name: opened(each) for name, each in found[key].items()}
    for key in ("allOf", "anyOf", "prefixItems"):
        if key in found:
            found[key] = [opened(each) for each in found[key]]
    for key in ("additionalProperties", "items"):
        if key in found:
            found[key] = opened(found[key])
    return found


@settings(max_examples=60, deadline=None)
@given(changed(), st.lists(bodies, min_size=8, max_size=8))
@example(({"enum": [1]}, {"type": "integer", "enum": [1.0]}), [1, 1.0])
def test_a_body_that_was_taken_is_refused_only_by_a_change_that_is_told(
    change: tuple[Json, Json], bodies: list[Json]
) -> None:
    former, new = change
    if check_schema(former) or check_schema(new):
        return
    found = compare(former, new)
    if found.refused or found.unjudged:
        return
    before, after = validator_of(former), validator_of(new)
    for body in bodies:
        assert after.is_valid(body) or not before.is_valid(body), body


@settings(max_examples=60, deadline=None)
@given(changed(), st.lists(bodies, min_size=8, max_size=8))
def test_a_receiver_that_passes_over_unknown_names_is_surprised_only_by_a_change_that_is_told(
    change: tuple[Json, Json], bodies: list[Json]
) -> None:
    former, new = change
    if check_schema(former) or check_schema(new) or check_schema(opened(former)):
        return
    found = compare(former, new)
    if found.lost or found.unjudged:
        return
    before, after = validator_of(opened(former)), validator_of(new)
    for body in bodies:
        assert before.is_valid(body) or not after.is_valid(body), body
