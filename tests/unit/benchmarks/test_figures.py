"""Figures of the benchmarks: what is made of samples."""

from __future__ import annotations

import itertools

import pytest
from benchmarks.figures import (
    Figure,
    arrivals,
    early_rate,
    out_of_order,
    quantile,
    ratio_of_rounds,
    slope,
    thirds_ratio,
)


@pytest.mark.parametrize(
    ("share", "value"), [(0.5, 500), (0.99, 990), (0.999, 999), (1.0, 1000), (0.0001, 1), (0.0, 1)]
)
def test_a_quantile_is_a_sample_by_nearest_rank(share: float, value: int) -> None:
    assert quantile(list(range(1000, 0, -1)), share) == value


def test_a_quantile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no samples"):
        quantile([], 0.5)


def test_a_round_that_a_neighbour_slowed_does_not_move_the_ratio() -> None:
    assert ratio_of_rounds([2.0, 200.0, 2.2], [1.0, 100.0, 1.0]) == 2.0


def test_arrivals_are_the_same_for_a_seed_and_come_at_the_rate() -> None:
    due = arrivals(100, 60, seed=3)
    assert due == arrivals(100, 60, seed=3)
    assert due != arrivals(100, 60, seed=4)
    assert due == sorted(due)
    assert due[-1] < 60
    assert 5500 < len(due) < 6500


def test_arrivals_come_in_bunches_as_from_many_publishers() -> None:
    due = arrivals(100, 60, seed=3)
    gaps = [after - before for before, after in itertools.pairwise(due)]
    assert min(gaps) < 0.001
    assert max(gaps) > 0.05


def test_the_early_rate_counts_from_the_beginning_and_knows_no_slow_end() -> None:
    at_s = [5.0 + at / 10 for at in range(1, 71)] + [12.0 + at for at in range(30)]
    assert early_rate(at_s, 5.0) == pytest.approx(10)
    assert early_rate([], 5.0) == 0


def test_a_slope_is_found_through_noise() -> None:
    assert slope([(0, 1), (1, 3), (2, 5), (3, 7)]) == pytest.approx(2)
    assert slope([(0, 5)]) == 0


def test_thirds_compare_the_end_with_the_beginning_and_forgive_a_peak() -> None:
    assert thirds_ratio([10, 10, 99, 5, 5, 5, 20, 20, 20]) == 2
    assert thirds_ratio([4.0]) == 1


@pytest.mark.parametrize(
    ("numbers", "late"),
    [([], (0, 0)), ([0, 1, 2], (0, 0)), ([1, 0, 2], (1, 1)), ([5, 0, 1, 6], (2, 5)), ([0, 2, 2, 3], (0, 0))],
)
def test_what_came_after_a_younger_one_is_out_of_order(numbers: list[int], late: tuple[int, int]) -> None:
    assert out_of_order(numbers) == late


@pytest.mark.parametrize(
    ("at_least", "at_most", "missed"),
    [(None, None, False), (5.0, None, False), (5.1, None, True), (None, 5.0, False), (None, 4.9, True)],
)
def test_a_target_is_met_at_its_bound(at_least: float | None, at_most: float | None, missed: bool) -> None:
    assert Figure("a.x", "x", 5.0, at_least=at_least, at_most=at_most).missed is missed
