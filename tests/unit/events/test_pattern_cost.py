"""How long a pattern may take is told from the pattern, and never too short for one that takes for ever."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hookline.events.pattern_cost import ways
from hookline.events.patterns import problem

LENGTH = 30


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(?:a*)*b",
        "(a|a)*b",
        "^(a|aa)+$",
        "(a?){50}b",
        "(?:a{1,3}){20}",
        "(?<x>a+)+",
        "((ab?)+)*",
        "(ca*a*)*d",
        "(.*,)*x",
        r"([^,]+\W)*x",
        r"(\s+é?)*",
        r"(a+)\1",
        "(" * 200 + ")" * 200,
    ],
)
def test_a_pattern_that_may_take_for_ever_is_told(pattern: str) -> None:
    assert ways(pattern, LENGTH) == math.inf


@pytest.mark.parametrize(
    "pattern",
    [
        "^[a-z]+$",
        "a|b|c",
        r"^\(+\)$",
        "^[(+*]+$",
        r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        r"^[^@\s]+@[^@\s]+\.[^@\s]+$",
        r"^[A-Za-z][A-Za-z0-9]*([.-][A-Za-z0-9]+)*$",
        r"^([a-z0-9]+\.)+[a-z]{2,}$",
        r"^\d+(\.\d+){0,3}(-[a-z]+)?$",
        r"^\p{L}+(?: \p{Lu}\.)?$",
        "(a|b)?",
    ],
)
def test_a_pattern_of_every_day_may_be_tried_on_a_text_of_every_day(pattern: str) -> None:
    assert problem(pattern) is None
    assert ways(pattern, LENGTH) < 10**6


def test_a_longer_text_takes_longer() -> None:
    assert ways("^a*b*c*$", 1000) == 1001**3
    assert ways("a*b", 1000) > ways("^a*b", 1000)
    assert ways("^a|b*c", 1000) > ways("^a", 1000)


@example("(a])*", 5)
@given(st.text("ab(|)*+?{},1[]^$\\.-dk<>:=!", max_size=20), st.integers(0, 10**6))
def test_whatever_stands_in_a_pattern_there_is_an_answer(pattern: str, length: int) -> None:
    assert ways(pattern, length) >= 0
