"""Applies the objects of workloads where they differ, and tells when others changed what was right.

Decides nothing about what they hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import structlog

from hookline.control.applied import holds
from hookline.control.cluster import ClusterError, Denied, Forbidden, Invalid
from hookline.control.context import Context
from hookline.control.kinds import DEPLOYMENTS, DISPATCHERS, Kind, Object, Place
from hookline.control.seen import Seen
from hookline.control.status import put_back_event
from hookline.resources.dispatcher import Dispatcher

log = structlog.get_logger(__name__)


class Applier:
    """What was applied, as the API server spells it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._settled: dict[tuple[str, Place], tuple[Any, Any]] = {}

    async def workload(
        self, objects: Iterable[tuple[Kind, dict[str, Any]]], about: Iterable[Seen[Dispatcher]]
    ) -> ClusterError | None:
        """Have the objects of a workload as they should be; what the API server refuses of it. Raises other
        ClusterErrors. `about`: the Dispatchers whose people are told.
        """
        told = list(about)
        try:
            for kind, manifest in objects:
                await self._apply(kind, manifest, told)
        except (Denied, Forbidden, Invalid) as error:
            return error
        return None

    async def _apply(self, kind: Kind, manifest: dict[str, Any], about: Iterable[Seen[Dispatcher]]) -> None:
        place = (manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        live = self._context.own(kind, place[1])
        if live is not None and (holds(live, manifest) or self._is_settled(kind, place, manifest, live)):
            return
        answer = await self._context.cluster.apply(kind, _replacing(live, kind, manifest))
        self._context.observed.put(kind, answer)
        if (self._settled.get((kind.name, place)) or ({}, 0))[0] == manifest:
            await self._say_put_back(kind, place, about)
        self._settled[kind.name, place] = (manifest, _content_version(answer))

    async def _say_put_back(self, kind: Kind, place: Place, about: Iterable[Seen[Dispatcher]]) -> None:
        """It was as it should be, and nobody but somebody else changed it since."""
        what = f"{kind.name} {place[1]}"
        reporter, now = self._context.identity.name, self._context.now()
        for seen in about:
            log.warning("put back what others took away or changed", dispatcher=seen.name, what=what)
            await self._context.tell(seen, put_back_event(DISPATCHERS, seen, what, reporter=reporter, now=now))

    def _is_settled(self, kind: Kind, place: Place, manifest: Any, live: Any) -> bool:
        """Whether this was applied already, and only the API server's spelling differs (a quantity of 1000m)."""
        return self._settled.get((kind.name, place)) == (manifest, _content_version(live))


def _content_version(live: Any) -> Any:
    """Changes whenever somebody changes what was applied. Services and ServiceAccounts have no generation."""
    metadata = live["metadata"]
    return metadata.get("generation", metadata.get("resourceVersion"))


def _replacing(live: Object | None, kind: Kind, manifest: dict[str, Any]) -> dict[str, Any]:
    """What is applied to a Deployment names the version that it replaces: a late one must not roll out old pods.

    What it makes of the other kinds is seen and put right, and ends no pod.
    """
    if live is None or kind is not DEPLOYMENTS:
        return manifest
    return {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": live["metadata"]["resourceVersion"]}}
