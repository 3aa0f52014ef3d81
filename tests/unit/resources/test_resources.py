"""Webhook, EventType, Dispatcher and Replay: what is taken, what is refused, and how it is told."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from doubles.resource_cases import CASES, webhook
from hookline.resources.base import problems_of
from hookline.resources.dispatcher import Dispatcher
from hookline.resources.eventtype import EventType
from hookline.resources.problems import Problem
from hookline.resources.replay import Replay
from hookline.resources.webhook import Webhook

MODELS: dict[str, type[Webhook] | type[EventType] | type[Dispatcher] | type[Replay]] = {
    "Webhook": Webhook,
    "EventType": EventType,
    "Dispatcher": Dispatcher,
    "Replay": Replay,
}
CANARY = "canary-3c3c"


def problems(manifest: dict[str, Any]) -> list[Problem]:
    try:
        MODELS[manifest["kind"]].model_validate(manifest)
    except ValidationError as error:
        return problems_of(error)
    return []


@pytest.mark.parametrize(("manifest", "field"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_manifest_is_taken_or_its_field_is_named(manifest: dict[str, Any], field: str | None) -> None:
    found = problems(manifest)
    if field is None:
        assert found == []
    else:
        assert field in [each.field for each in found], found
        assert all(each.message for each in found)


def test_defaults_are_those_of_the_design() -> None:
    spec = Webhook.model_validate(webhook()).spec
    assert (spec.enabled, spec.max_concurrency, spec.dispatcher) == (True, 10, "default")
    assert spec.signature.scheme == "StandardWebhooks"
    policy = Dispatcher.model_validate({"metadata": {"name": "default"}, "spec": {}}).spec
    assert policy.retry.schedule_seconds == (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
    assert (policy.default_timeout_seconds, policy.max_timeout_seconds) == (15, 30)


def test_a_url_stays_as_typed() -> None:
    url = "HTTPS://My-API.com:8080/a%2Fb?x=%41&y=1"
    assert Webhook.model_validate(webhook(url=url)).spec.url == url


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"retires": {}}, "did you mean retry?"),
        ({"timeout_seconds": 5}, "did you mean timeoutSeconds?"),
        ({"url": "http://example.com"}, "write https://host/path"),
        ({"timeoutSeconds": 99}, "write 30 or less"),
        ({"enabled": "yes"}, "write true or false without quotes"),
    ],
)
def test_a_message_says_what_to_write_instead(spec: dict[str, Any], message: str) -> None:
    assert any(message in each.message for each in problems(webhook(**spec)))


def test_a_missing_field_is_asked_for_with_an_example() -> None:
    (found,) = problems({"kind": "Webhook", "metadata": {"name": "a"}, "spec": {"event": "IdentityCreated"}})
    assert (found.field, found.message.endswith("write url: https://host/path")) == ("spec.url", True)


@pytest.mark.parametrize(
    "spec",
    [
        {"url": f"http://u:{CANARY}@example.com/?token={CANARY}"},
        {"headers": [{"name": "X-A", "value": f"{CANARY}\n"}]},
        {"headers": [{"name": "X-A", "value": [CANARY]}]},
        {"headers": CANARY},
        {"secretRef": CANARY},
    ],
)
def test_no_problem_repeats_a_value(spec: dict[str, Any]) -> None:
    found = problems(webhook(**spec))
    assert found
    assert CANARY not in str(found)
