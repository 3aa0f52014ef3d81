"""What is kept of objects that are read."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.control.kinds import CONFIG_MAPS
from hookline.control.seen import asking_of, digest_of, lean_asking, lean_publisher, publisher_of
from hookline.resources.base import EVENT_TYPES_ANNOTATION, PUBLISHER_LABEL, Problem
from unit.control.objects import Manifest, manifest, publisher

TOKEN = secrets.token_hex(16)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def with_types(types: str, **more: Any) -> Manifest:
    return publisher("ci", TOKEN, annotations={EVENT_TYPES_ANNOTATION: types, "other": "x" * 250_000}, **more)


@pytest.mark.parametrize(
    "theirs",
    [
        publisher("ci", TOKEN),
        publisher(
            "ci", f"{TOKEN}\n", creationTimestamp="2026-01-01T00:00:00Z", labels={PUBLISHER_LABEL: "true", "a": "b"}
        ),
        publisher("ci", TOKEN * 100),
        publisher("ci", TOKEN, labels={}),
        publisher("ci", "", data={"token": b"\xff" * 700_000}),
        publisher("ci", "", data={f"key-{n}": b"x" * 100 for n in range(3000)}),
        publisher("ci", "", data={"token": TOKEN.encode(), "a": b"", "b": b""}),
        publisher("ci", "", data={}),
        with_types("IdentityCreated,order.paid"),
        with_types(",".join(f"T{n}" for n in range(50_000))),
        with_types("x" * 200_000),
        with_types("A" + " " * 100_000 + ",B"),
    ],
)
def test_of_a_publisher_little_is_kept_that_says_the_same_or_is_refused_as_well(theirs: Manifest) -> None:
    lean = lean_publisher(theirs)
    assert len(json.dumps(lean)) < 50_000
    full, kept = publisher_of(theirs), publisher_of(lean)
    if len(theirs["metadata"].get("annotations", {}).get(EVENT_TYPES_ANNOTATION, "")) > 10_000:
        assert isinstance(kept.token, Problem)
    else:
        assert kept == full


@pytest.mark.parametrize(
    "data",
    [
        {"ca.crt": "a bundle"},
        {"ca.crt": "a bundle", "other": "x" * 900_000},
        {f"key-{n}": "x" * 100 for n in range(9000)},
        {},
        None,
    ],
)
def test_of_a_configmap_that_asks_for_the_ca_little_is_kept_that_says_the_same(data: Any) -> None:
    asking = manifest(CONFIG_MAPS, "hookline-ca", labels={"a": "b" * 100_000}, annotations={"a": "b" * 100_000})
    lean = lean_asking({**asking, "data": data})
    assert len(json.dumps(lean)) < 70_000
    assert asking_of(lean) == asking_of({**asking, "data": data})


def test_a_bundle_that_is_much_too_long_is_another_one_also_when_it_is_cut() -> None:
    asking = {**manifest(CONFIG_MAPS, "hookline-ca"), "data": {"ca.crt": "a bundle" * 50_000}}
    assert len(json.dumps(lean_asking(asking))) < 70_000
    assert asking_of(lean_asking(asking)).digest not in (b"", digest_of("a bundle"))


@given(ANY, ANY, ANY, ANY)
def test_no_shape_of_an_object_keeps_a_list_from_being_read(
    metadata: Any, labels: Any, annotations: Any, data: Any
) -> None:
    for lean in (lean_publisher, lean_asking):
        lean({"metadata": metadata, "data": data})
        lean({"metadata": {"labels": labels, "annotations": annotations}})
