"""Several ways to one end, of which some may be dead (RFC 8305): the first that works wins.

Decides when the next way is tried, and in which order. It knows nothing of what a way is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from hookline.runtime.tasks import cancel

_ADDRESSES_KEPT = 4096

Way = TypeVar("Way", bound=Hashable)
Found = TypeVar("Found")


class Worked(Generic[Way]):
    """Which ways worked when they were last tried."""

    def __init__(self) -> None:
        self._worked: dict[Way, None] = {}

    def first(self, ways: Iterable[Way]) -> list[Way]:
        """Those that worked before the others, else in their order."""
        return sorted(ways, key=lambda way: way not in self._worked)

    def note(self, way: Way, *, works: bool) -> None:
        self._worked.pop(way, None)
        if works:
            self._worked[way] = None
        if len(self._worked) > _ADDRESSES_KEPT:
            del self._worked[next(iter(self._worked))]


async def first_of(
    ways: Sequence[Way],
    attempt: Callable[[Way], Coroutine[Any, Any, Found]],
    *,
    stagger_seconds: float,
    failures: tuple[type[Exception], ...],
    discard: Callable[[Found], object],
    worked: Worked[Way],
) -> tuple[Way, Found]:
    """The first way that works, and what it leads to.

    Each is tried once those before it failed, or `stagger_seconds` after the last of them began. When all have failed,
    raises the failure of the last; raises at once what is none of `failures`. `discard` gets what comes too
    late.
    """
    waiting = worked.first(ways)
    begun: dict[asyncio.Task[Found], Way] = {}
    running: set[asyncio.Task[Found]] = set()
    won: asyncio.Task[Found] | None = None
    try:
        while True:
            if waiting:
                way = waiting.pop(0)
                task = asyncio.create_task(attempt(way))
                begun[task] = way
                running.add(task)
            done, running = await asyncio.wait(
                running, timeout=stagger_seconds if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            won = next((task for task in done if task.exception() is None), None)
            if won is not None:
                return begun[won], won.result()
            errors = [error for task in done if (error := task.exception()) is not None]
            for error in errors:
                if not isinstance(error, failures) or not (waiting or running):
                    raise error
    finally:
        await cancel(begun)
        for task, way in begun.items():
            if won is not None:
                worked.note(way, works=task is won)
            if task is not won and not task.cancelled() and task.exception() is None:
                discard(task.result())
