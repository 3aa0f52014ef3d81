"""(m) What live deliveries feel of a Replay, and what it leaves out or does twice when it is killed.

One Webhook has dead letters, and then events, that are replayed, while events for others come at a quarter of the
maximum. Rounds with the Replay and without it take turns: the process that executes it is killed (SIGKILL) at the end
of each of its rounds, in the middle of its work, and gone on with in the next. After the last it runs to its end.
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
from benchmarks.stage import BODY, TENANT, Entry, Producer, Stage, healthy, say, stage, uid_of, until, webhook
from benchmarks.throughput import maximum

from hookline.api.replay.kept import KeptReplays
from hookline.delivery import messages
from hookline.delivery.messages import Delivery
from hookline.events.envelope import Event

WEBHOOKS = 99
AGAIN = "again"
"""The Webhook, and the group of its calls."""
SHARE = 0.1
"""Of the maximum, that is replayed: twenty times the default, or more."""
MOST = 1000
END_SECONDS = 900.0
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
    folder, receiver, count = setting.folder / f"replay-{source}", setting.receiver, setting.sizes.replays
    others = healthy(receiver, WEBHOOKS)
    again = webhook(AGAIN, receiver.url(f"{AGAIN}/0"), receiver.ca, max_concurrency=100)
    await lay(folder, count, partial(_store, source))
    # Events that nobody hears yet are done with; the Webhook comes after them.
    async with stage(folder, receiver, others, sync_interval=setting.sync_interval) as on:
        await _until_passed(on)
        on.write_book([*others, again])
        return await _replayed(setting, on, others, source, most)


async def _replayed(setting: Setting, on: Stage, others: list[Entry], source: str, most: float) -> list[Figure]:
    hooks, count = [route.name for route, _ in others], setting.sizes.replays
    file = on.data / "replays.json"
    rate = max(10, min(MOST, int(most * SHARE)))
    spec = {"webhook": {"name": AGAIN}, "source": source, "ratePerSecond": rate}
    KeptReplays(file, now_s=time.time).create(TENANT, {"metadata": {"name": "bench"}, "spec": spec})
    rounds: dict[bool, list[Steady]] = {False: [], True: []}
    for number in range(setting.sizes.p99_rounds):
        say(f"m: {source}: round {number + 1} of {setting.sizes.p99_rounds}, {rate} a second are replayed")
        for with_ in in_turns((False, True), number):
            async with _executor(on, file) if with_ else contextlib.nullcontext():
                live = await steady(on, hooks, most * SHARE_WITH_ROOM, setting.sizes.window_seconds, seed=number)
            rounds[with_].append(live)
            say(f"m: {source}: with {with_}: p99 {quantile(live.seconds, 0.99) * 1000:.1f} ms")
    before = _status(file)
    say(f"m: {source}: {before['replayed']:,} of {count:,} after {setting.sizes.p99_rounds} kills")
    began = time.monotonic()
    async with _executor(on, file):
        await until(lambda: _status(file)["phase"] == "Complete", END_SECONDS, "the Replay is complete")
        rest_s = time.monotonic() - began
        await until(lambda: on.receiver.count(AGAIN, source) >= count, 60, "the last call came")
        await asyncio.sleep(2)
    heard, status = on.receiver.take(AGAIN, source), _status(file)
    p99 = {with_: [quantile(each.seconds, 0.99) for each in of] for with_, of in rounds.items()}
    key, title = f"m.{source}", f"{count:,} {'dead letters' if source == 'DeadLetters' else 'events'}"
    kills, without_live = setting.sizes.p99_rounds, (status["replayed"] - before["replayed"]) / rest_s
    ratio = ratio_of_rounds(p99[True], p99[False])
    return [
        Figure(f"{key}.p99", f"{title}: p99 of live events, as a ratio to without", ratio, "x", at_most=EFFECT),
        Figure(f"{key}.p99.without", "  without", statistics.median(p99[False]) * 1000, "ms"),
        Figure(f"{key}.p99.with", f"  with {rate} a second replayed", statistics.median(p99[True]) * 1000, "ms"),
        Figure(f"{key}.left_out", f"  left out, after {kills} kills", count - len(heard.numbers), "", at_most=0),
        Figure(f"{key}.twice", "  called more than once", heard.calls - len(heard.numbers), ""),
        Figure(f"{key}.counted", "  counted as replayed, of each", status["replayed"] / count, "x", 1, 1),
        Figure(f"{key}.rate", "  replayed, without live events", without_live, "/s"),
    ]


@contextlib.asynccontextmanager
async def _executor(on: Stage, file: Path) -> AsyncIterator[None]:
    words = [on.server.url, str(file), AGAIN, uid_of(AGAIN), AGAIN]
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


async def _store(source: str, by: Producer, number: int) -> None:
    id_ = event_id(source, number, 0)
    if source == "Events":
        await by.publish(AGAIN, source, number, 0)
        return
    delivery = Delivery(uid_of(AGAIN), Event(id_, TENANT, AGAIN, TIME, BODY), number + 1, 3)
    letter = messages.dead_letter(delivery, "ScheduleSpent", route=None, keys=None, outcome=None, failed_at=TIME)
    await by.publisher.store(letter.subject, letter.body, letter.headers)


async def _until_passed(on: Stage) -> None:
    """Until nobody has an event in hand."""
    while True:
        info = await on.client.jetstream().consumers_info("HOOKLINE_EVENTS")
        if sum((each.num_pending or 0) + (each.num_ack_pending or 0) for each in info) == 0:
            return
        await asyncio.sleep(0.5)
