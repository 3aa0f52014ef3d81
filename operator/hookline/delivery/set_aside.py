"""Setting aside events of a tenant that has much in hand: one message names many of them, and they are acked.

The events themselves stay where they are, in EVENTS. So those of others behind them are reached at the cost of reading
past them. Whoever has room for the tenant takes them up again: see backlog.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, NamedTuple

from hookline.delivery.settlement import Settlement, stored
from hookline.runtime.metrics import SenderMetrics
from hookline.runtime.tasks import within
from hookline.stream import names
from hookline.stream.publish import Publisher
from hookline.stream.pull import PullLoop, Taken

MOST = 256
"""Events that one message names."""

GATHER_SECONDS = 0.03
"""How long a tenant's next events are waited for, so that few messages name them."""


_PLACE = re.compile(rb"([1-9][0-9]{0,18}) ([0-9]{1,19})")


class Place(NamedTuple):
    """Where an event is: its sequence in EVENTS, and when it was stored, in ns, so that a stream that was made anew is
    not taken for the one of before."""

    seq: int
    stored_ns: int


def written(places: Iterable[Place]) -> bytes:
    """As the body of a message."""
    return b"\n".join(f"{seq} {stored_ns}".encode() for seq, stored_ns in places)


def read(body: bytes) -> list[Place]:
    """Each once. Raises ValueError: anybody on this NATS may have written it."""
    lines = body.split(b"\n", MOST)
    if len(lines) > MOST:
        raise ValueError(f"it names more than {MOST} events")
    found: dict[Place, None] = {}
    for line in lines:
        place = _PLACE.fullmatch(line)
        if place is None:
            raise ValueError("a line is no sequence and time of an event")
        found[Place(int(place[1]), int(place[2]))] = None
    return list(found)


class SetAside:
    """Sets events aside, many at once, and knows whose are."""

    def __init__(self, publisher: Publisher, settlement: Settlement, pull: PullLoop, metrics: SenderMetrics) -> None:
        self._publisher = publisher
        self._settlement = settlement
        self._pull = pull
        self._metrics = metrics
        self._waiting: dict[str, list[Taken]] = {}
        """By tenant: what is set aside with the next message."""
        self._storing: dict[str, asyncio.Event] = {}
        """By tenant whose events are being stored: set when enough for a whole message wait."""
        self.behind: set[str] = set()
        """Tenants whose new events go behind those that are set aside."""
        self.stored = asyncio.Event()
        """Set with each message, for whoever takes up what they name."""

    def add(self, tenant: str, taken: Taken) -> Coroutine[Any, Any, None] | None:
        """One event more. Storing them is returned, to be awaited, unless the tenant's are being stored by now."""
        self.behind.add(tenant)
        waiting = self._waiting.setdefault(tenant, [])
        waiting.append(taken)
        enough = self._storing.get(tenant)
        if enough is not None:
            if len(waiting) >= MOST:
                enough.set()
            return None
        # Before it runs: of events that come at once each would store its own, and none would wait for the next ones.
        self._storing[tenant] = asyncio.Event()
        return self._store_waiting(tenant)

    def caught_up(self, tenant: str) -> None:
        """Nothing of a tenant waits any more. What is being set aside at this moment may be overtaken: a tenant that
        publishes all the time would stay behind for ever."""
        self.behind.discard(tenant)

    async def store(self, tenant: str, places: Iterable[Place], *, instead_of: str = "") -> None:
        """`instead_of` is the place of the message that named them before. Raises StreamUnavailable, StreamRefused."""
        body = written(places)
        # Without that message in its name, what is set aside again as it was would be taken for a repeat, and be lost.
        once = hashlib.sha256(b"%b %b" % (instead_of.encode(), body)).hexdigest()
        await self._publisher.store(names.backlog_subject(tenant), body, once=once)

    async def _store_waiting(self, tenant: str) -> None:
        enough = self._storing[tenant]
        try:
            while waiting := self._waiting.pop(tenant, None):
                enough.clear()
                for start in range(0, len(waiting), MOST):
                    await self._store_some(tenant, waiting[start : start + MOST])
                await within(enough, GATHER_SECONDS)
        finally:
            del self._storing[tenant]

    async def _store_some(self, tenant: str, some: Sequence[Taken]) -> None:
        try:
            if await stored(self.store(tenant, (Place(each.seq, each.stored_ns) for each in some)), some[0]):
                self._metrics.set_aside(len(some))
                self.stored.set()
                for each in some:
                    # Not settled: who remembers an event as settled calls it no more.
                    await each.ack()
        except Exception as error:  # noqa: BLE001  # a bug must not hold the others
            for each in some:
                await self._settlement.failed(each, error)
        finally:
            for each in some:
                self._pull.release(each)
