"""Parked deliveries: taken in the order in which they came, each Webhook's from a consumer that all senders share.

Looks at what is parked every second and carries out what parking_plan decides for each Webhook. Never decides it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from hookline.delivery import messages
from hookline.delivery.endpoints import Endpoints
from hookline.delivery.messages import Delivery, MalformedDelivery, UnknownFormat
from hookline.delivery.policy import endpoint_state, parking_plan
from hookline.delivery.policy.deleted_webhooks import QUESTIONS, DeletedWebhooks
from hookline.delivery.policy.endpoint_state import SLOW
from hookline.delivery.policy.parking_plan import Parked, Serving, Step, Task
from hookline.delivery.policy.shares import Members
from hookline.delivery.route_book import RouteBook
from hookline.delivery.sender import Sender
from hookline.delivery.settlement import MALFORMED, Settlement
from hookline.events.envelope import stamp
from hookline.routing.routes import Book, Route
from hookline.runtime.metrics import SenderMetrics
from hookline.runtime.tasks import together, within
from hookline.stream import names
from hookline.stream.clock import ServerClock
from hookline.stream.connection import Client, StreamUnavailable
from hookline.stream.layout import Layout, plain
from hookline.stream.peers import Peers
from hookline.stream.publish import Publisher
from hookline.stream.pull import Origin, PullLoop, Taken
from hookline.stream.streams import SubjectCounts, oldest_parked, open_unpark

log = structlog.get_logger(__name__)

POLL_SECONDS = 1.0

AT_ONCE = 16
"""Webhooks that a sender begins to serve at once: each takes a round trip or two, and thousands may be due together."""

OLDEST_IN_A_LOOK = 50
"""Webhooks whose oldest delivery is looked at in one look."""


@dataclass(slots=True)
class _Served(Serving):
    consumer: str = ""


class Parking:
    """Serves what is parked; what is to be called is handed to `sender`.

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
        layout: Callable[[], Layout] = plain,
        on_buried: Callable[[Delivery, Route, str], None] = lambda _delivery, _route, _reason: None,
    ) -> None:
        self._client = client
        self._layout = layout
        self._on_buried = on_buried
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
        self._deleted = DeletedWebhooks()
        self._peers = Peers(client, knows=self._knows, on_known=self._deleted.known)
        self._stored = SubjectCounts(client, self._stream, names.parked_subject("*"))
        self._served: dict[str, _Served] = {}
        self._expiries: dict[str, tuple[str, float]] = {}
        """When the oldest of what waits is due to be given up, by the server's clock, and why it waited then."""
        self._wake = asyncio.Event()
        self._closed = False

    def close(self) -> None:
        """Begin nothing more: a probe that is claimed from now on would be made by nobody."""
        self._closed = True

    @property
    def serving(self) -> frozenset[str]:
        """The uids of Webhooks whose parked deliveries are being served."""
        return frozenset(self._served)

    def moved(self) -> None:
        """What is parked lies in another stream now."""
        for uid in tuple(self._served):
            self._leave(uid)
        self._wake.set()

    def _stream(self) -> str:
        return self._layout().stream(names.PARKED)

    def lost(self, consumer: str) -> bool:
        """The queue has no such consumer any more; whether it was one of these. The next look makes it anew."""
        uids = [uid for uid, each in self._served.items() if each.consumer == consumer]
        for uid in uids:
            self._leave(uid)
        return bool(uids)

    def _probed(self, uid: str) -> None:
        """The probe of an endpoint ended, one way or the other."""
        served = self._served.get(uid)
        if served is not None and served.task is Task.PROBE:
            self._leave(uid)
            self._wake.set()

    async def watch(self) -> None:
        """Look at what is parked every second: a book may change, or another sender may park something late."""
        await self._peers.start()
        while True:
            self._wake.clear()
            try:
                await self._look()
            except StreamUnavailable as error:
                self._deleted.forget()
                log.debug("cannot look at parked deliveries", problem=str(error))
            await within(self._wake, min(POLL_SECONDS, self._ask_seconds))

    async def handle(self, taken: Taken) -> None:
        """One parked delivery. It stays so when it is to wait after all."""
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
        served = self._served.get(uid)
        if book is None or served is None:
            await taken.give_back()
            return False
        route = book.route(uid)
        try:
            delivery = messages.read(taken.subject, taken.headers, taken.body)
        except MalformedDelivery as error:
            await self._settlement.set_apart(taken, MALFORMED, str(error))
            return False
        except UnknownFormat as error:
            await self._leave_to_others(taken, route, served.task, str(error))
            return False
        reason = self._why_dead(taken, route, served.task)
        if reason:
            await self._settlement.settle(taken, self._bury(delivery, reason, route))
            return False
        return await self._take(taken, route, served)

    async def _take(self, taken: Taken, route: Route | None, served: _Served) -> bool:
        step = parking_plan.step(served, self._endpoints.why_parked(route))
        if step is Step.PROBE:
            ended = partial(self._probed, names.uid_of(taken.subject))
            served.in_hand = self._sender.take(taken, on_probed=ended)
            return True
        if step is Step.CALL:
            self._metrics.unparked()
            self._sender.take(taken)
            return True
        if step is Step.STOP:
            self._leave(names.uid_of(taken.subject))
        await taken.give_back()
        return False

    async def _leave_to_others(self, taken: Taken, route: Route | None, task: Task, problem: str) -> None:
        """Not answered, it comes again after the ack wait, perhaps to a sender that can read it. Not for ever."""
        reason = self._why_dead(taken, route, task) if task is Task.BURY else self._spent(taken, route)
        if reason:
            await self._settlement.set_apart(taken, reason.partition(":")[0], problem)
        elif task is Task.EXPIRE:
            self._leave(names.uid_of(taken.subject))

    def _why_dead(self, taken: Taken, route: Route | None, task: Task) -> str:
        if task is Task.CALL:
            return ""
        if task is Task.BURY:
            return messages.DELETED if self._is_gone(names.uid_of(taken.subject), route) else ""
        return self._spent(taken, route)

    def _is_gone(self, uid: str, route: Route | None) -> bool:
        return route is None and self._deleted.gone(uid)

    def _spent(self, taken: Taken, route: Route | None) -> str:
        parked_s, event_s = taken.stored_s, messages.began_s(taken.headers) or taken.stored_s
        book, now_s = self._books.current, self._clock.now_s()
        assert book is not None, "nothing is taken before there is a route book"
        return parking_plan.spent(
            route,
            self._endpoints.state_of(route) if route else None,
            event_age_s=now_s - event_s,
            parked_age_s=now_s - parked_s,
            kept_s=book.dispatcher.parked_seconds,
        )

    async def _bury(self, delivery: Delivery, reason: str, route: Route | None) -> None:
        now = stamp(self._clock.now_s())
        letter = messages.dead_letter(delivery, reason, route=route, keys=None, outcome=None, failed_at=now)
        await self._publisher.store(letter.subject, letter.body, letter.headers, once=letter.once)
        self._metrics.died(reason.partition(":")[0])
        if route is not None:
            self._on_buried(delivery, route, reason)

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
        parked = {uid: self._known_of(uid, book.route(uid), count, now_s) for uid, count in waiting.items()}
        plan = parking_plan.plan(parked, self._served, held_bytes=self._sender.parked_bytes(), now_s=now_s)
        for uid in plan.leave:
            self._leave(uid)
        for uid in plan.backlogged:
            route = book.route(uid)
            assert route is not None, "what no route is for is not called"
            if self._endpoints.turn_backlogged(route, "Backlog"):
                self._sender.park_waiting(uid)
        for uid, room in plan.resize:
            served = self._served[uid]
            served.room = room
            self._pull.resize(served.consumer, room)
        begin: list[Callable[[], Coroutine[Any, Any, None]]] = []
        for uid, task, room in plan.begin:
            if task is Task.EXPIRE:
                self._expiries.pop(uid, None)
            begin.append(partial(self._begin, uid, task, book.route(uid), waiting[uid], room))
        await together(begin, at_once=AT_ONCE)
        await self._look_at_oldest(book, waiting)

    def _tidy(self, book: Book, waiting: dict[str, int], states: set[str], now_s: float) -> None:
        """Forget what says nothing more."""
        for uid in states:
            route = book.route(uid)
            if route is None:
                if self._deleted.gone(uid):
                    self._endpoints.forget(uid)
                continue
            self._endpoints.forget_void(route, now_s)
            if uid not in waiting:
                self._endpoints.catch_up(uid, now_s)
        self._expiries = {uid: each for uid, each in self._expiries.items() if uid in waiting}

    def _known_of(self, uid: str, route: Route | None, count: int, now_s: float) -> Parked:
        why = self._endpoints.why_parked(route)
        if route is None or not endpoint_state.may_call(why):
            since, due_s = self._expiries.get(uid, ("", float("inf")))
            return Parked(
                count,
                why,
                gone=self._is_gone(uid, route),
                probe_due=route is not None and self._endpoints.is_due(route, now_s),
                expiry_due=since == why and self._clock.now_s() >= due_s,
            )
        state = self._endpoints.state_of(route)
        return Parked(
            count,
            why,
            slow=state is not None and state.reason == SLOW,
            failed_last=self._endpoints.failures.any(uid),
            at_once=self._members.share(route.max_concurrency, uid),
            per_second=self._members.rate(route.per_second) if route.per_second else 0.0,
        )

    async def _begin(self, uid: str, task: Task, route: Route | None, count: int, room: int) -> None:
        """Serve a Webhook, unless another sender makes the probe."""
        if self._closed:
            return
        if task is Task.PROBE:
            if route is None or not await self._endpoints.claim(route):
                return
            self._sender.park_waiting(uid)
        self._leave(uid)
        log.info("serving parked deliveries", webhook=route.title if route else uid, task=task.value, count=count)
        consumer = await open_unpark(self._client, self._stream(), uid)
        self._served[uid] = _Served(task, room, time.monotonic(), consumer=consumer)
        self._pull.add(Origin.PARKED, consumer, room, stream=self._stream())

    async def _look_at_oldest(self, book: Book, waiting: dict[str, int]) -> None:
        """Find out when what waits is to be given up. What is behind the oldest is younger."""
        looked = 0
        for uid in waiting:
            route = book.route(uid)
            why = self._endpoints.why_parked(route)
            if uid in self._served or self._expiries.get(uid, ("", 0.0))[0] == why:
                continue
            if looked == OLDEST_IN_A_LOOK:
                return
            looked += 1
            oldest = await oldest_parked(self._client, self._stream(), uid)
            if oldest is not None:
                parked_s, kept_s = oldest.stored_s, book.dispatcher.parked_seconds
                event_s = messages.began_s(oldest.headers) or parked_s
                due_s = parking_plan.due_s(route, why, parked_s=parked_s, event_s=event_s, kept_s=kept_s)
                self._expiries[uid] = (why, due_s)

    async def _ask_for(self, unknown: set[str]) -> None:
        """Ask the others, now and then. Not while our own book is unfinished: then it is no wonder."""
        now_s = time.monotonic()
        if self._books.problem or now_s < self._ask_at_s:
            return
        self._ask_at_s = now_s + self._ask_seconds
        await self._peers.ask(unknown)
        self._deleted.ask(unknown)

    def _knows(self, uid: str) -> bool:
        book = self._books.current
        return book is not None and book.route(uid) is not None

    def _leave(self, uid: str) -> None:
        served = self._served.pop(uid, None)
        if served is not None:
            self._pull.remove(served.consumer)
