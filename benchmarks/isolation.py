"""(c) What 99 healthy Webhooks feel of three bad ones: one hangs, one refuses connections, one answers a byte a second.

Each bad one gets as many events as a healthy one. Rounds without and with them take turns, each on a new queue: what a
bad one leaves behind, such as retries, must not burden the others.

Once with the queue on disk, where a p99 is also that of fsync, and once with the queue in memory, where it is that of
the sender and nats-server.

And what they feel when many more, which had answered, all turn slow within a second, with their events taken: against
the same events for endpoints that go on answering.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure, arrivals, in_turns, quantile, ratio_of_rounds
from benchmarks.load import Steady, flood, new_run, publish_at, steady
from benchmarks.receiver import LATE_SECONDS
from benchmarks.setting import SHARE_WITH_ROOM, Setting
from benchmarks.stage import healthy, say, stage, webhook
from benchmarks.throughput import maximum

WEBHOOKS = 99
LEAD_IN_SECONDS = 5.0
DRIP_TIMEOUT_SECONDS = 3
"""So that a window also has timeouts in it, an endpoint found failing, probes and retries. The one that hangs does so
for the whole round."""
RATIO = 1.2
MEMORY = Path("/dev/shm")
TURNING = 1000
"""Endpoints that turn slow."""
TURN_SECONDS = 1.0
TURN_RATIO = 1.1


async def measure(setting: Setting) -> list[Figure]:
    rate = await maximum(setting) * SHARE_WITH_ROOM
    few = setting.sizes.p99_rounds
    many = 2 * few - 1  # others use the disk as well
    for mode in ("hang", "drip"):
        setting.receiver.mode(mode, mode)
    on_disk = await _rounds(setting, rate, setting.folder, "on disk", many)
    with tempfile.TemporaryDirectory(prefix="hookline-bench-", dir=MEMORY) as folder:
        in_memory = await _rounds(setting, rate, Path(folder), "in memory", few)
    turning = await _turning_rounds(setting, rate)
    return [
        *_figures("disk", "queue on disk", *on_disk),
        *_figures("memory", "queue in memory", *in_memory),
        *_figures("turning", f"{TURNING:,} endpoints turn slow in one second, queue on disk", *turning, TURN_RATIO),
    ]


async def _rounds(
    setting: Setting, rate: float, folder: Path, where: str, rounds: int
) -> tuple[list[Steady], list[Steady]]:
    """Without and with bad neighbours."""
    without: list[Steady] = []
    beside: list[Steady] = []
    for round_ in range(rounds):
        say(f"c: round {round_ + 1} of {rounds} with the queue {where}, {rate:.0f} events a second")
        for found in in_turns((without, beside), round_):
            found.append(await _round(setting, rate, folder, round_, bad=found is beside))
        say(f"c: p99 {_ms(without[-1], 0.99):.1f} ms without, {_ms(beside[-1], 0.99):.1f} ms with")
    missing = sum(each.missing for each in beside)
    if missing:
        setting.remarks.append(
            f"c: with the queue {where}, {missing} events to healthy ones did not come in time beside bad Webhooks."
        )
    return without, beside


def _figures(key: str, title: str, without: list[Steady], beside: list[Steady], at_most: float = RATIO) -> list[Figure]:
    p99 = _ratio(beside, without, 0.99)
    return [
        Figure(f"c.{key}.p99", f"{title}: p99, as a ratio to without", p99, "x", at_most=at_most),
        Figure(f"c.{key}.p50", "  p50, as a ratio to without", _ratio(beside, without, 0.5), "x"),
        Figure(f"c.{key}.without", "  p99 without (median round)", _median(without), "ms"),
        Figure(f"c.{key}.with", "  p99 with (median round)", _median(beside), "ms"),
        Figure(f"c.{key}.busy", "  cores busy without", statistics.median(each.busy for each in without) * 100, "%"),
    ]


async def _round(setting: Setting, rate: float, folder: Path, round_: int, *, bad: bool) -> Steady:
    receiver = setting.receiver
    others = [
        webhook("hang", receiver.url("hang/0"), receiver.ca),
        webhook("refuse", receiver.dead_url("refuse/0"), receiver.ca),
        webhook("drip", receiver.url("drip/0"), receiver.ca, timeout_seconds=DRIP_TIMEOUT_SECONDS),
    ]
    entries = healthy(receiver, WEBHOOKS)
    names, other_names = ([route.name for route, _ in each] for each in (entries, others))
    data = folder / f"isolation-{round_}-{'with' if bad else 'without'}"
    async with stage(data, receiver, [*entries, *others], sync_interval=setting.sync_interval) as on:
        whole = LEAD_IN_SECONDS + setting.sizes.window_seconds
        due = arrivals(rate / WEBHOOKS * len(others), whole, seed=round_ + 100) if bad else []
        besides = asyncio.create_task(publish_at(on, other_names, new_run(), due, time.monotonic()))
        measured = await steady(
            on, names, rate, setting.sizes.window_seconds, lead_in_seconds=LEAD_IN_SECONDS, seed=round_ + 1
        )
        await besides
    return measured


async def _turning_rounds(setting: Setting, rate: float) -> tuple[list[Steady], list[Steady]]:
    """With endpoints that get the same events and answer, and with endpoints that turn slow."""
    without: list[Steady] = []
    beside: list[Steady] = []
    for round_ in range(setting.sizes.rounds):
        say(f"c: round {round_ + 1} of {setting.sizes.rounds} with {TURNING:,} endpoints that turn slow")
        for found in in_turns((without, beside), round_):
            found.append(await _turning_round(setting, rate, round_, turn=found is beside))
        say(f"c: p99 {_ms(without[-1], 0.99):.1f} ms without, {_ms(beside[-1], 0.99):.1f} ms with")
    if missing := sum(each.missing for each in beside):
        setting.remarks.append(f"c: {missing} events to others did not come in time after {TURNING:,} turned slow.")
    return without, beside


async def _turning_round(setting: Setting, rate: float, round_: int, *, turn: bool) -> Steady:
    receiver = setting.receiver
    others = [webhook(f"turn-{number}", receiver.url(f"turn/{number}"), receiver.ca) for number in range(TURNING)]
    entries = healthy(receiver, WEBHOOKS)
    names, other_names = ([route.name for route, _ in each] for each in (entries, others))
    data = setting.folder / f"turning-{round_}-{'with' if turn else 'without'}"
    async with stage(data, receiver, [*entries, *others], sync_interval=setting.sync_interval) as on:
        # Late answers leave a connection open for each, as of endpoints that were called before.
        receiver.mode("turn", "late")
        await flood(on, other_names, TURNING, group="turn")
        await asyncio.sleep(2 * LATE_SECONDS)
        receiver.mode("turn", "hang" if turn else "ok")
        at_s = time.monotonic() + LEAD_IN_SECONDS + 1
        due = [number * TURN_SECONDS / TURNING for number in range(TURNING)]
        besides = asyncio.create_task(publish_at(on, other_names, new_run(), due, at_s))
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
