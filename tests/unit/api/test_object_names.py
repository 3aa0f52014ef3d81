from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.api.object_names import (
    MAX_LINES,
    MessagePlace,
    attempt_name,
    line_of,
    mark_of,
    message_name,
    place_in_log,
    place_of_attempt,
    place_of_message,
    seq_of,
)

SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

numbers = st.integers(min_value=0, max_value=2**60)


@given(st.text(max_size=200), numbers, st.integers(1, 2**50), st.integers(0, MAX_LINES - 1))
def test_a_name_is_a_dns_subdomain_and_says_its_place_whatever_the_event_id(
    event_id: str, attempt: int, seq: int, line: int
) -> None:
    name = attempt_name(event_id, attempt, place_in_log(seq, line))
    assert SUBDOMAIN.fullmatch(name)
    assert len(name) <= 100
    place = place_of_attempt(name)
    assert place is not None
    assert (seq_of(place), line_of(place)) == (seq, line)


@given(st.text(max_size=200), numbers, st.integers(1, 2**50), st.sampled_from(["DEAD", "HOOKLINE_DEAD", "PARKED"]))
def test_a_name_of_a_message_says_stream_and_sequence(event_id: str, attempt: int, seq: int, stream: str) -> None:
    name = message_name(event_id, attempt, stream, seq)
    assert SUBDOMAIN.fullmatch(name)
    assert place_of_message(name) == MessagePlace(mark_of(stream), seq)


def test_places_grow_with_sequence_and_line() -> None:
    assert place_in_log(1, MAX_LINES - 1) < place_in_log(2, 0) < place_in_log(2, 1)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x",
        "a-1.0",
        "a-1.01-0",  # no number is written in two ways
        "a-1.1-" + "z" * 13,
        "a-1." + "z" * 13 + "-0",
        "a-1.1-0.1-0",
        "a-1.A-0",
        "a-1.1-0\n",
        "a" * 5000,
        "a-1.1-1z141z3",
    ],
)
def test_what_is_no_name_of_an_attempt_has_no_place(name: str) -> None:
    assert place_of_attempt(name) is None


@pytest.mark.parametrize("name", ["", "a-1.1-0", "a-1.0" + "z" * 13 + "-0000000", "a-1." + "z" * 13 + "-0000000"])
def test_what_is_no_name_of_a_message_has_no_place(name: str) -> None:
    assert place_of_message(name) is None
