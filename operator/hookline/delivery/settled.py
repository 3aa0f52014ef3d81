"""Which messages this sender settled lately: one that comes again is acked again, and nothing else is done. Pure.

A server that crashes forgets the acks of its last 100 ms, and a connection that breaks loses those on their way. The
message then comes again, although what follows from it is stored. Whoever settled it knows better than to repeat it.
"""

from __future__ import annotations

MessageKey = tuple[str, int]
"""Consumer and sequence: names a message among those of all streams, until a stream is deleted and made anew."""

REMEMBERED = 32_768
"""As many as one sender settles in the ack wait at 2,000 a second; some 8 MB."""


class Settled:
    """The last `limit` settled messages. Remembered with the event's id, so that a new stream is not taken for the
    old one: that would ack what was never called."""

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        self._events: dict[MessageKey, str] = {}

    def add(self, message: MessageKey, event_id: str) -> None:
        self._events[message] = event_id
        if len(self._events) > self._limit:
            del self._events[next(iter(self._events))]

    def has(self, message: MessageKey, event_id: str) -> bool:
        return self._events.get(message) == event_id
