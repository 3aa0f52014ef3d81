"""Fan-out: what becomes of an event, for each Webhook that hears it: a call at once, or a delivery that is stored.

An event is acked only after each of its deliveries is done or stored. A repeat after a crash stores none twice, because
each has its name (`Nats-Msg-Id`). NATS knows a name for two minutes, and of calls it knows nothing; where something is
refused for longer, such as by a full stream, the sender itself remembers which others of that event need nothing more.
Which events find room is decided in policy/event_room. The others are set aside. Deliveries of an event that comes
again are stored, not called from it. The body of a large event is read once it has found room.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any

import structlog

from hookline.delivery import traces
from hookline.delivery.endpoints import Endpoints
from hookline.delivery.messages import Delivery, event_of
from hookline.delivery.open_event import OpenEvent
from hookline.delivery.policy.event_room import FEW, EventRoom
from hookline.delivery.recently_acked import MessageKey, RecentlyAcked
from hookline.delivery.route_book import RouteBook
from hookline.delivery.sender import Sender
from hookline.delivery.set_aside import SetAside
from hookline.delivery.settlement import EVENT_GONE, Settlement, Whole, as_it_came, stored
from hookline.events.envelope import Event
from hookline.routing.routes import Route
from hookline.runtime import telemetry
from hookline.runtime.metrics import SenderMetrics
from hookline.stream import names
from hookline.stream.anchor import Anchor
from hookline.stream.connection import StreamRefused, StreamUnavailable
from hookline.stream.publish import Publisher
from hookline.stream.pull import Origin, PullLoop, Taken
from hookline.stream.streams import ACK_WAIT_SECONDS

log = structlog.get_logger(__name__)

MAX_IN_HAND = 512
"""Events in our hands at once that are being set aside. All others are bounded in policy/event_room."""

AT_ONCE = 16
"""Deliveries of one event that are stored at once. Those of all events in our hands must be confirmed in time (5 s),
also on a disk that stores a thousand a second: else many events with many Webhooks each would be repeated over and
over."""


_Made = tuple[Route, Delivery]
_Size = tuple[str, int, int]
"""Of an event, for its room: the tenant, the number of Webhooks, the bytes of its body."""


def deliveries(event: Event, seq: int, routes: Iterable[Route], stored_s: float) -> list[_Made]:
    """What an event that was stored at `stored_s` becomes for the routes that hear it."""
    return [(route, Delivery(route.uid, event, seq, stored_s=int(stored_s))) for route in routes]


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
        aside: SetAside,
        room: EventRoom,
        metrics: SenderMetrics,
        *,
        whole: Whole = as_it_came,
        on_room: Callable[[], None],
        on_unheard: Callable[[str, str], None] = lambda _, __: None,
    ) -> None:
        self._pull = pull
        self._publisher = publisher
        self._settlement = settlement
        self._books = books
        self._endpoints = endpoints
        self._sender = sender
        self._metrics = metrics
        self._aside = aside
        self._room = room
        self._on_room = on_room
        self._on_unheard = on_unheard
        self._whole = whole
        self._open: dict[MessageKey, OpenEvent] = {}
        """By the names and sequences of their events."""
        self._reading: set[str] = set()
        """The places of events whose bodies are being read."""
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
        opened = self._open.get((taken.known_as, taken.seq))
        if opened is not None:
            if opened.taken.stored_ns == taken.stored_ns:
                # Delivered again while we are still at it: a server forgot our ack. Or a message names it as well:
                # whoever set it aside was killed before the ack.
                return self._released(taken, taken.doubled())
            # Another consumer's is of another stream: events of a former stream have the same sequences.
            opened.is_void = opened.is_void or opened.taken.consumer == taken.consumer
        if self._reading and taken.place in self._reading:
            return self._released(taken, taken.doubled())
        if not names.is_event(taken.subject):
            log.error("not an event, passed over: its subject names no tenant and type", subject=taken.subject)
            return self._released(taken, taken.ack())
        if self._settlement.knows(taken):
            # Its ack was lost: a server that crashed since does not recognize the deliveries that were settled.
            return self._released(taken, self._settlement.settle(taken))
        tenant, event_type = names.event_of(taken.subject)
        routes = book.match(tenant, event_type)
        if not routes:
            return self._released(taken, self._nobody_hears(taken, tenant, event_type))
        # What was set aside comes when there is room for it, and not behind itself.
        behind = taken.origin is Origin.BACKLOG
        waits = not behind and tenant in self._aside.behind
        size = tenant, len(routes), taken.size_bytes
        if waits or not self._room.take(*size, time.monotonic(), behind=behind):
            return self._released(taken, taken.left()) if behind else self._aside.add(tenant, taken)
        if taken.is_head:
            # Before it runs: it must not come twice.
            self._reading.add(taken.place)
            return self._read_and_begin(taken, routes, size)
        return self._begin(taken, routes, size)

    def has_room(self, subject: str, size_bytes: int) -> bool:
        """Whether an event that was set aside would be in hand when it is taken now."""
        book = self._books.current
        if book is None or not names.is_event(subject):
            return True
        tenant, event_type = names.event_of(subject)
        return self._room.has(tenant, len(book.match(tenant, event_type)), size_bytes, behind=True)

    async def _nobody_hears(self, taken: Taken, tenant: str, event_type: str) -> None:
        await self._settlement.settle(taken)
        self._metrics.fanned_out()
        self._on_unheard(tenant, event_type)

    async def _read_and_begin(self, head: Taken, routes: Sequence[Route], size: _Size) -> None:
        """An event that came without its body, and has its room."""
        try:
            taken = await self._whole(head)
        except Exception as error:  # noqa: BLE001  # one event must not stop the others
            self._give_back(size)
            await self._released(head, self._not_read(head, error))
            return
        finally:
            self._reading.discard(head.place)
        if taken is None:
            self._give_back(size)
            gone = self._settlement.set_apart(head, EVENT_GONE, "its body is not in EVENTS any more")
            await self._released(head, gone)
            return
        try:
            storing = self._begin(taken, routes, size)
        except Exception as error:  # noqa: BLE001  # one event must not stop the others
            storing = self._released(taken, self._settlement.failed(taken, error))
        if storing is not None:
            await storing

    async def _not_read(self, head: Taken, error: Exception) -> None:
        if not isinstance(error, StreamUnavailable | StreamRefused):
            raise error
        log.warning("the body of an event cannot be read now", seq=head.seq, problem=str(error))
        await head.left()

    def _begin(self, taken: Taken, routes: Sequence[Route], size: _Size) -> Coroutine[Any, Any, None] | None:
        """An event that has its room."""
        try:
            event = event_of(taken.subject, taken.headers, taken.body, seq=taken.seq, stored_s=taken.stored_s)
            if telemetry.tracing is not None:
                event = traces.fanned_out(telemetry.tracing, event, taken.stored_s, len(routes))
            return self._open_event(taken, event, deliveries(event, taken.seq, routes, taken.stored_s), size)
        except Exception:
            if (taken.known_as, taken.seq) not in self._open:
                self._give_back(size)
            raise

    def _open_event(
        self, taken: Taken, event: Event, heard: Sequence[_Made], size: _Size
    ) -> Coroutine[Any, Any, None] | None:
        made = self._not_done_yet(taken, heard)
        # Deliveries of an event that comes again may be stored. One that is stored twice is recognized by its name, a
        # call is not.
        may_call = len(heard) <= FEW and taken.delivered == 1
        called: list[_Made] = []
        others: list[_Made] = []
        for each in made:
            (called if may_call and not self._endpoints.why_parked(each[0]) else others).append(each)
        if not made:
            self._give_back(size)
            return self._released(taken, self._settlement.settle(taken))
        opened = OpenEvent(
            taken,
            [route.uid for route, _ in made],
            partial(self._close, size),
            on_released=partial(self._give_room, size),
        )
        self._open[taken.known_as, taken.seq] = opened
        self._pull.release(taken)
        for _, delivery in called:
            self._sender.call_from(opened, delivery)
        return self._store_others(opened, event, others) if others else None

    async def _close(self, size: _Size, event: OpenEvent) -> None:
        """Each of its deliveries is done or stored, or is to come again with it."""
        taken = event.taken
        if self._open.get((taken.known_as, taken.seq)) is event:
            del self._open[taken.known_as, taken.seq]
        self._metrics.made(len(event.done))
        if event.is_in_hand:
            self._room.rest(*size)
        if event.is_void:
            # An ack is not for it, but a message that names it waits for its end.
            await (taken.doubled() if event.whole else taken.left())
            return
        if event.whole:
            await self._settlement.settle(taken)
            self._metrics.fanned_out()
            return
        self._remember(taken, event.done)
        if event.error is not None:
            await self._settlement.failed(taken, event.error)
        else:
            await taken.left()

    def _give_back(self, size: _Size) -> None:
        """Of an event that was not begun."""
        self._room.give(*size)
        self._on_room()

    def _give_room(self, size: _Size, event: OpenEvent) -> None:
        """Nothing of an event is in our hands any more."""
        self._room.give(*size, rested=event.is_closed)
        self._on_room()

    async def _released(self, taken: Taken, work: Awaitable[object]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001  # one event must not stop the others
            await self._settlement.failed(taken, error)
        finally:
            self._pull.release(taken)

    async def _store_others(self, opened: OpenEvent, event: Event, made: Sequence[_Made]) -> None:
        """Those of an event that are not called from it."""
        uids = [route.uid for route, _ in made]
        try:
            whole = await stored(self._store(opened.taken, event, made), opened.taken)
        except Exception as error:  # noqa: BLE001  # one event must not stop the others
            await opened.ended(*uids, whole=False, error=error)
        else:
            await opened.ended(*uids, whole=whole)
        finally:
            opened.release(*uids)

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
