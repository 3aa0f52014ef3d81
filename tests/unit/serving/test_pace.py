"""So many a second."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hookline.serving.pace import Pace


@given(st.lists(st.floats(0, 0.05), min_size=1, max_size=200))
def test_a_pace_lets_no_more_through_than_it_says(pauses: list[float]) -> None:
    pace, now_s, turns = Pace(100, 10), 0.0, []
    for pause in pauses:
        now_s += pause
        turns.append(now_s + pace.wait_seconds(now_s))
        pace.take(now_s)
    for first, later in zip(turns, turns[12:], strict=False):
        assert later - first >= 0.01 - 1e-9
