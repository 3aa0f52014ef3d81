"""What parking does with the plan that is made for it, with all others played."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from doubles.books import route
from hookline.delivery.messages import Delivery
from hookline.delivery.parking import Parking
from hookline.delivery.policy.endpoint_state import Kind, State
from hookline.delivery.sender import Sender
from hookline.delivery.settlement import Settlement
from hookline.events.envelope import Event
from hookline.routing.routes import Route
from hookline.runtime.metrics import SenderMetrics
from hookline.runtime.tasks import cancel
from hookline.stream import names
from hookline.stream.pull import Origin, Taken

ROUTE = route(schedule_seconds=())
EVENT = Event("evt_1", "default", "IdentityCreated", "2026-11-24T00:00:00.000+00:00", b"{}")
NOW_NS = 1_700_000_000 * 10**9
FAILING = State(generation=1, kind=Kind.FAILING, reason="HTTPStatus")


@dataclass
class World:
    """Everything that parking and sender ask: one Webhook with three parked deliveries, whose probe is due."""

    state: State | None = FAILING
    served: dict[str, int] = field(default_factory=dict)
    words: list[bytes] = field(default_factory=list)
    taken: list[bool] = field(default_factory=list)
    released: list[int] = field(default_factory=list)
    parked: list[str] = field(default_factory=list)
    claims: int = 0
    takes: Callable[[], bool] = lambda: True
    ended: Callable[[], None] = lambda: None

    current = SimpleNamespace(
        route=lambda uid: ROUTE if uid == ROUTE.uid else None, dispatcher=SimpleNamespace(parked_seconds=604_800)
    )
    problem = ""

    # Consumers
    def add(self, origin: Origin, consumer: str, room: int, *, stream: str) -> None:
        assert origin is Origin.PARKED
        self.served[consumer] = room

    def resize(self, consumer: str, room: int) -> None:
        self.served[consumer] = room

    def remove(self, consumer: str) -> None:
        del self.served[consumer]

    def release(self, taken: Taken) -> None:
        self.released.append(taken.seq)

    # A sender
    def take(self, _: Taken, *, on_probed: Callable[[], None] | None = None) -> bool:
        self.taken.append(on_probed is not None)
        self.ended = on_probed or self.ended
        return self.takes()

    def park_waiting(self, uid: str) -> None:
        self.parked.append(uid)

    def turn_backlogged(self, _: Route, reason: str) -> bool:
        assert reason == "Backlog"
        return True

    def parked_bytes(self) -> tuple[int, ...]:
        return ()

    # What is known of endpoints
    failures = SimpleNamespace(any=lambda _: False)

    def states(self) -> Iterator[tuple[str, State]]:
        return iter([(ROUTE.uid, self.state)] if self.state else [])

    def state_of(self, _: Route) -> State | None:
        return self.state

    def why_parked(self, _: Route | None) -> str:
        return self.state.kind.value if self.state else ""

    def is_due(self, _: Route, __: float) -> bool:
        return self.state is FAILING

    def forget_void(self, _: Route, __: float) -> None:
        pass

    async def claim(self, _: Route) -> bool:
        self.claims += 1
        return True

    # NATS, and what else is asked over it
    async def subscribe(self, *_: Any, **__: Any) -> None:
        pass

    async def publish(self, _: str, word: bytes) -> None:
        self.words.append(word)

    def share(self, limit: int, _: str) -> int:
        return limit

    def now_s(self) -> float:
        return NOW_NS / 1e9

    def parking(self) -> Parking:
        me = cast(Any, self)
        settlement = Settlement(me, SenderMetrics(), me)
        return Parking(me, me, me, settlement, me, SenderMetrics(), me, me, me, me, gone_seconds=60)


class Counts:
    def __init__(self, *_: object) -> None:
        pass

    async def counts(self) -> dict[str, int]:
        return {ROUTE.uid: 3, "not/a-uid": 1}


@pytest.fixture(autouse=True)
def _stream(monkeypatch: pytest.MonkeyPatch) -> None:
    async def opened(_: object, stream: str, uid: str) -> str:
        return names.unpark_consumer(uid)

    async def none_parked(*_: object) -> None:
        return None

    monkeypatch.setattr("hookline.delivery.parking.SubjectCounts", Counts)
    monkeypatch.setattr("hookline.delivery.parking.open_unpark", opened)
    monkeypatch.setattr("hookline.delivery.parking.oldest_parked", none_parked)


@contextlib.asynccontextmanager
async def looking(world: World, parking: Parking) -> AsyncIterator[None]:
    """While parking looks; it has looked once."""
    watching = asyncio.create_task(parking.watch())
    try:
        for _ in range(20):
            await asyncio.sleep(0)
        assert not watching.done()
        yield
    finally:
        await cancel([watching])


def taken(world: World, seq: int) -> Taken:
    headers, me = Delivery("u1", EVENT, seq).headers(), cast(Any, world)
    subject = names.parked_subject("u1")
    return Taken(Origin.PARKED, "unpark-u1", subject, headers, b"{}", seq, NOW_NS, 1, me, "$JS.ACK.x")


async def test_a_probe_takes_one_delivery_and_leaves_the_others() -> None:
    world = World()
    parking = world.parking()
    async with looking(world, parking):
        assert world.served == {"unpark-u1": 1}
        # A probe of before that still waits for its rate makes way.
        assert (world.claims, world.parked) == (1, ["u1"])
        await parking.handle(taken(world, 1))
        await parking.handle(taken(world, 2))
    assert (world.taken, world.words, world.released) == ([True], [b"-NAK"], [2])


async def test_a_probe_with_what_was_settled_before_is_made_with_the_next_delivery() -> None:
    """As after a crash of the server, which forgets its last acks: the sender has nothing to do about the first."""
    world = World(takes=iter([False, True, True]).__next__)
    parking = world.parking()
    async with looking(world, parking):
        for seq in (1, 2, 3):
            await parking.handle(taken(world, seq))
    assert (world.taken, world.words) == ([True, True], [b"-NAK"])


async def test_a_delivery_that_was_settled_before_is_acked_again_and_not_made_again() -> None:
    world = World()
    me = cast(Any, world)
    settlement = Settlement(me, SenderMetrics(), me)
    sender = Sender(me, me, settlement, me, me, me, me, SenderMetrics(), me)
    await settlement.settle(taken(world, 1))
    assert not sender.take(taken(world, 1), on_probed=lambda: None)
    await sender.drain(1)
    assert (world.words, world.released, sender.held) == ([b"+ACK", b"+ACK"], [1], 0)


async def test_what_waits_in_a_lane_is_parked_too_once_much_is_parked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hookline.delivery.policy.parking_plan.MAX_IN_HAND", 2)
    world = World(state=None)
    async with looking(world, world.parking()):
        assert (world.served, world.parked) == ({"unpark-u1": 1}, ["u1"])


async def test_what_is_called_may_be_called_no_more_a_moment_later() -> None:
    world = World(state=None)
    parking = world.parking()
    async with looking(world, parking):
        await parking.handle(taken(world, 1))
        world.state = FAILING
        await parking.handle(taken(world, 2))
        assert world.served == {}
        await parking.handle(taken(world, 3))
    assert (world.taken, world.words, world.released) == ([False], [b"-NAK", b"-NAK"], [2, 3])


async def test_after_the_end_no_probe_is_claimed() -> None:
    world = World()
    parking = world.parking()
    parking.close()
    async with looking(world, parking):
        assert (world.claims, world.served) == (0, {})


async def test_a_consumer_that_was_lost_is_made_anew_by_the_next_look() -> None:
    world = World(state=None)
    parking = world.parking()
    async with looking(world, parking):
        assert not parking.lost("shard-01")
        assert parking.lost("unpark-u1")
        assert world.served == {}
    async with looking(world, parking):
        assert world.served == {"unpark-u1": 1}


async def test_a_probe_that_ended_makes_way_at_once() -> None:
    world = World()
    parking = world.parking()
    async with looking(world, parking):
        await parking.handle(taken(world, 1))
        world.state = None
        world.ended()
        for _ in range(20):
            await asyncio.sleep(0)
        await parking.handle(taken(world, 2))
    assert world.taken == [True, False]
