"""Which keys were used lately, and for what: the same event again is a repeat, another one is a mistake.

NATS knows the keys of the last two minutes and stores none twice; what it does not know is whether the body was the
same. A sender is asked for what another gateway took (stream/same_event). Pure: times come from the caller, of the
monotonic clock.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

KEPT_SECONDS = 130.0
"""Longer than NATS knows a key (stream/streams: the deduplication window, 120 s), by more than an event may take to be
stored: another event with a key that only NATS still knows would be called a repeat, and its producer believe it."""

MAX_KEYS = 200_000
"""Some 250 bytes each. With more in the window the oldest are forgotten first."""


@dataclass(slots=True)
class _Use:
    digest: bytes
    last_s: float
    requests: int
    """That used it, less those of which nothing was stored."""
    is_stored: bool = False
    """Whether this event is known to be what was stored under the key."""


class Repeats:
    """The keys that one gateway process has taken, under way or confirmed."""

    def __init__(self, *, max_keys: int = MAX_KEYS) -> None:
        self._max_keys = max_keys
        self._uses: OrderedDict[tuple[str, str], _Use] = OrderedDict()

    def is_another(self, namespace: str, event_id: str, digest: bytes, now_s: float) -> bool:
        """Whether this key stands for another event. If not, it stands for this one, from now on for its time: which
        of several tries NATS stores is not known."""
        key = namespace, event_id
        known = self._uses.get(key)
        if known is not None and now_s - known.last_s < KEPT_SECONDS:
            if known.digest != digest:
                return True
            known.last_s = now_s
            known.requests += 1
        else:
            self._uses[key] = _Use(digest, now_s, 1)
        if known is not None:
            self._uses.move_to_end(key)
        self._forget(now_s)
        return False

    def forget(self, namespace: str, event_id: str, digest: bytes) -> None:
        """It is known that one request with this event stored nothing: its key is free, unless another one has it."""
        key = namespace, event_id
        known = self._uses.get(key)
        if known is not None and known.digest == digest:
            known.requests -= 1
            if not known.requests:
                del self._uses[key]

    def is_stored(self, namespace: str, event_id: str) -> bool:
        """Whether the event that this key stands for is known to be the one that was stored."""
        known = self._uses.get((namespace, event_id))
        return known is not None and known.is_stored

    def stored(self, namespace: str, event_id: str, digest: bytes) -> None:
        """It is known that this event was stored under this key."""
        known = self._uses.get((namespace, event_id))
        if known is not None and known.digest == digest:
            known.is_stored = True

    def _forget(self, now_s: float) -> None:
        while self._uses:
            oldest = next(iter(self._uses.values()))
            if len(self._uses) <= self._max_keys and now_s - oldest.last_s < KEPT_SECONDS:
                return
            self._uses.popitem(last=False)
