from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from doubles.answered_api import Object, attempt, delivered, waiting
from hookline.cli.log.rates import WINDOW_SECONDS, Rates, percentile
from hookline.cli.log.top import table_of

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


def made(found: Object, age_s: float, webhook: str = "identity-created", taken_ms: float = 40) -> Object:
    at = (NOW - timedelta(seconds=age_s)).isoformat()
    return {**found, "time": at, "webhook": {"name": webhook}, "durationMilliseconds": taken_ms}


def test_each_webhook_is_told_by_its_attempts_of_the_last_minute() -> None:
    rates = Rates()
    for each in (
        made(attempt(), WINDOW_SECONDS + 1),
        made(attempt(), 30, taken_ms=100),
        made(delivered(), 20, taken_ms=10),
        made(attempt(status=None, reason="Timeout"), 10, taken_ms=1500),
        made(delivered(), 5, "quiet"),
    ):
        rates.attempt(each)
    failing, quiet = rates.at(NOW)
    assert (failing.webhook, failing.attempts, failing.failed, failing.last_failure) == (
        ("team-a", "identity-created"),
        3,
        2,
        "Timeout",
    )
    assert (failing.p50_ms, failing.p99_ms) == (100, 1500)
    assert (quiet.webhook[1], quiet.failed, quiet.last_failure) == ("quiet", 0, "")


def test_what_waits_shows_a_webhook_that_was_not_called_until_nothing_waits() -> None:
    rates = Rates()
    rates.waits([waiting(), waiting()])
    (only,) = rates.at(NOW)
    assert (only.waiting, only.attempts) == (2, 0)
    rates.waits([])
    assert rates.at(NOW) == []


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.99, 4), (0, 1), (1, 4)])
def test_a_percentile_is_one_of_the_values(share: float, value: float) -> None:
    assert percentile([1, 2, 3, 4], share) == value
    assert percentile([], share) == 0


def test_top_fits_into_80_columns_whatever_the_names_are() -> None:
    rates = Rates()
    rates.attempt(made(attempt(status=None, reason="AddressNotAllowedEither"), 1, "a" * 253, 123456))
    rates.waits([waiting()] * 9999)
    screen = io.StringIO()
    Console(file=screen, width=80).print(table_of(rates.at(NOW), everywhere=True, rows=5))
    rows = screen.getvalue().splitlines()
    assert all(len(row) <= 80 for row in rows)
    assert all(title in rows[0] for title in ("WEBHOOK", "CALLS/S", "FAILED", "LAST", "P50", "P99", "WAITING"))
    assert "team-a/aaa" in screen.getvalue()
    assert "5000+" in screen.getvalue()
