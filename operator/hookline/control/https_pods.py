"""What the pods that serve HTTPS have in common, as manifests: gateways and the log's API. Pure."""

from __future__ import annotations

from typing import Any

from hookline.control.authority import CERTIFICATE, KEY
from hookline.control.kinds import DEPLOYMENTS, DISRUPTION_BUDGETS, NETWORK_POLICIES, SERVICES, Kind
from hookline.control.pods import PORT, Pods, from_those_who_look

HTTPS_PORT = 8443
"""Of the container. Clients write none: the Service has 443."""

TLS_FOLDER = "/var/run/hookline/tls"

LAST_LOOK_SECONDS = 5
"""Between the decision to end a pod and its SIGTERM: meanwhile all that ask hear that the Service has it no more."""

GRACE_SECONDS = 25
"""For requests under way, from SIGTERM. A watch is ended at once: who watches begins anew elsewhere."""

END_SECONDS = 10
"""From there to the end of the process: what a client still sends, and the connection to NATS."""

WHOLE_GRACE_SECONDS = LAST_LOOK_SECONDS + GRACE_SECONDS + END_SECONDS
"""Of a pod."""


def arguments() -> list[str]:
    """Where it listens, and what it shows."""
    return [
        *("--listen", f":{HTTPS_PORT}", "--health", f":{PORT}"),
        *("--tls-certificate", f"{TLS_FOLDER}/{CERTIFICATE}", "--tls-key", f"{TLS_FOLDER}/{KEY}"),
    ]


def _service(pods: Pods) -> dict[str, Any]:
    """Without a type: who makes it a LoadBalancer keeps that."""
    return {
        "selector": pods.match_labels,
        "ports": [{"name": "https", "port": 443, "targetPort": "https", "protocol": "TCP", "appProtocol": "https"}],
    }


def objects_of(pods: Pods, deployment: dict[str, Any]) -> list[tuple[Kind, dict[str, Any]]]:
    """Everything that makes these pods, in the order in which it is applied."""
    specs = (
        (NETWORK_POLICIES, _network_policy(pods)),
        (DISRUPTION_BUDGETS, pods.disruption_budget()),
        (SERVICES, _service(pods)),
        (DEPLOYMENTS, deployment),
    )
    return [(kind, {"metadata": pods.metadata, "spec": spec}) for kind, spec in specs]


def _network_policy(pods: Pods) -> dict[str, Any]:
    """Everybody reaches the HTTPS port: producers show a token, and who kube-apiserver is its certificate says. It may
    come from anywhere, such as from a node's own address.

    Egress is left open: it goes to NATS, to the API server and to the name service, and the address and port of the API
    server differ from cluster to cluster. Some networks do not even count it as an address that a rule could name.
    """
    return {
        "podSelector": pods.selector(),
        "policyTypes": ["Ingress"],
        "ingress": [{"ports": [{"protocol": "TCP", "port": HTTPS_PORT}]}, from_those_who_look()],
    }
