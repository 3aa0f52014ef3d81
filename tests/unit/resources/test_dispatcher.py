from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from doubles.resource_cases import resource
from hookline.resources.base import problems_of
from hookline.resources.dispatcher import (
    _NEVER_OPEN,
    _NEVER_OPEN_ALONE,
    MAX_NAME_LENGTH,
    Dispatcher,
    DispatcherSpec,
    DispatcherStatus,
    allow_cidr_problem,
)
from hookline.resources.egress_policy import EgressPolicy, parse_cidrs

NEVER_CALLED = [
    "127.0.0.1", "::1", "0.0.0.0", "::", "169.254.169.254", "169.254.1.1", "fe80::1", "224.0.0.1", "ff02::1",
    "255.255.255.255", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254",
]  # fmt: skip
networks = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).flatmap(
    lambda address: st.integers(0, address.max_prefixlen).map(
        lambda length: str(ip_network(f"{address}/{length}", strict=False))
    )
)


def refused(spec: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as error:
        Dispatcher.model_validate(resource("Dispatcher", spec))
    return [problem.field for problem in problems_of(error.value)]


@given(networks)
def test_a_network_that_is_taken_can_be_opened_and_holds_no_local_address(cidr: str) -> None:
    if allow_cidr_problem(cidr) is None:
        (network,) = parse_cidrs([cidr])
        assert not any(
            ip_address(each) in network for each in ("127.0.0.1", "169.254.1.1", "::1", "fe80::1", "ff02::1")
        )


@pytest.mark.parametrize("cidr", [*_NEVER_OPEN, *_NEVER_OPEN_ALONE, "0.0.0.0/0", "::/0", "128.0.0.0/1", "8000::/1"])
def test_what_is_never_called_cannot_be_opened(cidr: str) -> None:
    assert "never called" in str(allow_cidr_problem(cidr))


@pytest.mark.parametrize("address", NEVER_CALLED)
def test_no_single_address_that_is_never_called_can_be_opened(address: str) -> None:
    assert allow_cidr_problem(f"{address}/{ip_address(address).max_prefixlen}") is not None


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.1.1", "0.0.0.0", "224.0.0.1", "::1", "::", "fe80::1", "ff02::1"]
)
def test_no_network_of_any_size_around_a_local_address_can_be_opened(address: str) -> None:
    for length in range(ip_address(address).max_prefixlen + 1):
        assert allow_cidr_problem(str(ip_network(f"{address}/{length}", strict=False))) is not None, length


@pytest.mark.parametrize("address", NEVER_CALLED)
def test_networks_around_such_an_address_do_not_open_it(address: str) -> None:
    around = [
        cidr for cidr in ("100.64.0.0/10", "168.63.0.0/16", "192.0.0.0/24", "fd00::/8") if not allow_cidr_problem(cidr)
    ]
    assert len(around) == 4
    assert EgressPolicy(parse_cidrs(around)).refusal(address) is not None


@pytest.mark.parametrize(
    "text",
    ["", "10.0.0.0", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.0/255.0.0.0", "10.0.0.0/0.255.255.255",
     " 10.0.0.0/8", "10.0.0.0/8\n", "010.0.0.0/8", "10.0.0/8", "::ffff:10.0.0.0/104", "fd00::1%eth0/64", "fd00::/129",
     "example.com/8"],
)  # fmt: skip
def test_a_text_that_is_no_plain_cidr_is_told_how_to_write_one(text: str) -> None:
    assert "write 10.1.2.0/24" in str(allow_cidr_problem(text))


@pytest.mark.parametrize("cidr", ["10.0.0.0/8", "10.1.2.3/32", "172.16.0.0/12", "100.64.0.0/10", "fd12:3456::/48"])
def test_private_networks_can_be_opened(cidr: str) -> None:
    assert allow_cidr_problem(cidr) is None


def test_entries_that_repeat_are_named() -> None:
    assert refused({"egress": {"allowCidrs": ["10.0.0.0/8", "10.0.0.0/8"]}}) == ["spec.egress.allowCidrs[1]"]
    assert refused({"imagePullSecrets": [{"name": "a"}, {"name": "a"}]}) == ["spec.imagePullSecrets[1]"]


def test_a_request_is_never_put_beside_a_limit_that_somebody_wrote() -> None:
    spec = DispatcherSpec.model_validate({"resources": {"limits": {"memory": "64Mi"}}})
    assert (spec.resources.limits, spec.resources.requests) == ({"memory": "64Mi"}, {})
    assert DispatcherSpec().resources.requests == {"cpu": "100m", "memory": "128Mi"}


def test_a_gateway_is_there_unless_somebody_says_otherwise_and_parts_of_it_can_be_said_alone() -> None:
    alone = DispatcherSpec().gateway
    assert (alone.enabled, alone.replicas, alone.tls.secret_ref) == (True, 2, None)
    said = DispatcherSpec.model_validate(
        {"gateway": {"replicas": 5, "tls": {"secretRef": {"name": "gateway-certificate"}}}}
    ).gateway
    assert (said.enabled, said.replicas, said.resources) == (True, 5, alone.resources)
    assert said.tls.secret_ref is not None
    assert said.tls.secret_ref.name == "gateway-certificate"


@pytest.mark.parametrize(
    ("gateway", "field"),
    [
        ({"replicas": 0}, "replicas"),
        ({"enabled": "false"}, "enabled"),
        ({"resources": {"limits": {"memory": "1GB!"}}}, "resources.limits.memory"),
        ({"tls": {"secretRef": {"name": "../other"}}}, "tls.secretRef.name"),
        ({"tls": {"secretRef": {"name": "a", "key": "b"}}}, "tls.secretRef.key"),
        ({"tls": {"secretName": "a"}}, "tls.secretName"),
        ({"limits": {"requestsAtOnce": 0}}, "limits.requestsAtOnce"),
        ({"limits": {"bytesAtOnce": 4 * 1024 * 1024}}, "limits.bytesAtOnce"),
        ({"limits": {"eventsPerSecond": 0.5}}, "limits.eventsPerSecond"),
        ({"limits": {"bytesPerSecond": "1Mi"}}, "limits.bytesPerSecond"),
    ],
)
def test_what_is_wrong_about_a_gateway_is_told_with_its_place(gateway: dict[str, Any], field: str) -> None:
    assert refused({"gateway": gateway}) == [f"spec.gateway.{field}"]


@pytest.mark.parametrize("quantity", ["1", "0.5", "100m", "128Mi", "1.5Gi", "2k", "1Ei"])
def test_quantities_of_kubernetes_are_taken(quantity: str) -> None:
    DispatcherSpec.model_validate({"resources": {"limits": {"cpu": quantity}}})


@pytest.mark.parametrize("quantity", ["", "1ki", "Mi", "1 Gi", "-1", "1GiB", "1,5"])
def test_other_quantities_are_refused(quantity: str) -> None:
    assert refused({"resources": {"limits": {"cpu": quantity}}}) == ["spec.resources.limits.cpu"]


@pytest.mark.parametrize(
    "url",
    [
        "nats://nats",
        "nats://nats.hookline.svc:4222",
        "tls://10.0.0.1:4222",
        "nats://[fd00::1]:1",
        "nats://a:4222,nats://b,nats://[::1]:65535",
        "tls://nats-0.nats-headless,tls://nats-1.nats-headless",
    ],
)
def test_addresses_of_nats_are_taken(url: str) -> None:
    DispatcherSpec.model_validate({"nats": {"url": url}})


@pytest.mark.parametrize(
    "url",
    [
        "nats:4222",
        "http://nats",
        "nats://u:p@nats",
        "nats://nats/x",
        "nats://",
        "nats://nats:99999",
        "nats://nats:0",
        "nats://nats:",
        "nats://a,tls://b",
        "nats://a,b:4222",
        "nats://a, nats://b",
        "nats://a,",
        "nats://a,nats://u:p@b",
        "nats://[::1::]",
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    assert refused({"nats": {"url": url}}) == ["spec.nats.url"]


def test_an_empty_schedule_is_kept_and_an_absent_one_is_the_standard_one() -> None:
    assert DispatcherSpec.model_validate({"retry": {"scheduleSeconds": []}}).retry.schedule_seconds == ()
    assert len(DispatcherSpec.model_validate({"retry": {}}).retry.schedule_seconds) == 9


def serving(**served: Any) -> Dispatcher:
    manifest = resource("Dispatcher", {"servedNamespaces": served} if served else {})
    return Dispatcher.model_validate({**manifest, "metadata": {"name": "default", "namespace": "own"}})


def test_a_dispatcher_serves_all_namespaces_unless_it_says_otherwise() -> None:
    for dispatcher in (serving(), serving(**{"from": "All"})):
        assert dispatcher.serves("own", {})
        assert dispatcher.serves("other", {"a": "b"})


def test_same_serves_its_own_namespace_only() -> None:
    dispatcher = serving(**{"from": "Same"})
    assert dispatcher.serves("own", {})
    assert not dispatcher.serves("other", {})


def test_a_selector_serves_namespaces_that_have_all_its_labels() -> None:
    dispatcher = serving(**{"from": "Selector", "selector": {"matchLabels": {"team": "a", "stage": "live"}}})
    assert dispatcher.serves("other", {"team": "a", "stage": "live", "more": "x"})
    for labels in ({}, {"team": "a"}, {"team": "a", "stage": "test"}, {"team": "", "stage": "live"}):
        assert not dispatcher.serves("other", labels)
        assert not dispatcher.serves("own", labels)


def test_a_selector_without_labels_serves_all_as_in_kubernetes() -> None:
    assert serving(**{"from": "Selector", "selector": {"matchLabels": {}}}).serves("other", {})


@pytest.mark.parametrize(
    "served",
    [{"from": "Selector"}, {"from": "All", "selector": {"matchLabels": {"a": "b"}}}, {"selector": {"matchLabels": {}}}],
)
def test_a_selector_stands_just_where_it_is_used(served: dict[str, Any]) -> None:
    assert refused({"servedNamespaces": served}) == ["spec.servedNamespaces.selector"]


@pytest.mark.parametrize("name", ["a", "edge-07", "a" * MAX_NAME_LENGTH])
def test_names_that_fit_into_those_of_pods_are_taken(name: str) -> None:
    Dispatcher.model_validate(resource("Dispatcher", {}, name))


@pytest.mark.parametrize("name", ["a" * (MAX_NAME_LENGTH + 1), "edge.one"])
def test_longer_names_and_full_stops_are_refused(name: str) -> None:
    with pytest.raises(ValidationError) as error:
        Dispatcher.model_validate(resource("Dispatcher", {}, name))
    (problem,) = problems_of(error.value)
    assert problem.field == "metadata.name"
    assert str(MAX_NAME_LENGTH) in problem.message


@pytest.mark.parametrize("replicas", [0, 6, "3", True])
def test_a_stream_has_one_to_five_replicas(replicas: object) -> None:
    assert refused({"nats": {"streamReplicas": replicas}}) == ["spec.nats.streamReplicas"]
    assert DispatcherSpec.model_validate({"nats": {"streamReplicas": 5}}).nats.stream_replicas == 5
    assert DispatcherSpec().nats.stream_replicas == 1


@pytest.mark.parametrize("prefix", ["1_", "_A", "a.b", "a*", "a>", "a b", "../", "é_", "A\n", "x" * 32, 1])
def test_a_stream_prefix_is_a_part_of_a_name_of_nats(prefix: object) -> None:
    assert refused({"nats": {"streamPrefix": prefix}}) == ["spec.nats.streamPrefix"]


@pytest.mark.parametrize("prefix", ["HOOKLINE_", "a-team_", "x" * 31, ""])
def test_streams_have_the_prefix_that_is_asked_for_and_an_empty_one_is_not_none(prefix: str) -> None:
    assert DispatcherSpec.model_validate({"nats": {"streamPrefix": prefix}}).nats.stream_prefix == prefix
    assert DispatcherSpec().nats.stream_prefix is None


def test_a_status_counts_routes_by_shard() -> None:
    status = DispatcherStatus.model_validate({"routes": 3, "shards": [{"shard": "07", "routes": 3}]})
    assert [(each.shard, each.routes) for each in status.shards] == [("07", 3)]
    assert (DispatcherStatus().routes, DispatcherStatus().observed_generation) == (0, -1)
