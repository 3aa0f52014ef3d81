"""How an index is kept up: looks at streams, again and again, and what becomes of one that fails.

Decides what a failure means, for attempts and for dead letters alike: NATS away, a disk that is full, a file that is
broken. Knows neither streams nor tables.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from hookline.stream.connection import StreamRefused, StreamUnavailable

log = structlog.get_logger(__name__)

WRONG_SECONDS = 10.0
"""Before the next look, after one that found a full disk or a broken file: to fill it anew is work."""


@dataclass(slots=True)
class Looking:
    """At what `title` says, of one Dispatcher. `index` is how its index is called."""

    title: str
    index: str
    dispatcher: str
    look: Callable[[], Awaitable[None]]
    when_broken: Callable[[], Awaitable[None]]
    when_full: Callable[[], Awaitable[None]] | None = None
    """The disk, most of all. What is known may still be read, and is whole."""
    problem: str = ""
    """What is wrong since the last look, so that what comes now is not known."""

    async def forever(self, look_seconds: float) -> None:
        """Look, and rest for so long in between."""
        while True:
            rest_seconds = look_seconds if await self._looked() else WRONG_SECONDS
            await asyncio.sleep(rest_seconds)

    async def _looked(self) -> bool:
        """Look; whether nothing is wrong with the index."""
        try:
            await self.look()
        except (StreamUnavailable, StreamRefused) as error:
            self._say(str(error))
        except sqlite3.OperationalError as error:
            self._say(f"{self.index} cannot be written: {error}")
            if self.when_full is not None:
                await self.when_full()
            return False
        except sqlite3.DatabaseError as error:
            self._say(f"{self.index} is broken, and is made anew: {error}")
            await self.when_broken()
            return False
        else:
            self._say("")
        return True

    def _say(self, problem: str) -> None:
        """Once, however often it is met."""
        if problem and problem != self.problem:
            log.warning(f"something is wrong with {self.title}", dispatcher=self.dispatcher, problem=problem)
        self.problem = problem
