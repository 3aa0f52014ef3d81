"""(d) What the queued deliveries of a dead endpoint cost, and what others feel of them; (e) how fast they drain after.

The backlog is parked straight away (PARKED), where a dead endpoint's deliveries end up: made one by one through
failing calls it would take hours. Two queues exist, with and without; a sender works on one at a time, in turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figures import Figure, in_turns, out_of_order, quantile, ratio_of_rounds
from benchmarks.load import Cost, Steady, flood, steady
from benchmarks.processes import resident_megabytes
from benchmarks.receiver import Heard, event_id
from benchmarks.setting import SHARE_WITH_ROOM, Setting
from benchmarks.stage import (
    BODY,
    TENANT,
    Failed,
    OneServer,
    Producer,
    Stage,
    healthy,
    producer,
    say,
    stage,
    uid_of,
    until,
    webhook,
)
from benchmarks.throughput import maximum

from hookline.delivery.messages import Delivery
from hookline.events.envelope import Event
from hookline.stream import names
from hookline.stream.streams import Retention, ensure

WEBHOOKS = 99
SETTLE_SECONDS = 5.0
"""For the sender to find out that the endpoint is dead."""
IDLE_SECONDS = 6.0
DEAD, RUN = "dead", "backlog"
LAYING_AT_ONCE = 2000
RECOVERY_SECONDS = 90.0
DRAIN_SECONDS = 60.0
EFFECT, THROUGHPUT, IDLE_PERCENT = 1.2, 0.9, 5.0


@dataclass
class Rounds:
    """What was measured on one of the two queues."""

    steady: list[Steady] = field(default_factory=list)
    flood: list[Cost] = field(default_factory=list)
    idle_percent: list[float] = field(default_factory=list)
    sender_megabytes: list[float] = field(default_factory=list)
    queue_megabytes: list[float] = field(default_factory=list)

    def p99(self) -> list[float]:
        return [quantile(each.seconds, 0.99) for each in self.steady]


async def measure(setting: Setting) -> list[Figure]:
    rate = await maximum(setting) * SHARE_WITH_ROOM
    receiver = setting.receiver
    dead = webhook(DEAD, receiver.dead_url(f"{DEAD}/0"), receiver.ca)
    entries = [*healthy(receiver, WEBHOOKS), dead]
    hooks = [route.name for route, _ in entries[:WEBHOOKS]]
    folder = setting.folder / "backlog"
    began = time.monotonic()
    await lay(folder, setting.sizes.backlog, _parked)
    say(f"d: laid {setting.sizes.backlog:,} deliveries in {time.monotonic() - began:.0f} s")
    with_, without = Rounds(), Rounds()
    async with (
        stage(folder, receiver, entries, sync_interval=setting.sync_interval, senders=0) as full,
        stage(
            setting.folder / "no-backlog", receiver, entries, sync_interval=setting.sync_interval, senders=0
        ) as empty,
    ):
        arms = ((empty, without), (full, with_))
        for round_ in range(setting.sizes.p99_rounds):
            say(f"d: round {round_ + 1} of {setting.sizes.p99_rounds}")
            for on, rounds in in_turns(arms, round_):
                await _round(setting, on, rounds, hooks, rate, round_)
        return [*_effects(setting, with_, without), *await _drain(setting, full)]


async def lay(folder: Path, count: int, store: Callable[[Producer, int], Awaitable[object]]) -> None:
    """Store messages in a new queue, by their number. Not fsynced one by one: it would take an hour."""
    folder.mkdir(parents=True)
    server = OneServer(folder, sync_interval="10m")
    try:
        async with producer(await server.start()) as by:
            await ensure(by.client, Retention())
            numbers = iter(range(count))

            async def worker() -> None:
                for number in numbers:
                    await store(by, number)
                    if (number + 1) % 50_000 == 0:
                        say(f"{number + 1:,} of {count:,} queued")

            await asyncio.gather(*(worker() for _ in range(LAYING_AT_ONCE)))
    finally:
        await server.stop()


async def _parked(by: Producer, number: int) -> None:
    """A delivery of the dead Webhook."""
    await by.publisher.store(names.parked_subject(uid_of(DEAD)), BODY, _delivery(number).headers())


def _delivery(number: int) -> Delivery:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    event = Event(event_id(RUN, number, time.monotonic_ns()), TENANT, DEAD, now, BODY)
    return Delivery(uid_of(DEAD), event, event_seq=number + 1)


async def _round(setting: Setting, on: Stage, rounds: Rounds, hooks: list[str], rate: float, round_: int) -> None:
    sender = await on.add_sender()
    try:
        await asyncio.sleep(SETTLE_SECONDS)
        before, at = on.cpu(), time.monotonic()
        await asyncio.sleep(IDLE_SECONDS)
        rounds.idle_percent.append((sum(on.cpu()) - sum(before)) / (time.monotonic() - at) * 100)
        rounds.steady.append(await steady(on, hooks, rate, setting.sizes.window_seconds, seed=round_ + 1))
        with contextlib.suppress(Failed):
            rounds.flood.append(await flood(on, hooks, setting.sizes.flood // 2))
        rounds.sender_megabytes.append(resident_megabytes(sender.pid))
        rounds.queue_megabytes.append(resident_megabytes(on.queue_pid))
        p99 = rounds.p99()[-1] * 1000
        say(f"d: {on.data.name}: idle {rounds.idle_percent[-1]:.1f} % of a core, p99 {p99:.1f} ms")
    finally:
        await on.end_sender(sender)


def _effects(setting: Setting, with_: Rounds, without: Rounds) -> list[Figure]:
    title = f"{setting.sizes.backlog:,} queued for a dead endpoint"
    missing = sum(each.missing for each in with_.steady)
    if missing:
        setting.remarks.append(f"d: beside the backlog {missing} events to others did not come in time.")
    both = min(len(with_.flood), len(without.flood))
    throughput = (
        ratio_of_rounds(
            [each.per_second for each in with_.flood[:both]], [each.per_second for each in without.flood[:both]]
        )
        if both
        else 0.0
    )
    idle = statistics.median(one - other for one, other in zip(with_.idle_percent, without.idle_percent, strict=True))
    return [
        Figure("d.idle", f"{title}: CPU of sender and nats-server", idle, "% of a core", at_most=IDLE_PERCENT),
        Figure(
            "d.p99",
            "p99 of others, as a ratio to without",
            ratio_of_rounds(with_.p99(), without.p99()),
            "x",
            at_most=EFFECT,
        ),
        Figure("d.rate", "throughput of others, as a ratio to without", throughput, "x", at_least=THROUGHPUT),
        Figure("d.sender", "memory of the sender, at most", max(with_.sender_megabytes), "MB"),
        Figure("d.sender0", "  the same without", max(without.sender_megabytes), "MB"),
        Figure("d.queue", "memory of nats-server, at most", max(with_.queue_megabytes), "MB"),
        Figure("d.queue0", "  the same without", max(without.queue_megabytes), "MB"),
    ]


async def _drain(setting: Setting, on: Stage) -> list[Figure]:
    """Let the endpoint recover, and watch the first part of its backlog arrive."""
    wanted = setting.sizes.drain
    await on.add_sender()
    await asyncio.sleep(SETTLE_SECONDS)
    say("e: the endpoint recovers")
    on.receiver.revive()
    recovered = time.monotonic()
    with contextlib.suppress(Failed):
        await until(lambda: on.receiver.count(DEAD, RUN) > 0, RECOVERY_SECONDS, "the first delivery came")
        await until(lambda: on.receiver.count(DEAD, RUN) >= wanted, DRAIN_SECONDS, "the part came")
    heard = on.receiver.take(DEAD, RUN)
    say(f"e: {len(heard.order):,} came")
    return _drained(setting, heard, recovered, wanted)


def _drained(setting: Setting, heard: Heard, recovered: float, wanted: int) -> list[Figure]:
    if len(heard.order) < 2:
        setting.remarks.append(f"e: nothing came within {RECOVERY_SECONDS:.0f} s of the recovery.")
        return [Figure("e.came", "after the recovery: deliveries that came", len(heard.order), at_least=wanted)]
    took = heard.at_s[-1] - heard.at_s[0]
    late, worst = out_of_order(heard.order)
    every = max(1, len(heard.at_s) // 60)
    setting.curves["e"] = [(at - recovered, float(number)) for number, at in enumerate(heard.at_s)][::every]
    return [
        Figure("e.first", "after the recovery: first delivery after", heard.at_s[0] - recovered, "s"),
        Figure("e.came", f"deliveries that came within {DRAIN_SECONDS:.0f} s", len(heard.order), at_least=wanted),
        Figure("e.rate", "drain", (len(heard.order) - 1) / took if took else 0.0, "/s"),
        Figure("e.late", "share that came after a younger one", late / len(heard.order) * 100, "%"),
        Figure("e.worst", "places that the worst came late", worst),
        Figure("e.repeats", "repeats", heard.calls - len(heard.order)),
    ]
