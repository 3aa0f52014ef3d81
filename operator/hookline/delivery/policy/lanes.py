"""Who may be called now: lanes in which items wait, each within the bounds of its Webhook. Decides, and does no I/O.

Which items share a lane is decided in lane_key: here a key only tells lanes apart. A lane has a bound of calls at once,
may have a rate, and all lanes together have a number of places. While places are short they go round: tenants in turn,
and within a tenant its lanes in turn, so that neither many items of one lane nor many lanes of one tenant keep others
from theirs. And no tenant takes all of them (`GREED`): a turn is of no use while all places are held by calls that take
long. A call that takes long gives its place to another one (`stretch`), and counts in its lane alone: receivers that
hang leave the others of their tenant theirs.

A lane that its rate holds back is out of the turns until its next call is due, so that an end of a call costs the same
however many of them wait.

All Webhooks of a shard share one stream of messages. What a lane holds while it waits takes room from its neighbours,
so a lane that does not keep up gives up what waits in it (`overdue`). Parked messages are pinned: they take no room
from anybody else. What comes straight from events takes no room of a shard either, but must not wait for long
(`impatient`).
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from hookline.delivery.policy.shares import Bucket, burst

K = TypeVar("K", bound=Hashable)
"""What tells lanes apart."""

T = TypeVar("T")
"""What waits and runs in them."""

PLACES = 512
"""Calls at once of one sender, whatever the number of Webhooks."""

GREED = 7
"""A tenant that holds this many times as many places as are free takes no more. So one tenant alone comes to 448 of 512
and two to 238 each: of n that want all, each comes to 7 / (1 + 7n) of them, and the rest is free for whoever comes
next. Should several come at once and take that too, places that become free go to those who hold few. It is the rule of
dynamic thresholds for shared buffers (Choudhury and Hahne, 1998)."""

LONG_PLACES = 1024
"""Calls of one sender that take long, besides. Each has a connection, and some 50 KB of memory."""

PATIENCE_SECONDS = 2.0
"""How long a message may wait in a lane before the lane counts as stuck. With the room of a shard, 128 messages, a lane
that makes 64 calls a second never does."""

PAUSE_SECONDS = 0.5
"""A lane at its limit, or of a tenant that may take no place, in which no call ended for this long does not move, and
counts as stuck as soon as what waits would wait for longer than PATIENCE_SECONDS at that pace. Of an endpoint that
hangs and gets 160 events a second 80 wait by then, so its neighbours in the shard still have room. Receivers that pause
for less cost no second write."""


class Terms(NamedTuple):
    """What a Webhook may do. `per_second` 0 means without a rate.

    The tenant, the limit of calls at once and the rate are the Webhook's; what waits, and its order, is the lane's. The
    limit and the rate are counted in the lane, which is right as long as a Webhook has one: each of several lanes would
    have all of them for itself, so they must be counted over these before there are several.
    """

    tenant: str
    limit: int
    per_second: float = 0.0


class _Waiting(NamedTuple, Generic[T]):
    item: T
    since_s: float
    pinned: bool
    brief: bool


@dataclass(slots=True)
class _Lane(Generic[K, T]):
    key: K
    terms: Terms
    running: int = 0
    moved_s: float = 0.0
    """When a call of it ended last."""
    waiting: deque[_Waiting[T]] = field(default_factory=deque)
    bucket: Bucket | None = None
    due_s: float | None = None
    """While it rests: when its rate allows the next call."""

    def has_room(self) -> bool:
        return self.running < self.terms.limit


class LaneSnapshot(NamedTuple):
    """How many items one lane has at a moment. `pinned` are some of those that wait."""

    running: int
    waiting: int
    pinned: int


@dataclass(frozen=True, slots=True)
class LanesSnapshot(Generic[K]):
    """Lanes at a moment: to look at, it follows nothing."""

    lanes: Mapping[K, LaneSnapshot]
    tenants: Mapping[str, int]
    """Places by the tenant that holds them, or held some since the last sweep."""
    resting: int
    """Entries about lanes that their rate holds back, with those that no longer count."""


class Lanes(Generic[K, T]):
    """The lanes of one sender. An item that may run counts as running until `finished`."""

    def __init__(self, places: int = PLACES, long_places: int = LONG_PLACES) -> None:
        self._places = places
        self._long_places = long_places
        self._running = 0
        self._taken: Counter[str] = Counter()
        """Places by the tenant that holds them."""
        self._long: Counter[str] = Counter()
        """Calls that take long, by tenant."""
        self._lanes: dict[K, _Lane[K, T]] = {}
        self._turns: OrderedDict[str, OrderedDict[K, None]] = OrderedDict()
        """Lanes that wait for a place alone, by tenant, each in the order of turns."""
        self._resting: list[tuple[float, int, K]] = []
        """A heap of lanes that their rate holds back, by when they are due, then by number, since keys may have no
        order. An entry counts while its lane says so."""
        self._numbers = itertools.count()

    def offer(self, key: K, terms: Terms, item: T, *, now_s: float, pinned: bool = False, brief: bool = False) -> bool:
        """Whether `item` may run at once; else it waits, for PATIENCE_SECONDS at most if it is to be `brief`."""
        lane = self._lane(key, terms)
        if not lane.waiting and self._may_take(lane.terms.tenant) and lane.has_room() and self._token(lane, now_s):
            self._begin(lane)
            return True
        lane.waiting.append(_Waiting(item, now_s, pinned, brief))
        self._keep_turn(lane)
        return False

    def stretch(self, key: K) -> bool:
        """A call of a lane takes long. Whether its place is free for another one: not if too many of its tenant do."""
        tenant = self._lanes[key].terms.tenant
        if self._long[tenant] >= GREED * (self._long_places - self._long.total()):
            return False
        self._long[tenant] += 1
        self._give_place(tenant)
        return True

    def finished(self, key: K, terms: Terms, *, now_s: float, stretched: bool = False) -> list[T]:
        """One call of a lane ended: what may run now, of whatever lane."""
        lane = self._lane(key, terms)
        lane.running -= 1
        lane.moved_s = now_s
        if stretched:
            self._long[lane.terms.tenant] -= 1
        else:
            self._give_place(lane.terms.tenant)
        self._keep_turn(lane)
        ready = self.ready(now_s)
        self._forget_if_idle(lane, now_s)
        return ready

    def ready(self, now_s: float) -> list[T]:
        """What waits and may run now, one of each tenant in turn."""
        self._wake(now_s)
        ready: list[T] = []
        while self._running < self._places:
            # Passes by few: while a place is free, no more than PLACES / GREED tenants may not take it.
            tenant = next(filter(self._may_take, self._turns), None)
            if tenant is None:
                break
            turns = self._turns[tenant]
            lane = self._lanes[next(iter(turns))]
            if not self._token(lane, now_s):
                continue
            self._turns.move_to_end(tenant)
            turns.move_to_end(lane.key)
            ready.append(lane.waiting.popleft().item)
            self._begin(lane)
        return ready

    def waiting(self) -> list[tuple[K, T]]:
        """The lanes in which something waits, each with the first of it."""
        return [(key, lane.waiting[0].item) for key, lane in self._lanes.items() if lane.waiting]

    def change(self, key: K, terms: Terms) -> None:
        """A lane has other terms now. What may run by them is `ready`."""
        self._keep_turn(self._lane(key, terms))

    def wait_seconds(self, now_s: float) -> float | None:
        """Until `ready` is worth asking for the sake of a rate; None when no lane rests."""
        while self._resting and not self._rests(self._resting[0]):
            heapq.heappop(self._resting)
        return max(0.0, self._resting[0][0] - now_s) if self._resting else None

    def wait_seconds_of(self, key: K, now_s: float) -> float | None:
        """Until its rate lets something of one lane run; None when nothing of it waits for that."""
        lane = self._lanes.get(key)
        if lane is None or lane.due_s is None or not lane.waiting or not lane.has_room():
            return None
        return max(0.0, lane.due_s - now_s)

    def overdue(self, now_s: float) -> list[T]:
        """What waits for too long and is not pinned, taken out of its lane with all that came after it."""
        late = [lane for lane in self._lanes.values() if lane.waiting and self._is_late(lane, now_s)]
        return [item for lane in late for item in self._take_out(lane, lambda each: not each.pinned)]

    def impatient(self, now_s: float) -> list[T]:
        """What was to wait briefly and has not, taken out of its lane: that says nothing of the lane."""
        since_s = now_s - PATIENCE_SECONDS
        return [
            item
            for lane in self._lanes.values()
            if lane.waiting
            for item in self._take_out(lane, lambda each: each.brief and each.since_s < since_s)
        ]

    def evict(self, key: K) -> list[T]:
        """Everything that waits in one lane, taken out."""
        lane = self._lanes.get(key)
        return self._take_out(lane) if lane else []

    def clear(self) -> list[T]:
        """Everything that waits, taken out: nothing more is to be run."""
        return [item for lane in self._lanes.values() for item in self._take_out(lane)]

    def sweep(self, now_s: float) -> None:
        """Forget lanes that are idle and whose rate owes nothing."""
        for lane in list(self._lanes.values()):
            self._forget_if_idle(lane, now_s)
        self._taken, self._long = +self._taken, +self._long
        if len(self._resting) > 2 * len(self._lanes):
            # Entries of rates that were changed since would stay until they are due.
            self._resting = sorted(
                (lane.due_s, next(self._numbers), key) for key, lane in self._lanes.items() if lane.due_s is not None
            )

    def snapshot(self) -> LanesSnapshot[K]:
        """What there is now, for tests and for finding faults. Looks at every item that waits."""
        lanes = {
            key: LaneSnapshot(lane.running, len(lane.waiting), sum(each.pinned for each in lane.waiting))
            for key, lane in self._lanes.items()
        }
        return LanesSnapshot(lanes, dict(self._taken), len(self._resting))

    def _lane(self, key: K, terms: Terms) -> _Lane[K, T]:
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(key, terms)
        # Of a Webhook that is no more a sender does not know the tenant. A Webhook never moves to another one.
        tenant = lane.terms.tenant
        if terms.per_second != lane.terms.per_second:
            lane.due_s = None
        lane.terms = terms if terms.tenant == tenant else terms._replace(tenant=tenant)
        return lane

    def _may_take(self, tenant: str) -> bool:
        return self._taken[tenant] < GREED * (self._places - self._running)

    def _give_place(self, tenant: str) -> None:
        self._running -= 1
        self._taken[tenant] -= 1

    def _begin(self, lane: _Lane[K, T]) -> None:
        lane.running += 1
        self._running += 1
        self._taken[lane.terms.tenant] += 1
        self._keep_turn(lane)

    def _keep_turn(self, lane: _Lane[K, T]) -> None:
        """Have the lane wait for its turn exactly while it could use one."""
        tenant, key = lane.terms.tenant, lane.key
        if lane.waiting and lane.has_room() and lane.due_s is None:
            self._turns.setdefault(tenant, OrderedDict()).setdefault(key)
        elif tenant in self._turns:
            self._turns[tenant].pop(key, None)
            if not self._turns[tenant]:
                del self._turns[tenant]

    def _token(self, lane: _Lane[K, T], now_s: float) -> bool:
        """Whether its rate allows a call now, which then counts. Else the lane rests until it does."""
        rate = lane.terms.per_second
        if not rate:
            lane.bucket = None
        elif lane.bucket is None:
            lane.bucket = Bucket(burst(rate), now_s)
        if lane.bucket is None or lane.bucket.take(rate, now_s):
            lane.due_s = None
            return True
        if lane.due_s is None:
            lane.due_s = now_s + lane.bucket.wait_seconds(rate)
            heapq.heappush(self._resting, (lane.due_s, next(self._numbers), lane.key))
            self._keep_turn(lane)
        return False

    def _rests(self, entry: tuple[float, int, K]) -> bool:
        """Whether an entry of the heap still counts: its lane may have run, gone or got another rate since."""
        due_s, _, key = entry
        lane = self._lanes.get(key)
        return lane is not None and lane.due_s == due_s

    def _wake(self, now_s: float) -> None:
        """Have lanes wait for their turn whose rate may allow a call by now."""
        while self._resting and self._resting[0][0] <= now_s:
            entry = heapq.heappop(self._resting)
            if self._rests(entry):
                lane = self._lanes[entry[2]]
                lane.due_s = None
                self._keep_turn(lane)

    def _is_late(self, lane: _Lane[K, T], now_s: float) -> bool:
        waiting = [each for each in lane.waiting if not each.pinned]
        if not waiting:
            return False
        since_s = next((each.since_s for each in waiting if not each.brief), now_s)
        may_move = lane.has_room() and self._may_take(lane.terms.tenant)
        still_s = 0.0 if may_move else now_s - max(waiting[0].since_s, lane.moved_s)
        would_wait_s = still_s * len(waiting) / max(1, lane.running)
        return now_s - since_s > PATIENCE_SECONDS or (still_s > PAUSE_SECONDS and would_wait_s > PATIENCE_SECONDS)

    def _take_out(self, lane: _Lane[K, T], leaves: Callable[[_Waiting[T]], bool] = lambda _: True) -> list[T]:
        """What waits in a lane and leaves it."""
        out: list[T] = []
        stays: deque[_Waiting[T]] = deque()
        for each in lane.waiting:
            if leaves(each):
                out.append(each.item)
            else:
                stays.append(each)
        lane.waiting = stays
        self._keep_turn(lane)
        return out

    def _forget_if_idle(self, lane: _Lane[K, T], now_s: float) -> None:
        if not lane.running and not lane.waiting and (lane.bucket is None or _is_full(lane, now_s)):
            self._lanes.pop(lane.key, None)


def _is_full(lane: _Lane[K, T], now_s: float) -> bool:
    rate = lane.terms.per_second
    return not rate or lane.bucket is None or lane.bucket.full(rate, now_s)
