"""A window of events under way: bounds, and where it comes to before a queue that stores one after the other."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.stream.publish_window import (
    BYTES,
    LEAST,
    LEAST_WAITING,
    MOST,
    SHORTEST_SECONDS,
    WAITING,
    PublishWindow,
    waiting_of,
)


@dataclass
class PlayedQueue:
    """Stores one after the other, and is `away_seconds` there and back."""

    store_seconds: float
    away_seconds: float
    body_bytes: int = 1024
    now_s: float = 0.0
    _free_s: float = 0.0
    _under_way: list[tuple[float, int, float]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def pause(self, seconds: float) -> None:
        self._free_s += seconds

    def stored_of(self, window: PublishWindow, seconds: float) -> int:
        """What a publisher with that window, who has always more, has stored in a time."""
        under_way, until_s, stored = self._under_way, self.now_s + seconds, 0
        while self.now_s < until_s:
            while window.has_room(len(under_way), 0, 0):
                begins_s = max(self.now_s + self.away_seconds / 2, self._free_s)
                self._free_s = begins_s + self.store_seconds
                heapq.heappush(under_way, (self._free_s + self.away_seconds / 2, next(self._numbers), self.now_s))
            self.now_s, _, sent_s = heapq.heappop(under_way)
            full = len(under_way) + 1 >= window.events
            window.confirmed(sent_s, self.now_s, full=full, body_bytes=self.body_bytes)
            stored += 1
        return stored


@pytest.mark.parametrize("away_seconds", [0.0003, 0.002, 0.01, 0.05])
def test_nearly_all_that_a_queue_can_store_is_stored_and_little_waits_there(away_seconds: float) -> None:
    queue, window = PlayedQueue(0.0003, away_seconds), PublishWindow()
    queue.stored_of(window, 3.0)
    seconds = SHORTEST_SECONDS + 2  # the shortest time is measured anew within
    assert queue.stored_of(window, seconds) >= 0.95 * seconds / queue.store_seconds
    needed = 1 + away_seconds / queue.store_seconds
    assert needed <= window.events <= 2 * needed + 10


@pytest.mark.parametrize("away_seconds", [0.0003, 0.002, 0.01, 0.05])
def test_of_large_bodies_fewer_wait_in_the_queue_and_nearly_all_that_it_can_store_is_stored(
    away_seconds: float,
) -> None:
    large, small = PlayedQueue(0.002, away_seconds, 250 * 1024), PlayedQueue(0.002, away_seconds)
    found, of_small = PublishWindow(), PublishWindow()
    for queue, window in ((large, found), (small, of_small)):
        queue.stored_of(window, 3.0)
    assert found.events <= of_small.events - 4
    seconds = SHORTEST_SECONDS + 2
    assert large.stored_of(found, seconds) >= 0.95 * seconds / large.store_seconds


@given(st.floats(0, 1e9))
def test_what_waits_is_never_less_than_one_event_nor_more_than_of_small_ones(mean_bytes: float) -> None:
    assert LEAST_WAITING <= waiting_of(mean_bytes) <= WAITING
    assert waiting_of(1024) == WAITING


def test_a_queue_that_became_slower_for_good_is_used_as_before() -> None:
    queue, window = PlayedQueue(0.0003, 0.01), PublishWindow()
    queue.stored_of(window, 2.0)
    queue.away_seconds = 0.03
    queue.stored_of(window, SHORTEST_SECONDS + 2)
    assert queue.stored_of(window, 1.0) >= 0.95 / queue.store_seconds


def test_a_queue_that_became_quicker_is_no_longer_flooded() -> None:
    queue, window = PlayedQueue(0.0003, 0.05), PublishWindow()
    queue.stored_of(window, 3.0)
    assert window.events > 100
    queue.away_seconds = 0.0003
    queue.stored_of(window, SHORTEST_SECONDS + 1)
    assert window.events < 20


def test_its_own_queue_is_not_taken_for_the_way() -> None:
    queue, window = PlayedQueue(0.001, 0.0), PublishWindow()
    queue.stored_of(window, 2.0)
    before = window.events
    queue.stored_of(window, 10 * SHORTEST_SECONDS)
    assert window.events <= before + 2


def test_a_pause_of_the_queue_is_made_up_for() -> None:
    queue, window = PlayedQueue(0.0003, 0.01), PublishWindow()
    queue.stored_of(window, 2.0)
    queue.pause(4)
    queue.stored_of(window, 5.0)
    assert queue.stored_of(window, 1.0) >= 0.9 / queue.store_seconds


def test_a_publisher_who_has_seldom_one_opens_no_window() -> None:
    window = PublishWindow()
    for number in range(1000):
        window.confirmed(number / 1000, number / 1000 + 0.01, full=False)
    assert window.events == 2 * LEAST


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(-1, 100), st.booleans()), max_size=300))
def test_never_below_the_least_nor_above_the_most_whatever_the_times(times: list[tuple[float, float, bool]]) -> None:
    window, now_s = PublishWindow(), 0.0
    for pause_seconds, taken_seconds, full in times:
        now_s += pause_seconds
        window.confirmed(now_s - taken_seconds, now_s, full=full)
        assert LEAST <= window.events <= MOST


def test_a_far_queue_never_has_more_than_the_most() -> None:
    queue, window = PlayedQueue(0.00001, 0.1), PublishWindow()
    queue.stored_of(window, SHORTEST_SECONDS / 2)
    assert window.events == MOST


@given(st.integers(1, MOST), st.integers(0, 2 * BYTES), st.integers(0, 2 * BYTES))
def test_bodies_are_bounded_by_their_bytes_and_one_alone_has_always_room(events: int, under_way: int, one: int) -> None:
    window = PublishWindow()
    assert window.has_room(0, 0, one)
    if window.has_room(events, under_way, one):
        assert under_way + one <= BYTES
        assert events < window.events
