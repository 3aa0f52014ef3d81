"""The Dispatcher: a fleet of sender pods, its policy and its NATS.

Decides which fields there are, their bounds and defaults. Never creates anything; the operator makes pods of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv6Network, ip_network
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from hookline.resources import natsaddress
from hookline.resources.base import (
    Count,
    Flag,
    Model,
    ObjectName,
    Resource,
    ScheduleSeconds,
    SecretKeyRef,
    SecretRef,
    Status,
)
from hookline.resources.egress_policy import (
    DEFAULT_PORTS,
    PORTS_PATTERN,
    PROXY_PATTERN,
    Network,
    Opening,
    parse_cidrs,
    parse_ports,
    special_networks,
)
from hookline.resources.problems import Problem, Refused
from hookline.resources.rules import Checked, Distinct, TextRule, cel

DEFAULT_SCHEDULE_SECONDS: tuple[int, ...] = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
"""Standard Webhooks 1.0.0, "deliverability": after the first attempt nine more, over 75 h 35 m 5 s."""

_NEVER_OPEN_NETWORKS = special_networks(Opening.NEVER, Opening.ON_ONE_MACHINE)
_NEVER_OPEN = tuple(map(str, _NEVER_OPEN_NETWORKS))
"""Unspecified, loopback, link-local (with the metadata services of clouds) and multicast."""

_NEVER_OPEN_ALONE = tuple(map(str, special_networks(Opening.NEVER_ITSELF)))
"""The rest of what is never called. A network may lie around them, because egress_policy takes them out of it."""

_NOT_A_CIDR = "must be a network in CIDR form with no bits set beyond its prefix; write 10.1.2.0/24 or fd12:3456::/48"
_NEVER_CALLED = (
    "must not touch loopback, link-local, metadata, multicast or unspecified addresses, which are never called; "
    "write only the private networks that receivers are in, such as 10.1.2.0/24"
)
_NOT_PORTS = 'must be a port or a range of ports from 1 to 65535 in quotes; write "443" or "8000-9000"'
_NEEDS_SELECTOR = "is required when from is Selector; write selector: {matchLabels: {…}}"
_NO_SELECTOR = "must not be set unless from is Selector; leave it out or write from: Selector"
_TIMEOUT_ORDER = "must not be larger than maxTimeoutSeconds; write a smaller number, or a larger maxTimeoutSeconds"


def allow_cidr_problem(text: str) -> str | None:
    """What is wrong with one entry of egress.allowCidrs and what to write instead, or None."""
    network = _network(text)
    if network is None:
        return _NOT_A_CIDR
    if any(network.version == never.version and network.overlaps(never) for never in _NEVER_OPEN_NETWORKS):
        return _NEVER_CALLED
    try:
        parse_cidrs([text])
    except ValueError:
        return _NEVER_CALLED
    return None


def _network(text: str) -> Network | None:
    """The network of a CIDR as the API server reads one: no netmask, no zone, no IPv4 network written as IPv6."""
    if re.fullmatch(r"[0-9A-Fa-f.:]+/(0|[1-9][0-9]*)", text) is None:
        return None
    try:
        network = ip_network(text)
    except ValueError:
        return None
    mapped = isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None
    return None if mapped else network


def _never_called_cel() -> str:
    touched = [
        f"cidr('{never}').containsIP(cidr(self).ip()) || cidr(self).containsIP(cidr('{never}').ip())"
        for never in _NEVER_OPEN
    ]
    touched += [f"cidr('{never}').containsCIDR(cidr(self))" for never in _NEVER_OPEN_ALONE]
    return f"!isCIDR(self) || !({' || '.join(touched)})"


AllowCidr = Annotated[
    str,
    Field(min_length=1, max_length=64, description="One network, such as 10.1.2.0/24."),
    Checked(
        allow_cidr_problem,
        (
            cel("isCIDR(self) && cidr(self) == cidr(self).masked()", _NOT_A_CIDR),
            cel(_never_called_cel(), _NEVER_CALLED),
        ),
    ),
]
"""A network that may be called although it is private."""


def allow_port_problem(text: str) -> str | None:
    """What is wrong with one entry of egress.allowPorts and what to write instead, or None."""
    try:
        parse_ports([text])
    except ValueError:
        return _NOT_PORTS
    return None


def _ports_cel() -> str:
    ends = "self.split('-')"
    return f"self.matches('^{PORTS_PATTERN}$') && int({ends}[0]) <= int({ends}[size({ends}) - 1])"


AllowPort = Annotated[
    str,
    Field(min_length=1, max_length=11, description='One port or range, such as "443" or "8000-9000".'),
    Checked(allow_port_problem, (cel(_ports_cel(), _NOT_PORTS),)),
]
"""A port that may be called, or a range of them."""

ProxyUrl = Annotated[
    str,
    Field(min_length=1, max_length=300, examples=["http://proxy.example.com:3128"]),
    TextRule(
        "must be the address of an HTTP proxy with its port, without user and password; write "
        "http://proxy.example.com:3128 and put credentials into credentialsSecretRef",
        PROXY_PATTERN,
        confidential=True,
    ),
]

NatsUrl = Annotated[
    str,
    Field(min_length=1, max_length=natsaddress.MAX_LENGTH, examples=["nats://nats:4222"]),
    TextRule(
        "must be the address of a NATS server, or several with commas between them, all with nats:// or all with "
        "tls://, with ports from 1 to 65535, without user and password; write nats://nats:4222 and put credentials "
        "into credentialsSecretRef",
        natsaddress.PATTERN,
        confidential=True,
    ),
]
Image = Annotated[
    str,
    Field(min_length=1, max_length=512),
    TextRule("must be an image reference without blanks; write registry.example.com/hookline:1.0", r"[!-~]+"),
]
Quantity = Annotated[
    str,
    Field(min_length=1, max_length=32),
    TextRule(
        "must be a quantity of Kubernetes in quotes; write 100m or 256Mi", r"[0-9]+(\.[0-9]+)?([KMGTPE]i|[kMGTPEm])?"
    ),
]
ResourceName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    TextRule("must be the name of a resource; write cpu or memory", r"[a-z0-9]([-a-z0-9./]*[a-z0-9])?"),
]
LabelText = Annotated[
    str,
    Field(max_length=63),
    TextRule(
        "must be the value of a label; write letters, digits, -, _ and .",
        r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?",
    ),
]
LabelName = Annotated[
    str,
    Field(min_length=1, max_length=317),
    TextRule(
        "must be the name of a label; write team or example.com/team",
        r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?",
    ),
]
Seconds = Annotated[Count, Field(ge=60, le=31_536_000)]


class ImagePullSecret(Model):
    """A Secret with credentials for a registry."""

    name: ObjectName = Field(description="Name of the Secret in the Dispatcher's namespace.", examples=["registry"])


class Resources(Model):
    """Requests and limits of each container."""

    requests: dict[ResourceName, Quantity] = Field(default={}, max_length=8, description="What it needs at least.")
    limits: dict[ResourceName, Quantity] = Field(default={}, max_length=8, description="What it may use at most.")


# A default of the whole and not of the parts: a request beside somebody's smaller limit would make the pods invalid.
_RESOURCES = Resources(requests={"cpu": "100m", "memory": "128Mi"}, limits={"memory": "512Mi"})


MAX_NAME_LENGTH = 40
"""Of a Dispatcher: names of its pods begin with it and must fit into a label (63 characters)."""

_NAME_TOO_LONG = f"must be at most {MAX_NAME_LENGTH} characters long and hold no full stop; write a shorter name"


STREAM_PREFIX = r"(?:[A-Za-z][A-Za-z0-9_-]{0,30})?"
"""What the names of the streams may begin with: a part of a subject of NATS, and of a folder's name."""

StreamPrefix = Annotated[str, Field(max_length=31, pattern=f"^{STREAM_PREFIX}$")]


class Nats(Model):
    """The queue."""

    url: NatsUrl = Field(
        default="nats://nats:4222",
        description="Address of NATS, with JetStream; of a cluster, several with commas between them.",
    )
    credentials_secret_ref: SecretKeyRef | None = Field(
        default=None, description="Secret in the Dispatcher's namespace that holds a NATS credentials file."
    )
    stream_replicas: Annotated[Count, Field(ge=1, le=5)] = Field(
        default=1, description="Copies of each stream, on as many NATS servers. 3 for a cluster of three."
    )
    take_over_from: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None,
        description="Id or name of another installation that owns the streams of this NATS, as the condition "
        "QueueReady names it: this Dispatcher becomes the owner in its place. Has no effect once it is the owner.",
        examples=["hookline-system/default"],
    )
    stream_prefix: StreamPrefix | None = Field(
        default=None,
        description="What the names of the streams begin with, as in HOOKLINE_EVENTS. Streams with another prefix are "
        "moved, while events come and go. Without this they stay as they are, and new ones begin with HOOKLINE_. An "
        "empty text means EVENTS, DELIVERIES, PARKED and DEAD, which versions need that know no prefix.",
        examples=["HOOKLINE_"],
    )


class NamespaceSelector(Model):
    """Labels of namespaces."""

    match_labels: dict[LabelName, LabelText] = Field(
        max_length=16, description="Labels that a namespace must have, all of them.", examples=["{team: a}"]
    )


class ServedNamespaces(Model):
    """Whose Webhooks this Dispatcher sends."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "self.from != 'Selector' || has(self.selector)",
                    f"`selector` {_NEEDS_SELECTOR}",
                    ".selector",
                    "FieldValueRequired",
                ),
                cel(
                    "self.from == 'Selector' || !has(self.selector)",
                    f"`selector` {_NO_SELECTOR}",
                    ".selector",
                    "FieldValueForbidden",
                ),
            ]
        }
    )

    from_: Literal["All", "Same", "Selector"] = Field(
        alias="from",
        default="All",
        description="All namespaces, the Same as the Dispatcher's, or those that the Selector names.",
    )
    selector: NamespaceSelector | None = Field(default=None, description="Which namespaces, when from is Selector.")

    @model_validator(mode="after")
    def _selector_fits(self) -> Self:
        if self.from_ == "Selector" and self.selector is None:
            raise Refused(Problem(("selector",), _NEEDS_SELECTOR))
        if self.from_ != "Selector" and self.selector is not None:
            raise Refused(Problem(("selector",), _NO_SELECTOR))
        return self


class ForwardProxy(Model):
    """A forward proxy through which all calls go. The sender still looks up names and checks addresses itself."""

    url: ProxyUrl = Field(description="Address of the proxy, which takes CONNECT.")
    credentials_secret_ref: SecretKeyRef | None = Field(
        default=None,
        description="Secret in the Dispatcher's namespace that holds user:password for the proxy, for Basic "
        "authentication.",
    )


class Egress(Model):
    """What may be called, and how."""

    allow_cidrs: Annotated[tuple[AllowCidr, ...], Distinct()] = Field(
        default=(),
        max_length=64,
        description="Private networks that may be called. Public addresses always may; loopback, link-local and "
        "metadata addresses never.",
    )
    allow_ports: Annotated[tuple[AllowPort, ...], Distinct()] = Field(
        default=DEFAULT_PORTS,
        min_length=1,
        max_length=32,
        description="Ports that may be called, singly or as ranges. A list replaces the default.",
        examples=['["443", "8000-9000"]'],
    )
    proxy: ForwardProxy | None = Field(default=None, description="A forward proxy for clusters that have one.")


class DefaultRetry(Model):
    """When a failed call is tried again, for Webhooks that do not say it themselves."""

    schedule_seconds: ScheduleSeconds = Field(
        default=DEFAULT_SCHEDULE_SECONDS,
        description="Seconds to wait before each further attempt (Standard Webhooks' schedule). Empty: one attempt.",
    )


class Retention(Model):
    """How long the queue keeps what nobody takes, in seconds."""

    events_seconds: Seconds = Field(default=604_800, description="Published events, for replay. 7 days.")
    parked_seconds: Seconds = Field(
        default=604_800, description="Deliveries of Webhooks that cannot be called. 7 days."
    )
    dead_seconds: Seconds = Field(default=2_592_000, description="Dead letters. 30 days.")


class Attempts(Model):
    """The attempts log: what became of each call, for people. Deliveries never wait for it."""

    enabled: Flag = Field(default=True, description="False: nothing more is written. What was written stays its time.")
    max_age_seconds: Seconds = Field(default=604_800, description="How long an attempt is kept. 7 days.")
    max_bytes: Annotated[Count, Field(ge=67_108_864, le=1_099_511_627_776)] = Field(
        default=1_073_741_824,
        description="How much of NATS's disk it takes at most, of each copy. Beyond it the oldest goes, and of one "
        "Webhook before it has half of all. 1 GiB.",
    )


class GatewayTls(Model):
    """What the gateway shows to producers."""

    secret_ref: SecretRef | None = Field(
        default=None,
        description="Secret of type kubernetes.io/tls in the Dispatcher's namespace, such as cert-manager writes; "
        "without it the operator makes a certificate.",
    )


class GatewayLimits(Model):
    """How much one namespace may use of each gateway pod, so that it takes nothing from others."""

    requests_at_once: Annotated[Count, Field(ge=1, le=2048)] = Field(
        default=256, description="Requests under way. A pod has room for 2,048 of all namespaces together."
    )
    # A request of 4 MiB takes twice that while it is expanded: with less it would be refused for ever.
    bytes_at_once: Annotated[Count, Field(ge=8 * 1024 * 1024, le=64 * 1024 * 1024)] = Field(
        default=16 * 1024 * 1024,
        description="Bodies in memory, in bytes. A pod has room for 64 MiB of all namespaces together.",
    )
    events_per_second: Annotated[Count, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="Events in a second. Without it there is no limit.", examples=[200]
    )
    bytes_per_second: Annotated[Count, Field(ge=1024, le=1_073_741_824)] | None = Field(
        default=None, description="Bodies in a second, in bytes. Without it there is no limit.", examples=[1_048_576]
    )


class Gateway(Model):
    """The gateway, through which producers publish by HTTPS."""

    enabled: Flag = Field(
        default=True, description="False ends the gateway: nobody can publish by HTTPS. What is stored is delivered."
    )
    replicas: Annotated[Count, Field(ge=1, le=100)] = Field(default=2, description="Gateway pods.")
    resources: Resources = Field(default=_RESOURCES, description="Requests and limits of each gateway container.")
    tls: GatewayTls = Field(default=GatewayTls(), description="What the gateway shows to producers.")
    limits: GatewayLimits = Field(
        default=GatewayLimits(), description="How much one namespace may use of each gateway pod; beyond it, 429."
    )


class DispatcherSpec(Model):
    """The fleet and its policy."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "self.defaultTimeoutSeconds <= self.maxTimeoutSeconds",
                    f"`defaultTimeoutSeconds` {_TIMEOUT_ORDER}",
                    ".defaultTimeoutSeconds",
                )
            ]
        }
    )

    replicas: Annotated[Count, Field(ge=1, le=100)] = Field(default=2, description="Sender pods.")
    image: Image | None = Field(
        default=None, description="Image of the senders and of the gateway; without it the operator's own."
    )
    image_pull_secrets: Annotated[tuple[ImagePullSecret, ...], Distinct("name")] = Field(
        default=(), max_length=8, description="Secrets with credentials for the image's registry."
    )
    resources: Resources = Field(default=_RESOURCES, description="Requests and limits of each sender container.")
    gateway: Gateway = Field(default=Gateway(), description="The gateway, through which producers publish by HTTPS.")
    nats: Nats = Field(default=Nats(), description="The queue.")
    served_namespaces: ServedNamespaces = Field(
        default=ServedNamespaces(), description="Whose Webhooks this Dispatcher sends."
    )
    egress: Egress = Field(default=Egress(), description="What may be called, and how.")
    default_timeout_seconds: Annotated[Count, Field(ge=1, le=30)] = Field(
        default=15, description="Longest time of one call, in seconds, for Webhooks that do not say it themselves."
    )
    max_timeout_seconds: Annotated[Count, Field(ge=1, le=30)] = Field(
        default=30, description="Largest timeoutSeconds that a Webhook may ask for."
    )
    retry: DefaultRetry = Field(default=DefaultRetry(), description="Retry schedule of Webhooks without one.")
    retention: Retention = Field(default=Retention(), description="How long the queue keeps what nobody takes.")
    attempts: Attempts = Field(default=Attempts(), description="The attempts log: what became of each call.")

    @model_validator(mode="after")
    def _timeouts_in_order(self) -> Self:
        if self.default_timeout_seconds > self.max_timeout_seconds:
            raise Refused(Problem(("defaultTimeoutSeconds",), _TIMEOUT_ORDER))
        return self


class ShardCount(Model):
    """How many routes one shard of the route book holds."""

    model_config = ConfigDict(extra="ignore")

    shard: str = Field(max_length=2, description="Number of the shard.", examples=["07"])
    routes: Count = Field(ge=0, description="Routes in it.", examples=[12])


class DispatcherStatus(Status):
    """What Hookline found, and what the senders are told."""

    routes: Count = Field(default=0, ge=0, description="Webhooks in the route book.")
    shards: tuple[ShardCount, ...] = Field(
        default=(),
        max_length=64,
        description="Routes by shard of the book; follows changes within some seconds.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["shard"]},
    )


class Dispatcher(Resource):
    """A Dispatcher is a fleet of senders with its policy and its queue; administrators own it."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    f"self.metadata.name.size() <= {MAX_NAME_LENGTH} && !self.metadata.name.contains('.')",
                    f"`metadata.name` {_NAME_TOO_LONG}",
                    ".metadata.name",
                )
            ]
        }
    )

    kind: Literal["Dispatcher"] = Field(default="Dispatcher", description="The kind.")
    spec: DispatcherSpec = Field(default=DispatcherSpec(), description="The fleet and its policy.")
    status: DispatcherStatus = Field(
        default=DispatcherStatus(), description="What Hookline found; written by the operator only."
    )

    @model_validator(mode="after")
    def _name_fits(self) -> Self:
        if len(self.metadata.name) > MAX_NAME_LENGTH or "." in self.metadata.name:
            raise Refused(Problem(("metadata", "name"), _NAME_TOO_LONG))
        return self

    def serves(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Whether it sends for the Webhooks of a namespace with these labels."""
        served = self.spec.served_namespaces
        if served.from_ == "Same":
            return namespace == self.metadata.namespace
        if served.from_ == "Selector" and served.selector is not None:
            return served.selector.match_labels.items() <= labels.items()
        return True
