"""Two senders and one bucket, under any order of attempts, looks, failures and books: an endpoint that takes its calls
again is called again by both."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from doubles.books import route
from hookline.delivery.endpoints import Endpoints, OnTurned
from hookline.delivery.policy.endpoint_state import LONGEST_PROBE_SECONDS, Kind, State
from hookline.delivery.policy.retry import Outcome, Reason
from hookline.routing.routes import Route
from hookline.stream.connection import StreamUnavailable
from hookline.stream.endpoints import EndpointBucket, Entry

WELL = Outcome(Reason.DELIVERED, 200, "", 0.1)
BAD = Outcome(Reason.HTTP_STATUS, 500, "", 0.1)
ASKS = Outcome(Reason.TOO_MANY_REQUESTS, 429, "", 0.1, 50.0)


class Log:
    """What the server keeps: the last value of each key, by revision."""

    def __init__(self) -> None:
        self.made = 1
        self.revision = 0
        self.last: dict[str, Entry] = {}
        self.up = True

    def lose(self) -> None:
        self.made, self.revision, self.last = self.made + 1, 0, {}


class Bucket:
    """One sender's way to it."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._made = self._seen = 0

    async def changes(self) -> tuple[bool, list[Entry]]:
        self._check()
        anew = self._made != self._log.made
        if anew:
            self._made, self._seen = self._log.made, 0
        new = sorted((e for e in self._log.last.values() if e.revision > self._seen), key=lambda e: e.revision)
        self._seen = self._log.revision
        return anew, new

    async def write(self, key: str, value: bytes | None, *, revision: int) -> int | None:
        self._check()
        there = self._log.last.get(key)
        if (there.revision if there else 0) != revision:
            return None
        self._log.revision += 1
        self._log.last[key] = Entry(key, value, self._log.revision)
        return self._log.revision

    async def remove(self, key: str, *, revision: int) -> int | None:
        return await self.write(key, None, revision=revision)

    def _check(self) -> None:
        if not self._log.up:
            raise StreamUnavailable("down")


class Sender:
    """An Endpoints, as parking and session use it."""

    def __init__(self, log: Log) -> None:
        self.endpoints = Endpoints(probe_seconds=5)
        self.bucket = cast(EndpointBucket, Bucket(log))
        self.route: Route = route()

    async def share(self) -> None:
        with contextlib.suppress(StreamUnavailable):
            await self.endpoints.share(self.bucket, lambda _: None)

    async def look(self, now_s: float, *, parked: bool) -> bool:
        """Whether a probe begins."""
        self.endpoints.forget_void(self.route, now_s)
        if not parked:
            self.endpoints.catch_up(self.route.uid, now_s)
        try:
            return self.endpoints.is_due(self.route, now_s) and await self.endpoints.claim(self.route)
        except StreamUnavailable:
            return False


class World:
    def __init__(self, clock: Callable[[float], None]) -> None:
        self.log = Log()
        self.senders = [Sender(self.log), Sender(self.log)]
        self._clock = clock
        self.now_s = 1000.0
        self.wait(0)

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self._clock(self.now_s)

    async def do(self, step: tuple[str, int, Any]) -> None:
        what, number, more = step
        sender = self.senders[number]
        if what == "attempt":
            for _ in range(more[1]):
                sender.endpoints.attempted(sender.route, more[0])
        elif what == "share":
            await sender.share()
        elif what == "look":
            # A probe that begins has an outcome, or its sender dies before.
            if await sender.look(self.now_s, parked=True) and more is not None:
                sender.endpoints.attempted(sender.route, more, probe=True)
        elif what == "behind":
            sender.endpoints.turn_backlogged(sender.route, "Slow")
        elif what == "book":
            sender.route = route(generation=max(sender.route.generation, more))
            sender.endpoints.failures.keep({sender.route.uid: sender.route}.get)
        elif what == "up":
            self.log.up = more
        elif what == "lose":
            self.log.lose()
        elif what == "wait":
            self.wait(more)
            for each in self.senders:
                await each.share()

    async def get_well(self) -> None:
        """NATS is up, both have the same book, and the receiver takes what it is sent."""
        self.log.up = True
        newest = max(each.route.generation for each in self.senders)
        for sender in self.senders:
            sender.route = route(generation=newest)
        for _ in range(int(3 * LONGEST_PROBE_SECONDS)):
            self.wait(1)
            for sender in self.senders:
                await sender.share()
                if await sender.look(self.now_s, parked=False):
                    sender.endpoints.attempted(sender.route, WELL, probe=True)


OUTCOMES = st.sampled_from([BAD, ASKS, WELL])
STEPS = st.one_of(
    st.tuples(st.just("attempt"), st.integers(0, 1), st.tuples(OUTCOMES, st.sampled_from([5, 1]))),
    st.tuples(st.just("look"), st.integers(0, 1), st.none() | st.none() | OUTCOMES),
    st.tuples(st.just("share"), st.integers(0, 1), st.none()),
    st.tuples(st.just("behind"), st.integers(0, 1), st.none()),
    st.tuples(st.just("book"), st.integers(0, 1), st.integers(1, 3)),
    st.tuples(st.just("up"), st.just(0), st.booleans()),
    st.tuples(st.just("lose"), st.just(0), st.none()),
    st.tuples(st.just("wait"), st.just(0), st.sampled_from([10.0, 0.5, 3.0, 130.0, 400.0])),
)


DIED: list[tuple[str, int, Any]] = [("attempt", 0, (BAD, 5)), ("wait", 0, 10.0), ("look", 0, None)]
"""The one that is to probe dies between its word that it does and the probe."""


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(steps=DIED)
@given(steps=st.lists(STEPS, max_size=25))
def test_an_endpoint_that_is_well_again_is_live_again_for_both(
    monkeypatch: pytest.MonkeyPatch, steps: list[tuple[str, int, Any]]
) -> None:
    def clock(now_s: float) -> None:
        monkeypatch.setattr("hookline.delivery.endpoints.time.monotonic", lambda: now_s)

    async def run() -> None:
        world = World(clock)
        for step in steps:
            await world.do(step)
        await world.get_well()
        for sender in world.senders:
            assert list(sender.endpoints.states()) == []
            assert not sender.endpoints.unshared

    with monkeypatch.context():
        _at_once(run())


def _at_once(work: Coroutine[Any, Any, None]) -> None:
    """Runs what waits for nothing, without an event loop: its clock stands still here."""
    with pytest.raises(StopIteration):
        work.send(None)


class _SlowBucket(Bucket):
    """Something happens while a write is under way."""

    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    async def write(self, key: str, value: bytes | None, *, revision: int) -> int | None:
        written = await super().write(key, value, revision=revision)
        self.meanwhile()
        return written


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [(Outcome(Reason.GONE, 410, "", 0.1), Kind.GONE), (WELL, Kind.BACKLOGGED)],
    ids=["gone", "well again"],
)
def test_a_call_that_ends_while_a_probe_is_claimed_is_not_forgotten(outcome: Outcome, kind: Kind) -> None:
    log = Log()
    sender = Sender(log)
    bucket = _SlowBucket(log)
    sender.bucket = cast(EndpointBucket, bucket)

    async def run() -> None:
        for _ in range(5):
            sender.endpoints.attempted(sender.route, BAD)
        await sender.share()
        bucket.meanwhile = lambda: sender.endpoints.attempted(sender.route, outcome)
        assert not await sender.endpoints.claim(sender.route)
        bucket.meanwhile = lambda: None
        await sender.share()
        other = Sender(log)
        await other.share()
        for each in (sender, other):
            state = each.endpoints.state_of(each.route)
            assert state is not None
            assert state.kind is kind

    _at_once(run())


class _Told:
    """What of two senders over one bucket is told to tenants."""

    def __init__(self) -> None:
        self.log = Log()
        self.senders = [Sender(self.log), Sender(self.log)]
        self.told: list[tuple[str, str, str]] = []
        for name, sender in zip("ab", self.senders, strict=True):
            sender.endpoints._on_turned = self._teller(name)

    def _teller(self, name: str) -> OnTurned:
        def tell(_: Route, before: State | None, after: State | None) -> None:
            self.told.append((name, before.kind if before else "", after.kind if after else ""))

        return tell

    def attempted(self, outcome: Outcome, times: int, *who: int) -> None:
        for number in who:
            for _ in range(times):
                self.senders[number].endpoints.attempted(self.senders[number].route, outcome)

    async def share(self) -> list[tuple[str, str, str]]:
        """What is told meanwhile, in any order of looks."""
        before = len(self.told)
        for _ in range(2):
            for sender in self.senders:
                await sender.share()
        return self.told[before:]


def test_of_several_senders_that_see_an_endpoint_turn_the_one_that_writes_it_tells_it() -> None:
    async def run() -> None:
        world = _Told()
        world.attempted(BAD, 5, 0, 1)
        assert await world.share() == [("a", "", "Failing")]
        world.attempted(BAD, 5, 1)
        assert await world.share() == []
        world.attempted(WELL, 1, 1, 0)
        assert await world.share() == [("a", "Failing", "Backlogged")]

    _at_once(run())


def test_what_turned_while_nats_was_away_is_told_as_it_is_at_last() -> None:
    async def run() -> None:
        world = _Told()
        world.log.up = False
        world.attempted(BAD, 5, 0)
        assert await world.share() == []
        world.attempted(WELL, 1, 0)
        world.log.up = True
        assert await world.share() == [("a", "Failing", "Backlogged")]

    _at_once(run())


def test_a_bucket_that_was_lost_and_is_written_anew_tells_nothing_again() -> None:
    async def run() -> None:
        world = _Told()
        world.attempted(BAD, 5, 0)
        assert len(await world.share()) == 1
        world.log.lose()
        assert await world.share() == []
        assert world.log.last

    _at_once(run())


def test_a_failing_webhook_that_is_changed_is_told_once() -> None:
    async def run() -> None:
        world = _Told()
        world.attempted(BAD, 5, 0)
        await world.share()
        for sender in world.senders:
            sender.route = route(generation=2)
            sender.endpoints.forget_void(sender.route, 0.0)
        assert await world.share() == [("a", "Failing", "")]

    _at_once(run())


def test_a_turn_that_another_sender_wrote_in_the_same_moment_is_told_by_that_one_alone() -> None:
    world = _Told()
    first, second = world.senders

    class Overtaken(Bucket):
        async def changes(self) -> tuple[bool, list[Entry]]:
            found = await super().changes()
            await first.share()
            return found

    async def run() -> None:
        second.bucket = cast(EndpointBucket, Overtaken(world.log))
        world.attempted(BAD, 5, 0, 1)
        await second.share()
        assert world.told == [("a", "", "Failing")]
        assert await world.share() == []

    _at_once(run())
