"""What a message that is moved keeps, and what is left to come due where it is."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest
from nats.aio.client import Client

from hookline.stream import mover, names
from hookline.stream.layout import Layout
from hookline.stream.mover import LATE_SECONDS, SOON_SECONDS, Mover, _Message, remove_empty
from hookline.stream.publish import Publisher

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


def test_a_header_that_cannot_be_written_again_keeps_nothing_from_being_moved() -> None:
    assert message(**{"b c": "d", "": "e", "Hookline_Attempt": "2"}).kept_headers() == {"Hookline-Attempt": "2"}


@pytest.mark.parametrize(
    ("seconds_ahead", "comes"), [(SOON_SECONDS + 1, False), (SOON_SECONDS - 1, True), (-LATE_SECONDS + 1, True)]
)
def test_what_is_due_soon_is_left_where_it_comes_due(seconds_ahead: float, comes: bool) -> None:
    assert message(Nats_Schedule=AT).comes_here(DUE_S - seconds_ahead) is comes


def test_what_did_not_come_when_it_was_due_is_moved() -> None:
    assert not message(Nats_Schedule=AT).comes_here(DUE_S + LATE_SECONDS + 1)


@pytest.mark.parametrize("schedule", ["", "@every 1s", "@at never", "@at"])
def test_a_schedule_that_cannot_be_read_is_left_to_the_server(schedule: str) -> None:
    assert message(Nats_Schedule=schedule).comes_here(0.0)


@pytest.mark.parametrize(
    ("answer_seconds", "may_remove", "removed"), [(0.1, True, ["EVENTS"]), (10.0, True, []), (0.1, False, [])]
)
async def test_a_sender_that_was_frozen_after_it_asked_removes_no_stream(
    monkeypatch: pytest.MonkeyPatch, answer_seconds: float, may_remove: bool, removed: list[str]
) -> None:
    now_s, asked = [0.0], list[str]()

    async def ask(_: Client, what: str) -> dict[str, Any]:
        now_s[0] += answer_seconds
        return {"state": {"messages": 0}, "config": {"subjects": [names.former_subject("EVENTS")]}}

    async def api(_: Client, what: str) -> dict[str, Any]:
        asked.append(what.removeprefix("STREAM.DELETE."))
        return {}

    monkeypatch.setattr(mover, "ask", ask)
    monkeypatch.setattr(mover, "api", api)
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    await remove_empty(cast(Client, None), Layout(former=("EVENTS",)), may_remove=lambda: may_remove)
    monkeypatch.undo()
    assert asked == removed


@pytest.mark.parametrize(("subjects", "asked"), [([names.former_subject("PARKED")], 1), (["hookline.parked.*"], 0)])
async def test_nothing_is_moved_out_of_a_stream_that_has_its_subjects_back(
    monkeypatch: pytest.MonkeyPatch, subjects: list[str], asked: int
) -> None:
    """It would be stored there again, and be moved again, for ever."""
    looked = list[str]()

    async def ask(_: Client, what: str) -> dict[str, Any]:
        return {"config": {"subjects": subjects}}

    async def api(_: Client, what: str, **question: object) -> dict[str, Any]:
        looked.append(what)
        return {"error": {"code": 404}}

    monkeypatch.setattr(mover, "ask", ask)
    monkeypatch.setattr(mover, "api", api)
    it = Mover(cast(Client, None), cast(Publisher, None), now_s=lambda: 0.0, may_go_on=lambda: True)
    await it.empty(Layout(dict.fromkeys(names.BASES, "HOOKLINE_"), ("PARKED",)))
    assert looked == ["STREAM.MSG.GET.PARKED"] * asked
