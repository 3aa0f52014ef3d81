from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.control.applied import holds
from hookline.control.kinds import (
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    NETWORK_POLICIES,
    SERVICE_ACCOUNTS,
    Kind,
    keys_name,
    root_name,
    routes_name,
    sender_name,
)
from hookline.control.pods import PORT
from hookline.control.workload import objects
from hookline.delivery.process import LAST_SECONDS
from hookline.resources.dispatcher import MAX_NAME_LENGTH, Dispatcher
from hookline.resources.egress_policy import EgressPolicy, parse_cidrs
from hookline.routing.routes import BOOK_SHARDS
from hookline.stream.connection import CLOSE_SECONDS
from unit.control.objects import OWN, Manifest, a_dispatcher

IMAGE = "hookline:1"
LONG_NAME = "a" * MAX_NAME_LENGTH

SPECS: list[dict[str, Any]] = [
    {},
    {
        "replicas": 5,
        "image": "registry.example.com/hookline@sha256:0",
        "imagePullSecrets": [{"name": "registry"}],
        "resources": {"limits": {"cpu": "1"}},
        "nats": {"url": "tls://nats.example.com", "credentialsSecretRef": {"name": "account", "key": "nats.creds"}},
        "egress": {"allowCidrs": ["10.1.0.0/16", "fd12:3456::/48"]},
        "maxTimeoutSeconds": 30,
    },
]
dispatchers = pytest.mark.parametrize("dispatcher", [a_dispatcher(spec=spec) for spec in SPECS])


def made(dispatcher: Dispatcher, kind: Kind) -> Manifest:
    (found,) = [manifest for each, manifest in objects(dispatcher, image=IMAGE) if each is kind]
    return found


def pod_of(dispatcher: Dispatcher) -> dict[str, Any]:
    spec: dict[str, Any] = made(dispatcher, DEPLOYMENTS)["spec"]["template"]["spec"]
    return spec


def container_of(dispatcher: Dispatcher) -> dict[str, Any]:
    (container,) = pod_of(dispatcher)["containers"]
    return dict(container)


def test_a_dispatcher_makes_one_object_of_each_kind_and_its_deployment_last() -> None:
    kinds = [kind for kind, _ in objects(a_dispatcher(), image=IMAGE)]
    assert kinds == [SERVICE_ACCOUNTS, NETWORK_POLICIES, DISRUPTION_BUDGETS, DEPLOYMENTS]


@dispatchers
def test_senders_have_no_token_of_the_cluster(dispatcher: Dispatcher) -> None:
    pod = pod_of(dispatcher)
    assert pod["automountServiceAccountToken"] is False
    assert made(dispatcher, SERVICE_ACCOUNTS)["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == made(dispatcher, SERVICE_ACCOUNTS)["metadata"]["name"]
    assert "serviceAccountToken" not in json.dumps(pod)


def mounts_of(dispatcher: Dispatcher) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in container_of(dispatcher)["volumeMounts"]}


def sources_of(dispatcher: Dispatcher) -> list[dict[str, Any]]:
    (volume,) = [each for each in pod_of(dispatcher)["volumes"] if each["name"] == "book"]
    sources: list[dict[str, Any]] = volume["projected"]["sources"]
    return sources


@pytest.mark.parametrize("name", ["default", LONG_NAME])
def test_the_book_has_a_place_for_every_shard_that_may_ever_be_and_none_needs_to_exist(name: str) -> None:
    sources = sources_of(a_dispatcher(name))
    config_maps = [each["configMap"]["name"] for each in sources if "configMap" in each]
    secrets = [each["secret"]["name"] for each in sources if "secret" in each]
    assert config_maps == [root_name(name), *(routes_name(name, shard) for shard in range(BOOK_SHARDS))]
    assert secrets == [keys_name(name, shard) for shard in range(BOOK_SHARDS)]
    assert all(next(iter(each.values()))["optional"] is True for each in sources)
    assert all(len(each) == 1 for each in sources)


def test_the_deployment_stays_far_below_what_the_api_server_and_etcd_take() -> None:
    # 1.5 MiB is etcd's bound of one request; annotations of others (kubectl's copy of it, 256 KiB) must fit as well.
    assert len(json.dumps(made(a_dispatcher(LONG_NAME), DEPLOYMENTS))) < 64 * 1024


def names_of(name: str) -> Iterator[str]:
    yield sender_name(name)
    yield root_name(name)
    for shard in range(BOOK_SHARDS):
        yield routes_name(name, shard)
        yield keys_name(name, shard)


def test_names_fit_into_labels_and_no_two_dispatchers_share_one() -> None:
    assert all(len(each) <= 63 for each in names_of(LONG_NAME))
    everything = [each for name in ("a", "a-07", "a-7", "07") for each in names_of(name)]
    assert len(everything) == len(set(everything))


def arguments_of(dispatcher: Dispatcher) -> dict[str, str]:
    command, *arguments = container_of(dispatcher)["args"]
    assert command == "sender"
    return dict(zip(arguments[::2], arguments[1::2], strict=True))


@dispatchers
def test_a_sender_is_told_its_book_its_nats_and_where_to_listen(dispatcher: Dispatcher) -> None:
    arguments = arguments_of(dispatcher)
    assert arguments["--book"] == mounts_of(dispatcher)["book"]["mountPath"]
    assert arguments["--nats"] == dispatcher.spec.nats.url
    (port,) = container_of(dispatcher)["ports"]
    assert arguments["--listen"] == f":{port['containerPort']}" == f":{PORT}"


def test_credentials_of_nats_are_mounted_from_their_secret_and_named_by_their_key() -> None:
    dispatcher = a_dispatcher(spec=SPECS[1])
    (volume,) = [each for each in pod_of(dispatcher)["volumes"] if "secret" in each]
    assert volume["secret"]["secretName"] == "account"
    folder = mounts_of(dispatcher)[volume["name"]]["mountPath"]
    assert arguments_of(dispatcher)["--nats-credentials"] == f"{folder}/nats.creds"
    assert "--nats-credentials" not in arguments_of(a_dispatcher())


@pytest.mark.parametrize("longest", [1, 15, 30])
def test_a_pod_has_the_time_to_end_its_longest_call_before_it_is_killed(longest: int) -> None:
    dispatcher = a_dispatcher(spec={"maxTimeoutSeconds": longest, "defaultTimeoutSeconds": 1})
    sleep_seconds = container_of(dispatcher)["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace_seconds = int(arguments_of(dispatcher)["--grace-seconds"])
    assert longest < grace_seconds
    # As long as a sender may take beyond its grace when NATS hangs.
    ending_seconds = LAST_SECONDS + CLOSE_SECONDS + 1
    assert sleep_seconds + grace_seconds + ending_seconds < pod_of(dispatcher)["terminationGracePeriodSeconds"]


def test_a_change_of_the_book_changes_no_pod_and_one_of_the_spec_does() -> None:
    same = [made(a_dispatcher(spec={"egress": {"allowCidrs": cidrs}}), DEPLOYMENTS) for cidrs in ([], ["10.0.0.0/8"])]
    assert same[0] == same[1]
    assert made(a_dispatcher(spec={"nats": {"url": "nats://other"}}), DEPLOYMENTS) != same[0]


def policy_of(dispatcher: Dispatcher, name_servers: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rules for what pods may call."""
    servers = [ip_address(each) for each in name_servers]
    made_of = objects(dispatcher, image=IMAGE, name_servers=servers)
    (found,) = [manifest for kind, manifest in made_of if kind is NETWORK_POLICIES]
    rules: list[dict[str, Any]] = found["spec"]["egress"]
    return rules


def lets_through(rule: Mapping[str, Any], address: str, *, pod: str | None = None) -> bool:
    """Whether a rule lets pods call an address outside of the cluster, or a pod in a namespace."""
    if "to" not in rule:
        return True
    return any(_is(peer, address, pod) for peer in rule["to"])


def _is(peer: Mapping[str, Any], address: str, pod: str | None) -> bool:
    if "ipBlock" in peer:
        block, parsed = peer["ipBlock"], ip_address(address)
        without = block.get("except", ())
        return pod is None and parsed in ip_network(block["cidr"]) and not any(parsed in ip_network(x) for x in without)
    namespace = peer.get("namespaceSelector", {"matchLabels": {"kubernetes.io/metadata.name": OWN}}).get("matchLabels")
    return pod is not None and namespace in (None, {"kubernetes.io/metadata.name": pod})


def allowed(policy: Dispatcher | list[dict[str, Any]], address: str, *, port: int = 443) -> bool:
    """Whether the network policy lets pods call an address."""
    rules = policy if isinstance(policy, list) else policy_of(policy, ["10.96.0.10"])
    # What goes out of a socket for an IPv4-mapped address is IPv4.
    parsed = ip_address(address)
    address = str(parsed.ipv4_mapped or address) if isinstance(parsed, IPv6Address) else address
    return any(lets_through(each, address) for each in rules if port in numbers(each) or "ports" not in each)


def numbers(rule: Mapping[str, Any]) -> list[int]:
    return [each["port"] for each in rule.get("ports", ())]


LISTS = [[], ["10.1.0.0/16"], ["100.64.0.0/10", "fd00::/8"], ["168.63.0.0/16", "192.0.0.0/24"], ["fd12:3456::/48"],
         ["2000::/4"], ["2002:a00::/24"], ["4000::/2"], ["198.18.0.0/15", "2001:db8::/32", "10.0.0.0/8"]]  # fmt: skip
NEAR = [
    "10.1.2.3", "10.2.0.1", "100.100.100.200", "100.64.0.1", "168.63.129.16", "168.63.1.1", "192.0.0.192", "192.0.0.8",
    "198.18.0.1", "169.254.169.254", "127.0.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0", "8.8.8.8", "192.88.99.1",
    "fd00:ec2::254", "fd20:ce::254", "fd12:3456::1", "fd77::1", "2606:4700::1", "2001::1", "2001:db8::1", "3fff::1",
    "fe80::1", "ff02::1", "::1", "::", "4001::1", "64:ff9b:1::1", "fec0::1", "2002:a00:1::1", "2002:808:808::1",
]  # fmt: skip


@cache
def with_list(*listed: str) -> list[dict[str, Any]]:
    return policy_of(a_dispatcher(spec={"egress": {"allowCidrs": list(listed)}}))


def carried(address: str) -> Iterator[str]:
    """The address, and the IPv6 addresses that lead to it."""
    yield address
    if (parsed := ip_address(address)).version == 4:
        yield f"64:ff9b::{address}"
        yield f"::ffff:{address}"
        yield str(IPv6Address(0x2002 << 112 | int(parsed) << 80 | 1))


@pytest.mark.parametrize("listed", LISTS, ids=str)
@given(st.ip_addresses().map(str) | st.sampled_from([each for address in NEAR for each in carried(address)]))
def test_the_network_policy_and_the_sender_let_through_the_same_addresses(listed: list[str], address: str) -> None:
    by_sender = EgressPolicy(parse_cidrs(listed)).refusal(address) is None
    tunnel = int(ip_address(address)) >> 32 & 0xFDFFFFFF == 0x5EFE
    assert tunnel or allowed(with_list(*listed), address) == by_sender


@dispatchers
def test_what_is_taken_out_of_a_block_lies_in_it_and_is_smaller(dispatcher: Dispatcher) -> None:
    """Else the API server refuses the policy."""
    peers = [
        peer["ipBlock"]
        for rule in policy_of(dispatcher, ["10.96.0.10", "fd00::a"])
        for peer in rule["to"]
        if "ipBlock" in peer
    ]
    assert len(peers) > 4
    for block in peers:
        outer = ip_network(block["cidr"])
        for inner in map(ip_network, block.get("except", ())):
            assert inner.version == outer.version
            assert inner != outer
            assert inner.subnet_of(outer)  # type: ignore[arg-type]


@pytest.mark.parametrize("port", [53, 4222])
@pytest.mark.parametrize("address", ["169.254.169.254", "10.1.2.3", "192.168.0.1", "fd12::1", "64:ff9b::a9fe:a9fe"])
def test_no_port_is_open_to_addresses_that_are_closed(port: int, address: str) -> None:
    assert not allowed(a_dispatcher(), address, port=port)


@pytest.mark.parametrize("namespace", ["kube-system", "openshift-dns", "anything"])
def test_pods_may_ask_the_name_servers_that_they_are_given_and_those_that_are_pods_of_any_namespace(
    namespace: str,
) -> None:
    servers = ["10.96.0.10", "169.254.20.10", "fd00:10:96::a"]
    dns, *_ = policy_of(a_dispatcher(), servers)
    assert {(each["protocol"], each["port"]) for each in dns["ports"]} == {("UDP", 53), ("TCP", 53)}
    assert all(lets_through(dns, each) for each in servers)
    assert lets_through(dns, "10.244.0.5", pod=namespace)
    assert not lets_through(dns, "10.96.0.11")
    assert not lets_through(dns, "8.8.8.8")


def test_pods_may_ask_any_name_server_where_theirs_are_not_known() -> None:
    dns, *_ = policy_of(a_dispatcher())
    assert "to" not in dns


@pytest.mark.parametrize(
    ("url", "reached", "kept_out"),
    [
        ("nats://nats:4222", [("10.0.0.1", OWN)], [("10.0.0.1", "other"), ("8.8.8.8", None)]),
        ("nats://nats.team.svc:4222", [("10.0.0.1", "team")], [("10.0.0.1", OWN), ("8.8.8.8", None)]),
        ("nats://nats.team.svc.cluster.local.", [("10.0.0.1", "team")], [("10.0.0.1", "other")]),
        (
            "nats://nats.example.com",
            [("8.8.8.8", None), ("10.9.8.7", None), ("10.0.0.1", "other")],
            [("169.254.169.254", None)],
        ),
        (
            "nats://nats.team",
            [("10.0.0.1", "team"), ("10.9.8.7", None)],
            [("100.100.100.200", None), ("127.0.0.1", None)],
        ),
        ("nats://10.9.8.7", [("10.9.8.7", None)], [("10.9.8.8", None), ("10.0.0.1", OWN)]),
        ("tls://[fd00::1]:4222", [("fd00::1", None)], [("fd00::2", None), ("64:ff9b::a9fe:a9fe", None)]),
    ],
)
def test_the_port_of_nats_is_open_only_to_where_nats_can_be(
    url: str, reached: list[tuple[str, str | None]], kept_out: list[tuple[str, str | None]]
) -> None:
    (rule,) = [
        each
        for each in policy_of(a_dispatcher(spec={"nats": {"url": url}}))
        if 4222 in [p["port"] for p in each.get("ports", ())]
    ]
    assert all(lets_through(rule, address, pod=pod) for address, pod in reached)
    assert not any(lets_through(rule, address, pod=pod) for address, pod in kept_out)


def a_dispatcher_behind(proxy: str) -> Dispatcher:
    egress = {"proxy": {"url": proxy, "credentialsSecretRef": {"name": "proxy", "key": "login"}}}
    return a_dispatcher(spec={"egress": egress})


def test_behind_a_proxy_pods_reach_the_proxy_and_no_receiver() -> None:
    by_address, by_name = (a_dispatcher_behind(proxy) for proxy in ("http://10.9.8.7:3128", "http://proxy.corp:3128"))

    assert allowed(by_address, "10.9.8.7", port=3128)
    assert not allowed(by_address, "8.8.8.8")
    assert not allowed(by_address, "10.9.8.8")
    assert not allowed(by_name, "8.8.8.8")
    assert allowed(by_name, "10.9.8.7", port=3128)
    assert not allowed(by_name, "169.254.169.254", port=3128)


def test_credentials_of_a_proxy_are_mounted_and_in_no_manifest() -> None:
    dispatcher = a_dispatcher_behind("http://proxy.corp:3128")

    assert container_of(dispatcher)["args"][-2:] == ["--proxy-credentials", "/var/run/hookline/proxy/login"]
    (volume,) = [each for each in pod_of(dispatcher)["volumes"] if each["name"] == "proxy-credentials"]
    assert volume["secret"]["secretName"] == "proxy"
    assert mounts_of(dispatcher)["proxy-credentials"]["mountPath"] == "/var/run/hookline/proxy"


def ports_of(dispatcher: Dispatcher) -> list[tuple[str, int]]:
    return [(each["protocol"], each["port"]) for rule in policy_of(dispatcher) for each in rule.get("ports", ())]


def test_each_port_of_a_list_of_servers_is_open_to_those_that_have_it() -> None:
    dispatcher = a_dispatcher(spec={"nats": {"url": "nats://10.0.0.1:4223,nats://10.0.0.2,nats://10.0.0.3:4223"}})
    assert ports_of(dispatcher) == [("UDP", 53), ("TCP", 53), ("TCP", 4222), ("TCP", 4223)]
    assert [allowed(dispatcher, f"10.0.0.{host}", port=4223) for host in (1, 2, 3)] == [True, False, True]


def test_only_the_operator_and_who_reads_metrics_may_call_the_pods() -> None:
    policy = made(a_dispatcher(), NETWORK_POLICIES)["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    (rule,) = policy["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": PORT}]
    assert all(each.keys() <= {"podSelector", "namespaceSelector"} and each for each in rule["from"])


# ---- holds -----------------------------------------------------------------------------------------------------------

values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz", max_size=1), inner, max_size=3),
    max_leaves=8,
)


def more(value: Any) -> Any:
    """The same with fields that the API server or others added."""
    if isinstance(value, dict):
        return {**{key: more(each) for key, each in value.items()}, "added": {"by": "others"}}
    return [more(each) for each in value] if isinstance(value, list) else value


@given(values)
def test_what_was_applied_holds_whatever_others_added(value: Any) -> None:
    assert holds(value, value)
    assert holds(more(value), value)


@dispatchers
def test_every_part_of_a_manifest_that_is_lost_or_changed_no_longer_holds(dispatcher: Dispatcher) -> None:
    for _, manifest in objects(dispatcher, image=IMAGE):
        for path in list(leaves(manifest)):
            assert not holds(changed(manifest, path), manifest), path
            assert not holds(changed(manifest, path, lost=True), manifest), path


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every text, number and flag."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if members is None:
        yield path
        return
    for key, member in members:
        yield from leaves(member, (*path, key))


def changed(value: Any, path: tuple[Any, ...], *, lost: bool = False) -> Any:
    """A copy in which one leaf is another one, or missing."""
    key, *rest = path
    copy = dict(value) if isinstance(value, dict) else list(value)
    if rest:
        copy[key] = changed(value[key], tuple(rest), lost=lost)
    elif lost:
        del copy[key]
    else:
        copy[key] = "something else"
    return copy


@pytest.mark.parametrize(("live", "wanted"), [(None, {}), ({}, []), ([], {}), ([1, 2], [1]), ({"a": None}, {"a": 1})])
def test_other_shapes_do_not_hold(live: Any, wanted: Any) -> None:
    assert not holds(live, wanted)


def test_senders_say_to_nats_whose_they_are() -> None:
    def arguments(uid: str, **spec: Any) -> list[str]:
        (found,) = [
            each
            for kind, each in objects(a_dispatcher(spec=spec), image=IMAGE, namespace_uid=uid)
            if kind is DEPLOYMENTS
        ]
        container: dict[str, Any] = found["spec"]["template"]["spec"]["containers"][0]
        return [each for each in container["args"] if "installation" in each or "take-over" in each]

    assert arguments("ns-1") == ["--installation=ns-1.default", "--installation-name=hookline-system/default"]
    assert arguments("ns-2")[0] != arguments("ns-1")[0]
    assert arguments("ns-1", nats={"takeOverFrom": "ns-9.default"})[2] == "--take-over-from=ns-9.default"


def test_stopped_senders_have_no_pod() -> None:
    (found,) = [each for kind, each in objects(a_dispatcher(), image=IMAGE, stopped=True) if kind is DEPLOYMENTS]
    assert found["spec"]["replicas"] == 0


TRACES = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.monitoring.svc:4318", "OTEL_TRACES_SAMPLER": "always_on"}


def test_senders_are_told_where_traces_go_and_may_go_there() -> None:
    found = dict(objects(a_dispatcher(), image=IMAGE, environment=TRACES))
    (container,) = found[DEPLOYMENTS]["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": name, "value": TRACES[name]} for name in sorted(TRACES)]
    assert found[NETWORK_POLICIES]["spec"]["egress"][-1] == {
        "ports": [{"protocol": "TCP", "port": 4318}],
        "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
    }
    assert "env" not in container_of(a_dispatcher())


@pytest.mark.parametrize("endpoint", ["", "collector", "http://", "http://a:99999", "http://a:b", "unix:///x"])
def test_an_endpoint_that_is_none_opens_nothing(endpoint: str) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    found = dict(objects(a_dispatcher(), image=IMAGE, environment=environment))
    assert found[NETWORK_POLICIES] == made(a_dispatcher(), NETWORK_POLICIES)
