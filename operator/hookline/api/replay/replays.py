"""Where Replays are written down, and that each of them is executed: begun, gone on with after a crash, and removed
when its time is over.

Decides how many run at once. What one of them means, and does, is decided in `plan` and `executor`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from hookline.api.replay.conditions import told
from hookline.api.replay.executor import Executor, Gone
from hookline.events.envelope import stamp_to_the_second
from hookline.resources.base import ObjectMeta
from hookline.resources.reasons import ReplayReason
from hookline.resources.replay import Replay, ReplaySpec, ReplayStatus
from hookline.runtime.background import background
from hookline.runtime.tasks import Deadline, cancel
from hookline.stream.connection import StreamUnavailable

log = structlog.get_logger(__name__)

AT_ONCE, OF_A_NAMESPACE = 64, 4
"""Replays that run at once: of all namespaces, and of one. The others are Pending until one ends, the oldest first."""

AGAIN_SECONDS = 10.0
"""Before one is gone on with that ended as it should not."""


@dataclass(frozen=True, slots=True)
class Found:
    """A Replay as it is written down."""

    metadata: ObjectMeta
    created: str
    status: ReplayStatus
    spec: ReplaySpec | None
    """None of one that this version cannot read."""
    problem: str = ""
    """Why not."""
    version: str = ""
    """By which it is known whether it is still as it was read."""

    @property
    def uid(self) -> str:
        return self.metadata.uid or f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def is_finished(self) -> bool:
        return self.status.phase in ("Complete", "Failed")

    def due_s(self) -> float:
        """When it is to be removed, Unix time; infinite of one that stays."""
        ttl_s = self.spec.ttl_seconds_after_finished if self.spec is not None else None
        if not self.is_finished or ttl_s is None or self.status.finished_at is None:
            return math.inf
        try:
            return datetime.fromisoformat(self.status.finished_at).timestamp() + ttl_s
        except (ValueError, OverflowError):
            return math.inf


WriteStatus = Callable[[ReplayStatus], Awaitable[None]]
"""Writes the status of a Replay; returns once it is written. Raises Gone when it is not there any more, or somebody
else wrote its status: who goes on from an older one would count twice."""


class Replays(Protocol):
    """Replays written down somewhere."""

    def follow(self) -> AsyncIterator[Sequence[Found]]:
        """All of them, now and each time after something has changed; for ever."""

    def writer(self, found: Found) -> WriteStatus:
        """Of one, from the version that was found on."""

    async def delete(self, found: Found) -> None:
        """Raises StreamUnavailable when that cannot be done now."""


class Runner:
    """Has Replays executed. There may be one at a time over the same Replays (see `serving/leader`)."""

    def __init__(self, replays: Replays, executor: Executor, *, now_s: Callable[[], float] = time.time) -> None:
        self._replays = replays
        self._executor = executor
        self._now_s = now_s
        self._found: Sequence[Found] = ()
        self._running: dict[str, tuple[str, asyncio.Task[None]]] = {}
        """By uid: the namespace and what executes it."""
        self._done: set[str] = set()
        """Those that ended here: what is read of them may be older."""
        self._not_before_s: dict[str, float] = {}
        """By uid, by the monotonic clock: of those that ended as they should not."""
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """For ever; cancelled, it leaves each Replay to be gone on with by another one."""
        try:
            async with background(self._follow()):
                while True:
                    self._changed.clear()
                    await self._end_what_is_gone()
                    self._begin()
                    wait_s = await self._remove()
                    with contextlib.suppress(TimeoutError), Deadline(wait_s):
                        await self._changed.wait()
        finally:
            await cancel(task for _, task in self._running.values())

    async def _follow(self) -> None:
        async for found in self._replays.follow():
            self._found = found
            self._changed.set()

    async def _end_what_is_gone(self) -> None:
        there = {each.uid for each in self._found}
        gone = [task for uid, (_, task) in self._running.items() if uid not in there]
        await cancel(gone)
        self._done &= there
        self._not_before_s = {uid: at_s for uid, at_s in self._not_before_s.items() if uid in there}

    def _begin(self) -> None:
        at_once = Counter(namespace for namespace, _ in self._running.values())
        now_s = time.monotonic()
        for each in sorted(self._found, key=lambda found: (found.created, found.metadata.name)):
            namespace = each.metadata.namespace
            is_due = self._not_before_s.get(each.uid, -math.inf) <= now_s
            if each.is_finished or each.uid in self._running or each.uid in self._done or not is_due:
                continue
            if at_once.total() >= AT_ONCE or at_once[namespace] >= OF_A_NAMESPACE:
                continue
            at_once[namespace] += 1
            task = asyncio.create_task(self._execute(each))
            self._running[each.uid] = (namespace, task)

    async def _execute(self, found: Found) -> None:
        name = f"{found.metadata.namespace}/{found.metadata.name}"
        write = _Telling(self._replays.writer(found), found, self._now).write
        try:
            if found.spec is None:
                failed = found.status.model_copy(update={"phase": "Failed", "finished_at": self._now()})
                await write(failed, ReplayReason.INVALID_SPEC, found.problem)
            else:
                log.info("a Replay begins, or goes on", replay=name)
                replay = Replay(metadata=found.metadata, spec=found.spec, status=found.status)
                await self._executor.run(replay, write)
                log.info("a Replay is finished", replay=name)
            self._done.add(found.uid)
        except Gone:
            self._not_before_s[found.uid] = time.monotonic() + AGAIN_SECONDS
        except Exception as error:  # noqa: BLE001  # a bug in one of them must not stop the others
            log.error("a Replay ended as it should not: this is a bug", replay=name, problem=type(error).__name__)
            self._not_before_s[found.uid] = time.monotonic() + AGAIN_SECONDS
        finally:
            self._running.pop(found.uid, None)
            self._changed.set()

    def _now(self) -> str:
        return stamp_to_the_second(self._now_s())

    async def _remove(self) -> float:
        """Remove those whose time is over; seconds until there is something to do if nothing changes."""
        now_s = self._now_s()
        wait_s = min((at_s - time.monotonic() for at_s in self._not_before_s.values()), default=math.inf)
        for each in self._found:
            left_s = each.due_s() - now_s
            if left_s <= 0:
                try:
                    await self._replays.delete(each)
                except StreamUnavailable as error:
                    log.warning("a Replay whose time is over cannot be removed now", problem=str(error))
                left_s = AGAIN_SECONDS
            wait_s = min(wait_s, left_s)
        return max(0.05, min(wait_s, 3600.0))


class _Telling:
    """Writes the status of one Replay with its conditions, which know since when they are so."""

    def __init__(self, write: WriteStatus, found: Found, now: Callable[[], str]) -> None:
        self._write = write
        self._generation = found.metadata.generation
        self._conditions = found.status.conditions
        self._now = now

    async def write(self, status: ReplayStatus, reason: ReplayReason, message: str) -> None:
        before = status.model_copy(update={"conditions": self._conditions})
        whole = told(before, self._generation, reason, message, self._now())
        await self._write(whole)
        self._conditions = whole.conditions
