"""How much of the API one user may have under way, and all of them together; whom a user shares that with. Pure.

Nobody has more than are free: those who take all that they may leave places for whoever has none.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from hookline.api.status import Refused, too_many
from hookline.serving.turns import Whose

_ACCOUNT = "system:serviceaccount:"


def share_of(user: str) -> Whose:
    """Whose a user's questions are: his own. A namespace has one share, however many ServiceAccounts it makes."""
    if user.startswith(_ACCOUNT):
        namespace = user.removeprefix(_ACCOUNT).partition(":")[0]
        return f"namespace {namespace}", user
    return f"user {user}", ""


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
        self._of_share: Counter[str] = Counter()
        self.used = 0

    @contextlib.contextmanager
    def one(self, user: str) -> Iterator[None]:
        """Raises Refused: 429, after which every client of Kubernetes comes again."""
        share, _ = share_of(user)
        free = self._most - self.used
        if self._of_one[user] >= self._most_of_one:
            raise Refused(too_many(f"this user has {self._most_of_one} {self._what} under way, as many as one may"))
        if free <= 0:
            raise Refused(too_many(f"{self._most} {self._what} are under way, as many as may be"))
        if self._of_share[share] >= free:
            raise Refused(
                too_many(f"{self.used} {self._what} are under way, and this namespace or user has enough now")
            )
        self.used += 1
        self._of_one[user] += 1
        self._of_share[share] += 1
        try:
            yield
        finally:
            self.used -= 1
            for counts, name in ((self._of_one, user), (self._of_share, share)):
                counts[name] -= 1
                if not counts[name]:
                    del counts[name]
