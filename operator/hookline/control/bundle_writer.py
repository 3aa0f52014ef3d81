"""Writes the ConfigMaps by which teams get the CA of the gateways.

Only where it is asked for, and only the one key. Whoever else insists on it is not fought: it is put back ever more
seldom, and the team is told.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import structlog

from hookline.control import authority
from hookline.control.authority import Home
from hookline.control.cluster import ClusterError, ClusterUnavailable, Conflict, Missing
from hookline.control.context import Context
from hookline.control.kinds import CA_CERTIFICATE, CA_NAME, CONFIG_MAPS, SECRETS, Place, labels_of_installation
from hookline.control.secret_data import decoded
from hookline.control.seen import Asking, Seen, asking_of, digest_of
from hookline.control.status import asking_event
from hookline.control.work_keys import BundlesKey
from hookline.resources.base import CA_LABEL

log = structlog.get_logger(__name__)

BUNDLE_SECONDS = 0.05
"""Between two writes of ConfigMaps: a new CA reaches a thousand namespaces within a minute, and nobody else notices."""

AGAIN_SECONDS = 60.0
LONGEST_AGAIN_SECONDS = 3600.0
"""Before a ConfigMap that was changed again, or refused, is written again: doubles up to an hour, so that whoever else
insists on it, such as what applies a Git repository, is not fought."""

_PUT_BACK = (
    f"{CA_CERTIFICATE} was changed here, and is put back: Hookline keeps it as long as the label {CA_LABEL} is there; "
    "leave it out of what is applied, such as from Git"
)


@dataclass(frozen=True, slots=True)
class _Written:
    """What was written into a ConfigMap, or refused, how often in a row, and from when on it may be again."""

    uid: str
    digest: bytes
    times: int
    due_s: float
    refused: bool = False


class BundleWriter:
    """The ConfigMaps with the public part of the CA."""

    def __init__(self, context: Context, home: Home) -> None:
        self._context = context
        self._home = home
        self._written: dict[Place, _Written] = {}
        self._unanswered: set[Place] = set()
        """ConfigMaps whose last write the API server did not answer."""

    async def reconcile(self) -> None:
        """Have every ConfigMap that asks hold the CA certificates that are to be trusted. Raises ClusterError."""
        held = authority.read(decoded(self._context.own(SECRETS, CA_NAME)), self._home)
        bundle = authority.trusted(held, self._context.now())
        if not bundle:
            return  # the authority's own key puts it right
        own = (self._namespace, CA_NAME)
        asking = {own, *filter(self._is_served, self._context.observed.asking)}
        self._unanswered &= asking
        # It may lie in their namespace, as where an admission policy of it hangs: others do not wait for them.
        places = sorted(asking, key=lambda place: (place in self._unanswered, place))
        self._written = {place: self._written[place] for place in places if place in self._written}
        for place in places:
            if await self._fill(place, bundle):
                await asyncio.sleep(BUNDLE_SECONDS)
        due_s = min((each.due_s for each in self._written.values() if each.due_s > _now_s()), default=None)
        if due_s is not None:
            self._context.queue.add_later(BundlesKey(), due_s - _now_s())

    def _is_served(self, place: Place) -> bool:
        namespace, name = place
        labels = self._context.observed.namespace_labels.get(namespace, {})
        gateways = filter(authority.is_needed_by, self._context.own_dispatchers())
        return name == CA_NAME and any(each.serves(namespace, labels) for each in gateways)

    async def _fill(self, place: Place, bundle: str) -> bool:
        """Have one ConfigMap right; whether the API server was asked for it. Raises ClusterUnavailable."""
        asking, digest, now_s = self._asking(place), digest_of(bundle), _now_s()
        if asking is None or asking.digest == digest:
            return False
        before = self._written.get(place)
        if before is not None and (before.uid, before.digest) != (asking.uid, digest):
            before = None  # another object, or another CA: nobody has insisted yet
        if before is not None and now_s < before.due_s:
            return False
        # It is written at once the first time, and the first time that it is put back.
        times = before.times + 1 if before is not None else 0
        try:
            answer = await self._context.cluster.apply(CONFIG_MAPS, self._bundle_manifest(place, asking, bundle))
        except ClusterUnavailable:
            self._unanswered.add(place)
            raise
        except (Conflict, Missing):
            return True  # it has changed or gone meanwhile, which its watch tells
        except ClusterError as error:
            self._written[place] = _Written(asking.uid, digest, times, now_s + again_seconds(times + 1), refused=True)
            await self._tell(place, asking, "Refused", f"the CA cannot be written here: {error}")
            return True
        self._unanswered.discard(place)
        self._context.observed.put(CONFIG_MAPS, answer)
        self._written[place] = _Written(answer["metadata"]["uid"], digest, times, now_s + again_seconds(times))
        if before is not None and not before.refused:
            await self._tell(place, asking, "PutBack", _PUT_BACK)
        return True

    def _asking(self, place: Place) -> Asking | None:
        """What stands at a place, None if it has gone. In the operator's own namespace nobody needs to ask."""
        if place[0] != self._namespace:
            return self._context.observed.asking.get(place)
        own = self._context.own(CONFIG_MAPS, CA_NAME)
        return asking_of(own) if own is not None else Asking("", "", b"")

    def _bundle_manifest(self, place: Place, asking: Asking, bundle: str) -> dict[str, Any]:
        metadata: dict[str, Any] = {"namespace": place[0], "name": place[1]}
        if asking.uid:
            # With its uid, one that is gone is not made anew: a version alone does not keep an apply from that.
            metadata |= {"uid": asking.uid, "resourceVersion": asking.version}
        if place[0] == self._namespace:
            metadata["labels"] = labels_of_installation("authority")
        return {"metadata": metadata, "data": {CA_CERTIFICATE: bundle}}

    async def _tell(self, place: Place, asking: Asking, reason: str, message: str) -> None:
        """Have the team see it, at its ConfigMap."""
        log.warning("a ConfigMap with the CA of the gateways", namespace=place[0], reason=reason, problem=message)
        if not asking.uid:
            return
        seen: Seen[Any] = Seen(*place, asking.uid, 0, "", {}, None)
        reporter, now = self._context.identity.name, self._context.now()
        await self._context.tell(seen, asking_event(seen, reason, message, reporter=reporter, now=now))

    @property
    def _namespace(self) -> str:
        return self._context.identity.namespace


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def again_seconds(times: int) -> float:
    """How long a ConfigMap is left alone that was written so often in a row."""
    return min(AGAIN_SECONDS * 2.0 ** min(times - 1, 30), LONGEST_AGAIN_SECONDS) if times else 0.0
