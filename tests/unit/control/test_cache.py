from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.control.cache import Cache, Change, Stamp
from hookline.control.kinds import Place

A, B = ("team", "a"), ("team", "b")


def stamp(version: int, uid: str = "u") -> Stamp:
    return Stamp(uid, version)


def cache(**there: int) -> Cache[str]:
    """What is there: name and version."""
    made: Cache[str] = Cache(str)
    for name, version in there.items():
        made.put(("team", name), stamp(version), f"{name}{version}")
    return made


def take_list(to: Cache[str], listed: dict[Place, int], version: int) -> None:
    """What whoever hears a whole list does with it."""
    to.replace_all(listed, version)
    for place, each in listed.items():
        to.put(place, stamp(each), f"{place[1]}{each}")
    to.confirm(version)


def test_a_newer_version_replaces_an_older_one_and_says_what_was_before() -> None:
    found = cache()
    assert found.put(A, stamp(3), "three") == Change(A, None, "three")
    assert found.put(A, stamp(4), "four") == Change(A, "three", "four")
    assert found.values == {A: "four"}


@pytest.mark.parametrize("version", [2, 3])
def test_what_is_known_or_older_is_no_news_and_is_not_read(version: int) -> None:
    read: list[str] = []

    def reading(source: str) -> str:
        read.append(source)
        return source

    found = Cache(reading)
    found.put(A, stamp(3), "three")
    assert found.put(A, stamp(version), "again") is None
    assert found.end(A, version) is None
    assert (found.values, read) == ({A: "three"}, ["three"])


def test_what_cannot_be_read_leaves_the_value_as_it_was_until_a_newer_version() -> None:
    found: Cache[Any] = Cache(json.loads)
    found.put(A, stamp(3), "3")
    with pytest.raises(ValueError, match="Expecting value"):
        found.put(A, stamp(4), "no json")
    assert found.values == {A: 3}
    assert found.put(A, stamp(4), "4") is None
    assert found.put(A, stamp(5), "5") == Change(A, 3, 5)


def test_what_is_gone_comes_back_by_a_newer_version_only() -> None:
    found = cache(a=3)
    assert found.remove(A, 5, "u") == Change(A, "a3", None)
    assert found.put(A, stamp(4), "late") is None
    assert found.values == {}
    assert found.put(A, stamp(6), "new") == Change(A, None, "new")
    assert found.remembered == 0


def test_a_list_brings_back_what_a_watch_said_was_gone_before_it() -> None:
    found = cache(a=3)
    found.remove(A, 5)
    take_list(found, {A: 3}, 4)
    assert found.values == {}
    take_list(found, {A: 3}, 9)
    assert found.values == {A: "a3"}


def test_the_end_of_another_object_or_of_an_older_version_takes_nothing_away() -> None:
    found = cache(a=5)
    assert found.remove(A, 9, "another") is None
    assert found.remove(A, 4, "u") is None
    assert found.values == {A: "a5"}
    assert found.remove(A, 5) == Change(A, "a5", None)


def test_an_end_that_is_heard_before_its_object_keeps_it_away() -> None:
    found = cache()
    assert found.remove(A, 7, "u") is None
    assert found.put(A, stamp(6), "late") is None
    assert found.put(A, stamp(8), "new") == Change(A, None, "new")


def test_what_ends_counts_as_gone_although_newer_versions_of_its_end_follow() -> None:
    found = cache(a=3)
    assert found.end(A, 4) == Change(A, "a3", None)
    assert found.end(A, 4) is None
    assert found.end(A, 5) == Change(A, None, None)
    assert found.values == {}


def test_a_list_takes_away_what_it_lacks_unless_that_is_newer() -> None:
    found = cache(a=3, b=12)
    assert found.replace_all({}, 10) == [Change(A, "a3", None)]
    assert found.values == {B: "b12"}


def test_a_later_list_brings_back_what_one_lacked_by_mistake_and_an_earlier_one_does_not() -> None:
    found = cache(a=3)
    take_list(found, {}, 9)
    take_list(found, {A: 3}, 8)
    assert found.values == {}
    take_list(found, {A: 3}, 9)
    assert found.values == {A: "a3"}


def test_after_a_list_what_is_older_and_was_not_in_it_stays_gone() -> None:
    found = cache()
    found.confirm(10)
    assert found.put(A, stamp(9), "late") is None
    assert found.put(A, stamp(11), "new") == Change(A, None, "new")


def test_what_went_is_remembered_until_a_list_of_its_time_says_it_for_all() -> None:
    found = cache(a=3, b=4)
    found.remove(A, 5)
    found.remove(B, 8)
    assert found.remembered == 2
    found.confirm(6)
    assert found.remembered == 1
    take_list(found, {}, 8)
    assert found.remembered == 0
    assert found.put(B, stamp(7), "late") is None


@pytest.mark.parametrize("listed", [{A: 3}, {A: 2, B: 1}, {}])
def test_a_list_differs_by_newer_more_or_fewer_places(listed: dict[Place, int]) -> None:
    assert cache(a=2).differs(listed)


@pytest.mark.parametrize("listed", [{A: 2}, {A: 1}])
def test_a_list_of_what_is_known_or_older_does_not_differ(listed: dict[Place, int]) -> None:
    assert not cache(a=2).differs(listed)


def test_what_came_after_a_list_does_not_make_it_differ() -> None:
    found = cache(a=9, b=12)
    found.remove(A, 11)
    assert not found.differs({A: 9}, 10)
    assert found.differs({A: 9}, 12)
    assert found.differs({A: 13, B: 12}, 13)


def test_the_representation_of_news_shows_nothing_that_may_be_secret() -> None:
    assert "canary-0b7e" not in repr([Change(A, "canary-0b7e", "canary-0b7e"), Cache(str)])


@given(st.lists(st.tuples(st.sampled_from(["put", "remove", "end"]), st.sampled_from([A, B]), st.integers(1, 20))))
def test_the_version_that_is_known_of_a_place_never_falls(steps: list[tuple[str, Place, int]]) -> None:
    found: Cache[int] = Cache(int)
    newest: dict[Place, int] = {}
    for what, place, version in steps:
        if what == "put":
            change = found.put(place, stamp(version), version)
        else:
            change = found.remove(place, version, "u") if what == "remove" else found.end(place, version)
        if change is not None:
            assert version >= newest.get(place, 0)
        newest[place] = max(version, newest.get(place, 0))
        assert all(found.values[each] == newest[each] for each in found.values)
