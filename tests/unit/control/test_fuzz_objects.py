"""Objects of any shape among good ones: none raises, and what is said of the good ones stays the same."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Mapping
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hookline.control import dispatchers
from hookline.control.kinds import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    DISPATCHERS,
    EVENT_TYPES,
    NAMESPACES,
    PODS,
    PUBLISHERS,
    SECRETS,
    WEBHOOKS,
    Kind,
)
from hookline.control.reading import read_json
from unit.control.objects import OWN, dispatcher, secret, webhook
from unit.control.test_webhooks import Stage

KINDS = (WEBHOOKS, EVENT_TYPES, DISPATCHERS, SECRETS, PUBLISHERS, CONFIG_MAPS, NAMESPACES, PODS, DEPLOYMENTS)
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))

FIELDS = [
    "metadata",
    "name",
    "namespace",
    "uid",
    "labels",
    "spec",
    "status",
    "data",
    "conditions",
    "type",
    "secret",
    "finalizers",
    "resourceVersion",
    "deletionTimestamp",
    "url",
    "event",
    "nats",
    "schema",
    "replicas",
    "items",
]
WORDS = st.sampled_from(FIELDS)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(
        ["nats://nats:99999", "https://example.com/", "\ud800", "team", OWN, "9" * 400, "IdentityCreated"]
    )
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=4), inner, max_size=4),
    max_leaves=25,
)


@st.composite
def strange(draw: st.DrawFn) -> tuple[Kind, Any]:
    """An object that says which it is, as the API server sees to, and else anything."""
    kind = draw(st.sampled_from(KINDS))
    manifest: Any = draw(st.dictionaries(WORDS, VALUES, max_size=5) | VALUES)
    if isinstance(manifest, dict) and draw(st.booleans()):
        metadata = manifest.get("metadata")
        name = draw(st.sampled_from(["strange", "default", "hookline-keys-default-01", "hookline-book-default"]))
        identity = {"name": name, "namespace": draw(st.sampled_from([OWN, "team"])), "uid": "strange"}
        manifest["metadata"] = {
            **(metadata if isinstance(metadata, Mapping) else {}),
            **identity,
            "resourceVersion": "999999",
        }
    return kind, manifest


async def served(objects: list[tuple[Kind, Any]]) -> tuple[str, str, bool]:
    stage = Stage()
    stage.put(SECRETS, secret("keys", {"secret": b"whsec_" + base64.b64encode(b"k" * 32)}))
    stage.put(WEBHOOKS, webhook("good", {"secretRef": {"name": "keys"}}))
    observed = stage.context.observed
    for kind, manifest in objects:
        for ours in (False, True):
            metadata = manifest.get("metadata") if isinstance(manifest, Mapping) else None
            if observed.belongs(kind, metadata, ours=ours):
                stage.context.add(observed.put(kind, manifest))
    stage.context.policy()
    dispatchers.judged(observed.dispatchers.values())
    for seen in list(observed.webhooks.values()):
        stage.webhooks.place(seen)
    verdict = stage.webhooks.place(observed.webhooks["team", "good"])
    route = stage.fleet.book.route("uid-of-good")
    assert verdict is not None
    is_in_book = route is not None and route.event == "IdentityCreated"
    return verdict.accepted.status, verdict.secrets_resolved.status, is_in_book


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.lists(strange(), max_size=6))
def test_objects_of_any_shape_change_nothing_of_a_good_one(objects: list[tuple[Kind, Any]]) -> None:
    # The Dispatcher and the Secret that it uses are its own affair.
    others = [each for each in objects if not _is_of_the_good_one(*each)]
    assert asyncio.run(served(others)) == ("True", "True", True)


def _is_of_the_good_one(kind: Kind, manifest: Any) -> bool:
    metadata = manifest.get("metadata") if isinstance(manifest, Mapping) else None
    if not isinstance(metadata, Mapping):
        return False
    if kind is DISPATCHERS:
        return metadata.get("name") == "default"
    return metadata.get("name") in ("good", "keys")


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), deadline=None)
@given(VALUES, st.sampled_from([WEBHOOKS, SECRETS, DISPATCHERS]))
def test_whatever_an_api_server_answers_is_read_or_refused(value: Any, kind: Kind) -> None:
    try:
        found = read_json(json.dumps({"items": [value, dispatcher("x")]}).encode())
    except ValueError:
        return
    stage = Stage()
    listed = [each for each in found["items"] if isinstance(each, Mapping)]
    stage.context.observed.differs(kind, listed, 7)
    stage.context.observed.replace_all(kind, listed, 7)
