"""(m) What live deliveries feel of a Replay, and what it leaves out or does twice when it is killed.

Dead letters of one Webhook, and then events, are replayed at a tenth of the maximum, while events for others come at a
quarter of it. Rounds with the Replay and without it take turns: the process that executes it is killed (SIGKILL) at the
end of each of its rounds, and gone on with in the next. Then all of another Webhook's are replayed, as fast as a Replay
may be, and that is killed after each third.
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
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.backlog import lay
from benchmarks.figures import Figure, in_turns, quantile, ratio_of_rounds
from benchmarks.load import Steady, steady
from benchmarks.receiver import event_id
from benchmarks.setting import SHARE_WITH_ROOM, Setting
from benchmarks.stage import BODY, TENANT, Producer, Stage, healthy, say, stage, uid_of, until, webhook
from benchmarks.throughput import maximum

from hookline.api.replay.kept import KeptReplays
from hookline.delivery import messages
from hookline.delivery.messages import Delivery
from hookline.events.envelope import Event

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
    beside = int(rate * sizes.window_seconds * sizes.p99_rounds * 3)
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
    file, windows = _make(on, BESIDE, source, rate), setting.sizes.p99_rounds
    rounds: dict[bool, list[Steady]] = {False: [], True: []}
    for number in range(windows):
        say(f"m: {source}: round {number + 1} of {windows}, {rate} a second are replayed")
        for with_ in in_turns((False, True), number):
            async with _executor(on, file, BESIDE) if with_ else contextlib.nullcontext():
                live = await steady(on, hooks, most * SHARE_WITH_ROOM, setting.sizes.window_seconds, seed=number)
            rounds[with_].append(live)
            say(f"m: {source}: with {with_}: p99 {quantile(live.seconds, 0.99) * 1000:.1f} ms")
    p99 = {with_: [quantile(each.seconds, 0.99) for each in of] for with_, of in rounds.items()}
    ratio = ratio_of_rounds(p99[True], p99[False])
    return [
        Figure(f"m.{source}.p99", f"{_words(source)}: p99 of live events, to without", ratio, "x", at_most=EFFECT),
        Figure(f"m.{source}.p99.without", "  without", statistics.median(p99[False]) * 1000, "ms"),
        Figure(f"m.{source}.p99.with", f"  {rate} a second replayed", statistics.median(p99[True]) * 1000, "ms"),
    ]  # fmt: skip


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


def _make(on: Stage, name: str, source: str, rate: int) -> Path:
    """A Replay of one Webhook, in a file of its own."""
    file = on.data / f"replay-{name}.json"
    spec = {"webhook": {"name": name}, "source": source, "ratePerSecond": rate}
    KeptReplays(file, now_s=time.time).create(TENANT, {"metadata": {"name": name}, "spec": spec})
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
