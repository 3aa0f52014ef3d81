"""How tasks are ended, how long one waits, and tasks that do one piece of work after the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

AGAIN_SECONDS = 0.5

T = TypeVar("T")

_beside = ThreadPoolExecutor(1, "beside")
"""One thread: of several, each keeps the event loop from running for 5 ms at a time."""


async def cancel(tasks: Iterable[asyncio.Task[Any]], *, again_seconds: float = AGAIN_SECONDS) -> None:
    """Cancel tasks until they have ended, whatever they end with. Their exceptions stay with them.

    Once is not enough: `asyncio.wait_for` of Python 3.11, with which the NATS client asks, returns a result that comes
    at the same moment and forgets the cancellation (python/cpython issue 86296). The task would go on for ever. Ours
    wait with `within` and `Deadline`, which do not; ruff refuses `asyncio.wait_for`.

    A task that is cancelled again is disturbed in what it still does to end well: `again_seconds` is its time for that.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=again_seconds)


async def together(work: Sequence[Callable[[], Coroutine[Any, Any, None]]], *, at_once: int) -> None:
    """Do all of it, so many at once. After a failure, which is raised, nothing more is begun."""
    for start in range(0, len(work), at_once):
        batch = (each() for each in work[start : start + at_once])
        failures = [each for each in await asyncio.gather(*batch, return_exceptions=True) if each is not None]
        if failures:
            raise failures[0]


class Deadline:
    """`with Deadline(seconds):` is `async with asyncio.timeout(seconds):` at less cost: 1.4 us against 4.6 us.

    Raises TimeoutError when the time is over. To be entered once, in a task.
    """

    __slots__ = ("_cancelling", "_handle", "_late", "_seconds", "_task")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._late = False

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        self._take_task(loop)
        self._handle = loop.call_later(self._seconds, self._expire)

    def _take_task(self, loop: asyncio.AbstractEventLoop) -> None:
        task = asyncio.current_task(loop)  # which would ask for the loop as well
        assert task is not None, "a deadline ends the task that it is entered in"
        self._task, self._cancelling = task, task.cancelling()

    def _end(self) -> None:
        self._handle.cancel()

    @property
    def is_over(self) -> bool:
        """Whether the time is over, also where the cancellation for it was forgotten: see `cancel`."""
        return self._late

    def _expire(self) -> None:
        self._late = True
        self._task.cancel()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._end()
        # Somebody else may have cancelled the task as well: then that counts, and not the time.
        if self._late and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error


class Deadlines:
    """For many that all have the same time, in one event loop: `with deadlines.next():` is `with Deadline(seconds):`
    at less cost: uvloop makes and closes a timer for each of those (1.5 us against 0.9 us, and more in the loop).
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._ends_s: dict[_OneOfMany, float] = {}
        """Of those that are open, the first one first."""
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        """Kept: Python 3.11 asks the kernel for its process whenever it is asked for the loop, a fifth of it all."""

    def next(self) -> Deadline:
        return _OneOfMany(self)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def begin(self, deadline: _OneOfMany, loop: asyncio.AbstractEventLoop) -> None:
        end_s = self._ends_s[deadline] = loop.time() + self.seconds
        if self._timer is None:
            self._timer = loop.call_at(end_s, self._look)

    def end(self, deadline: _OneOfMany) -> None:
        self._ends_s.pop(deadline, None)

    def _look(self) -> None:
        self._timer = None
        now_s = self.loop.time()
        for each, end_s in list(self._ends_s.items()):
            if end_s > now_s:
                self._timer = self.loop.call_at(end_s, self._look)
                return
            del self._ends_s[each]
            each.expire()


class _OneOfMany(Deadline):
    __slots__ = ("_all",)

    def __init__(self, all_: Deadlines) -> None:
        super().__init__(all_.seconds)
        self._all = all_

    def __enter__(self) -> None:
        loop = self._all.loop
        self._take_task(loop)
        self._all.begin(self, loop)

    def _end(self) -> None:
        self._all.end(self)

    def expire(self) -> None:
        self._expire()


class Workers(Generic[T]):
    """Tasks that do one piece of work after the other: to make a task for each takes longer than to wake one."""

    def __init__(self, work: Callable[[T], Coroutine[Any, Any, None]], *, most_idle: int) -> None:
        self._work = work
        self._most_idle = most_idle
        self._idle: list[asyncio.Future[T]] = []
        """What those without work wait for."""
        self._closes = False
        self.tasks: set[asyncio.Task[None]] = set()
        """Also of those without work, until `close`."""

    def begin(self, piece: T) -> None:
        while self._idle:
            waiting = self._idle.pop()
            if not waiting.done():  # a cancelled task leaves it so
                waiting.set_result(piece)
                return
        task = asyncio.create_task(self._go_on(piece))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def close(self) -> None:
        """Whoever has no work ends now, and the others when they have done theirs."""
        self._closes = True
        for each in self._idle:
            each.cancel()
        self._idle.clear()

    async def _go_on(self, piece: T) -> None:
        while True:
            await self._work(piece)
            del piece  # nothing of it is held while there is no other
            if self._closes or len(self._idle) >= self._most_idle:
                return
            waiting: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            self._idle.append(waiting)
            piece = await waiting


async def beside(work: Callable[[], T]) -> T:
    """Do work that takes longer than others should wait for, in a thread. One piece after the other."""
    return await asyncio.get_running_loop().run_in_executor(_beside, work)


async def within(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, at most so long."""
    with contextlib.suppress(TimeoutError), Deadline(seconds):
        await event.wait()


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, object]) -> bool:
    """Do `work`, unless `stop` comes first; whether it was done. Raises what the work raises."""
    doing, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([doing, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel([stopping, doing])
    if doing.cancelled() or stop.is_set():
        return False
    doing.result()
    return True
