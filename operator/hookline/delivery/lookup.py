"""The addresses of names, from the name servers of this machine.

Decides how names are looked up and how long that may take; it judges no address: delivery/transport.py does. Lookups
run on c-ares inside the event loop and not on `getaddrinfo` in threads: a name whose servers hang would hold a thread
for as long as the system's resolver tries (10 s and more), and a few dozen of them would stop every other lookup.
"""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from typing import Protocol

import aiodns
from aiohttp.abc import ResolveResult

LOOKUP_SECONDS = 2.0
LOOKUP_TRIES = 2
"""For each name server, c-ares doubles the time with each round. CONNECT_TIMEOUT_SECONDS of a call bounds it all."""

MAX_ADDRESSES = 64
"""Of one name. Each must pass, and each may be tried; nobody needs more."""

_NO_SUCH_NAME = frozenset({aiodns.error.ARES_ENOTFOUND, aiodns.error.ARES_ENODATA, aiodns.error.ARES_EBADNAME})


class Lookup(Protocol):
    """Where the addresses of a name come from."""

    async def resolve(self, host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        """Every address of `host`. Raises socket.gaierror."""
        ...

    async def close(self) -> None: ...


class NameServers:
    """Asks the name servers of /etc/resolv.conf, after /etc/hosts. `nameservers` and `udp_port` are for tests."""

    def __init__(self, nameservers: list[str] | None = None, port: int | None = None) -> None:
        self._resolver = aiodns.DNSResolver(
            nameservers,
            asyncio.get_running_loop(),
            timeout=LOOKUP_SECONDS,
            tries=LOOKUP_TRIES,
            **({} if port is None else {"udp_port": port, "tcp_port": port}),
        )

    async def resolve(self, host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        if host.lower().rstrip(".") == "localhost":
            return await _localhost(host, port)
        if family is socket.AF_UNSPEC and not has_ipv6():
            family = socket.AF_INET
        try:
            answer = await self._resolver.getaddrinfo(host, family=family, port=port, type=socket.SOCK_STREAM)
        except aiodns.error.DNSError as error:
            unknown = error.args and error.args[0] in _NO_SUCH_NAME
            raise socket.gaierror(
                socket.EAI_NONAME if unknown else socket.EAI_AGAIN,
                "the name has no address" if unknown else "no name server answered",
            ) from None
        if len(answer.nodes) > MAX_ADDRESSES:
            raise socket.gaierror(socket.EAI_FAIL, "the name has too many addresses")
        return [_result(host, _text(node.addr[0]), port, socket.AddressFamily(node.family)) for node in answer.nodes]

    async def close(self) -> None:
        await self._resolver.close()


async def _localhost(host: str, port: int) -> list[ResolveResult]:
    """As /etc/hosts says: c-ares always adds ::1, which a machine without IPv6 has nobody listening on."""
    records = await asyncio.get_running_loop().getaddrinfo(
        "localhost", port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
    return [_result(host, str(address[0]), port, family) for family, _, _, _, address in records]


def _result(host: str, address: str, port: int, family: socket.AddressFamily) -> ResolveResult:
    return ResolveResult(
        hostname=host, host=address, port=port, family=family, proto=socket.IPPROTO_TCP, flags=socket.AI_NUMERICHOST
    )


def is_own(address: str) -> bool:
    """Whether `address` belongs to this machine or pod: then, and only then, the kernel calls it from itself.

    Asked of the kernel for each new address, so that an address that comes later is known too. Sends nothing.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 443))
            # Compared as numbers: an IPv6 address has more than one spelling, the kernel's need not be ours.
            return ip_address(probe.getsockname()[0]) == ip_address(address)
    except OSError:
        return False


def has_ipv6() -> bool:
    """Whether this machine has a way to IPv6 addresses; without one they are not asked for. Sends nothing."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect(("2001:db8::1", 443))
    except OSError:
        return False
    return True


def _text(address: str | bytes) -> str:
    return address.decode("ascii") if isinstance(address, bytes) else address
