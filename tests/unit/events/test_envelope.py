from __future__ import annotations

from datetime import UTC, datetime

from hookline.events.envelope import stamp, stamp_to_the_second


def test_a_stamp_is_rfc_3339_in_utc_to_the_millisecond() -> None:
    assert stamp(datetime(2026, 1, 2, 3, 4, 5, 678999, tzinfo=UTC).timestamp()) == "2026-01-02T03:04:05.678Z"


def test_a_stamp_to_the_second_is_written_in_the_same_way() -> None:
    assert stamp_to_the_second(datetime(2026, 1, 2, 3, 4, 5, 678999, tzinfo=UTC).timestamp()) == "2026-01-02T03:04:05Z"
