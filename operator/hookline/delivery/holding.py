"""What keeps a delivery safe while a sender has it: its message in a stream, its event, or a copy that is due later.

Whichever it is, the delivery is settled alike: what follows from it is stored, then it is let go. Never decides what
follows, nor when a delivery is called.
"""

from __future__ import annotations

import contextlib
from collections.abc import Coroutine
from typing import Any, Protocol

import structlog

from hookline.delivery import messages
from hookline.delivery.messages import Delivery
from hookline.delivery.open_event import OpenEvent
from hookline.delivery.recently_acked import MessageKey
from hookline.delivery.settlement import Settlement, stored
from hookline.stream.clock import ServerClock
from hookline.stream.connection import StreamRefused, StreamUnavailable
from hookline.stream.publish import Publisher
from hookline.stream.pull import Origin, PullLoop, Taken

log = structlog.get_logger(__name__)

Storing = Coroutine[Any, Any, object] | None
"""What is to be stored before a delivery is let go, if anything is."""

DUE_AFTER_SECONDS = 15.0
"""After the longest time that a call may take: then its copy comes. As long as the ack wait of a message."""


class Holding(Protocol):
    """Nothing is lost while a delivery is held, and when nobody lets it go it comes again."""

    @property
    def is_parked(self) -> bool:
        """Whether it is a parked one: it stays so when it is not called."""

    @property
    def origin(self) -> str:
        """Where it waited to be called: a word of metrics.ORIGINS."""

    @property
    def event_stored_s(self) -> float:
        """When its event was stored, by the server's clock in Unix time, up to a second too late."""

    @property
    def aside_once(self) -> str | None:
        """The name under which it is stored when it is not called now; None where it is to be given back."""

    async def settle(self, storing: Storing) -> bool:
        """Store what follows, then let go. False when it could not be stored: then it comes again."""

    async def give_back(self) -> None:
        """Let another one take it at once."""

    async def failed(self, error: Exception) -> None:
        """An exception that nobody expected. It comes again, but not for ever."""

    async def working(self) -> None:
        """Still at it."""

    def release(self) -> None:
        """It is out of our hands: make room for another."""


class Queued:
    """A message of DELIVERIES or PARKED."""

    __slots__ = ("_pull", "_settlement", "_taken")

    def __init__(self, taken: Taken, pull: PullLoop, settlement: Settlement) -> None:
        self._taken = taken
        self._pull = pull
        self._settlement = settlement

    @property
    def key(self) -> MessageKey:
        """Tells it from all that are in our hands."""
        return self._taken.consumer, self._taken.seq

    @property
    def is_parked(self) -> bool:
        return self._taken.origin is Origin.PARKED

    @property
    def origin(self) -> str:
        return "parked" if self.is_parked else "shard"

    @property
    def event_stored_s(self) -> float:
        # Whole seconds are known of the event, and that it was there before its delivery was.
        event_s, delivery_s = messages.stored_s(self._taken.headers), self._taken.stored_s
        return min(event_s + 1, delivery_s) if event_s else delivery_s

    @property
    def aside_once(self) -> str | None:
        return None if self.is_parked else f"park.{self._taken.place}"

    async def settle(self, storing: Storing) -> bool:
        return await self._settlement.settle(self._taken, storing)

    async def give_back(self) -> None:
        await self._taken.give_back()

    async def failed(self, error: Exception) -> None:
        await self._settlement.failed(self._taken, error)

    async def working(self) -> None:
        await self._taken.working()

    def release(self) -> None:
        self._pull.release(self._taken)


class FromEvent:
    """A part of an event, called from it."""

    __slots__ = ("_event", "delivery")

    def __init__(self, event: OpenEvent, delivery: Delivery) -> None:
        self._event = event
        self.delivery = delivery

    @property
    def taken(self) -> Taken:
        """The event."""
        return self._event.taken

    @property
    def key(self) -> MessageKey:
        """As that of `Queued`."""
        # No consumer has a full stop in its name. A stream that is made anew uses its sequences again.
        return f".{self.delivery.uid}.{self._event.taken.seq}", self._event.taken.stored_ns

    @property
    def is_parked(self) -> bool:
        return False

    @property
    def origin(self) -> str:
        return "event"

    @property
    def event_stored_s(self) -> float:
        return self._event.taken.stored_s

    @property
    def aside_once(self) -> str | None:
        return self.delivery.once

    async def settle(self, storing: Storing) -> bool:
        whole = storing is None or await stored(storing, self._event.taken)
        await self._event.ended(self.delivery.uid, whole=whole)
        return whole

    async def give_back(self) -> None:
        await self._event.ended(self.delivery.uid, whole=False)

    async def failed(self, error: Exception) -> None:
        await self._event.ended(self.delivery.uid, whole=False, error=error)

    async def working(self) -> None:
        await self._event.taken.working()

    def release(self) -> None:
        self._event.release(self.delivery.uid)


class Copied:
    """A copy in DELIVERIES that is due after the call must have ended, and is removed when it has.

    A scheduled message, as a retry is, and under the name of the first attempt, which no retry has.
    """

    __slots__ = ("_clock", "_event", "_publisher")

    def __init__(self, event: FromEvent, publisher: Publisher, clock: ServerClock) -> None:
        self._event = event
        self._publisher = publisher
        self._clock = clock

    @property
    def is_parked(self) -> bool:
        return False

    @property
    def origin(self) -> str:
        return self._event.origin

    @property
    def event_stored_s(self) -> float:
        return self._event.event_stored_s

    @property
    def aside_once(self) -> str | None:
        return None

    async def make(self, wait_seconds: float) -> bool:
        """Store it, to be due then; whether it is. Its event need not wait for this call any more."""
        return await stored(self._store(wait_seconds), self._event.taken)

    async def _store(self, wait_seconds: float) -> None:
        """A copy that is there is replaced. Raises StreamUnavailable, StreamRefused."""
        delivery, at_s = self._event.delivery, self._clock.now_s() + wait_seconds
        once = messages.later_token(delivery)
        await self._publisher.store_later(delivery.uid, delivery.event.body, delivery.headers(), at_s=at_s, once=once)

    async def settle(self, storing: Storing) -> bool:
        if storing is not None and not await stored(storing, self._event.taken):
            return False
        # One that stays is called once more when it is due.
        delivery = self._event.delivery
        with contextlib.suppress(StreamUnavailable, StreamRefused):
            await self._publisher.forget_later(delivery.uid, once=messages.later_token(delivery))
        return True

    async def give_back(self) -> None:
        with contextlib.suppress(StreamUnavailable, StreamRefused):
            await self._store(0)

    async def failed(self, error: Exception) -> None:
        log.error(
            "a call could not be settled and is made again when its copy is due: this is a bug",
            problem=type(error).__name__,
        )

    async def working(self) -> None:
        pass

    def release(self) -> None:
        self._event.release()
