from __future__ import annotations

import re
from collections import deque
from pathlib import Path

import pytest

from hookline.runtime.metrics import Metrics, OperatorMetrics, SenderMetrics

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"


def lines(metrics: Metrics) -> list[str]:
    return metrics.text().decode().splitlines()


def names(metrics: Metrics) -> set[str]:
    return {line.split()[2] for line in lines(metrics) if line.startswith("# TYPE hookline_")}


def test_what_a_sender_counts_is_there_from_the_start() -> None:
    metrics = SenderMetrics(outcomes=["Delivered", "Timeout"], deaths=["Gone"], parkings=["Held"])
    for line in (
        'hookline_attempts_total{reason="Delivered"} 0.0',
        'hookline_attempts_total{reason="Timeout"} 0.0',
        'hookline_dead_letters_total{reason="Gone"} 0.0',
        'hookline_parked_total{reason="Held"} 0.0',
        "hookline_retries_total 0.0",
    ):
        assert line in lines(metrics)


def test_a_sender_counts_what_happens() -> None:
    metrics = SenderMetrics()
    metrics.attempted("Delivered", 0.2)
    metrics.attempted("Timeout", 15)
    metrics.will_retry()
    metrics.died("Gone")
    metrics.parked("Held")
    metrics.unparked()
    metrics.made(3)
    metrics.fanned_out()
    metrics.book_loaded(7)
    metrics.book_refused()
    metrics.oldest("parked", 90)
    kinds = {"Failing": lambda: 2, "Gone": lambda: 1, "Backlogged": lambda: 3}
    metrics.watch(held=lambda: 4, endpoints=kinds, connected=lambda: True, queue_problems={"NATSInUse": lambda: True})
    for line in (
        'hookline_attempts_total{reason="Timeout"} 1.0',
        'hookline_attempt_duration_seconds_bucket{le="0.25"} 1.0',
        "hookline_attempt_duration_seconds_count 2.0",
        "hookline_retries_total 1.0",
        'hookline_dead_letters_total{reason="Gone"} 1.0',
        'hookline_parked_total{reason="Held"} 1.0',
        "hookline_unparked_total 1.0",
        "hookline_events_fanned_out_total 1.0",
        "hookline_deliveries_made_total 3.0",
        "hookline_deliveries_held 4.0",
        'hookline_queue_problem{reason="NATSInUse"} 1.0',
        'hookline_oldest_waiting_seconds{stream="parked"} 90.0',
        "hookline_endpoints_failing 2.0",
        "hookline_endpoints_gone 1.0",
        "hookline_endpoints_backlogged 3.0",
        "hookline_queue_connected 1.0",
        "hookline_route_book_loads_total 1.0",
        "hookline_route_book_webhooks 7.0",
        "hookline_route_book_refusals_total 1.0",
    ):
        assert line in lines(metrics)


def test_an_operator_counts_its_requests_and_says_whether_it_leads() -> None:
    metrics = OperatorMetrics()
    metrics.request("patch", "webhooks", "ok")
    metrics.watch(
        deque([1, 2]),
        leads=lambda: False,
        without_room={"before": lambda: 3, "none": lambda: 4},
        fullness=lambda: 0.5,
    )
    assert 'hookline_api_requests_total{outcome="ok",resource="webhooks",verb="patch"} 1.0' in lines(metrics)
    assert {"hookline_queue_depth 2.0", "hookline_leader 0.0"} <= set(lines(metrics))
    assert "hookline_route_book_fullness 0.5" in lines(metrics)
    assert 'hookline_webhooks_without_room{in_force="before"} 3.0' in lines(metrics)
    assert 'hookline_webhooks_without_room{in_force="none"} 4.0' in lines(metrics)


def test_two_processes_in_one_test_do_not_count_together() -> None:
    one, other = SenderMetrics(), SenderMetrics()
    one.will_retry()
    assert "hookline_retries_total 0.0" in lines(other)


def test_the_process_itself_and_the_version_are_told() -> None:
    text = "\n".join(lines(SenderMetrics()))
    assert "process_resident_memory_bytes" in text
    assert re.search(r'hookline_build_info\{version="[^"]+"\} 1\.0', text)
    assert "_created" not in text


@pytest.mark.parametrize("metrics", [SenderMetrics(), OperatorMetrics()], ids=["sender", "operator"])
def test_every_metric_is_documented(metrics: Metrics) -> None:
    documented = set(re.findall(r"`(hookline_[a-z_]+)`", DOCS.read_text()))
    assert names(metrics) <= documented
