"""How much of the API one user may have under way, and all of them together. Pure."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from hookline.api.status import Refused, too_many


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one process."""

    requests: int = 128
    requests_of_one: int = 16
    watches: int = 1000
    watches_of_one: int = 50


class Places:
    """Of one kind of request."""

    def __init__(self, what: str, most: int, most_of_one: int) -> None:
        self._what = what
        self._most = most
        self._most_of_one = most_of_one
        self._of_one: Counter[str] = Counter()
        self.used = 0

    @contextlib.contextmanager
    def one(self, user: str) -> Iterator[None]:
        """Raises Refused: 429, after which every client of Kubernetes comes again."""
        if self._of_one[user] >= self._most_of_one:
            raise Refused(too_many(f"this user has {self._most_of_one} {self._what} under way, as many as one may"))
        if self.used >= self._most:
            raise Refused(too_many(f"{self._most} {self._what} are under way, as many as may be"))
        self.used += 1
        self._of_one[user] += 1
        try:
            yield
        finally:
            self.used -= 1
            self._of_one[user] -= 1
            if not self._of_one[user]:
                del self._of_one[user]
