"""The end of an operator: no cancellation is lost, whatever happens in the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hookline.control.book_writer import BookWriter
from hookline.control.cluster import Access, Cluster
from hookline.control.context import Identity
from hookline.control.run import ENDING_SECONDS, SLOW_SECONDS, Operator
from hookline.control.watch import STOP_SECONDS
from hookline.serving.leader import Election, LeaseLost

TICKS = 8
"""Turns of the event loop between what is waited for and the cancellation; `asyncio.wait_for` needs three."""


def no_access() -> Access:
    raise AssertionError("nothing is watched here")


def operator() -> Operator:
    return Operator(Cluster.__new__(Cluster), no_access, Identity("one", "hookline", "image"), lease="lease")


async def is_cancelled(work: Callable[[], Awaitable[Any]], happen: Callable[[], None], ticks: int) -> bool:
    """Whether work that waits ends when it is cancelled so many turns of the loop after something has happened."""

    async def working() -> None:
        await work()

    task = asyncio.create_task(working())
    for _ in range(TICKS):
        await asyncio.sleep(0)
    happen()
    for _ in range(ticks):
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=0.2)
    ended = task in done and task.cancelled()
    task.cancel()
    await asyncio.wait([task])
    return ended


@pytest.mark.parametrize("ticks", range(TICKS))
async def test_the_comparison_with_the_cluster_ends_also_when_it_is_asked_for_in_that_moment(ticks: int) -> None:
    found = operator()
    assert await is_cancelled(found._resync_for_ever, found._resync.set, ticks)


@pytest.mark.parametrize("ticks", range(TICKS))
async def test_the_questions_to_senders_end_also_when_they_are_asked_for_in_that_moment(ticks: int) -> None:
    found = operator()
    book_writer: BookWriter = found._book_writer

    async def follow() -> None:
        while True:
            found.context.wake.clear()
            await book_writer._nap()

    assert await is_cancelled(follow, found.context.wake.set, ticks)


async def test_an_operator_that_leads_no_more_and_does_not_end_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    found, never = operator(), asyncio.Event()

    async def win(_: Election) -> None:
        return

    async def keep(_: Election) -> None:
        raise LeaseLost("gone")

    async def hang(_: asyncio.TaskGroup) -> None:
        while not never.is_set():
            try:
                await never.wait()
            except asyncio.CancelledError:
                continue

    monkeypatch.setattr(Election, "win", win)
    monkeypatch.setattr(Election, "keep", keep)
    monkeypatch.setattr(found, "_work", hang)
    leading = asyncio.create_task(found._lead())
    for _ in range(TICKS):
        await asyncio.sleep(0)
    assert found.live() is None
    assert found._ends_at is not None
    found._ends_at -= SLOW_SECONDS + 1
    assert "goes on" in (found.live() or "")
    never.set()
    with pytest.raises(LeaseLost):
        await leading


async def test_an_operator_that_is_asked_to_end_has_time_to_give_its_lease_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, stop = operator(), asyncio.Event()
    ended: list[str] = []

    async def lead() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.1)
            ended.append("in order")

    monkeypatch.setattr(found, "_lead", lead)
    stop.set()
    await found.run(stop)
    assert ended == ["in order"]
    assert ENDING_SECONDS > STOP_SECONDS
