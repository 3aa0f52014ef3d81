"""Which of several processes works, of the operator or of the API: the holder of a Lease (coordination.k8s.io/v1).

Our own instead of the Kubernetes client's: that one measures with the wall clock, which may jump, and waits five
minutes for an API server that hangs, by when another one leads as well.

The times in the Lease are for people. Whether a Lease has run out is measured by this process's monotonic clock from
when it saw the Lease change last, so that the clocks of replicas may differ.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

log = structlog.get_logger(__name__)

LEASE_SECONDS = 15.0
"""After this time without renewal another one takes over."""
RENEW_SECONDS = 10.0
"""A leader that could not renew for this long stops: before another one can take over."""
RETRY_SECONDS = 2.0
"""Between two looks at the Lease, and two renewals."""


class LeaseLost(Exception):
    """This one leads no longer. What leaders do must end; it stands anew as a follower."""


class NoLease(Exception):
    """The API server said no, or nothing."""


class LeaseChanged(NoLease):
    """Somebody else wrote the Lease meanwhile."""


class Leases(Protocol):
    """The way to the Leases of an API server, as dicts. Each raises NoLease."""

    async def get(self, namespace: str, name: str) -> dict[str, Any] | None: ...

    async def create(self, lease: dict[str, Any]) -> dict[str, Any]:
        """Raises LeaseChanged when there is one."""

    async def replace(self, lease: dict[str, Any]) -> dict[str, Any]:
        """Raises LeaseChanged when it is not the version any more that its resourceVersion names."""


class Election:
    """One candidate. `who` is a word for logs."""

    def __init__(
        self,
        leases: Leases,
        namespace: str,
        lease: str,
        identity: str,
        *,
        who: str = "operator",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._leases = leases
        self._who = who
        self._namespace = namespace
        self._lease = lease
        self._identity = identity
        self._monotonic = monotonic
        self._seen: tuple[Any, float] = (None, 0.0)
        self._renewed_at = float("-inf")

    @property
    def leads(self) -> bool:
        """Whether this one may write: its Lease was renewed so lately that nobody else can have taken it."""
        return self._monotonic() - self._renewed_at < RENEW_SECONDS

    async def win(self) -> None:
        """Wait until this one is the leader."""
        said = ""
        while not await self._try():
            holder = str(((self._seen[0] or {}).get("spec") or {}).get("holderIdentity") or "")
            if holder and holder != said:
                said = holder
                log.info(f"another {self._who} leads; standing by", leader=holder)
            await asyncio.sleep(RETRY_SECONDS)
        log.info(f"this {self._who} leads", identity=self._identity)

    async def keep(self) -> None:
        """Renew for ever. Raises LeaseLost."""
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            await self._try()
            if not self.leads:
                raise LeaseLost(f"the Lease could not be renewed in time; another {self._who} may lead now")

    async def resign(self) -> None:
        """Give the Lease back at the end, so that another one need not wait for it to run out."""
        if not self.leads or self._seen[0] is None:
            return
        self._renewed_at = float("-inf")
        try:
            await self._leases.replace(self._manifest(self._seen[0], holder="", duration=1))
        except NoLease as error:
            log.info("could not give the Lease back; another one takes over when it runs out", problem=str(error))

    async def _try(self) -> bool:
        """Take or renew the Lease; whether it is ours. Time counts from before the request: it may take long."""
        began = self._monotonic()
        try:
            async with asyncio.timeout(RENEW_SECONDS / 2):
                ours = await self._take_or_renew()
        except (NoLease, TimeoutError) as error:
            if not isinstance(error, LeaseChanged):
                log.warning("cannot reach the Lease", problem=str(error) or type(error).__name__)
            return False
        # That another one holds it is certain, whatever the clock says: it stands still while a machine is suspended.
        self._renewed_at = began if ours else float("-inf")
        return ours

    async def _take_or_renew(self) -> bool:
        lease = await self._leases.get(self._namespace, self._lease)
        if lease is None:
            self._see(await self._leases.create(self._manifest(None, holder=self._identity)))
            return True
        self._see(lease)
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity")
        if holder and holder != self._identity and not self._run_out(_bounded(spec.get("leaseDurationSeconds"))):
            return False
        self._see(await self._leases.replace(self._manifest(lease, holder=self._identity)))
        return True

    def _see(self, lease: dict[str, Any]) -> None:
        version = lease["metadata"]["resourceVersion"]
        known = self._seen[0]
        if known is None or known["metadata"]["resourceVersion"] != version:
            self._seen = (lease, self._monotonic())

    def _run_out(self, duration_seconds: float) -> bool:
        return self._monotonic() - self._seen[1] > duration_seconds

    def _manifest(
        self, lease: dict[str, Any] | None, *, holder: str, duration: int = int(LEASE_SECONDS)
    ) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        spec = dict((lease or {}).get("spec") or {})
        if spec.get("holderIdentity") != holder:
            # At its largest it begins anew: the API server refuses a larger one, and nobody would ever lead.
            transitions = _bounded(spec.get("leaseTransitions")) + 1
            spec |= {"acquireTime": now, "leaseTransitions": transitions if transitions <= _MOST else 1}
        spec |= {"holderIdentity": holder, "leaseDurationSeconds": duration, "renewTime": now}
        version = {"resourceVersion": lease["metadata"]["resourceVersion"]} if lease else {}
        return {"metadata": {"namespace": self._namespace, "name": self._lease, **version}, "spec": spec}


_MOST = 2**31 - 1
"""Largest integer of a Lease (coordination.k8s.io/v1: int32)."""


def _bounded(number: Any) -> int:
    """A number of a Lease that anybody may have written; 0 for what is none."""
    return number if isinstance(number, int) and 0 <= number <= _MOST else 0
