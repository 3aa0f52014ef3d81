"""From samples to figures: quantiles, ratios, slopes. Pure.

Never measures, and knows no target: report does.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Arm = TypeVar("Arm")


@dataclass(frozen=True)
class Figure:
    """One line of the table. `at_least` and `at_most` are what was promised."""

    key: str
    title: str
    value: float
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def measurement(self) -> str:
        """The letter of the measurement that it belongs to."""
        return self.key[0]

    @property
    def missed(self) -> bool:
        """Whether it is not what was promised."""
        low = self.at_least is not None and self.value < self.at_least
        return low or (self.at_most is not None and self.value > self.at_most)


def quantile(values: Sequence[float], share: float) -> float:
    """By nearest rank, the value that a `share` of all does not exceed: 0.99 of 1,000 is the 990th, none in between."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no samples")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def ratio_of_rounds(measured: Sequence[float], base: Sequence[float]) -> float:
    """Median of the ratios of rounds that took turns: a neighbour that slows one round down slows both its halves."""
    return statistics.median(one / other for one, other in zip(measured, base, strict=True))


def in_turns(arms: Sequence[Arm], round_: int) -> Sequence[Arm]:
    """The order of one round: every second one backwards, so that none of them always comes first."""
    return arms if round_ % 2 == 0 else arms[::-1]


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """When events are due, in seconds from the start: by chance, `rate` a second, as from many publishers at once."""
    chance, due, found = random.Random(seed), 0.0, []
    while (due := due + chance.expovariate(rate)) < seconds:
        found.append(due)
    return found


def early_rate(at_s: Sequence[float], began_s: float) -> float:
    """Arrivals a second from the beginning until 70 % of them were there."""
    part = len(at_s) * 7 // 10
    return part / (at_s[part - 1] - began_s) if part else 0.0


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least squares: by how much y grows for one of x."""
    return statistics.linear_regression(*zip(*points, strict=True)).slope if len(points) > 1 else 0.0


def thirds_ratio(values: Sequence[float]) -> float:
    """Median of the last third over that of the first."""
    third = max(1, len(values) // 3)
    return statistics.median(values[-third:]) / statistics.median(values[:third])


def out_of_order(numbers: Sequence[int]) -> tuple[int, int]:
    """How many came after one of a higher number, and by how many places the worst did."""
    highest, late, worst = -1, 0, 0
    for number in numbers:
        if number < highest:
            late += 1
            worst = max(worst, highest - number)
        highest = max(highest, number)
    return late, worst
