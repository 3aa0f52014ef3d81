"""When a delivery is tried again, and when it is given up."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.delivery.policy.retry import (
    MAX_RETRY_AFTER_SECONDS,
    Dead,
    Done,
    Outcome,
    Reason,
    Retry,
    Then,
    decide,
    parse_retry_after,
    table,
)
from hookline.resources.dispatcher import DEFAULT_SCHEDULE_SECONDS

NOW_S = 1_700_000_000.0
FAILURES = [reason for reason in Reason if reason not in (Reason.DELIVERED, Reason.GONE)]

schedules = st.lists(st.integers(min_value=1, max_value=7 * 86400), max_size=20)
jitters = st.floats(min_value=0, max_value=1, exclude_max=True)


def ended(reason: Reason, status: int | None = None, retry_after_seconds: float | None = None) -> Outcome:
    return Outcome(reason, status, "detail", 0.1, retry_after_seconds)


def due_in_seconds(outcome: Outcome, *, attempt: int = 1, jitter: float = 0.0) -> float:
    decision = decide(outcome, attempt=attempt, schedule_seconds=DEFAULT_SCHEDULE_SECONDS, jitter=jitter)
    assert isinstance(decision, Retry)
    return decision.wait_seconds


def test_a_delivered_event_is_done() -> None:
    outcome = ended(Reason.DELIVERED, 204)

    assert decide(outcome, attempt=1, schedule_seconds=[5], jitter=0.5) == Done()


def test_410_gives_up_at_once_with_the_whole_schedule_left() -> None:
    decision = decide(ended(Reason.GONE, 410), attempt=1, schedule_seconds=DEFAULT_SCHEDULE_SECONDS, jitter=0.0)

    assert isinstance(decision, Dead)
    assert decision.reason.startswith("Gone: ")


def test_the_default_schedule_is_the_one_of_standard_webhooks() -> None:
    assert sum(DEFAULT_SCHEDULE_SECONDS) == timedelta(hours=75, minutes=35, seconds=5).total_seconds()
    assert [due_in_seconds(ended(Reason.TIMEOUT), attempt=n + 1) for n in range(9)] == list(DEFAULT_SCHEDULE_SECONDS)


@pytest.mark.parametrize("reason", FAILURES)
def test_every_other_failure_is_retried_and_dead_when_the_schedule_is_spent(reason: Reason) -> None:
    outcome = ended(reason)

    assert isinstance(decide(outcome, attempt=2, schedule_seconds=[5, 5], jitter=0.0), Retry)
    spent = decide(outcome, attempt=3, schedule_seconds=[5, 5], jitter=0.0)
    assert spent == Dead(f"ScheduleSpent: attempt 3 was the last one and ended with {reason}")


def test_the_reason_of_a_dead_delivery_names_the_last_status() -> None:
    spent = decide(ended(Reason.HTTP_STATUS, 503), attempt=1, schedule_seconds=[], jitter=0.0)

    assert spent == Dead("ScheduleSpent: attempt 1 was the last one and ended with HTTPStatus 503")


@given(schedule=schedules, jitter=jitters, status=st.integers(300, 599), hint=st.none() | st.floats(0, 1e9))
def test_a_delivery_makes_one_attempt_more_than_the_schedule_has_waits(
    schedule: list[int], jitter: float, status: int, hint: float | None
) -> None:
    outcome = ended(Reason.HTTP_STATUS, status, hint)
    attempt = 1
    while isinstance(decision := decide(outcome, attempt=attempt, schedule_seconds=schedule, jitter=jitter), Retry):
        attempt += 1

    assert isinstance(decision, Dead)
    assert attempt == len(schedule) + 1


@given(
    schedule=schedules.filter(bool),
    jitter=jitters,
    reason=st.sampled_from(FAILURES),
    status=st.sampled_from([None, 302, 404, 429, 500, 503]),
    hint=st.none() | st.floats(0, 1e9),
)
def test_no_retry_is_earlier_than_schedule_and_hint_nor_more_than_a_fifth_later(
    schedule: list[int], jitter: float, reason: Reason, status: int | None, hint: float | None
) -> None:
    decision = decide(ended(reason, status, hint), attempt=1, schedule_seconds=schedule, jitter=jitter)

    assert isinstance(decision, Retry)
    honoured = min(hint, MAX_RETRY_AFTER_SECONDS) if hint is not None and status in (429, 503) else 0.0
    wait = max(schedule[0], honoured)
    assert wait <= decision.wait_seconds <= wait * 1.2 + 1e-3


@given(first=jitters, second=jitters)
def test_jitter_spreads_retries(first: float, second: float) -> None:
    earlier, later = sorted([first, second])

    assert due_in_seconds(ended(Reason.TIMEOUT), attempt=9, jitter=earlier) <= due_in_seconds(
        ended(Reason.TIMEOUT), attempt=9, jitter=later
    )
    assert due_in_seconds(ended(Reason.TIMEOUT), attempt=9, jitter=0.5) == pytest.approx(86400 * 1.1)


@pytest.mark.parametrize(
    ("status", "hint", "wait"),
    [
        (503, 120.0, 120.0),
        (429, 120.0, 120.0),
        (429, 1.0, 5.0),
        (503, None, 5.0),
        (500, 120.0, 5.0),
        (302, 120.0, 5.0),
        (429, 1e12, 86400.0),
    ],
)
def test_retry_after_counts_on_429_and_503_only_never_before_the_schedule_and_up_to_a_day(
    status: int, hint: float | None, wait: float
) -> None:
    assert due_in_seconds(ended(Reason.HTTP_STATUS, status, hint)) == wait


def test_attempts_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="from 1"):
        decide(ended(Reason.TIMEOUT), attempt=0, schedule_seconds=[5], jitter=0.0)


def test_reason_words_are_unique_camel_case() -> None:
    words = [str(reason) for reason in Reason]

    assert len(set(words)) == len(words)
    assert all(word.isascii() and word.isalpha() and word[0].isupper() for word in words)


def test_an_outcome_does_not_print_the_receivers_text() -> None:
    outcome = Outcome(Reason.HTTP_STATUS, 500, "answered 500", 0.1, None, b"CANARY")

    assert "CANARY" not in repr(outcome)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 120 ", 120.0),
        ("0", 0.0),
        ("86400", 86400.0),
        ("86401", MAX_RETRY_AFTER_SECONDS),
        ("9" * 8000, MAX_RETRY_AFTER_SECONDS),
        ("Tue, 14 Nov 2023 22:15:20 GMT", 120.0),
        ("Tuesday, 14-Nov-23 22:15:20 GMT", 120.0),
        ("Tue Nov 14 22:15:20 2023", 120.0),
        ("Tue, 14 Nov 2023 23:15:20 +0100", 120.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER_SECONDS),
        ("Tue, 14 Nov 2023 22:13:20 GMT", None),
        ("Mon, 13 Nov 2023 22:13:20 GMT", None),
        ("", None),
        ("-5", None),
        ("+5", None),
        ("1.5", None),
        ("1e3", None),
        ("0x10", None),
        ("٣", None),
        ("²", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("120, 240", None),
        ("Tue, 99 Nov 2023 99:99:99 GMT", None),
        ("Tue, 14 Nov 0000 22:15:20 GMT", None),
        ("Tue, 14 Nov 99999999999999 22:15:20 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_garbage_is_no_wish(value: str, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW_S) == seconds


@pytest.mark.parametrize(
    ("value", "answered", "seconds"),
    [
        ("Tue, 14 Nov 2023 22:15:20 GMT", "Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
        ("Tue, 14 Nov 2023 21:15:20 GMT", "Tue, 14 Nov 2023 21:13:20 GMT", 120.0),
        ("Tue, 14 Nov 2023 23:15:20 GMT", "Tue, 14 Nov 2023 23:15:20 GMT", None),
        ("Tue, 14 Nov 2023 22:15:20 GMT", "", 120.0),
        ("Tue, 14 Nov 2023 22:15:20 GMT", "soon", 120.0),
        ("Tue, 14 Nov 2023 22:15:20 GMT", "Tue, 14 Nov 0001 22:14:20 GMT", MAX_RETRY_AFTER_SECONDS),
        ("120", "Tue, 14 Nov 2023 23:15:20 GMT", 120.0),
    ],
)
def test_a_date_is_read_against_the_date_of_the_answer_and_not_against_the_clock_of_the_sender(
    value: str, answered: str, seconds: float | None
) -> None:
    assert parse_retry_after(value, NOW_S, answered=answered) == seconds


@given(
    value=st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ [-+A-Z0-9]*"),
    now_s=st.floats(0, 1e11),
    answered=st.none() | st.text(),
)
def test_no_text_of_a_receiver_is_an_error_or_more_than_a_day(value: str, now_s: float, answered: str | None) -> None:
    seconds = parse_retry_after(value, now_s, answered=answered)

    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER_SECONDS


def test_a_date_without_a_zone_is_in_gmt_wherever_the_sender_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert parse_retry_after("Tue Nov 14 22:15:20 2023", NOW_S) == 120.0
    finally:
        monkeypatch.undo()
        time.tzset()


@given(wait=st.integers(min_value=1, max_value=86400))
def test_a_date_means_the_same_pause_as_its_seconds(wait: int) -> None:
    date = format_datetime(datetime.fromtimestamp(NOW_S + wait, UTC), usegmt=True)

    assert parse_retry_after(date, NOW_S) == parse_retry_after(str(wait), NOW_S) == wait


def test_each_reason_says_what_it_means_what_follows_and_what_to_do() -> None:
    assert [reason for reason in Reason if reason.then is Then.DONE] == [Reason.DELIVERED]
    assert [reason for reason in Reason if reason.then is Then.DEAD] == [Reason.GONE]
    for reason in Reason:
        assert reason.means
        assert reason.advice or reason is Reason.DELIVERED
        assert not {"|", "\n"} & set(reason.means + reason.advice)


def test_the_page_for_people_has_a_row_for_each_reason_and_no_other() -> None:
    page = (Path(__file__).parents[4] / "docs" / "outcomes.md").read_text()
    assert table() in page
    rows = [line.split(" | ")[0].removeprefix("| ") for line in table().splitlines()[2:]]
    assert rows == [str(reason) for reason in Reason]


def test_a_word_names_its_reason() -> None:
    assert Reason("ConnectionReset") is Reason.CONNECTION_RESET
    assert f"{Reason.TIMEOUT}" == "Timeout"
