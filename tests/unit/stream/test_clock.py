"""What is made of the times that NATS tells: never earlier than its clock, and later by less than a question takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hookline.stream.clock import ClockReading, better, reading

AHEAD_S = 1_700_000_000.0
"""The server's clock less ours."""

seconds = st.floats(0, 5)


@given(asked_s=st.floats(0, 1e6), there=seconds, back=seconds)
def test_the_servers_time_lies_between_what_an_answer_says_however_long_it_took(
    asked_s: float, there: float, back: float
) -> None:
    server_s = asked_s + there + AHEAD_S
    found = reading(server_s, asked_s=asked_s, answered_s=asked_s + there + back)
    assert found.least_s - 1e-6 <= AHEAD_S <= found.most_s + 1e-6
    assert abs(found.width_s - (there + back)) < 1e-6


def test_a_slow_answer_does_not_replace_what_a_quick_one_said() -> None:
    quick, slow = ClockReading(10, 10.001), ClockReading(6, 11)
    assert better(quick, slow) is quick
    assert better(slow, quick) is quick
    assert better(None, slow) is slow


def test_an_answer_that_contradicts_what_was_known_counts_however_long_it_took() -> None:
    known = ClockReading(10, 10.001)
    for put_right in map(ClockReading, (3605, -3615, 10.002, 9.8), (3615, -3605, 10.1, 9.999)):
        assert better(known, put_right) is put_right


@given(st.lists(st.tuples(seconds, seconds), min_size=1), st.floats(-7200, 7200))
def test_after_any_answers_the_time_is_right_to_within_what_they_took_also_when_the_server_was_set(
    answers: list[tuple[float, float]], set_by: float
) -> None:
    known = None
    for ahead in (AHEAD_S, AHEAD_S + set_by):
        for there, back in answers:
            known = better(known, ClockReading(ahead - back, ahead + there))
    assert known is not None
    narrowest = min(there + back for there, back in answers)
    # A clock that was set by less than an answer took is told apart only by a quicker one.
    allowed = 2 * max(there + back for there, back in answers) if set_by else narrowest
    assert known.most_s <= AHEAD_S + set_by + allowed + 1e-6
    assert known.least_s >= AHEAD_S + set_by - allowed - 1e-6
