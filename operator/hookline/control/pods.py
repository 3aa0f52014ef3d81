"""What the pods of senders, gateways and the log's API have in common, as manifests. Pure.

They hold to the `restricted` Pod Security Standard, can write nothing but what is mounted for it, are spread over zones
and nodes, and answer health and metrics at one port.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from hookline import __version__
from hookline.control.kinds import (
    COMPONENT_LABEL,
    DISPATCHER_LABEL,
    NAME_LABEL,
    Object,
    labels_of,
    labels_of_installation,
)
from hookline.resources.base import API_VERSION
from hookline.resources.dispatcher import Dispatcher, Nats, Resources

PORT = 8080
"""Of health, metrics and the report of a sender."""

USER_ID = 65532
"""The image's user."""

NOTHING: Mapping[str, str] = MappingProxyType({})

NATS_FOLDER = "/var/run/hookline/nats"
"""Where a container has what it shows to NATS."""


@dataclass(frozen=True, slots=True)
class Pods:
    """The pods of one component of a Dispatcher, or of an installation. All objects that make them have one name."""

    component: str
    metadata: Mapping[str, Any]
    """Of each object that makes them."""
    match_labels: Mapping[str, str]
    """By which they are found."""
    image: str
    pull_secrets: Sequence[str] = ()
    """Names of Secrets with credentials for the image's registry."""
    environment: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    """Of their container."""

    @property
    def name(self) -> str:
        return str(self.metadata["name"])

    def selector(self) -> dict[str, Any]:
        return {"matchLabels": dict(self.match_labels)}

    def disruption_budget(self) -> dict[str, Any]:
        """The spec of their PodDisruptionBudget."""
        # Not minAvailable: with one replica that would keep a node from ever being drained.
        return {"maxUnavailable": 1, "selector": self.selector()}

    def deployment(
        self,
        container: Object,
        volumes: Sequence[Object],
        *,
        replicas: int,
        account: str,
        with_token: bool,
        grace_seconds: int,
    ) -> dict[str, Any]:
        """The spec of their Deployment. `grace_seconds` lie between the decision to end a pod and SIGKILL."""
        pull_secrets = [{"name": each} for each in self.pull_secrets]
        pod = {
            "serviceAccountName": account,
            "automountServiceAccountToken": with_token,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": grace_seconds,
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
                    "labelSelector": self.selector(),
                }
                for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
            ],
            "containers": [container],
            "volumes": list(volumes),
        }
        return {
            "replicas": replicas,
            "selector": self.selector(),
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": {**self.metadata["labels"], "app.kubernetes.io/version": __version__}},
                "spec": pod,
            },
        }

    def container(
        self,
        arguments: Sequence[str],
        mounts: Sequence[Object],
        *,
        resources: Resources,
        last_look_seconds: int,
        ports: Mapping[str, int] | None = None,
    ) -> dict[str, Any]:
        """Their container. `ports` are those besides PORT.

        `last_look_seconds` pass between the decision to end a pod and its SIGTERM.
        """
        environment = [{"name": name, "value": self.environment[name]} for name in sorted(self.environment)]
        return {
            "name": self.component,
            "image": self.image,
            "args": list(arguments),
            **({"env": environment} if environment else {}),
            "ports": [
                {"name": name, "containerPort": port, "protocol": "TCP"}
                for name, port in {**(ports or {}), "http": PORT}.items()
            ],
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
            "lifecycle": {"preStop": {"sleep": {"seconds": last_look_seconds}}},
            "volumeMounts": list(mounts),
        }


def pods_of(
    dispatcher: Dispatcher, component: str, name: str, image: str, environment: Mapping[str, str] = NOTHING
) -> Pods:
    """Those of a component of a Dispatcher. `image` is for one that names none."""
    spec = dispatcher.spec
    return Pods(
        component,
        metadata_of(dispatcher, component, name),
        {COMPONENT_LABEL: component, DISPATCHER_LABEL: dispatcher.metadata.name},
        spec.image or image,
        [each.name for each in spec.image_pull_secrets],
        environment,
    )


def metadata_of(dispatcher: Dispatcher, component: str, name: str) -> dict[str, Any]:
    """Of an object that belongs to a component of a Dispatcher."""
    return {
        "namespace": dispatcher.metadata.namespace,
        "name": name,
        "labels": labels_of(dispatcher.metadata.name, component),
        "ownerReferences": [owner(dispatcher)],
    }


def metadata_of_installation(
    namespace: str, component: str, name: str, owners: Sequence[Dispatcher] = ()
) -> dict[str, Any]:
    """Of an object that belongs to an installation as a whole. With `owners` it goes with the last of them."""
    return {
        "namespace": namespace,
        "name": name,
        "labels": labels_of_installation(component),
        **({"ownerReferences": [owner(each) for each in owners]} if owners else {}),
    }


def owner(dispatcher: Dispatcher) -> dict[str, Any]:
    """Reference to the Dispatcher: what it owns is deleted with it."""
    metadata = dispatcher.metadata
    return {"apiVersion": API_VERSION, "kind": "Dispatcher", "name": metadata.name, "uid": metadata.uid}


def from_those_who_look() -> dict[str, Any]:
    """Of a NetworkPolicy: the operator, and whoever reads metrics, reach PORT."""
    return {
        "from": [
            {"podSelector": {"matchLabels": {NAME_LABEL: "hookline", COMPONENT_LABEL: "operator"}}},
            {"namespaceSelector": {"matchLabels": {"hookline.dev/metrics": "true"}}},
        ],
        "ports": [{"protocol": "TCP", "port": PORT}],
    }


def mount(name: str, path: str) -> dict[str, Any]:
    """A volume in a container, for reading."""
    return {"name": name, "mountPath": path, "readOnly": True}


def secret_volume(name: str, secret: str, *, optional: bool = False) -> dict[str, Any]:
    """The volume of a Secret. A pod does not start before it is there, unless it is `optional`."""
    return {
        "name": name,
        "secret": {"secretName": secret, "defaultMode": 0o440, **({"optional": True} if optional else {})},
    }


def login_arguments(nats: Nats) -> list[str]:
    """By which a container finds what it shows to NATS, if that asks for something."""
    login = nats.credentials_secret_ref
    return ["--nats-credentials", f"{NATS_FOLDER}/{login.key}"] if login is not None else []


def login_mounts(nats: Nats) -> list[dict[str, Any]]:
    return [mount("nats-credentials", NATS_FOLDER)] if nats.credentials_secret_ref is not None else []


def login_volumes(nats: Nats) -> list[dict[str, Any]]:
    login = nats.credentials_secret_ref
    return [secret_volume("nats-credentials", login.name)] if login is not None else []


def _probe(path: str, *, period_seconds: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
