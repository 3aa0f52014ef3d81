from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.control.dispatchers import (
    asked_for,
    available,
    both,
    gateway_available,
    judged,
    log_api_available,
    ready,
    rolled_out,
)
from hookline.control.seen import Seen
from hookline.resources.dispatcher import Dispatcher
from hookline.routing.verdict import Condition, record_of
from unit.control.objects import a_dispatcher, seen_dispatcher


def seen(name: str, url: str = "nats://nats:4222", created: int = 1, **nats: Any) -> Seen[Dispatcher]:
    at = f"2026-01-{created:02}T00:00:00Z"
    return seen_dispatcher(name, {"nats": {"url": url, **nats}}, creationTimestamp=at)


def test_a_valid_dispatcher_is_accepted() -> None:
    assert judged([seen("a")]) == {"a": Condition("Accepted", "True", "Accepted", "the spec is valid")}


def test_an_invalid_one_says_what_is_wrong_and_takes_no_nats_from_others() -> None:
    wrong = seen_dispatcher("a", {"nats": {"url": "http://nats:4222"}})
    found = judged([wrong, seen("b")])
    assert (found["a"].status, found["a"].reason) == ("False", "InvalidSpec")
    assert "spec.nats.url" in found["a"].message
    assert found["b"].status == "True"


@given(st.permutations(range(1, 5)))
def test_of_several_on_one_nats_the_oldest_keeps_it_in_whatever_order_they_are_seen(order: list[int]) -> None:
    found = judged([seen(f"d{number}", created=5 - number) for number in order])
    assert found["d4"].status == "True"
    for name in ("d1", "d2", "d3"):
        assert (found[name].status, found[name].reason) == ("False", "NATSInUse")
        assert "the Dispatcher d4 " in found[name].message


AT = "2026-01-01T00:00:00Z"


def accepted_at(generation: int, status: str = "True") -> dict[str, Any]:
    condition = {"type": "Accepted", "status": status, "reason": "Accepted", "message": "", "lastTransitionTime": AT}
    return {"conditions": [{**condition, "observedGeneration": generation}]}


def with_status(name: str, created: int, generation: int, status: Mapping[str, Any]) -> Seen[Dispatcher]:
    return replace(seen(name, created=created), generation=generation, status=status)


def test_an_older_one_that_is_pointed_at_the_nats_of_another_takes_it_from_nobody() -> None:
    older = with_status("older", 1, 2, accepted_at(1))
    younger = with_status("younger", 2, 1, accepted_at(1))
    assert judged([older, younger])["older"].reason == "NATSInUse"


def test_whoever_uses_a_nats_keeps_it_when_its_own_spec_changes() -> None:
    older = with_status("older", 1, 2, accepted_at(2, "False"))
    younger = with_status("younger", 2, 5, accepted_at(4))
    assert judged([older, younger])["older"].reason == "NATSInUse"


@pytest.mark.parametrize("status", [{"conditions": "text"}, {"conditions": [7, {"type": 3}]}, {"conditions": {}}])
def test_a_status_of_another_shape_counts_as_none(status: Mapping[str, Any]) -> None:
    assert judged([with_status("a", 1, 1, status)])["a"].status == "True"


@pytest.mark.parametrize(
    "url",
    ["nats://nats", "tls://nats:4222", "nats://NATS:4222", "nats://nats.", "nats://other:4223,nats://nats:4222"],
)
def test_one_nats_is_known_however_its_address_is_written(url: str) -> None:
    assert judged([seen("a"), seen("b", url, 2)])["b"].reason == "NATSInUse"


def test_what_a_refused_one_names_is_free_for_others() -> None:
    found = judged([seen("a", "nats://1,nats://2"), seen("b", "nats://2,nats://3", 2), seen("c", "nats://3", 3)])
    assert [found[name].reason for name in "abc"] == ["Accepted", "NATSInUse", "Accepted"]


def test_another_server_port_or_account_is_another_nats() -> None:
    account: dict[str, Any] = {"credentialsSecretRef": {"name": "account"}}
    other_key: dict[str, Any] = {"credentialsSecretRef": {"name": "account", "key": "b"}}
    found = judged(
        [
            seen("a"),
            seen("b", "nats://other:4222"),
            seen("c", "nats://nats:4223"),
            seen("d", **account),
            seen("e", **other_key),
        ]
    )
    assert {each.status for each in found.values()} == {"True"}


def deployment(ready: object) -> dict[str, Any]:
    return {"status": {"readyReplicas": ready}}


@pytest.mark.parametrize(
    ("live", "status", "reason"),
    [
        (None, "False", "NoSenders"),
        ({}, "False", "NoSenders"),
        (deployment(None), "False", "NoSenders"),
        (deployment(0), "False", "NoSenders"),
        (deployment(1), "True", "SomeSenders"),
        (deployment(2), "True", "AllSenders"),
        (deployment(3), "True", "AllSenders"),
    ],
)
def test_a_dispatcher_is_available_as_soon_as_one_sender_is_ready(
    live: dict[str, Any] | None, status: str, reason: str
) -> None:
    found = available(live, 2)
    assert (found.type, found.status, found.reason) == ("Available", status, reason)


def test_ready_is_the_first_part_that_is_not_true() -> None:
    accepted = Condition("Accepted", "True", "Accepted", "fine")
    missing = Condition("Available", "False", "NoSenders", "look")
    assert ready(accepted, missing) == Condition("Ready", "False", "NoSenders", "look")
    assert ready(missing, Condition("Other", "False", "Other", "")).reason == "NoSenders"
    assert ready(accepted) == Condition("Ready", "True", "Ready", "fine")


def test_senders_are_told_policy_retention_and_streams() -> None:
    spec = {
        "egress": {
            "allowCidrs": ["10.0.0.0/8"],
            "allowPorts": ["443", "8000-8100"],
            "proxy": {"url": "http://proxy:3128", "credentialsSecretRef": {"name": "proxy", "key": "login"}},
        },
        "retention": {"eventsSeconds": 60, "parkedSeconds": 61, "deadSeconds": 62},
        "nats": {"streamReplicas": 3, "streamPrefix": "HOOKLINE_"},
        "attempts": {"enabled": False, "maxAgeSeconds": 3600, "maxBytes": 67_108_864},
    }
    record = record_of(a_dispatcher("edge", spec))
    assert record.model_dump() == {
        "allow_cidrs": ("10.0.0.0/8",),
        "allow_ports": ("443", "8000-8100"),
        "proxy_url": "http://proxy:3128",
        "allow_own": False,
        "events_seconds": 60,
        "parked_seconds": 61,
        "dead_seconds": 62,
        "attempts_enabled": False,
        "attempts_seconds": 3600,
        "attempts_bytes": 67_108_864,
        "stream_replicas": 3,
        "stream_prefix": "HOOKLINE_",
    }


def a_deployment(generation: int = 2, spec: Mapping[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    return {"metadata": {"generation": generation}, "spec": spec or {}, "status": status}


WELL: dict[str, Any] = {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3}


def a_condition(kind: str, status: str, reason: str = "", message: str = "") -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": status, "reason": reason, "message": message}]}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (WELL, "RolledOut"),
        ({**WELL, "observedGeneration": 1}, "RollingOut"),
        ({**WELL, "updatedReplicas": 1, "replicas": 4}, "RollingOut"),
        ({**WELL, "replicas": 4}, "RollingOut"),
        ({}, "RollingOut"),
        ({**WELL, "replicas": 4, **a_condition("Progressing", "False", "ProgressDeadlineExceeded")}, "RolloutStuck"),
        ({**WELL, **a_condition("ReplicaFailure", "True", "FailedCreate", "exceeded quota: pods")}, "RolloutStuck"),
    ],
)
def test_a_generation_is_rolled_out_once_its_pods_are_all_there_is(status: dict[str, Any], reason: str) -> None:
    found = rolled_out("sender", a_deployment(**status), 3)
    assert found.reason == reason
    assert (found.status == "True") is (reason == "RolledOut")


def test_what_keeps_a_rollout_is_said() -> None:
    old = {**WELL, "replicas": 4, "updatedReplicas": 1}
    assert "ImagePullBackOff" in rolled_out("sender", a_deployment(**old), 3, waiting="ImagePullBackOff").message
    assert rolled_out("sender", a_deployment(spec={"paused": True}, **old), 3).reason == "RolloutPaused"
    refused = rolled_out("sender", a_deployment(**WELL), 3, refusal="exceeded quota: q")
    assert (refused.status, refused.reason) == ("False", "Refused")
    assert "exceeded quota: q" in refused.message
    assert rolled_out("sender", None, 1).status == "False"


def test_one_stuck_gateway_pod_is_named_as_such_and_senders_come_first() -> None:
    well, stuck = rolled_out("sender", a_deployment(**WELL), 3), rolled_out("gateway", a_deployment(), 2)
    assert both(well, well).status == "True"
    assert both(well, stuck).message == "0 of 2 gateway pods are of this generation"
    refused = rolled_out("sender", a_deployment(**WELL), 3, refusal="exceeded quota: q")
    assert both(refused, stuck) == refused


def test_where_no_gateway_is_wanted_none_is_missed() -> None:
    assert rolled_out("gateway", None, 0).status == "True"
    assert rolled_out("gateway", None, 2).reason == "RollingOut"


@pytest.mark.parametrize(
    ("spec", "live", "status", "reason"),
    [
        ({}, None, "False", "NoGateway"),
        ({}, deployment(0), "False", "NoGateway"),
        ({}, deployment(1), "True", "SomeGateways"),
        ({}, deployment(2), "True", "AllGateways"),
        ({"gateway": {"replicas": 1}}, deployment(2), "True", "AllGateways"),
        ({"gateway": {"enabled": False}}, deployment(2), "False", "GatewayDisabled"),
        ({"gateway": {"enabled": False}}, None, "False", "GatewayDisabled"),
        ({"gateway": {"replicas": "two"}}, deployment(2), "True", "AllGateways"),
    ],
)
def test_a_gateway_is_available_as_soon_as_one_pod_is_ready(
    spec: dict[str, Any], live: dict[str, Any] | None, status: str, reason: str
) -> None:
    found = gateway_available(live, seen_dispatcher("a", spec).value)
    assert (found.type, found.status, found.reason) == ("GatewayAvailable", status, reason)


def test_a_gateway_that_nobody_wants_keeps_no_dispatcher_from_being_ready_and_a_missing_one_does() -> None:
    available_ = Condition("Available", "True", "AllSenders", "all senders")
    disabled = gateway_available(None, a_dispatcher("a", {"gateway": {"enabled": False}}))
    assert ready(*asked_for(disabled), available_) == Condition("Ready", "True", "Ready", "all senders")
    assert ready(*asked_for(gateway_available(None, a_dispatcher())), available_).reason == "NoGateway"


@pytest.mark.parametrize(
    ("there", "wanted", "more", "condition"),
    [
        (2, 2, {}, ("True", "AllLogApis", "all 2 pods")),
        (1, 2, {}, ("True", "SomeLogApis", "1 of 2 pods")),
        (0, 2, {}, ("False", "NoLogApi", "kubectl describe pods")),
        (0, 2, {"waiting": "ImagePullBackOff"}, ("False", "NoLogApi", "ImagePullBackOff")),
        (0, 2, {"hindered": "exceeded quota", "waiting": "x"}, ("False", "NoLogApi", "exceeded quota")),
        (2, 2, {"hindered": "exceeded quota"}, ("True", "AllLogApis", "exceeded quota")),
        (2, 2, {"unreached": "kube-apiserver does not"}, ("False", "LogApiNotReached", "kube-apiserver does not")),
        # Pods come first: without one nobody reaches it.
        (0, 2, {"unreached": "kube-apiserver does not"}, ("False", "NoLogApi", "describe pods")),
        (0, 0, {"unreached": "kube-apiserver does not"}, ("False", "LogApiDisabled", "APIService")),
    ],
)
def test_whether_people_can_read_the_log(
    there: int, wanted: int, more: dict[str, str], condition: tuple[str, str, str]
) -> None:
    found = log_api_available({"status": {"readyReplicas": there}}, wanted, **more)
    assert (found.type, found.status, found.reason) == ("LogApiAvailable", *condition[:2])
    assert condition[2] in found.message


def test_without_a_deployment_nobody_can_read_the_log() -> None:
    assert log_api_available(None, 2).reason == "NoLogApi"
