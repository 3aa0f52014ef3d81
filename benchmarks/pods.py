"""(g) Two sender pods against one: throughput, and what it costs.

Where receiver, queue and publisher share few cores with the senders, two senders cannot show what they would do on
nodes of their own. So both are also measured with each sender bound to a share of a core, which leaves the rest alone.
"""

from __future__ import annotations

import os
import statistics
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks.figures import Figure, ratio_of_rounds
from benchmarks.load import Cost, flood
from benchmarks.processes import throttled
from benchmarks.setting import Setting
from benchmarks.stage import Stage, healthy, say, stage

WEBHOOKS = 100
CORES_EACH = 0.125
"""So little that two of them leave queue, receiver and publisher what those need on two cores."""
LEAST = 3000
"""Deliveries for each sender: a sender may hold some 2,000 in its hands, and both must have enough to do."""
RATIO = 1.8


@dataclass
class Rounds:
    one: list[Cost] = field(default_factory=list)
    two: list[Cost] = field(default_factory=list)

    def ratio(self) -> float:
        two, one = ([each.early_per_second for each in costs] for costs in (self.two, self.one))
        return ratio_of_rounds(two, one)

    def cpu_ratio(self) -> float:
        """CPU of all senders for one delivery."""
        return ratio_of_rounds([1 / each.per_core for each in self.two], [1 / each.per_core for each in self.one])


async def measure(setting: Setting) -> list[Figure]:
    entries = healthy(setting.receiver, WEBHOOKS)
    names = [route.name for route, _ in entries]
    free, bound, count = Rounds(), Rounds(), max(setting.sizes.flood, LEAST)
    async with stage(setting.folder / "pods", setting.receiver, entries, sync_interval=setting.sync_interval) as on:
        for round_ in range(setting.sizes.rounds):
            say(f"g: round {round_ + 1} of {setting.sizes.rounds}")
            await _round(on, names, count, free)
            try:
                await _round(on, names, count, bound, CORES_EACH)
            except OSError as error:
                setting.remarks.append(f"g: senders cannot be bound to a share of a core here ({error.strerror}).")
    cores = os.cpu_count() or 1
    found = [
        Figure("g.free", f"two pods against one, all on {cores} cores: throughput", free.ratio(), "x"),
        Figure("g.cpu", "  CPU of the senders for each delivery", free.cpu_ratio(), "x"),
    ]
    if bound.two:
        rate = statistics.median(each.early_per_second for each in bound.one)
        found += [
            Figure("g.bound", f"each on {CORES_EACH:g} of a core: throughput", bound.ratio(), "x", at_least=RATIO),
            Figure("g.bound1", "  one of them", rate, "/s"),
        ]
    return found


async def _round(on: Stage, names: list[str], count: int, rounds: Rounds, cores: float | None = None) -> None:
    """One sender, then two, with as many deliveries for each."""
    rounds.one.append(await _flooded(on, names, count, cores))
    second = await on.add_sender()
    try:
        rounds.two.append(await _flooded(on, names, count * 2, cores))
    finally:
        await on.end_sender(second)


async def _flooded(on: Stage, names: list[str], count: int, cores: float | None) -> Cost:
    """With connections open and caches filled, unbound: a new sender makes hundreds of TLS handshakes, seconds of its
    bound share of a core."""
    await flood(on, names, count)
    with ExitStack() as stack:
        if cores is not None:
            for sender in on.senders:
                stack.enter_context(throttled(sender.pid, cores))
        return await flood(on, names, count)
