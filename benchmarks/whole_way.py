"""(h) The whole way from publishing to receiving, each event on disk before it is confirmed: now and as it was.

Each engine has a queue of its own with the same Webhooks, and they take turns, so that what slows the machine slows
both; the one whose turn it is not does nothing. Both get the same events from the same publisher. First as fast as
events are taken, then at one rate for both, far below what the slower one takes.

This engine alone: fsync once a second, and three servers with three copies.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from benchmarks.engines import PRESENT, Engine
from benchmarks.figures import Figure, in_turns, quantile, ratio_of_rounds
from benchmarks.load import Cost, Steady, flood, steady
from benchmarks.setting import SHARE_WITH_ROOM, Setting
from benchmarks.stage import Failed, Stage, healthy, say, stage
from benchmarks.throughput import CONCURRENCY

WARM_UP = 500
SENDERS = 4
LEAD_IN_SECONDS = 1.0
"""Short, since connections are open and caches are filled."""
SETTLE_SECONDS = 3.0
"""For senders to hear of one another."""
RATE, CPU, P50 = 1.8, 0.5, 0.65


@dataclass(frozen=True)
class Way:
    """What is measured of each engine in turn."""

    endpoints: int
    senders: int = 1

    @property
    def key(self) -> str:
        return f"h.{self.endpoints}" if self.senders == 1 else f"h.{self.endpoints}x{self.senders}"

    @property
    def title(self) -> str:
        endpoints = f"{self.endpoints:,} endpoint{'s' * (self.endpoints > 1)}"
        return endpoints if self.senders == 1 else f"{endpoints}, {self.senders} senders"


WAYS = (Way(1), Way(100), Way(2000))
SHARED = Way(100, SENDERS)


@dataclass
class Rounds:
    """Of one engine on one way."""

    fast: list[Cost] = field(default_factory=list)
    steady: list[Steady] = field(default_factory=list)
    rate: float = 0.0
    """Of the steady rounds, events a second."""

    def per_second(self) -> list[float]:
        return [each.per_second for each in self.fast]

    def cpu_us(self) -> list[float]:
        return [each.cpu_us for each in self.fast]

    def steady_cpu_us(self) -> list[float]:
        return [(each.sender_share + each.queue_share) / self.rate * 1e6 for each in self.steady]

    def quantile_ms(self, share: float) -> list[float]:
        return [quantile(each.seconds, share) * 1000 for each in self.steady]


async def measure(setting: Setting) -> list[Figure]:
    engines = [each for each in (setting.before, PRESENT) if each is not None]
    found: list[Figure] = []
    entries = healthy(setting.receiver, WAYS[-1].endpoints, max_concurrency=CONCURRENCY)
    names = [route.name for route, _ in entries]
    async with AsyncExitStack() as stack:
        stages: dict[Engine, Stage] = {}
        for engine in engines:
            stages[engine] = on = await stack.enter_async_context(
                stage(setting.folder / f"whole-way-{engine.name}", setting.receiver, entries, engine=engine)
            )
            await flood(on, names, WARM_UP)
        for way in WAYS:
            found += figures(way, *await _in_turns(setting, stages, way, names))
        for on in stages.values():
            await asyncio.gather(*(on.add_sender() for _ in range(SENDERS - 1)))
            await asyncio.sleep(SETTLE_SECONDS)
            await flood(on, names[: SHARED.endpoints], WARM_UP)
        found += figures(SHARED, *await _in_turns(setting, stages, SHARED, names))
    return [*found, *await _once_a_second(setting), *await _three_servers(setting)]


async def _in_turns(
    setting: Setting, stages: dict[Engine, Stage], way: Way, names: Sequence[str]
) -> tuple[Rounds, Rounds | None]:
    """Of this engine, and of the former one if there is one."""
    rounds = {engine: Rounds() for engine in stages}
    for round_ in range(setting.sizes.rounds):
        say(f"h: {way.title}: round {round_ + 1} of {setting.sizes.rounds}")
        for engine in in_turns(list(stages), round_):
            rounds[engine].fast.append(await flood(stages[engine], names[: way.endpoints], setting.sizes.flood))
        if way.senders == 1:
            slowest = min(each.fast[0].per_second for each in rounds.values())
            for engine in in_turns(list(stages), round_):
                rate = rounds[engine].rate = slowest * SHARE_WITH_ROOM
                rounds[engine].steady.append(await _steady(setting, stages[engine], way, names, rate, round_))
        for engine, of in rounds.items():
            say(f"h: {engine.name}: {of.fast[-1].per_second:.0f} a second, {of.fast[-1].cpu_us:.0f} us for each")
    return rounds[PRESENT], rounds.get(setting.before) if setting.before else None


async def _steady(setting: Setting, on: Stage, way: Way, names: Sequence[str], rate: float, round_: int) -> Steady:
    at = await steady(
        on, names[: way.endpoints], rate, setting.sizes.way_seconds, lead_in_seconds=LEAD_IN_SECONDS, seed=round_ + 1
    )
    if at.missing:
        setting.remarks.append(f"h: {way.title}, {on.engine.name}: {at.missing} events did not come in time.")
    return at


def figures(way: Way, present: Rounds, before: Rounds | None) -> list[Figure]:
    """Of one way: what each quantity is, and as a ratio to what it was if that was measured."""
    found: list[Figure] = []

    def compare(
        key: str,
        title: str,
        unit: str,
        values: Callable[[Rounds], list[float]],
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> None:
        key = f"{way.key}.{key}"
        if before is not None:
            ratio = ratio_of_rounds(values(present), values(before))
            found.append(Figure(key, f"{way.title}: {title}, as a ratio to before", ratio, "x", at_least, at_most))
            found.append(Figure(f"{key}.before", "  before", statistics.median(values(before)), unit))
        now = "  now" if before is not None else f"{way.title}: {title}"
        found.append(Figure(f"{key}.now", now, statistics.median(values(present)), unit))

    several = way.senders > 1
    compare("rate", "deliveries", "/s", Rounds.per_second, at_least=None if several else RATE)
    compare("cpu", "CPU of sender and nats-server for each", "us", Rounds.cpu_us, at_most=CPU)
    if present.steady:
        at = f"at {present.rate:.0f}/s"
        compare("p50", f"p50 {at}", "ms", lambda of: of.quantile_ms(0.5), at_most=P50)
        compare("p99", f"p99 {at}", "ms", lambda of: of.quantile_ms(0.99))
        compare("steady", f"CPU of both for each {at}", "us", Rounds.steady_cpu_us)
    return found


async def _once_a_second(setting: Setting) -> list[Figure]:
    say("h: fsync once a second")
    entries = healthy(setting.receiver, SHARED.endpoints, max_concurrency=CONCURRENCY)
    async with stage(setting.folder / "whole-way-1s", setting.receiver, entries, sync_interval="1s") as on:
        return await _alone(setting, on, "1s", "syncInterval 1s")


async def _three_servers(setting: Setting) -> list[Figure]:
    folder = setting.folder / "whole-way-three"
    try:
        from benchmarks.cluster import ThreeServers
    except ImportError:
        setting.remarks.append(
            "h: three servers are left out: the code that starts them is in tests/, where `make bench` finds it."
        )
        return []
    say("h: three servers, three copies")
    entries = healthy(setting.receiver, SHARED.endpoints, max_concurrency=CONCURRENCY)
    try:
        async with stage(folder, setting.receiver, entries, server=ThreeServers(folder / "nats"), copies=3) as on:
            return await _alone(setting, on, "copies", "three servers and copies, fsync every 2 minutes")
    except Failed as error:
        setting.remarks.append(f"h: three servers could not be measured: {error}")
        return []


async def _alone(setting: Setting, on: Stage, key: str, title: str) -> list[Figure]:
    """Of this engine, with as many endpoints as SHARED has. No target."""
    names = [f"ok-{number}" for number in range(SHARED.endpoints)]
    await flood(on, names, WARM_UP)
    fast = await flood(on, names, setting.sizes.flood)
    rate = fast.per_second * SHARE_WITH_ROOM
    at = await _steady(setting, on, Way(SHARED.endpoints), names, rate, 0)
    return [
        Figure(f"h.{key}.rate", f"{title}: deliveries", fast.per_second, "/s"),
        Figure(f"h.{key}.cpu", "  CPU of sender and nats-server for each", fast.cpu_us, "us"),
        Figure(
            f"h.{key}.p50",
            f"  p50 at {rate:.0f}/s",
            quantile(at.seconds, 0.5) * 1000,
            "ms",
        ),
        Figure(f"h.{key}.p99", "  p99", quantile(at.seconds, 0.99) * 1000, "ms"),
    ]
