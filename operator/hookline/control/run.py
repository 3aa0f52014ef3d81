"""`hookline operator`: reads the whole cluster once, then follows it, as long as it leads.

The order of its life: the Lease; everything listed; every Webhook decided; only then the first write. An operator that
wrote before it knew all Webhooks would take some out of the route book, and their deliveries would be given up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog

from hookline.control.book_writer import BookWriter
from hookline.control.bootstrap import create_missing
from hookline.control.cluster import Access, Cluster, ClusterError, ClusterUnavailable, Forbidden, Snapshot
from hookline.control.context import Context, Identity
from hookline.control.kinds import (
    ALLOWED,
    ASKS_FOR_CA,
    CONFIG_MAPS,
    DEPLOYMENTS,
    DISPATCHERS,
    DISRUPTION_BUDGETS,
    EVENT_TYPES,
    NAMESPACES,
    NETWORK_POLICIES,
    OURS,
    PODS,
    PUBLISHERS,
    PUBLISHING,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    WEBHOOKS,
    Kind,
)
from hookline.control.leases import ClusterLeases
from hookline.control.nats_disks import NatsDisks
from hookline.control.reconcile import Reconciler
from hookline.control.seen import kept_by
from hookline.control.sender_reports import Senders
from hookline.control.watch import News, Watch, Watched
from hookline.control.webhooks import Webhooks
from hookline.control.work_keys import NatsUsersKey, RootKey, WebhookKey, words_of
from hookline.control.work_queue import retry_seconds
from hookline.resources.base import GROUP
from hookline.runtime.logs import frames_of
from hookline.runtime.tasks import cancel, within
from hookline.serving.leader import Election, LeaseLost

log = structlog.get_logger(__name__)

T = TypeVar("T")

WORKERS = 16
"""Keys worked on at once. Most of the time of one goes into waiting for the API server."""

RESYNC_SECONDS = 120.0
"""Between two comparisons with the whole cluster: what a watch missed is repaired after this time at the latest."""

RELIST_SECONDS = 2.0
"""After a watch was new or broken: what was deleted meanwhile is looked for. Kopf does not notice it."""

RELIST_LOOKS = 15
"""How often that is put off while lists of new watches still come in."""

CATCH_UP_LOOKS = 5
CATCH_UP_SECONDS = 0.4
"""Looks, and the time between two, before what a list names and no watch has told counts as missed."""

BATCH = 100
"""Objects looked at in one go: the Lease is renewed in between, however slow the machine is."""

ENDING_SECONDS = 12.0
"""How long it may take to end watches (10 s) and to give the Lease back, before the cancellation counts as lost."""

SLOW_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Listed:
    """A kind that is read as a whole, where, and which of its objects."""

    kind: Kind
    namespace: str | None
    labels: str = ""
    ours: bool = False


class WatchEnded(Exception):
    """A watch ended by itself. The process must end too, to begin anew."""


class Operator:
    """One operator process. `ready` says why it is not, or None; so does `live`."""

    def __init__(
        self,
        cluster: Cluster,
        access: Callable[[], Access],
        identity: Identity,
        *,
        lease: str,
        bootstrap: Path | None = None,
        sender_port: int | None = None,
        resync_seconds: float = RESYNC_SECONDS,
    ) -> None:
        self._cluster = cluster
        self._access = access
        self._identity = identity
        self._bootstrap = bootstrap
        self._resync_seconds = resync_seconds
        self._senders = Senders() if sender_port is None else Senders(port=sender_port)
        self._election = Election(ClusterLeases(cluster), identity.namespace, lease, identity.name)
        self.context = Context(cluster, identity)
        self.nats_disks = NatsDisks(self.context)
        self._webhooks = Webhooks(self.context)
        self._book_writer = BookWriter(self.context, self._senders, read_again=self._read_again)
        self._reconciler = Reconciler(self.context, self._webhooks, self._book_writer)
        self._resync = asyncio.Event()
        self._ticked_at = time.monotonic()
        self._synced_at: float | None = None
        self._standing_by = False
        self._ends_at: float | None = None
        """When it failed or was asked to end, by the monotonic clock."""

    def live(self) -> str | None:
        """What is wrong with this process so that only a restart helps, or None."""
        if time.monotonic() - self._ticked_at > SLOW_SECONDS:
            return "the event loop stands still"
        if self._ends_at is not None and time.monotonic() - self._ends_at > SLOW_SECONDS:
            return "it leads no more, or should have ended, and goes on"
        return None

    def ready(self) -> str | None:
        """Why this operator does not do its work yet, or None. One that stands by is ready: it could take over."""
        if self._standing_by:
            return None
        if self._synced_at is None:
            return "the cluster was not read yet"
        age = time.monotonic() - self._synced_at
        if age > 3 * self._resync_seconds:
            return f"the cluster could not be read for {age:.0f} s"
        return None

    @property
    def leads(self) -> bool:
        return self._election.leads

    @property
    def without_room(self) -> dict[str, Callable[[], int]]:
        """Webhooks whose newest version found no room in a route book, by what is in force instead."""
        return {
            "before": lambda: self._webhooks.without_room(called=True),
            "none": lambda: self._webhooks.without_room(called=False),
        }

    @property
    def fullness(self) -> float:
        """How full the fullest route book is, from 0 to 1."""
        return max((fleet.book.fullness for fleet in self.context.fleets.values()), default=0.0)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`. Raises LeaseLost, WatchEnded."""
        working = asyncio.create_task(self._lead())
        others = [asyncio.create_task(self._tick()), asyncio.create_task(stop.wait())]
        try:
            await asyncio.wait([working, others[1]], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._ends()
            await cancel((working, *others), again_seconds=ENDING_SECONDS)
        if not working.cancelled():
            working.result()

    async def _lead(self) -> None:
        self._standing_by = True
        await self._election.win()
        self._standing_by = False
        self._cluster.may_write = lambda: self._election.leads
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._or_end(self._election.keep()))
                group.create_task(self._or_end(self._work(group)))
        except* LeaseLost as lost:
            raise lost.exceptions[0] from None
        except* WatchEnded as ended:
            raise ended.exceptions[0] from None
        finally:
            await self._senders.aclose()
            await asyncio.shield(self._election.resign())

    async def _or_end(self, work: Coroutine[Any, Any, None]) -> None:
        """Work without which this process must end: from its failure on, the end is awaited."""
        try:
            await work
        except Exception:
            self._ends()
            raise

    def _ends(self) -> None:
        self._ends_at = time.monotonic() if self._ends_at is None else self._ends_at

    async def _work(self, group: asyncio.TaskGroup) -> None:
        bootstrap = self._bootstrap
        if bootstrap is not None:
            await self._insist("create the first Dispatchers", lambda: create_missing(self.context, bootstrap))
        await self._insist("read the cluster", self._read_everything)
        await self._place_everything()
        self._synced_at = time.monotonic()
        log.info(
            "the cluster was read",
            webhooks=len(self.context.observed.webhooks),
            lent_secrets=len(self.context.observed.secrets),
            dispatchers=len(self.context.fleets),
        )
        async with self._watching(group):
            for _ in range(WORKERS):
                group.create_task(self._worker())
            group.create_task(self._book_writer.follow())
            group.create_task(self.nats_disks.follow())
            await self._resync_for_ever()

    async def _insist(self, what: str, work: Callable[[], Any]) -> None:
        """Do something that must be done before all else, until it succeeds."""
        failures = 0
        while True:
            try:
                await work()
                return
            except ClusterError as error:
                failures += 1
                wait = retry_seconds(failures, 0.5)
                log.warning(f"could not {what}; trying again", problem=str(error), seconds=round(wait, 1))
                await asyncio.sleep(wait)

    async def _read_everything(self) -> None:
        """Every list there is. Nothing of it counts unless all of it could be read."""
        lists = [*self._watched_lists(), *self._own_lists()]
        answers = [await self._listed(each) for each in lists]
        observed = self.context.observed
        for each, found in zip(lists, answers, strict=True):
            async for manifest in _unhurried(found.objects):
                if observed.belongs(each.kind, manifest.get("metadata"), ours=each.ours):
                    observed.put(each.kind, manifest)
            observed.confirm(each.kind, found.version, ours=each.ours)

    async def _listed(self, each: Listed, *, metadata_only: bool = False) -> Snapshot:
        return await self._cluster.snapshot(
            each.kind, each.namespace, labels=each.labels, metadata_only=metadata_only, keep=kept_by(each.labels)
        )

    async def _place_everything(self) -> None:
        """Decide every Webhook and compare the books with the cluster; nothing is written yet."""
        # Pods wait for what they show to NATS.
        self.context.queue.add(NatsUsersKey())
        self._reconciler.sync_fleets()
        await self._place_webhooks()
        self._webhooks.forget_strangers()
        for fleet in self.context.fleets.values():
            self.context.add({fleet.key_of(number) for number in fleet.book.shards()})
            self.context.queue.add(RootKey(fleet.name))
        self.context.add(self.context.observed.all_keys())

    async def _read_again(self) -> None:
        """Every list afresh, and every Webhook decided by it."""
        for each in (*self._watched_lists(), *self._own_lists()):
            found = await self._listed(each)
            self.context.add(self.context.observed.replace_all(each.kind, found.objects, found.version, ours=each.ours))
        await self._place_webhooks()

    async def _place_webhooks(self) -> None:
        async for seen in _unhurried(list(self.context.observed.webhooks.values())):
            try:
                self._webhooks.place(seen)
            except Exception as error:  # noqa: BLE001  # one object must not stop the work on all others
                key = WebhookKey(seen.namespace, seen.name)
                log.error("reconcile failed; retrying", key=words_of(key), at=frames_of(error))

    def _watched_lists(self) -> list[Listed]:
        watched = self._identity.watched
        kinds = [
            Listed(WEBHOOKS, watched),
            Listed(EVENT_TYPES, None),
            Listed(SECRETS, watched, ALLOWED),
            Listed(PUBLISHERS, watched, PUBLISHING),
            Listed(CONFIG_MAPS, watched, ASKS_FOR_CA),
        ]
        return kinds if watched else [*kinds, Listed(NAMESPACES, None)]

    def _own_lists(self) -> list[Listed]:
        own = self._identity.namespace
        return [
            Listed(DISPATCHERS, own),
            Listed(CONFIG_MAPS, own, OURS, ours=True),
            Listed(SECRETS, own, OURS, ours=True),
            *(Listed(kind, own, OURS) for kind in (PODS, DEPLOYMENTS, DISRUPTION_BUDGETS, NETWORK_POLICIES)),
            *(Listed(kind, own, OURS) for kind in (SERVICE_ACCOUNTS, SERVICES)),
        ]

    @asynccontextmanager
    async def _watching(self, group: asyncio.TaskGroup) -> AsyncIterator[None]:
        watches = [
            Watch(_watched(lists), self._access, self._hear, namespace=namespace)
            for lists, namespace in (
                *_apart(self._watched_lists(), self._identity.watched),
                *_apart(self._own_lists(), self._identity.namespace),
            )
        ]
        for watch in watches:
            watch.start()
            group.create_task(self._or_end(_guarded(watch)))
        try:
            yield
        finally:
            await asyncio.gather(*(watch.stop() for watch in watches))

    def _hear(self, news: News) -> None:
        observed = self.context.observed
        if not observed.belongs(news.kind, news.manifest.get("metadata"), ours=news.ours):
            return
        keys = observed.remove(news.kind, news.manifest) if news.gone else observed.put(news.kind, news.manifest)
        self.context.add(keys)
        if news.relisted:
            self._resync.set()

    async def _resync_for_ever(self) -> None:
        while True:
            await within(self._resync, self._resync_seconds)
            if self._resync.is_set():
                await self._let_lists_come_in()
            try:
                await self._compare()
                self._synced_at = time.monotonic()
            except ClusterError as error:
                log.warning("could not compare with the cluster; trying again later", problem=str(error))
                self._resync.set()

    async def _let_lists_come_in(self) -> None:
        """Until the lists of new watches are through: they come object by object, and one comparison is enough."""
        for _ in range(RELIST_LOOKS):
            self._resync.clear()
            await asyncio.sleep(RELIST_SECONDS)
            if not self._resync.is_set():
                return

    async def _compare(self) -> None:
        """Set difference with the cluster, by metadata; only kinds that differ are read in full."""
        observed = self.context.observed
        for each in (*self._watched_lists(), *self._own_lists()):
            found = await self._listed(each, metadata_only=True)
            if await self._agrees(each, found):
                observed.confirm(each.kind, found.version, ours=each.ours)
                continue
            found = await self._listed(each)
            self.context.add(observed.replace_all(each.kind, found.objects, found.version, ours=each.ours))

    async def _agrees(self, each: Listed, found: Snapshot) -> bool:
        """Whether nothing was missed. A watch that is only slower is waited for: a full list costs seconds."""
        for _ in range(CATCH_UP_LOOKS):
            if not self.context.observed.differs(each.kind, found.objects, found.version, ours=each.ours):
                return True
            await asyncio.sleep(CATCH_UP_SECONDS)
        return False

    async def _worker(self) -> None:
        queue = self.context.queue
        while True:
            key = await queue.take()
            try:
                await self._reconciler.reconcile(key)
                queue.succeeded(key)
            except ClusterError as error:
                wait = queue.retry(key, error.after_seconds if isinstance(error, ClusterUnavailable) else 0.0)
                level = log.error if isinstance(error, Forbidden) else log.warning
                level("reconcile failed; retrying", key=words_of(key), problem=str(error), seconds=round(wait, 1))
            except Exception as error:  # noqa: BLE001  # one object must not stop the work on all others
                wait = queue.retry(key)
                log.error(
                    "reconcile failed; retrying",
                    key=words_of(key),
                    problem=type(error).__name__,
                    at=frames_of(error),
                    seconds=round(wait, 1),
                )
            finally:
                queue.done(key)

    async def _tick(self) -> None:
        while True:
            self._ticked_at = time.monotonic()
            await asyncio.sleep(1)


async def _unhurried(items: Iterable[T]) -> AsyncIterator[T]:
    """Items of a long list, with room for other work of this loop now and then."""
    for number, item in enumerate(items, start=1):
        yield item
        if number % BATCH == 0:
            await asyncio.sleep(0)


def _apart(lists: Sequence[Listed], namespace: str | None) -> list[tuple[list[Listed], str | None]]:
    """What is watched together: a kind whose CRD may be deleted stands alone, and of one kind only one selector can
    be watched."""
    alone = [each for each in lists if each.kind.api_version.startswith(GROUP) or each.kind.part]
    return [([each], namespace) for each in alone] + [([each for each in lists if each not in alone], namespace)]


def _watched(lists: Sequence[Listed]) -> list[Watched]:
    return [Watched(each.kind, each.labels, each.ours) for each in lists]


async def _guarded(watch: Watch) -> None:
    try:
        await watch.ended()
    except Exception as error:
        raise WatchEnded(f"a watch ended by itself ({type(error).__name__})") from error
    raise WatchEnded("a watch ended by itself")
