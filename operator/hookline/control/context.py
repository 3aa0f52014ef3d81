"""What all parts of the operator share: the cluster, what was observed, the queue, the fleets, and who it is."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog

from hookline.control import dispatchers, types
from hookline.control.api_workload import ApiSettings
from hookline.control.applied import holds_just
from hookline.control.cluster import Cluster, ClusterError, ClusterUnavailable, Conflict, Missing, Unjudged
from hookline.control.desired_book import types_of
from hookline.control.fleet import Fleet
from hookline.control.kinds import CONFIG_MAPS, EVENTS, OURS, PODS, TOUCHED_ANNOTATION, Kind, Object, root_name
from hookline.control.observed import Observed
from hookline.control.seen import Pod, Publisher, Seen
from hookline.control.status import as_before, events_of, manifest_of, says_the_same
from hookline.control.work_keys import Key, PublisherKey, WebhookKey
from hookline.control.work_queue import WorkQueue
from hookline.events.schemas import Catalogue
from hookline.resources.dispatcher import Dispatcher
from hookline.resources.eventtype import EventType
from hookline.routing.routes import TypeRecord
from hookline.routing.type_changes import UNCHANGED, compatible, differs
from hookline.routing.verdict import Condition, Surroundings, record_of

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Identity:
    """Who this operator is, and how far it reaches."""

    name: str
    """Of its pod."""
    namespace: str
    """Its own: Dispatchers, books and senders are here."""
    image: str
    """Of senders whose Dispatcher names none."""
    watched: str | None = None
    """The only namespace whose Webhooks it looks at; None for all."""
    uid: str = ""
    """Of its namespace: tells its Dispatchers from those of another cluster that uses the same NATS."""
    shipped_nats: str = ""
    """Address of the NATS that came with it, whose users it makes; empty if there is none."""
    api: ApiSettings = field(default_factory=ApiSettings)
    """Of the log's API."""
    pull_secrets: tuple[str, ...] = ()
    """Names of Secrets with credentials for the registry of its own image."""
    traces: Mapping[str, str] = field(default_factory=dict)
    """Of the environment of senders and gateways: where traces go; empty if there are none."""


@dataclass(frozen=True)
class Policy:
    """What every decision about a Webhook looks at."""

    around: Surroundings
    dispatchers: dict[str, Condition]
    types: dict[str, Condition]
    records: list[TypeRecord]


def _is_of_all(key: Key) -> bool:
    """Run books, senders and types first: they change many Webhook statuses."""
    return not isinstance(key, WebhookKey | PublisherKey)


@dataclass
class Context:
    """Shared state. All of it belongs to one event loop."""

    cluster: Cluster
    identity: Identity
    observed: Observed = field(init=False)
    queue: WorkQueue[Key] = field(default_factory=lambda: WorkQueue(first=_is_of_all))
    fleets: dict[str, Fleet] = field(default_factory=dict)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when senders are to be asked now: something is awaited, or pods changed."""
    _policy: tuple[int, Policy] | None = None
    _changes: dict[str, Condition] = field(default_factory=dict)
    """Of event types whose schema changed since this operator began, by name of the object: what the last one means."""

    def __post_init__(self) -> None:
        self.observed = Observed(self.identity.namespace)

    def policy(self) -> Policy:
        """Dispatchers and event types as they are now."""
        changes = self.observed.policy_changes
        if self._policy is None or self._policy[0] != changes:
            self._policy = (changes, self._policy_now())
        return self._policy[1]

    def dispatcher(self, name: str) -> Seen[Dispatcher] | None:
        """A Dispatcher of the operator's namespace. Others are nobody's."""
        return self.observed.dispatchers.get((self.identity.namespace, name))

    def seen_dispatchers(self) -> dict[str, Seen[Dispatcher]]:
        """Those of the operator's namespace by name, whatever stands in them."""
        own = self.identity.namespace
        return {name: seen for (namespace, name), seen in self.observed.dispatchers.items() if namespace == own}

    def own_dispatchers(self) -> list[Dispatcher]:
        """Those of the operator's namespace whose spec is valid, in the order of their names."""
        return [seen.value for _, seen in sorted(self.seen_dispatchers().items()) if seen.value is not None]

    def own(self, kind: Kind, name: str) -> Object | None:
        """An object that the operator makes in its namespace, as it is in the cluster; None if it is not there."""
        return self.observed.own(kind, (self.identity.namespace, name))

    def add(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self.queue.add(key)

    async def write_own(self, kind: Kind, manifest: dict[str, Any]) -> bool:
        """Apply a ConfigMap or Secret that the operator makes if it differs; whether it did. Raises ClusterError.

        It holds the wanted data then, and nothing more. The write names the version that it replaces: what a former
        leader decided long ago must not arrive after its successor's.
        """
        metadata = manifest["metadata"]
        live = self.own(kind, metadata["name"])
        if live is not None and holds_just(live, manifest):
            return False
        version = {"resourceVersion": live["metadata"]["resourceVersion"]} if live is not None else {}
        try:
            answer = await self.cluster.apply(kind, {**manifest, "metadata": {**metadata, **version}})
        except Conflict:
            await self.read_own(kind)
            raise
        self.observed.put(kind, answer)
        return True

    async def touch(self, pods: Iterable[Pod], version: str) -> None:
        """Have kubelets refresh at once what pods mount, where they were not touched for this version of it."""
        patch = {"metadata": {"annotations": {TOUCHED_ANNOTATION: version}}}
        for pod in pods:
            if pod.touched != version and pod.ip:
                try:
                    answer = await self.cluster.merge(PODS, self.identity.namespace, pod.name, patch)
                except ClusterError as error:
                    # A pod that goes meanwhile needs no touch, and one that stays is refreshed within a minute anyway.
                    log.info("could not touch a pod", pod=pod.name, problem=str(error))
                else:
                    self.observed.put(PODS, answer)

    def version_of(self, objects: Iterable[tuple[Kind, str]]) -> str:
        """Of ConfigMaps and Secrets of our own as they are in the cluster: the same for every operator that has read
        them."""
        live = (self.own(kind, name) for kind, name in objects)
        versions = ",".join(each["metadata"]["resourceVersion"] if each is not None else "" for each in live)
        return hashlib.sha256(versions.encode()).hexdigest()[:16]

    async def read_own(self, kind: Kind) -> None:
        """Somebody else wrote: what is known of the ConfigMaps or Secrets that the operator makes is old."""
        found = await self.cluster.snapshot(kind, self.identity.namespace, labels=OURS)
        self.add(self.observed.replace_all(kind, found.objects, found.version, ours=True))

    async def create_own(self, kind: Kind, manifest: dict[str, Any]) -> None:
        """Make a ConfigMap or Secret that is not seen. Raises ClusterError.

        One that is there, and only lost its labels, is seen again then, as it is: what it holds may be in use, and made
        anew it would be another one.
        """
        metadata = manifest["metadata"]
        try:
            answer = await self.cluster.create(kind, manifest)
        except Conflict:
            labels = {"metadata": {"labels": metadata["labels"]}}
            answer = await self.cluster.merge(kind, metadata["namespace"], metadata["name"], labels)
        self.observed.put(kind, answer)

    async def write_status(self, kind: Kind, seen: Seen[Any], status: dict[str, Any]) -> None:
        """Write a status that says something new, and an Event for each transition. Raises ClusterError."""
        if says_the_same(status, seen.status):
            return
        try:
            answer = await self.cluster.apply(kind, manifest_of(seen, status), subresource="status")
        except Conflict:
            # It has changed, or another object has its name by now; the watch will tell.
            return
        self.observed.put(kind, answer)
        for event in events_of(kind, seen, seen.status, status, reporter=self.identity.name, now=self.now()):
            await self.tell(seen, event)

    async def tell(self, seen: Seen[Any] | Publisher, event: dict[str, Any]) -> bool:
        """Post an Event. False if there is no answer to it: it may be posted later."""
        try:
            await self.cluster.create(EVENTS, event)
        except (Conflict, Missing):
            # It is told already, or its namespace goes.
            return True
        except ClusterError as error:
            # An Event is a courtesy: the status holds the same.
            log.warning("could not post an Event", object=f"{seen.namespace}/{seen.name}", problem=str(error))
            return not isinstance(error, ClusterUnavailable | Unjudged)
        return True

    def _policy_now(self) -> Policy:
        own = self.seen_dispatchers().values()
        accepted = dispatchers.judged(own)
        conditions, records = types.judged(self.observed.event_types.values(), self._types_before)
        self._note_changes(records)
        working = {
            each.name: each.value for each in own if each.value is not None and accepted[each.name].status == "True"
        }
        around = Surroundings(
            secrets=self.observed.secrets,
            catalogue=Catalogue([record.spec() for record in records]),
            dispatchers=working,
            policies={name: record_of(each).policy() for name, each in working.items()},
            namespace_labels=self.observed.namespace_labels,
            size_before=self._size_before,
        )
        return Policy(around, accepted, conditions, records)

    def changed_types(self) -> list[str]:
        """Event types whose schema changed since this operator began, by name of the object."""
        self.policy()
        return list(self._changes)

    def compatible(self, seen: Seen[EventType]) -> Condition:
        """What the last change of a type's schema means. One that a former operator saw is in the status."""
        self.policy()
        return self._changes.get(seen.name) or as_before(seen, UNCHANGED)

    def _note_changes(self, records: Iterable[TypeRecord]) -> None:
        """Hold each type against the form in force, which may be a built-in one."""
        in_force = {each.name: each.spec() for each in self._types_before()}
        builtin = Catalogue()
        found: dict[str, Condition] = {}
        for new in (record.spec() for record in records):
            former = in_force.get(new.name) or builtin.find(new.name)
            name = new.name.lower()
            if former is not None and differs(former, new):
                found[name] = compatible(former, new)
            elif name in self._changes:
                found[name] = self._changes[name]
        self._changes = found

    def _types_before(self) -> list[TypeRecord]:
        """Event types in force: those of the roots in the cluster, and what was decided since."""
        roots = [self.own(CONFIG_MAPS, root_name(name)) for name in self.seen_dispatchers()]
        return [
            *(each for root in roots for each in types_of(root)),
            *(self._policy[1].records if self._policy else ()),
        ]

    def _size_before(self, uid: str) -> int:
        found = (fleet.book.keys(uid) for fleet in self.fleets.values())
        return max((keys.size_bytes for keys in found if keys is not None), default=0)
