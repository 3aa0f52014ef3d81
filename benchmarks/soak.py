"""Twenty minutes at 70 % of the maximum while everything around fails: is anything lost, does anything grow?

    python -m benchmarks.soak [--minutes 20] [--json FILE] [--plot FILE]      (make soak)

The receiver fails, hangs and hangs up by chance; nats-server and one of two sender processes are killed with SIGKILL
and start again; the route book is rewritten. The other sender is never killed: its memory and files are what is judged.
In the end faults stop: what was confirmed must have arrived, or lie in a queue or a dead letter. Exit code 1: misses.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import nats.js.errors
import uvloop
from benchmarks import report, soak_report
from benchmarks.bench import machine, output_options, write
from benchmarks.load import flood, new_run
from benchmarks.processes import open_files, resident_megabytes
from benchmarks.receiver import Receiver
from benchmarks.soak_report import Sample, Totals
from benchmarks.stage import Failed, OneServer, Stage, healthy, say, stage, until

from hookline.events import envelope
from hookline.stream import names
from hookline.stream.connection import StreamRefused, StreamUnavailable

WEBHOOKS = 40
CONCURRENCY = 10
SHARE = 0.7
FAILING = 0.02
"""Share of calls that the receiver fails."""
SCHEDULE_SECONDS = (5,) * 10 + (10,) * 10
"""Retries enough that none is given up within the run."""
TIMEOUT_SECONDS = 5
FAULT_GAP_SECONDS = (15.0, 35.0)
SAMPLE_SECONDS, LINE_SECONDS = 5.0, 30.0
PATIENCE_SECONDS = 30.0
"""How long a publisher repeats an event that the queue did not confirm."""
DRAIN_SECONDS = 240.0
MAX_PUBLISHING = 20_000
LOOKED_AT = 50_000
"""Messages left in the streams that are looked at in the end."""


@dataclass
class Soak:
    """A run under way."""

    on: Stage
    rate: float
    run: str
    hooks: list[str]
    began: float = field(default_factory=time.monotonic)
    published: int = 0
    confirmed: set[int] = field(default_factory=set)
    faults: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)

    @property
    def waiting(self) -> int:
        return len(self.confirmed) - self.on.receiver.count("ok", self.run)

    async def publish(self, seconds: float) -> None:
        """At the rate, whatever happens."""
        chance, due, tasks = random.Random(1), self.began, set[asyncio.Task[None]]()
        while (due := due + chance.expovariate(self.rate)) < self.began + seconds:
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            if len(tasks) < MAX_PUBLISHING:
                task = asyncio.create_task(self._one(self.published, int(due * 1e9)))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                self.published += 1
        await asyncio.gather(*tasks)

    async def _one(self, number: int, due_ns: int) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                await self.on.publish(self.hooks[number % len(self.hooks)], self.run, number, due_ns)
            except (StreamUnavailable, StreamRefused):
                await asyncio.sleep(0.2)
            else:
                self.confirmed.add(number)
                return

    async def fail(self, seconds: float) -> None:
        """One fault after another."""
        chance = random.Random(2)
        works = [self._kill_queue, self._kill_sender, self._rewrite_book]
        while True:
            # Each once before any comes again.
            for work in chance.sample(works, len(works)):
                await asyncio.sleep(chance.uniform(*FAULT_GAP_SECONDS))
                if time.monotonic() > self.began + seconds:
                    return
                await work()

    async def _kill_queue(self) -> None:
        os.kill(self.on.queue_pid, signal.SIGKILL)
        self.faults["killed nats-server"] += 1

    async def _kill_sender(self) -> None:
        sender = self.on.senders.pop()
        await asyncio.to_thread(sender.kill)
        self.faults["killed a sender"] += 1
        await self.on.add_sender()

    async def _rewrite_book(self) -> None:
        """Every Webhook changes its path, and one comes or goes."""
        self.faults["rewrote the book"] += 1
        generation = self.faults["rewrote the book"] + 1
        await asyncio.to_thread(self.on.write_book, book(self.on.receiver, generation))

    async def watch(self) -> None:
        """Samples, and a line now and then."""
        said = 0.0
        while True:
            with contextlib.suppress(OSError):  # nats-server may just have been killed
                self.samples.append(self._sample())
            at = time.monotonic() - self.began
            if at - said >= LINE_SECONDS and self.samples:
                said = at
                self._say()
            await asyncio.sleep(SAMPLE_SECONDS)

    def _sample(self) -> Sample:
        pid = self.on.senders[0].pid
        self.on.senders[0].check()
        return Sample(
            time.monotonic() - self.began,
            resident_megabytes(pid),
            open_files(pid),
            resident_megabytes(self.on.queue_pid),
            self.waiting,
        )

    def _say(self) -> None:
        last = self.samples[-1]
        say(
            f"{last.at_s:5.0f} s  confirmed {len(self.confirmed):>7,}  wait {last.waiting:>6,}  "
            f"sender {last.sender_megabytes:.0f} MB, {last.sender_files} files  "
            f"nats-server {last.queue_megabytes:.0f} MB  faults {sum(self.faults.values())}"
        )


def book(receiver: Receiver, generation: int) -> Any:
    """All Webhooks in one of their versions."""
    entries = healthy(
        receiver,
        WEBHOOKS + generation % 2,
        generation=generation,
        timeout_seconds=TIMEOUT_SECONDS,
        schedule_seconds=SCHEDULE_SECONDS,
        max_concurrency=CONCURRENCY,
    )
    return [(route.model_copy(update={"url": f"{route.url}/{generation}"}), keys) for route, keys in entries]


async def soak(folder: Path, receiver: Receiver, seconds: float) -> tuple[list[Sample], Totals]:
    """All of it."""
    hooks = [route.name for route, _ in healthy(receiver, WEBHOOKS)]
    server = OneServer(folder)
    async with stage(folder, receiver, book(receiver, 1), server=server) as on:
        await flood(on, hooks, 500)
        rate = (await flood(on, hooks, 5000)).per_second * SHARE
        await on.add_sender()
        receiver.mode("ok", "faulty")
        receiver.faults(FAILING)
        this = Soak(on, rate, new_run(), hooks)
        say(f"{rate:.0f} events a second for {seconds / 60:g} minutes")
        async with working(server.supervise(), this.watch()):
            async with working(this.fail(seconds - FAULT_GAP_SECONDS[0])):
                await this.publish(seconds)
            receiver.faults(0)
            say("faults have ended")
            drained = await _drained(this)
            return this.samples, await _totals(this, drained)


@contextlib.asynccontextmanager
async def working(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Meanwhile. What ended with an error raises it."""
    tasks = [asyncio.create_task(each) for each in works]
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _drained(this: Soak) -> float:
    """Seconds until everything confirmed had arrived, or until it was waited for long enough."""
    began = time.monotonic()
    with contextlib.suppress(Failed):
        await until(lambda: this.waiting <= 0, DRAIN_SECONDS, "everything arrived")
    return time.monotonic() - began


async def _totals(this: Soak, drained_seconds: float) -> Totals:
    heard = this.on.receiver.take("ok", this.run)
    missing = this.confirmed - heard.numbers
    kept = missing & await _kept(this.on, this.run) if missing else set()
    return Totals(
        published=this.published,
        confirmed=len(this.confirmed),
        arrived=len(this.confirmed) - len(missing),
        kept=len(kept),
        repeats=heard.calls - len(heard.numbers),
        faults=dict(this.faults),
        calls_at_once=WEBHOOKS * CONCURRENCY,
        rate=this.rate,
        drained_seconds=drained_seconds,
    )


async def _kept(on: Stage, run: str) -> set[int]:
    """Numbers of the run's events that lie in a queue or a dead letter."""
    js, found = on.client.jetstream(), set[int]()
    for stream in (f"{names.OWN_PREFIX}{base}" for base in (names.DELIVERIES, names.PARKED, names.DEAD)):
        seq = 1
        for _ in range(LOOKED_AT):
            try:
                message = await js.get_msg(stream, seq=seq, subject=">", next=True)
            except nats.js.errors.NotFoundError:
                break
            seq = (message.seq or seq) + 1
            id_ = (message.headers or {}).get(envelope.ID_HEADER, "")
            if id_.startswith(f"evt_{run}_"):
                found.add(int(id_.split("_")[2]))
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=20.0, help="how long events are published (default 20)")
    output_options(options)
    given = options.parse_args()
    facts = machine()
    with tempfile.TemporaryDirectory(prefix="hookline-soak-") as folder, Receiver() as receiver:
        try:
            samples, totals = uvloop.run(soak(Path(folder), receiver, given.minutes * 60))
        except (Failed, StreamUnavailable, StreamRefused) as error:
            sys.exit(f"the soak could not be made: {error}")
    figures = soak_report.figures(samples, totals)
    text = report.result(figures, soak_report.TITLES, facts, [])
    print(text)
    document = {**report.document(figures, facts, []), "samples": [asdict(each) for each in samples]}
    write(given, "soak", text, document, soak_report.panels(samples))
    sys.exit(1 if report.missed(figures) else 0)


if __name__ == "__main__":
    main()
