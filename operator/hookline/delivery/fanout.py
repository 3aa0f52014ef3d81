"""Fan-out: what becomes of an event, for each Webhook that hears it: a call at once, or a delivery that is stored.

An event is acked only after each of its deliveries is done or stored. A repeat after a crash stores none twice, because
each has its name (`Nats-Msg-Id`). NATS knows a name for two minutes, and of calls it knows nothing; where something is
refused for longer, such as by a full stream, the sender itself remembers which others of that event need nothing more.
Which deliveries are called from their event is decided in policy/direct.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Coroutine, Iterable, Iterator, Sequence
from typing import Any

import structlog

from hookline.delivery.endpoints import Endpoints
from hookline.delivery.messages import Delivery, event_of
from hookline.delivery.open_event import OpenEvent
from hookline.delivery.policy.direct import DirectRoom
from hookline.delivery.recently_acked import MessageKey, RecentlyAcked
from hookline.delivery.route_book import RouteBook
from hookline.delivery.sender import Sender
from hookline.delivery.settlement import Settlement, stored
from hookline.events.envelope import Event
from hookline.routing.routes import Book, Route
from hookline.runtime.metrics import SenderMetrics
from hookline.stream import names
from hookline.stream.anchor import Anchor
from hookline.stream.connection import StreamRefused, StreamUnavailable
from hookline.stream.publish import Publisher
from hookline.stream.pull import PullLoop, Taken
from hookline.stream.streams import ACK_WAIT_SECONDS

log = structlog.get_logger(__name__)

MAX_IN_HAND = 256
"""Events in our hands at once whose deliveries are being stored. Those that are called from are bounded in
policy/direct."""

AT_ONCE = 16
"""Deliveries of one event that are stored at once. Those of all events in our hands must be confirmed in time (5 s),
also on a disk that stores a thousand a second: else many events with many Webhooks each would be repeated over and
over."""


_Made = tuple[Route, Delivery]


def deliveries(event: Event, seq: int, book: Book, stored_s: float) -> Iterator[_Made]:
    """What an event that was stored at `stored_s` becomes under a route book."""
    for route in book.match(event.tenant, event.type):
        yield route, Delivery(route.uid, event, seq, stored_s=int(stored_s))


class Fanout:
    """Takes events, hands their deliveries to `sender` or stores them."""

    def __init__(
        self,
        pull: PullLoop,
        publisher: Publisher,
        settlement: Settlement,
        books: RouteBook,
        endpoints: Endpoints,
        sender: Sender,
        metrics: SenderMetrics,
    ) -> None:
        self._pull = pull
        self._publisher = publisher
        self._settlement = settlement
        self._books = books
        self._endpoints = endpoints
        self._sender = sender
        self._metrics = metrics
        self._room = DirectRoom()
        self._open: dict[MessageKey, OpenEvent] = {}
        self._done = RecentlyAcked()
        """By uid of a Webhook and sequence of an event: deliveries that are done or stored, of events with others that
        could not be stored."""
        self._anchor = Anchor(publisher)

    def take(self, taken: Taken) -> Coroutine[Any, Any, None] | None:
        """One event. Its calls begin; what is to be stored is returned, to be awaited.

        Left unacked when not everything could be done or stored: it comes back.
        """
        try:
            return self._take(taken)
        except Exception as error:  # noqa: BLE001  # one event must not stop the others
            return self._released(taken, self._settlement.failed(taken, error))

    def _take(self, taken: Taken) -> Coroutine[Any, Any, None] | None:
        book = self._books.current
        assert book is not None, "nothing is taken before there is a route book"
        if (taken.consumer, taken.seq) in self._open:
            # Delivered again while we are still at it: a server's crash forgets acks.
            self._pull.release(taken)
            return None
        if not names.is_event(taken.subject):
            log.error("not an event, passed over: its subject names no tenant and type", subject=taken.subject)
            return self._released(taken, taken.ack())
        if self._settlement.knows(taken):
            # Its ack was lost: a server that crashed since does not recognize the deliveries that were settled.
            return self._released(taken, self._settlement.settle(taken))
        event = event_of(taken.subject, taken.headers, taken.body, seq=taken.seq, stored_s=taken.stored_s)
        heard = list(deliveries(event, taken.seq, book, taken.stored_s))
        made = self._not_done_yet(taken, heard)
        called = [each for each in made if not self._endpoints.why_parked(each[0])]
        if not called or not self._room.take(event.tenant, len(heard), len(event.body)):
            return self._released(taken, self._store_all(taken, event, made))
        return self._call(taken, event, called, [each for each in made if each not in called])

    def _call(
        self, taken: Taken, event: Event, called: Sequence[_Made], others: Sequence[_Made]
    ) -> Coroutine[Any, Any, None] | None:
        opened = OpenEvent(taken, len(called) + bool(others), self._close)
        self._open[taken.consumer, taken.seq] = opened
        self._pull.release(taken)
        for _, delivery in called:
            self._sender.call_from(opened, delivery)
        return self._store_others(opened, event, others) if others else None

    async def _close(self, event: OpenEvent) -> None:
        """Nothing of it is in our hands any more."""
        taken = event.taken
        self._open.pop((taken.consumer, taken.seq), None)
        self._room.give(names.event_of(taken.subject)[0], len(taken.body))
        self._metrics.made(len(event.done))
        if event.whole:
            await self._settlement.settle(taken)
            self._metrics.fanned_out()
            return
        self._remember(taken, event.done)
        if event.error is not None:
            await self._settlement.failed(taken, event.error)

    async def _released(self, taken: Taken, work: Awaitable[object]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001  # one event must not stop the others
            await self._settlement.failed(taken, error)
        finally:
            self._pull.release(taken)

    async def _store_all(self, taken: Taken, event: Event, made: Sequence[_Made]) -> None:
        if await self._settlement.settle(taken, self._store(taken, event, made)):
            self._metrics.made(len(made))
            self._metrics.fanned_out()

    async def _store_others(self, opened: OpenEvent, event: Event, made: Sequence[_Made]) -> None:
        """Those of an event that are not called from it."""
        try:
            whole = await stored(self._store(opened.taken, event, made), opened.taken)
        except Exception as error:  # noqa: BLE001  # one event must not stop the others
            await opened.ended(whole=False, error=error)
        else:
            await opened.ended(*(route.uid for route, _ in made if whole), whole=whole)

    def _not_done_yet(self, taken: Taken, made: Iterable[_Made]) -> list[_Made]:
        return [each for each in made if not self._done.has((each[0].uid, taken.seq), taken.stored_ns)]

    def _remember(self, taken: Taken, uids: Iterable[str]) -> None:
        for uid in uids:
            self._done.add((uid, taken.seq), taken.stored_ns)

    async def _store(self, taken: Taken, event: Event, made: Sequence[_Made]) -> None:
        if len(made) == 1:
            # The usual case: a gather, with a task for what it gathers, would cost 7 us.
            await self._store_one(event, made[0])
        else:
            await self._store_many(taken, event, made)
        await self._anchor.stored(len(made), len(event.body))

    async def _store_many(self, taken: Taken, event: Event, made: Sequence[_Made]) -> None:
        """All that can be stored are, also where one is refused: its neighbours have nothing to do with that."""
        said_s = time.monotonic()
        failure: StreamUnavailable | StreamRefused | None = None
        done: list[str] = []
        for start in range(0, len(made), AT_ONCE):
            if time.monotonic() - said_s > ACK_WAIT_SECONDS / 3:
                await taken.working()
                said_s = time.monotonic()
            batch = made[start : start + AT_ONCE]
            answers = await asyncio.gather(*(self._store_one(event, each) for each in batch), return_exceptions=True)
            for (route, _), answer in zip(batch, answers, strict=True):
                if isinstance(answer, StreamUnavailable | StreamRefused):
                    failure = answer
                elif isinstance(answer, BaseException):
                    raise answer
                else:
                    done.append(route.uid)
            if isinstance(failure, StreamUnavailable):
                break
        if failure is not None:
            self._remember(taken, done)
            self._metrics.made(len(done))
            raise failure

    async def _store_one(self, event: Event, made: _Made) -> None:
        route, delivery = made
        await self._publisher.store(self._subject(route), event.body, delivery.headers(), once=delivery.once)

    def _subject(self, route: Route) -> str:
        """Parked at once for a Webhook that cannot be called: it should cost its neighbours nothing."""
        why = self._endpoints.why_parked(route)
        if not why:
            return names.delivery_subject(route.uid)
        self._metrics.parked(why)
        return names.parked_subject(route.uid)
