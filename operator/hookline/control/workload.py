"""The sender pods of a Dispatcher: which objects make them, as manifests. Pure.

The pods hold to the `restricted` Pod Security Standard, have no token of the cluster, and get the route book as one
volume. A change of the book never changes a pod; a change of the Dispatcher's image, resources or NATS does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from hookline import __version__
from hookline.control.kinds import (
    COMPONENT_LABEL,
    DEPLOYMENTS,
    DISPATCHER_LABEL,
    DISRUPTION_BUDGETS,
    NAME_LABEL,
    NETWORK_POLICIES,
    SERVICE_ACCOUNTS,
    Kind,
    keys_name,
    labels_of,
    root_name,
    routes_name,
    sender_name,
)
from hookline.resources.base import API_VERSION
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
from hookline.stream.owner import Installation

Object = Mapping[str, Any]

PORT = 8080
"""Of health, metrics and the report."""

BOOK_FOLDER = "/var/run/hookline/book"
CREDENTIALS_FOLDER = "/var/run/hookline/nats"
PROXY_FOLDER = "/var/run/hookline/proxy"

USER_ID = 65532
"""The image's user."""

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
) -> list[tuple[Kind, dict[str, Any]]]:
    """Everything that makes the senders of a Dispatcher, in the order in which it is applied.

    `stopped`: without any pod, since they may not take from the queue. `name_servers`: those that pods of this cluster
    ask, if they are known.
    """
    deployment = _deployment(dispatcher, image, namespace_uid)
    if stopped:
        deployment["replicas"] = 0
    return [
        (SERVICE_ACCOUNTS, {"metadata": _metadata(dispatcher), "automountServiceAccountToken": False}),
        (NETWORK_POLICIES, {"metadata": _metadata(dispatcher), "spec": _network_policy(dispatcher, name_servers)}),
        (DISRUPTION_BUDGETS, {"metadata": _metadata(dispatcher), "spec": _disruption_budget(dispatcher)}),
        (DEPLOYMENTS, {"metadata": _metadata(dispatcher), "spec": deployment}),
    ]


def owner(dispatcher: Dispatcher) -> dict[str, Any]:
    """Reference to the Dispatcher: what it owns is deleted with it."""
    metadata = dispatcher.metadata
    return {"apiVersion": API_VERSION, "kind": "Dispatcher", "name": metadata.name, "uid": metadata.uid}


def _metadata(dispatcher: Dispatcher) -> dict[str, Any]:
    name = dispatcher.metadata.name
    return {
        "namespace": dispatcher.metadata.namespace,
        "name": sender_name(name),
        "labels": labels_of(name, "sender"),
        "ownerReferences": [owner(dispatcher)],
    }


def _selector(dispatcher: Dispatcher) -> dict[str, Any]:
    return {"matchLabels": {COMPONENT_LABEL: "sender", DISPATCHER_LABEL: dispatcher.metadata.name}}


def _disruption_budget(dispatcher: Dispatcher) -> dict[str, Any]:
    # Not minAvailable: with one replica that would keep a node from ever being drained.
    return {"maxUnavailable": 1, "selector": _selector(dispatcher)}


def installation(dispatcher: Dispatcher, namespace_uid: str) -> Installation:
    """Whose the streams are. A Dispatcher that is made anew under its name is the same."""
    metadata = dispatcher.metadata
    return Installation(
        f"{namespace_uid}.{metadata.name}" if namespace_uid else "",
        f"{metadata.namespace}/{metadata.name}",
        dispatcher.spec.nats.take_over_from or "",
    )


def _deployment(dispatcher: Dispatcher, image: str, namespace_uid: str) -> dict[str, Any]:
    return {
        "replicas": dispatcher.spec.replicas,
        "selector": _selector(dispatcher),
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {
            "metadata": {
                "labels": {**labels_of(dispatcher.metadata.name, "sender"), "app.kubernetes.io/version": __version__}
            },
            "spec": _pod(dispatcher, image, namespace_uid),
        },
    }


def _pod(dispatcher: Dispatcher, image: str, namespace_uid: str) -> dict[str, Any]:
    spec = dispatcher.spec
    grace_seconds = spec.max_timeout_seconds + DRAIN_MARGIN_SECONDS
    pull_secrets = [{"name": each.name} for each in spec.image_pull_secrets]
    return {
        "serviceAccountName": sender_name(dispatcher.metadata.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_seconds + LAST_LOOK_SECONDS,
        **({"imagePullSecrets": pull_secrets} if pull_secrets else {}),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": _selector(dispatcher),
            }
            for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ],
        "containers": [_container(spec, spec.image or image, grace_seconds, installation(dispatcher, namespace_uid))],
        "volumes": _volumes(dispatcher),
    }


def _container(spec: DispatcherSpec, image: str, grace_seconds: int, mine: Installation) -> dict[str, Any]:
    credentials = spec.nats.credentials_secret_ref
    arguments = ["sender", "--book", BOOK_FOLDER, "--nats", spec.nats.url, "--listen", f":{PORT}"]
    arguments += ["--grace-seconds", str(grace_seconds - DRAIN_MARGIN_SECONDS // 2)]
    arguments += [f"--installation={mine.id}", f"--installation-name={mine.name}"]
    if mine.take_over_from:
        arguments.append(f"--take-over-from={mine.take_over_from}")
    mounts = [
        {"name": "book", "mountPath": BOOK_FOLDER, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  # an emptyDir of the pod
    ]
    if credentials is not None:
        arguments += ["--nats-credentials", f"{CREDENTIALS_FOLDER}/{credentials.key}"]
        mounts.append({"name": "nats-credentials", "mountPath": CREDENTIALS_FOLDER, "readOnly": True})
    proxy_login = spec.egress.proxy.credentials_secret_ref if spec.egress.proxy else None
    if proxy_login is not None:
        arguments += ["--proxy-credentials", f"{PROXY_FOLDER}/{proxy_login.key}"]
        mounts.append({"name": "proxy-credentials", "mountPath": PROXY_FOLDER, "readOnly": True})
    resources = spec.resources
    return {
        "name": "sender",
        "image": image,
        "args": arguments,
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "resources": {
            **({"requests": dict(resources.requests)} if resources.requests else {}),
            **({"limits": dict(resources.limits)} if resources.limits else {}),
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "livenessProbe": _probe("/livez", period_seconds=10, failures=6),
        "readinessProbe": _probe("/readyz", period_seconds=5, failures=2),
        "startupProbe": _probe("/livez", period_seconds=2, failures=30),
        "lifecycle": {"preStop": {"sleep": {"seconds": LAST_LOOK_SECONDS}}},
        "volumeMounts": mounts,
    }


def _probe(path: str, *, period_seconds: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _volumes(dispatcher: Dispatcher) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [
        {"name": "book", "projected": {"defaultMode": 0o440, "sources": _sources(dispatcher.metadata.name)}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}},
    ]
    proxy = dispatcher.spec.egress.proxy
    for name, ref in (
        ("nats-credentials", dispatcher.spec.nats.credentials_secret_ref),
        ("proxy-credentials", proxy.credentials_secret_ref if proxy else None),
    ):
        if ref is not None:
            volumes.append({"name": name, "secret": {"secretName": ref.name, "defaultMode": 0o440}})
    return volumes


def _sources(name: str) -> list[dict[str, Any]]:
    """All shards that a book may ever have: a pod's volumes cannot change while it runs. Optional until they exist."""
    sources = [{"configMap": {"name": root_name(name), "optional": True}}]
    for shard in range(BOOK_SHARDS):
        sources.append({"configMap": {"name": routes_name(name, shard), "optional": True}})
        sources.append({"secret": {"name": keys_name(name, shard), "optional": True}})
    return sources


def _network_policy(dispatcher: Dispatcher, name_servers: Sequence[Address]) -> dict[str, Any]:
    """The second wall: a sender itself checks every address before it calls it."""
    return {
        "podSelector": _selector(dispatcher),
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {
                "from": [
                    {"podSelector": {"matchLabels": {NAME_LABEL: "hookline", COMPONENT_LABEL: "operator"}}},
                    {"namespaceSelector": {"matchLabels": {"hookline.dev/metrics": "true"}}},
                ],
                "ports": [{"protocol": "TCP", "port": PORT}],
            }
        ],
        "egress": [_to_name_servers(name_servers), *_to_nats(dispatcher), _to_receivers(dispatcher.spec.egress)],
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


def holds(live: Any, wanted: Any) -> bool:
    """Whether everything that is wanted is so, whatever else the API server or others have added."""
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(holds(live.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        return isinstance(live, Sequence) and len(live) == len(wanted) and all(map(holds, live, wanted))
    return bool(live == wanted)
