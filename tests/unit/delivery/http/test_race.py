"""Which of several ways is tried, in which order and when; no way is left open."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from hookline.delivery.http.race import Worked, first_of

NEVER_SECONDS = 3600.0


class Ways:
    """Ways that fail, hang or work, and what became of them."""

    def __init__(self, **ends: str) -> None:
        self.ends = ends
        self.tried: list[str] = []
        self.discarded: list[str] = []
        self.hung_up: list[str] = []
        self.worked: Worked[str] = Worked()

    def attempt(self, way: str) -> Coroutine[Any, Any, str]:
        return self._attempt(way)

    async def _attempt(self, way: str) -> str:
        self.tried.append(way)
        if self.ends[way] == "fails":
            raise OSError(way)
        if self.ends[way] == "breaks":
            raise KeyError(way)
        if self.ends[way] == "hangs":
            try:
                await asyncio.Event().wait()
            finally:
                self.hung_up.append(way)
        return way

    async def first(self, *, stagger_seconds: float = 0.0) -> str:
        way, found = await first_of(
            list(self.ends),
            self.attempt,
            stagger_seconds=stagger_seconds,
            failures=(OSError,),
            discard=self.discarded.append,
            worked=self.worked,
        )
        assert way == found
        return way


async def test_the_next_is_tried_at_once_when_one_fails_and_no_further_one() -> None:
    ways = Ways(a="fails", b="works", c="works")
    assert await ways.first(stagger_seconds=NEVER_SECONDS) == "b"
    assert ways.tried == ["a", "b"]


async def test_one_that_hangs_is_overtaken_and_ended() -> None:
    ways = Ways(a="hangs", b="fails", c="works")
    assert await ways.first() == "c"
    assert ways.hung_up == ["a"]


async def test_what_worked_is_tried_first_until_it_is_overtaken() -> None:
    ways = Ways(a="hangs", b="works", c="works")
    await ways.first()
    ways.tried.clear()
    assert await ways.first(stagger_seconds=NEVER_SECONDS) == "b"
    ways.ends = {"a": "works", "b": "hangs", "c": "hangs"}
    ways.tried.clear()
    assert await ways.first() == "a"
    assert ways.tried[0] == "b"
    ways.tried.clear()
    assert await ways.first(stagger_seconds=NEVER_SECONDS) == "a"
    assert ways.tried == ["a"]


async def test_the_last_failure_is_told_when_all_fail() -> None:
    with pytest.raises(OSError, match="b"):
        await Ways(a="fails", b="fails").first(stagger_seconds=NEVER_SECONDS)


async def test_a_fault_of_another_kind_ends_all() -> None:
    ways = Ways(a="hangs", b="breaks", c="works")
    with pytest.raises(KeyError):
        await ways.first()
    assert (ways.tried, ways.hung_up) == (["a", "b"], ["a"])


async def test_of_two_that_work_at_the_same_moment_one_is_discarded() -> None:
    go = asyncio.Event()
    discarded: list[str] = []

    async def attempt(way: str) -> str:
        await go.wait()
        return way

    async def start() -> None:
        await asyncio.sleep(0.05)
        go.set()

    starting = asyncio.create_task(start())
    _, found = await first_of(
        ["a", "b"],
        attempt,
        stagger_seconds=0.0,
        failures=(OSError,),
        discard=discarded.append,
        worked=Worked(),
    )
    await starting
    assert sorted([found, *discarded]) == ["a", "b"]


async def test_a_cancellation_ends_every_way() -> None:
    ways = Ways(a="hangs", b="hangs")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await ways.first()
    assert sorted(ways.hung_up) == ["a", "b"]


def test_what_is_remembered_is_bounded() -> None:
    worked: Worked[int] = Worked()
    for number in range(5000):
        worked.note(number, works=True)
    assert worked.first([1, 4999]) == [4999, 1]
