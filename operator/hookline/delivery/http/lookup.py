"""The addresses of names, from /etc/hosts and the name servers of this machine.

Decides how names are looked up, in which order, and how long that may take; it judges no address: delivery/http/pool.py
does. Lookups run on c-ares inside the event loop and not on `getaddrinfo` in threads: a name whose servers hang would
hold a thread for as long as the system's resolver tries (10 s and more), and a few dozen of them would stop every other
lookup.

c-ares keeps answers of its own, an empty one for up to an hour, and cannot be told not to. So its channels are used for
a few seconds only.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol

import aiodns
from aiohttp.abc import ResolveResult

from hookline.delivery.http.hosts_file import HOSTS, HostsFile

LOOKUP_SECONDS = 2.0
LOOKUP_TRIES = 2
"""For each name server, c-ares doubles the time with each round. CONNECT_TIMEOUT_SECONDS of a call bounds it all."""

MAX_ADDRESSES = 64
"""Of one name. Each must pass, and each may be tried; nobody needs more."""

CHANNEL_SECONDS = 5.0
"""How long one channel is used, and so how long c-ares remembers an answer at most. A change of /etc/resolv.conf is
seen after this time."""

RESOLV_CONF = Path("/etc/resolv.conf")

_LONGEST_NAME = 254
"""RFC 1035, 2.3.4, as text with its last dot."""

_DOMAINS_ASKED = 16
"""Of a search list."""

_NO_SUCH_NAME = frozenset({aiodns.error.ARES_ENOTFOUND, aiodns.error.ARES_ENODATA, aiodns.error.ARES_EBADNAME})


class Lookup(Protocol):
    """Where the addresses of a name come from."""

    async def resolve(self, host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        """Every address of `host`. Raises socket.gaierror."""
        ...

    async def close(self) -> None: ...


class _Channel:
    """The name servers, as they are now, with what c-ares remembers. Ends with its last lookup."""

    def __init__(self, made_s: float, search: tuple[str, ...], servers: Sequence[str] | None, port: int | None) -> None:
        loop = asyncio.get_running_loop()
        ports = {} if port is None else {"udp_port": port, "tcp_port": port}
        common: dict[str, Any] = {"timeout": LOOKUP_SECONDS, "tries": LOOKUP_TRIES, **ports}
        self.made_s = made_s
        self.search = search
        self.servers = aiodns.DNSResolver(servers, loop, **common)
        self.users = 0


class NameServers:
    """Asks the name servers of /etc/resolv.conf, after /etc/hosts. The arguments are for tests."""

    def __init__(
        self,
        nameservers: Sequence[str] | None = None,
        port: int | None = None,
        *,
        resolv_conf: Path = RESOLV_CONF,
        hosts: Path = HOSTS,
    ) -> None:
        self._servers = nameservers
        self._port = port
        self._resolv_conf = resolv_conf
        self._hosts = HostsFile(hosts)
        self._channel: _Channel | None = None

    async def resolve(self, host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        if host.lower().rstrip(".") == "localhost":
            return await _localhost(host, port)
        if family is socket.AF_UNSPEC and not has_ipv6():
            family = socket.AF_INET
        if known := self._hosts.addresses(host, family):
            return _results(host, port, known)
        channel = await self._used()
        try:
            return await self._resolve(channel, host, port, family)
        finally:
            channel.users -= 1
            if channel is not self._channel:
                await _end(channel)

    async def _resolve(
        self, channel: _Channel, host: str, port: int, family: socket.AddressFamily
    ) -> list[ResolveResult]:
        failed = False
        for name in names(host, channel.search):
            try:
                answer = await channel.servers.getaddrinfo(name, family=family, port=port, type=socket.SOCK_STREAM)
            except aiodns.error.DNSError as error:
                failed = failed or not (error.args and error.args[0] in _NO_SUCH_NAME)
                continue
            found = [(_text(each.addr[0]), socket.AddressFamily(each.family)) for each in answer.nodes]
            return _results(host, port, found)
        raise socket.gaierror(
            socket.EAI_AGAIN if failed else socket.EAI_NONAME,
            "no name server answered" if failed else "the name has no address",
        )

    async def _used(self) -> _Channel:
        now_s = time.monotonic()
        before = self._channel
        if before is None or now_s - before.made_s > CHANNEL_SECONDS:
            self._channel = _Channel(now_s, search_list(_read(self._resolv_conf)), self._servers, self._port)
            if before is not None:
                await _end(before)
        assert self._channel is not None
        self._channel.users += 1
        return self._channel

    async def close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await _end(channel, at_once=True)


async def _end(channel: _Channel, *, at_once: bool = False) -> None:
    if channel.users == 0 or at_once:
        await channel.servers.close()


def names(host: str, search: Iterable[str]) -> list[str]:
    """The absolute names that a host may mean, in the order in which they are asked for.

    A name with a dot is asked for as it is first: a search list, of which pods have a long one, could hide it, and one
    broken domain in the list would. Then come short names of a cluster, such as `service.namespace`.
    """
    if host.endswith("."):
        return [host]
    found = [f"{host}.{domain}." for domain in search]
    whole = f"{host}."
    wanted = [whole, *found] if "." in host else [*found, whole]
    return [each for each in wanted if len(each) <= _LONGEST_NAME]


def search_list(resolv_conf: str) -> tuple[str, ...]:
    """The domains that resolv.conf(5) has names completed with: those of its last `search` or `domain`."""
    found: list[str] = []
    for line in resolv_conf.splitlines():
        word, *domains = line.split() or [""]
        if word in ("search", "domain"):
            found = [each.strip(".") for each in domains]
    return tuple(each for each in found[:_DOMAINS_ASKED] if each)


def _read(resolv_conf: Path) -> str:
    try:
        return resolv_conf.read_text(errors="replace")
    except OSError:
        return ""


async def _localhost(host: str, port: int) -> list[ResolveResult]:
    """As /etc/hosts says: c-ares always adds ::1, which a machine without IPv6 has nobody listening on."""
    records = await asyncio.get_running_loop().getaddrinfo(
        "localhost", port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
    return [_result(host, str(address[0]), port, family) for family, _, _, _, address in records]


def _results(host: str, port: int, found: Sequence[tuple[str, socket.AddressFamily]]) -> list[ResolveResult]:
    if len(found) > MAX_ADDRESSES:
        raise socket.gaierror(socket.EAI_FAIL, "the name has too many addresses")
    return [_result(host, address, port, family) for address, family in found]


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
