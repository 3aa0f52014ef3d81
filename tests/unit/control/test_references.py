from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hookline.control.kinds import Place
from hookline.control.references import References
from hookline.resources.webhook import Webhook
from unit.control.objects import webhook

HOOK, OTHER = ("team", "hook"), ("elsewhere", "hook")

SPECS: list[dict[str, Any]] = [
    {},
    {"secretRef": {"name": "keys"}},
    {"event": "order.created", "dispatcher": "edge"},
    {
        "secretRef": {"name": "keys"},
        "headers": [{"name": "X-A", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "a"}}}],
        "tls": {"caSecretRef": {"name": "ca"}, "clientCertSecretRef": {"name": "client"}},
    },
]


def spec(number: int) -> Webhook:
    return Webhook.model_validate(webhook(spec=SPECS[number]))


def test_a_webhook_is_found_by_all_that_it_names() -> None:
    found = References()
    found.put(HOOK, spec(2))
    assert found.of_event("order.created") == {HOOK}
    assert found.of_dispatcher("edge") == {HOOK}
    assert found.of_namespace("team") == {HOOK}
    assert found.of_event("another") == found.of_dispatcher("default") == found.of_namespace("edge") == set()


def test_a_secret_is_found_wherever_it_stands_in_a_webhook_and_in_its_namespace_only() -> None:
    found = References()
    found.put(HOOK, spec(3))
    found.put(OTHER, spec(1))
    for name in ("keys", "tokens", "ca", "client"):
        assert found.of_secret(("team", name)) == {HOOK}
    assert found.of_secret(("elsewhere", "keys")) == {OTHER}
    assert found.of_secret(("elsewhere", "ca")) == set()


def test_what_a_webhook_no_longer_names_does_not_find_it() -> None:
    found = References()
    found.put(HOOK, spec(1))
    found.put(HOOK, spec(2))
    assert found.of_secret(("team", "keys")) == set()
    assert found.of_dispatcher("edge") == {HOOK}


def test_one_that_is_not_valid_is_found_by_its_namespace_alone() -> None:
    found = References()
    found.put(HOOK, spec(2))
    found.put(HOOK, None)
    assert found.of_namespace("team") == {HOOK}
    assert found.of_event("order.created") == found.of_dispatcher("edge") == set()


def test_one_that_is_gone_is_not_found_and_those_beside_it_are() -> None:
    found = References()
    beside = ("team", "beside")
    for place in (HOOK, beside):
        found.put(place, spec(1))
    found.remove(HOOK)
    found.remove(("team", "never"))
    assert found.of_secret(("team", "keys")) == found.of_namespace("team") == {beside}


places = st.sampled_from([HOOK, OTHER, ("team", "beside")])
saying = st.none() | st.integers(0, len(SPECS) - 1).map(spec)


@given(st.lists(st.tuples(places, st.booleans(), saying), max_size=20))
def test_what_is_found_hangs_on_what_is_there_and_not_on_what_was(
    steps: list[tuple[Place, bool, Webhook | None]],
) -> None:
    found, there = References(), dict[Place, Webhook | None]()
    for place, goes, says in steps:
        if goes:
            found.remove(place)
            there.pop(place, None)
        else:
            found.put(place, says)
            there[place] = says
    fresh = References()
    for place, says in there.items():
        fresh.put(place, says)
    assert found == fresh
