"""(c) What 99 healthy Webhooks feel of three bad ones: one hangs, one refuses connections, one answers a byte a second.

Each bad one gets the events of five healthy ones. Rounds without them, with them, and with three in their place that
answer well take turns, each on a new queue: what a bad one leaves behind, such as retries, must not burden the others.
The three that answer well show what 15 % more events cost their neighbours, badness aside.
"""

from __future__ import annotations

import asyncio
import time
from enum import Enum

from benchmarks.figures import Figure, arrivals, quantile, ratio_of_rounds
from benchmarks.load import Steady, new_run, publish_at, steady
from benchmarks.setting import Setting
from benchmarks.stage import healthy, say, stage, webhook
from benchmarks.throughput import maximum

WEBHOOKS = 99
SHARE = 0.4
"""Of the maximum."""
WEIGHT = 5
LEAD_IN_SECONDS = 5.0
BAD = ("hang", "refuse", "drip")
RATIO = 1.2


class Neighbours(Enum):
    """What is beside the healthy ones."""

    NONE = "none"
    WELL = "well"
    BAD = "bad"


async def measure(setting: Setting) -> list[Figure]:
    rate = await maximum(setting) * SHARE
    without: list[Steady] = []
    with_well: list[Steady] = []
    with_bad: list[Steady] = []
    rounds = 2 * setting.sizes.rounds - 1  # a p99 of the same load differs by half from one round to the next
    for round_ in range(rounds):
        say(f"c: round {round_ + 1} of {rounds}, {rate:.0f} events a second without and with bad ones")
        without.append(await _round(setting, rate, Neighbours.NONE, round_))
        with_well.append(await _round(setting, rate, Neighbours.WELL, round_))
        with_bad.append(await _round(setting, rate, Neighbours.BAD, round_))
        told = (f"{_ms(of[-1], 0.99):.1f} ms" for of in (without, with_well, with_bad))
        say("c: p99 {} without, {} with three more that are well, {} with bad ones".format(*told))
    missing = sum(each.missing for each in with_bad)
    if missing:
        setting.remarks.append(f"c: beside bad Webhooks {missing} events to healthy ones did not come in time.")
    return [
        Figure(
            "c.p50", "healthy ones beside bad ones: p50, as a ratio to without", _ratio(with_bad, without, 0.5), "x"
        ),
        Figure("c.p99", "p99, as a ratio to without", _ratio(with_bad, without, 0.99), "x", at_most=RATIO),
        Figure(
            "c.well", "  as a ratio to the same events for three that are well", _ratio(with_bad, with_well, 0.99), "x"
        ),
        Figure("c.without", "p99 without (median round)", _median(without), "ms"),
        Figure("c.with", "p99 with (median round)", _median(with_bad), "ms"),
    ]


async def _round(setting: Setting, rate: float, neighbours: Neighbours, round_: int) -> Steady:
    receiver, bad = setting.receiver, neighbours is Neighbours.BAD
    receiver.mode("hang", "hang" if bad else "ok")
    receiver.mode("drip", "drip" if bad else "ok")
    urls = {name: receiver.url(f"{name}/0") for name in BAD}
    if bad:
        urls["refuse"] = receiver.dead_url("refuse/0")
    entries = [*healthy(receiver, WEBHOOKS), *(webhook(name, urls[name], receiver.ca) for name in BAD)]
    names = [route.name for route, _ in entries[:WEBHOOKS]]
    folder = setting.folder / f"isolation-{round_}-{neighbours.value}"
    async with stage(folder, receiver, entries, sync_interval=setting.sync_interval) as on:
        whole = LEAD_IN_SECONDS + setting.sizes.window_seconds
        more = rate / WEBHOOKS * WEIGHT * len(BAD)
        due = [] if neighbours is Neighbours.NONE else arrivals(more, whole, seed=round_ + 100)
        besides = asyncio.create_task(publish_at(on, BAD, new_run(), due, time.monotonic()))
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
