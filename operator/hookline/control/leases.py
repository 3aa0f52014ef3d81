"""The operator's way to its Lease."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

from hookline.control.cluster import Cluster, ClusterError, Conflict
from hookline.control.kinds import LEASES
from hookline.serving.leader import LeaseChanged, NoLease

T = TypeVar("T")


class ClusterLeases:
    """An implementation of `Leases`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def get(self, namespace: str, name: str) -> dict[str, Any] | None:
        return await _told(self._cluster.get(LEASES, namespace, name))

    async def create(self, lease: dict[str, Any]) -> dict[str, Any]:
        return await _told(self._cluster.create(LEASES, lease))

    async def replace(self, lease: dict[str, Any]) -> dict[str, Any]:
        return await _told(self._cluster.replace(LEASES, lease))


async def _told(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except Conflict as error:
        raise LeaseChanged(str(error)) from None
    except ClusterError as error:
        raise NoLease(str(error)) from None
