from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.control.kinds import EVENT_TYPES, SECRETS
from hookline.control.observed import Observed
from hookline.control.reading import MAX_DEPTH, TOO_DEEP, read_json
from unit.control.objects import OWN, event_type, secret, webhook

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=20,
)


def deep(levels: int, mark: str = "{}") -> str:
    """JSON of so many levels."""
    return ('{"a":' if mark == "{}" else "[") * levels + "1" + (mark[1] * levels)


def depth_of(value: Any) -> int:
    level, depth = [value], 0
    while level := [
        inner
        for each in level
        if isinstance(each, dict | list)
        for inner in (each.values() if isinstance(each, dict) else each)
    ]:
        depth += 1
    return depth


@given(VALUES)
def test_what_is_not_deep_is_read_as_it_is(value: Any) -> None:
    assert read_json(json.dumps({"kind": "X", "data": value}).encode()) == {"kind": "X", "data": value}


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 300, 1_200, 9_000])
@pytest.mark.parametrize("mark", ["{}", "[]"])
def test_an_object_that_nests_too_deep_is_cut_and_says_so_and_its_neighbours_are_whole(levels: int, mark: str) -> None:
    text = '{"items":[{"metadata":{"name":"good"},"data":{"x":"]}\\"["}},{"metadata":{"name":"bad"},"data":%s}]}'
    good, bad = read_json((text % deep(levels, mark)).encode())["items"]
    assert good == {"metadata": {"name": "good"}, "data": {"x": ']}"['}}
    assert bad["metadata"] == {"name": "bad"}
    assert bad[TOO_DEEP] is True
    assert depth_of(bad) <= MAX_DEPTH


@pytest.mark.parametrize("levels", [10, 1_200, 9_000])
def test_the_depth_of_managed_fields_takes_nothing_from_an_object(levels: int) -> None:
    metadata = f'{{"name":"a","managedFields":[{{"fieldsV1":{deep(levels)}}}]}}'
    for text in ('{"metadata":%s}', '{"type":"ADDED","object":{"metadata":%s}}', '{"items":[{"metadata":%s}]}'):
        found = read_json((text % metadata).encode())
        assert "managedFields" not in json.dumps(found)
        assert TOO_DEEP not in json.dumps(found)


@given(st.binary(max_size=60) | st.sampled_from([deep(3000)[:-1].encode(), b"[" * 100_000, b"{" * 5, b"]" * 2000]))
def test_what_is_no_json_is_a_value_error_and_nothing_else(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        read_json(content)


def test_an_event_type_that_nests_too_deep_is_not_valid_and_a_secret_is_used_all_the_same() -> None:
    observed = Observed(OWN)
    found = read_json(json.dumps(event_type("Deep", json.loads(deep(200)))).encode())
    observed.put(EVENT_TYPES, found)
    (seen,) = observed.event_types.values()
    assert seen.value is None
    assert "nests deeper" in seen.problem
    allowed = secret("keys", {"secret": b"x"})
    allowed["metadata"]["managedFields"] = [{"fieldsV1": json.loads(deep(500))}]
    observed.put(SECRETS, read_json(json.dumps(allowed).encode()))
    assert observed.secrets["team", "keys"].data == {"secret": b"x"}


def test_other_objects_do_not_nest_nearly_as_deep() -> None:
    assert depth_of(webhook(spec={"tls": {"caSecretRef": {"name": "x"}}})) < MAX_DEPTH / 4
