from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hookline.delivery.lanes import PATIENCE_SECONDS, Lanes, Place


def test_a_lane_runs_up_to_its_limit_and_lets_the_rest_wait() -> None:
    lanes: Lanes[int] = Lanes()
    places = [lanes.offer("a", number, limit=2, now_s=0) for number in range(4)]
    assert places == [Place.RUN, Place.RUN, Place.WAIT, Place.WAIT]


def test_one_lane_at_its_limit_does_not_stop_another() -> None:
    lanes: Lanes[int] = Lanes()
    assert lanes.offer("a", 1, limit=1, now_s=0) is Place.RUN
    assert lanes.offer("a", 2, limit=1, now_s=0) is Place.WAIT
    assert lanes.offer("b", 3, limit=1, now_s=0) is Place.RUN


def test_what_waits_runs_in_order_as_calls_end() -> None:
    lanes: Lanes[int] = Lanes()
    for number in range(4):
        lanes.offer("a", number, limit=1, now_s=0)
    assert [lanes.finished("a", limit=1) for _ in range(4)] == [[1], [2], [3], []]


def test_a_raised_limit_lets_more_run_and_a_lowered_one_fewer() -> None:
    lanes: Lanes[int] = Lanes()
    for number in range(6):
        lanes.offer("a", number, limit=2, now_s=0)
    assert lanes.finished("a", limit=4) == [2, 3, 4]
    assert lanes.finished("a", limit=1) == []


def test_what_waits_too_long_leaves_and_its_lane_takes_in_no_more_than_it_may_run() -> None:
    lanes: Lanes[int] = Lanes()
    for number in range(4):
        lanes.offer("a", number, limit=1, now_s=0)
    assert lanes.overdue(PATIENCE_SECONDS) == []
    assert lanes.overdue(PATIENCE_SECONDS + 0.1) == [1, 2, 3]
    assert lanes.offer("a", 4, limit=1, now_s=3) is Place.WAIT
    assert lanes.offer("a", 5, limit=1, now_s=3) is Place.AWAY
    assert lanes.offer("b", 6, limit=1, now_s=3) is Place.RUN


def test_a_lane_that_caught_up_lets_messages_wait_again() -> None:
    lanes: Lanes[int] = Lanes()
    for number in range(2):
        lanes.offer("a", number, limit=1, now_s=0)
    lanes.overdue(PATIENCE_SECONDS + 1)
    lanes.finished("a", limit=1)
    assert [lanes.offer("a", number, limit=1, now_s=5) for number in range(4)] == [Place.RUN] + [Place.WAIT] * 3


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=200), st.integers(1, 4))
def test_never_more_than_the_limit_runs_and_nothing_is_lost(steps: list[tuple[str, bool]], limit: int) -> None:
    lanes: Lanes[int] = Lanes()
    running = {"a": 0, "b": 0, "c": 0}
    offered = ran = 0
    for uid, ends in steps:
        if ends and running[uid]:
            ready = lanes.finished(uid, limit=limit)
            ran += len(ready)
            running[uid] += len(ready) - 1
        else:
            offered += 1
            if lanes.offer(uid, offered, limit=limit, now_s=0) is Place.RUN:
                ran += 1
                running[uid] += 1
        assert max(running.values()) <= limit
    assert ran + len(lanes.clear()) == offered
