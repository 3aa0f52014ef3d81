"""Writes route books into ConfigMaps and Secrets, has kubelets refresh them, and follows what senders serve.

A shard is written on its own: its ConfigMap, then its Secret with the index. Each write names the version that it
replaces, so that an operator that is no longer the leader cannot overwrite what its successor wrote.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import structlog

from hookline.control.cluster import Denied, Forbidden, Invalid
from hookline.control.context import Context
from hookline.control.desired_book import files_of, keys_manifest, root_manifest, routes_manifest, shards_of
from hookline.control.fleet import Fleet
from hookline.control.kinds import (
    CONFIG_MAPS,
    SECRETS,
    Kind,
    keys_name,
    root_name,
    routes_name,
)
from hookline.control.pods import owner
from hookline.control.seen import Pod
from hookline.control.sender_reports import Report, Senders
from hookline.control.work_keys import DispatcherKey, RootKey, TouchKey, WebhookKey
from hookline.routing.routes import BOOK_SHARDS
from hookline.routing.verdict import record_of
from hookline.runtime.tasks import within

log = structlog.get_logger(__name__)

GATHER_SECONDS = 0.05
"""How long writes of a book are gathered before pods are touched: one refresh for many changes."""

TOUCH_SECONDS = 0.3
"""Between two touches of the same pods. A kubelet needs about as long to refresh a volume (measured)."""

COUNT_SECONDS = 10.0
"""Between two writes of the counts in a Dispatcher's status."""

ASK_SECONDS = 0.2
ASK_LATER_SECONDS = 1.0
"""Between two questions to senders that are awaited: at first, and when they take long."""

IMPATIENT_SECONDS = 10.0
LOOK_SECONDS = 5.0
"""Between two questions when nothing is awaited: endpoints turn failing or well."""


class BookWriter:
    """The books of all Dispatchers."""

    def __init__(self, context: Context, senders: Senders, *, read_again: Callable[[], Awaitable[None]]) -> None:
        """`read_again` reads the whole cluster afresh and decides every Webhook anew. It raises ClusterError."""
        self._context = context
        self._senders = senders
        self._read_all_again = read_again
        self._reading = asyncio.Lock()
        self._touched_at: dict[str, float] = {}
        self._awaiting_since = time.monotonic()

    def load(self, fleet: Fleet) -> None:
        """Take over the book as it is in the cluster."""
        for number in range(BOOK_SHARDS):
            config_map = self._context.own(CONFIG_MAPS, routes_name(fleet.name, number))
            secret = self._context.own(SECRETS, keys_name(fleet.name, number))
            if config_map is not None or secret is not None:
                fleet.book.load(number, files_of(config_map, secret))
        fleet.book.expect(shards_of(self._context.own(CONFIG_MAPS, root_name(fleet.name))))
        fleet.lately.confirm(fleet.book.hearing, time.monotonic())

    async def reconcile_shard(self, name: str, number: int) -> None:
        """Have the cluster hold a shard as it should be. Raises ClusterError."""
        fleet = self._context.fleets.get(name)
        if fleet is None or number not in fleet.book.shards():
            return
        await self._doubt(fleet)
        try:
            written = await self._write_shard(fleet, number)
        except (Denied, Forbidden, Invalid) as error:
            self._tell_refusal(fleet, number, str(error))
            raise
        self._tell_refusal(fleet, number, None)
        if written:
            self._context.queue.add_later(DispatcherKey(self._context.identity.namespace, name), COUNT_SECONDS)
        if fleet.book.awaiting:
            self._context.wake.set()

    async def _write_shard(self, fleet: Fleet, number: int) -> bool:
        name, namespace = fleet.name, self._context.identity.namespace
        files = fleet.book.files(number)
        new = self._context.own(SECRETS, keys_name(name, number)) is None
        written = await self._write(fleet, CONFIG_MAPS, routes_manifest(namespace, name, number, files))
        written |= await self._write(fleet, SECRETS, keys_manifest(namespace, name, number, files))
        if new:
            # The root names the shards that are there.
            self._context.queue.add(RootKey(name))
        return written

    def _tell_refusal(self, fleet: Fleet, number: int, words: str | None) -> None:
        """Have the Dispatcher, and each Webhook that waits for it, say that a shard is refused, or is not any more."""
        if fleet.refused.get(number) == words:
            return
        if words is None:
            del fleet.refused[number]
        else:
            fleet.refused[number] = words
        self._context.queue.add(DispatcherKey(self._context.identity.namespace, fleet.name))
        for route in fleet.book.awaited_in(number):
            self._context.queue.add(WebhookKey(route.namespace, route.name))

    async def _doubt(self, fleet: Fleet) -> None:
        """Read the cluster again before most of a book is lost. Raises ClusterError: then nothing is written."""
        async with self._reading:
            before = fleet.lately.count
            if not fleet.lately.loses_most(fleet.book.hearing, time.monotonic()):
                return
            facts = {"dispatcher": fleet.name, "before": before}
            log.warning("most Webhooks would go at once; reading again", **facts, now=fleet.book.hearing)
            self._hold_back(
                fleet,
                f"{fleet.book.hearing} of {before} Webhooks would hear events from now on; this is written once a "
                "second read of the cluster says the same",
            )
            await self._read_all_again()
            if fleet.lately.loses_most(fleet.book.hearing, time.monotonic()):
                log.warning("a second read says the same: most Webhooks are gone", **facts, now=fleet.book.hearing)
                fleet.lately.confirm(fleet.book.hearing, time.monotonic())
            else:
                log.error("a second read says otherwise: the first one was wrong", **facts, now=fleet.book.hearing)
            self._hold_back(fleet, "")

    def _hold_back(self, fleet: Fleet, why: str) -> None:
        fleet.held_back = why
        self._context.queue.add(DispatcherKey(self._context.identity.namespace, fleet.name))

    async def reconcile_root(self, name: str) -> None:
        """Have the cluster hold the root of a book: its shards, what is known of the Dispatcher, the event types."""
        fleet, seen = self._context.fleets.get(name), self._context.dispatcher(name)
        if fleet is None or seen is None or seen.value is None:
            return
        shards, root = fleet.book.shards(), self._context.own(CONFIG_MAPS, root_name(name))
        # One that a root names stays in it: its objects may be unseen for a moment, and are made anew.
        named = shards_of(root)
        there = [
            each for each in shards if each in named or self._context.own(SECRETS, keys_name(name, each)) is not None
        ]
        if there != shards and root is None:
            # Senders take what a first root leaves out for deleted. Each new shard has the root looked at again.
            return
        policy = self._context.policy()
        namespace = self._context.identity.namespace
        await self._write(
            fleet, CONFIG_MAPS, root_manifest(namespace, name, there, record_of(seen.value), policy.records)
        )

    async def reconcile_touch(self, name: str) -> None:
        """Touch the pods, so that kubelets refresh the book now. Raises ClusterError."""
        fleet = self._context.fleets.get(name)
        if fleet is None:
            return
        wait = self._touched_at.get(name, 0.0) + TOUCH_SECONDS - time.monotonic()
        if wait > 0:
            self._context.queue.add_later(TouchKey(name), wait)
            return
        self._touched_at[name] = time.monotonic()
        await self._context.touch(self._context.observed.sender_pods(name), self._version(fleet))

    async def follow(self) -> None:
        """Ask the senders what they serve, as often as needed, for ever."""
        while True:
            self._context.wake.clear()
            await asyncio.gather(*(self._ask(fleet) for fleet in list(self._context.fleets.values())))
            await self._nap()

    async def _ask(self, fleet: Fleet) -> None:
        all_pods = [pod for pod in self._context.observed.sender_pods(fleet.name) if pod.ip]
        pods = [pod for pod in all_pods if pod.ready]
        # A pod is not ready while it cannot use its queue, and only it knows why.
        answers = await self._senders.ask(all_pods)
        if fleet.hear_of_queue(answers.values()):
            self._context.queue.add(DispatcherKey(self._context.identity.namespace, fleet.name))
        reports: dict[str, Report | None] = {pod.name: answers[pod.name] for pod in pods}
        for uid in fleet.take_reports(reports):
            route = fleet.book.route(uid)
            if route is not None:
                self._context.queue.add(WebhookKey(route.namespace, route.name))
        self._touch_late(fleet, pods)

    def _touch_late(self, fleet: Fleet, pods: Iterable[Pod]) -> None:
        """Have pods touched that an operator before this one wrote for and did not live to touch."""
        version = self._version(fleet)
        if any(pod.touched != version and (pod.touched or pod.name in fleet.late) for pod in pods):
            self._context.queue.add_later(TouchKey(fleet.name), GATHER_SECONDS)

    def _version(self, fleet: Fleet) -> str:
        """Of the whole book as it is in the cluster: the same for every operator that has read it."""
        names = [(CONFIG_MAPS, root_name(fleet.name))]
        for number in fleet.book.shards():
            names += [(CONFIG_MAPS, routes_name(fleet.name, number)), (SECRETS, keys_name(fleet.name, number))]
        return self._context.version_of(names)

    async def _nap(self) -> None:
        if any(fleet.book.awaiting for fleet in self._context.fleets.values()):
            late = time.monotonic() - self._awaiting_since > IMPATIENT_SECONDS
            await asyncio.sleep(ASK_LATER_SECONDS if late else ASK_SECONDS)
            return
        await within(self._context.wake, LOOK_SECONDS)
        self._awaiting_since = time.monotonic()

    async def _write(self, fleet: Fleet, kind: Kind, manifest: dict[str, Any]) -> bool:
        """Apply one object of a book if it differs; whether it did."""
        seen = self._context.dispatcher(fleet.name)
        if seen is None or seen.value is None:
            return False
        manifest["metadata"]["ownerReferences"] = [owner(seen.value)]
        written = await self._context.write_own(kind, manifest)
        if written:
            self._context.queue.add_later(TouchKey(fleet.name), GATHER_SECONDS)
        return written
