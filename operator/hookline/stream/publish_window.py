"""How many events a publisher has under way at once, found from the time that their confirmations take.

A queue stores events one after the other, with an fsync each. Once it has always one to store, more of them under way
store no faster: they wait there, and all other publishers behind them. How many that takes depends on how far away the
queue is. So a confirmation that takes longer than the shortest one tells how many of ours wait, and a few shall:

    window = window * TOLERANCE * shortest / taken + WAITING

which is FAST TCP's rule (Wei, Jin, Low, Hegde 2006), a quicker TCP Vegas, with the tolerance of Netflix's Gradient2.
What was shortest counts for a while, and is then measured anew with few under way, as BBR does: by the queue that we
make ourselves it would only grow.
"""

from __future__ import annotations

import math
import statistics

LEAST = 2
"""Events under way while the shortest time is measured. Fewer let the queue idle while a confirmation is on its way."""

MOST = 512
"""Events under way: what an earlier version had always."""

WAITING = 6.0
"""Of ours in the queue, besides what is on its way: it must not run dry while we hear and send.
With 3 a near queue stored 0.8 of what it can, with 6 0.84 to 0.98."""

WAITING_BYTES, LEAST_WAITING = 256 * 1024, 1.0
"""Bytes of bodies that shall wait there, and the fewest events: where WAITING events have more bytes, fewer wait. The
queue takes ten times as long for a large body, so it does not run dry with fewer, and others wait less behind them."""

TOLERANCE = 2.0
"""Times the shortest that a confirmation may take before the window shrinks. Times vary, and their shortest is rare.
With 1.5 a queue that is 10 ms away stored 0.7 of what it can. BBR's window is as much."""

BYTES = 4 * 1024 * 1024
"""Of bodies under way, for a window found with small ones: it takes one window of large ones to find theirs, near the
queue some six."""

SHORTEST_SECONDS = 10.0
"""For how long the shortest time counts; as in BBR."""

SHORTEST_TIMES = 100
"""Or for so many times itself: to measure it costs some four."""

MEASURED = 8
"""Confirmations with few under way, of which the shortest is taken. The very first also waits for the connection."""


class PublishWindow:
    """Times are seconds of one monotonic clock, given by the caller."""

    def __init__(self) -> None:
        self._window = float(2 * LEAST)
        self._shortest_seconds = math.inf
        self._since_s = -math.inf
        """When the shortest time began to be measured."""
        self._measured = 0
        self._taken_seconds: list[float] = []
        """In this round, which is one window of confirmations."""
        self._bytes = 0.0
        """Of bodies in this round."""

    @property
    def events(self) -> int:
        """That may be under way at once."""
        return LEAST if self._measured < MEASURED else int(self._window)

    def has_room(self, events: int, body_bytes: int, next_bytes: int) -> bool:
        """Whether one more may be on its way beside those that are. One alone always may, however large it is."""
        return events == 0 or (events < self.events and body_bytes + next_bytes <= BYTES)

    def confirmed(self, sent_s: float, now_s: float, *, full: bool, body_bytes: float = 0.0) -> None:
        """One was confirmed, with a body of so many bytes. `full`: as many were under way as may be. Otherwise its time
        says how long one takes, and not whether more would be of use."""
        taken_seconds = max(now_s - sent_s, 1e-6)
        if self._since_s == -math.inf:
            self._since_s = sent_s
        if self._measured < MEASURED:
            if sent_s < self._since_s:
                return  # It waited behind those that were under way before.
            self._measured += 1
        if taken_seconds < self._shortest_seconds:
            self._shortest_seconds = taken_seconds
        if self._measured < MEASURED:
            return
        if full:
            self._taken_seconds.append(taken_seconds)
            self._bytes += body_bytes
            if len(self._taken_seconds) >= self.events:
                self._next_round()
        if now_s - self._since_s > max(SHORTEST_SECONDS, SHORTEST_TIMES * self._shortest_seconds):
            self._since_s, self._measured, self._shortest_seconds = now_s, 0, math.inf
            self._begin_round()

    def _next_round(self) -> None:
        # The median: a pause of the disk is no queue.
        taken_seconds = statistics.median(self._taken_seconds)
        waiting = waiting_of(self._bytes / len(self._taken_seconds))
        self._begin_round()
        found = self._window * TOLERANCE * self._shortest_seconds / taken_seconds + waiting
        # Half of the way: a round tells of the window before.
        self._window = min(max((self._window + found) / 2, LEAST), MOST)

    def _begin_round(self) -> None:
        self._taken_seconds.clear()
        self._bytes = 0.0


def waiting_of(mean_bytes: float) -> float:
    """How many events with bodies of that size shall wait in the queue."""
    return min(WAITING, max(LEAST_WAITING, WAITING_BYTES / max(1.0, mean_bytes)))
