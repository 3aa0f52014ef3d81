"""(i) What other tenants feel of one that publishes much, has much waiting, or is not answered.

The others publish at a quarter of the maximum, once as one tenant and once as hundreds that share that rate. Rounds
without the one and with each of CASES take turns, each on a new queue. The burst of the one comes from a process of its
own, goes to a receiver of its own, and begins when the connections of the others are open.

On few cores a burst costs the others CPU and disk whatever the engine does. The control shows how much: the same burst
in an installation of its own beside, with its own nats-server and sender. What is more than that is of sharing one.
And what an event waited until the queue confirmed it was spent before any sender saw it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.backlog import lay
from benchmarks.burst import Bursts, Plan
from benchmarks.engines import PRESENT, Engine
from benchmarks.figures import Figure, in_turns, quantile, ratio_of_rounds
from benchmarks.load import Steady, flood, new_run, steady
from benchmarks.receiver import Receiver, event_id
from benchmarks.setting import SHARE_WITH_ROOM, Setting
from benchmarks.stage import BODY, Entry, Producer, Stage, say, stage, webhook
from benchmarks.throughput import maximum

from hookline.events import envelope
from hookline.stream import names as queue_names

FEW = 2
"""Tenants, the one among them."""
LEAD_IN_SECONDS = 1.5
TAIL_SECONDS = 3.0
RATIO = 1.5
ONE = "one"
"""The tenant that others feel."""
LAID = "laid"
"""The run of the events that wait."""
PLENTY = 100_000
"""Events, more than any machine takes while others are measured."""
LARGE_BYTES, LARGE_COUNT = 250 * 1024, 3000
"""0.75 GB, and as much again where each is stored as a delivery."""

Arms = Mapping[str, Sequence[Steady]]
"""What was measured, round by round, by the name of the arm."""


@dataclass(frozen=True)
class Case:
    """What the one does."""

    key: str
    title: str
    webhooks: int = 1
    one_event: bool = False
    """Whether all its Webhooks hear the same event."""
    mode: str = "ok"
    """How its receiver answers."""
    body_bytes: int = 1024
    count: int = PLENTY
    per_second: float | None = None
    """None: as fast as the queue confirms."""
    waits: bool = False
    """Its events were published before the sender started, and none come after."""

    def entries(self, receiver: Receiver) -> list[Entry]:
        return [
            webhook(f"{ONE}-{number}", receiver.url(f"{self.mode}/{number}"), receiver.ca, namespace=ONE, event=event)
            for number, event in enumerate(self._events())
        ]

    def plan(self, seconds: float) -> Plan:
        names = tuple(dict.fromkeys(f"{ONE}/{event}" for event in self._events()))
        return Plan(names, new_run(), seconds, self.count, self.per_second, body_bytes=self.body_bytes)

    def _events(self) -> list[str]:
        return [f"{ONE}-{0 if self.one_event else number}" for number in range(self.webhooks)]


CASES = (
    Case("fast", "publishes as fast as it can"),
    Case("backlog", "has a backlog of events", waits=True),
    Case("large", "publishes bodies of 250 KiB as fast as it can", body_bytes=LARGE_BYTES, count=LARGE_COUNT),
    Case("wide", "has 5,000 Webhooks for each of 5 events a second", webhooks=5000, one_event=True, per_second=5),
    Case("hang", "publishes 500 events a second to 50 endpoints that hang", webhooks=50, mode="hang", per_second=500),
)


@dataclass
class Runs:
    """All that is measured."""

    setting: Setting
    folder: Path
    receiver: Receiver
    """Of the one."""
    bursts: Bursts
    full: Stage
    """With the events that wait, and without a sender."""
    rate: float
    past_seconds: float = 0.0
    """Until the first event behind all that wait came, while a sender read past them."""
    _stages: int = 0

    async def rounds(self, tenants: int) -> Arms:
        found: dict[str, list[Steady]] = defaultdict(list)
        rounds = self.setting.sizes.fair_rounds
        for round_ in range(rounds):
            for name, arm in in_turns(list(self._arms(tenants, round_).items()), round_):
                measured = await arm()
                found[name].append(measured)
                say(
                    f"i: {tenants:,} tenants, round {round_ + 1} of {rounds}: {name}: p99 {_p99(measured):.0f} ms "
                    f"({_confirmed(measured):.0f} until confirmed, {_sent(measured):.0f} from then), "
                    f"{measured.missing} missing"
                )
        return found

    def _arms(self, tenants: int, round_: int) -> dict[str, Callable[[], Awaitable[Steady]]]:
        """Of one round. The former engine has one round, and the control is that of few tenants."""
        seed = round_ + 1
        arms: dict[str, Callable[[], Awaitable[Steady]]] = {"without": partial(self._alone, tenants, seed)}
        for case in CASES:
            arms[case.key] = partial(self._beside, case, tenants, seed)
        if tenants == FEW:
            for case in CASES[: self.setting.sizes.controlled]:
                arms[f"{case.key}.apart"] = partial(self._beside, case, tenants, seed, apart=True)
            if (before := self.setting.before) and round_ == 0:
                arms["before.without"] = partial(self._alone, tenants, seed, engine=before)
                arms["before"] = partial(self._beside, CASES[0], tenants, seed, engine=before)
        return arms

    async def _alone(self, tenants: int, seed: int, *, engine: Engine = PRESENT) -> Steady:
        async with self._fresh(self._others(tenants), engine) as on:
            return await self._steady(on, tenants, seed)

    async def _beside(
        self, case: Case, tenants: int, seed: int, *, engine: Engine = PRESENT, apart: bool = False
    ) -> Steady:
        """Both in one installation, or `apart`, each in one of its own."""
        others, theirs = self._others(tenants), case.entries(self.receiver)
        async with AsyncExitStack() as stack:
            if apart:
                on = await stack.enter_async_context(self._fresh(others, engine))
            shared = self._waiting if case.waits else self._fresh
            beside = await stack.enter_async_context(shared(theirs if apart else [*others, *theirs], engine))
            on = on if apart else beside
            if case.waits:
                # Its part of reading past is a figure of its own.
                past = await flood(on, [others[0][0].title], 1)
                self.past_seconds = max(self.past_seconds, past.seconds)
                return await self._steady(on, tenants, seed)
            await self.bursts.ready(beside, case.plan(self.setting.sizes.fair_seconds))
            measured = await self._steady(on, tenants, seed, when_led_in=self.bursts.begin)
            say(f"i: {await self.bursts.confirmed():,} events came from the one that {case.title}")
            return measured

    async def _steady(
        self, on: Stage, tenants: int, seed: int, when_led_in: Callable[[], None] = lambda: None
    ) -> Steady:
        names = [route.title for route, _ in self._others(tenants)]
        return await steady(
            on,
            names,
            self.rate,
            self.setting.sizes.fair_seconds,
            # Until each has been called once.
            lead_in_seconds=max(LEAD_IN_SECONDS, 1.2 * len(names) / self.rate),
            seed=seed,
            tail_seconds=TAIL_SECONDS,
            when_led_in=when_led_in,
        )

    def _others(self, tenants: int) -> list[Entry]:
        """One Webhook each."""
        receiver = self.setting.receiver
        names = (f"other-{number}" for number in range(tenants - 1))
        return [webhook(name, receiver.url(f"ok/{name}"), receiver.ca, namespace=name) for name in names]

    @contextlib.asynccontextmanager
    async def _fresh(self, entries: Sequence[Entry], engine: Engine) -> AsyncIterator[Stage]:
        """A new queue, removed at the end: some hold a gigabyte."""
        self._stages += 1
        data = self.folder / str(self._stages)
        sync_interval = self.setting.sync_interval
        try:
            async with stage(data, self.setting.receiver, entries, sync_interval=sync_interval, engine=engine) as on:
                yield on
        finally:
            await asyncio.to_thread(shutil.rmtree, data, ignore_errors=True)

    @contextlib.asynccontextmanager
    async def _waiting(self, entries: Sequence[Entry], _: Engine) -> AsyncIterator[Stage]:
        """The queue with the backlog, from the moment that its sender is ready."""
        self.full.write_book(entries)
        sender = await self.full.add_sender()
        try:
            yield self.full
        finally:
            await self.full.end_sender(sender)


async def measure(setting: Setting) -> list[Figure]:
    rate = await maximum(setting) * SHARE_WITH_ROOM
    folder, waiting = setting.folder / "fairness", setting.sizes.waiting
    full = folder / "full"
    began = time.monotonic()
    await lay(full, waiting, _event)
    say(f"i: laid {waiting:,} events in {time.monotonic() - began:.0f} s; the others publish {rate:.0f} a second")
    async with stage(full, setting.receiver, [], sync_interval=setting.sync_interval, senders=0) as queue:
        with Receiver() as receiver, Bursts() as bursts:
            receiver.mode("hang", "hang")
            runs = Runs(setting, folder, receiver, bursts, queue, rate)
            found: list[Figure] = []
            for tenants in (FEW, setting.sizes.tenants):
                found += figures(tenants, arms := await runs.rounds(tenants))
                setting.remarks += remarks(tenants, arms)
            title = f"a sender starts while {waiting:,} events of one tenant wait: time to the first of another"
            found.append(Figure("i.past", title, runs.past_seconds, "s"))
            if receiver.count("ok", LAID) >= waiting:
                setting.remarks.append(f"i: the backlog of {waiting:,} was delivered before the end.")
    return found


async def _event(by: Producer, number: int) -> None:
    """One of the backlog. Without a name for NATS, as one of long ago: it forgets them after two minutes."""
    id_ = event_id(LAID, number, time.monotonic_ns())
    await by.publisher.store(queue_names.event_subject(ONE, f"{ONE}-0"), BODY, {envelope.ID_HEADER: id_})


def figures(tenants: int, arms: Arms) -> list[Figure]:
    """Of the others of so many tenants."""
    of = "few" if tenants == FEW else "many"
    without = arms["without"]
    found = [
        Figure(f"i.{of}.p99", f"{tenants:,} tenants: p99 of the others without", _median(without, _p99), "ms"),
        Figure(f"i.{of}.p50", "  p50", _median(without, partial(_ms, share=0.5)), "ms"),
        Figure(f"i.{of}.confirmed", "  p99 until the queue confirmed", _median(without, _confirmed), "ms"),
        Figure(f"i.{of}.sent", "  p99 from then on", _median(without, _sent), "ms"),
    ]
    for case in CASES:
        beside, key = arms[case.key], f"i.{of}.{case.key}"
        title = f"{tenants:,} tenants, one {case.title}: p99 of the others"
        found += [
            Figure(key, f"{title}, as a ratio to without", _ratio(beside, without, 0.99), "x", at_most=RATIO),
            Figure(f"{key}.p50", "  p50, as a ratio to without", _ratio(beside, without, 0.5), "x"),
            Figure(f"{key}.p99", "  p99 with", _median(beside, _p99), "ms"),
            Figure(f"{key}.confirmed", "  p99 until the queue confirmed", _median(beside, _confirmed), "ms"),
            Figure(f"{key}.sent", "  p99 from then on", _median(beside, _sent), "ms"),
            Figure(f"{key}.longest", "  the longest of all", max(each.longest_seconds for each in beside), "s"),
        ]
        if apart := arms.get(f"{case.key}.apart"):
            title = "  p99 beside the same in an installation of its own, as a ratio to without"
            found += [
                Figure(f"{key}.apart", title, _ratio(apart, without, 0.99), "x"),
                Figure(f"{key}.shared", "  p99 as a ratio to that", _ratio(beside, apart, 0.99), "x"),
            ]
        if case is CASES[0] and (former := arms.get("before")):
            ratio = _ratio(former, arms["before.without"], 0.99)
            found.append(Figure(f"{key}.before", "  p99 with the engine of before, as a ratio to without", ratio, "x"))
    return found


def remarks(tenants: int, arms: Arms) -> list[str]:
    """Of what did not come in time."""
    missing = {name: sum(each.missing for each in rounds) for name, rounds in arms.items()}
    return [
        f"i: {tenants:,} tenants, {name}: {count:,} events of the others did not come in time."
        for name, count in missing.items()
        if count
    ]


def _ms(of: Steady, share: float) -> float:
    return quantile(of.seconds, share) * 1000


def _p99(of: Steady) -> float:
    return _ms(of, 0.99)


def _confirmed(of: Steady) -> float:
    """Where nothing was confirmed there is no end of it."""
    return quantile(of.confirmed_seconds or [math.inf], 0.99) * 1000


def _sent(of: Steady) -> float:
    return quantile(of.sent_seconds or [math.inf], 0.99) * 1000


def _ratio(measured: Sequence[Steady], base: Sequence[Steady], share: float) -> float:
    """Of the rounds that both have."""
    pairs = list(zip(measured, base, strict=False))
    return ratio_of_rounds([_ms(one, share) for one, _ in pairs], [_ms(other, share) for _, other in pairs])


def _median(rounds: Sequence[Steady], what: Callable[[Steady], float]) -> float:
    return statistics.median(map(what, rounds))
