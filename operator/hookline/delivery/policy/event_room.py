"""How many events a sender has in hand at once, and how many of them may be of one tenant. Pure.

An event in hand is called from, or its deliveries are being stored. What finds no room is set aside, so that the events
of others behind it are reached. Room is short for two reasons: memory, and time. While several tenants are there, a
sender that falls behind with what it has to do at each moment takes less of those who have much, since each of them
makes all others wait. A tenant that has little in hand gets room, as long as there are memory and places.
"""

from __future__ import annotations

import math
from collections import Counter

FEW = 4
"""Webhooks of one event that is called from. With more of them its deliveries are stored first: one crash should not
repeat many calls."""

PLACES = 2048
"""Calls of events in hand, but for those that take long. Four times the calls that a sender makes at once: the others
wait in lanes. Deliveries that are stored take a quarter of that."""

HEAVIEST = 8
"""An event that very many Webhooks hear takes this part of the room. It is short of it no longer than that."""

LARGE_BYTES = 32 * 1024
"""A body counts once more for each of these: a large one takes longer to sign, encrypt and send."""

HELD_BYTES = 32 * 1024 * 1024
"""Bodies of events in hand."""

GREED = 7
"""A tenant that has this many times as much in hand as is free gets no more: see `lanes.GREED`."""

ALWAYS = 64
"""Events that a tenant may have in hand while there is memory, however late the sender is and however much others have;
or an even share of what may be in hand, if that is more. Of what was set aside one, or that share. To be set aside
costs an event more time than all else here, and those that follow go behind it: that is for whoever has much, and not
for whoever has a few more because another one's make the sender late."""

LEAST = 32
"""Events that are in hand without making others wait, however late the sender is: it may be others on its node who make
it late, and receivers that are far away."""

LATE_SECONDS, IN_TIME_SECONDS = 0.005, 0.0025
"""A sender that does what is due later than this has less in hand, and one that is not even this late more."""

SHRINKS, GROWS = 0.8, 4
"""By what, and by how many events, at each look."""

ALONE_SECONDS = 10.0
"""After so long with the events of one tenant only, nobody else waits for it."""


class EventRoom:
    """What of it is free, and who has how much of it. Times are those of a monotonic clock."""

    def __init__(self, *, places: int = PLACES, held_bytes: int = HELD_BYTES) -> None:
        self._places, self._bytes = places, held_bytes
        self._limit = float(places)
        """Events that may be in hand without making others wait."""
        self._weight = 0
        self._size = 0
        self._weights: Counter[str] = Counter()
        self._sizes: Counter[str] = Counter()
        self._latest = ""
        self._others_s = -math.inf
        """When the events of one tenant followed those of another last."""

    def take(self, tenant: str, webhooks: int, size_bytes: int, now_s: float, *, behind: bool = False) -> bool:
        """Whether an event for so many Webhooks may be in hand; it then is, until `give`. `behind` means that it was
        set aside before."""
        if tenant != self._latest:
            # The first one of all follows nobody.
            self._latest, self._others_s = tenant, now_s if self._latest else -math.inf
        if not self.has(tenant, webhooks, size_bytes, behind=behind):
            return False
        self._count(tenant, self._weight_of(webhooks, size_bytes), size_bytes)
        return True

    def has(self, tenant: str, webhooks: int, size_bytes: int, *, behind: bool) -> bool:
        """Whether `take` would find room."""
        held, weight = self._weights[tenant], self._weight_of(webhooks, size_bytes)
        free = self._bytes - self._size - size_bytes
        if self._weight + weight > self._places or free < 0 or self._sizes[tenant] > GREED * free:
            return False
        if held > GREED * (self._places - self._weight):
            return False
        # One more than there are: whoever comes next finds room.
        share = self._limit / (1 + len(self._weights) + (tenant not in self._weights))
        always = share if behind else max(ALWAYS, share)
        return not held or held + weight <= always or held < GREED * (self._limit - self._weight)

    def rest(self, tenant: str, webhooks: int, size_bytes: int) -> None:
        """All that is left of an event are calls that take long: they take memory, and make nobody wait."""
        self._count(tenant, -self._weight_of(webhooks, size_bytes), 0)

    def give(self, tenant: str, webhooks: int, size_bytes: int, *, rested: bool = False) -> None:
        """An event is out of our hands."""
        self._count(tenant, 0 if rested else -self._weight_of(webhooks, size_bytes), -size_bytes)
        if not self._weights[tenant] and not self._sizes[tenant]:
            del self._weights[tenant], self._sizes[tenant]

    def look(self, late_s: float, now_s: float) -> None:
        """The sender did what was due so much too late."""
        if now_s - self._others_s > ALONE_SECONDS:
            self._limit = float(self._places)
        elif late_s > LATE_SECONDS:
            self._limit = max(LEAST, min(self._limit, self._weight) * SHRINKS)
        elif late_s < IN_TIME_SECONDS:
            self._limit = min(self._places, self._limit + GROWS)

    def _weight_of(self, webhooks: int, size_bytes: int) -> int:
        """Its calls, or as much as its deliveries take to store, but not so much that it would never find room."""
        calls = webhooks if webhooks <= FEW else max(FEW, webhooks // FEW)
        return min(self._places // HEAVIEST, calls * (1 + size_bytes // LARGE_BYTES))

    def _count(self, tenant: str, weight: int, size_bytes: int) -> None:
        self._weight += weight
        self._size += size_bytes
        self._weights[tenant] += weight
        self._sizes[tenant] += size_bytes
