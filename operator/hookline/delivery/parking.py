"""The shelf: deliveries that wait, each Webhook's in the order in which they came, called directly from here.

Looks at it every second and says for each Webhook what is to be done with what waits: call it, probe with the first of
it, give it up, or let it wait. All senders share one consumer for each Webhook while its shelf is served. What a
Webhook takes from the shelf at once grows from one call, so that an endpoint that just came back is not run over, and
all together take no more than memory has room for, however many came back at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

import structlog

from hookline.delivery import breaker
from hookline.delivery import delivery as deliveries
from hookline.delivery.absence import QUESTIONS, Absences
from hookline.delivery.breaker import SLOW, Kind
from hookline.delivery.delivery import Delivery, MalformedDelivery, UnknownFormat
from hookline.delivery.endpoints import Endpoints
from hookline.delivery.lanes import PLACES
from hookline.delivery.routebook import RouteBook
from hookline.delivery.sender import Sender
from hookline.delivery.settlement import MALFORMED, Settlement
from hookline.delivery.shares import Members, level
from hookline.events import stamp
from hookline.metrics import SenderMetrics
from hookline.routes import Book, Route
from hookline.stream import names
from hookline.stream.clock import ServerClock
from hookline.stream.connection import Client, StreamUnavailable
from hookline.stream.peers import Peers
from hookline.stream.publish import Publisher
from hookline.stream.pull import PullLoop, Taken
from hookline.stream.streams import Shelves, oldest_parked, open_unpark
from hookline.tasks import together, within

log = structlog.get_logger(__name__)

ROOM = 64
"""Messages of one Webhook's shelf in the hands of one sender, at most."""

SPARE_ROOM = 2 * PLACES
SPARE_BYTES = 64 * 2**20
"""Messages of all shelves in the hands of one sender beyond one of each: so many, or as many as come to these bytes at
the mean size of those that it holds. Twice the calls that can be under way, so that the next ones are at hand."""

POLL_SECONDS = 1.0
IDLE_PROBE_SECONDS = 5.0
"""A probe that gets nothing to call, since another sender still holds it, ends."""

AT_ONCE = 16
"""Shelves that a sender begins to serve at once: each takes a round trip or two, and thousands may be due together."""

OLDEST_IN_A_LOOK = 50
"""Webhooks whose oldest delivery is looked at in one look."""


class _Task(Enum):
    CALL = "call"
    PROBE = "probe"
    BURY = "bury"
    """The Webhook was deleted."""
    EXPIRE = "expire"


@dataclass(slots=True)
class _Shelf:
    """The shelf of one Webhook while it is served."""

    consumer: str
    task: _Task
    room: int
    since_s: float
    in_hand: bool = False


class Parking:
    """Serves the shelf; what is to be called is handed to `sender`.

    `gone_seconds`: after how long a Webhook that nobody knows counts as deleted.
    """

    def __init__(
        self,
        client: Client,
        pull: PullLoop,
        publisher: Publisher,
        settlement: Settlement,
        books: RouteBook,
        metrics: SenderMetrics,
        sender: Sender,
        endpoints: Endpoints,
        members: Members,
        clock: ServerClock,
        *,
        gone_seconds: float,
    ) -> None:
        self._client = client
        self._pull = pull
        self._publisher = publisher
        self._settlement = settlement
        self._books = books
        self._metrics = metrics
        self._sender = sender
        self._endpoints = endpoints
        self._members = members
        self._clock = clock
        self._ask_seconds = gone_seconds / QUESTIONS
        self._ask_at_s = 0.0
        self._absences = Absences()
        self._peers = Peers(client, knows=self._knows, on_known=self._absences.known)
        self._stored = Shelves(client)
        self._shelves: dict[str, _Shelf] = {}
        self._expiries: dict[str, tuple[str, float]] = {}
        """When the oldest of what waits is due to be given up, by the server's clock, and why it waited then."""
        self._wake = asyncio.Event()
        self._closed = False

    def close(self) -> None:
        """Begin nothing more: a probe that is claimed from now on would be made by nobody."""
        self._closed = True

    def owns(self, taken: Taken) -> bool:
        """Whether a message is from the shelf."""
        return names.is_unpark(taken.consumer)

    def lost(self, consumer: str) -> bool:
        """The queue has no such consumer any more; whether it was one of the shelf's. The next look makes it anew."""
        uids = [uid for uid, each in self._shelves.items() if each.consumer == consumer]
        for uid in uids:
            self._leave(uid)
        return bool(uids)

    def probed(self, uid: str) -> None:
        """The probe of an endpoint ended, one way or the other."""
        shelf = self._shelves.get(uid)
        if shelf is not None and shelf.task is _Task.PROBE:
            self._leave(uid)
            self._wake.set()

    async def watch(self) -> None:
        """Look at the shelf every second: a book may change, or another sender may park something late."""
        await self._peers.start()
        while True:
            self._wake.clear()
            try:
                await self._look()
            except StreamUnavailable as error:
                self._absences.forget()
                log.debug("cannot look at parked deliveries", problem=str(error))
            await within(self._wake, min(POLL_SECONDS, self._ask_seconds))

    async def handle(self, taken: Taken) -> None:
        """One delivery of the shelf. Left there when it is to wait after all."""
        if not await self._is_passed_on(taken):
            self._pull.release(taken)

    async def _is_passed_on(self, taken: Taken) -> bool:
        """Whether the sender has it now."""
        try:
            return await self._handle(taken)
        except Exception as error:  # noqa: BLE001  # one message must not stop the others
            await self._settlement.failed(taken, error)
            return False

    async def _handle(self, taken: Taken) -> bool:
        uid, book = names.uid_of(taken.subject), self._books.current
        shelf = self._shelves.get(uid)
        if book is None or shelf is None:
            await taken.give_back()
            return False
        route = book.route(uid)
        try:
            delivery = deliveries.read(taken.subject, taken.headers, taken.body)
        except MalformedDelivery as error:
            await self._settlement.set_apart(taken, MALFORMED, str(error))
            return False
        except UnknownFormat as error:
            await self._leave_to_others(taken, route, shelf, str(error))
            return False
        reason = self._why_dead(taken, route, shelf)
        if reason:
            await self._settlement.settle(taken, self._bury(delivery, reason, route))
            return False
        if shelf.task is _Task.PROBE and not shelf.in_hand:
            shelf.in_hand = self._sender.take(taken, probe=True)
            return True
        if shelf.task is _Task.CALL and self._endpoints.may_call(route):
            self._metrics.unparked()
            self._sender.take(taken)
            return True
        if shelf.task is not _Task.PROBE:
            self._leave(uid)
        await taken.give_back()
        return False

    async def _leave_to_others(self, taken: Taken, route: Route | None, shelf: _Shelf, problem: str) -> None:
        """Not answered, it comes again after the ack wait, perhaps to a sender that can read it. Not for ever."""
        reason = self._why_dead(taken, route, shelf) if shelf.task is _Task.BURY else self._spent(taken, route)
        if reason:
            await self._settlement.set_apart(taken, reason.partition(":")[0], problem)
        elif shelf.task is _Task.EXPIRE:
            self._leave(names.uid_of(taken.subject))

    def _why_dead(self, taken: Taken, route: Route | None, shelf: _Shelf) -> str:
        if shelf.task is _Task.CALL:
            return ""
        if shelf.task is _Task.BURY:
            gone = route is None and self._absences.gone(names.uid_of(taken.subject))
            return deliveries.DELETED if gone else ""
        return self._spent(taken, route)

    def _spent(self, taken: Taken, route: Route | None) -> str:
        shelf_s, event_s = taken.stored_s, deliveries.stored_s(taken.headers) or taken.stored_s
        book, now_s = self._books.current, self._clock.now_s()
        assert book is not None, "nothing is taken before there is a route book"
        return breaker.spent(
            route,
            self._endpoints.state_of(route) if route else None,
            event_age_s=now_s - event_s,
            shelf_age_s=now_s - shelf_s,
            kept_s=book.dispatcher.parked_seconds,
        )

    async def _bury(self, delivery: Delivery, reason: str, route: Route | None) -> None:
        now = stamp(self._clock.now_s())
        letter = deliveries.dead_letter(delivery, reason, route=route, keys=None, outcome=None, failed_at=now)
        await self._publisher.store(letter.subject, letter.body, letter.headers, once=letter.once)
        self._metrics.died(reason.partition(":")[0])

    async def _look(self) -> None:
        book = self._books.current
        if book is None or self._closed:
            return
        counts = await self._stored.counts()
        waiting = {uid: count for uid, count in counts.items() if names.is_uid(uid)}
        now_s = time.monotonic()
        states = {uid for uid, _ in self._endpoints.states()}
        await self._ask_for({uid for uid in waiting.keys() | states if book.route(uid) is None})
        self._tidy(book, waiting, states, now_s)
        most = level((self._want(uid, book.route(uid)) for uid in waiting), self._spare())
        begin: list[Callable[[], Coroutine[Any, Any, None]]] = []
        for uid, count in waiting.items():
            route = book.route(uid)
            task = self._task(uid, route, now_s)
            if task is None:
                continue
            if task is _Task.CALL and route is not None and count > ROOM:
                self._endpoints.turn_backlogged(route, "Backlog")
            shelf, room = self._shelves.get(uid), self._room(uid, task, route, most)
            if shelf is not None and shelf.task is task:
                shelf.room = room
                self._pull.resize(shelf.consumer, room)
            else:
                begin.append(partial(self._begin, uid, task, route, count, room))
        await together(begin, at_once=AT_ONCE)
        await self._look_at_oldest(book, waiting)

    def _tidy(self, book: Book, waiting: dict[str, int], states: set[str], now_s: float) -> None:
        """Leave shelves that are empty or to be left alone, and forget states that say nothing more."""
        for uid, shelf in list(self._shelves.items()):
            idle = shelf.task is _Task.PROBE and not shelf.in_hand and now_s - shelf.since_s > IDLE_PROBE_SECONDS
            stopped = shelf.task is _Task.CALL and not self._endpoints.may_call(book.route(uid))
            if uid not in waiting or idle or stopped:
                self._leave(uid)
        for uid in states:
            route = book.route(uid)
            if route is None:
                if self._absences.gone(uid):
                    self._endpoints.forget(uid)
                continue
            self._endpoints.forget_void(route, now_s)
            if uid not in waiting:
                self._endpoints.catch_up(uid, now_s)
        self._expiries = {uid: each for uid, each in self._expiries.items() if uid in waiting}

    def _task(self, uid: str, route: Route | None, now_s: float) -> _Task | None:
        """What is to be done now with what waits for a Webhook. None: nothing new."""
        if route is None and self._absences.gone(uid):
            return _Task.BURY
        if self._endpoints.may_call(route):
            return _Task.CALL
        shelf = self._shelves.get(uid)
        if shelf is not None and shelf.task is _Task.EXPIRE:
            return _Task.EXPIRE
        if shelf is not None and shelf.task is _Task.PROBE:
            return None
        if route is not None and self._endpoints.is_due(route, now_s):
            return _Task.PROBE
        why, due_s = self._expiries.get(uid, ("", float("inf")))
        if why == self._endpoints.why_shelved(route) and self._clock.now_s() >= due_s:
            del self._expiries[uid]
            return _Task.EXPIRE
        return None

    async def _begin(self, uid: str, task: _Task, route: Route | None, count: int, room: int) -> None:
        """Serve a shelf, unless another sender makes the probe."""
        if self._closed:
            return
        if task is _Task.PROBE and (route is None or not await self._endpoints.claim(route)):
            return
        self._leave(uid)
        log.info("serving parked deliveries", webhook=route.title if route else uid, task=task.value, count=count)
        consumer = await open_unpark(self._client, uid)
        self._shelves[uid] = _Shelf(consumer, task, room, time.monotonic())
        self._pull.add(names.PARKED, consumer, room)

    def _want(self, uid: str, route: Route | None) -> int:
        """The room that a shelf could use if it were the only one. One that begins to be given up counts from the next
        look on: until then it has 1."""
        if route is None or not self._endpoints.may_call(route):
            shelf = self._shelves.get(uid)
            return ROOM if shelf is not None and shelf.task in (_Task.BURY, _Task.EXPIRE) else 1
        want = min(ROOM, self._members.share(route.max_concurrency, route.uid))
        return min(want, int(self._members.rate(route.per_second)) + 1) if route.per_second else want

    def _spare(self) -> int:
        """The room of all shelves together beyond one message of each."""
        sizes = self._sender.shelved_bytes()
        return min(SPARE_ROOM, SPARE_BYTES * len(sizes) // max(1, sum(sizes))) if sizes else SPARE_ROOM

    def _room(self, uid: str, task: _Task, route: Route | None, most: int) -> int:
        shelf, most = self._shelves.get(uid), min(most, self._want(uid, route))
        state = self._endpoints.state_of(route) if route else None
        if task is _Task.CALL and state is not None and state.reason == SLOW:
            # It never failed: no reason to begin slowly.
            return most
        if task is _Task.PROBE or shelf is None or shelf.task is not task:
            return 1
        failing = task is _Task.CALL and self._endpoints.failures.any(uid)
        return min(most, shelf.room if failing else shelf.room * 2)

    async def _look_at_oldest(self, book: Book, waiting: dict[str, int]) -> None:
        """Find out when what waits is to be given up. What is behind the oldest is younger."""
        looked = 0
        for uid in waiting:
            route = book.route(uid)
            why = self._endpoints.why_shelved(route)
            if uid in self._shelves or self._expiries.get(uid, ("", 0.0))[0] == why:
                continue
            if looked == OLDEST_IN_A_LOOK:
                return
            looked += 1
            oldest = await oldest_parked(self._client, uid)
            if oldest is not None:
                due_s = oldest.stored_s + book.dispatcher.parked_seconds
                if route is not None and why == Kind.FAILING.value:
                    event_s = deliveries.stored_s(oldest.headers) or oldest.stored_s
                    due_s = min(due_s, event_s + breaker.patience_seconds(route))
                self._expiries[uid] = (why, due_s + 1)

    async def _ask_for(self, unknown: set[str]) -> None:
        """Ask the others, now and then. Not while our own book is unfinished: then it is no wonder."""
        now_s = time.monotonic()
        if self._books.problem or now_s < self._ask_at_s:
            return
        self._ask_at_s = now_s + self._ask_seconds
        await self._peers.ask(unknown)
        self._absences.ask(unknown)

    def _knows(self, uid: str) -> bool:
        book = self._books.current
        return book is not None and book.route(uid) is not None

    def _leave(self, uid: str) -> None:
        shelf = self._shelves.pop(uid, None)
        if shelf is not None:
            self._pull.remove(shelf.consumer)
