from __future__ import annotations

from dataclasses import replace

import pytest

from doubles.books import CANARY, route, secret_keys
from hookline.control.desired_book import Change
from hookline.control.fleet import Fleet, NoRoom
from hookline.control.sender_reports import Report
from hookline.control.status import Failing
from hookline.control.work_keys import ShardKey
from hookline.delivery.policy.retry import Reason
from hookline.routing.book_files import digest_of
from hookline.routing.routes import BOOK_SHARDS, RouteState, index_file, shard_of

SHARD = shard_of("u1", BOOK_SHARDS)
FAILING = Failing("2026-01-01T00:00:00Z", Reason.TIMEOUT, None)
LATER = Failing("2026-01-02T00:00:00Z", Reason.TIMEOUT, None)
GONE = Failing("2026-01-03T00:00:00Z", Reason.GONE, 410, gone=True)
GONE_LATER = Failing("2026-01-04T00:00:00Z", Reason.GONE, 410, gone=True)


def fleet() -> Fleet:
    """With u1 in its book, which was written."""
    found = Fleet("default")
    found.book.put(route("u1"), secret_keys("u1"))
    found.book.files(SHARD)
    return found


def up_to_date(fleet: Fleet, failing: dict[str, Failing] | None = None) -> Report:
    return Report({index_file(SHARD): digest_of(fleet.book.files(SHARD)[index_file(SHARD)])}, failing or {})


BEHIND = Report({}, {})


def test_a_webhook_is_programmed_when_every_ready_sender_serves_it() -> None:
    found = fleet()
    assert found.take_reports({"a": up_to_date(found), "b": up_to_date(found)}) == {"u1"}
    condition = found.programmed("u1")
    assert (condition.type, condition.status, condition.reason) == ("Programmed", "True", "Programmed")
    assert found.take_reports({"a": up_to_date(found), "b": up_to_date(found)}) == set()


def test_one_sender_that_is_behind_or_silent_keeps_it_pending() -> None:
    for other in (BEHIND, None):
        found = fleet()
        assert found.take_reports({"a": up_to_date(found), "b": other}) == set()
        condition = found.programmed("u1")
        assert (condition.status, condition.reason) == ("False", "Pending")
        assert "of 2 senders" in condition.message


def test_without_a_ready_sender_the_condition_says_whom_to_ask() -> None:
    found = fleet()
    assert found.take_reports({}) == set()
    condition = found.programmed("u1")
    assert (condition.status, condition.reason) == ("False", "NoSenders")
    assert "administrators" in condition.message


def test_what_was_served_once_stays_programmed_when_senders_go() -> None:
    found = fleet()
    found.take_reports({"a": up_to_date(found)})
    found.take_reports({})
    assert found.programmed("u1").status == "True"


@pytest.mark.parametrize(
    ("found", "reason", "words"),
    [
        (NoRoom(Change.FULL, None), "BookFull", ("is not called", "another Dispatcher")),
        (NoRoom(Change.SHARE, RouteState.DISABLED), "BookFull", ("is not called", "share", "delete some")),
        (NoRoom(Change.SHARE, RouteState.ACTIVE), "BookFull", ("before stays in force", "share")),
        (NoRoom(Change.FULL, RouteState.HELD, old_secrets=True), "BookFull", ("is not called", "deliveries wait")),
        (
            NoRoom(Change.FULL, RouteState.ACTIVE, old_secrets=True),
            "RotationRefused",
            ("signing key goes on signing calls", "hookline.dev/allow-webhooks", "has no room"),
        ),
    ],
)
def test_what_found_no_room_says_so_whatever_senders_serve_and_what_is_in_force(
    found: NoRoom, reason: str, words: tuple[str, ...]
) -> None:
    its = fleet()
    its.take_reports({"a": up_to_date(its)})
    condition = its.programmed("u1", found)
    assert (condition.status, condition.reason) == ("False", reason)
    assert all(each in condition.message for each in words)
    # An Event's note is cut there.
    assert len(condition.message) < 1024


def test_a_webhook_that_one_sender_does_not_understand_says_so_until_no_sender_of_that_version_is_left() -> None:
    found = fleet()
    old = replace(up_to_date(found), unread={"u1": "it needs filter"})
    assert found.take_reports({"a": up_to_date(found), "b": old}) == {"u1"}
    condition = found.programmed("u1")
    assert (condition.status, condition.reason) == ("False", "SenderTooOld")
    assert "it needs filter" in condition.message
    assert found.take_reports({"a": up_to_date(found), "b": old}) == set()
    # One that does not answer now has not changed its version.
    assert found.take_reports({"a": up_to_date(found), "b": None}) == set()
    assert found.take_reports({"a": up_to_date(found)}) == {"u1"}
    assert found.programmed("u1").status == "True"


def test_an_endpoint_that_a_report_has_no_room_for_stays_what_it_was() -> None:
    found = fleet()
    found.take_reports({"a": up_to_date(found, {"u1": FAILING})})
    assert found.take_reports({"a": replace(up_to_date(found), truncated=True)}) == set()
    assert found.failing == {"u1": FAILING}
    assert found.take_reports({"a": up_to_date(found)}) == {"u1"}


def test_an_endpoint_turns_failing_and_well_once_each() -> None:
    found = fleet()
    found.take_reports({"a": up_to_date(found)})
    assert found.take_reports({"a": up_to_date(found, {"u1": FAILING}), "b": up_to_date(found)}) == {"u1"}
    assert found.take_reports({"a": up_to_date(found, {"u1": LATER}), "b": up_to_date(found)}) == set()
    assert found.failing == {"u1": FAILING}
    assert found.take_reports({"a": up_to_date(found), "b": up_to_date(found)}) == {"u1"}
    assert found.failing == {}


def test_a_failing_endpoint_that_is_gone_and_well_again_turns_once_each() -> None:
    found = fleet()
    found.take_reports({"a": up_to_date(found), "b": up_to_date(found)})
    turns = [
        found.take_reports({"a": up_to_date(found, said), "b": up_to_date(found, said)})
        for said in ({"u1": FAILING}, {"u1": FAILING}, {"u1": GONE}, {"u1": GONE}, {}, {})
    ]
    assert turns == [{"u1"}, set(), {"u1"}, set(), {"u1"}, set()]
    assert found.failing == {}


def test_gone_stays_what_it_was_first_and_a_silent_sender_makes_it_neither_failing_nor_well() -> None:
    found = fleet()
    found.take_reports({"a": up_to_date(found, {"u1": GONE}), "b": up_to_date(found, {"u1": GONE})})
    assert found.take_reports({"a": None, "b": up_to_date(found)}) == set()
    assert found.take_reports({"a": up_to_date(found, {"u1": GONE_LATER}), "b": None}) == set()
    assert found.failing == {"u1": GONE}


def test_what_is_doubted_is_looked_at_once_when_all_senders_are_heard() -> None:
    found = fleet()
    found.doubted.add("u1")
    silent: tuple[dict[str, Report | None], ...] = ({"a": BEHIND, "b": None}, {}, {"a": None})
    assert [(found.take_reports(reports), found.heard) for reports in silent] == [(set(), False)] * 3
    answers = [(found.take_reports({"a": BEHIND, "b": BEHIND}), found.heard) for _ in range(2)]
    assert answers == [({"u1"}, True), (set(), True)]


def test_a_sender_that_does_not_answer_makes_no_endpoint_well() -> None:
    found = fleet()
    found.take_reports({"a": up_to_date(found, {"u1": FAILING}), "b": up_to_date(found)})
    assert found.take_reports({"a": None, "b": up_to_date(found)}) == set()
    assert found.take_reports({"a": None}) == set()
    assert found.take_reports({}) == set()
    assert found.failing == {"u1": FAILING}
    assert found.take_reports({"b": up_to_date(found)}) == {"u1"}


def test_a_sender_that_says_it_serves_something_else_is_late_and_a_silent_one_is_not() -> None:
    found = fleet()
    found.take_reports({"a": up_to_date(found), "b": BEHIND, "c": None})
    assert found.late == {"b"}
    found.take_reports({"a": up_to_date(found), "b": up_to_date(found)})
    assert found.late == frozenset()


def test_a_webhook_falls_into_the_shard_of_its_uid() -> None:
    assert Fleet("edge").shard_key("u1") == ShardKey("edge", SHARD)


def test_the_representation_of_a_fleet_shows_no_secret() -> None:
    assert CANARY not in repr(fleet())


NO_QUEUE = Report({}, {}, ("NATSInUse", "it belongs to another"))


def test_the_queue_is_ready_as_soon_as_one_sender_can_use_it() -> None:
    found = Fleet("default")
    assert found.queue.status == "Unknown"
    assert not found.hear_of_queue([None])
    assert found.queue.status == "Unknown"
    assert found.hear_of_queue([NO_QUEUE, None])
    assert (found.queue.status, found.queue.reason) == ("False", "NATSInUse")
    assert not found.hear_of_queue([NO_QUEUE, NO_QUEUE])
    assert found.hear_of_queue([NO_QUEUE, Report({}, {})])
    assert (found.queue.status, found.queue.reason) == ("True", "QueueReady")


def test_what_is_to_be_done_for_the_attempts_log_is_said_of_a_queue_that_is_ready() -> None:
    found = Fleet("default")
    found.hear_of_queue([Report({}, {})])
    assert found.hear_of_queue([Report({}, {}), Report({}, {}, attempts_log="delete it")])
    assert (found.queue.status, found.queue.message.rpartition("; ")[2]) == ("True", "delete it")
    assert found.hear_of_queue([Report({}, {})])
    assert "delete" not in found.queue.message


def test_what_senders_said_of_the_queue_stays_while_none_answers() -> None:
    found = Fleet("default")
    found.hear_of_queue([NO_QUEUE])
    assert not found.hear_of_queue([])
    assert found.queue.reason == "NATSInUse"
