"""Which messages this sender acked lately: one that comes again is acked again, and nothing else is done. Pure.

A server that crashes forgets the acks of its last 100 ms, and a connection that breaks loses those on their way. The
message then comes again, although what follows from it is stored. Whoever acked it knows better than to repeat it.
"""

from __future__ import annotations

from collections import OrderedDict

MessageKey = tuple[str, int]
"""Consumer and sequence: names a message among those of all streams, until a stream is deleted and made anew."""

REMEMBERED = 32_768
"""As many as one sender acks in the ack wait at 2,000 a second; some 8 MB."""


class RecentlyAcked:
    """The last `limit` messages that were acked. Remembered with the time when each was stored, so that a new stream is
    not taken for the old one: that would ack what was never called. Event ids are not enough: an event that was
    published without one is named after its sequence."""

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        self._stored_ns: OrderedDict[MessageKey, int] = OrderedDict()

    def add(self, message: MessageKey, stored_ns: int) -> None:
        """`stored_ns` is when the server stored it: Unix time in ns."""
        self._stored_ns[message] = stored_ns
        if len(self._stored_ns) > self._limit:
            # A plain dict finds its first key by passing all that were deleted before it: 20 us, and up to 43.
            self._stored_ns.popitem(last=False)

    def has(self, message: MessageKey, stored_ns: int) -> bool:
        return self._stored_ns.get(message) == stored_ns
