"""Which deliveries are called straight from their event, and which are stored first. Pure.

A delivery that is called from its event is never stored: the event stays unacked until its last one is done. So a
crash repeats all deliveries of the events in hand, and what is in hand is bounded: by Webhooks of one event, by events,
by bytes, and by time.
"""

from __future__ import annotations

from collections import Counter

FEW = 4
"""Webhooks of one event. With more of them its deliveries are stored first: one crash should not repeat many calls."""

EVENTS = 1024
"""In the hands of one sender at once. Twice the calls that it makes at once: the others wait in lanes."""

HELD_BYTES = 32 * 1024 * 1024
"""Bodies of these events."""

GREED = 7
"""A tenant that has this many times as much in hand as is free gets no more: see `lanes.GREED`."""

SAFE_AFTER_SECONDS = 1.0
"""A call that takes longer has its delivery stored beside it, and its event is acked. Else one receiver that hangs
would hold its event for as long as a call may take, and after that time whoever takes over the queue begins anew."""


class DirectRoom:
    """What of this room is free, and who has how much of it."""

    def __init__(self, *, events: int = EVENTS, held_bytes: int = HELD_BYTES) -> None:
        self._events, self._bytes = events, held_bytes
        self._events_of: Counter[str] = Counter()
        self._bytes_of: Counter[str] = Counter()

    def take(self, tenant: str, webhooks: int, size_bytes: int) -> bool:
        """Whether deliveries to so many Webhooks may be called from an event, which then has a place until `give`."""
        if webhooks > FEW or not self._has(tenant, size_bytes):
            return False
        self._count(tenant, 1, size_bytes)
        return True

    def give(self, tenant: str, size_bytes: int) -> None:
        """An event is done with."""
        self._count(tenant, -1, -size_bytes)
        if not self._events_of[tenant]:
            del self._events_of[tenant], self._bytes_of[tenant]

    def _has(self, tenant: str, size_bytes: int) -> bool:
        room = self._bytes - size_bytes
        return self._events_of[tenant] < GREED * self._events and self._bytes_of[tenant] <= GREED * room and room >= 0

    def _count(self, tenant: str, events: int, size_bytes: int) -> None:
        self._events -= events
        self._bytes -= size_bytes
        self._events_of[tenant] += events
        self._bytes_of[tenant] += size_bytes
