from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.stream.owner import ANYBODY, MAX_TERM, NOBODY, Installation, Mark, NotTheOwner, claimed, read

NOW = "2026-11-27T12:00:00+00:00"
THEIRS = Mark("theirs", "team-b/default", "2026-01-01T00:00:00+00:00", 3)


def test_whoever_comes_first_is_the_owner() -> None:
    assert claimed(None, Installation("mine", "team-a/default"), NOW) == Mark("mine", "team-a/default", NOW, 1)


def test_the_owner_stays_the_owner_since_when_it_was() -> None:
    mark = Mark("mine", "a", "2026-01-01T00:00:00+00:00", 2)
    assert claimed(mark, Installation("mine", "a"), NOW) == mark
    assert claimed(mark, Installation("mine", "b"), NOW) == Mark("mine", "b", mark.since, 2)


@pytest.mark.parametrize("me", [Installation("mine", "a"), NOBODY, Installation("mine", "a", "somebody-else")])
def test_anybody_else_is_refused_and_told_who_the_owner_is_and_how_to_take_over(me: Installation) -> None:
    with pytest.raises(NotTheOwner) as refused:
        claimed(THEIRS, me, NOW)
    assert refused.value.problem.reason == "NATSInUse"
    for part in ("team-b/default", "theirs", THEIRS.since, "takeOverFrom", "--take-over"):
        assert part in refused.value.problem.message


@pytest.mark.parametrize("who", [ANYBODY, "theirs", "team-b/default"])
def test_a_take_over_is_a_new_term(who: str) -> None:
    assert claimed(THEIRS, Installation("mine", "a", who), NOW) == Mark("mine", "a", NOW, 4)


def test_nobody_in_particular_takes_over_nothing() -> None:
    with pytest.raises(NotTheOwner):
        claimed(THEIRS, Installation("", "", ANYBODY), NOW)


@given(st.builds(Mark, st.text(), st.text(max_size=200), st.text(max_size=40), st.integers(1, MAX_TERM)))
def test_a_mark_is_read_as_it_was_written(mark: Mark) -> None:
    assert read(mark.encoded()) == mark


@given(st.binary(max_size=200) | st.sampled_from([b"[]", b"null", b"{}", b"[" * 100_000, b'{"term":1e999}']))
def test_whatever_somebody_wrote_there_is_a_mark_of_somebody(value: bytes) -> None:
    assert 0 < read(value).term <= MAX_TERM


def test_a_mark_that_cannot_be_read_is_not_ours() -> None:
    with pytest.raises(NotTheOwner):
        claimed(read(b"garbage"), Installation("mine", "a"), NOW)
