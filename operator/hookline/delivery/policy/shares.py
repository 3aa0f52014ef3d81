"""What one sender may do of what all senders together may do. Pure: the time is an argument.

Decides which senders count as here, each one's share of a Webhook's `maxConcurrency`, whether a rate allows a call now,
and how a sender divides a room among its Webhooks. Never asks or tells another sender: stream/peers does.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

ANNOUNCE_SECONDS = 2.0
FORGET_SECONDS = 7.0
"""A sender that was not heard for this long, three announcements, is not here any more."""


class Members:
    """The senders of one NATS, `me` among them whether heard or not."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._heard_s: dict[str, float] = {}
        self._here: tuple[str, ...] = (me,)

    def heard(self, pod: str, now_s: float) -> bool:
        """A sender says that it is here; whether that is new."""
        is_new = pod not in self._heard_s and pod != self._me
        self._heard_s[pod] = now_s
        self._count(now_s)
        return is_new

    def left(self, pod: str, now_s: float) -> None:
        self._heard_s.pop(pod, None)
        self._count(now_s)

    def look(self, now_s: float) -> None:
        """Forget who was not heard for long."""
        self._count(now_s)

    def _count(self, now_s: float) -> None:
        self._heard_s = {pod: at_s for pod, at_s in self._heard_s.items() if now_s - at_s <= FORGET_SECONDS}
        self._here = tuple(sorted({self._me, *self._heard_s}))

    @property
    def here(self) -> tuple[str, ...]:
        return self._here

    def share(self, limit: int, uid: str) -> int:
        """Of `limit` calls at once to a Webhook, those of this sender: at least 1."""
        return limit if len(self._here) == 1 else share(limit, uid, self._me, self._here)

    def rate(self, per_second: float) -> float:
        """Of so many calls a second, those of this sender."""
        return per_second / len(self._here)


@functools.lru_cache(maxsize=20_000)
def share(limit: int, uid: str, me: str, here: tuple[str, ...]) -> int:
    """What is left over goes to the first by rendezvous hashing: to other senders for each Webhook."""
    each, over = divmod(limit, len(here))
    if not over:
        return max(1, each)
    ranked = sorted(here, key=lambda pod: hashlib.sha256(f"{uid}/{pod}".encode()).digest())
    return max(1, each + (ranked.index(me) < over))


@dataclass(slots=True)
class Bucket:
    """Tokens of one Webhook. Holds at most one second's worth, so that a rate is a rate and not a burst."""

    tokens: float
    at_s: float

    def take(self, per_second: float, now_s: float) -> bool:
        """Take one token, if there is one."""
        self._fill(per_second, now_s)
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def full(self, per_second: float, now_s: float) -> bool:
        self._fill(per_second, now_s)
        return self.tokens >= burst(per_second)

    def wait_seconds(self, per_second: float) -> float:
        """Until the next token, as of the last look. A rate that was taken away keeps nothing waiting."""
        return max(0.0, (1 - self.tokens) / per_second) if per_second else 0.0

    def _fill(self, per_second: float, now_s: float) -> None:
        # Rounded, or a token that is due would be a billionth short.
        gained = max(0.0, now_s - self.at_s) * per_second
        self.tokens = round(min(burst(per_second), self.tokens + gained), 9)
        self.at_s = max(self.at_s, now_s)


def burst(per_second: float) -> float:
    """Calls that may follow at once after a pause."""
    return max(1.0, per_second)


def level(wants: Iterable[int], spare: int) -> int:
    """How many each may have, if it wants as many: one in any case, and `spare` more among them all, shared evenly.

    What one does not want goes to the others (max-min fairness).
    """
    each, rest = 1, sorted(wants)
    for place, want in enumerate(rest):
        sharing = len(rest) - place
        if (want - each) * sharing > spare:
            return each + spare // sharing
        spare -= (want - each) * sharing
        each = max(each, want)
    return each
