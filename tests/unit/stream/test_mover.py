"""What is left to come due where it is, and what a sender that is not sure leaves alone."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest
from nats.aio.client import Client

from hookline.stream import mover, names
from hookline.stream.layout import Layout
from hookline.stream.mover import SOON_SECONDS, Mover, comes_there, remove_empty
from hookline.stream.publish import Publisher
from hookline.stream.stored import LATE_SECONDS, Stored

DUE_S = 1_796_025_600.0
STORED = "2026-11-30T07:00:00Z"


def scheduled(schedule: str = "@at 2026-11-30T08:00:00.000000Z") -> Stored:
    return Stored("hookline.deliveries.later.u1.a", {"Nats-Schedule": schedule}, b"{}", 7, STORED)


@pytest.mark.parametrize(
    ("seconds_ahead", "comes"), [(SOON_SECONDS + 1, False), (SOON_SECONDS - 1, True), (-LATE_SECONDS + 1, True)]
)
def test_what_is_due_soon_is_left_where_it_comes_due(seconds_ahead: float, comes: bool) -> None:
    assert comes_there(scheduled(), DUE_S - seconds_ahead) is comes


def test_what_did_not_come_when_it_was_due_is_moved() -> None:
    assert not comes_there(scheduled(), DUE_S + LATE_SECONDS + 1)


@pytest.mark.parametrize("schedule", ["", "@every 1s", "@at never", "@at"])
def test_a_schedule_that_cannot_be_read_is_left_to_the_server(schedule: str) -> None:
    assert comes_there(scheduled(schedule), DUE_S + 86_400)


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

    async def read_from(_: Client, stream: str, pattern: str, seq: int) -> list[Stored]:
        looked.append(stream)
        return []

    monkeypatch.setattr(mover, "ask", ask)
    monkeypatch.setattr(mover, "read_from", read_from)
    it = Mover(cast(Client, None), cast(Publisher, None), now_s=lambda: 0.0, may_go_on=lambda: True)
    await it.empty(Layout(dict.fromkeys(names.BASES, "HOOKLINE_"), ("PARKED",)))
    assert looked == ["PARKED"] * asked
