"""What may stand in an answer of what others have written."""

from __future__ import annotations

import base64
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.api.texts import age, body_text, count, is_label, label_is_value, milliseconds, moment, plain, took


@given(st.text())
def test_a_text_has_nothing_that_a_terminal_obeys_and_can_be_written(text: str) -> None:
    said = plain(text)
    assert not any((ord(each) < 32 and each not in "\t\n") or 127 <= ord(each) < 160 for each in said)
    json.dumps(said).encode()
    said.encode()


def test_halves_of_characters_are_replaced() -> None:
    assert plain("a\ud800b\x1b[31m") == "a\ufffdb\ufffd[31m"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"busy", ("busy", "utf-8")),
        ("grüße".encode(), ("grüße", "utf-8")),
        ("grüße €".encode()[:-1], ("grüße ", "utf-8")),
        (b"line\r\nline\t", ("line\r\nline\t", "utf-8")),
        (b"\x1b[2J", (base64.b64encode(b"\x1b[2J").decode(), "base64")),
        ("\x9b2J".encode(), (base64.b64encode("\x9b2J".encode()).decode(), "base64")),
        (b"a\x00b", (base64.b64encode(b"a\x00b").decode(), "base64")),
        (b"\xff\xd8\xff\xe0", (base64.b64encode(b"\xff\xd8\xff\xe0").decode(), "base64")),
    ],
)
def test_a_body_is_shown_as_text_where_it_is_one(body: bytes, said: tuple[str, str]) -> None:
    assert body_text(body) == said


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -1, 10**400])
def test_a_number_that_is_none_is_zero_or_the_largest(number: float) -> None:
    assert 0 <= count(number) <= 2**53
    assert milliseconds(number) == 0
    assert age(number) in ("<unknown>", "0s")


@pytest.mark.parametrize("unix_s", [None, math.nan, math.inf, 0, -1, 1e300, 253_402_300_799])
def test_what_is_no_time_is_not_said(unix_s: float | None) -> None:
    assert moment(unix_s) is None
    assert moment(unix_s, exact=True) is None


def test_a_time_is_in_utc() -> None:
    assert moment(1764522000.25) == "2025-11-30T17:00:00Z"
    assert moment(1764522000.25, exact=True) == "2025-11-30T17:00:00.250000Z"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-0.5, "0s"),
        (12.9, "12s"),
        (119, "119s"),
        (120, "2m"),
        (292.5, "4m52s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (10_860, "3h1m"),
        (28_800, "8h"),
        (172_799, "47h"),
        (172_800, "2d"),
        (176_400, "2d1h"),
        (691_200, "8d"),
        (86_400 * 730, "2y"),
        (86_400 * 731, "2y1d"),
        (86_400 * 365 * 9, "9y"),
        (math.nan, "<unknown>"),
        (-5, "<unknown>"),
    ],
)
def test_an_age_reads_as_kubectls(seconds: float, said: str) -> None:
    """apimachinery, duration.HumanDuration."""
    assert age(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0001, "1ms"), (0.041, "41ms"), (0.9999, "1.0s"), (2.34, "2.3s"), (120, "2m"), (math.nan, ""), (-1, "")],
)
def test_how_long_a_call_took(seconds: float, said: str) -> None:
    assert took(seconds) == said


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("a", True),
        ("a-b_c.d", True),
        ("", False),
        ("-a", False),
        ("a" * 63, True),
        ("a" * 64, False),
        ("a b", False),
        ("a\n", False),
    ],
)
def test_what_may_be_the_value_of_a_label(text: str, is_one: bool) -> None:
    assert is_label(text) is is_one


@pytest.mark.parametrize(
    ("term", "said"),
    [
        ("team=a", ("team", "a")),
        (" example.com/team == A_b.c ", ("example.com/team", "A_b.c")),
        ("team=", ("team", "")),
        *((each, None) for each in ("", "team", "=a", "team!=a", "!team=a", "team===a", "team in (a)", "a/b/c=d")),
        *((each, None) for each in ("team=a\nb", "team=é", "Example.com/team=a", f"{'a' * 64}=b", "-a=b", "a-=b")),
    ],
)
def test_a_term_of_a_selector_says_label_and_value_or_nothing(term: str, said: tuple[str, str] | None) -> None:
    assert label_is_value(term) == said
