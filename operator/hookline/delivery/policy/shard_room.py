"""How many deliveries out of shards a sender has under way at once. Pure.

Deliveries of a shard come in the order in which they were stored, whoever they are of: nobody is passed by. So what is
left to decide is how much is done at each moment. All that is under way takes its turn before anybody else's call goes
on, and what was asked for is read before what comes behind it. A sender that falls behind asks for less, and makes as
many calls in a second as before.

Only what moves counts. Calls that take long and what waits in lanes make nobody wait, and keep no room from the others
of their shard.
"""

from __future__ import annotations

from hookline.delivery.policy.event_room import IN_TIME_SECONDS, LATE_SECONDS, PLACES, SHRINKS

LEAST = 16
"""Deliveries under way, one of each shard, however late the sender is, and while it is in time until more are needed.
Retries that come due at once come before anybody can find out that they make the sender late. And each call takes some
ten turns of the event loop, of which each waits for all that is under way: with 32 the calls of others took twice as
long (docs/benchmarks.md)."""

GROWS, WANES = 1.25, 0.99
"""By what it grows at each look while the sender is in time and uses more than half of it, and wanes to the least while
it does not: in half a second, and in twelve."""


class ShardRoom:
    """Of one sender that takes from so many shards."""

    def __init__(self, shards: int) -> None:
        self._limit = float(LEAST)
        self._shards = shards
        self._busy = 1
        """Shards of which something is under way."""

    def look(self, late_s: float, moving: int, *, busy: int, shards: int) -> None:
        """The sender did what was due so much too late, with so many deliveries under way, out of `busy` shards of all
        that it takes from. Times as in event_room."""
        self._busy, self._shards = max(1, busy), shards
        if late_s > LATE_SECONDS:
            self._limit = max(LEAST, min(self._limit, moving) * SHRINKS)
        elif late_s < IN_TIME_SECONDS:
            self._limit = self._in_time(moving)

    def _in_time(self, moving: int) -> float:
        if moving > self._limit / 2:
            return min(PLACES, self._limit * GROWS)
        return max(LEAST, self._limit * WANES)

    def room(self, most: int, *, held: int, moving: int) -> int:
        """How many deliveries of one shard may be in hand, which has so many, and of which so many move. Those of which
        something is under way share what may be; each of the others may begin with a part of it."""
        share = max(1, int(self._limit / (self._busy if moving else self._shards)))
        return min(most, share + held - moving)
