from __future__ import annotations

from collections import Counter, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.delivery.policy.lanes import GREED, PATIENCE_SECONDS, PAUSE_SECONDS, PLACES, Lanes, Terms
from hookline.delivery.policy.shares import Bucket


def lane(key: str = "a", limit: int = 1, *, tenant: str = "t", per_second: float = 0.0) -> tuple[str, Terms]:
    return key, Terms(tenant, limit, per_second)


def test_a_lane_runs_up_to_its_limit_and_lets_the_rest_wait() -> None:
    lanes: Lanes[str, int] = Lanes()
    assert [lanes.offer(*lane(limit=2), number, now_s=0) for number in range(4)] == [True, True, False, False]


def test_one_lane_at_its_limit_does_not_stop_another() -> None:
    lanes: Lanes[str, int] = Lanes()
    assert lanes.offer(*lane("a"), 1, now_s=0)
    assert not lanes.offer(*lane("a"), 2, now_s=0)
    assert lanes.offer(*lane("b"), 3, now_s=0)


def test_what_waits_runs_in_order_as_calls_end() -> None:
    lanes: Lanes[str, int] = Lanes()
    for number in range(4):
        lanes.offer(*lane(), number, now_s=0)
    assert [lanes.finished(*lane(), now_s=0) for _ in range(4)] == [[1], [2], [3], []]


def test_a_raised_limit_lets_more_run_and_a_lowered_one_fewer() -> None:
    lanes: Lanes[str, int] = Lanes()
    for number in range(6):
        lanes.offer(*lane(limit=2), number, now_s=0)
    assert lanes.finished(*lane(limit=4), now_s=0) == [2, 3, 4]
    assert lanes.finished(*lane(limit=1), now_s=0) == []


def test_a_call_that_takes_long_gives_its_place_to_others_and_counts_in_its_lane() -> None:
    lanes: Lanes[str, int] = Lanes(places=8)
    for number in range(8):
        lanes.offer(*lane("slow", limit=20), number, now_s=0)
    assert not lanes.offer(*lane("b"), 10, now_s=0)
    assert lanes.stretch("slow")
    assert lanes.ready(0) == [7]
    assert lanes.stretch("slow")
    assert lanes.ready(0) == [10]
    assert lanes.snapshot().lanes["slow"].running == 8
    assert lanes.finished(*lane("slow", limit=20), now_s=0, stretched=True) == []
    assert lanes.finished(*lane("slow", limit=20), now_s=0) == []
    assert lanes.snapshot().tenants == {"t": 6}


def test_no_tenant_takes_all_the_room_for_calls_that_take_long() -> None:
    lanes: Lanes[str, int] = Lanes(places=64, long_places=8)
    for number in range(20):
        lanes.offer(*lane("slow", limit=20), number, now_s=0)
    assert sum(lanes.stretch("slow") for _ in range(20)) == 8 * GREED // (GREED + 1)
    lanes.offer(*lane("b", tenant="other"), 0, now_s=0)
    assert lanes.stretch("b")


def test_what_waits_too_long_leaves_and_what_is_pinned_stays() -> None:
    lanes: Lanes[str, int] = Lanes()
    for number in range(5):
        lanes.offer(*lane(limit=2), number, now_s=0, pinned=number == 3)
    assert lanes.overdue(PATIENCE_SECONDS) == []
    assert lanes.overdue(PATIENCE_SECONDS + 0.1) == [2, 4]
    assert lanes.overdue(PATIENCE_SECONDS + 100) == []
    assert lanes.finished(*lane(limit=2), now_s=0) == [3]


def test_what_is_to_wait_briefly_leaves_a_lane_that_moves_and_says_nothing_of_it() -> None:
    lanes: Lanes[str, int] = Lanes()
    for number in range(5):
        lanes.offer(*lane(limit=1), number, now_s=0, brief=number != 3)
    assert lanes.finished(*lane(limit=1), now_s=PATIENCE_SECONDS - 0.1) == [1]
    assert lanes.impatient(PATIENCE_SECONDS) == []
    assert lanes.impatient(PATIENCE_SECONDS + 0.1) == [2, 4]
    assert lanes.overdue(PATIENCE_SECONDS + 0.1) == [3]
    for number in range(5, 8):
        lanes.offer(*lane(limit=1), number, now_s=3, brief=True)
    assert lanes.finished(*lane(limit=1), now_s=3 + PATIENCE_SECONDS) == [5]
    assert lanes.overdue(3.1 + PATIENCE_SECONDS) == []


def test_what_is_to_wait_briefly_leaves_a_lane_in_which_no_call_ends_with_all_others() -> None:
    lanes: Lanes[str, int] = Lanes()
    for number in range(12):
        lanes.offer(*lane(limit=1), number, now_s=0, brief=True)
    assert lanes.overdue(PAUSE_SECONDS + 0.1) == list(range(1, 12))


def test_what_would_wait_too_long_leaves_a_lane_in_which_no_call_ends() -> None:
    lanes: Lanes[str, int] = Lanes()
    for number in range(2 + 8):
        lanes.offer(*lane(limit=2), number, now_s=0)
    # Eight behind two calls: four times as long as these take.
    assert lanes.overdue(PAUSE_SECONDS) == []
    assert lanes.overdue(PAUSE_SECONDS + 0.1) == [*range(2, 10)]


def test_what_would_wait_too_long_leaves_a_lane_whose_tenant_may_take_no_place() -> None:
    lanes: Lanes[str, int] = Lanes(GREED + 1)
    for number in range(GREED):
        assert lanes.offer(*lane("slow", GREED), number, now_s=0)
    for number in range(5):
        assert not lanes.offer(*lane("next"), number, now_s=0)
    assert lanes.overdue(PAUSE_SECONDS) == []
    assert lanes.overdue(PAUSE_SECONDS + 0.1) == [*range(5)]


def test_a_few_wait_on_in_a_lane_in_which_no_call_ends() -> None:
    lanes: Lanes[str, int] = Lanes()
    for number in range(2 + 4):
        lanes.offer(*lane(limit=2), number, now_s=0)
    assert lanes.overdue(PATIENCE_SECONDS / 2) == []
    assert lanes.overdue(PATIENCE_SECONDS / 2 + 0.1) == [*range(2, 6)]


def test_many_wait_on_in_a_lane_that_moves() -> None:
    lanes: Lanes[str, int] = Lanes()
    for number in range(100):
        lanes.offer(*lane(limit=2), number, now_s=0)
    now_s = 0.0
    while now_s + PAUSE_SECONDS < PATIENCE_SECONDS:
        now_s += PAUSE_SECONDS
        assert lanes.overdue(now_s) == []
        lanes.finished(*lane(limit=2), now_s=now_s)


def test_many_wait_on_for_the_rate_of_their_lane() -> None:
    lanes: Lanes[str, int] = Lanes()
    slow = lane(limit=2, per_second=1)
    for number in range(100):
        lanes.offer(*slow, number, now_s=0)
    assert lanes.overdue(PATIENCE_SECONDS) == []


def test_what_is_pinned_does_not_make_a_lane_stuck() -> None:
    lanes: Lanes[str, int] = Lanes()
    for number in range(2 + 8):
        lanes.offer(*lane(limit=2), number, now_s=0, pinned=number < 9)
    assert lanes.overdue(PAUSE_SECONDS + 0.1) == []


def test_a_snapshot_counts_what_runs_waits_and_is_pinned_and_follows_nothing() -> None:
    lanes: Lanes[str, int] = Lanes()
    for number in range(5):
        lanes.offer(*lane("a", 2), number, now_s=0, pinned=number == 3)
    found = lanes.snapshot()
    lanes.clear()
    assert (found.lanes, found.tenants) == ({"a": (2, 3, 1)}, {"t": 2})
    assert lanes.snapshot().lanes == {"a": (2, 0, 0)}


def test_a_lane_can_be_emptied_without_the_others() -> None:
    lanes: Lanes[str, int] = Lanes()
    for number in range(4):
        lanes.offer(*lane("ab"[number % 2]), number, now_s=0)
    assert lanes.evict("a") == [2]
    assert lanes.evict("unknown") == []
    assert lanes.clear() == [3]


def test_free_places_go_to_tenants_in_turn_and_then_to_their_webhooks_in_turn() -> None:
    lanes: Lanes[str, str] = Lanes(places=1)
    lanes.offer(*lane("first", 9, tenant="big"), "running", now_s=0)
    for number in range(3):
        for uid in ("big-1", "big-2"):
            lanes.offer(*lane(uid, 9, tenant="big"), f"{uid}.{number}", now_s=0)
    for number in range(3):
        lanes.offer(*lane("small-1", 9, tenant="small"), f"small-1.{number}", now_s=0)
    order, uid, tenant = [], "first", "big"
    for _ in range(9):
        (item,) = lanes.finished(*lane(uid, 9, tenant=tenant), now_s=0)
        order.append(item)
        uid = item.partition(".")[0]
        tenant = uid.partition("-")[0]
    assert order == [
        "big-1.0", "small-1.0", "big-2.0", "small-1.1", "big-1.1", "small-1.2", "big-2.1", "big-1.2", "big-2.2",
    ]  # fmt: skip


def test_a_rate_spreads_calls_and_holds_up_nobody_else() -> None:
    lanes: Lanes[str, int] = Lanes()
    limited = lane("slow", 10, per_second=2)
    assert [lanes.offer(*limited, number, now_s=0) for number in range(5)] == [True, True, False, False, False]
    assert lanes.offer(*lane("other"), 9, now_s=0)
    assert lanes.finished(*limited, now_s=0) == []
    assert lanes.wait_seconds(0) == lanes.wait_seconds_of("slow", 0) == 0.5
    assert lanes.ready(0.49) == []
    assert lanes.ready(0.5) == [2]
    assert lanes.ready(2) == [3, 4]
    assert lanes.wait_seconds(2) is None


def test_an_idle_lane_does_not_forget_what_its_rate_owes() -> None:
    lanes: Lanes[str, int] = Lanes()
    limited = lane("slow", per_second=0.1)
    assert lanes.offer(*limited, 1, now_s=0)
    assert lanes.finished(*limited, now_s=1) == []
    lanes.sweep(5)
    assert not lanes.offer(*limited, 2, now_s=9)
    assert lanes.ready(10) == [2]
    lanes.finished(*limited, now_s=10)
    lanes.sweep(30)
    assert not lanes.snapshot().lanes


_steps = st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=200)


@given(_steps, st.integers(1, 20), st.integers(1, 20))
def test_no_bound_is_exceeded_nothing_is_lost_and_no_place_stays_empty_that_may_be_taken(
    steps: list[tuple[str, bool]], limit: int, places: int
) -> None:
    lanes: Lanes[str, tuple[str, int]] = Lanes(places)
    running: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    offered = ran = 0
    for uid, ends in steps:
        rules = lane(uid, limit, tenant=uid if uid in "ab" else "both")
        if ends and running[uid]:
            running[uid] -= 1
            ready = lanes.finished(*rules, now_s=0)
        else:
            offered += 1
            waiting[uid] += 1
            ready = [(uid, offered)] if lanes.offer(*rules, (uid, offered), now_s=0) else []
        for each, _ in ready:
            running[each] += 1
            waiting[each] -= 1
        ran += len(ready)
        assert max(running.values(), default=0) <= limit
        assert running.total() <= places
        for each in waiting:
            taken = running["c"] + running["d"] if each in "cd" else running[each]
            may_take = taken < GREED * (places - running.total())
            assert not (waiting[each] and running[each] < limit and may_take)
    assert ran + len(lanes.clear()) == offered


def test_a_rate_that_is_taken_away_keeps_nothing_waiting() -> None:
    lanes: Lanes[str, int] = Lanes()
    for number in range(3):
        lanes.offer(*lane(limit=5, per_second=0.1), number, now_s=0)
    assert lanes.ready(0) == []
    lanes.change(*lane(limit=5))
    assert lanes.wait_seconds(0) is None
    assert lanes.ready(0) == [1, 2]


def test_the_end_of_a_call_asks_no_lane_that_waits_for_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    lanes: Lanes[str, int] = Lanes()
    for number in range(1000):
        slow = lane(f"slow-{number}", 9, tenant=f"t{number % 7}", per_second=0.01)
        assert lanes.offer(*slow, 1, now_s=0)
        assert not lanes.offer(*slow, 2, now_s=0)
        assert lanes.finished(*slow, now_s=0) == []
    asked: list[object] = []
    monkeypatch.setattr(Bucket, "take", lambda *each: asked.append(each))
    monkeypatch.setattr(Bucket, "wait_seconds", lambda *each: asked.append(each))
    for number in range(10):
        assert lanes.offer(*lane("quick"), number, now_s=1)
        assert not lanes.offer(*lane("quick"), number, now_s=1)
        assert lanes.finished(*lane("quick"), now_s=1) == [number]
        assert lanes.finished(*lane("quick"), now_s=1) == []
        assert lanes.wait_seconds(1) == 99
    assert asked == []


def test_lanes_with_a_rate_run_when_each_is_due() -> None:
    lanes: Lanes[str, str] = Lanes()
    for uid, per_second in (("third", 0.25), ("first", 1.0), ("second", 0.5)):
        for item in ("at once", uid):
            lanes.offer(*lane(uid, 9, tenant=uid, per_second=per_second), item, now_s=0)
    assert [(lanes.wait_seconds(now_s), lanes.ready(now_s + 1)) for now_s in (0, 1, 2, 3)] == [
        (1, ["first"]),
        (1, ["second"]),
        (2, []),
        (1, ["third"]),
    ]


def test_keys_of_lanes_that_are_due_at_once_need_no_order() -> None:
    lanes: Lanes[tuple[str, str | None], str] = Lanes()
    slow = Terms("t", 9, per_second=1)
    for key in (("a", "door-7"), ("a", None), ("b", None)):
        for item in ("at once", f"{key}"):
            lanes.offer(key, slow, item, now_s=0)
    lanes.sweep(0)
    for key in (("a", "door-7"), ("a", None), ("b", None)) * 2:
        lanes.change(key, slow._replace(per_second=2))
        lanes.ready(0)
        lanes.change(key, slow)
        lanes.ready(0)
        lanes.sweep(0)
    assert sorted(lanes.ready(1)) == ["('a', 'door-7')", "('a', None)", "('b', None)"]


def test_a_rate_that_was_raised_counts_from_now_on() -> None:
    lanes: Lanes[str, int] = Lanes()
    for number in range(3):
        lanes.offer(*lane(limit=9, per_second=0.01), number, now_s=0)
    lanes.change(*lane(limit=9, per_second=0.5))
    assert lanes.ready(0) == []
    assert lanes.wait_seconds(0) == lanes.wait_seconds_of("a", 0) == 2
    assert lanes.ready(2) == [1]


def test_rates_that_change_again_and_again_leave_nothing_behind() -> None:
    lanes: Lanes[str, int] = Lanes()
    for number in range(100):
        limited = lane(limit=9, per_second=0.001 * (1 + number % 2))
        lanes.offer(*limited, number, now_s=0)
        lanes.change(*limited)
        lanes.ready(0)
        lanes.sweep(0)
    assert lanes.snapshot().resting <= 2


def test_a_tenant_alone_takes_seven_eighths_of_the_places() -> None:
    lanes: Lanes[str, int] = Lanes()
    begun = sum(lanes.offer(*lane(f"{number % 9}", 100), number, now_s=0) for number in range(2 * PLACES))
    assert begun == 448
    # An end of a call lets it have its place again, and no other.
    assert len(lanes.finished(*lane("0", 100), now_s=0)) == 1


def test_a_tenant_that_comes_begins_at_once_beside_one_that_wants_all_places() -> None:
    lanes: Lanes[str, int] = Lanes()
    for number in range(2 * PLACES):
        lanes.offer(*lane("all", 2 * PLACES, tenant="all"), number, now_s=0)
    begun = sum(lanes.offer(*lane("next", 2 * PLACES, tenant="next"), number, now_s=0) for number in range(PLACES))
    assert begun == 56


@pytest.mark.parametrize("tenants", [1, 2, 3, 5, 10, 20])
def test_tenants_that_want_all_places_come_to_equal_shares_and_leave_some(tenants: int) -> None:
    lanes: Lanes[str, str] = Lanes()
    running: deque[str] = deque()
    for tenant in map(str, range(tenants)):
        want = lane(tenant, 3 * PLACES, tenant=tenant)
        running += [tenant for _ in range(3 * PLACES) if lanes.offer(*want, tenant, now_s=0)]
    for _ in range(2 * PLACES):
        tenant = running.popleft()
        running += lanes.finished(*lane(tenant, 3 * PLACES, tenant=tenant), now_s=0)
    shares = Counter(running).values()
    assert len(shares) == tenants
    assert max(shares) - min(shares) <= GREED
    # By the rule each holds 7 / (1 + 7n) of the places, and as many are free as are left.
    assert abs(PLACES - len(running) - PLACES / (1 + GREED * tenants)) < 2
    assert lanes.offer(*lane("next", tenant="next"), "next", now_s=0)


def test_an_idle_tenant_is_forgotten() -> None:
    lanes: Lanes[str, int] = Lanes()
    assert lanes.offer(*lane(), 1, now_s=0)
    lanes.finished(*lane(), now_s=0)
    assert lanes.snapshot().tenants
    lanes.sweep(0)
    assert not lanes.snapshot().tenants
