from __future__ import annotations

import pytest
import structlog.testing

from doubles.books import route
from hookline.cli.run import attempt_in_words, log_attempts, say_attempt
from hookline.delivery.messages import Delivery
from hookline.delivery.policy.retry import Dead, Done, Outcome, Reason, Retry
from hookline.delivery.sender import Attempt
from hookline.events.envelope import Event

DELIVERY = Delivery("u1", Event("evt_1", "default", "IdentityCreated", "2026-11-29T12:00:00Z", b"{}"), 1)
ARRIVED = Outcome(Reason.DELIVERED, 204, "", 0.041)
REFUSED = Outcome(Reason.HTTP_STATUS, 503, "", 0.041)
NOBODY = Outcome(Reason.CONNECTION_REFUSED, None, "127.0.0.1:8443: nobody listens on this port", 0.1)


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (Attempt(DELIVERY, route(), ARRIVED, Done()), "204 in 41 ms"),
        (Attempt(DELIVERY, route(), REFUSED, Retry(334.2)), "503 in 41 ms; attempt 1, again in 5 min 34 s"),
        (
            Attempt(DELIVERY, route(), NOBODY, Retry(5)),
            "ConnectionRefused (127.0.0.1:8443: nobody listens on this port); attempt 1, again in 5 s",
        ),
        (
            Attempt(DELIVERY, route(), REFUSED, Dead("ScheduleSpent: attempt 2 was the last one")),
            "503 in 41 ms; given up, now a dead letter: ScheduleSpent: attempt 2 was the last one",
        ),
        (Attempt(DELIVERY, route(), REFUSED, Retry(5), given_back=True), "503 in 41 ms; what waits, waits on"),
        (
            Attempt(DELIVERY, route(), ARRIVED, Done(), settled=False),
            "204 in 41 ms; will be called again: what follows could not be stored",
        ),
    ],
)
def test_a_call_is_said_with_its_answer_and_what_follows(attempt: Attempt, words: str) -> None:
    assert attempt_in_words(attempt) == f"IdentityCreated to default/hook: {words}"


@pytest.mark.parametrize(
    ("attempt", "level", "said"),
    [
        (Attempt(DELIVERY, route(), ARRIVED, Done()), "info", "delivered"),
        (Attempt(DELIVERY, route(), REFUSED, Retry(5)), "warning", "will be tried again"),
        (Attempt(DELIVERY, route(), REFUSED, Dead("spent")), "error", "given up, now a dead letter"),
        (
            Attempt(DELIVERY, route(), REFUSED, Retry(5), probe=True, given_back=True),
            "warning",
            "a probe failed; what waits, waits on",
        ),
        (
            Attempt(DELIVERY, route(), REFUSED, Dead("spent"), settled=False),
            "warning",
            "called, and will be called again: what follows could not be stored",
        ),
    ],
)
def test_a_call_has_the_same_level_on_a_terminal_and_in_logs_for_machines(
    attempt: Attempt, level: str, said: str
) -> None:
    with structlog.testing.capture_logs() as lines:
        say_attempt(attempt)
        log_attempts()(attempt)
    assert [each["log_level"] for each in lines] == [level, level]
    assert lines[1]["event"] == said


def test_logs_for_machines_say_when_a_call_is_made_again_and_why_one_is_given_up() -> None:
    with structlog.testing.capture_logs() as lines:
        log_attempts()(Attempt(DELIVERY, route(), NOBODY, Retry(5.04)))
        log_attempts()(Attempt(DELIVERY, route(), NOBODY, Dead("spent")))
        log_attempts()(Attempt(DELIVERY, route(), ARRIVED, Done()))
    again, given_up, delivered = lines
    assert (again["in_seconds"], again["detail"]) == (5.0, NOBODY.detail)
    assert (given_up["why"], given_up["detail"]) == ("spent", NOBODY.detail)
    assert not {"in_seconds", "why", "detail"} & delivered.keys()
