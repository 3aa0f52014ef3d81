"""(k) What the attempts log costs: the same deliveries with it and without it.

Two queues with the same Webhooks and a sender each, one of which writes no log, take turns; the one whose turn it is
not does nothing. As fast as events are taken, since that is where a cost shows. What is still written once all events
were received counts as well.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from benchmarks.figures import Figure, in_turns, ratio_of_rounds
from benchmarks.load import Cost, flood
from benchmarks.setting import Setting
from benchmarks.stage import Stage, healthy, say, stage
from benchmarks.throughput import CONCURRENCY

ENDPOINTS = (1, 100, 2000)
WARM_UP = 1000
FLOODS = 2
"""Of the usual size: batches wait for up to a second, so that a longer time tells more."""
MORE_ROUNDS = 2
"""Than in other measurements: few per cent are looked for."""
WRITTEN_SECONDS = 2.0
"""After the last event, for all that is written."""
RATE, CPU = 0.95, 1.05


@dataclass(frozen=True)
class Round:
    """One closed loop, and the CPU until everything was written."""

    cost: Cost
    sender_us: float
    queue_us: float


async def measure(setting: Setting) -> list[Figure]:
    entries = healthy(setting.receiver, ENDPOINTS[-1], max_concurrency=CONCURRENCY)
    names = [route.name for route, _ in entries]
    found: list[Figure] = []
    async with AsyncExitStack() as stack:
        stages: dict[bool, Stage] = {}
        for log in (False, True):
            folder = setting.folder / f"attempts-log-{log}"
            stages[log] = await stack.enter_async_context(stage(folder, setting.receiver, entries, log=log))
            await flood(stages[log], names, WARM_UP)
        for endpoints in ENDPOINTS:
            rounds: dict[bool, list[Round]] = {log: [] for log in stages}
            for number in range(setting.sizes.rounds + MORE_ROUNDS):
                say(f"k: {endpoints} endpoints: round {number + 1} of {setting.sizes.rounds + MORE_ROUNDS}")
                for log in in_turns(list(stages), number):
                    count = setting.sizes.flood * FLOODS
                    rounds[log].append(await _round(stages[log], names[:endpoints], count))
                    last = rounds[log][-1]
                    say(f"k: log {log}: {last.cost.per_second:.0f} a second, sender {last.sender_us:.0f} us for each")
            found += figures(endpoints, rounds[True], rounds[False])
        found.append(Figure("k.lost", "lines of the log that were lost", _lost(stages[True]), ""))
    return found


async def _round(on: Stage, names: Sequence[str], count: int) -> Round:
    sender, queue = on.cpu()
    cost = await flood(on, names, count)
    await asyncio.sleep(WRITTEN_SECONDS)
    sender_end, queue_end = on.cpu()
    return Round(cost, (sender_end - sender) / count * 1e6, (queue_end - queue) / count * 1e6)


def _lost(on: Stage) -> int:
    pages = [each.page("/metrics") or "" for each in on.senders]
    lines = [
        line for page in pages for line in page.splitlines() if line.startswith("hookline_attempts_log_lost_total{")
    ]
    return int(sum(float(line.rpartition(" ")[2]) for line in lines))


def figures(endpoints: int, present: Sequence[Round], without: Sequence[Round]) -> list[Figure]:
    """Of one number of endpoints: with the log as a ratio to without it."""
    title = f"{endpoints:,} endpoint{'s' * (endpoints > 1)}"
    found: list[Figure] = []

    def compare(
        key: str,
        what: str,
        unit: str,
        value: Callable[[Round], float],
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> None:
        values, before = [value(each) for each in present], [value(each) for each in without]
        ratio = ratio_of_rounds(values, before)
        key = f"k.{endpoints}.{key}"
        found.append(Figure(key, f"{title}: {what}, as a ratio to without the log", ratio, "x", at_least, at_most))
        found.append(Figure(f"{key}.without", "  without", statistics.median(before), unit))
        found.append(Figure(f"{key}.with", "  with", statistics.median(values), unit))

    compare("rate", "deliveries", "/s", lambda of: of.cost.per_second, at_least=RATE)
    compare("sender", "CPU of the sender for each", "us", lambda of: of.sender_us, at_most=CPU)
    compare("queue", "CPU of nats-server for each", "us", lambda of: of.queue_us)
    return found
