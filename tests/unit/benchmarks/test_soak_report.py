"""What a soak must show."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from benchmarks import plot, soak_report
from benchmarks.soak_report import Sample, Totals

TOTALS = Totals(
    published=1000,
    confirmed=1000,
    arrived=1000,
    kept=0,
    repeats=10,
    faults={"killed nats-server": 1, "killed a sender": 1, "rewrote the book": 5},
    calls_at_once=400,
    rate=600.0,
    drained_seconds=3.0,
)


def samples(memory: list[float], files: list[int] | None = None) -> list[Sample]:
    counts = files or [50] * len(memory)
    return [Sample(5.0 * at, mb, counts[at], 100.0, 3) for at, mb in enumerate(memory)]


def missed(of: list[Sample], totals: Totals = TOTALS) -> set[str]:
    return {each.key for each in soak_report.figures(of, totals) if each.missed}


def test_a_flat_run_without_losses_misses_nothing() -> None:
    assert missed(samples([80.0, 81.0, 79.0] * 20)) == set()


def test_memory_that_grows_is_a_miss_by_thirds_and_by_slope() -> None:
    assert missed(samples([80.0 + at / 2 for at in range(60)])) == {"s.thirds", "s.growth"}


def test_growth_while_warming_up_is_none() -> None:
    assert missed(samples([40.0, 50.0, 60.0, 70.0] + [80.0] * 56)) == set()


def test_files_that_stay_open_are_a_miss() -> None:
    assert missed(samples([80.0] * 60, [50 + at for at in range(60)])) == {"s.files"}


@pytest.mark.parametrize(
    ("arrived", "kept", "keys"), [(999, 0, {"s.lost"}), (999, 1, {"s.kept"}), (998, 1, {"s.lost", "s.kept"})]
)
def test_what_neither_arrived_nor_is_kept_is_lost(arrived: int, kept: int, keys: set[str]) -> None:
    assert missed(samples([80.0] * 60), replace(TOTALS, arrived=arrived, kept=kept)) == keys


def test_repeats_are_bounded_by_kills_and_not_by_other_faults() -> None:
    assert TOTALS.repeats_bound == 2 * (400 + 300)
    assert missed(samples([80.0] * 60), replace(TOTALS, repeats=1400)) == set()
    assert missed(samples([80.0] * 60), replace(TOTALS, repeats=1401)) == {"s.repeats"}


def test_plots_are_well_formed() -> None:
    ET.fromstring(plot.svg(soak_report.panels(samples([80.0, 81.0, 79.0]))))
