from __future__ import annotations

from doubles.books import route
from hookline.delivery.health import SICK_AFTER, Health
from hookline.retry import Outcome, Reason

ONE, TWO = route("u1"), route("u2")
WELL = Outcome(Reason.DELIVERED, 200, "", 0.1)
BAD = Outcome(Reason.HTTP_STATUS, 500, "", 0.1)
REFUSED = Outcome(Reason.CONNECTION_REFUSED, None, "", 0.1)


def failing(health: Health, times: int, *, at_s: float = 100) -> None:
    for number in range(times):
        health.attempted(ONE, BAD, at_s + number)


def test_an_endpoint_is_sick_after_some_failures_in_a_row_since_the_first_of_them() -> None:
    health = Health()
    failing(health, SICK_AFTER - 1)
    assert health.sick() == []
    health.attempted(ONE, REFUSED, 200)
    (sick,) = health.sick()
    assert (sick.uid, sick.since_s, sick.reason, sick.status) == ("u1", 100, Reason.CONNECTION_REFUSED, None)


def test_a_success_between_begins_the_row_anew() -> None:
    health = Health()
    failing(health, SICK_AFTER - 1)
    health.attempted(ONE, WELL, 150)
    failing(health, SICK_AFTER - 1, at_s=200)
    assert health.sick() == []


def test_a_sick_endpoint_is_well_at_the_next_success() -> None:
    health = Health()
    failing(health, SICK_AFTER + 3)
    health.attempted(ONE, WELL, 150)
    assert health.sick() == []


def test_endpoints_are_counted_apart() -> None:
    health = Health()
    failing(health, SICK_AFTER)
    health.attempted(TWO, BAD, 100)
    health.attempted(TWO, WELL, 101)
    assert [each.uid for each in health.sick()] == ["u1"]


def test_a_webhook_that_was_deleted_or_changed_is_forgotten_and_others_are_not() -> None:
    for book in ({}, {"u1": route("u1", generation=2)}):
        health = Health()
        failing(health, SICK_AFTER)
        health.keep({"u1": ONE}.get)
        assert len(health.sick()) == 1
        health.keep(book.get)
        assert health.sick() == []
