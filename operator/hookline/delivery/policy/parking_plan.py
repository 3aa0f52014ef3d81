"""What is done with parked deliveries, and how many of them a sender takes at once. Pure: time is an argument.

Decides for each Webhook whether what is parked is called, probed with, given up or left, and with how much room. What a
Webhook has in hand at once grows from one, so that an endpoint that just came back is not run over, and all together
have no more than memory has room for, however many came back at once. Never takes a message: parking does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from hookline.delivery.policy import endpoint_state
from hookline.delivery.policy.endpoint_state import Kind, State
from hookline.delivery.policy.lanes import PLACES
from hookline.delivery.policy.retry import SCHEDULE_SPENT
from hookline.delivery.policy.shares import level
from hookline.routing.routes import Route

MAX_IN_HAND = 64
"""Parked messages of one Webhook in the hands of one sender, at most."""

SPARE_ROOM = 2 * PLACES
SPARE_BYTES = 64 * 2**20
"""Parked messages of all Webhooks in the hands of one sender beyond one of each: so many, or as many as come to these
bytes at the mean size of those that it holds. Twice the calls that can be under way, so that the next are at hand."""

IDLE_PROBE_SECONDS = 5.0
"""A probe that gets nothing to call, since another sender still holds it, ends."""


SHORTEST_PATIENCE_SECONDS = 3600.0
"""What waits for a failing endpoint does so for at least this long, however short the schedule is."""

PARKED_EXPIRED = "ParkedExpired"
"""Why a delivery is given up that was parked for as long as its Dispatcher keeps them."""


class Task(Enum):
    """What is being done with what is parked for a Webhook."""

    CALL = "call"
    PROBE = "probe"
    """Call with the first of it, and with no other."""
    BURY = "bury"
    """The Webhook was deleted."""
    EXPIRE = "expire"


@dataclass(slots=True)
class Serving:
    """What is being done now, with how much room, since when by monotonic time."""

    task: Task
    room: int
    since_s: float
    in_hand: bool = False
    """Whether the delivery of a probe is in the sender's hands."""


@dataclass(slots=True)  # not frozen, though nothing changes it: made for thousands of Webhooks each second
class Parked:
    """What is known of a Webhook that has something parked."""

    count: int
    why: str
    """Why its deliveries are parked, as endpoints say; empty if those that come now are called from their shard."""
    gone: bool = False
    """Whether it counts as deleted."""
    probe_due: bool = False
    expiry_due: bool = False
    """Whether the oldest of what is parked for this reason is due to be given up."""
    slow: bool = False
    """Whether it is backlogged because it is slow: it never failed."""
    failed_last: bool = False
    """Whether its last attempt failed."""
    at_once: int = MAX_IN_HAND
    """Calls at once that this sender may make."""
    per_second: float = 0.0
    """Calls a second that this sender may make; 0 without a limit."""

    @property
    def may_call(self) -> bool:
        return endpoint_state.may_call(self.why)


@dataclass(slots=True)
class Plan:
    """What is to be done now. Whatever is in none of these goes on as it is, or stays parked."""

    leave: list[str] = field(default_factory=list)
    """To be served no more, before anything is begun."""
    backlogged: list[str] = field(default_factory=list)
    """So much is parked that what comes now goes behind it."""
    begin: list[tuple[str, Task, int]] = field(default_factory=list)
    """Each with its room."""
    resize: list[tuple[str, int]] = field(default_factory=list)


def plan(
    parked: Mapping[str, Parked], serving: Mapping[str, Serving], *, held_bytes: Sequence[int], now_s: float
) -> Plan:
    """What is to be done with what is parked at `now_s`, monotonic; both mappings are by uid.

    `held_bytes` are the sizes of the parked deliveries in hand.
    """
    made = Plan(leave=[uid for uid, each in serving.items() if _is_over(each, parked.get(uid), now_s)])
    left = set(made.leave)
    stays = {uid: each for uid, each in serving.items() if uid not in left}
    most = level((_want(each, stays.get(uid)) for uid, each in parked.items()), spare(held_bytes))
    for uid, each in parked.items():
        served = stays.get(uid)
        task = _task(each, served)
        if task is None:
            continue
        if task is Task.CALL and not each.why and each.count > MAX_IN_HAND:
            made.backlogged.append(uid)
        room = _room(task, each, served, most)
        if served is not None and served.task is task:
            made.resize.append((uid, room))
        else:
            made.begin.append((uid, task, room))
    return made


def _is_over(served: Serving, parked: Parked | None, now_s: float) -> bool:
    """Nothing is parked any more, a probe found nothing to call, or what is called may be called no more."""
    if parked is None:
        return True
    if served.task is Task.PROBE:
        return not served.in_hand and now_s - served.since_s > IDLE_PROBE_SECONDS
    return served.task is Task.CALL and not parked.may_call


def _task(parked: Parked, served: Serving | None) -> Task | None:
    """What is to be done now. None: nothing new."""
    if parked.gone:
        return Task.BURY
    if parked.may_call:
        return Task.CALL
    if served is not None and served.task is Task.EXPIRE:
        return Task.EXPIRE
    if served is not None and served.task is Task.PROBE:
        return None
    if parked.probe_due:
        return Task.PROBE
    return Task.EXPIRE if parked.expiry_due else None


def _want(parked: Parked, served: Serving | None) -> int:
    """The room that a Webhook could use if it were the only one.

    What begins to be given up counts from the next plan on: until then it has 1.
    """
    if not parked.may_call:
        return MAX_IN_HAND if served is not None and served.task in (Task.BURY, Task.EXPIRE) else 1
    want = min(MAX_IN_HAND, parked.at_once)
    return min(want, int(parked.per_second) + 1) if parked.per_second else want


def _room(task: Task, parked: Parked, served: Serving | None, most: int) -> int:
    most = min(most, _want(parked, served))
    if task is Task.CALL and parked.slow:
        # It never failed: no reason to begin slowly.
        return most
    if task is Task.PROBE or served is None or served.task is not task:
        return 1
    failing = task is Task.CALL and parked.failed_last
    return min(most, served.room if failing else served.room * 2)


def spare(held_bytes: Sequence[int]) -> int:
    """The room of all Webhooks together beyond one message of each."""
    if not held_bytes:
        return SPARE_ROOM
    return min(SPARE_ROOM, SPARE_BYTES * len(held_bytes) // max(1, sum(held_bytes)))


class Step(Enum):
    """What is done with one parked delivery that was taken and is not given up."""

    CALL = "call"
    PROBE = "probe"
    GIVE_BACK = "give back"
    STOP = "stop"
    """Give it back, and serve its Webhook no more."""


def step(serving: Serving, why: str) -> Step:
    """`why` its Webhook's deliveries are parked now."""
    if serving.task is Task.PROBE:
        return Step.GIVE_BACK if serving.in_hand else Step.PROBE
    return Step.CALL if serving.task is Task.CALL and endpoint_state.may_call(why) else Step.STOP


def patience_seconds(route: Route) -> float:
    """How long a delivery may wait for a failing endpoint since its event was stored: as long as its schedule lasts."""
    return max(SHORTEST_PATIENCE_SECONDS, float(sum(route.schedule_seconds)))


def spent(route: Route | None, state: State | None, *, event_age_s: float, parked_age_s: float, kept_s: float) -> str:
    """Why a parked delivery is given up; empty while it may wait.

    `event_age_s` counts from when its event was stored, `parked_age_s` from when it was parked, and what is
    parked is kept for `kept_s`. What can be called is called, however old it is.
    """
    failing = state is not None and state.kind is Kind.FAILING
    if route is not None and failing and event_age_s > patience_seconds(route):
        return f"{SCHEDULE_SPENT}: the endpoint failed for as long as the schedule lasts"
    if parked_age_s > kept_s:
        return f"{PARKED_EXPIRED}: it was parked for {kept_s:.0f} s, as long as the Dispatcher keeps it"
    return ""


def due_s(route: Route | None, why: str, *, parked_s: float, event_s: float, kept_s: float) -> float:
    """When a delivery is due to be given up, if it goes on to be parked for this reason. Unix time, like the others.

    It was parked at `parked_s`, its event was stored at `event_s`, and a Dispatcher keeps what is parked for `kept_s`.
    A second later than `spent` allows it, so that it is not looked at in vain.
    """
    due = parked_s + kept_s
    if route is not None and why == Kind.FAILING.value:
        due = min(due, event_s + patience_seconds(route))
    return due + 1
