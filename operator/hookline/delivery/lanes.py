"""Who may be called now: one lane for each Webhook, with its bound of calls at once. Decides, and does no I/O.

All Webhooks of a shard share one stream of messages. What a lane holds while it waits takes room from its neighbours,
so a lane that does not move gives its waiting messages back (`overdue`), and until it has caught up takes in no more
than it may run at once (`AWAY`). A lane that moves may wait: sending its messages round through the queue would only
cost time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 2.0
"""How long a message may wait in a lane before the lane counts as stuck. With the room of a shard, 128 messages, a lane
that makes 64 calls a second never does."""


class Place(Enum):
    """Where an offered message goes."""

    RUN = "run"
    WAIT = "wait"
    AWAY = "away"


@dataclass(slots=True)
class _Lane(Generic[T]):
    running: int = 0
    waiting: deque[tuple[T, float]] = field(default_factory=deque)
    stuck: bool = False


class Lanes(Generic[T]):
    """The lanes of one sender."""

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane[T]] = {}

    def offer(self, uid: str, item: T, *, limit: int, now_s: float) -> Place:
        """Where `item` goes, given that its Webhook may have `limit` calls at once."""
        lane = self._lanes.setdefault(uid, _Lane())
        if lane.running < limit and not lane.waiting:
            lane.running += 1
            return Place.RUN
        if lane.stuck and len(lane.waiting) >= limit:
            return Place.AWAY
        lane.waiting.append((item, now_s))
        return Place.WAIT

    def finished(self, uid: str, *, limit: int) -> list[T]:
        """One call of the lane ended: what may run now. More than one when the limit was raised."""
        lane = self._lanes[uid]
        lane.running -= 1
        ready: list[T] = []
        while lane.waiting and lane.running < limit:
            ready.append(lane.waiting.popleft()[0])
            lane.running += 1
        if not lane.waiting:
            lane.stuck = False
            if not lane.running:
                del self._lanes[uid]
        return ready

    def overdue(self, now_s: float) -> list[T]:
        """What has waited too long, taken out of its lane: to be put off."""
        away: list[T] = []
        for lane in self._lanes.values():
            while lane.waiting and now_s - lane.waiting[0][1] > PATIENCE_SECONDS:
                away.append(lane.waiting.popleft()[0])
                lane.stuck = True
        return away

    def clear(self) -> list[T]:
        """Everything that waits, taken out: nothing more is to be run."""
        away = [item for lane in self._lanes.values() for item, _ in lane.waiting]
        for lane in self._lanes.values():
            lane.waiting.clear()
        return away
