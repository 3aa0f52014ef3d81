from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from hookline.delivery.holding import Copied, FromEvent, Queued
from hookline.delivery.messages import Delivery, later_token
from hookline.delivery.open_event import OpenEvent
from hookline.events.envelope import Event
from hookline.stream.connection import StreamRefused, StreamUnavailable
from hookline.stream.pull import Origin, Taken

EVENT = Event("evt_1", "default", "IdentityCreated", "2026-11-24T00:00:00.000+00:00", b"{}")
DELIVERY = Delivery("u1", EVENT, 7)
PROBLEMS = [StreamUnavailable("away"), StreamRefused("full")]


class World:
    """The queue, and whoever opened the event. Notes what it is told, in order; fails if it has a problem."""

    def __init__(self, problem: Exception | None = None) -> None:
        self.did: list[Any] = []
        self.problem = problem

    async def closed(self, event: OpenEvent) -> None:
        self.did.append(("closed", event.done, event.whole, event.error))

    async def next(self) -> None:
        self._fail()
        self.did.append("next")

    async def store_later(self, uid: str, body: bytes, headers: Mapping[str, str], *, at_s: float, once: str) -> None:
        self._fail()
        self.did.append(("later", uid, at_s, once))

    async def forget_later(self, uid: str, *, once: str) -> None:
        self._fail()
        self.did.append(("forget", uid, once))

    def now_s(self) -> float:
        return 100.0

    def _fail(self) -> None:
        if self.problem is not None:
            raise self.problem


def part_of(world: World) -> FromEvent:
    subject = "hookline.events.default.IdentityCreated"
    taken = Taken(Origin.EVENTS, "fanout", subject, {}, b"{}", 7, 11, 1, cast(Any, world), "$JS.ACK.x")
    return FromEvent(OpenEvent(taken, ["u1"], world.closed), DELIVERY)


def copy_of(world: World) -> Copied:
    me = cast(Any, world)
    return Copied(part_of(world), me, me)


async def test_a_part_of_an_event_ends_after_what_follows_is_stored() -> None:
    world = World()
    assert await part_of(world).settle(world.next())
    assert world.did == ["next", ("closed", ["u1"], True, None)]


@pytest.mark.parametrize("problem", PROBLEMS)
async def test_a_part_whose_consequence_is_not_stored_leaves_its_event_in_the_queue(problem: Exception) -> None:
    world = World(problem)
    assert not await part_of(world).settle(world.next())
    assert world.did == [("closed", [], False, None)]


async def test_a_part_that_is_given_back_or_fails_leaves_its_event_in_the_queue() -> None:
    world, error = World(), ValueError()
    await part_of(world).give_back()
    await part_of(world).failed(error)
    assert world.did == [("closed", [], False, None), ("closed", [], False, error)]


async def test_a_copy_is_due_when_it_was_asked_for_and_lets_nothing_go_by_itself() -> None:
    world = World()
    assert await copy_of(world).make(20)
    assert world.did == [("later", "u1", 120.0, later_token(DELIVERY))]


@pytest.mark.parametrize("problem", PROBLEMS)
async def test_a_copy_that_could_not_be_stored_is_none(problem: Exception) -> None:
    assert not await copy_of(World(problem)).make(20)


async def test_a_copy_is_forgotten_after_what_follows_is_stored() -> None:
    world = World()
    assert await copy_of(world).settle(world.next())
    assert world.did == ["next", ("forget", "u1", later_token(DELIVERY))]


@pytest.mark.parametrize("problem", PROBLEMS)
async def test_a_copy_stays_when_what_follows_could_not_be_stored(problem: Exception) -> None:
    world = World()
    assert not await copy_of(world).settle(World(problem).next())
    assert world.did == []


@pytest.mark.parametrize("problem", PROBLEMS)
async def test_a_copy_that_cannot_be_forgotten_is_no_failure(problem: Exception) -> None:
    assert await copy_of(World(problem)).settle(None)


async def test_a_copy_that_is_given_back_is_due_at_once() -> None:
    world = World()
    await copy_of(world).give_back()
    assert world.did == [("later", "u1", 100.0, later_token(DELIVERY))]


@pytest.mark.parametrize("problem", PROBLEMS)
async def test_a_copy_that_cannot_be_given_back_comes_when_it_is_due(problem: Exception) -> None:
    await copy_of(World(problem)).give_back()


@pytest.mark.parametrize(
    ("event_stored_s", "stored_s", "told_s"),
    [(100, 100.3, 100.3), (100, 250.0, 101), (0, 250.0, 250.0)],
    ids=["live", "stored-later", "of-an-older-version"],
)
def test_of_a_stored_delivery_its_event_was_there_before_it_and_within_its_second(
    event_stored_s: int, stored_s: float, told_s: float
) -> None:
    me, headers = cast(Any, World()), Delivery("u1", EVENT, 7, stored_s=event_stored_s).headers()
    for origin, word in ((Origin.SHARD, "shard"), (Origin.PARKED, "parked")):
        taken = Taken(
            origin, "c", "hookline.deliveries.1.u1", headers, b"{}", 7, int(stored_s * 1e9), 1, me, "$JS.ACK.x"
        )
        holding = Queued(taken, me, me)
        assert (holding.origin, holding.event_stored_s) == (word, told_s)


def test_a_delivery_in_hand_and_its_copy_know_when_their_event_was_stored() -> None:
    for holding in (part_of(World()), copy_of(World())):
        assert (holding.origin, holding.event_stored_s) == ("event", 11e-9)
