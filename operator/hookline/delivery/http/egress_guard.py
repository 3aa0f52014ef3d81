"""The egress policy in force, asked for every address: of names that were looked up, of sockets, of kept connections.

Decides when a policy is taken up, and that one refused record refuses a name. What a policy allows is decided in
egress; connections are made by delivery/http/pool, which asks here, as delivery/http/transport does.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_address

from aiohttp.abc import AbstractResolver, ResolveResult

from hookline.delivery.http.lookup import Lookup, is_own
from hookline.resources.egress_policy import EgressPolicy, Proxy, leads_to

_ADDRESSES_KEPT = 4096


class EgressRefusedError(PermissionError):
    """The policy does not allow an address. The message says which option would; it is safe to show."""


class EgressGuard:
    """The policy in force, with the addresses and ports it has already let pass."""

    def __init__(self, policy: Callable[[], EgressPolicy]) -> None:
        self._read_policy = policy
        self._policy = policy()
        self._passed: set[str] = set()
        self._open_ports: set[int] = set()

    def refresh(self) -> bool:
        """Takes up the policy of this moment; True if it is another one."""
        policy = self._read_policy()
        if policy is self._policy or policy == self._policy:
            return False
        self._policy = policy
        self._passed.clear()
        self._open_ports.clear()
        return True

    @property
    def proxy(self) -> Proxy | None:
        return self._policy.proxy

    def refusal_of(self, literal: str | None, port: int) -> str | None:
        """What a URL alone tells."""
        refusal = self.refusal(literal) if literal is not None else None
        return refusal or self._port_refusal(port)

    def _port_refusal(self, port: int) -> str | None:
        if port in self._open_ports:
            return None
        refusal = self._policy.port_refusal(port)
        if refusal is None:
            self._open_ports.add(port)
        return refusal

    def refusal(self, address: str) -> str | None:
        if address in self._passed:
            return None
        refusal = self._policy.refusal(address)
        if refusal is None and any(map(is_own, {address, str(leads_to(ip_address(address)))})):
            refusal = self._policy.own_refusal(address)
        if refusal is None:
            if len(self._passed) >= _ADDRESSES_KEPT:
                self._passed.clear()
            self._passed.add(address)
        return refusal


class CheckedResolver(AbstractResolver):
    """A resolver whose answer counts only if the policy allows every record of it.

    One bad record refuses the name: which record a connection takes is chance, and a name that points inside now and
    then is either a mistake or an attack.
    """

    def __init__(self, guard: EgressGuard, lookup: Lookup) -> None:
        self._guard = guard
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        records = await self._lookup.resolve(host, port, family)
        if not records:
            raise socket.gaierror(socket.EAI_NONAME, "no usable address")
        for record in records:
            refusal = self._guard.refusal(record["host"])
            if refusal is not None:
                raise EgressRefusedError(f"the name {host} leads to a refused address: {refusal}")
        return records

    async def close(self) -> None:
        await self._lookup.close()
