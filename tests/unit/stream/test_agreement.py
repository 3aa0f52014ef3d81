"""When streams may be moved: all senders that are here said that they want the same."""

from __future__ import annotations

import pytest

from hookline.stream.agreement import REMOVE_SECONDS, SETTLE_SECONDS, Agreement, Says

OLD, NEW = "EVENTS DELIVERIES PARKED DEAD", "HOOKLINE_EVENTS …"
WANTED = "HOOKLINE_"


MINE = Says(WANTED, OLD)


def agreement_of(*others: Says | None, me: str = "a", mine: Says = MINE) -> Agreement:
    """Of senders that have been here, and have said so, since 0."""
    agreement = Agreement(me)
    pods = ["b", "c", "d"][: len(others)]
    for pod, says in zip(pods, others, strict=True):
        agreement.heard(pod, says)
    agreement.look(tuple(sorted({me, *pods})), mine, 0.0)
    return agreement


def test_streams_move_once_all_have_wanted_the_same_for_a_while() -> None:
    agreement = agreement_of(Says(WANTED, OLD), Says(WANTED, NEW))
    assert not agreement.may_move(WANTED, SETTLE_SECONDS - 0.1)
    assert agreement.may_move(WANTED, SETTLE_SECONDS)
    assert not agreement.may_move("", SETTLE_SECONDS)


@pytest.mark.parametrize("other", [None, Says(None, OLD), Says("", OLD)])
def test_a_sender_that_wants_otherwise_or_says_nothing_keeps_streams_where_they_are(other: Says | None) -> None:
    assert not agreement_of(Says(WANTED, OLD), other).may_move(WANTED, 1000.0)


def test_a_newcomer_that_was_not_heard_yet_is_waited_for() -> None:
    agreement = agreement_of()
    agreement.look(("a", "b"), Says(WANTED, OLD), 10.0)
    assert not agreement.may_move(WANTED, 1000.0)
    agreement.heard("b", Says(WANTED, OLD))
    agreement.look(("a", "b"), Says(WANTED, OLD), 20.0)
    assert not agreement.may_move(WANTED, 20.0)
    assert agreement.may_move(WANTED, 20.0 + SETTLE_SECONDS)


def test_who_left_is_not_asked_and_not_remembered() -> None:
    agreement = agreement_of(None)
    agreement.look(("a",), Says(WANTED, OLD), 1.0)
    assert agreement.may_move(WANTED, 1.0 + SETTLE_SECONDS)
    agreement.look(("a", "b"), Says(WANTED, OLD), 2.0)
    assert not agreement.may_move(WANTED, 1000.0)


def test_one_sender_empties_former_streams_once_all_store_in_the_new_ones() -> None:
    mine = Says(WANTED, NEW)
    assert not agreement_of(Says(WANTED, OLD), mine=mine).may_empty(mine, 1000.0)
    assert agreement_of(mine, mine=mine).may_empty(mine, SETTLE_SECONDS)
    assert not agreement_of(mine, me="z", mine=mine).may_empty(mine, 1000.0)


def test_an_empty_stream_is_removed_only_when_all_have_long_wanted_another_one() -> None:
    mine = Says(WANTED, NEW)
    assert not agreement_of(mine, mine=mine).may_remove(mine, REMOVE_SECONDS - 1)
    assert agreement_of(mine, mine=mine).may_remove(mine, REMOVE_SECONDS)
    assert not agreement_of(mine, mine=mine).may_remove(Says("", NEW), REMOVE_SECONDS)
