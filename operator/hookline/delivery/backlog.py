"""What was set aside is taken up again: for each tenant as it finds room, so that no tenant waits behind another.

Each message names many events. They are read out of EVENTS one after the other and go the way of all events. When each
is done, stored or set aside again, the message is acked. Looks every second whose events were set aside. Which event
finds room is decided in policy/event_room.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import structlog

from hookline.delivery import set_aside
from hookline.delivery.set_aside import Place, SetAside
from hookline.delivery.settlement import MALFORMED, Settlement, stored
from hookline.runtime.tasks import within
from hookline.stream import names
from hookline.stream.connection import Client, StreamUnavailable
from hookline.stream.event_reader import StoredEvent, read_event
from hookline.stream.pull import Origin, PullLoop, Taken
from hookline.stream.streams import ACK_WAIT_SECONDS, backlog_counts, open_backlog

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0

AT_ONCE = 8
"""Messages of one tenant in our hands. A sender that is late stores them with few events each."""

TENANTS = 64
"""Whose events are taken up at once. Of each at most READ_AHEAD bodies are read and not begun."""

READ_AHEAD = 4

TURN_SECONDS = 5.0
"""After so long a tenant makes way while others wait for their turn."""

NEARLY_DONE = 2
"""With so few messages left of a tenant its new events go their usual way, and may overtake what these name."""

EVENT_GONE = "EventGone"
"""Why a message is in DEAD that names events which are not in EVENTS any more."""

Take: TypeAlias = Callable[[Taken], Coroutine[Any, Any, None] | None]
HasRoom: TypeAlias = Callable[[str, int], bool]
"""By the subject of an event and the size of its body."""


@dataclass(eq=False, slots=True)
class _Named(Taken):
    """An event that a message of the backlog names. It is done when all of that message are."""

    batch: _Batch = field(kw_only=True, repr=False)

    async def ack(self) -> None:
        await self.batch.ended(None)

    async def left(self) -> None:
        await self.batch.ended(Place(self.seq, self.stored_ns))

    async def give_back(self) -> None:
        await self.left()

    async def working(self) -> None:
        """The message says so for all of them."""


class _Batch:
    """One message of the backlog in our hands."""

    def __init__(self, taken: Taken, places: int, on_ended: Callable[[_Batch], Coroutine[Any, Any, None]]) -> None:
        self.taken = taken
        self.tenant = names.backlog_tenant(taken.subject)
        self.again: list[Place] = []
        """Events that are neither done nor stored."""
        self.gone = 0
        """Events that are not there any more."""
        self.places = self._left = places
        self._on_ended = on_ended

    async def ended(self, again: Place | None) -> None:
        """One of its events ended."""
        if again is not None:
            self.again.append(again)
        self._left -= 1
        if not self._left:
            await self._on_ended(self)


class Backlog:
    """Takes up what was set aside. `take` has an event as if it had just come."""

    def __init__(
        self, client: Client, pull: PullLoop, settlement: Settlement, aside: SetAside, take: Take, has_room: HasRoom
    ) -> None:
        self._client = client
        self._pull = pull
        self._settlement = settlement
        self._aside = aside
        self._take = take
        self._has_room = has_room
        self._given = asyncio.Event()
        self._served: dict[str, float] = {}
        """Tenants whose events are taken up, and since when, by the monotonic clock."""
        self._batches: dict[tuple[str, int], _Batch] = {}
        self._closed = False

    def close(self) -> None:
        """Begin nothing more."""
        self._closed = True
        self._given.set()

    def room_given(self) -> None:
        """There may be room for an event that waits for it."""
        self._given.set()

    def lost(self, consumer: str) -> bool:
        """The queue has no such consumer any more; whether it was one of these. The next look makes it anew."""
        tenants = [tenant for tenant in self._served if names.backlog_consumer(tenant) == consumer]
        for tenant in tenants:
            self._leave(tenant)
        return bool(tenants)

    async def watch(self) -> None:
        """Look every second whose events were set aside, and say that we still work on what we hold."""
        beat = 0
        never = asyncio.Event()
        while True:
            try:
                await self._look()
            except StreamUnavailable as error:
                log.debug("cannot look at what was set aside", problem=str(error))
            await within(never, LOOK_SECONDS)
            beat += 1
            if beat % int(ACK_WAIT_SECONDS / 3 / LOOK_SECONDS) == 0:
                for batch in list(self._batches.values()):
                    await batch.taken.working()

    async def handle(self, taken: Taken) -> None:
        """One message."""
        key = taken.consumer, taken.seq
        if key in self._batches:
            self._pull.release(taken)
            return
        if self._settlement.knows(taken):
            await self._settlement.settle(taken)
            self._pull.release(taken)
            return
        try:
            places = set_aside.read(taken.body)
        except ValueError as error:
            await self._settlement.set_apart(taken, MALFORMED, str(error))
            self._pull.release(taken)
            return
        batch = self._batches[key] = _Batch(taken, len(places), self._ended)
        try:
            await self._take_up_all(batch, places)
        except Exception as error:  # noqa: BLE001  # one message must not stop the others
            del self._batches[key]
            self._pull.release(taken)
            await self._settlement.failed(taken, error)

    async def _take_up_all(self, batch: _Batch, places: list[Place]) -> None:
        for start in range(0, len(places), READ_AHEAD):
            await self._take_up(batch, places[start : start + READ_AHEAD])

    async def _take_up(self, batch: _Batch, places: list[Place]) -> None:
        found = await asyncio.gather(*(self._read(place) for place in places))
        for place, event in zip(places, found, strict=True):
            if event is None or not await self._finds_room(event):
                await batch.ended(place)
            elif event.stored_ns != place.stored_ns:
                batch.gone += 1
                await batch.ended(None)
            else:
                work = self._take(self._named(batch, place, event))
                if work is not None:
                    await work

    async def _read(self, place: Place) -> StoredEvent | None:
        """None when it could not be read now."""
        if self._closed:
            return None
        try:
            return await read_event(self._client, place.seq) or StoredEvent("", {}, b"", 0)
        except StreamUnavailable as error:
            log.warning("an event that was set aside cannot be read now", seq=place.seq, problem=str(error))
            return None

    def _named(self, batch: _Batch, place: Place, event: StoredEvent) -> Taken:
        taken = batch.taken
        return _Named(
            Origin.BACKLOG,
            # No consumer has a full stop in its name: it takes no room of one.
            f"{taken.consumer}.events",
            event.subject,
            event.headers,
            event.body,
            place.seq,
            place.stored_ns,
            taken.delivered,
            self._client,
            "",
            batch=batch,
        )

    async def _finds_room(self, event: StoredEvent) -> bool:
        """Wait for it. False when nothing more is to begin."""
        while not self._closed and not self._has_room(event.subject, len(event.body)):
            self._given.clear()
            await self._given.wait()
        return not self._closed

    async def _ended(self, batch: _Batch) -> None:
        """All of its events ended. Those that are neither done nor stored are set aside again."""
        taken, again = batch.taken, batch.again
        try:
            if len(again) == batch.places and not self._closed:
                # Nothing came of it: at once it would be the same. It comes again after the ack wait, but not for ever.
                return
            if again and not await stored(self._aside.store(batch.tenant, again, instead_of=taken.place), taken):
                return
            if batch.gone:
                problem = f"{batch.gone} events of {batch.tenant} are not in EVENTS any more"
                await self._settlement.set_apart(taken, EVENT_GONE, problem)
            else:
                await self._settlement.settle(taken)
        finally:
            self._batches.pop((taken.consumer, taken.seq), None)
            self._pull.release(taken)
        others = any(each.tenant == batch.tenant for each in self._batches.values())
        if not taken.pending and not others and not again:
            self._aside.caught_up(batch.tenant)

    async def _look(self) -> None:
        counts = await backlog_counts(self._client)
        for tenant, count in counts.items():
            if count > NEARLY_DONE:
                self._aside.behind.add(tenant)
        for tenant in self._aside.behind - counts.keys():
            self._aside.caught_up(tenant)
        for tenant in self._served.keys() - counts.keys():
            self._leave(tenant)
        waiting = [tenant for tenant in counts if tenant not in self._served]
        self._make_way(len(waiting))
        for tenant in waiting:
            if len(self._served) < TENANTS and not self._closed:
                consumer = await open_backlog(self._client, tenant)
                self._served[tenant] = time.monotonic()
                self._pull.add(Origin.BACKLOG, consumer, AT_ONCE)

    def _make_way(self, waiting: int) -> None:
        """For tenants that wait for their turn: those who had theirs for the longest."""
        now_s, needed = time.monotonic(), len(self._served) + waiting - TENANTS
        for tenant, since_s in list(self._served.items())[: max(0, needed)]:
            if now_s - since_s > TURN_SECONDS:
                self._leave(tenant)

    def _leave(self, tenant: str) -> None:
        if self._served.pop(tenant, None) is not None:
            self._pull.remove(names.backlog_consumer(tenant))
