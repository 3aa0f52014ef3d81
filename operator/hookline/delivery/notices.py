"""Publishes notices: events of built-in types that tell a tenant what became of its endpoints and deliveries.

Never in the way of a delivery: what is to be told waits in a bounded line, and is lost, and counted, when there is no
room, when NATS does not take it, or when the process ends. Nothing is published that no Webhook of the tenant hears.
Which notices there are is decided in policy/notices.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable

import structlog

from hookline.delivery.messages import Delivery
from hookline.delivery.policy import notices as policy
from hookline.delivery.policy.endpoint_state import State
from hookline.delivery.policy.notices import DeadLetters, Notice, TenantBound
from hookline.delivery.policy.retry import Outcome
from hookline.delivery.route_book import RouteBook
from hookline.events.envelope import Event, stamp
from hookline.events.notices import DELIVERY_DEAD, body_of
from hookline.routing.routes import Route
from hookline.runtime.metrics import SenderMetrics
from hookline.runtime.tasks import within
from hookline.stream.connection import StreamRefused, StreamUnavailable
from hookline.stream.publish import Publisher, publish_event

log = structlog.get_logger(__name__)

MAX_WAITING = 500
"""Notices that wait to be published."""

PATIENCE_SECONDS = 5.0
"""How long one is tried. Then it is lost: what it tells is in the status, the log and the metrics as well."""


class Notices:
    """Of one sender over one connection. `publisher` is one of its own: what becomes of a notice says nothing of the
    queue. `now_s` is NATS's time."""

    def __init__(
        self, publisher: Publisher, books: RouteBook, metrics: SenderMetrics, *, now_s: Callable[[], float]
    ) -> None:
        self._publisher = publisher
        self._books = books
        self._metrics = metrics
        self._now_s = now_s
        self._dead = DeadLetters()
        self._bound = TenantBound()
        self._waiting: deque[Notice] = deque()
        self._wake = asyncio.Event()
        self._said_lost = False

    def turned(self, route: Route, before: State | None, state: State | None) -> None:
        """An endpoint has another state, and this sender is the one that said so to all; see policy."""
        notice = policy.of_turn(route, before, state, self._now_s())
        if notice is not None:
            self._add(notice)

    def died(self, delivery: Delivery, route: Route, reason: str, outcome: Outcome | None) -> None:
        """A delivery became a dead letter, for a reason that begins with a word."""
        if not policy.may_tell(route) or not self._is_heard(delivery.event.tenant, DELIVERY_DEAD):
            return
        word = reason.partition(":")[0]
        attempts = delivery.attempt if outcome is not None else delivery.attempt - 1
        if not self._dead.died(
            route, word, self._now_s(), event_id=delivery.event.id, attempts=attempts, outcome=outcome
        ):
            self._lose()
        self._wake.set()

    async def follow(self) -> None:
        """Publish what is to be told, for ever. Waits without a timer while there is nothing."""
        while True:
            self._wake.clear()
            self._collect(all_=False)
            while self._waiting:
                await self._publish(self._waiting.popleft())
                self._collect(all_=False)
            next_s = self._dead.next_s()
            if next_s is None:
                await self._wake.wait()
            else:
                await within(self._wake, max(next_s - self._now_s(), 0.01))

    async def tell_the_rest(self) -> None:
        """At the end: what was collected and is not due yet."""
        self._collect(all_=True)
        while self._waiting:
            await self._publish(self._waiting.popleft())

    def _collect(self, *, all_: bool) -> None:
        for notice in self._dead.take(self._now_s(), all_=all_):
            self._add(notice)

    def _add(self, notice: Notice) -> None:
        if not self._is_heard(notice.tenant, notice.type):
            return
        if len(self._waiting) >= MAX_WAITING or not self._bound.lets(notice.tenant, self._now_s()):
            self._lose()
            return
        self._waiting.append(notice)
        self._wake.set()

    def _is_heard(self, tenant: str, event_type: str) -> bool:
        book = self._books.current
        return book is not None and bool(book.match(tenant, event_type))

    async def _publish(self, notice: Notice) -> None:
        event_id = f"ntc_{hashlib.sha256(notice.key.encode()).hexdigest()[:32]}"
        event = Event(event_id, notice.tenant, notice.type, stamp(self._now_s()), body_of(notice.facts))
        try:
            await publish_event(self._publisher, event, patience_seconds=PATIENCE_SECONDS)
        except (StreamUnavailable, StreamRefused) as error:
            self._lose(str(error))
        else:
            self._metrics.noticed("published")

    def _lose(self, problem: str = "there are too many") -> None:
        self._metrics.noticed("lost")
        if not self._said_lost:
            self._said_lost = True
            log.warning("notices are lost; hookline_notices_total counts them", problem=problem)
