"""What is done for each key of the queue."""

from __future__ import annotations

from typing import Any

from hookline.control import dispatchers, workload
from hookline.control.context import Context
from hookline.control.fleet import Fleet
from hookline.control.kinds import DEPLOYMENTS, DISPATCHERS, EVENT_TYPES, Kind, sender_name
from hookline.control.observed import Key, Place, Seen
from hookline.control.publish import Publisher
from hookline.control.status import status_of, with_stalled
from hookline.control.webhooks import Webhooks
from hookline.dispatcher import Dispatcher
from hookline.verdict import Condition


class Reconciler:
    """Turns keys into what they ask for. Each method may be called any number of times with the same outcome."""

    def __init__(self, context: Context, webhooks: Webhooks, publisher: Publisher) -> None:
        self._context = context
        self._webhooks = webhooks
        self._publisher = publisher
        self._settled: dict[tuple[str, Place], tuple[Any, Any]] = {}

    async def reconcile(self, key: Key) -> None:
        """Look at what `key` names and put it right. Raises ClusterError."""
        match key.work:
            case "Webhook":
                await self._webhooks.reconcile((key.namespace, key.name))
            case "Shard":
                await self._publisher.reconcile_shard(key.namespace, int(key.name))
            case "Root":
                await self._publisher.reconcile_root(key.name)
            case "Touch":
                await self._publisher.reconcile_touch(key.name)
            case "Senders":
                self._context.wake.set()
            case "EventType":
                await self._event_type((key.namespace, key.name))
            case "Dispatcher":
                await self._dispatcher(key.name)

    def sync_fleets(self) -> None:
        """Have a fleet for each Dispatcher of our namespace, and none besides."""
        there = {name for namespace, name in self._context.observed.dispatchers if namespace == self._namespace}
        for name in self._context.fleets.keys() - there:
            del self._context.fleets[name]
        for name in there - self._context.fleets.keys():
            fleet = Fleet(name)
            self._publisher.load(fleet)
            self._context.fleets[name] = fleet
            self._context.add(self._context.observed.webhooks_of(name))
            self._context.queue.add(Key("Root", "", name))

    async def _event_type(self, place: Place) -> None:
        seen = self._context.observed.event_types.get(place)
        if seen is None or self._context.identity.watched is not None:
            # In a single namespace the cluster's EventTypes belong to whoever runs them for all.
            return
        accepted = self._context.policy().types[seen.name]
        event = seen.value.spec.event if seen.value else seen.name
        ready = dispatchers.ready(accepted, Condition("", "True", "", f"events of type {event} may be published"))
        await self._write(EVENT_TYPES, seen, [accepted, ready], accepted)

    async def _dispatcher(self, name: str) -> None:
        self.sync_fleets()
        seen, fleet = self._context.dispatcher(name), self._context.fleets.get(name)
        if seen is None or fleet is None:
            return
        accepted = self._context.policy().dispatchers[name]
        place = (DEPLOYMENTS.name, (self._namespace, sender_name(name)))
        if seen.value is not None and accepted.status == "True":
            await self._apply_workload(seen.value)
        elif seen.value is not None and place in self._context.observed.objects:
            # Its events wait in NATS, if it still has one, and are nobody else's.
            await self._apply_workload(seen.value, stopped=True)
        deployment = self._context.observed.objects.get(place)
        available = dispatchers.available(deployment, seen.value.spec.replicas if seen.value else 0)
        written = fleet.written()
        ready = dispatchers.ready(accepted, fleet.queue, written, available)
        conditions = [accepted, available, fleet.queue, written, ready]
        counts = [{"shard": f"{number:02}", "routes": count} for number, count in fleet.book.counts().items()]
        await self._write(DISPATCHERS, seen, conditions, accepted, routes=len(fleet.book), shards=counts)

    async def _apply_workload(self, dispatcher: Dispatcher, *, stopped: bool = False) -> None:
        identity = self._context.identity
        objects = workload.objects(dispatcher, image=identity.image, namespace_uid=identity.uid, stopped=stopped)
        for kind, manifest in objects:
            place = (self._namespace, manifest["metadata"]["name"])
            live = self._context.observed.objects.get((kind.name, place))
            if live is not None and (workload.holds(live, manifest) or self._is_settled(kind, place, manifest, live)):
                continue
            answer = await self._context.cluster.apply(kind, _replacing(live, kind, manifest))
            self._context.observed.put(kind, answer)
            self._settled[kind.name, place] = (manifest, answer["metadata"].get("generation"))

    def _is_settled(self, kind: Kind, place: Place, manifest: Any, live: Any) -> bool:
        """Whether this was applied already, and only the API server's spelling differs (a quantity of 1000m)."""
        return self._settled.get((kind.name, place)) == (manifest, live["metadata"].get("generation"))

    async def _write(
        self, kind: Kind, seen: Seen[Any], conditions: list[Condition], accepted: Condition, **more: Any
    ) -> None:
        status = status_of(seen, with_stalled(conditions, accepted), self._context.now(), **more)
        await self._context.write_status(kind, seen, status)

    @property
    def _namespace(self) -> str:
        return self._context.identity.namespace


def _replacing(live: Any, kind: Kind, manifest: dict[str, Any]) -> dict[str, Any]:
    """What is applied to a Deployment names the version that it replaces: a late one must not roll out old pods.

    The other kinds are not watched, so their newest version is not known.
    """
    if live is None or kind is not DEPLOYMENTS:
        return manifest
    return {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": live["metadata"]["resourceVersion"]}}
