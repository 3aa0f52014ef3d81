"""How much one user may have under way."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.api.status import Refused
from hookline.api.under_way import Bounds, Places

USERS = st.sampled_from([*"abcdefgh", *(f"system:serviceaccount:team-a:{number}" for number in range(40))])


def taken(places: Places, user: str, stack: ExitStack) -> bool:
    try:
        stack.enter_context(places.one(user))
    except Refused:
        return False
    return True


@given(st.lists(USERS, max_size=300))
def test_who_has_nothing_under_way_finds_a_place_whatever_a_few_others_take(wishes: list[str]) -> None:
    places = Places("requests", Bounds().requests, Bounds().requests_of_one)
    with ExitStack() as stack:
        for user in wishes:
            taken(places, user, stack)
        assert taken(places, "quiet", stack)
        assert taken(places, "system:serviceaccount:quiet:one", stack)
    assert places.used == 0
    with ExitStack() as stack:
        for _ in range(Bounds().requests_of_one):
            assert taken(places, "alone", stack)
        assert not taken(places, "alone", stack)


def test_a_namespace_has_half_of_the_places_at_most_with_however_many_accounts() -> None:
    places = Places("requests", 20, 5)
    with ExitStack() as stack:
        had = [taken(places, f"system:serviceaccount:team-a:{number}", stack) for number in range(100)]
        assert sum(had) == 10
        with pytest.raises(Refused, match="429"), places.one("system:serviceaccount:team-a:more"):
            pass
        assert taken(places, "system:serviceaccount:team-b:one", stack)


def test_all_places_are_had_by_as_many_users() -> None:
    places = Places("requests", 20, 5)
    with ExitStack() as stack:
        assert all(taken(places, f"user-{number}", stack) for number in range(20))
        assert not taken(places, "one more", stack)
