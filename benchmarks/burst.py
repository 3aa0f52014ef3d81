"""One tenant's burst: a process that publishes as it is told, so that it slows no other publisher's event loop.

Bounded in count and time. Measures nothing but how many events the queue confirmed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing.connection
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import uvloop
from benchmarks.engines import Engine
from benchmarks.figures import arrivals
from benchmarks.load import publish_at, publish_fast
from benchmarks.receiver import CONTEXT
from benchmarks.stage import Failed, Stage, producer

from hookline.cli.publish import AT_ONCE

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
    """None: as fast as the queue confirms, with as many under way at once as `hookline publish --lines` has."""
    body_bytes: int = 1024


class Burst:
    """The process, connected, before and after it was told to begin."""

    def __init__(self, pipe: multiprocessing.connection.Connection, plan: Plan) -> None:
        self._pipe = pipe
        self._plan = plan

    def begin(self) -> None:
        self._pipe.send("begin")

    async def confirmed(self) -> int:
        """How many events the queue took, once it has ended. Raises Failed."""
        confirmed = await asyncio.to_thread(_heard, self._pipe, self._plan.seconds + END_SECONDS)
        assert isinstance(confirmed, int)
        return confirmed


@contextlib.asynccontextmanager
async def burst(on: Stage, plan: Plan) -> AsyncIterator[Burst]:
    """A process that is ready to begin; ended with the body."""
    mine, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_work, args=(theirs, on.server.url, on.engine, plan), daemon=True)
    process.start()
    theirs.close()
    try:
        await asyncio.to_thread(_heard, mine, READY_SECONDS)
        yield Burst(mine, plan)
    finally:
        process.kill()
        await asyncio.to_thread(process.join)
        mine.close()


def body_of(size_bytes: int) -> bytes:
    """JSON of that size."""
    frame = len(json.dumps({"data": ""}))
    return json.dumps({"data": "x" * (size_bytes - frame)}).encode()


def _heard(pipe: multiprocessing.connection.Connection, seconds: float) -> object:
    try:
        if pipe.poll(seconds):
            return pipe.recv()
    except EOFError:
        raise Failed("the process of a burst ended") from None
    raise Failed(f"the process of a burst said nothing for {seconds:g} s")


def _work(pipe: multiprocessing.connection.Connection, url: str, engine: Engine, plan: Plan) -> None:
    uvloop.run(_publish(pipe, url, engine, plan))


async def _publish(pipe: multiprocessing.connection.Connection, url: str, engine: Engine, plan: Plan) -> None:
    body = body_of(plan.body_bytes)
    async with producer(url, engine) as by:
        pipe.send("ready")
        await asyncio.to_thread(pipe.recv)
        if plan.per_second is None:
            confirmed = await publish_fast(
                by, plan.names, plan.run, plan.count, seconds=plan.seconds, at_once=AT_ONCE, body=body
            )
        else:
            due = arrivals(plan.per_second, plan.seconds, seed=7)[: plan.count]
            taken = await publish_at(by, plan.names, plan.run, due, time.monotonic(), body=body)
            confirmed = sum(each is not None for each in taken)
    pipe.send(confirmed)
