"""Which name servers pods of this cluster ask: those that the operator's own pod was given. Asks none of them."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from hookline.resources.egress_policy import Address

RESOLV_CONF = Path("/etc/resolv.conf")


def name_servers(file: Path = RESOLV_CONF) -> tuple[Address, ...]:
    """Their addresses, in order; empty when they are not known, as outside of a cluster."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    return tuple(dict.fromkeys(found for line in text.splitlines() if (found := _name_server(line)) is not None))


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
