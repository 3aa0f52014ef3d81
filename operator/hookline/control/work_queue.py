"""The queue of work: each key once, never twice at the same time, later again after a failure.

What Go operators get from client-go's workqueue and Kopf has not. Holds keys only; what a key needs is read when its
turn comes, so that many changes of one object cost one look.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from itertools import chain
from typing import Generic, TypeVar

K = TypeVar("K")

FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 60.0


def retry_seconds(failures: int, jitter: float) -> float:
    """Wait before the next try: doubles from 0.2 s to a minute, and up to a quarter more by `jitter` (0 to 1)."""
    return min(FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 30), LONGEST_RETRY_SECONDS) * (1 + jitter / 4)


class WorkQueue(Generic[K]):
    """Keys that wait for a worker, in the order in which they came; those that are to go `first` before all others."""

    def __init__(
        self, *, first: Callable[[K], bool] = lambda _key: False, jitter: Callable[[], float] = random.random
    ) -> None:
        self._first = first
        self._jitter = jitter
        self._urgent: dict[K, None] = {}
        self._waiting: dict[K, None] = {}
        self._working: set[K] = set()
        self._later: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._some = asyncio.Event()

    def __len__(self) -> int:
        """Keys that wait now, without those whose time has not come."""
        return len(self._urgent) + len(self._waiting)

    @property
    def idle(self) -> bool:
        """Nothing waits, nothing is worked on. Later keys do not count."""
        return not len(self) and not self._working

    def add(self, key: K) -> None:
        """Have `key` looked at as soon as possible; once more afterwards if it is being looked at."""
        self._cancel(key)
        self._lane(key)[key] = None
        self._some.set()

    def add_later(self, key: K, seconds: float) -> None:
        """Have `key` looked at in a while, unless it is before."""
        due = asyncio.get_running_loop().time() + seconds
        there = self._later.get(key)
        if key in self._lane(key) or (there is not None and there.when() <= due):
            return
        self._cancel(key)
        # uvloop makes what is due at once a handle that does not say when.
        self._later[key] = asyncio.get_running_loop().call_later(max(seconds, 0.001), self.add, key)

    def retry(self, key: K, after_seconds: float = 0.0) -> float:
        """Have `key` looked at again after a failure; how long it waits, in seconds."""
        self._failures[key] = self._failures.get(key, 0) + 1
        wait = max(retry_seconds(self._failures[key], self._jitter()), after_seconds)
        self.add_later(key, wait)
        return wait

    def succeeded(self, key: K) -> None:
        """Forget the failures of `key`."""
        self._failures.pop(key, None)

    async def take(self) -> K:
        """The next key that nobody works on. `done` must follow."""
        while True:
            for key in chain(self._urgent, self._waiting):
                if key not in self._working:
                    del self._lane(key)[key]
                    self._working.add(key)
                    return key
            self._some.clear()
            await self._some.wait()

    def done(self, key: K) -> None:
        """The worker has finished with `key`."""
        self._working.discard(key)
        if key in self._lane(key):
            self._some.set()

    def _lane(self, key: K) -> dict[K, None]:
        return self._urgent if self._first(key) else self._waiting

    def _cancel(self, key: K) -> None:
        there = self._later.pop(key, None)
        if there is not None:
            there.cancel()
