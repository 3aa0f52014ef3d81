"""One tenant's bursts: a process that publishes as it is told, so that it slows no other publisher's event loop.

Each burst is bounded in count and time. Measures nothing but how many events the queue confirmed.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing.connection
import time
from collections.abc import Sequence
from dataclasses import dataclass

import uvloop
from benchmarks.child import Child
from benchmarks.engines import Engine
from benchmarks.figures import arrivals
from benchmarks.load import publish_at, publish_fast
from benchmarks.stage import Stage, producer

from hookline.stream.publish_room import PublishRoom

READY_SECONDS = 30.0
END_SECONDS = 10.0
"""After its time: what was under way may need NATS's whole time to confirm."""


@dataclass(frozen=True)
class Plan:
    """What is published, in turn for each of `names`."""

    names: Sequence[str]
    run: str
    seconds: float
    """At most."""
    count: int
    """At most."""
    per_second: float | None = None
    """None: as fast as the queue confirms, with as many under way at once as `hookline publish --lines` finds."""
    body_bytes: int = 1024


class Bursts(Child):
    """The process, for those who use it: a burst is made ready, begun, and ends."""

    def __init__(self) -> None:
        super().__init__("a burst", _work)

    async def ready(self, on: Stage, plan: Plan) -> None:
        """Connect, and wait for `begin`. Raises Failed."""
        self._seconds = plan.seconds
        self.tell((on.server.url, on.engine, plan))
        await self.heard(READY_SECONDS)

    def begin(self) -> None:
        self.tell("begin")

    async def confirmed(self) -> int:
        """How many events the queue took, once the burst has ended. Raises Failed."""
        confirmed = await self.heard(self._seconds + END_SECONDS)
        assert isinstance(confirmed, int)
        return confirmed


def body_of(size_bytes: int) -> bytes:
    """JSON of that size."""
    frame = len(json.dumps({"data": ""}))
    return json.dumps({"data": "x" * (size_bytes - frame)}).encode()


def _work(pipe: multiprocessing.connection.Connection) -> None:
    uvloop.run(_bursts(pipe))


async def _bursts(pipe: multiprocessing.connection.Connection) -> None:
    while True:
        try:
            url, engine, plan = await asyncio.to_thread(pipe.recv)
        except EOFError:
            return
        await _burst(pipe, url, engine, plan)


async def _burst(pipe: multiprocessing.connection.Connection, url: str, engine: Engine, plan: Plan) -> None:
    body = body_of(plan.body_bytes)
    async with producer(url, engine) as by:
        pipe.send("ready")
        await asyncio.to_thread(pipe.recv)
        if plan.per_second is None:
            confirmed = await publish_fast(
                by, plan.names, plan.run, plan.count, seconds=plan.seconds, room=PublishRoom(), body=body
            )
        else:
            due = arrivals(plan.per_second, plan.seconds, seed=7)[: plan.count]
            taken = await publish_at(by, plan.names, plan.run, due, time.monotonic(), body=body)
            confirmed = sum(each is not None for each in taken)
    pipe.send(confirmed)
