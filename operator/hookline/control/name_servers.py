"""How names are looked up in this cluster, by what the operator's own pod was given. Asks no name server."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path

from hookline.resources.egress_policy import Address

_DOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
RESOLV_CONF = Path("/etc/resolv.conf")


def name_servers(file: Path = RESOLV_CONF) -> tuple[Address, ...]:
    """Their addresses, in order; empty when they are not known, as outside of a cluster."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    return tuple(dict.fromkeys(found for line in text.splitlines() if (found := _name_server(line)) is not None))


def cluster_domain(file: Path = RESOLV_CONF) -> str:
    """What the names of Services end with: the kubelet has pods search in `svc.DOMAIN`; else the usual one."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    searched = [each for line in text.splitlines() if line.startswith("search ") for each in line.split()[1:]]
    found = (each.removeprefix("svc.").removesuffix(".") for each in searched if each.startswith("svc."))
    return next((each for each in found if _DOMAIN.fullmatch(each)), "cluster.local")


def _name_server(line: str) -> Address | None:
    """The address in `nameserver ADDRESS` (resolv.conf(5)). One that only this machine can reach is none for pods."""
    words = line.split()
    if len(words) < 2 or words[0] != "nameserver":
        return None
    try:
        address = ip_address(words[1].partition("%")[0])
    except ValueError:
        return None
    return None if address.is_loopback or address.is_unspecified else address
