from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.control.api_service import is_ours, problem_in, with_bundle
from unit.control.objects import OWN

BUNDLE = "-----BEGIN CERTIFICATE-----\n"
ENCODED = base64.b64encode(BUNDLE.encode()).decode()


def live(namespace: str = OWN, bundle: str | None = None, **available: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "v1alpha1.log.hookline.dev", "uid": "u", "resourceVersion": "7", "labels": {"a": "b"}},
        "spec": {
            "group": "log.hookline.dev",
            "service": {"namespace": namespace, "name": "hookline-api", "port": 443},
            **({"caBundle": bundle} if bundle is not None else {}),
        },
        "status": {"conditions": [{"type": "Available", **available}] if available else []},
    }


@pytest.mark.parametrize("bundle", [None, "", "bWluZQ==", f"{ENCODED}{ENCODED}"])
def test_another_bundle_is_replaced_and_nothing_else_is_named(bundle: str | None) -> None:
    assert with_bundle(live(bundle=bundle), BUNDLE) == {
        "metadata": {"name": "v1alpha1.log.hookline.dev", "uid": "u", "resourceVersion": "7"},
        "spec": {"caBundle": ENCODED},
    }


def test_the_right_one_is_left_as_it_is() -> None:
    assert with_bundle(live(bundle=ENCODED), BUNDLE) is None


def test_that_of_another_installation_is_not_ours_and_is_said() -> None:
    assert is_ours(live(), OWN)
    assert not is_ours(live("elsewhere"), OWN)
    assert "another installation" in problem_in(live("elsewhere", status="True"), OWN)


def test_what_kube_apiserver_says_is_told_by_its_reason_alone() -> None:
    assert problem_in(live(status="True", reason="Passed"), OWN) == ""
    said = problem_in(live(status="False", reason="FailedDiscoveryCheck", message="https://10.0.0.1 canary"), OWN)
    assert "FailedDiscoveryCheck" in said
    assert "canary" not in said
    assert "nothing yet" in problem_in(live(), OWN)
    assert "nothing yet" in problem_in(live(status="False", reason="canary 1"), OWN)


def test_without_one_it_says_what_to_apply() -> None:
    assert "apply the overlay" in problem_in(None, OWN)


_shapes = st.recursive(st.none() | st.text(max_size=3) | st.integers(), lambda inner: st.lists(inner, max_size=2))


@given(st.fixed_dictionaries({}, optional={"spec": _shapes, "status": _shapes}))
def test_whatever_stands_in_it_is_read(shape: dict[str, Any]) -> None:
    assert problem_in({"metadata": {}, **shape}, OWN)
