"""So many a second: of questions about callers (remembered), of events and bytes (limits). Pure."""

from __future__ import annotations

from math import inf


class Pace:
    """So many a second, and a number of them at once after a rest. What takes more than its turn is waited for."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._interval_seconds = 1 / per_second
        self._rest_seconds = burst / per_second
        self._next_s = -inf

    def wait_seconds(self, now_s: float) -> float:
        """How long the next one would have to wait for its turn."""
        return max(0.0, self._next_s - now_s)

    def take(self, now_s: float, turns: float = 1.0) -> None:
        """Somebody takes that turn, or so many."""
        self._next_s = max(self._next_s, now_s - self._rest_seconds) + turns * self._interval_seconds
