"""NATS's time: the one clock by which retries are due and what waits has an age.

Its server decides when a scheduled message is due and says when a message was stored, so no clock of a sender may be
compared with either. Learned from what the server answers, and carried on by the monotonic clock, which nobody sets:
a sender whose wall clock is wrong, or jumps, is on time all the same. Never reads the wall clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog
from nats.aio.client import Client

from hookline.runtime.tasks import within
from hookline.stream import names
from hookline.stream.api import ask
from hookline.stream.connection import StreamUnavailable
from hookline.stream.layout import Layout, plain

log = structlog.get_logger(__name__)

REFRESH_SECONDS = 10.0
"""Between two questions. For as long as this an hour goes unnoticed by which NATS's own clock was put right, or for
which a machine was asleep: the monotonic clock does not count that."""

AGAIN_SECONDS = 1.0
"""After a question that was not answered."""


@dataclass(frozen=True, slots=True)
class ClockReading:
    """What one answer says: by how many seconds the server's Unix time is ahead of our monotonic clock, from and to."""

    least_s: float
    most_s: float

    @property
    def width_s(self) -> float:
        return self.most_s - self.least_s


def reading(server_s: float, *, asked_s: float, answered_s: float) -> ClockReading:
    """Of an answer that holds the server's Unix time, by the monotonic times of question and answer.

    The server read its clock at some moment between the two.
    """
    return ClockReading(server_s - answered_s, server_s - asked_s)


def better(known: ClockReading | None, new: ClockReading) -> ClockReading:
    """The one to go by: the narrower, because an answer that was long on its way says little.

    The new one if they contradict each other: the server's clock was set, another server answers, or ours drifted.
    """
    if known is None or known.most_s < new.least_s or new.most_s < known.least_s:
        return new
    return known if known.width_s <= new.width_s else new


class ServerClock:
    """NATS's time over one connection. `measure` must have succeeded once before anybody asks for it."""

    def __init__(self, client: Client, layout: Callable[[], Layout] = plain) -> None:
        self._client = client
        self._layout = layout
        self._reading: ClockReading | None = None
        self._wake = asyncio.Event()

    def now_s(self) -> float:
        """Unix time. Never behind the server's by more than clocks drift in 10 s: no retry comes early."""
        assert self._reading is not None, "measured before it is read"
        return time.monotonic() + self._reading.most_s

    async def measure(self) -> None:
        """Ask now. Raises StreamUnavailable.

        The leader of DELIVERIES is asked, since that is the server that looks at schedules.
        """
        asked_s = time.monotonic()
        info = await ask(self._client, f"STREAM.INFO.{self._layout().stream(names.DELIVERIES)}")
        answered_s = time.monotonic()
        server_s = datetime.fromisoformat(info["ts"]).timestamp()
        self._reading = better(self._reading, reading(server_s, asked_s=asked_s, answered_s=answered_s))

    async def follow(self) -> None:
        """Keep it right until cancelled."""
        wait_seconds = REFRESH_SECONDS
        while True:
            await within(self._wake, wait_seconds)
            self._wake.clear()
            try:
                await self.measure()
                wait_seconds = REFRESH_SECONDS
            except StreamUnavailable as error:
                log.debug("cannot ask NATS for its time", problem=str(error))
                wait_seconds = AGAIN_SECONDS

    def reconnected(self) -> None:
        """Perhaps to another server: ask soon."""
        self._wake.set()
