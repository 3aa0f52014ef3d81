"""Load on a stage: as fast as it goes (closed loop), or at times fixed beforehand (open loop).

In the open loop an event's clock starts when it was due, and whoever is late is not waited for: a slow moment is seen
by every event that fell into it (no coordinated omission). What never came counts as having taken the whole wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.figures import arrivals, early_rate
from benchmarks.processes import busy_seconds
from benchmarks.stage import BODY, IN_FLIGHT, Failed, Producer, Stage, until

from hookline.stream.connection import StreamRefused, StreamUnavailable
from hookline.stream.publish_room import PublishRoom

LIMIT_SECONDS = 90.0
TAIL_SECONDS = 15.0
"""How long the open loop waits for the last event after it was due."""

_runs = itertools.count()


@dataclass(frozen=True)
class Cost:
    """Of one closed loop."""

    deliveries: int
    seconds: float
    sender_cpu_seconds: float
    queue_cpu_seconds: float = 0.0
    early_per_second: float = 0.0
    """Up to 70 % of them: without the end, where one sender of several may have all that is left in its hands."""

    @property
    def per_second(self) -> float:
        return self.deliveries / self.seconds

    @property
    def per_core(self) -> float:
        """Deliveries per second of the client's CPU."""
        return self.deliveries / self.sender_cpu_seconds

    @property
    def queue_us(self) -> float:
        """CPU of nats-server for each, in microseconds."""
        return self.queue_cpu_seconds / self.deliveries * 1e6

    @property
    def cpu_us(self) -> float:
        """CPU of senders and nats-server for each, in microseconds."""
        return self.sender_cpu_seconds / self.deliveries * 1e6 + self.queue_us


def new_run() -> str:
    """Names a run, so that a late repeat of an earlier one is not taken for its own."""
    return f"r{next(_runs)}"


async def flood(on: Stage, webhooks: Sequence[str], count: int, *, group: str = "ok") -> Cost:
    """`count` events over the Webhooks, as fast as they are taken, until the receiver has each. Raises Failed."""
    run = new_run()
    (sender, queue), began = on.cpu(), time.monotonic()
    confirmed = await publish_fast(on, webhooks, run, count)
    if confirmed < count:
        raise Failed(f"the queue did not confirm {count - confirmed} of {count} events")
    await until(lambda: on.receiver.count(group, run) >= count, LIMIT_SECONDS, f"all of {count} events came")
    seconds, (sender_end, queue_end) = time.monotonic() - began, on.cpu()
    early = early_rate(on.receiver.take(group, run).at_s, began)
    return Cost(count, seconds, sender_end - sender, queue_end - queue, early)


@dataclass(frozen=True)
class Steady:
    """Of one open loop, without its lead-in."""

    seconds: list[float]
    """Latency of each event."""
    confirmed_seconds: list[float]
    """From due to the queue's word that it is stored, of those that it confirmed."""
    sent_seconds: list[float]
    """From that word to the receiver's hearing, of the same."""
    longest_seconds: float
    """Of any event, those of the lead-in among them."""
    missing: int
    sender_share: float
    """CPU of the senders as a share of a core."""
    queue_share: float
    busy: float
    """Share of all cores in use, by whatever process."""


async def steady(
    on: Stage,
    webhooks: Sequence[str],
    rate: float,
    seconds: float,
    *,
    group: str = "ok",
    lead_in_seconds: float = 2.0,
    seed: int = 1,
    tail_seconds: float = TAIL_SECONDS,
    when_led_in: Callable[[], None] = lambda: None,
) -> Steady:
    """`rate` events a second over the Webhooks, for `seconds` after the lead-in."""
    run = new_run()
    due = arrivals(rate, lead_in_seconds + seconds, seed)
    first = sum(at < lead_in_seconds for at in due)
    began = time.monotonic()
    publishing = asyncio.create_task(publish_at(on, webhooks, run, due, began))
    try:
        await asyncio.sleep(lead_in_seconds)
        before, at = (*on.cpu(), busy_seconds()), time.monotonic()
        when_led_in()
        confirmed = await publishing
        after, wall = (*on.cpu(), busy_seconds()), time.monotonic() - at
        with contextlib.suppress(Failed):
            await until(lambda: on.receiver.count(group, run) >= len(due), tail_seconds, "the rest came")
    finally:
        publishing.cancel()
    heard = on.receiver.take(group, run)
    counted = [taken for number, taken in zip(heard.order, heard.seconds, strict=True) if number >= first]
    missing = len(due) - first - len(counted)
    waited = time.monotonic() - began
    longest = max(heard.seconds, default=waited) if len(heard.order) == len(due) else waited
    sender_share, queue_share, busy = ((end - begin) / wall for begin, end in zip(before, after, strict=True))
    took = dict(zip(heard.order, heard.seconds, strict=True))
    stored = {number: at_s for number, at_s in enumerate(confirmed) if number >= first and at_s is not None}
    return Steady(
        counted + [waited] * missing,
        list(stored.values()),
        # The word may be later than the call: a sender hears of an event when the publisher does.
        [max(0.0, took.get(number, waited) - at_s) for number, at_s in stored.items()],
        longest,
        missing,
        sender_share,
        queue_share,
        busy,
    )


async def publish_fast(
    on: Producer,
    webhooks: Sequence[str],
    run: str,
    count: int,
    *,
    seconds: float = LIMIT_SECONDS,
    at_once: int = IN_FLIGHT,
    room: PublishRoom | None = None,
    body: bytes = BODY,
) -> int:
    """Publish as fast as the queue confirms, until there are `count` or time is over; how many it confirmed.

    With a `room` as `hookline publish --lines` does, of `at_once` as many as there is room for.
    """
    numbers, until_s, confirmed = iter(range(count)), time.monotonic() + seconds, 0

    async def publish(number: int) -> None:
        nonlocal confirmed
        with contextlib.suppress(StreamUnavailable, StreamRefused):
            sent_s = time.monotonic()
            await on.publish(webhooks[number % len(webhooks)], run, number, time.monotonic_ns(), body)
            confirmed += 1
            if room:
                room.confirmed(sent_s)

    async def publish_in(room: PublishRoom, number: int) -> None:
        await room.enter(len(body))
        try:
            if time.monotonic() <= until_s:  # many may wait for room when it is over
                await publish(number)
        finally:
            room.leave(len(body))

    async def worker() -> None:
        for number in numbers:
            await (publish_in(room, number) if room else publish(number))
            if time.monotonic() > until_s:
                return

    await asyncio.gather(*(worker() for _ in range(min(at_once, count))))
    return confirmed


async def publish_at(
    on: Producer, webhooks: Sequence[str], run: str, due: Sequence[float], began: float, *, body: bytes = BODY
) -> list[float | None]:
    """Publish each event when it is due; how long after that the queue confirmed each, None if it did not."""
    tasks: list[asyncio.Task[float | None]] = []

    async def one(number: int, at_s: float) -> float | None:
        try:
            await on.publish(webhooks[number % len(webhooks)], run, number, int(at_s * 1e9), body)
        except (StreamUnavailable, StreamRefused):
            return None
        return time.monotonic() - at_s

    for number, after in enumerate(due):
        at_s = began + after
        if (wait := at_s - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(one(number, at_s)))
    return await asyncio.gather(*tasks)
