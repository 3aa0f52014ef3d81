from __future__ import annotations

import asyncio

import pytest

from hookline.delivery.background import background
from hookline.tasks import cancel


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
