"""What was set aside is taken up again: for each tenant as it finds room, so that no tenant waits behind another.

Each message names many events. They are read out of EVENTS one after the other and go the way of all events. When each
is done, stored or set aside again, the message is acked. Which event finds room is decided in policy/event_room.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import structlog

from hookline.delivery import set_aside
from hookline.delivery.set_aside import Place, SetAside
from hookline.delivery.settlement import EVENT_GONE, MALFORMED, Settlement, stored
from hookline.events.envelope import MAX_BODY_BYTES
from hookline.runtime.tasks import within
from hookline.stream import names
from hookline.stream.connection import Client, StreamRefused, StreamUnavailable
from hookline.stream.event_reader import StoredEvent
from hookline.stream.pull import Origin, PullLoop, Taken
from hookline.stream.streams import ACK_WAIT_SECONDS, SubjectCounts, open_backlog

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks, where nothing is set aside here."""

REST_SECONDS, REST_TIMES = 0.1, 20
"""Between two looks, whatever is set aside: at least so long, and so many times what a look takes, up to LOOK_SECONDS.
With 10,000 tenants it is a large answer."""

AT_ONCE = 8
"""Messages of one tenant in our hands. A sender that is late stores them with few events each."""

TENANTS = 64
"""Whose events are taken up at once."""

READ_AHEAD = 256
"""Bodies that are read and not begun, of all tenants: 64 MiB at most."""

MOST_AHEAD = 64
"""Of these, of one tenant."""

AHEAD_BYTES = 256 * 1024
"""Of these, bodies of one tenant, as large as its last ones were: see `event_reader.BODIES_BYTES`."""

TURN_SECONDS = 5.0
"""After so long a tenant makes way while others wait for their turn."""

NEARLY_DONE = 2
"""Where others set aside no more than so many messages of a tenant, its new events go their usual way here, and may
overtake what these name."""

Take: TypeAlias = Callable[[Taken], Coroutine[Any, Any, None] | None]
ReadEvent: TypeAlias = Callable[[int, int], Awaitable[StoredEvent | None]]
"""By its sequence in EVENTS, and when it was stored (Unix time in ns)."""
HasRoom: TypeAlias = Callable[[str, int], bool]
"""By the subject of an event and the size of its body."""

_GONE = StoredEvent("", {}, b"", -1)


def rest_seconds(look_seconds: float) -> float:
    """Before the next look, after one that took so long.

    In a sender that is late a look takes long whatever it costs, and until the next one a tenant that was set aside
    meanwhile is not taken up at all.
    """
    return min(LOOK_SECONDS, max(REST_SECONDS, REST_TIMES * look_seconds))


def read_ahead(tenants: int, mean_bytes: float = MAX_BODY_BYTES) -> int:
    """How many events of one of so many tenants are read at once, after some that had so many bytes each. Before any
    were read they may be as large as can be."""
    most = min(MOST_AHEAD, READ_AHEAD // tenants, int(AHEAD_BYTES // max(1.0, mean_bytes)))
    return max(1, most)


@dataclass(eq=False, slots=True)
class _Named(Taken):
    """An event that a message of the backlog names. It is done when all of that message are."""

    batch: _Batch = field(kw_only=True, repr=False)

    async def ack(self) -> None:
        await self.batch.ended(self._named)

    async def left(self) -> None:
        await self.batch.ended(self._named, again=True)

    async def give_back(self) -> None:
        await self.left()

    async def doubled(self) -> None:
        # The message that named it first, or the event where it lies, is not acked before it is done.
        await self.ack()

    async def working(self) -> None:
        """The message says so for all of them."""

    @property
    def known_as(self) -> str:
        return names.EVENTS

    @property
    def _named(self) -> Place:
        return Place(self.seq, self.stored_ns)


class _Batch:
    """One message of the backlog in our hands."""

    def __init__(
        self, taken: Taken, places: Iterable[Place], on_ended: Callable[[_Batch], Coroutine[Any, Any, None]]
    ) -> None:
        self.taken = taken
        self.tenant = names.backlog_tenant(taken.subject)
        self.again: list[Place] = []
        """Events that are neither done nor stored."""
        self.gone = 0
        """Events that are not there any more."""
        self.makes_way = False
        """Whether what is not begun is set aside again."""
        self.rounds = 0
        """How often events of it began again."""
        self.error: Exception | None = None
        """One that nobody expected: nothing more of it begins."""
        self.in_hand: set[Place] = set()
        """Events that began."""
        self._left = set(places)
        self._on_ended = on_ended

    async def ended(self, place: Place, *, again: bool = False) -> None:
        """One of its events ended, for the first time or once more."""
        if place not in self._left:
            return
        self._left.discard(place)
        if again:
            self.again.append(place)
        if not self._left:
            await self._on_ended(self)

    async def break_off(self, error: Exception) -> None:
        """It ends with those of its events that are in hand: it must not come again, and be acked, before them."""
        self.error = error
        self._left &= self.in_hand
        if not self._left:
            await self._on_ended(self)

    def begin_again(self) -> Sequence[Place]:
        """With those that are neither done nor stored; them."""
        places, self.again = self.again, []
        self._left = set(places)
        self.in_hand.clear()
        self.rounds += 1
        return places


class Backlog:
    """Takes up what was set aside. `take` has an event as if it had just come, `spawn` does work beside."""

    def __init__(
        self,
        client: Client,
        pull: PullLoop,
        settlement: Settlement,
        aside: SetAside,
        read_event: ReadEvent,
        take: Take,
        has_room: HasRoom,
        *,
        term: Callable[[], int],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._client = client
        self._read_event = read_event
        self._pull = pull
        self._settlement = settlement
        self._aside = aside
        self._take = take
        self._has_room = has_room
        self._term = term
        self._spawn = spawn
        self._stored = SubjectCounts(client, lambda: names.BACKLOG, names.backlog_subject("*"))
        self._given = asyncio.Event()
        self._closing = asyncio.Event()
        self._served: dict[str, float] = {}
        """Tenants whose events are taken up, and since when, by the monotonic clock."""
        self._turns: dict[str, float] = {}
        """Tenants of which something waits, and when their last turn began."""
        self._batches: dict[str, _Batch] = {}
        """By the places of their messages."""
        self._waiting: dict[str, deque[tuple[_Batch, Place]]] = {}
        """By tenant: events that are to be taken up, in this order."""

    def close(self) -> None:
        """Begin nothing more."""
        self._closing.set()
        self._given.set()

    def room_given(self) -> None:
        """There may be room for an event that waits for it."""
        self._given.set()

    def lost(self, consumer: str) -> bool:
        """The queue has no such consumer any more; whether it was one of these. The next look makes it anew."""
        tenants = [tenant for tenant in self._served if self._consumer(tenant) == consumer]
        for tenant in tenants:
            self._leave(tenant)
        return bool(tenants)

    async def watch(self) -> None:
        """Look whose events were set aside: soon after that happened here, and every second for those of others."""
        while True:
            self._aside.stored.clear()
            began_s = time.monotonic()
            try:
                await self._look()
            except StreamUnavailable as error:
                log.debug("cannot look at what was set aside", problem=str(error))
            await asyncio.sleep(rest_seconds(time.monotonic() - began_s))
            await within(self._aside.stored, LOOK_SECONDS)

    async def keep_alive(self) -> None:
        """Say that we still work on what we hold, also while a look takes long."""
        while True:
            await asyncio.sleep(ACK_WAIT_SECONDS / 3)
            for batch in list(self._batches.values()):
                await batch.taken.working()

    async def handle(self, taken: Taken) -> None:
        """One message."""
        if taken.place in self._batches:
            self._pull.release(taken)
            return
        if self._settlement.knows(taken):
            await self._settlement.settle(taken)
            self._pull.release(taken)
            return
        try:
            places = set_aside.read(taken.body)
        except ValueError as error:
            try:
                await self._settlement.set_apart(taken, MALFORMED, str(error))
            finally:
                self._pull.release(taken)
            return
        batch = self._batches[taken.place] = _Batch(taken, places, self._ended)
        self._take_up_soon(batch, places)

    def _take_up_soon(self, batch: _Batch, places: Iterable[Place]) -> None:
        """Behind what else of its tenant is to be taken up."""
        waiting = self._waiting.get(batch.tenant)
        if waiting is None:
            waiting = self._waiting[batch.tenant] = deque()
            self._spawn(self._take_up_all(batch.tenant, waiting))
        waiting.extend((batch, place) for place in places)

    async def _try_again(self, batch: _Batch) -> None:
        """Those that were neither done nor stored: after as long as any event that was left comes again."""
        await within(self._closing, ACK_WAIT_SECONDS)
        self._take_up_soon(batch, batch.begin_again())

    async def _take_up_all(self, tenant: str, waiting: deque[tuple[_Batch, Place]]) -> None:
        mean_bytes: float = MAX_BODY_BYTES
        try:
            while waiting:
                ahead = read_ahead(len(self._waiting), mean_bytes)
                some = [waiting.popleft() for _ in range(min(ahead, len(waiting)))]
                found = await asyncio.gather(*(self._read(*each) for each in some), return_exceptions=True)
                sizes = [len(event.body) for event in found if isinstance(event, StoredEvent)]
                mean_bytes = sum(sizes) / len(sizes) if sizes else mean_bytes
                for (batch, place), event in zip(some, found, strict=True):
                    await self._take_up(batch, place, event)
                latest, _ = some[-1]
                if not waiting and not latest.taken.pending and not latest.again and not self._begin_again(tenant):
                    self._aside.caught_up(tenant)
        finally:
            del self._waiting[tenant]

    def _begin_again(self, tenant: str) -> bool:
        """Whether events of a tenant are to begin again."""
        return any(each.again for each in self._batches.values() if each.tenant == tenant)

    async def _take_up(self, batch: _Batch, place: Place, event: StoredEvent | BaseException | None) -> None:
        if batch.error is not None:
            return
        try:
            if isinstance(event, BaseException):
                raise event
            if event is None:
                await batch.ended(place, again=True)
            elif not _is_named(event, place, batch.tenant):
                batch.gone += 1
                await batch.ended(place)
            elif not await self._finds_room(batch, event):
                await batch.ended(place, again=True)
            else:
                work = self._take(self._named(batch, place, event))
                batch.in_hand.add(place)
                if work is not None:
                    self._spawn(work)
        except Exception as error:  # noqa: BLE001  # one message must not stop the others
            if batch.taken.place in self._batches:
                await batch.break_off(error)

    async def _read(self, batch: _Batch, place: Place) -> StoredEvent | None:
        """None when nothing more is to begin."""
        while not self._begins_nothing(batch):
            try:
                return await self._read_event(place.seq, place.stored_ns) or _GONE
            except (StreamUnavailable, StreamRefused) as error:
                log.warning("an event that was set aside cannot be read now", seq=place.seq, problem=str(error))
            await within(self._closing, LOOK_SECONDS)
        return None

    def _begins_nothing(self, batch: _Batch) -> bool:
        return batch.makes_way or self._closing.is_set()

    def _named(self, batch: _Batch, place: Place, event: StoredEvent) -> Taken:
        taken = batch.taken
        return _Named(
            Origin.BACKLOG,
            names.named_consumer(batch.tenant),
            event.subject,
            event.headers,
            event.body,
            place.seq,
            place.stored_ns,
            taken.delivered + batch.rounds,
            self._client,
            "",
            batch=batch,
        )

    async def _finds_room(self, batch: _Batch, event: StoredEvent) -> bool:
        """Wait for it. False when nothing more is to begin."""
        while not self._begins_nothing(batch):
            if self._has_room(event.subject, len(event.body)):
                return True
            # New events of the tenant would take what comes free before this one.
            self._aside.behind.add(batch.tenant)
            self._given.clear()
            await self._given.wait()
        return False

    async def _ended(self, batch: _Batch) -> None:
        """All of its events ended. Those that are neither done nor stored begin again, or are set aside again."""
        taken, again = batch.taken, batch.again
        if again and batch.error is None and not self._begins_nothing(batch):
            self._spawn(self._try_again(batch))
            return
        try:
            if batch.error is not None:
                await self._settlement.failed(taken, batch.error)
                return
            if again and not await stored(self._aside.store(batch.tenant, again, instead_of=taken.place), taken):
                return
            if batch.gone:
                problem = f"{batch.gone} events of {batch.tenant} are not in EVENTS any more"
                await self._settlement.set_apart(taken, EVENT_GONE, problem)
            else:
                await self._settlement.settle(taken)
        except Exception as error:  # noqa: BLE001  # whoever ended the last event has nothing to do with it
            await self._settlement.failed(taken, error)
        finally:
            self._over(batch)

    def _over(self, batch: _Batch) -> None:
        """It is out of our hands."""
        if self._batches.pop(batch.taken.place, None) is not None:
            self._pull.release(batch.taken)

    async def _look(self) -> None:
        counts = {tenant: count for tenant, count in (await self._stored.counts()).items() if names.is_uid(tenant)}
        for tenant, count in counts.items():
            if count > NEARLY_DONE and tenant not in self._served:
                self._aside.behind.add(tenant)
        for tenant in self._aside.behind - counts.keys():
            self._aside.caught_up(tenant)
        for tenant in self._served.keys() - counts.keys():
            self._leave(tenant)
        # Whoever had a turn waits for all others to have theirs.
        waiting = sorted(counts.keys() - self._served.keys(), key=lambda tenant: self._turns.get(tenant, 0.0))
        self._turns = {tenant: self._turns[tenant] for tenant in counts.keys() & self._turns.keys()}
        self._make_way(len(waiting))
        for tenant in waiting:
            if len(self._served) < TENANTS and not self._closing.is_set():
                # Before it is asked for: one that cannot be made lets others have their turn.
                self._turns[tenant] = time.monotonic()
                await self._serve(tenant)

    async def _serve(self, tenant: str) -> None:
        try:
            consumer = await open_backlog(self._client, tenant, self._term())
        except StreamUnavailable as error:
            log.warning("what was set aside cannot be taken up now", tenant=tenant, problem=str(error))
            return
        self._served[tenant] = self._turns[tenant]
        self._pull.add(Origin.BACKLOG, consumer, AT_ONCE)

    def _consumer(self, tenant: str) -> str:
        return names.backlog_consumer(tenant, self._term())

    def _make_way(self, waiting: int) -> None:
        """For tenants that wait for their turn: those who had theirs for the longest."""
        now_s, needed = time.monotonic(), len(self._served) + waiting - TENANTS
        for tenant, since_s in list(self._served.items())[: max(0, needed)]:
            if now_s - since_s > TURN_SECONDS:
                self._leave(tenant)
                for batch in self._batches.values():
                    batch.makes_way = batch.makes_way or batch.tenant == tenant
        self._given.set()

    def _leave(self, tenant: str) -> None:
        if self._served.pop(tenant, None) is not None:
            self._pull.remove(self._consumer(tenant))


def _is_named(event: StoredEvent, place: Place, tenant: str) -> bool:
    """Whether it is the event that was set aside: not one of a stream that was made anew, and no other tenant's."""
    return (
        event.stored_ns == place.stored_ns
        and names.is_event(event.subject)
        and names.event_of(event.subject)[0] == tenant
    )
