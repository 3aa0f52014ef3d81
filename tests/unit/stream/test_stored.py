"""What a message that is stored anew keeps, and when a retry is overdue."""

from __future__ import annotations

from datetime import datetime

import pytest

from hookline.stream.stored import LATE_SECONDS, Stored

AT = "@at 2026-11-30T08:00:00.000000Z"
DUE_S = 1_796_025_600.0


def message(*, stored: str = "2026-11-30T07:00:00.123456789Z", **headers: str) -> Stored:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Stored("hookline.deliveries.later.u1.a", named, b"{}", 7, stored)


def test_a_schedule_stays_and_other_words_to_the_server_do_not() -> None:
    kept = {"Nats_Schedule": AT, "Nats_Schedule_Target": "hookline.deliveries.01.u1", "Hookline_Attempt": "2"}
    kept["Hookline_Context_traceparent"] = "00-1"
    hostile = {"Nats_Rollup": "all", "Nats_Expected_Last_Sequence": "1", "Nats_Msg_Id": "x", "nats_TTL": "1s"}
    found = message(**kept, **hostile).kept_headers()
    assert found == {name.replace("_", "-"): value for name, value in kept.items()}


def test_a_header_that_cannot_be_written_again_keeps_nothing_from_being_stored_anew() -> None:
    assert message(**{"b c": "d", "": "e", "Hookline_Attempt": "2"}).kept_headers() == {"Hookline-Attempt": "2"}


@pytest.mark.parametrize(("seconds", "overdue"), [(-1, False), (LATE_SECONDS - 1, False), (LATE_SECONDS + 1, True)])
def test_a_retry_is_overdue_when_it_should_have_come_long_ago(seconds: float, overdue: bool) -> None:
    assert message(Nats_Schedule=AT).is_overdue(DUE_S + seconds) is overdue


def test_what_was_stored_again_just_now_is_not_overdue_however_old_its_time_is() -> None:
    """It would be stored again and again by one look."""
    stored = "2026-11-30T09:00:00Z"
    stored_s = datetime.fromisoformat(stored).timestamp()
    assert not message(stored=stored, Nats_Schedule=AT).is_overdue(stored_s + LATE_SECONDS - 1)
    assert message(stored=stored, Nats_Schedule=AT).is_overdue(stored_s + LATE_SECONDS + 1)


@pytest.mark.parametrize("schedule", ["", "@every 1s", "@at never", "@at", "@at 0000-00-00T00:00:00Z"])
def test_a_schedule_that_cannot_be_read_is_never_overdue(schedule: str) -> None:
    assert not message(Nats_Schedule=schedule).is_overdue(DUE_S + 86_400)
