"""(c) What 99 healthy Webhooks feel of three bad ones: one hangs, one refuses connections, one answers a byte a second.

Each bad one gets the events of five healthy ones. Rounds without and with them take turns, each on a new queue: what a
bad one leaves behind, such as retries, must not burden the others.

Once with the queue on disk, where a p99 is also that of fsync, and once with the queue in memory, where it is that of
the sender and nats-server. There rounds take their turn too in which the three answer well: they show what 15 % more
events cost their neighbours, badness aside.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from enum import Enum
from pathlib import Path

from benchmarks.figures import Figure, arrivals, in_turns, quantile, ratio_of_rounds
from benchmarks.load import Steady, new_run, publish_at, steady
from benchmarks.setting import SHARE_WITH_ROOM, Setting
from benchmarks.stage import healthy, say, stage, webhook
from benchmarks.throughput import maximum

WEBHOOKS = 99
WEIGHT = 5
LEAD_IN_SECONDS = 5.0
DRIP_TIMEOUT_SECONDS = 3
"""So that a window also has timeouts in it, an endpoint found sick, probes and retries. The one that hangs does so for
the whole round."""
RATIO = 1.2
MEMORY = Path("/dev/shm")


class Neighbours(Enum):
    """What is beside the healthy ones."""

    NONE = "none"
    WELL = "well"
    BAD = "bad"


async def measure(setting: Setting) -> list[Figure]:
    rate = await maximum(setting) * SHARE_WITH_ROOM
    few = setting.sizes.p99_rounds
    many = 2 * few - 1  # others use the disk as well
    two = (Neighbours.NONE, Neighbours.BAD)
    on_disk = await _rounds(setting, rate, setting.folder, "on disk", many, two)
    with tempfile.TemporaryDirectory(prefix="hookline-bench-", dir=MEMORY) as folder:
        in_memory = await _rounds(setting, rate, Path(folder), "in memory", few, tuple(Neighbours))
    return [*_figures("disk", "queue on disk", on_disk), *_figures("memory", "queue in memory", in_memory)]


async def _rounds(
    setting: Setting, rate: float, folder: Path, where: str, rounds: int, arrangements: Sequence[Neighbours]
) -> dict[Neighbours, list[Steady]]:
    found: dict[Neighbours, list[Steady]] = {each: [] for each in arrangements}
    for round_ in range(rounds):
        say(f"c: round {round_ + 1} of {rounds} with the queue {where}, {rate:.0f} events a second")
        for neighbours in in_turns(arrangements, round_):
            found[neighbours].append(await _round(setting, rate, folder, neighbours, round_))
        told = (f"{_ms(of[-1], 0.99):.1f} ms {neighbours.value}" for neighbours, of in found.items())
        say(f"c: p99 by neighbours: {', '.join(told)}")
    missing = sum(each.missing for each in found[Neighbours.BAD])
    if missing:
        setting.remarks.append(
            f"c: with the queue {where}, {missing} events to healthy ones did not come in time beside bad Webhooks."
        )
    return found


def _figures(key: str, title: str, rounds: dict[Neighbours, list[Steady]]) -> list[Figure]:
    none, bad, well = rounds[Neighbours.NONE], rounds[Neighbours.BAD], rounds.get(Neighbours.WELL)
    figures = [
        Figure(f"c.{key}.p99", f"{title}: p99, as a ratio to without", _ratio(bad, none, 0.99), "x", at_most=RATIO),
        Figure(f"c.{key}.p50", "  p50, as a ratio to without", _ratio(bad, none, 0.5), "x"),
        Figure(f"c.{key}.without", "  p99 without (median round)", _median(none), "ms"),
        Figure(f"c.{key}.with", "  p99 with (median round)", _median(bad), "ms"),
        Figure(f"c.{key}.busy", "  cores busy without", statistics.median(each.busy for each in none) * 100, "%"),
    ]
    if well is not None:
        title = "  p99 beside three that answer well, as a ratio to without"
        figures.append(Figure(f"c.{key}.well", title, _ratio(well, none, 0.99), "x"))
    return figures


async def _round(setting: Setting, rate: float, folder: Path, neighbours: Neighbours, round_: int) -> Steady:
    receiver, bad = setting.receiver, neighbours is Neighbours.BAD
    receiver.mode("hang", "hang" if bad else "ok")
    receiver.mode("drip", "drip" if bad else "ok")
    others = [
        webhook("hang", receiver.url("hang/0"), receiver.ca),
        webhook("refuse", receiver.dead_url("refuse/0") if bad else receiver.url("refuse/0"), receiver.ca),
        webhook("drip", receiver.url("drip/0"), receiver.ca, timeout_seconds=DRIP_TIMEOUT_SECONDS),
    ]
    entries = healthy(receiver, WEBHOOKS)
    names, other_names = ([route.name for route, _ in each] for each in (entries, others))
    data = folder / f"isolation-{round_}-{neighbours.value}"
    async with stage(data, receiver, [*entries, *others], sync_interval=setting.sync_interval) as on:
        whole = LEAD_IN_SECONDS + setting.sizes.window_seconds
        more = rate / WEBHOOKS * WEIGHT * len(others)
        due = [] if neighbours is Neighbours.NONE else arrivals(more, whole, seed=round_ + 100)
        besides = asyncio.create_task(publish_at(on, other_names, new_run(), due, time.monotonic()))
        measured = await steady(
            on, names, rate, setting.sizes.window_seconds, lead_in_seconds=LEAD_IN_SECONDS, seed=round_ + 1
        )
        await besides
    return measured


def _ms(of: Steady, share: float) -> float:
    return quantile(of.seconds, share) * 1000


def _ratio(measured: list[Steady], base: list[Steady], share: float) -> float:
    return ratio_of_rounds([_ms(each, share) for each in measured], [_ms(each, share) for each in base])


def _median(rounds: list[Steady]) -> float:
    return quantile([_ms(each, 0.99) for each in rounds], 0.5)
