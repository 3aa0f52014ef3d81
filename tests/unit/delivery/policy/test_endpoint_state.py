from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles.books import route
from hookline.delivery.policy import endpoint_state
from hookline.delivery.policy.endpoint_state import (
    LONGEST_PROBE_SECONDS,
    OPENS_AFTER,
    PROBE_SECONDS,
    Failures,
    Kind,
    State,
    probe_wait_seconds,
)
from hookline.delivery.policy.retry import Outcome, Reason

ONE, TWO = route("u1"), route("u2")
WELL = Outcome(Reason.DELIVERED, 200, "", 0.1)
BAD = Outcome(Reason.HTTP_STATUS, 500, "", 0.1)
REFUSED = Outcome(Reason.CONNECTION_REFUSED, None, "", 0.1)
FAILING = State(generation=1, kind=Kind.FAILING, reason="HTTPStatus", status=500, since_s=100)


def fail(failures: Failures, times: int, *, at_s: float = 100) -> list[State | None]:
    return [failures.attempted(ONE, BAD, at_s + number) for number in range(times)]


def test_an_endpoint_is_failing_after_some_failures_in_a_row_since_the_first_of_them() -> None:
    failures = Failures()
    assert fail(failures, OPENS_AFTER - 1) == [None] * (OPENS_AFTER - 1)
    state = failures.attempted(ONE, REFUSED, 200)
    assert state == State(generation=1, kind=Kind.FAILING, reason="ConnectionRefused", status=None, since_s=100)


def test_a_success_between_begins_the_row_anew() -> None:
    failures = Failures()
    fail(failures, OPENS_AFTER - 1)
    failures.attempted(ONE, WELL, 150)
    assert fail(failures, OPENS_AFTER - 1, at_s=200) == [None] * (OPENS_AFTER - 1)


def test_endpoints_are_counted_apart() -> None:
    failures = Failures()
    fail(failures, OPENS_AFTER - 1)
    assert failures.attempted(TWO, BAD, 100) is None
    assert failures.attempted(ONE, BAD, 100) is not None


def test_a_webhook_that_was_deleted_or_changed_is_forgotten_and_others_are_not() -> None:
    for book in ({}, {"u1": route("u1", generation=2)}):
        failures = Failures()
        fail(failures, OPENS_AFTER - 1)
        failures.keep({"u1": ONE}.get)
        assert failures.any("u1")
        failures.keep(book.get)
        assert not failures.any("u1")


def test_failures_of_another_generation_do_not_count() -> None:
    failures = Failures()
    fail(failures, OPENS_AFTER - 1)
    assert failures.attempted(route("u1", generation=2), BAD, 100) is None


def test_a_410_is_enough() -> None:
    state = Failures().attempted(ONE, Outcome(Reason.GONE, 410, "", 0.1), 7)
    assert state is not None
    assert (state.kind, state.status, state.since_s) == (Kind.GONE, 410, 7)


def test_probes_come_at_growing_intervals_up_to_a_longest() -> None:
    waits, state = [], FAILING
    for _ in range(9):
        waits.append(probe_wait_seconds(state, jitter=0))
        state = endpoint_state.paused(endpoint_state.begun(state), BAD)
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert (waits[0], waits[-1]) == (PROBE_SECONDS, LONGEST_PROBE_SECONDS)


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_jitter_makes_a_probe_later_by_a_fifth_at_most_and_never_earlier(probes: int, jitter: float) -> None:
    state = FAILING.model_copy(update={"probes": probes})
    wait = probe_wait_seconds(state, jitter=0)
    assert wait <= probe_wait_seconds(state, jitter=jitter) <= 1.2 * wait


def test_a_receiver_that_asks_for_a_pause_is_not_probed_earlier() -> None:
    busy = Outcome(Reason.TOO_MANY_REQUESTS, 429, "", 0.1, 1234.0)
    assert probe_wait_seconds(endpoint_state.paused(endpoint_state.begun(FAILING), busy), jitter=0) == 1234
    failures = Failures()
    opened = [failures.attempted(ONE, busy, 1) for _ in range(OPENS_AFTER)][-1]
    assert opened is not None
    assert probe_wait_seconds(opened, jitter=0) == 1234


@given(
    st.builds(
        State,
        generation=st.integers(0, 2**40),
        kind=st.sampled_from(Kind),
        reason=st.sampled_from(list(map(str, Reason))),
        status=st.none() | st.integers(100, 999),
        since_s=st.integers(0, 2**33),
        probes=st.integers(0, 99),
    )
)
def test_a_state_is_read_as_it_was_written(state: State) -> None:
    assert endpoint_state.read(state.encoded()) == state


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b'{"generation": 1}',
        b'{"generation": 1, "kind": "x"}',
        b'{"generation": 1, "kind": "Failing"}',
        b'{"generation": 1, "kind": "Failing", "reason": "two words"}',
    ],
)
def test_what_is_no_state_says_nothing(value: bytes) -> None:
    assert endpoint_state.read(value) is None


def test_a_state_of_a_later_version_counts_as_far_as_it_is_known() -> None:
    state = endpoint_state.read(b'{"generation": 1, "kind": "Failing", "reason": "QuantumFailure", "new": {"a": 1}}')
    assert (state and state.kind, state and state.reason) == (Kind.FAILING, "QuantumFailure")


@pytest.mark.parametrize(("word", "kind"), [(b"Sick", Kind.FAILING), (b"Behind", Kind.BACKLOGGED)])
def test_a_state_of_an_earlier_version_is_read_by_the_words_of_now(word: bytes, kind: Kind) -> None:
    state = endpoint_state.read(b'{"generation": 1, "kind": "%b", "reason": "HTTPStatus"}' % word)
    assert state is not None
    assert state.kind is kind


def test_a_pause_counts_on_the_statuses_on_which_it_counts_for_retries() -> None:
    for status, pause_s in ((429, 600), (503, 600), (500, 0), (302, 0)):
        outcome = Outcome(Reason.HTTP_STATUS, status, "", 0.1, 600)
        assert endpoint_state.paused(endpoint_state.begun(FAILING), outcome).pause_s == pause_s
        failures = Failures()
        turned = [failures.attempted(ONE, outcome, 100) for _ in range(OPENS_AFTER)][-1]
        assert turned is not None
        assert turned.pause_s == pause_s
