"""Which keys were used lately, and for what: the same event again is a repeat, another one is a mistake.

NATS knows the keys of the last two minutes and stores none twice; what it does not know is whether the body was the
same. Pure: times come from the caller, of the monotonic clock.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

KEPT_SECONDS = 120.0
"""As long as NATS knows a key (stream/streams: the deduplication window)."""

MAX_KEYS = 200_000
"""Some 250 bytes each. With more in the window the oldest are forgotten first."""


def digest_of(event_type: str, body: bytes) -> bytes:
    """Of what makes two events with one key the same."""
    return hashlib.blake2b(b"%b\0%b" % (event_type.encode(), body), digest_size=16).digest()


class Repeats:
    """The keys that one gateway process has taken, under way or confirmed."""

    def __init__(self, *, max_keys: int = MAX_KEYS) -> None:
        self._max_keys = max_keys
        self._digests: OrderedDict[tuple[str, str], tuple[bytes, float]] = OrderedDict()

    def is_another(self, namespace: str, event_id: str, digest: bytes, now_s: float) -> bool:
        """Whether this key stands for another event. If for none yet, it stands for this one from now on."""
        key = namespace, event_id
        known = self._digests.get(key)
        if known is not None and now_s - known[1] < KEPT_SECONDS:
            return known[0] != digest
        self._digests[key] = digest, now_s
        self._digests.move_to_end(key)
        self._forget(now_s)
        return False

    def forget(self, namespace: str, event_id: str, digest: bytes) -> None:
        """It is known that this event was not stored: its key is free."""
        key = namespace, event_id
        known = self._digests.get(key)
        if known is not None and known[0] == digest:
            del self._digests[key]

    def _forget(self, now_s: float) -> None:
        while self._digests:
            _, at_s = next(iter(self._digests.values()))
            if len(self._digests) <= self._max_keys and now_s - at_s < KEPT_SECONDS:
                return
            self._digests.popitem(last=False)
