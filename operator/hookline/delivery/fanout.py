"""Fan-out: an event becomes one delivery for each Webhook that hears it.

An event is acked only after all its deliveries are stored. A repeat after a crash stores none twice, because each has
its name (`Nats-Msg-Id`). NATS knows a name for two minutes; where one delivery is refused for longer, such as by a
full stream, the sender itself remembers which others of that event are stored.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence

import structlog

from hookline.delivery.endpoints import Endpoints
from hookline.delivery.messages import Delivery, event_of
from hookline.delivery.recently_acked import RecentlyAcked
from hookline.delivery.route_book import RouteBook
from hookline.delivery.settlement import Settlement
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
"""Events in our hands at once."""

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
    """Takes events, stores their deliveries."""

    def __init__(
        self,
        pull: PullLoop,
        publisher: Publisher,
        settlement: Settlement,
        books: RouteBook,
        endpoints: Endpoints,
        metrics: SenderMetrics,
    ) -> None:
        self._pull = pull
        self._publisher = publisher
        self._settlement = settlement
        self._books = books
        self._endpoints = endpoints
        self._metrics = metrics
        self._stored = RecentlyAcked()
        """By uid of a Webhook and sequence of an event: deliveries that NATS acked, of events with others that it did
        not store."""
        self._anchor = Anchor(publisher)

    async def handle(self, taken: Taken) -> None:
        """One event. Left unacked when not everything could be stored: it comes back."""
        try:
            await self._handle(taken)
        except Exception as error:  # noqa: BLE001  # one event must not stop the others
            await self._settlement.failed(taken, error)
        finally:
            self._pull.release(taken)

    async def _handle(self, taken: Taken) -> None:
        book = self._books.current
        assert book is not None, "nothing is taken before there is a route book"
        if not names.is_event(taken.subject):
            log.error("not an event, passed over: its subject names no tenant and type", subject=taken.subject)
            await taken.ack()
            return
        event = event_of(taken.subject, taken.headers, taken.body, seq=taken.seq, stored_s=taken.stored_s)
        # Its ack was lost: a server that crashed since does not recognize the deliveries that were settled.
        known = self._settlement.knows(taken)
        made = [] if known else self._not_stored_yet(taken, deliveries(event, taken.seq, book, taken.stored_s))
        if await self._settlement.settle(taken, self._store(taken, event, made)) and not known:
            self._metrics.made(len(made))
            self._metrics.fanned_out()

    def _not_stored_yet(self, taken: Taken, made: Iterable[_Made]) -> list[_Made]:
        return [each for each in made if not self._stored.has((each[0].uid, taken.seq), taken.stored_ns)]

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
        stored: list[str] = []
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
                    stored.append(route.uid)
            if isinstance(failure, StreamUnavailable):
                break
        if failure is not None:
            for uid in stored:
                self._stored.add((uid, taken.seq), taken.stored_ns)
            self._metrics.made(len(stored))
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
