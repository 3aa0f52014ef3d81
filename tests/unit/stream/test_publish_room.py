"""Room for events under way, and who waits for it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from types import SimpleNamespace

import pytest

from hookline.runtime.tasks import cancel
from hookline.stream import publish_room
from hookline.stream.publish_room import PublishRoom
from hookline.stream.publish_window import BYTES, LEAST, MEASURED


async def entered(*waiting: asyncio.Task[None]) -> list[bool]:
    """Of each whether it has room."""
    await asyncio.sleep(0)
    return [each.done() for each in waiting]


async def test_who_finds_no_room_waits_for_one_that_leaves_and_the_first_is_the_first() -> None:
    room = PublishRoom()
    for _ in range(LEAST):
        await room.enter(10)
    first, second = (asyncio.create_task(room.enter(10)) for _ in range(2))
    assert await entered(first, second) == [False, False]
    room.leave(10)
    assert await entered(first, second) == [True, False]
    room.leave(10)
    assert await entered(first, second) == [True, True]


async def test_a_small_one_does_not_pass_a_large_one_that_waits() -> None:
    room = PublishRoom()
    await room.enter(10)
    large, small = asyncio.create_task(room.enter(BYTES)), asyncio.create_task(room.enter(10))
    assert await entered(large, small) == [False, False]
    room.leave(10)
    assert await entered(large, small) == [True, False]
    room.leave(BYTES)
    assert await entered(large, small) == [True, True]


async def test_of_large_bodies_the_window_has_fewer_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr(publish_room, "time", SimpleNamespace(monotonic=lambda: now_s))

    async def under_way(body_bytes: int) -> int:
        """At most, where a confirmation takes as long as all before it are being stored."""
        nonlocal now_s
        room = PublishRoom()
        sent: deque[float] = deque()
        most = 0
        for _ in range(400):
            while True:
                entering = asyncio.create_task(room.enter(body_bytes))
                await asyncio.sleep(0)
                if not entering.done():
                    await cancel([entering])
                    break
                sent.append(now_s)
            most = len(sent)
            now_s += 0.001
            room.confirmed(sent.popleft())
            room.leave(body_bytes)
        return most

    assert await under_way(250 * 1024) <= await under_way(1024) - 4


@pytest.mark.parametrize("given_room", [False, True])
async def test_one_that_gives_up_waiting_keeps_no_room(given_room: bool) -> None:
    room = PublishRoom()
    for _ in range(LEAST):
        await room.enter(10)
    impatient, next_ = (asyncio.create_task(room.enter(10)) for _ in range(2))
    await asyncio.sleep(0)
    if given_room:
        room.leave(10)
        impatient.cancel()
    else:
        impatient.cancel()
        await asyncio.sleep(0)
        room.leave(10)
    await asyncio.wait_for(next_, 1)
    assert impatient.cancelled()


async def test_the_window_is_narrow_until_something_is_confirmed_and_opens_then() -> None:
    room = PublishRoom()
    for _ in range(LEAST):
        await room.enter(10)
    third, fourth = (asyncio.create_task(room.enter(10)) for _ in range(2))
    assert await entered(third, fourth) == [False, False]
    for _ in range(MEASURED):
        room.confirmed(time.monotonic())
    room.leave(10)
    assert await entered(third, fourth) == [True, True]


async def test_who_has_one_event_waits_for_a_turn_and_not_behind_all_of_another() -> None:
    room = PublishRoom()
    for _ in range(LEAST):
        await room.enter(10, "busy")
    busy = [asyncio.create_task(room.enter(10, "busy")) for _ in range(3)]
    await asyncio.sleep(0)
    quiet = asyncio.create_task(room.enter(10, "quiet"))
    assert await entered(*busy, quiet) == [False, False, False, False]
    room.leave(10)
    assert await entered(*busy, quiet) == [True, False, False, False]
    room.leave(10)
    assert await entered(*busy, quiet) == [True, False, False, True]
    room.leave(10)
    room.leave(10)
    assert await entered(*busy, quiet) == [True, True, True, True]
