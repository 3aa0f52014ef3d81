from __future__ import annotations

from typing import cast

from hookline.delivery.open_event import OpenEvent
from hookline.stream.pull import Taken

TAKEN = cast(Taken, None)


class Closed:
    """Whoever opened an event, and what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[list[str], bool, Exception | None]] = []

    async def __call__(self, event: OpenEvent) -> None:
        self.told.append((sorted(event.done), event.whole, event.error))


async def test_an_event_is_closed_by_the_last_of_its_parts_and_only_once() -> None:
    closed = Closed()
    event = OpenEvent(TAKEN, ["a", "b", "c"], closed)
    await event.ended("a", whole=True)
    await event.ended("b", "c", whole=True)
    assert closed.told == [(["a", "b", "c"], True, None)]
    await event.ended("a", whole=False)
    assert len(closed.told) == 1


async def test_a_part_that_ends_twice_does_not_end_another_one() -> None:
    closed = Closed()
    event = OpenEvent(TAKEN, ["a", "b"], closed)
    await event.ended("a", whole=True)
    await event.ended("a", whole=False, error=ValueError())
    assert closed.told == []
    await event.ended("b", whole=True)
    assert closed.told == [(["a", "b"], True, None)]


async def test_an_event_is_not_whole_when_one_part_is_not_and_knows_which_need_nothing_more() -> None:
    closed = Closed()
    event, first = OpenEvent(TAKEN, ["a", "b", "c"], closed), ValueError("first")
    await event.ended("a", whole=False, error=first)
    await event.ended("b", whole=False, error=ValueError("second"))
    await event.ended("c", whole=True)
    assert closed.told == [(["c"], False, first)]
