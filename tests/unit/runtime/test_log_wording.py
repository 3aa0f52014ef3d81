from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hookline.runtime.log_wording import duration, line_for_people


def test_facts_follow_the_text_and_those_without_a_value_are_left_out() -> None:
    facts = {"webhook": "default/hook", "status": None, "problem": "", "in_seconds": 334.2, "count": 0}
    line = line_for_people("12:05:06", "warning", "will be tried again", facts)
    assert line == "12:05:06  warning: will be tried again: webhook default/hook, in 5 min 34 s, count 0"


def test_a_line_without_facts_is_its_text() -> None:
    assert line_for_people("12:05:06", "info", "ended", {}) == "12:05:06  ended"


@example("", math.inf)
@example("", math.nan)
@given(st.text(), st.text() | st.integers() | st.floats() | st.booleans() | st.binary())
def test_a_line_is_one_line_and_cannot_steer_the_terminal(text: str, value: object) -> None:
    assert line_for_people("12:05:06", "error", text, {"value": value, "seconds": value}).isprintable()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.041, "41 ms"),
        (1, "1 s"),
        (59.94, "59.9 s"),
        (60, "1 min"),
        (334.2, "5 min 34 s"),
        (3600, "1 h"),
        (86_340, "23 h 59 min"),
    ],
)
def test_a_duration_is_said_by_its_two_largest_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words
