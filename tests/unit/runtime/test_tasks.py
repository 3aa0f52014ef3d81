from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable
from functools import partial

import pytest

from hookline.runtime.background import background
from hookline.runtime.tasks import Deadline, Deadlines, Workers, beside, cancel, together


async def deaf() -> None:
    """Goes on after its first cancellation, as whatever waits with `asyncio.wait_for` of Python 3.11 may do."""
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        await asyncio.sleep(3600)


async def failing() -> None:
    try:
        await asyncio.sleep(3600)
    finally:
        raise ValueError("at the end")


async def test_a_task_that_misses_a_cancellation_is_cancelled_again() -> None:
    tasks = [asyncio.create_task(each) for each in (deaf(), asyncio.sleep(3600), failing())]
    await asyncio.sleep(0)
    await cancel(tasks)
    assert [task.done() for task in tasks] == [True] * 3
    with pytest.raises(ValueError, match="at the end"):
        tasks[2].result()


async def test_there_may_be_nothing_to_cancel() -> None:
    done = asyncio.create_task(asyncio.sleep(0))
    await done
    await cancel([done])
    await cancel([])


async def test_work_in_the_background_ends_with_the_body_even_if_it_misses_a_cancellation() -> None:
    async with background(deaf()):
        await asyncio.sleep(0)


async def test_work_in_the_background_ends_with_a_failure_even_if_it_misses_a_cancellation() -> None:
    async def fail() -> None:
        raise ValueError("one of them")

    async def both() -> None:
        async with background(deaf(), fail()):
            await asyncio.sleep(3600)

    task = asyncio.create_task(both())
    await asyncio.wait([task], timeout=10)
    assert task.done()
    with pytest.raises(ValueError, match="one of them"):
        task.result()


OneOf = Callable[[float], Deadline]
EITHER = pytest.mark.parametrize("one_of", [Deadline, lambda seconds: Deadlines(seconds).next()], ids=["own", "shared"])


async def sleeps_until(deadline: Deadline) -> str:
    with deadline:
        await asyncio.sleep(3600)
    return "slept"


@EITHER
async def test_a_deadline_raises_a_timeout_error_and_leaves_no_cancellation_behind(one_of: OneOf) -> None:
    async def work() -> int:
        with pytest.raises(TimeoutError):
            await sleeps_until(one_of(0))
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert await asyncio.create_task(work()) == 0


@EITHER
async def test_what_is_done_in_time_never_hears_of_its_deadline(one_of: OneOf) -> None:
    with one_of(0.01):
        pass
    await asyncio.sleep(0.05)


@EITHER
async def test_an_error_in_time_stays_what_it_is(one_of: OneOf) -> None:
    with pytest.raises(ValueError, match="own"), one_of(60):
        raise ValueError("own")


@EITHER
async def test_a_cancellation_from_elsewhere_counts_more_than_a_deadline(one_of: OneOf) -> None:
    for seconds in (0, 60):
        task = asyncio.create_task(sleeps_until(one_of(seconds)))
        await asyncio.sleep(0)
        # Both the deadline that is due and this one are pending when the task runs next.
        asyncio.get_running_loop().call_soon(task.cancel)
        await asyncio.wait([task])
        assert task.cancelled()


@EITHER
async def test_the_inner_one_of_two_deadlines_is_the_one_that_is_late(one_of: OneOf) -> None:
    with one_of(60):
        with pytest.raises(TimeoutError):
            await sleeps_until(one_of(0))
        await asyncio.sleep(0)


async def test_of_many_deadlines_each_has_its_own_time_and_none_is_forgotten() -> None:
    deadlines = Deadlines(0.02)
    loop = asyncio.get_running_loop()

    async def took_seconds() -> float:
        began_s = loop.time()
        with pytest.raises(TimeoutError):
            await sleeps_until(deadlines.next())
        return loop.time() - began_s

    first = asyncio.create_task(took_seconds())
    await asyncio.sleep(0.01)
    with deadlines.next():
        pass
    second = asyncio.create_task(took_seconds())
    found = [await first, await second, await took_seconds()]
    assert min(found) > 0.0199


class Work:
    """Takes a moment each, and fails from the `fails`-th on."""

    def __init__(self, fails: int = 10_000) -> None:
        self._fails = fails
        self.begun = self.now = self.most = 0

    async def do(self, number: int) -> None:
        self.begun += 1
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        if number >= self._fails:
            raise OSError("away")


async def test_much_work_is_done_so_much_at_once() -> None:
    work = Work()
    await together([partial(work.do, number) for number in range(161)], at_once=16)
    assert (work.begun, work.most) == (161, 16)


async def test_after_a_failure_no_more_work_is_begun() -> None:
    work = Work(fails=16)
    with pytest.raises(OSError, match="away"):
        await together([partial(work.do, number) for number in range(160)], at_once=16)
    assert work.begun == 32


async def test_work_beside_the_loop_is_done_in_one_thread_and_the_loop_goes_on() -> None:
    goes_on = threading.Event()
    waiting = asyncio.gather(beside(lambda: goes_on.wait(10)), beside(threading.get_ident))
    await asyncio.sleep(0)
    goes_on.set()
    heard, thread = await waiting
    assert heard
    assert thread != threading.get_ident()
    assert await beside(threading.get_ident) == thread
    with pytest.raises(ValueError, match="invalid literal"):
        await beside(lambda: int("x"))


class Piece:
    """Work that lasts until it is told to end."""

    def __init__(self) -> None:
        self.begun, self.end = asyncio.Event(), asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def do(self) -> None:
        self.task = asyncio.current_task()
        self.begun.set()
        await self.end.wait()


async def begun(workers: Workers[Piece], *pieces: Piece) -> None:
    for each in pieces:
        workers.begin(each)
    for each in pieces:
        await each.begun.wait()


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_workers_do_at_once_what_is_begun_at_once_and_the_next_piece_in_a_task_that_is_there() -> None:
    workers = Workers(Piece.do, most_idle=8)
    first, second, third = Piece(), Piece(), Piece()
    await begun(workers, first, second)
    assert first.task is not second.task
    first.end.set()
    await turns()
    await begun(workers, third)
    assert third.task is first.task
    assert len(workers.tasks) == 2
    workers.close()
    await cancel(workers.tasks)


async def test_no_more_workers_stay_without_work_than_are_to_and_they_hold_nothing_of_what_they_did() -> None:
    workers = Workers(Piece.do, most_idle=2)
    pieces = [Piece() for _ in range(5)]
    await begun(workers, *pieces)
    for each in pieces:
        each.end.set()
    done = [weakref.ref(each) for each in pieces]
    del each
    pieces.clear()
    await turns(5)
    assert len(workers.tasks) == 2
    assert [each() for each in done] == [None] * 5
    workers.close()
    await turns()
    assert not workers.tasks


async def test_workers_that_are_closed_end_with_the_work_that_they_have_and_still_do_what_is_begun() -> None:
    workers = Workers(Piece.do, most_idle=8)
    idle, late, later = Piece(), Piece(), Piece()
    await begun(workers, idle, late)
    idle.end.set()
    await turns()
    workers.close()
    await begun(workers, later)
    assert {task for task in workers.tasks if not task.done()} == {late.task, later.task}
    late.end.set()
    later.end.set()
    await turns(5)
    assert not workers.tasks


async def test_what_is_begun_as_a_worker_is_cancelled_is_done_by_another_one() -> None:
    workers = Workers(Piece.do, most_idle=8)
    first, second = Piece(), Piece()
    await begun(workers, first)
    first.end.set()
    await turns()
    for each in workers.tasks:
        each.cancel()
    await begun(workers, second)
    assert second.task is not first.task
    workers.close()
    await cancel(workers.tasks)
