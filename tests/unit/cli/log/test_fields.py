from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.cli.errors import WrongInput
from hookline.cli.log.fields import moment, number, point_in_time, since, text, until, value

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("typed", "ago"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("2h", timedelta(hours=2)),
        ("1d12h", timedelta(days=1, hours=12)),
    ],
)
def test_a_span_means_so_long_ago(typed: str, ago: timedelta) -> None:
    assert point_in_time(typed, "--since", NOW) == NOW - ago


def test_a_time_means_itself_and_nothing_means_nothing() -> None:
    assert point_in_time("2026-11-30T13:00:00+02:00", "--since", NOW) == NOW - timedelta(hours=1)
    assert point_in_time("", "--since", NOW) is None


@pytest.mark.parametrize(
    "typed", ["2", "h", "2 h", "-2h", "yesterday", "2026-11-30", "2026-13-30T00:00:00Z", "99999d99999d"]
)
def test_what_is_no_time_says_what_to_write(typed: str) -> None:
    with pytest.raises(WrongInput, match="--since must be a time span such as"):
        point_in_time(typed, "--since", NOW)


def test_a_span_longer_than_the_calendar_is_wrong_input() -> None:
    with pytest.raises(WrongInput, match="longer ago"):
        point_in_time("99999d99999h", "--since", NOW.replace(year=200))


def test_times_are_told_as_spans_from_now() -> None:
    found = {"next": {"time": "2026-11-30T12:04:52Z"}, "time": "2026-11-30T11:59:48.123456789Z"}
    assert until(found, "next.time", NOW) == "4m52s"
    assert until(found, "time", NOW) == "0s"
    assert since(found, "time", NOW) == "11s"
    assert since(found, "missing", NOW) == until(found, "missing", NOW) == ""


def test_what_a_receiver_wrote_cannot_steer_a_terminal() -> None:
    shown = text({"detail": "a\x1b[2J\x07\r\nb\u202e\x9b"}, "detail")
    assert shown.isprintable()
    assert shown.startswith("a\\x1b[2J")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["a", "b", "time"]), inner),
    )
)
def test_whatever_an_object_holds_is_read(found: object) -> None:
    for path in ("a", "a.b", "a.b.time"):
        value(found, path)
        assert text(found, path).isprintable()
        number(found, path)
        moment(found, path)
        since(found, path, NOW)
        until(found, path, NOW)
