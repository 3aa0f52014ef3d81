from __future__ import annotations

import math
import re
from collections import deque
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from hookline.runtime.metrics import ApiMetrics, GatewayMetrics, Metrics, OperatorMetrics, SenderMetrics, tables

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"
KINDS: list[type[Metrics]] = [SenderMetrics, GatewayMetrics, ApiMetrics, OperatorMetrics]
each_kind = pytest.mark.parametrize("kind", KINDS)

BOUNDED = {
    "version": "one for each process",
    "reason": "words of the code",
    "origin": "words of the code",
    "stream": "words of the code",
    "verdict": "words of the code",
    "outcome": "words of the code",
    "in_force": "words of the code",
    "verb": "words of the API server",
    "code": "those of HTTP",
    "resource": "kinds that the operator reads or writes",
    "server": "pods of the shipped NATS",
}
"""Every label that a metric may have, and what bounds its values. What a tenant can write is none of them."""


def lines(metrics: Metrics) -> list[str]:
    return metrics.text().decode().splitlines()


def types(metrics: Metrics) -> dict[str, str]:
    """Of each metric of ours in the text."""
    found = [line.split() for line in lines(metrics) if line.startswith("# TYPE hookline_")]
    return {name: kind for _, _, name, kind in found}


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


@each_kind
def test_what_is_described_is_what_is_told(kind: type[Metrics]) -> None:
    metrics = kind()
    assert {each.name: each.kind for each in metrics.described} == types(metrics)


@each_kind
def test_no_label_can_be_multiplied_by_what_a_tenant_does(kind: type[Metrics]) -> None:
    assert {label for each in kind().described for label in each.labels} <= BOUNDED.keys()


def test_each_kind_of_process_is_documented_with_each_of_its_metrics_and_no_other() -> None:
    assert set(KINDS) == set(Metrics.__subclasses__())
    page = DOCS.read_text()
    assert all(table in page for table in tables())
    named = set(re.findall(r"(?m)^\| `(hookline_[a-z_]+)` \|", page))
    assert named == {each.name for kind in KINDS for each in kind().described}


def test_a_unit_is_what_the_name_ends_with() -> None:
    units = {each.name: each.unit for kind in KINDS for each in kind().described}
    assert units["hookline_attempt_duration_seconds"] == "seconds"
    assert units["hookline_queue_disk_limit_bytes"] == "bytes"
    assert units["hookline_attempts_total"] == ""


def test_durations_are_told_as_the_histogram_of_the_client_tells_them() -> None:
    registry = CollectorRegistry()
    theirs = Histogram(
        "hookline_attempt_duration_seconds",
        "From the name lookup to the last byte of the answer, or to the failure.",
        buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0),
        registry=registry,
    )
    ours = SenderMetrics()
    for seconds in (0.0, 0.005, 0.0051, 0.3, 1.0, 30.0, 30.1, 1e6, math.pi):
        theirs.observe(seconds)
        ours.attempted("Delivered", seconds)
    told = [each for each in lines(ours) if "hookline_attempt_duration_seconds" in each]
    assert told == generate_latest(registry).decode().splitlines()


def test_a_first_attempt_is_counted_by_where_it_waited() -> None:
    metrics = SenderMetrics()
    metrics.first_attempt("event", 0.003)
    metrics.first_attempt("parked", 4000)
    for line in (
        'hookline_first_attempt_delay_seconds_bucket{le="0.005",origin="event"} 1.0',
        'hookline_first_attempt_delay_seconds_bucket{le="3600.0",origin="parked"} 0.0',
        'hookline_first_attempt_delay_seconds_bucket{le="86400.0",origin="parked"} 1.0',
        'hookline_first_attempt_delay_seconds_count{origin="shard"} 0.0',
        'hookline_first_attempt_delay_seconds_sum{origin="parked"} 4000.0',
    ):
        assert line in lines(metrics)


def test_a_gateway_says_when_its_certificate_ends_and_why_it_is_not_ready_counts_as_not_ready() -> None:
    metrics = GatewayMetrics()
    assert {"hookline_ready 0.0", "hookline_certificate_expires_seconds 0.0"} <= set(lines(metrics))
    unready: list[str | None] = [None]
    metrics.watch_certificate(lambda: 1_800_000_000.0)
    metrics.watch_ready(lambda: unready[0])
    assert {"hookline_ready 1.0", "hookline_certificate_expires_seconds 1.8e+09"} <= set(lines(metrics))
    unready[0] = "draining"
    assert "hookline_ready 0.0" in lines(metrics)


def test_a_server_of_nats_that_is_gone_is_told_no_more() -> None:
    metrics, disks = OperatorMetrics(), {"nats-0": 5.0, "nats-1": 6.0}
    metrics.watch(
        deque(),
        leads=lambda: True,
        without_room={},
        fullness=lambda: 0.0,
        disks=lambda: disks,
        disk_limits=lambda: {"nats-0": 9.0},
    )
    assert 'hookline_nats_disk_bytes{server="nats-1"} 6.0' in lines(metrics)
    assert 'hookline_nats_disk_limit_bytes{server="nats-0"} 9.0' in lines(metrics)
    del disks["nats-1"]
    assert [each for each in lines(metrics) if each.startswith("hookline_nats_disk_bytes{")] == [
        'hookline_nats_disk_bytes{server="nats-0"} 5.0'
    ]
