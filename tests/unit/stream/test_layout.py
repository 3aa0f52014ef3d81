"""Which changes move streams to other names, and that any of them may be the last that a sender makes."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.stream import names
from hookline.stream.layout import Change, Layout, changes, goal, moved, plain

EVENTS = names.EVENTS
PREFIXES = st.sampled_from(["", "HOOKLINE_", "a-team_"])
PLAIN = plain()


def layout_of(serving: str | None, idle: Iterable[str]) -> Layout:
    """Of streams with events alone, by their prefixes."""
    return Layout({} if serving is None else {EVENTS: serving}, tuple(sorted(f"{each}{EVENTS}" for each in idle)))


def test_streams_of_before_stay_where_no_prefix_is_asked_for() -> None:
    assert changes(PLAIN, EVENTS, None, may_move=True) == [Change("EVENTS", serves=True)]


def test_a_nats_without_streams_of_ours_gets_our_own_names_or_those_that_are_asked_for() -> None:
    assert goal(Layout(), EVENTS, None, may_move=False) == "HOOKLINE_"
    assert goal(Layout(), EVENTS, "", may_move=False) == ""


def test_a_stream_that_was_deleted_comes_back_beside_the_others() -> None:
    others = Layout({names.DEAD: "", names.PARKED: ""})
    assert goal(others, EVENTS, None, may_move=False) == ""


def test_nothing_is_moved_before_all_senders_said_that_they_know_of_it() -> None:
    assert changes(PLAIN, EVENTS, "HOOKLINE_", may_move=False) == [Change("EVENTS", serves=True)]


def test_the_new_stream_is_there_before_the_old_one_gives_up_its_subjects() -> None:
    assert changes(PLAIN, EVENTS, "HOOKLINE_", may_move=True) == [
        Change("HOOKLINE_EVENTS", serves=False),
        Change("EVENTS", serves=False),
        Change("HOOKLINE_EVENTS", serves=True),
    ]


@given(
    serving=st.none() | PREFIXES,
    idle=st.sets(PREFIXES),
    wanted=st.none() | PREFIXES,
    may_move=st.booleans(),
    made=st.integers(0, 4),
)
def test_a_move_goes_on_from_whatever_change_was_the_last(
    serving: str | None, idle: set[str], wanted: str | None, may_move: bool, made: int
) -> None:
    idle -= {serving} if serving is not None else set()
    before = layout_of(serving, idle)
    plan = changes(before, EVENTS, wanted, may_move=may_move)
    serves = dict.fromkeys(before.former, False) | ({before.stream(EVENTS): True} if before.present else {})
    for change in plan[:made]:
        serves[change.stream] = change.serves
        # Two streams with the same subjects are refused.
        assert sum(serves.values()) <= 1
    there = layout_of(
        next((each.removesuffix(EVENTS) for each, does in serves.items() if does), None),
        [each.removesuffix(EVENTS) for each, does in serves.items() if not does],
    )
    after = moved(there, EVENTS, wanted, may_move=may_move)
    assert set(after.streams(EVENTS)) >= set(before.former)
    if wanted is not None and (may_move or serving is None):
        assert after.present == {EVENTS: wanted}
    assert moved(after, EVENTS, wanted, may_move=may_move) == after


def test_former_streams_are_known_by_what_their_names_end_with() -> None:
    found = Layout({EVENTS: "HOOKLINE_"}, ("DEAD", "EVENTS", "a-team_EVENTS"))
    assert found.streams(EVENTS) == ("HOOKLINE_EVENTS", "EVENTS", "a-team_EVENTS")
    assert found.former_of(names.DEAD) == ("DEAD",)


@pytest.mark.parametrize(
    "name", ["ORDERS", "1_EVENTS", "EVENTS2", "a.EVENTS", f"{'x' * 32}EVENTS", "HOOKLINE_BACKLOG", ""]
)
def test_a_name_that_none_of_our_streams_has_has_no_parts(name: str) -> None:
    assert names.parts_of(name) is None


def test_each_stream_has_consumers_of_its_own_names() -> None:
    assert names.fanout_consumer(2, "HOOKLINE_") == "HOOKLINE_fanout-2"
    assert names.shard_consumer(7, prefix="") == "shard-07"
    assert all(
        map(
            names.is_of_owner,
            ["fanout", "HOOKLINE_fanout-2", "large", "HOOKLINE_large-2", "shard-07", "a-team_shard-15-3"],
        )
    )
    assert not any(map(names.is_of_owner, ["unpark-1", "shard-7", "theirs", "1_fanout"]))


def test_the_consumer_of_large_events_is_not_taken_for_that_of_the_others_by_a_version_that_looks_how_they_begin() -> (
    None
):
    assert names.large_consumer(2, "HOOKLINE_") == "HOOKLINE_large-2"
    assert not names.large_consumer(2).startswith(names.fanout_consumer())


def test_a_large_event_has_tenant_and_type_as_any_and_lies_in_the_same_stream() -> None:
    subject = names.large_subject("team-a", "order.paid")
    assert names.is_event(subject)
    assert names.event_of(subject) == ("team-a", "order.paid")
    assert names.stream_of(subject) == names.EVENTS


def test_a_move_changes_nothing_for_large_events() -> None:
    layout = Layout({names.EVENTS: ""}, (), takes_large=True)
    assert moved(layout, names.EVENTS, "HOOKLINE_", may_move=True).takes_large
