"""(m) What live deliveries feel of a Replay, and what it leaves out or does twice when it is killed.

Dead letters of one Webhook, and then events, are replayed at the rate that a Replay has by default, and at a tenth of
the maximum, while events for others come at a quarter of it. Rounds with the Replay and without it take turns: the
process that executes it is killed (SIGKILL) at the end of each of its rounds, and gone on with in the next. The control
has a tenth of the maximum of new events of that Webhook in place of those that are replayed: on few cores any load is
felt. Then all of another Webhook's are replayed, as fast as a Replay may be, and that is killed after each third.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.backlog import lay
from benchmarks.figures import Figure, in_turns, quantile, ratio_of_rounds
from benchmarks.load import steady
from benchmarks.receiver import event_id
from benchmarks.setting import SHARE_WITH_ROOM, Setting
from benchmarks.stage import BODY, TENANT, Producer, Stage, healthy, say, stage, uid_of, until, webhook
from benchmarks.throughput import maximum

from hookline.api.replay.kept import KeptReplays
from hookline.delivery import messages
from hookline.delivery.messages import Delivery
from hookline.events.envelope import Event
from hookline.resources.replay import ReplaySpec

WEBHOOKS = 99
BESIDE, AGAIN = "beside", "again"
"""Webhooks, and the groups of their calls: of what is replayed beside others, and of what is counted."""
SHARE = 0.1
"""Of the maximum, that is replayed beside others."""
MOST = 1000
"""What a Replay may ask for in a second."""
THIRD_SECONDS, END_SECONDS = 300.0, 600.0
EFFECT = 1.2
SOURCES = ("DeadLetters", "Events")
WITHOUT, DEFAULT, TENTH, NEW = WAYS = ("without", "default", "tenth", "new")
DEFAULT_RATE = int(ReplaySpec.model_fields["rate_per_second"].default)
MORE_ROUNDS = 4
"""Than in other measurements: a p99 of some milliseconds is compared with another one."""
TIME = "2026-11-30T14:00:00.000Z"


async def measure(setting: Setting) -> list[Figure]:
    most = await maximum(setting)
    found: list[Figure] = []
    for source in SOURCES:
        found += await _source(setting, source, most)
    return found


async def _source(setting: Setting, source: str, most: float) -> list[Figure]:
    folder, receiver, sizes = setting.folder / f"replay-{source}", setting.receiver, setting.sizes
    others = healthy(receiver, WEBHOOKS)
    both = [webhook(each, receiver.url(f"{each}/0"), receiver.ca, max_concurrency=100) for each in (BESIDE, AGAIN)]
    rate = max(10, min(MOST, int(most * SHARE)))
    windows = sizes.p99_rounds + MORE_ROUNDS
    beside = int((rate + DEFAULT_RATE) * sizes.window_seconds * windows * 3)
    await lay(folder, sizes.replays + beside, partial(_store, source, sizes.replays))
    # Events that nobody hears yet are done with; the Webhooks come after them.
    async with stage(folder, receiver, others, sync_interval=setting.sync_interval) as on:
        await _until_passed(on)
        on.write_book([*others, *both])
        return [
            *await _effect(setting, on, [route.name for route, _ in others], source, most, rate),
            *await _whole(setting, on, source),
        ]


async def _effect(setting: Setting, on: Stage, hooks: list[str], source: str, most: float, rate: int) -> list[Figure]:
    files = {DEFAULT: _make(on, BESIDE, source, DEFAULT_RATE), TENTH: _make(on, BESIDE, source, rate, "tenth")}
    windows, seconds = setting.sizes.p99_rounds + MORE_ROUNDS, setting.sizes.window_seconds
    p99_ms: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(windows):
        say(f"m: {source}: round {number + 1} of {windows}, {rate} a second are a tenth")
        for way in in_turns(WAYS, number):
            async with AsyncExitStack() as stack:
                if way in files:
                    await stack.enter_async_context(_executor(on, files[way], BESIDE))
                loads = [steady(on, hooks, most * SHARE_WITH_ROOM, seconds, seed=number)]
                if way == NEW:
                    loads.append(steady(on, [BESIDE], rate, seconds, group=BESIDE, seed=number + windows))
                live, *_ = await asyncio.gather(*loads)
            p99_ms[way].append(quantile(live.seconds, 0.99) * 1000)
            say(f"m: {source}: {way}: p99 {p99_ms[way][-1]:.1f} ms")

    def ratio(way: str, to: str) -> float:
        return ratio_of_rounds(p99_ms[way], p99_ms[to])

    key = f"m.{source}.p99"
    first = f"{_words(source)}: p99 of live events, {DEFAULT_RATE} a second replayed, to without"
    titles = {
        WITHOUT: "without", DEFAULT: f"{DEFAULT_RATE} a second replayed", TENTH: f"{rate} a second replayed",
        NEW: f"{rate} a second of new ones",
    }  # fmt: skip
    return [
        Figure(key, first, ratio(DEFAULT, WITHOUT), "x", at_most=EFFECT),
        Figure(f"{key}.tenth", f"  {rate} a second, to without", ratio(TENTH, WITHOUT), "x"),
        Figure(f"{key}.to_new", "    to as many new events in their place", ratio(TENTH, NEW), "x"),
        *(Figure(f"{key}.{way}", f"  {titles[way]}", statistics.median(p99_ms[way]), "ms") for way in WAYS),
    ]


async def _whole(setting: Setting, on: Stage, source: str) -> list[Figure]:
    file, count, began = _make(on, AGAIN, source, MOST), setting.sizes.replays, time.monotonic()
    for third in (1, 2):
        async with _executor(on, file, AGAIN):
            wanted = count * third // 3
            await until(lambda: _status(file)["replayed"] >= wanted, THIRD_SECONDS, "a third is replayed")  # noqa: B023
        say(f"m: {source}: killed after {_status(file)['replayed']:,}")
    async with _executor(on, file, AGAIN):
        await until(lambda: _status(file)["phase"] == "Complete", END_SECONDS, "the Replay is complete")
        await until(lambda: on.receiver.count(AGAIN, source) >= count, 120, "the last call came")
        seconds = time.monotonic() - began
        await asyncio.sleep(2)
    heard, status, key = on.receiver.take(AGAIN, source), _status(file), f"m.{source}"
    return [
        Figure(f"{key}.left_out", f"  of {count:,}, killed twice: left out", count - len(heard.numbers), "", at_most=0),
        Figure(f"{key}.twice", "  called more than once", heard.calls - len(heard.numbers), ""),
        Figure(f"{key}.counted", "  counted as replayed, of each", status["replayed"] / count, "x", 1, 1),
        Figure(f"{key}.rate", "  called, with two new processes", count / seconds, "/s"),
    ]


def _words(source: str) -> str:
    return "dead letters" if source == "DeadLetters" else "events"


def _make(on: Stage, webhook_name: str, source: str, rate: int, name: str = "") -> Path:
    """A Replay of one Webhook, in a file of its own."""
    file = on.data / f"replay-{name or webhook_name}.json"
    spec = {"webhook": {"name": webhook_name}, "source": source, "ratePerSecond": rate}
    KeptReplays(file, now_s=time.time).create(TENANT, {"metadata": {"name": name or webhook_name}, "spec": spec})
    return file


@contextlib.asynccontextmanager
async def _executor(on: Stage, file: Path, name: str) -> AsyncIterator[None]:
    words = [on.server.url, str(file), name, uid_of(name), name]
    with (on.data / "executor.log").open("ab") as out:
        process = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-m", "benchmarks.replay_process", *words], stdout=out, stderr=out
        )
    try:
        before = _status(file)["replayed"]
        await until(lambda: _status(file)["replayed"] > before or _status(file)["phase"] == "Complete", 60, "it works")
        yield
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)


def _status(file: Path) -> dict[str, Any]:
    (kept,) = json.loads(file.read_text())
    found: dict[str, Any] = kept["status"]
    return found


async def _store(source: str, again: int, by: Producer, number: int) -> None:
    """The first ones are those of AGAIN."""
    name = AGAIN if number < again else BESIDE
    if source == "Events":
        await by.publish(name, source, number, 0)
        return
    event = Event(event_id(source, number, 0), TENANT, name, TIME, BODY)
    delivery = Delivery(uid_of(name), event, number + 1, 3)
    letter = messages.dead_letter(delivery, "ScheduleSpent", route=None, keys=None, outcome=None, failed_at=TIME)
    await by.publisher.store(letter.subject, letter.body, letter.headers)


async def _until_passed(on: Stage) -> None:
    """Until nobody has an event in hand."""
    while True:
        info = await on.client.jetstream().consumers_info("HOOKLINE_EVENTS")
        if sum((each.num_pending or 0) + (each.num_ack_pending or 0) for each in info) == 0:
            return
        await asyncio.sleep(0.5)
