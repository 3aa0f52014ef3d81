"""When streams may be moved: all senders that are here said that they want the same."""

from __future__ import annotations

import pytest

from hookline.stream.agreement import REMOVE_SECONDS, SETTLE_SECONDS, STALE_SECONDS, Agreement, Says

OLD, NEW = "EVENTS DELIVERIES PARKED DEAD", "HOOKLINE_EVENTS …"
WANTED = "HOOKLINE_"


MINE = Says(WANTED, OLD)


LATER_S = 60.0


def look(agreement: Agreement, here: tuple[str, ...], mine: Says, *, since_s: float, until_s: float) -> None:
    """Every 2 s, as a sender does."""
    while since_s <= until_s:
        agreement.look(here, mine, since_s)
        since_s += 2


def agreement_of(*others: Says | None, me: str = "a", mine: Says = MINE, until_s: float = LATER_S) -> Agreement:
    """Of senders that have been here, and have said so, since 0."""
    agreement = Agreement(me)
    pods = ["b", "c", "d"][: len(others)]
    for pod, says in zip(pods, others, strict=True):
        agreement.heard(pod, says)
    look(agreement, tuple(sorted({me, *pods})), mine, since_s=0, until_s=until_s)
    return agreement


def test_streams_move_once_all_have_wanted_the_same_for_a_while() -> None:
    agreement = agreement_of(Says(WANTED, OLD), Says(WANTED, NEW), until_s=0)
    assert not agreement.may_move(WANTED, SETTLE_SECONDS - 0.1)
    assert agreement.may_move(WANTED, SETTLE_SECONDS)
    assert not agreement.may_move("", SETTLE_SECONDS)


@pytest.mark.parametrize("other", [None, Says(None, OLD), Says("", OLD)])
def test_a_sender_that_wants_otherwise_or_says_nothing_keeps_streams_where_they_are(other: Says | None) -> None:
    assert not agreement_of(Says(WANTED, OLD), other).may_move(WANTED, LATER_S)


def test_a_newcomer_that_was_not_heard_yet_is_waited_for() -> None:
    agreement = agreement_of(until_s=0)
    look(agreement, ("a", "b"), MINE, since_s=2, until_s=LATER_S)
    assert not agreement.may_move(WANTED, LATER_S)
    agreement.heard("b", MINE)
    agreement.look(("a", "b"), MINE, LATER_S)
    assert not agreement.may_move(WANTED, LATER_S)
    assert agreement.may_move(WANTED, LATER_S + SETTLE_SECONDS)


def test_who_left_is_not_asked_and_not_remembered() -> None:
    agreement = agreement_of(None, until_s=0)
    agreement.look(("a",), MINE, 1.0)
    assert agreement.may_move(WANTED, 1.0 + SETTLE_SECONDS)
    look(agreement, ("a", "b"), MINE, since_s=2, until_s=LATER_S)
    assert not agreement.may_move(WANTED, LATER_S)


def test_one_sender_empties_former_streams_once_all_store_in_the_new_ones() -> None:
    mine = Says(WANTED, NEW)
    assert not agreement_of(Says(WANTED, OLD), mine=mine).may_empty(mine, LATER_S)
    assert agreement_of(mine, mine=mine).may_empty(mine, SETTLE_SECONDS)
    assert not agreement_of(mine, me="z", mine=mine).may_empty(mine, LATER_S)


def test_an_empty_stream_is_removed_only_when_all_have_long_wanted_another_one() -> None:
    mine = Says(WANTED, NEW)
    agreement = agreement_of(mine, mine=mine, until_s=REMOVE_SECONDS)
    assert not agreement.may_remove(mine, REMOVE_SECONDS - 1)
    assert agreement.may_remove(mine, REMOVE_SECONDS)
    assert not agreement.may_remove(Says("", NEW), REMOVE_SECONDS)


def test_a_sender_that_was_frozen_begins_anew_also_where_it_has_forgotten_all_others() -> None:
    agreement, woken_s = agreement_of(MINE), LATER_S + STALE_SECONDS + 1
    for may in (agreement.may_empty, agreement.may_remove):
        assert may(MINE, LATER_S)
        assert not may(MINE, woken_s)
    assert not agreement.may_move(WANTED, woken_s)
    agreement.look(("a",), MINE, woken_s)
    assert not agreement.may_move(WANTED, woken_s)
    assert not agreement.may_empty(MINE, woken_s)
    assert agreement.may_move(WANTED, woken_s + SETTLE_SECONDS)


LARGE = Says(WANTED, OLD, takes_large=True)


def test_large_events_have_their_own_subject_once_all_have_known_it_for_a_while_whatever_else_they_want() -> None:
    agreement = agreement_of(LARGE, Says(None, NEW, takes_large=True), until_s=0)
    assert agreement.take_large(SETTLE_SECONDS - 0.1) is None
    assert agreement.take_large(SETTLE_SECONDS) is True


@pytest.mark.parametrize("other", [None, Says(WANTED, OLD)])
def test_large_events_come_as_all_others_as_soon_as_one_is_here_that_does_not_know_them(other: Says | None) -> None:
    agreement = agreement_of(LARGE)
    agreement.heard("c", other)
    agreement.look(("a", "b", "c"), LARGE, LATER_S + 1)
    assert agreement.take_large(LATER_S + 1) is False


def test_a_sender_that_has_not_looked_lately_changes_nothing_for_large_events() -> None:
    assert agreement_of(None).take_large(LATER_S + STALE_SECONDS + 1) is None
    assert Agreement("a").take_large(0.0) is None


def test_nobody_empties_former_streams_while_a_sender_is_here_that_knows_no_large_events() -> None:
    mine = Says(WANTED, NEW, takes_large=True)
    assert not agreement_of(Says(WANTED, NEW), mine=mine).may_empty(mine, LATER_S)
