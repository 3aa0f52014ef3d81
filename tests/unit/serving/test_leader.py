from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.serving import leader as leader_module
from hookline.serving.leader import LEASE_SECONDS, RENEW_SECONDS, Election, LeaseChanged, LeaseLost, NoLease
from unit.control import clock

Object = dict[str, Any]
T = TypeVar("T")


class Leases:
    """The one Lease of an API server, with versions and conflicts."""

    def __init__(self) -> None:
        self.lease: Object | None = None
        self.version = 0

    def get(self) -> Object | None:
        return copy.deepcopy(self.lease)

    def write(self, manifest: Object, *, new: bool) -> Object:
        known = manifest["metadata"].get("resourceVersion")
        current = self.lease["metadata"]["resourceVersion"] if self.lease else None
        if new != (self.lease is None) or (not new and known != current):
            raise LeaseChanged("somebody else wrote")
        self.version += 1
        self.lease = copy.deepcopy(manifest)
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        return copy.deepcopy(self.lease)

    @property
    def holder(self) -> str:
        return str((self.lease or {}).get("spec", {}).get("holderIdentity", ""))


class Road:
    """The way of one candidate to the Lease: requests and answers may take long, or be lost."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self.there: Callable[[], float | None] = lambda: 0.0
        """Seconds that a request needs to the server; None when it never arrives."""
        self.back: Callable[[], float | None] = lambda: 0.0

    async def get(self, namespace: str, name: str) -> Object | None:
        return await self._travel(self._leases.get)

    async def create(self, lease: Object) -> Object:
        return await self._travel(lambda: self._leases.write(lease, new=True))

    async def replace(self, lease: Object) -> Object:
        return await self._travel(lambda: self._leases.write(lease, new=False))

    async def _travel(self, work: Callable[[], T]) -> T:
        # Shielded: a request that is on its way arrives, also when nobody waits for its answer any more.
        return await asyncio.shield(asyncio.create_task(self._round_trip(work)))

    async def _round_trip(self, work: Callable[[], T]) -> T:
        await self._pass(self.there())
        try:
            return work()
        finally:
            await self._pass(self.back())

    async def _pass(self, seconds: float | None) -> None:
        if seconds is None:
            await asyncio.sleep(20)
            raise NoLease("no answer")
        await asyncio.sleep(seconds)


class Candidate:
    """An operator that stands for election again and again, as a pod that is restarted does."""

    def __init__(self, name: str, leases: Leases) -> None:
        self.name = name
        self.road = Road(leases)
        self.suspended_seconds = 0.0
        self.born = 0
        self.terms = 0
        self._election = self._new()

    def _new(self) -> Election:
        self.born += 1
        return Election(self.road, "own", "lease", f"{self.name}-{self.born}", monotonic=self._monotonic)

    def _monotonic(self) -> float:
        return asyncio.get_running_loop().time() - self.suspended_seconds

    @property
    def leads(self) -> bool:
        return self._election.leads

    async def live(self) -> None:
        while True:
            await self._election.win()
            self.terms += 1
            try:
                await self._election.keep()
            except LeaseLost:
                await self._election.resign()
                self._election = self._new()


def lease_of(leases: Leases) -> Object:
    assert leases.lease is not None
    return leases.lease


async def watch_for_two_leaders(candidates: list[Candidate], seconds: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        assert sum(each.leads for each in candidates) <= 1, [each.name for each in candidates if each.leads]
        await asyncio.sleep(0.1)


async def living(candidates: list[Candidate], work: Awaitable[None]) -> None:
    tasks = [asyncio.create_task(each.live()) for each in candidates]
    try:
        await work
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in outcomes), outcomes


async def until(fact: Callable[[], bool], seconds: float = 120.0) -> None:
    end = asyncio.get_running_loop().time() + seconds
    while not fact():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.05)


def pair() -> tuple[Leases, Candidate, Candidate]:
    leases = Leases()
    return leases, Candidate("a", leases), Candidate("b", leases)


# ---- faults ----------------------------------------------------------------------------------------------------------

seconds_there = st.one_of(st.none(), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 30))
periods = st.lists(
    st.tuples(st.sampled_from([0, 1]), st.sampled_from(["there", "back"]), seconds_there, st.floats(0.5, 25)),
    max_size=12,
)


@settings(max_examples=40)
@given(periods, st.randoms(use_true_random=False))
def test_there_are_never_two_leaders_whatever_hangs_is_late_or_is_lost(
    periods: list[tuple[int, str, float | None, float]], chance: random.Random
) -> None:
    leases, *candidates = pair()

    async def trouble() -> None:
        for number, way, delay, length in periods:
            # Only some requests of the time are hit: the worst is a get that works and a write that hangs.
            setattr(candidates[number].road, way, lambda delay=delay: delay if chance.random() < 0.6 else 0.0)
            await watch_for_two_leaders(candidates, length)
            setattr(candidates[number].road, way, lambda: 0.0)
        # All is well again: one of them leads, and goes on to.
        await watch_for_two_leaders(candidates, 2 * LEASE_SECONDS + RENEW_SECONDS)
        assert sum(each.leads for each in candidates) == 1
        assert any(leases.holder == f"{each.name}-{each.born}" and each.leads for each in candidates)

    clock.run(living(candidates, trouble()))


def test_a_leader_that_is_cut_off_stops_before_another_one_can_win() -> None:
    _, one, other = pair()

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        await until(lambda: one.leads or other.leads)
        first, second = (one, other) if one.leads else (other, one)
        await asyncio.sleep(60)
        assert (first.leads, second.leads, second.terms) == (True, False, 0)
        first.road.there = lambda: None
        cut_at = loop.time()
        await until(lambda: not first.leads)
        assert not second.leads
        assert loop.time() - cut_at <= RENEW_SECONDS
        await until(lambda: second.leads)
        assert loop.time() - cut_at >= LEASE_SECONDS - leader_module.RETRY_SECONDS
        assert loop.time() - cut_at <= LEASE_SECONDS + 2 * leader_module.RETRY_SECONDS

    clock.run(living([one, other], scenario()))


def test_a_leader_whose_answers_are_lost_loses_the_lease_and_does_not_think_otherwise() -> None:
    leases, one, other = pair()

    async def scenario() -> None:
        await until(lambda: one.leads or other.leads)
        first, second = (one, other) if one.leads else (other, one)
        first.road.back = lambda: None
        await until(lambda: not first.leads)
        assert leases.holder.startswith(first.name)
        await watch_for_two_leaders([one, other], 60)
        assert second.leads

    clock.run(living([one, other], scenario()))


@pytest.mark.parametrize("jump", [-10, 10])
def test_jumps_of_the_wall_clock_change_nothing(jump: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _, one, other = pair()

    class Jumping:
        years = 0

        @classmethod
        def now(cls, _: Any) -> datetime:
            return datetime(2026 + cls.years, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(leader_module, "datetime", Jumping)

    async def scenario() -> None:
        await until(lambda: one.leads or other.leads)
        first = one if one.leads else other
        for _ in range(3):
            Jumping.years += jump
            await watch_for_two_leaders([one, other], 40)
            assert first.leads
            assert first.terms == 1

    clock.run(living([one, other], scenario()))


def test_a_machine_that_wakes_up_after_another_one_took_over_learns_it_at_its_next_look() -> None:
    _, one, other = pair()

    async def scenario() -> None:
        await until(lambda: one.leads or other.leads)
        sleeper, second = (one, other) if one.leads else (other, one)
        # Suspended: nothing of it runs, and its monotonic clock stands still.
        sleeper.road.there = lambda: 40.0
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not second.leads:
            sleeper.suspended_seconds += 0.05
            await asyncio.sleep(0.05)
        assert sleeper.leads
        sleeper.road.there = lambda: 0.0
        await until(lambda: not sleeper.leads)
        # Earlier than its own clock says.
        assert loop.time() - sleeper.suspended_seconds - began < RENEW_SECONDS
        assert sum(each.leads for each in (one, other)) == 1

    clock.run(living([one, other], scenario()))


# ---- ordinary life ---------------------------------------------------------------------------------------------------


def election(leases: Leases, name: str = "a") -> Election:
    return Election(Road(leases), "own", "lease", name, monotonic=lambda: asyncio.get_running_loop().time())


def test_the_first_candidate_makes_the_lease_and_leads() -> None:
    async def scenario() -> None:
        leases = Leases()
        found = election(leases)
        before = found.leads
        await found.win()
        assert (before, found.leads) == (False, True)
        assert lease_of(leases)["metadata"]["name"] == "lease"
        assert lease_of(leases)["spec"] | {"acquireTime": 0, "renewTime": 0} == {
            "holderIdentity": "a",
            "leaseDurationSeconds": 15,
            "leaseTransitions": 1,
            "acquireTime": 0,
            "renewTime": 0,
        }

    clock.run(scenario())


def test_a_lease_that_was_given_back_is_taken_at_once_and_counts_as_a_transition() -> None:
    async def scenario() -> None:
        leases, loop = Leases(), asyncio.get_running_loop()
        first, second = election(leases), election(leases, "b")
        await first.win()
        await first.resign()
        assert not first.leads
        began = loop.time()
        await second.win()
        assert loop.time() - began < 1
        assert lease_of(leases)["spec"]["leaseTransitions"] == 3

    clock.run(scenario())


def test_who_does_not_lead_gives_nothing_back() -> None:
    async def scenario() -> None:
        leases = Leases()
        await election(leases).win()
        await election(leases, "b").resign()
        assert leases.holder == "a"

    clock.run(scenario())


def test_resigning_while_the_server_is_away_raises_nothing_and_the_next_one_waits_for_the_end_of_the_lease() -> None:
    async def scenario() -> None:
        leases, loop = Leases(), asyncio.get_running_loop()
        road = Road(leases)
        first = Election(road, "own", "lease", "a", monotonic=lambda: asyncio.get_running_loop().time())
        await first.win()
        road.there = lambda: None
        await first.resign()
        assert not first.leads
        began = loop.time()
        await election(leases, "b").win()
        assert loop.time() - began >= LEASE_SECONDS

    clock.run(scenario())


def test_renewing_keeps_the_time_of_acquisition() -> None:
    async def scenario() -> None:
        leases = Leases()
        found = election(leases)
        await found.win()
        acquired, version = lease_of(leases)["spec"]["acquireTime"], leases.version
        keeping = asyncio.create_task(found.keep())
        await asyncio.sleep(60)
        assert found.leads
        assert leases.version > version + 20
        assert lease_of(leases)["spec"]["acquireTime"] == acquired
        assert lease_of(leases)["spec"]["leaseTransitions"] == 1
        keeping.cancel()

    clock.run(scenario())


def test_a_lease_that_somebody_deleted_is_made_anew_by_whoever_comes_first() -> None:
    async def scenario() -> None:
        leases = Leases()
        found = election(leases)
        await found.win()
        keeping = asyncio.create_task(found.keep())
        leases.lease = None
        await asyncio.sleep(5)
        assert (found.leads, leases.holder) == (True, "a")
        keeping.cancel()

    clock.run(scenario())
