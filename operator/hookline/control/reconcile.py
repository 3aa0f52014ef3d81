"""What is done for each key of the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, assert_never

import structlog

from hookline.control import dispatchers, gateway_workload, workload
from hookline.control.api_service_writer import ApiServiceWriter
from hookline.control.api_writer import ApiWriter
from hookline.control.applier import Applier
from hookline.control.authority import Home
from hookline.control.authority_writer import AuthorityWriter
from hookline.control.book_writer import BookWriter
from hookline.control.bundle_writer import BundleWriter
from hookline.control.cluster import ClusterError
from hookline.control.context import Context
from hookline.control.fleet import Fleet
from hookline.control.kinds import (
    DEPLOYMENTS,
    DISPATCHERS,
    EVENT_TYPES,
    GATEWAY,
    SENDER,
    Kind,
    Object,
    gateway_name,
    sender_name,
)
from hookline.control.name_servers import cluster_domain, name_servers
from hookline.control.nats_keeper import NatsKeeper
from hookline.control.nats_users import with_login
from hookline.control.publisher_writer import PublisherWriter
from hookline.control.seen import Pod, Seen
from hookline.control.status import as_before, status_of, with_stalled
from hookline.control.webhooks import Webhooks
from hookline.control.work_keys import (
    ApiKey,
    ApiServiceKey,
    AuthorityKey,
    BundlesKey,
    DispatcherKey,
    EventTypeKey,
    GatewayTouchKey,
    Key,
    NatsUsersKey,
    PublisherKey,
    PublishersKey,
    RoomKey,
    RootKey,
    SendersKey,
    ShardKey,
    TouchKey,
    WebhookKey,
)
from hookline.resources.dispatcher import Dispatcher
from hookline.resources.reasons import EventTypeReason
from hookline.routing.verdict import Condition
from hookline.stream.permissions import Role

log = structlog.get_logger(__name__)


class Reconciler:
    """Turns keys into what they ask for. Each method may be called any number of times with the same outcome."""

    def __init__(self, context: Context, webhooks: Webhooks, book_writer: BookWriter) -> None:
        self._context = context
        self._webhooks = webhooks
        self._book_writer = book_writer
        self._publisher_writer = PublisherWriter(context)
        home = Home(context.identity.namespace, cluster_domain())
        self._authority_writer = AuthorityWriter(context, home)
        self._bundle_writer = BundleWriter(context, home)
        self._nats_keeper = NatsKeeper(context)
        self._applier = Applier(context)
        self._api_service_writer = ApiServiceWriter(context, home)
        self._api_writer = ApiWriter(context, self._applier, self._authority_writer, self._api_service_writer)

    async def reconcile(self, key: Key) -> None:
        """Look at what `key` names and put it right. Raises ClusterError."""
        match key:
            case WebhookKey(namespace, name):
                await self._webhooks.reconcile((namespace, name))
            case ShardKey(dispatcher, shard):
                await self._book_writer.reconcile_shard(dispatcher, shard)
            case RootKey(dispatcher):
                await self._say_changes()
                await self._book_writer.reconcile_root(dispatcher)
            case RoomKey(dispatcher):
                self._webhooks.try_again(dispatcher)
            case TouchKey(dispatcher):
                await self._book_writer.reconcile_touch(dispatcher)
            case SendersKey():
                self._context.wake.set()
            case EventTypeKey(name):
                await self._event_type(name)
            case AuthorityKey():
                await self._authority_writer.reconcile()
            case BundlesKey():
                await self._bundle_writer.reconcile()
            case ApiKey():
                await self._api_writer.reconcile()
            case ApiServiceKey():
                await self._api_service_writer.reconcile()
            case NatsUsersKey():
                await self._nats_keeper.reconcile()
            case DispatcherKey(name=name):
                await self._dispatcher(name)
            case PublishersKey():
                await self._publisher_writer.reconcile()
            case PublisherKey(namespace, name):
                await self._publisher_writer.tell((namespace, name))
            case GatewayTouchKey(dispatcher):
                await self._publisher_writer.touch(dispatcher)
            case _:
                assert_never(key)

    def sync_fleets(self) -> None:
        """Have a fleet for each Dispatcher of our namespace, and none besides."""
        there = self._context.seen_dispatchers().keys()
        for name in self._context.fleets.keys() - there:
            del self._context.fleets[name]
        for name in there - self._context.fleets.keys():
            fleet = Fleet(name)
            self._book_writer.load(fleet)
            self._context.fleets[name] = fleet
            self._context.add(self._context.observed.webhooks_of(name))
            self._context.queue.add(RootKey(name))

    async def _event_type(self, name: str) -> None:
        seen = self._context.observed.event_types.get(("", name))
        if seen is None or self._context.identity.watched is not None:
            # In a single namespace the cluster's EventTypes belong to whoever runs them for all.
            return
        accepted = self._context.policy().types[seen.name]
        event = seen.value.spec.event if seen.value else seen.name
        well = Condition("Ready", "True", EventTypeReason.READY, f"events of type {event} may be published")
        ready = dispatchers.ready(accepted, well)
        compatible = self._context.compatible(seen)
        await self._write(EVENT_TYPES, seen, [accepted, compatible, ready], accepted)

    async def _say_changes(self) -> None:
        """Say what changes of schemas mean before they are in force: an operator after this one would see no change."""
        for name in self._context.changed_types():
            try:
                await self._event_type(name)
            except ClusterError as error:
                # Its own key has it said again.
                log.info("could not say what the change of a schema means", event_type=name, problem=str(error))

    async def _dispatcher(self, name: str) -> None:
        self.sync_fleets()
        seen, fleet = self._context.dispatcher(name), self._context.fleets.get(name)
        if seen is None or fleet is None:
            return
        accepted = self._context.policy().dispatchers[name]
        observed, works, value = self._context.observed, accepted.status == "True", seen.value
        senders_refused = await self._set_up_senders(seen, works=works)
        gateway_refused = await self._set_up_gateway(seen, works=works)
        wanted = value.spec.replicas if value else 0
        wanted_gateways = value.spec.gateway.replicas if value and works and value.spec.gateway.enabled else 0
        senders, gateways = self._deployment(sender_name(name)), self._deployment(gateway_name(name))
        available, written = dispatchers.available(senders, wanted), fleet.written()
        gateway = dispatchers.gateway_available(gateways, value)
        rolled = dispatchers.both(
            _rolled_out(SENDER, senders, wanted, senders_refused, observed.sender_pods(name)),
            _rolled_out(GATEWAY, gateways, wanted_gateways, gateway_refused, observed.gateway_pods(name)),
        )
        queue = as_before(seen, fleet.queue) if fleet.queue_unheard else fleet.queue
        certificate = self._authority_writer.conditions(seen)
        published = dispatchers.asked_for(gateway)
        ready = dispatchers.ready(accepted, queue, written, *certificate, rolled, *published, available)
        log_api = self._api_writer.condition(seen)
        conditions = [accepted, available, gateway, *certificate, rolled, queue, written, log_api, ready]
        counts = [{"shard": f"{number:02}", "routes": count} for number, count in fleet.book.counts().items()]
        await self._write(DISPATCHERS, seen, conditions, accepted, routes=len(fleet.book), shards=counts)
        refusal = senders_refused or gateway_refused
        if refusal is not None:
            # Now that it is said: tried again, since quotas and policies change.
            raise refusal

    def _deployment(self, name: str) -> Object | None:
        return self._context.own(DEPLOYMENTS, name)

    async def _set_up_senders(self, seen: Seen[Dispatcher], *, works: bool) -> ClusterError | None:
        """Have the senders as they should be; what the API server refuses of it. Raises other ClusterErrors."""
        # Events of one that may not take from its NATS wait there, and are nobody else's.
        if seen.value is None or not (works or self._deployment(sender_name(seen.name))):
            return None
        identity = self._context.identity
        objects = workload.objects(
            with_login(seen.value, identity.shipped_nats, Role.SENDER),
            image=identity.image,
            namespace_uid=identity.uid,
            stopped=not works,
            name_servers=await asyncio.to_thread(name_servers),
            environment=identity.traces,
        )
        return await self._applier.workload(objects, [seen])

    async def _set_up_gateway(self, seen: Seen[Dispatcher], *, works: bool) -> ClusterError | None:
        """As with the senders: where it may not use its NATS, what its gateway stored would be somebody else's."""
        if seen.value is None:
            return None
        runs = works and seen.value.spec.gateway.enabled
        if not (runs or self._deployment(gateway_name(seen.name))):
            return None
        identity = self._context.identity
        dispatcher = with_login(seen.value, identity.shipped_nats, Role.GATEWAY)
        objects = gateway_workload.objects(
            dispatcher, image=identity.image, stopped=not runs, environment=identity.traces
        )
        return await self._applier.workload(objects, [seen])

    async def _write(
        self, kind: Kind, seen: Seen[Any], conditions: list[Condition], accepted: Condition, **more: Any
    ) -> None:
        status = status_of(seen, with_stalled(conditions, accepted), self._context.now(), **more)
        await self._context.write_status(kind, seen, status)

    @property
    def _namespace(self) -> str:
        return self._context.identity.namespace


def _rolled_out(
    component: str, deployment: Object | None, wanted: int, refusal: ClusterError | None, pods: Iterable[Pod]
) -> Condition:
    waiting = next((pod.waiting for pod in pods if pod.waiting), "")
    return dispatchers.rolled_out(component, deployment, wanted, refusal=str(refusal or ""), waiting=waiting)
