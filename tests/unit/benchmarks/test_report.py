"""The report of the delivery benchmarks: table, missed targets, plots."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from benchmarks import plot, report
from benchmarks.bench import letters
from benchmarks.figures import Figure
from benchmarks.plot import Bars, Lines, round_up
from benchmarks.setting import QUICK, Sizes, sizes

SLOW = Figure("a.1.core", "1 Webhook: per core", 1500.0, "/s", at_least=2000)
FAST = Figure("a.1.ratio", "1 Webhook: of bare", 0.45, "x", at_least=0.4)
PLAIN = Figure("f.base", "memory", 53.62, "MB")


def test_the_table_has_a_heading_for_each_measurement_that_was_made() -> None:
    text = report.table([SLOW, FAST, PLAIN])
    assert "(a) Throughput" in text
    assert "(f) Memory" in text
    assert "(b)" not in text
    assert "| 1 Webhook: per core | 1,500 /s | >= 2000 | **missed** |" in text
    assert "| 1 Webhook: of bare | 0.45 x | >= 0.4 | met |" in text
    assert "| memory | 53.6 MB |  |  |" in text


def test_missed_targets_are_named_with_what_was_found_and_what_was_wanted() -> None:
    assert report.missed([SLOW, FAST, PLAIN]) == ["(a) 1 Webhook: per core: 1,500 /s, wanted >= 2000"]


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (12345, "12,345"), (0.0, "0.00"), (1234.5, "1,234"), (9.87, "9.87")]
)
def test_counts_stand_as_they_are_and_measures_with_three_digits(value: float, text: str) -> None:
    assert report.shown(value) == text


def test_the_document_for_programs_says_all_that_the_table_says() -> None:
    document = report.document([SLOW], {"cores": 2}, ["noisy"])
    assert document["machine"] == {"cores": 2}
    assert document["remarks"] == ["noisy"]
    assert document["missed"] == report.missed([SLOW])


def test_a_result_goes_between_its_marks_and_leaves_the_rest_of_the_page() -> None:
    page = "top\n<!-- bench begins -->\nold\n<!-- bench ends -->\nend\n"
    assert report.put_into(page, "bench", "new") == page.replace("old", "new")
    with pytest.raises(ValueError, match="no marks of soak"):
        report.put_into(page, "soak", "new")


def test_a_result_says_on_which_machine_what_was_noticed_and_what_was_missed() -> None:
    text = report.result([SLOW], report.MEASUREMENTS, {"cores": 2, "load_before": 0.5}, ["noisy"])
    assert text.startswith("cores 2, load before 0.5\n")
    assert "- noisy" in text
    assert "- (a) 1 Webhook: per core: 1,500 /s, wanted >= 2000" in text
    assert report.result([FAST], report.MEASUREMENTS, {}, []).endswith("No target was missed.")


def test_plots_are_well_formed_and_only_of_what_was_measured() -> None:
    latency = [Figure(f"b.{share}.{name}", name, 5.0) for share in ("50%", "80%") for name in ("p50", "p99", "p99.9")]
    panels = report.panels([SLOW, FAST, *latency], {"e": [(0.0, 0.0), (1.0, 50.0), (2.0, 100.0)]})
    assert [type(each) for each in panels] == [Bars, Bars, Lines, Lines]
    assert ET.fromstring(plot.svg(panels)).tag.endswith("svg")


def test_labels_cannot_break_the_picture() -> None:
    picture = plot.svg([Bars("a < b & c", [("<", 1.0)], 2.0)])
    assert "a &lt; b &amp; c" in picture
    ET.fromstring(picture)


@pytest.mark.parametrize(("value", "top"), [(0, 1), (-1, 1), (0.4, 0.5), (9.9, 10), (100, 150), (7, 8)])
def test_an_axis_ends_at_a_round_number_above_all_values(value: float, top: float) -> None:
    assert round_up(value) == top


def test_only_takes_letters_with_or_without_commas_and_refuses_others() -> None:
    assert letters("a,c") == letters("ac") == {"a", "c"}
    for wrong in ("", "x", "a,x"):
        with pytest.raises(ValueError, match="name some of"):
            letters(wrong)


def test_a_smaller_backlog_never_drains_more_than_there_is() -> None:
    assert sizes(quick=False, backlog=None) == Sizes()
    assert sizes(quick=True, backlog=None) == QUICK
    assert sizes(quick=False, backlog=100).drain == 100
    assert sizes(quick=False, backlog=500_000).drain == Sizes().drain
