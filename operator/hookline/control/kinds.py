"""The kinds of objects that the operator reads or writes, and the names and labels of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from hookline.resources.base import ALLOW_LABEL, CA_LABEL, GROUP, PUBLISHER_LABEL, VERSION

Object = Mapping[str, Any]
"""An object, or a part of one, as the API server writes it."""
Place = tuple[str, str]
"""Namespace (empty for what has none) and name."""

M = TypeVar("M", bound=Object)

FIELD_MANAGER = "hookline"
"""Owner of the fields that the operator applies (server-side apply)."""

NAME_LABEL = "app.kubernetes.io/name"
COMPONENT_LABEL = "app.kubernetes.io/component"
SENDER = "sender"
GATEWAY = "gateway"
"""Values of that label on the pods of a Dispatcher, and on what belongs to them."""
API = "api"
"""On the pods of the log's API, which an installation has once, and on what belongs to them."""
MANAGED_LABEL = "app.kubernetes.io/managed-by"
PART_LABEL = "app.kubernetes.io/part-of"
DISPATCHER_LABEL = f"{GROUP}/dispatcher"
"""On everything that belongs to one Dispatcher; its value is the Dispatcher's name."""
BOOK_LABEL = f"{GROUP}/book"
"""On the ConfigMaps and Secrets of a route book; its value is the Dispatcher's name."""
TOUCHED_ANNOTATION = f"{GROUP}/book"
"""On pods: changed so that kubelets refresh at once, and not within a minute, what they mount."""

ALLOWED = f"{ALLOW_LABEL}=true"
"""Selector of the Secrets of teams that Webhooks may use."""
PUBLISHING = f"{PUBLISHER_LABEL}=true"
"""Selector of the Secrets of teams that give a token to publish with. The operator asks for no others of theirs."""
OURS = f"{MANAGED_LABEL}=hookline-operator"
"""Selector of what the operator itself makes."""
ASKS_FOR_CA = f"{CA_LABEL}=true"
"""Selector of the ConfigMaps of teams that ask for the CA."""

GATEWAY_ACCOUNT = "hookline-gateway"
"""ServiceAccount of all gateways. The manifests bring it: the operator has no right to give rights."""
API_NAME = "hookline-api"
"""ServiceAccount of the log's API, which the manifests bring too, and the name of all that makes its pods."""
API_CERTIFICATE_NAME = "hookline-api-tls"
"""Of the Secret with what it shows."""
API_QUEUES_NAME = "hookline-api-queues"
"""Of the ConfigMap that says which queues it reads."""
API_SERVICE_NAME = "v1alpha1.log.hookline.dev"
"""Of the APIService by which kube-apiserver knows it. The manifests bring it; the operator keeps its `caBundle`."""
CA_NAME = "hookline-ca"
"""Of the Secret with the CA of an installation, and of the ConfigMaps with its public part."""
CA_CERTIFICATE = "ca.crt"
"""Key in both."""
NATS_SENDER_NAME = "hookline-nats-sender"
NATS_GATEWAY_NAME = "hookline-nats-gateway"
NATS_API_NAME = "hookline-nats-api"
"""Of the Secrets with what senders, gateways and the log's API show to the NATS of the installation."""
NATS_OPERATOR_NAME = "hookline-nats-operator"
"""Of the Secret with what the operator shows to it."""
NATS_USERS_NAME = "hookline-nats-users"
"""Of the Secret with the users of that NATS, as its servers read them."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object, and where the API server has it."""

    name: str
    plural: str
    api_version: str
    namespaced: bool = True
    part: str = ""
    """Which of its objects, where some are read by a list and a watch of their own."""

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Path of a list, of one object, or of a part of it."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        inside = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        parts = [self.plural, *(part for part in (name, subresource) if part)]
        return f"{root}{inside}/{'/'.join(parts)}"


WEBHOOKS = Kind("Webhook", "webhooks", f"{GROUP}/{VERSION}")
EVENT_TYPES = Kind("EventType", "eventtypes", f"{GROUP}/{VERSION}", namespaced=False)
DISPATCHERS = Kind("Dispatcher", "dispatchers", f"{GROUP}/{VERSION}")
SECRETS = Kind("Secret", "secrets", "v1")
PUBLISHERS = Kind("Secret", "secrets", "v1", part="publishers")
CONFIG_MAPS = Kind("ConfigMap", "configmaps", "v1")
NAMESPACES = Kind("Namespace", "namespaces", "v1", namespaced=False)
PODS = Kind("Pod", "pods", "v1")
SERVICES = Kind("Service", "services", "v1")
SERVICE_ACCOUNTS = Kind("ServiceAccount", "serviceaccounts", "v1")
DEPLOYMENTS = Kind("Deployment", "deployments", "apps/v1")
DISRUPTION_BUDGETS = Kind("PodDisruptionBudget", "poddisruptionbudgets", "policy/v1")
NETWORK_POLICIES = Kind("NetworkPolicy", "networkpolicies", "networking.k8s.io/v1")
API_SERVICES = Kind("APIService", "apiservices", "apiregistration.k8s.io/v1", namespaced=False)
LEASES = Kind("Lease", "leases", "coordination.k8s.io/v1")
EVENTS = Kind("Event", "events", "events.k8s.io/v1")


def whole(manifest: M) -> M:
    """An object of which all is kept."""
    return manifest


def mapping_of(value: Any) -> Mapping[str, Any]:
    """A part of an object that anybody may have written; empty where it is no mapping."""
    return value if isinstance(value, Mapping) else {}


def sender_name(dispatcher: str) -> str:
    """Of the Deployment of a Dispatcher, and of what belongs to it."""
    return f"hookline-sender-{dispatcher}"


def gateway_name(dispatcher: str) -> str:
    """Of the Deployment and the Service of a Dispatcher's gateway, and of what belongs to them.

    Producers write it into URLs: that of the Dispatcher `default` is the shortest.
    """
    return "hookline-gateway" if dispatcher == "default" else f"hookline-gateway-{dispatcher}"


def gateway_certificate_name(dispatcher: str) -> str:
    """Of the Secret of type kubernetes.io/tls with what a gateway shows, where the operator makes it."""
    return f"hookline-gateway-tls-{dispatcher}"


def publishers_name(dispatcher: str) -> str:
    """Of the Secret with the digests of the tokens that a gateway takes."""
    return f"hookline-publishers-{dispatcher}"


def root_name(dispatcher: str) -> str:
    """Of the ConfigMap with the root of a route book."""
    return f"hookline-book-{dispatcher}"


def routes_name(dispatcher: str, shard: int) -> str:
    """Of the ConfigMap with the routes of a shard."""
    return f"hookline-routes-{dispatcher}-{shard:02}"


def keys_name(dispatcher: str, shard: int) -> str:
    """Of the Secret with the keys and the index of a shard."""
    return f"hookline-keys-{dispatcher}-{shard:02}"


_BOOK_NAME = re.compile(r"hookline-(?:book-(?P<root>.+)|(?:routes|keys)-(?P<book>.+)-(?P<shard>[0-9]{2}))")


def book_part(name: str) -> tuple[str, int | None] | None:
    """The Dispatcher whose book an object of that name holds a part of, and the shard, None for the root.

    Known by its name, which nobody can change: labels can be set and taken away by others.
    """
    found = _BOOK_NAME.fullmatch(name)
    if found is None:
        return None
    return (found["root"], None) if found["root"] else (found["book"], int(found["shard"]))


NATS_NAMES = frozenset({NATS_SENDER_NAME, NATS_GATEWAY_NAME, NATS_API_NAME, NATS_OPERATOR_NAME, NATS_USERS_NAME})
_NAMES = {CA_NAME, API_CERTIFICATE_NAME, API_QUEUES_NAME, *NATS_NAMES}
_NAME_OF_DISPATCHER = re.compile(r"hookline-(?:gateway-tls|publishers)-.+")


def is_own_name(name: str) -> bool:
    """Whether a ConfigMap or Secret of the operator's namespace is one that it makes, whatever it is labelled."""
    return book_part(name) is not None or name in _NAMES or _NAME_OF_DISPATCHER.fullmatch(name) is not None


def is_of_authority(name: str) -> bool:
    """Whether a Secret of that name in the operator's namespace holds the CA, or a certificate of it."""
    return name in (CA_NAME, API_CERTIFICATE_NAME) or name.startswith(gateway_certificate_name(""))


def labels_of_installation(component: str) -> dict[str, str]:
    """Labels of an object that belongs to an installation as a whole."""
    return {
        NAME_LABEL: "hookline",
        COMPONENT_LABEL: component,
        PART_LABEL: "hookline",
        MANAGED_LABEL: "hookline-operator",
    }


def labels_of(dispatcher: str, component: str) -> dict[str, str]:
    """Labels of an object that belongs to a Dispatcher."""
    return {**labels_of_installation(component), DISPATCHER_LABEL: dispatcher}
