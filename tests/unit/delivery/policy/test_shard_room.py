"""How much of shards is under way while a sender is late, and while it is not."""

from __future__ import annotations

from hookline.delivery.policy.event_room import IN_TIME_SECONDS, LATE_SECONDS, PLACES
from hookline.delivery.policy.shard_room import LEAST, ShardRoom

SHARDS, MOST = 16, 128
LATE, IN_TIME, BETWEEN = 2 * LATE_SECONDS, IN_TIME_SECONDS / 2, (LATE_SECONDS + IN_TIME_SECONDS) / 2


def looked(room: ShardRoom, late_s: float, moving: int, *, busy: int = SHARDS, times: int = 1) -> ShardRoom:
    for _ in range(times):
        room.look(late_s, moving, busy=busy, shards=SHARDS)
    return room


def under_way(room: ShardRoom, *, busy: int = SHARDS) -> int:
    """How many may be, when so many shards have much waiting."""
    return busy * room.room(MOST, held=1, moving=1)


def with_all() -> ShardRoom:
    """After it was in time for long, with much to do."""
    room = ShardRoom(SHARDS)
    for _ in range(30):
        looked(room, IN_TIME, under_way(room))
    return room


def test_a_sender_that_has_nothing_to_do_asks_for_little_at_once() -> None:
    room = looked(ShardRoom(SHARDS), IN_TIME, 0, busy=0, times=1000)
    assert SHARDS * room.room(MOST, held=0, moving=0) == LEAST


def test_a_sender_that_is_in_time_comes_to_have_all_that_may_be_in_hand() -> None:
    room = with_all()
    assert under_way(room) == PLACES == SHARDS * MOST


def test_a_sender_that_is_late_has_less_under_way_and_never_less_than_the_least() -> None:
    room = looked(with_all(), LATE, 100)
    assert LEAST < under_way(room) < 100
    assert under_way(looked(room, LATE, 0, times=50)) == LEAST


def test_a_sender_that_is_neither_late_nor_in_time_keeps_what_it_has() -> None:
    room = looked(with_all(), LATE, 80)
    before = under_way(room)
    assert under_way(looked(room, BETWEEN, 60, times=50)) == before


def test_one_shard_alone_has_the_room_of_all() -> None:
    room = looked(ShardRoom(SHARDS), LATE, 0, busy=1, times=50)
    assert under_way(room, busy=1) == LEAST


def test_what_does_not_move_keeps_no_room_from_the_others_of_its_shard() -> None:
    room = looked(ShardRoom(SHARDS), LATE, 0, times=50)
    moves = room.room(MOST, held=2, moving=2)
    hangs = room.room(MOST, held=72, moving=2)
    assert moves == 1
    assert hangs == 70 + moves
    assert room.room(MOST, held=MOST, moving=0) == MOST


def test_what_is_not_needed_any_more_is_not_asked_for_in_the_next_burst() -> None:
    room = with_all()
    looked(room, IN_TIME, 1, busy=1, times=1000)
    assert SHARDS * room.room(MOST, held=0, moving=0) == LEAST
