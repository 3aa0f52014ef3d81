"""The Dispatcher: a fleet of sender pods, its policy and its NATS.

Decides which fields there are, their bounds and defaults. Never creates anything; the operator makes pods of it.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated

from pydantic import Field

from hookline.egress import parse_cidrs
from hookline.rules import Checked, cel

_NEVER_OPEN = (
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/4",
    "::/127",
    "fe80::/10",
    "ff00::/8",
)
"""Unspecified, loopback, link-local (with the metadata services of clouds) and multicast."""

_NEVER_OPEN_NETWORKS = tuple(ip_network(cidr) for cidr in _NEVER_OPEN)

_NOT_A_CIDR = "must be a network in CIDR form with no bits set beyond its prefix; write 10.1.2.0/24 or fd12:3456::/48"
_NEVER_CALLED = (
    "must not touch loopback, link-local, metadata, multicast or unspecified addresses, which are never called; "
    "write only the private networks that receivers are in, such as 10.1.2.0/24"
)
_NEEDS_SELECTOR = "is required when from is Selector; write selector: {matchLabels: {…}}"
_NO_SELECTOR = "must not be set unless from is Selector; leave it out or write from: Selector"
_TIMEOUT_ORDER = "must not be larger than maxTimeoutSeconds; write a smaller number, or a larger maxTimeoutSeconds"


def allow_cidr_problem(text: str) -> str | None:
    """What is wrong with one entry of egress.allowCidrs and what to write instead, or None."""
    if "/" not in text or text != text.strip():
        return _NOT_A_CIDR
    try:
        (network,) = parse_cidrs([text])
    except ValueError:
        return _NEVER_CALLED if _touches_never_open(text) else _NOT_A_CIDR
    return _NEVER_CALLED if _touches_never_open(str(network)) else None


def _touches_never_open(text: str) -> bool:
    try:
        network = ip_network(text)
    except ValueError:
        return False
    return any(network.version == never.version and network.overlaps(never) for never in _NEVER_OPEN_NETWORKS)


def _never_called_cel() -> str:
    overlaps = (
        f"cidr('{never}').containsIP(cidr(self).ip()) || cidr(self).containsIP(cidr('{never}').ip())"
        for never in _NEVER_OPEN
    )
    return f"!isCIDR(self) || !({' || '.join(overlaps)})"


AllowCidr = Annotated[
    str,
    Field(min_length=1, max_length=64),
    Checked(
        allow_cidr_problem,
        (
            cel("isCIDR(self) && cidr(self) == cidr(self).masked()", _NOT_A_CIDR),
            cel(_never_called_cel(), _NEVER_CALLED),
        ),
    ),
]
