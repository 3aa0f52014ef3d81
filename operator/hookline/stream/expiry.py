"""How many events were removed from EVENTS before they were settled: by `retention.eventsSeconds`, or by hand.

nats-server says nothing of them, and lets a consumer go on behind them once something later is acked.
"""

from __future__ import annotations

from collections.abc import Mapping

from hookline.stream.streams import FanoutPlace


class Expiry:
    """Counts each of them once. What was settled may expire."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], int] = {}
        """By stream and when it was made: up to which sequence it is known what became of each event."""

    def look(self, places: Mapping[str, FanoutPlace]) -> int:
        """How many more they are since the last look, of all streams."""
        expired = 0
        for stream in {place.stream for place in places.values()}:
            of_it = [place for place in places.values() if place.stream == stream]
            key = stream, of_it[0].created
            # Consumers of one stream come as far as one another: the one of which there is nothing stays behind.
            known = max(self._known.get(key, 0), *(place.settled for place in of_it))
            removed = min(place.first for place in of_it) - 1
            expired += max(0, removed - known)
            self._known[key] = max(known, removed)
        return expired
