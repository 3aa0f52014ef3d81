"""When a route book loses so much at once that it is read twice before it is written. Pure.

A list that an API server cut short, labels that somebody changed, a bug: each looks like Webhooks that were deleted,
and events that nobody hears are gone. A second, fresh read tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

LATELY_SECONDS = 60.0
"""What is lost within this time is lost at once."""


def loses_most(before: int, now: int) -> bool:
    """Whether fewer than half of the Webhooks that heard events are left."""
    return before > 1 and now * 2 < before


@dataclass
class Lately:
    """How many Webhooks a book had. Times are monotonic."""

    count: int = 0
    since_s: float = 0.0

    def loses_most(self, now: int, now_s: float) -> bool:
        """Whether a book with `now` Webhooks would have lost most of them at once."""
        if loses_most(self.count, now):
            return True
        if now >= self.count or now_s - self.since_s > LATELY_SECONDS:
            self.confirm(now, now_s)
        return False

    def confirm(self, now: int, now_s: float) -> None:
        """A second read said the same."""
        self.count, self.since_s = now, now_s
