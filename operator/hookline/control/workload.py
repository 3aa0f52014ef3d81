"""The sender pods of a Dispatcher: which objects make them, as manifests. Pure.

The pods have no token of the cluster, and get the route book as one volume. A change of the book never changes a pod;
a change of the Dispatcher's image, resources or NATS does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

from hookline.control.kinds import (
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    NETWORK_POLICIES,
    SENDER,
    SERVICE_ACCOUNTS,
    Kind,
    keys_name,
    root_name,
    routes_name,
    sender_name,
)
from hookline.control.pods import (
    NOTHING,
    PORT,
    Pods,
    from_those_who_look,
    login_arguments,
    login_mounts,
    login_volumes,
    mount,
    pods_of,
    secret_volume,
)
from hookline.resources.dispatcher import Dispatcher, DispatcherSpec, Egress
from hookline.resources.egress_policy import (
    Address,
    Block,
    anywhere,
    callable_blocks,
    literal_address,
    parse_cidrs,
    parse_proxy,
)
from hookline.resources.natsaddress import parse_nats
from hookline.routing.routes import BOOK_SHARDS
from hookline.runtime.telemetry import ENDPOINTS
from hookline.stream.owner import Installation

BOOK_FOLDER = "/var/run/hookline/book"
PROXY_FOLDER = "/var/run/hookline/proxy"

DRAIN_MARGIN_SECONDS = 15
"""After the last call has ended: storing what follows, closing. A sender ends in half of it also if NATS hangs."""

LAST_LOOK_SECONDS = 2
"""Between the decision to end a pod and its SIGTERM: metrics are read once more, the operator sees it going."""


def objects(
    dispatcher: Dispatcher,
    *,
    image: str,
    namespace_uid: str = "",
    stopped: bool = False,
    name_servers: Sequence[Address] = (),
    environment: Mapping[str, str] = NOTHING,
) -> list[tuple[Kind, dict[str, Any]]]:
    """Everything that makes the senders of a Dispatcher, in the order in which it is applied.

    `stopped`: without any pod, since they may not take from the queue. `name_servers`: those that pods of this cluster
    ask, if they are known. `environment`: of the pods; where it says that traces go, they may.
    """
    pods = pods_of(dispatcher, SENDER, sender_name(dispatcher.metadata.name), image, environment)
    grace_seconds = dispatcher.spec.max_timeout_seconds + DRAIN_MARGIN_SECONDS
    deployment = pods.deployment(
        _container(pods, dispatcher.spec, grace_seconds, installation(dispatcher, namespace_uid)),
        _volumes(dispatcher),
        replicas=0 if stopped else dispatcher.spec.replicas,
        account=pods.name,
        with_token=False,
        grace_seconds=grace_seconds + LAST_LOOK_SECONDS,
    )
    return [
        (SERVICE_ACCOUNTS, {"metadata": pods.metadata, "automountServiceAccountToken": False}),
        (NETWORK_POLICIES, {"metadata": pods.metadata, "spec": _network_policy(pods, dispatcher, name_servers)}),
        (DISRUPTION_BUDGETS, {"metadata": pods.metadata, "spec": pods.disruption_budget()}),
        (DEPLOYMENTS, {"metadata": pods.metadata, "spec": deployment}),
    ]


def installation(dispatcher: Dispatcher, namespace_uid: str) -> Installation:
    """Whose the streams are. A Dispatcher that is made anew under its name is the same."""
    metadata = dispatcher.metadata
    return Installation(
        f"{namespace_uid}.{metadata.name}" if namespace_uid else "",
        f"{metadata.namespace}/{metadata.name}",
        dispatcher.spec.nats.take_over_from or "",
    )


def _container(pods: Pods, spec: DispatcherSpec, grace_seconds: int, mine: Installation) -> dict[str, Any]:
    arguments = ["sender", "--book", BOOK_FOLDER, "--nats", spec.nats.url, "--listen", f":{PORT}"]
    arguments += ["--grace-seconds", str(grace_seconds - DRAIN_MARGIN_SECONDS // 2)]
    arguments += [f"--installation={mine.id}", f"--installation-name={mine.name}"]
    if mine.take_over_from:
        arguments.append(f"--take-over-from={mine.take_over_from}")
    mounts = [
        mount("book", BOOK_FOLDER),
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  # an emptyDir of the pod
        *login_mounts(spec.nats),
    ]
    arguments += login_arguments(spec.nats)
    proxy_login = spec.egress.proxy.credentials_secret_ref if spec.egress.proxy else None
    if proxy_login is not None:
        arguments += ["--proxy-credentials", f"{PROXY_FOLDER}/{proxy_login.key}"]
        mounts.append(mount("proxy-credentials", PROXY_FOLDER))
    return pods.container(arguments, mounts, resources=spec.resources, last_look_seconds=LAST_LOOK_SECONDS)


def _volumes(dispatcher: Dispatcher) -> list[dict[str, Any]]:
    volumes = [
        {"name": "book", "projected": {"defaultMode": 0o440, "sources": _sources(dispatcher.metadata.name)}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}},
        *login_volumes(dispatcher.spec.nats),
    ]
    proxy = dispatcher.spec.egress.proxy
    if proxy is not None and proxy.credentials_secret_ref is not None:
        volumes.append(secret_volume("proxy-credentials", proxy.credentials_secret_ref.name))
    return volumes


def _sources(name: str) -> list[dict[str, Any]]:
    """All shards that a book may ever have: a pod's volumes cannot change while it runs. Optional until they exist."""
    sources = [{"configMap": {"name": root_name(name), "optional": True}}]
    for shard in range(BOOK_SHARDS):
        sources.append({"configMap": {"name": routes_name(name, shard), "optional": True}})
        sources.append({"secret": {"name": keys_name(name, shard), "optional": True}})
    return sources


def _network_policy(pods: Pods, dispatcher: Dispatcher, name_servers: Sequence[Address]) -> dict[str, Any]:
    """The second wall: a sender itself checks every address before it calls it."""
    return {
        "podSelector": pods.selector(),
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [from_those_who_look()],
        "egress": [
            _to_name_servers(name_servers),
            *_to_nats(dispatcher),
            _to_receivers(dispatcher.spec.egress),
            *_to_collector(pods.environment),
        ],
    }


def _to_name_servers(addresses: Sequence[Address]) -> dict[str, Any]:
    """The pods behind the name service, in whatever namespace they are, and the addresses that pods are given.

    A name service of the node (NodeLocal DNSCache) or of a cloud is no pod, and may have any address.
    """
    ports = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    to = [{"namespaceSelector": {}}, *map(_peer, map(_single, addresses))]
    return {"ports": ports, **({"to": to} if addresses else {})}


def _to_nats(dispatcher: Dispatcher) -> list[dict[str, Any]]:
    hosts: dict[int, dict[str, None]] = {}
    for server in parse_nats(dispatcher.spec.nats.url).servers:
        hosts.setdefault(server.port, {})[server.host] = None
    return [
        {
            "ports": [{"protocol": "TCP", "port": port}],
            "to": _distinct(each for host in named for each in _peers_of(host, one_word=_THIS_NAMESPACE)),
        }
        for port, named in sorted(hosts.items())
    ]


def _to_receivers(egress: Egress) -> dict[str, Any]:
    """Receivers, or the forward proxy alone where there is one: then nothing else needs to be reached."""
    if egress.proxy is not None:
        proxy = parse_proxy(egress.proxy.url)
        return {"ports": [{"protocol": "TCP", "port": proxy.port}], "to": _peers_of(proxy.host)}
    return {"to": [_peer(block) for block in callable_blocks(parse_cidrs(egress.allow_cidrs))]}


def _to_collector(environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """Where traces go, if they do."""
    endpoint = urlsplit(next((environment[name] for name in ENDPOINTS if environment.get(name)), ""))
    try:
        port = endpoint.port or {"http": 80, "https": 443}.get(endpoint.scheme, 0)
    except ValueError:
        return []
    if not endpoint.hostname or not port:
        return []
    peers = _peers_of(endpoint.hostname, one_word=_THIS_NAMESPACE)
    return [{"ports": [{"protocol": "TCP", "port": port}], "to": peers}]


_THIS_NAMESPACE: tuple[dict[str, Any], ...] = ({"podSelector": {}},)


def _peers_of(host: str, *, one_word: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    """Where a host may be, which a policy cannot look up.

    `one_word` is where a name without a dot is, if that is known. NAME.NAMESPACE.svc is a Service of that namespace.
    Any other may be anywhere, in pods or outside of them, but never at an address that nothing opens.
    """
    address = literal_address(host)
    if address is not None:
        return [_peer(_single(address))]
    name = host.removesuffix(".").split(".")
    if len(name) == 1 and one_word:
        return list(one_word)
    if len(name) >= 3 and name[2] == "svc":
        return [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name[1]}}}]
    return [{"namespaceSelector": {}}, *map(_peer, anywhere())]


def _single(address: Address) -> Block:
    return Block(ip_network(address))


def _peer(block: Block) -> dict[str, Any]:
    without = {"except": list(map(str, block.without))} if block.without else {}
    return {"ipBlock": {"cidr": str(block.network), **without}}


def _distinct(peers: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for each in peers:
        if each not in found:
            found.append(each)
    return found
