from __future__ import annotations

import pytest

from hookline.control.lately import LATELY_SECONDS, Lately


@pytest.mark.parametrize(("before", "now", "most"), [(200, 99, True), (200, 100, False), (2, 0, True), (1, 0, False)])
def test_a_book_that_loses_more_than_half_at_once_is_read_twice(before: int, now: int, most: bool) -> None:
    lately = Lately()
    lately.confirm(before, 0.0)
    assert lately.loses_most(now, 1.0) is most


def test_what_goes_one_by_one_within_a_minute_goes_at_once() -> None:
    lately = Lately()
    lately.confirm(100, 0.0)
    found = [lately.loses_most(100 - number, number / 10) for number in range(1, 60)]
    assert found.index(True) == 50


def test_what_goes_slowly_does_not() -> None:
    lately = Lately()
    lately.confirm(100, 0.0)
    steps = range(1, 100)
    assert not any(lately.loses_most(100 - number, number * (LATELY_SECONDS + 1)) for number in steps)


def test_what_goes_after_a_long_time_without_change_goes_at_once() -> None:
    lately = Lately()
    lately.confirm(100, 0.0)
    assert lately.loses_most(0, 1_000_000.0)


def test_a_loss_that_a_second_read_confirmed_is_one_no_more() -> None:
    lately = Lately()
    lately.confirm(100, 0.0)
    assert lately.loses_most(10, 1.0)
    lately.confirm(10, 1.0)
    assert not lately.loses_most(9, 2.0)
    assert lately.loses_most(4, 3.0)
