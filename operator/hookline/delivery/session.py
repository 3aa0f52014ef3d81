"""Deliveries over one connection to NATS: the streams are made, then messages are taken, until the process ends.

At the end nothing more is taken and calls under way finish. Never makes the connection: process does.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from hookline.delivery import fanout, sender
from hookline.delivery.attempts_log import AttemptsLog
from hookline.delivery.backlog import Backlog
from hookline.delivery.endpoints import Endpoints
from hookline.delivery.fanout import Fanout
from hookline.delivery.http.attempt import Caller
from hookline.delivery.http.call import tls_material
from hookline.delivery.http.tunnel import ProxyCredentials
from hookline.delivery.lane_key import LaneKey
from hookline.delivery.large_events import LargeEvents
from hookline.delivery.messages import Delivery
from hookline.delivery.notices import Notices
from hookline.delivery.parking import Parking
from hookline.delivery.policy.event_room import EventRoom
from hookline.delivery.policy.lanes import LaneSnapshot
from hookline.delivery.policy.retry import Dead
from hookline.delivery.policy.shard_room import ShardRoom
from hookline.delivery.policy.shares import ANNOUNCE_SECONDS, Members
from hookline.delivery.route_book import RouteBook
from hookline.delivery.sender import Attempt, Sender
from hookline.delivery.set_aside import SetAside
from hookline.delivery.settlement import Settlement
from hookline.delivery.test_call import TestCalls
from hookline.routing.routes import Audience, Book, DispatcherRecord, Route
from hookline.runtime.background import background
from hookline.runtime.metrics import SenderMetrics
from hookline.runtime.tasks import Deadline, cancel, unless, within
from hookline.stream import names
from hookline.stream.agreement import Agreement, Says
from hookline.stream.attempts_log import AttemptsStream
from hookline.stream.audience import answer_audience
from hookline.stream.clock import ServerClock
from hookline.stream.connection import Client, QueueUnusable, StreamRefused, StreamUnavailable
from hookline.stream.endpoints import EndpointBucket
from hookline.stream.event_reader import EventReader
from hookline.stream.expiry import Expiry
from hookline.stream.inspect import account_disk, held, left_in_former, oldest_unsettled_s, state_of
from hookline.stream.layout import Layout, plain
from hookline.stream.mover import Mover, remove_empty
from hookline.stream.overdue import Overdue
from hookline.stream.owner import Installation
from hookline.stream.ownership import Ownership
from hookline.stream.peers import Presence
from hookline.stream.publish import Publisher
from hookline.stream.pull import Origin, PullLoop, Taken
from hookline.stream.queue_problem import QueueProblem, QueueReason
from hookline.stream.same_event import answer_same
from hookline.stream.streams import (
    FanoutPlace,
    Retention,
    consumer_configs,
    ensure,
    fanout_places,
    find,
    foreign_names,
    small_events,
)
from hookline.stream.test_call import answer_tests
from hookline.stream.types import are_spoiled, types_version, write_types

log = structlog.get_logger(__name__)

_WAIT_IN = {names.DELIVERIES: "deliveries", names.PARKED: "parked", names.BACKLOG: "backlog"}
"""Streams in which something waits, without their prefix, and what the metrics call them."""

_KEPT_IN = {names.EVENTS: "events", names.DEAD: "dead", names.ATTEMPTS: "attempts"}
"""The others."""

FORMER_SHARE = 4
"""What is in hand of a former stream's consumer is one of so many parts of what is of another one."""

_ROOMS = {names.EVENTS: (Origin.EVENTS, fanout.MAX_IN_HAND), names.DELIVERIES: (Origin.SHARD, sender.MAX_IN_HAND)}
"""How many messages of a consumer of each stream are in our hands at most."""

EMPTY_SECONDS = 1.0
"""Between two looks at what is left in former streams."""

OVERDUE_SECONDS = 600.0
"""Between two looks for retries that should have come long ago: each reads all that is scheduled."""

OVERDUE_AFTER_SECONDS = 60.0
"""From the start, and from a change of how many copies there are, to such a look: what was due then is overdue by
then, and a server that just began has let come what waited for it."""

PACE_SECONDS = 0.025
"""Between two looks at how late everything is."""

AGAIN_SECONDS = 2.0
"""After the queue could not be brought up to date."""

LOOK_SECONDS = 10.0
"""Between two looks at how far fan-out has come, and at the oldest of what waits."""

DISK_AGAIN_SECONDS = 600.0
"""After a question for the account's disk that was not answered: a user who may not ask is not answered at all."""

HELD_SECONDS = 2.0
"""How long the start and the end of a session wait to say what the queue holds."""

LARGE_SECONDS = 2.0
"""How long the end of a session waits for large events to be read past, or for a quarter of its grace if that is
less."""

NOTICES_SECONDS = 1.0
"""How long the end of a session takes to publish what tenants are told."""

LOG_SECONDS, LOG_LEAST_SECONDS = 2.0, 0.5
"""How long the end of a session waits for the attempts log to be written: of its grace, and also when that is over."""

CALM_SECONDS = 2.0
"""Without a new sign of trouble the queue counts as well again."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a session has in hand at one moment: to look at, it follows nothing."""

    held: int
    """Deliveries in our hands."""
    members: int
    """Senders that count as here, with this one."""
    lanes: Mapping[LaneKey, LaneSnapshot]
    serving: frozenset[str]
    """The uids of Webhooks whose parked deliveries are being served."""


class Session:
    """Fan-out, sender and parking over `client`."""

    def __init__(
        self,
        client: Client,
        books: RouteBook,
        endpoints: Endpoints,
        metrics: SenderMetrics,
        *,
        installation: Installation,
        attempts_log: AttemptsLog,
        on_attempt: Callable[[Attempt], None],
        on_waiting: Callable[[QueueProblem], None],
        gone_seconds: float,
        proxy_credentials: ProxyCredentials | None = None,
    ) -> None:
        self._client = client
        self._metrics = metrics
        self._books = books
        self._caller = Caller(lambda: books.policy, proxy_credentials=proxy_credentials)
        self._pull = PullLoop(client, self._dispatch, on_gone=self._consumer_gone)
        self._outdated = asyncio.Event()
        self._ownership = Ownership(client, installation)
        self._on_attempt = on_attempt
        self._on_waiting = on_waiting
        self._trouble = ""
        """What was last said of a queue that is not as it should be."""
        self._places: dict[str, FanoutPlace] = {}
        self._expiry = Expiry()
        self._look_now = asyncio.Event()
        self._layout = plain()
        self._is_set_up = False
        self._takes_from: dict[str, str] = {}
        """Consumers of events and shards that are taken from, and their streams."""
        self._cannot_move: QueueProblem | None = None
        """Why the streams do not get the prefix that is wanted. All goes on where they are."""
        self._waits_for: str | None = None
        """The prefix of which was last said that it waits for other senders."""
        self._ask_disk_at_s = 0.0
        """By the monotonic clock."""
        self._types_version: tuple[str, int, int] | None = None
        """Of the event types in NATS, when it was looked last."""
        self._left = 0
        """What was left in former streams, when it was looked last."""
        # Nobody takes from DEAD, and from PARKED seldom: that they were deleted shows when something is to be stored.
        publisher = self._publisher = Publisher(client, on_missing=self._outdated.set, layout=lambda: self._layout)
        self._clock = ServerClock(client, lambda: self._layout)
        me = secrets.token_hex(8)
        self._endpoints = endpoints
        self._attempts_log = attempts_log
        self._bucket = EndpointBucket(client, on_missing=self._outdated.set)
        self._me = me
        self._notices = Notices(Publisher(client), books, metrics, now_s=self._clock.now_s)
        self._tests = TestCalls(me, books, self._caller, self._clock, on_called=attempts_log.add)
        self._members = Members(me)
        self._agreement = Agreement(me)
        self._large = LargeEvents(
            client, self._agreement, self._ownership, layout=lambda: self._layout, term=lambda: self._term
        )
        self._presence = Presence(client, me, says=self._says, on_here=self._here, on_left=self._gone)
        self._mover = Mover(client, publisher, now_s=self._clock.now_s, may_go_on=self._may_empty)
        self._overdue = Overdue(client, publisher, now_s=self._clock.now_s, may_go_on=self._may_empty)
        self._replicas = 0
        """How many copies of the streams were asked for last."""
        self._look_for_overdue = asyncio.Event()
        self._reader = EventReader(client, lambda: self._layout)
        settlement = Settlement(publisher, metrics, self._clock, whole=self._reader.whole)
        self._sender = Sender(
            self._pull,
            publisher,
            settlement,
            books,
            self._caller,
            endpoints,
            self._members,
            metrics,
            self._clock,
            on_attempt=self._attempted,
        )
        self._room = EventRoom()
        self._shard_room = ShardRoom(names.DELIVERY_SHARDS)
        aside = SetAside(publisher, settlement, self._pull, metrics)
        self._fanout = Fanout(
            self._pull,
            publisher,
            settlement,
            books,
            endpoints,
            self._sender,
            aside,
            self._room,
            metrics,
            whole=self._reader.whole,
            on_room=lambda: self._backlog.room_given(),
            on_unheard=attempts_log.unheard,
        )
        self._backlog = Backlog(
            client,
            self._pull,
            settlement,
            aside,
            self._reader.find,
            self._fanout.take,
            self._fanout.has_room,
            term=lambda: self._term,
            spawn=self._handle,
        )
        self._parking = Parking(
            client,
            self._pull,
            publisher,
            settlement,
            books,
            metrics,
            self._sender,
            endpoints,
            self._members,
            self._clock,
            gone_seconds=gone_seconds,
            layout=lambda: self._layout,
            on_buried=self._buried,
        )
        self._handling: set[asyncio.Task[None]] = set()
        self._root = ""

    @property
    def held(self) -> int:
        """Deliveries in our hands."""
        return self._sender.held

    def snapshot(self) -> Snapshot:
        """What is in hand now, for tests and for finding faults."""
        here, lanes = len(self._members.here), self._sender.lanes()
        return Snapshot(self.held, here, lanes, self._parking.serving)

    def stuck(self) -> str | None:
        """Why no message will ever be taken again, if that is so."""
        return self._pull.stuck()

    def queue_problem(self) -> QueueProblem | None:
        """Why nothing can be stored, or the streams cannot be moved, if that is so."""
        return self._publisher.writes.problem(time.monotonic()) or self._cannot_move

    def book_changed(self, book: Book) -> None:
        """Streams and event types follow the root of the book, and TLS material that left it is forgotten."""
        if book.digest != self._root:
            self._outdated.set()
        self._caller.keep_only({each for keys in book.all_keys() if (each := tls_material(keys)) is not None})

    def reconnected(self) -> None:
        """Perhaps to another server, which may belong to somebody else, be older, or have lost what it had."""
        self._publisher.writes.forget()
        self._large.reconnected()
        self._pull.reconnected()
        self._clock.reconnected()
        self._ownership.wake()
        self._attempts_log.reconnected()
        self._outdated.set()
        self._ask_disk_at_s = 0.0
        # Before fan-out goes on behind what expired meanwhile.
        self._look_now.set()

    async def run(self, stop: asyncio.Event, *, grace_seconds: float, on_ready: Callable[[], None]) -> None:
        """Deliver until `stop`, then drain within the grace.

        Raises StreamUnavailable, StreamRefused, and of the latter QueueUnusable when this is not the owner (any more).
        """
        try:
            if not await unless(stop, self._set_up()):
                return
            await self._endpoints.load(self._bucket)
            await self._presence.start()
            await self._presence.announce()
            await answer_audience(self._client, self._audience)
            await answer_same(self._client, self._reader.read, self._handle)
            await answer_tests(self._client, self._me, self._tests.serves, self._tests.call, self._handle)
            await self._pull.start()
            self._is_set_up = True
            self._take_everything()
            await self._say_held("deliveries wait from before")
            on_ready()
            attempts_stream = AttemptsStream(self._client)
            async with background(
                self._sender.keep_alive(),
                self._sender.stretch_long_calls(),
                self._parking.watch(),
                self._backlog.watch(),
                self._backlog.keep_alive(),
                self._keep_pace(),
                self._endpoints.follow(self._bucket, self._sender.park_waiting, self._notices.turned),
                self._notices.follow(),
                self._announce(),
                self._clock.follow(),
                self._follow_changes(),
                self._look_at_queue(),
                self._empty_former(),
                self._bring_overdue(),
                self._ownership.watch(),
                self._pull.watched(),
                self._attempts_log.run(attempts_stream, lambda: self._ownership.mark, self._clock.now_s),
            ):
                await stop.wait()
                log.info("shutting down: finishing calls in progress", grace_seconds=grace_seconds)
                await self._drain(grace_seconds)
                await self._say_held("deliveries wait for the next start")
        finally:
            await self._let_go()

    def _attempted(self, attempt: Attempt) -> None:
        if isinstance(attempt.decision, Dead) and attempt.settled and not attempt.given_back:
            self._notices.died(attempt.delivery, attempt.route, attempt.decision.reason, attempt.outcome)
        self._on_attempt(attempt)

    def _buried(self, delivery: Delivery, route: Route, reason: str) -> None:
        self._notices.died(delivery, route, reason, None)

    async def _say_held(self, when: str) -> None:
        """How many deliveries are not done yet, if any. Never holds up: a queue that does not answer is left."""
        with contextlib.suppress(StreamUnavailable, StreamRefused, TimeoutError), Deadline(HELD_SECONDS):
            found = await held(self._client, self._layout)
            if found.deliveries or found.parked:
                log.info(when, queued=found.deliveries, parked=found.parked, dead_letters=found.dead_letters)

    async def _drain(self, grace_seconds: float) -> None:
        ends_s = time.monotonic() + grace_seconds
        self._large.end()
        reading_past = self._begin(self._large.leave_none())
        await asyncio.wait([reading_past], timeout=min(LARGE_SECONDS, grace_seconds / 4))
        # Not waited for: the client forgets a cancellation while it waits for a server that takes nothing.
        reading_past.cancel()
        self._parking.close()
        self._backlog.close()
        await self._pull.stop()
        if self._handling:
            await asyncio.wait(self._handling, timeout=max(0.0, ends_s - time.monotonic()))
        await self._sender.drain(max(0.0, ends_s - time.monotonic()))
        with contextlib.suppress(TimeoutError), Deadline(NOTICES_SECONDS):
            await self._notices.tell_the_rest()
        left_seconds = max(LOG_LEAST_SECONDS, min(LOG_SECONDS, ends_s - time.monotonic()))
        await self._attempts_log.drain(left_seconds)
        with contextlib.suppress(StreamUnavailable):
            await self._presence.announce(leaving=True)
        # Whatever was answered last should not be lost in a buffer.
        with contextlib.suppress(Exception), Deadline(2):
            await self._client.flush()

    async def _let_go(self) -> None:
        """End what is left: nothing of it could be stored any more, so it comes again."""
        self._backlog.close()
        await self._pull.stop()
        await cancel(self._handling)
        await self._sender.let_go()
        await self._caller.aclose()

    def _take_everything(self) -> None:
        """Take from the streams that there are, former ones among them, and from none that was removed."""
        configs = consumer_configs(self._layout, self._term)
        consumers = {str(config.durable_name): stream for stream, config in configs}
        heads = {str(config.durable_name) for _, config in configs if config.headers_only}
        for consumer in self._takes_from.keys() - consumers.keys():
            self._pull.remove(consumer)
        for consumer, stream in consumers.items():
            parts = names.parts_of(stream)
            assert parts is not None, "only streams of ours are taken from"
            origin, most = _ROOMS[parts[1]]
            share = self._share(stream)
            room = most // share
            if origin is Origin.SHARD:
                room = self._shard_room.room(room, held=self._pull.held(consumer), moving=0)
            if consumer in self._takes_from:
                self._pull.resize(consumer, room, share=share)
            else:
                self._pull.add(origin, consumer, room, stream=stream, share=share, gives_heads=consumer in heads)
        self._takes_from = consumers

    @property
    def _term(self) -> int:
        assert self._ownership.mark is not None, "nothing is taken from streams of others"
        return self._ownership.mark.term

    def _dispatch(self, taken: Taken) -> None:
        match taken.origin:
            case Origin.SHARD:
                self._sender.take(taken)
            case Origin.EVENTS:
                storing = self._fanout.take(taken)
                if storing is not None:
                    self._handle(storing)
            case Origin.BACKLOG:
                self._handle(self._backlog.handle(taken))
            case Origin.PARKED:
                self._handle(self._parking.handle(taken))

    def _handle(self, work: Coroutine[Any, Any, None]) -> None:
        self._begin(work)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._handling.add(task)
        task.add_done_callback(self._handling.discard)
        return task

    async def _keep_pace(self) -> None:
        """Find out how late everything is, so that no more is in hand than can be done in time."""
        while True:
            await asyncio.sleep(PACE_SECONDS)
            began_s = time.monotonic()
            # A turn of the event loop takes as long as what is due in it. How late the timer was would tell of whoever
            # else uses the node, and to have less in hand would not help against them.
            await asyncio.sleep(0)
            now_s = time.monotonic()
            self._room.look(now_s - began_s, now_s)
            self._resize_shards(now_s - began_s, now_s)
            self._backlog.room_given()

    def _resize_shards(self, late_s: float, now_s: float) -> None:
        """Have no more of shards under way than can be done in time."""
        streams = self._layout.streams(names.DELIVERIES)
        shards = [each for each, stream in self._takes_from.items() if stream in streams]
        # Nearly all calls are made straight from events: to count them would take 0.1 ms, 40 times a second.
        moving = self._sender.moving(now_s) if any(map(self._pull.held, shards)) else Counter[str]()
        under_way = [moving[each] for each in shards if moving[each]]
        self._shard_room.look(late_s, sum(under_way), busy=len(under_way), shards=len(shards))
        for each in shards:
            share = self._share(self._takes_from[each])
            most, held = sender.MAX_IN_HAND // share, self._pull.held(each)
            self._pull.resize(each, self._shard_room.room(most, held=held, moving=moving[each]), share=share)

    def _share(self, stream: str) -> int:
        """Of how many parts of what may be in hand a consumer of a stream has one."""
        return FORMER_SHARE if stream in self._layout.former else 1

    def _here(self, pod: str, says: Says | None) -> bool:
        self._agreement.heard(pod, says)
        return self._members.heard(pod, time.monotonic())

    def _says(self) -> Says:
        return Says(self._prefix, self._layout.at, takes_large=True)

    @property
    def _prefix(self) -> str | None:
        """Which the streams are to have."""
        book = self._books.current
        return book.dispatcher.stream_prefix if book is not None else None

    def _gone(self, pod: str) -> None:
        self._members.left(pod, time.monotonic())

    def _audience(self, tenant: str, event_type: str) -> Audience | None:
        book = self._books.current
        return book.audience(tenant, event_type) if book is not None else None

    async def _announce(self) -> None:
        while True:
            with contextlib.suppress(StreamUnavailable):
                await self._presence.announce()
            await asyncio.sleep(ANNOUNCE_SECONDS)
            now_s = time.monotonic()
            self._members.look(now_s)
            self._agreement.look(self._members.here, self._says(), now_s)
            if self._prefix is not None and not self._layout.is_at(self._prefix):
                if self._agreement.may_move(self._prefix, now_s):
                    self._outdated.set()
                self._say_disagreement(self._prefix)
            if self._large.is_outdated():
                self._outdated.set()
            self._publisher.say_writes()

    def _say_disagreement(self, prefix: str) -> None:
        """Once for each prefix: a move that waits for another sender looks like one that was forgotten."""
        if not self._agreement.all_want_the_same and self._waits_for != prefix:
            log.info("the streams are not moved before all senders are of this version and told this prefix")
            self._waits_for = prefix

    async def _look_at_queue(self) -> None:
        """Remember how far fan-out has come, and have the metrics say what the streams hold, and how long the oldest of
        what waits has waited."""
        while True:
            self._look_now.clear()
            with contextlib.suppress(StreamUnavailable):
                await self._look_at_events()
            for base, label in (_WAIT_IN | _KEPT_IN).items():
                with contextlib.suppress(StreamUnavailable):
                    await self._look_at_stream(base, label)
            with contextlib.suppress(StreamUnavailable):
                # Another sender may have moved them.
                if await find(self._client) != self._layout:
                    self._outdated.set()
            with contextlib.suppress(StreamUnavailable):
                await self._look_at_types()
            # Last: one that may not be asked is waited for.
            await self._look_at_disk()
            await within(self._look_now, LOOK_SECONDS)

    async def _look_at_stream(self, base: str, label: str) -> None:
        streams = self._layout.streams(base) if base in names.BASES else (base,)
        states = [await state_of(self._client, stream) for stream in streams]
        self._metrics.stream(
            label,
            messages=sum(each.messages for each in states),
            size_bytes=sum(each.size_bytes for each in states),
            limit_bytes=sum(each.limit_bytes for each in states),
        )
        if base in _WAIT_IN:
            self._say_oldest(label, [each.oldest_s for each in states])

    async def _look_at_disk(self) -> None:
        """Of the account. A user of a NATS of somebody's own may not be permitted to ask."""
        if time.monotonic() < self._ask_disk_at_s:
            return
        try:
            disk = await account_disk(self._client, self._replicas)
        except (StreamUnavailable, StreamRefused) as error:
            self._ask_disk_at_s = time.monotonic() + DISK_AGAIN_SECONDS
            log.debug("NATS does not say how full its disk is", problem=str(error))
            return
        self._metrics.disk(disk.used_bytes, disk.limit_bytes)

    async def _look_at_types(self) -> None:
        """Whoever publishes can have NATS write its confirmation over a type, which no publisher would know then."""
        version = await types_version(self._client)
        if version != self._types_version:
            if await are_spoiled(self._client):
                log.warning("something that is no event type was written over one; they are written again")
                self._outdated.set()
            self._types_version = version

    async def _look_at_events(self) -> None:
        """How far fan-out has come, how long the oldest event waits for it, and whether it came too late for some."""
        places = await fanout_places(self._client, self._layout, self._term)
        self._places |= places
        expired = self._expiry.look(places)
        if expired:
            self._metrics.expired(expired)
            log.error(
                "events were lost: they were removed from EVENTS before a sender took them, mostly by its retention; "
                "keep senders running, or raise retention.eventsSeconds of the Dispatcher",
                events=expired,
            )
        self._say_oldest("events", [await oldest_unsettled_s(self._client, each) for each in places.values()])

    def _say_oldest(self, label: str, stored: Iterable[float | None]) -> None:
        """`stored`: when the oldest message of each stream was."""
        ages_s = [self._clock.now_s() - each for each in stored if each is not None]
        self._metrics.oldest(label, max([0.0, *ages_s]))

    def _may_empty(self) -> bool:
        return self._agreement.may_empty(self._says(), time.monotonic())

    def _may_remove(self) -> bool:
        return self._agreement.may_remove(self._says(), time.monotonic())

    async def _empty_former(self) -> None:
        """Move what must not wait in former streams, say what is left in them, and remove those that are empty."""
        while True:
            await asyncio.sleep(EMPTY_SECONDS)
            layout = self._layout
            if not layout.former:
                self._note_left(0)
                continue
            try:
                if self._may_empty():
                    await self._mover.empty(layout)
                if self._may_remove():
                    await remove_empty(self._client, layout, may_remove=self._may_remove)
                self._note_left(await left_in_former(self._client, layout, self._term))
            except QueueUnusable:
                raise
            except (StreamUnavailable, StreamRefused) as error:
                log.debug("cannot empty former streams now", problem=str(error))

    async def _bring_overdue(self) -> None:
        """Have retries come that NATS forgot. One sender does."""
        while True:
            self._look_for_overdue.clear()
            await asyncio.sleep(OVERDUE_AFTER_SECONDS)
            try:
                if self._may_empty():
                    await self._overdue.bring(self._layout.stream(names.DELIVERIES))
            except QueueUnusable:
                raise
            except (StreamUnavailable, StreamRefused) as error:
                log.debug("cannot look for retries that are overdue now", problem=str(error))
                self._look_for_overdue.set()
            await within(self._look_for_overdue, OVERDUE_SECONDS)

    def _note_left(self, messages: int) -> None:
        self._metrics.left_in_former(messages)
        if bool(messages) != bool(self._left):
            log.info("former streams hold what is to be done" if messages else "nothing is left in former streams")
        self._left = messages

    def _consumer_gone(self, consumer: str) -> None:
        if not self._parking.lost(consumer) and not self._backlog.lost(consumer):
            # Those of a former stream go with it when it is empty, whichever sender removes it.
            if self._takes_from.get(consumer) not in self._layout.former:
                self._say_trouble("NATS does not know a consumer of ours", consumer=consumer)
            self._outdated.set()

    async def _set_up(self) -> None:
        """Wait until the queue is as it should be: servers that just begin need a while to elect a leader."""
        while True:
            try:
                await self._bring_up_to_date()
                await self._clock.measure()
                # Before anything is taken: fan-out goes on behind what expired.
                await self._look_at_events()
                break
            except StreamUnavailable as error:
                self._on_waiting(QueueProblem(QueueReason.NATS_UNREACHABLE, str(error)))
                await asyncio.sleep(AGAIN_SECONDS)
        small = small_events(self._client)
        if small:
            log.warning("NATS takes only small messages", problem=small)

    async def _follow_changes(self) -> None:
        """Bring the queue up to date when told to; tried again while it is away. Raises QueueUnusable."""
        while True:
            await self._outdated.wait()
            try:
                await self._bring_up_to_date()
                await asyncio.sleep(CALM_SECONDS if self._trouble else 0)
                if not self._outdated.is_set():
                    self._say_well()
            except QueueUnusable:
                raise
            except (StreamUnavailable, StreamRefused) as error:
                self._say_trouble("cannot bring the queue up to date; trying again", problem=str(error))
                await asyncio.sleep(AGAIN_SECONDS)
                self._outdated.set()

    def _say_trouble(self, what: str, **facts: str) -> None:
        """Once, until it is well again: a cluster without a leader is found out by each of 17 consumers."""
        if not self._trouble:
            self._trouble = what
            log.warning(what, **facts)

    def _say_well(self) -> None:
        if self._trouble:
            self._trouble = ""
            log.info("the queue is as it should be again")

    async def _bring_up_to_date(self) -> None:
        self._outdated.clear()
        book = self._books.current
        assert book is not None, "there is no session before there is a route book"
        replicas = book.dispatcher.stream_replicas
        mark = await self._ownership.claim(replicas=replicas)
        retention = _retention(book.dispatcher)
        may_move = await self._may_move()
        take_large = self._large.wanted()
        found = await ensure(
            self._client,
            retention,
            replicas=replicas,
            owner=mark,
            places=self._places,
            prefix=self._prefix,
            may_move=may_move,
            take_large=take_large,
        )
        self._found(found)
        self._large.found(take_large, found)
        if replicas != self._replicas:
            self._replicas = replicas
            self._look_for_overdue.set()
        await write_types(self._client, book.types)
        self._root = book.digest

    async def _may_move(self) -> bool:
        """Whether all senders want the streams to be moved, and they can be: a prefix that cannot be had stops nothing
        that works."""
        prefix = self._prefix
        if prefix is None or not self._agreement.may_move(prefix, time.monotonic()):
            self._cannot_move = None
            return False
        before, self._cannot_move = self._cannot_move, await foreign_names(self._client, prefix)
        if self._cannot_move not in (None, before):
            log.warning("the streams cannot be moved", problem=self._cannot_move.message)
        return self._cannot_move is None

    def _found(self, layout: Layout) -> None:
        """The streams are there, perhaps not where they were."""
        before, self._layout = self._layout, layout
        if not self._is_set_up:
            return
        self._take_everything()
        if before.at != layout.at:
            log.info("the streams were moved", before=before.at, now=layout.at)
            self._parking.moved()


def _retention(dispatcher: DispatcherRecord) -> Retention:
    return Retention(dispatcher.events_seconds, dispatcher.dead_seconds)
