"""What a message that is moved keeps, and what is left to come due where it is."""

from __future__ import annotations

import pytest

from hookline.stream.mover import _Message

AT = "@at 2026-11-30T08:00:00.000000Z"
DUE_S = 1_796_025_600.0


def message(**headers: str) -> _Message:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return _Message("hookline.deliveries.later.u1.a", named, b"{}", 7, "2026-11-30T07:00:00Z")


def test_a_schedule_stays_and_other_words_to_the_server_do_not() -> None:
    kept = {"Nats_Schedule": AT, "Nats_Schedule_Target": "hookline.deliveries.01.u1", "Hookline_Attempt": "2"}
    hostile = {"Nats_Rollup": "all", "Nats_Expected_Last_Sequence": "1", "Nats_Msg_Id": "x", "nats_TTL": "1s"}
    found = message(**kept, **hostile).kept_headers()
    assert found == {name.replace("_", "-"): value for name, value in kept.items()}


def test_what_is_due_soon_is_left_where_it_comes_due() -> None:
    assert message(Nats_Schedule=AT).is_due(DUE_S + 1)
    assert not message(Nats_Schedule=AT).is_due(DUE_S - 1)


@pytest.mark.parametrize("schedule", ["", "@every 1s", "@at never", "@at"])
def test_a_schedule_that_cannot_be_read_is_left_to_the_server(schedule: str) -> None:
    assert message(Nats_Schedule=schedule).is_due(0.0)
