"""How a message of the queue is done with: what follows from it is stored, then it is acked.

Decides the order, and what becomes of a message that cannot be read or that this version cannot handle: it is kept in
DEAD as it is, never deleted. Never makes room for another message: whoever holds it does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

import structlog

from hookline.delivery import messages
from hookline.delivery.recently_acked import RecentlyAcked
from hookline.events.envelope import stamp
from hookline.runtime.metrics import SenderMetrics
from hookline.stream.clock import ServerClock
from hookline.stream.connection import StreamRefused, StreamUnavailable
from hookline.stream.publish import Publisher
from hookline.stream.pull import Taken

log = structlog.get_logger(__name__)

MALFORMED = "Malformed"
"""Why a message is in DEAD that this version cannot read."""

EVENT_GONE = "EventGone"
"""Why a message is in DEAD: its event, or one that it names, is not in EVENTS any more."""

INTERNAL_ERROR = "InternalError"
"""Why a message is in DEAD that this version failed to handle again and again."""

PATIENT_DELIVERIES = 10
"""Times that a message is delivered before a failure to handle it counts as lasting. A sender that is killed, or a
server that forgets acks, repeats messages as well."""


Whole: TypeAlias = Callable[[Taken], Awaitable[Taken | None]]
"""A message with its body, where that came without; None when it is gone. Raises StreamUnavailable, QueueUnusable."""


async def as_it_came(taken: Taken) -> Taken | None:
    """Where all messages come with their bodies."""
    return taken


async def stored(storing: Coroutine[Any, Any, object], taken: Taken) -> bool:
    """Whether what follows from a message could be stored."""
    try:
        await storing
    except (StreamUnavailable, StreamRefused) as error:
        log.warning("a message will be repeated", consumer=taken.consumer, seq=taken.seq, problem=str(error))
        return False
    return True


class Settlement:
    """Settles messages over one connection, and remembers those that it settled."""

    def __init__(
        self, publisher: Publisher, metrics: SenderMetrics, clock: ServerClock, *, whole: Whole = as_it_came
    ) -> None:
        self._publisher = publisher
        self._whole = whole
        self._metrics = metrics
        self._clock = clock
        self._acked = RecentlyAcked()

    def knows(self, taken: Taken) -> bool:
        """Whether a message was settled here before: its ack was lost, and it is to be acked again."""
        return self._acked.has((taken.known_as, taken.seq), taken.stored_ns)

    async def settle(self, taken: Taken, storing: Coroutine[Any, Any, object] | None = None) -> bool:
        """Store what follows, then ack. False when it could not be stored: left unacked, the message comes back."""
        if storing is not None and not await stored(storing, taken):
            await taken.left()
            return False
        self._acked.add((taken.known_as, taken.seq), taken.stored_ns)
        await taken.ack()
        return True

    async def set_apart(self, taken: Taken, reason: str, problem: str) -> bool:
        """Keep a message in DEAD as it is, then ack it; whether that was done."""
        log.error("a message is kept in DEAD", reason=reason, problem=problem, consumer=taken.consumer, seq=taken.seq)
        now = stamp(self._clock.now_s())
        try:
            # Of one that is gone what came of it is kept.
            body = (await self._whole(taken) or taken).body
        except (StreamUnavailable, StreamRefused) as error:
            log.warning("a message will be repeated", consumer=taken.consumer, seq=taken.seq, problem=str(error))
            await taken.left()
            return False
        letter = messages.unread_letter(
            taken.subject, taken.headers, body, f"{reason}: {problem}", failed_at=now, place=taken.place
        )
        done = await self.settle(
            taken, self._publisher.store(letter.subject, letter.body, letter.headers, once=letter.once)
        )
        if done:
            self._metrics.died(reason)
        return done

    async def failed(self, taken: Taken, error: Exception) -> None:
        """An exception that nobody expected. The message comes again, but not for ever."""
        problem = type(error).__name__
        if taken.delivered >= PATIENT_DELIVERIES:
            await self.set_apart(taken, INTERNAL_ERROR, problem)
        else:
            log.error(
                "a message could not be handled and comes again: this is a bug",
                problem=problem,
                consumer=taken.consumer,
                seq=taken.seq,
            )
            await taken.left()
