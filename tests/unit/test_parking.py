from __future__ import annotations

import asyncio
from functools import partial

import pytest

from hookline.delivery.parking import AT_ONCE, _together
from hookline.stream.connection import StreamUnavailable


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
            raise StreamUnavailable("away")


async def test_many_shelves_are_begun_some_at_once() -> None:
    work = Work()
    await _together([partial(work.do, number) for number in range(10 * AT_ONCE + 1)])
    assert (work.begun, work.most) == (10 * AT_ONCE + 1, AT_ONCE)


async def test_while_nats_is_away_no_further_shelf_is_begun() -> None:
    work = Work(fails=AT_ONCE)
    with pytest.raises(StreamUnavailable, match="away"):
        await _together([partial(work.do, number) for number in range(10 * AT_ONCE)])
    assert work.begun == 2 * AT_ONCE
