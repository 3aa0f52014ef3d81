"""Which deliveries a Replay means."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from doubles.replays import read_replay, replay_of, webhook_of
from hookline.api.log import Attempt
from hookline.api.replay import plan
from hookline.api.replay.conditions import as_manifest, status_in, told
from hookline.api.replay.plan import Lines
from hookline.delivery.messages import Delivery
from hookline.events.envelope import Event, to_headers
from hookline.resources.reasons import ReplayReason
from hookline.resources.replay import ReplayPlace, ReplayStatus
from hookline.stream import names
from hookline.stream.attempt_record import AttemptRecord
from hookline.stream.log_reader import NO_LOG, LogReach
from hookline.stream.stored import Stored

EVENT = Event("evt_1", "default", "IdentityCreated", "2026-11-24T00:00:00Z", b"{}")
LETTER = Stored(
    names.dead_subject("default", "u1"), Delivery("u1", EVENT, 7, 3, 5).headers(), b"{}", 4, "2026-11-30T14:00:00Z"
)
PUBLISHED = Stored(
    names.event_subject("default", "IdentityCreated"), to_headers(EVENT), b"{}", 4, "2026-11-30T14:00:00Z"
)
ONE = read_replay(replay_of(source="Events"))
HERE = [webhook_of("one", "u1"), webhook_of("two", "u2", event="IdentityDeleted")]


def meant(message: Stored, **spec: Any) -> list[str]:
    replay = read_replay(replay_of(**spec))
    want = plan.asked(replay, plan.targets(replay, HERE))
    return [each.once for each in plan.items(want, "DEAD", message, replayed_ms=1)]


@pytest.mark.parametrize(
    ("spec", "is_meant"),
    [
        ({}, True),
        ({"webhook": {"name": "two"}}, False),
        ({"since": "2026-11-30T14:00:00Z"}, True),
        ({"since": "2026-11-30T14:00:01Z"}, False),
        ({"until": "2026-11-30T14:00:00Z"}, False),
        ({"until": "2026-11-30T15:00:01+01:00"}, True),
        ({"ids": ["evt_1", "evt_2"]}, True),
        ({"ids": ["evt_2"]}, False),
    ],
)
@pytest.mark.parametrize(("message", "source"), [(LETTER, "DeadLetters"), (PUBLISHED, "Events")])
def test_what_is_meant_is_of_the_webhook_of_the_time_and_of_the_ids(
    message: Stored, source: str, spec: dict[str, Any], is_meant: bool
) -> None:
    assert bool(meant(message, source=source, **spec)) == is_meant


@pytest.mark.parametrize(
    "subject",
    ["hookline.dead.other.u1", "hookline.dead.default.u9", "hookline.dead.unread.u1", "hookline.dead.default", "x"],
)
def test_dead_letters_of_another_namespace_or_webhook_are_never_meant(subject: str) -> None:
    assert meant(replace(LETTER, subject=subject)) == []


@pytest.mark.parametrize(
    "subject",
    ["hookline.events.other.IdentityCreated", "hookline.events.default.identitycreated", "hookline.events.default"],
)
def test_events_of_another_namespace_or_type_are_never_meant(subject: str) -> None:
    assert meant(replace(PUBLISHED, subject=subject), source="Events") == []


@pytest.mark.parametrize(("message", "source"), [(LETTER, "DeadLetters"), (PUBLISHED, "Events")])
def test_the_name_of_an_item_is_the_same_after_a_crash_and_another_one_of_each_message(
    message: Stored, source: str
) -> None:
    assert meant(message, source=source) == meant(message, source=source)
    assert meant(message, source=source) != meant(replace(message, seq=5), source=source)


def test_an_event_has_another_name_in_each_replay_and_a_dead_letter_the_same_since_it_is_replayed_once() -> None:
    def of_another(message: Stored, source: str) -> list[str]:
        replay = read_replay({**replay_of(source=source), "metadata": {"name": "outage", "uid": "another"}})
        want = plan.asked(replay, plan.targets(replay, HERE))
        return [each.once for each in plan.items(want, "DEAD", message, replayed_ms=1)]

    assert of_another(PUBLISHED, "Events") != meant(PUBLISHED, source="Events")
    assert of_another(LETTER, "DeadLetters") == meant(LETTER)


def test_a_dead_letter_of_a_stream_that_was_made_anew_has_another_name_than_that_of_its_place_before() -> None:
    assert meant(replace(LETTER, time="2026-11-30T14:00:00.000000001Z")) != meant(LETTER)


def test_a_delivery_that_says_to_be_of_another_namespace_is_none() -> None:
    foreign = Delivery("u1", replace_tenant("other"), 7, 3, 5).headers()
    assert plan.delivery_of(replace(LETTER, headers=foreign)) is None
    assert plan.delivery_of(LETTER) == Delivery("u1", EVENT, 7, 3, 5)


def replace_tenant(tenant: str) -> Event:
    return Event(EVENT.id, tenant, EVENT.type, EVENT.time, EVENT.body)


def test_by_labels_all_webhooks_that_have_them_are_meant() -> None:
    there = [replace(each, labels={"team": "a", "tier": each.name}) for each in HERE]
    for labels, found in (
        ({"team": "a"}, ["one", "two"]),
        ({"team": "a", "tier": "two"}, ["two"]),
        ({"team": "b"}, []),
    ):
        replay = read_replay(replay_of(webhook=None, selector={"matchLabels": labels}))
        assert [each.name for each in plan.targets(replay, there)] == found


def test_the_server_is_asked_for_no_more_subjects_than_are_meant() -> None:
    def pattern(*webhooks: Any, **spec: Any) -> str:
        replay = read_replay(replay_of(webhook=None, selector={"matchLabels": {"a": "b"}}, **spec))
        labelled = [replace(each, labels={"a": "b"}) for each in webhooks]
        return plan.asked(replay, plan.targets(replay, labelled)).pattern("default")

    assert pattern(HERE[0]) == "hookline.dead.default.u1"
    assert pattern(*HERE) == "hookline.dead.default.*"
    assert pattern(HERE[0], source="Events") == "hookline.*.default.IdentityCreated"
    assert pattern(*HERE, source="Events") == "hookline.*.default.>"


def test_what_is_counted_is_settled_once_more_is_counted() -> None:
    place = ReplayPlace(dispatcher="default", stream="DEAD", created="t", next=1, settled=1, end=9)
    status = plan.counted(ReplayStatus(checkpoint=(place,)), 0, 4, plan.Tally(2, 1, 0))
    assert (status.found, status.replayed, status.skipped) == (3, 2, 1)
    assert (status.checkpoint[0].settled, status.checkpoint[0].next) == (1, 4)
    more = plan.counted(status, 0, 6, plan.Tally(1, 0, 1))
    assert (more.found, more.replayed, more.failed) == (5, 3, 1)
    assert (more.checkpoint[0].settled, more.checkpoint[0].next) == (4, 6)
    assert plan.settled(more, 0).checkpoint[0].settled == 6


def tried(uid: str = "u1", **changes: object) -> Attempt:
    record = AttemptRecord("evt_1", "IdentityCreated", 1.0, 1, "HTTPStatus")
    for name, value in changes.items():
        setattr(record, name, value)
    return Attempt("a", "default", "one", uid, "s", "default", "1", record)


@pytest.mark.parametrize(
    ("attempts", "lines"),
    [
        ([], Lines()),
        ([tried()], Lines(first=True)),
        ([tried(attempt=2)], Lines()),
        ([tried(attempt=2), tried()], Lines(first=True)),
        ([tried(attempt=2, reason="Delivered")], Lines(delivered=True)),
        # What a Replay sends again begins with 1 as well.
        ([tried(replay="outage")], Lines()),
        ([tried(replay="outage", reason="Delivered")], Lines(delivered=True)),
        ([tried("u2", reason="Delivered")], Lines()),
        ([tried(test=True, reason="Delivered")], Lines()),
    ],
)
def test_the_log_says_that_an_event_was_delivered_or_has_its_first_attempt(
    attempts: list[Attempt], lines: Lines
) -> None:
    assert Lines().and_of("u1", attempts) == lines
    assert Lines().and_of("u1", attempts).and_of("u1", []) == lines


@pytest.mark.parametrize(
    ("lines", "reach", "is_unknown"),
    [
        (Lines(), LogReach(90, 0), False),
        (Lines(), LogReach(100, 100), False),
        (Lines(), LogReach(101, 0), True),
        # The log begins with the first line of this event.
        (Lines(first=True), LogReach(101, 0), False),
        # Of lines that are missing among others, one that is there says nothing.
        (Lines(first=True), LogReach(90, 101), True),
        (Lines(), NO_LOG, True),
        (Lines(first=True), NO_LOG, True),
        (Lines(first=True, all=False), LogReach(90, 0), True),
    ],
)
def test_an_event_is_unknown_that_the_log_does_not_reach_back_to(
    lines: Lines, reach: LogReach, is_unknown: bool
) -> None:
    (item,) = plan.items(plan.asked(ONE, plan.targets(ONE, HERE)), "EVENTS", PUBLISHED, replayed_ms=1)
    assert plan.is_unknown(replace(item, stored_s=100), lines, reach) == is_unknown


def test_what_the_log_will_have_is_waited_for_and_no_longer_whatever_the_clocks_say() -> None:
    most = plan.LINES_LATE_SECONDS
    assert plan.lines_wait_s([], 100, 0) == 0
    assert plan.lines_wait_s([50, 99, 98], 100, 0) == most - 1
    assert plan.lines_wait_s([99], 100, 2) == most - 2
    assert plan.lines_wait_s([500], 100, 0) == most
    assert plan.lines_wait_s([500], 100, most) == 0
    assert plan.lines_wait_s([50], 100, 0) <= 0


def test_what_the_log_does_not_reach_back_to_is_counted_and_said() -> None:
    place = ReplayPlace(dispatcher="default", stream="EVENTS", created="t", next=1, settled=1, end=9)
    status = plan.counted(ReplayStatus(checkpoint=(place,)), 0, 4, plan.Tally(5, 1, 0, unknown=2))
    status = plan.counted(status, 0, 6, plan.Tally(1, 0, 1, unknown=1))
    assert (status.found, status.unknown) == (8, 3)
    said = (
        "8 found, 6 replayed, 1 skipped, 1 failed; the attempts log does not reach back to 3 of 6: they are sent again"
    )
    assert plan.sentence(status, dry_run=False) == said
    assert plan.sentence(status, dry_run=True).endswith("reach back to 3 of 6: they would be sent again")
    assert "log" not in plan.sentence(ReplayStatus(), dry_run=False)


def test_a_replay_of_a_version_before_goes_on_with_nothing_unknown() -> None:
    status = status_in({"status": {"phase": "Running", "found": 3, "replayed": 3}})
    assert status is not None
    assert (status.found, status.unknown) == (3, 0)


def test_a_generation_counts_as_observed_once_the_replay_is_finished() -> None:
    running = told(ReplayStatus(phase="Running"), 1, ReplayReason.RUNNING, "3 found", "2026-11-30T14:00:00Z")
    assert running.observed_generation == -1
    assert [(each.type, each.status) for each in running.conditions] == [("Complete", "False")]
    later = told(running, 1, ReplayReason.WAITING, "3 found", "2026-11-30T15:00:00Z")
    assert later.conditions[0].last_transition_time == "2026-11-30T14:00:00Z", "its status did not change"
    done = told(
        later.model_copy(update={"phase": "Complete"}), 1, ReplayReason.COMPLETE, "3 found", "2026-11-30T16:00:00Z"
    )
    assert (done.observed_generation, done.conditions[0].last_transition_time) == (1, "2026-11-30T16:00:00Z")
    failed = told(
        later.model_copy(update={"phase": "Failed"}), 1, ReplayReason.WEBHOOK_GONE, "no", "2026-11-30T16:00:00Z"
    )
    assert {each.type: each.status for each in failed.conditions} == {
        "Complete": "False",
        "Failed": "True",
        "Stalled": "True",
    }
    assert as_manifest(failed)["conditions"][0]["lastTransitionTime"] == "2026-11-30T14:00:00Z"


@pytest.mark.parametrize(
    ("before", "now", "room"),
    [
        # The first look: nothing is known of the receiver.
        (None, (0, 0, 0), 10),
        (None, (0, 9, 0), 1),
        (None, (0, 60, 0), 0),
        # All that was stored was done.
        ((0, 0, 0), (0.5, 0, 25), 50),
        # 20 of 50 in a second: no more may wait than that.
        ((0, 0, 0), (1, 30, 50), 0),
        ((0, 35, 50), (1, 15, 50), 5),
        # 200 in a second are more than it stores.
        ((0, 250, 0), (1, 45, 0), 5),
        # Nothing is done, and others store as well.
        ((0, 10, 0), (1, 11, 0), 0),
        ((0, 5, 0), (1, 8, 0), 2),
        ((1, 100, 0), (1, 45, 0), 5),
    ],
)
def test_no_more_may_wait_than_is_stored_or_done_in_a_second(
    before: tuple[float, int, int] | None, now: tuple[float, int, int], room: int
) -> None:
    looked = plan.Look(*before) if before is not None else None
    assert plan.room(50, looked, plan.Look(*now)) == room
