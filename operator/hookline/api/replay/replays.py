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
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import structlog
from pydantic import ValidationError

from hookline.api.replay.conditions import status_in, told
from hookline.api.replay.executor import Executor, Gone
from hookline.events.envelope import stamp_to_the_second
from hookline.resources.base import problems_of
from hookline.resources.reasons import ReplayReason
from hookline.resources.replay import Replay, ReplayStatus
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
    """What is kept of each Replay that is written down, however large it is: anybody may make many."""

    namespace: str
    name: str
    uid: str
    created: str
    """By which they are ordered; RFC 3339."""
    is_finished: bool
    due_s: float = math.inf
    """When it is to be removed, Unix time; infinite of one that stays."""

    @property
    def title(self) -> str:
        return f"{self.namespace}/{self.name}"


def due_s(finished_at: object, ttl_seconds: object) -> float:
    """When a finished Replay is to be removed, Unix time; infinite where one of the two is not as it should be."""
    if not isinstance(finished_at, str) or not isinstance(ttl_seconds, int):
        return math.inf
    try:
        return datetime.fromisoformat(finished_at).timestamp() + ttl_seconds
    except (ValueError, OverflowError):
        return math.inf


WriteStatus = Callable[[ReplayStatus], Awaitable[None]]
"""Writes the status of a Replay; returns once it is written. Raises Gone when it is not there any more, or somebody
else wrote its status: who goes on from an older one would count twice."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A Replay as it is now, to be executed from there."""

    replay: Replay | None
    """None of one whose spec this version cannot read."""
    write: WriteStatus
    problem: str = ""
    """Why it cannot be read."""
    generation: int = 1
    status: ReplayStatus = field(default_factory=ReplayStatus)


def opened(manifest: Mapping[str, Any], write: WriteStatus) -> Opened:
    """As an object says it. Raises Gone of one that is finished, or of another version."""
    status = status_in(manifest)
    if status is None or status.phase in ("Complete", "Failed"):
        raise Gone
    generation = int(manifest["metadata"].get("generation", 1))
    try:
        replay = Replay.model_validate({**manifest, "status": {}})
    except ValidationError as error:
        problem = "; ".join(map(str, problems_of(error)))
        return Opened(None, write, problem, generation, status)
    return Opened(replay.model_copy(update={"status": status}), write, "", generation, status)


class Replays(Protocol):
    """Replays written down somewhere."""

    def follow(self) -> AsyncIterator[Sequence[Found]]:
        """All of them, now and each time after something has changed; for ever."""

    async def open(self, found: Found) -> Opened:
        """Raises Gone of one that is not there any more, or is finished or of another version; StreamUnavailable when
        that is not known now."""

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
        waiting = [each for each in self._found if not (each.is_finished or each.uid in self._done)]
        for each in sorted(waiting, key=lambda found: (found.created, found.name)):
            namespace = each.namespace
            if each.uid in self._running or self._not_before_s.get(each.uid, -math.inf) > now_s:
                continue
            if at_once.total() >= AT_ONCE or at_once[namespace] >= OF_A_NAMESPACE:
                continue
            at_once[namespace] += 1
            task = asyncio.create_task(self._execute(each))
            self._running[each.uid] = (namespace, task)

    async def _execute(self, found: Found) -> None:
        try:
            opened = await self._replays.open(found)
            write = _Telling(opened, self._now).write
            if opened.replay is None:
                failed = opened.status.model_copy(update={"phase": "Failed", "finished_at": self._now()})
                await write(failed, ReplayReason.INVALID_SPEC, opened.problem)
            else:
                log.info("a Replay begins, or goes on", replay=found.title)
                await self._executor.run(opened.replay, write)
                log.info("a Replay is finished", replay=found.title)
            self._done.add(found.uid)
        except (Gone, StreamUnavailable):
            self._not_before_s[found.uid] = time.monotonic() + AGAIN_SECONDS
        except Exception as error:  # noqa: BLE001  # a bug in one of them must not stop the others
            log.error("a Replay ended: this is a bug", replay=found.title, problem=type(error).__name__)
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
            left_s = each.due_s - now_s
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

    def __init__(self, opened: Opened, now: Callable[[], str]) -> None:
        self._write = opened.write
        self._generation = opened.generation
        self._conditions = opened.status.conditions
        self._now = now

    async def write(self, status: ReplayStatus, reason: ReplayReason, message: str) -> None:
        before = status.model_copy(update={"conditions": self._conditions})
        whole = told(before, self._generation, reason, message, self._now())
        await self._write(whole)
        self._conditions = whole.conditions
