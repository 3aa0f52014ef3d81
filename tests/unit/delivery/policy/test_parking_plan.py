from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles.books import route
from hookline.delivery.endpoints import UNKNOWN
from hookline.delivery.policy import parking_plan
from hookline.delivery.policy.endpoint_state import Kind, State
from hookline.delivery.policy.parking_plan import (
    IDLE_PROBE_SECONDS,
    MAX_IN_HAND,
    PARKED_EXPIRED,
    SHORTEST_PATIENCE_SECONDS,
    SPARE_BYTES,
    SPARE_ROOM,
    Parked,
    Plan,
    Serving,
    Step,
    Task,
    due_s,
    plan,
    spare,
    spent,
    step,
)
from hookline.routing.routes import RouteState

FAILING, GONE, BACKLOGGED = Kind.FAILING.value, Kind.GONE.value, Kind.BACKLOGGED.value
HELD = RouteState.HELD.value
FAILING_STATE = State(generation=1, kind=Kind.FAILING, reason="HTTPStatus", status=500, since_s=100)
WHYS = ["", FAILING, GONE, BACKLOGGED, HELD, UNKNOWN]


def one(parked: Parked | None, serving: Serving | None = None, *, now_s: float = 0) -> Plan:
    """The plan where there is no other Webhook."""
    return plan({"u": parked} if parked else {}, {"u": serving} if serving else {}, held_bytes=(), now_s=now_s)


@pytest.mark.parametrize(
    ("parked", "task"),
    [
        (Parked(1, ""), Task.CALL),
        (Parked(1, BACKLOGGED), Task.CALL),
        (Parked(1, FAILING), None),
        (Parked(1, FAILING, probe_due=True), Task.PROBE),
        (Parked(1, FAILING, probe_due=True, expiry_due=True), Task.PROBE),
        (Parked(1, FAILING, expiry_due=True), Task.EXPIRE),
        (Parked(1, GONE), None),
        (Parked(1, GONE, expiry_due=True), Task.EXPIRE),
        (Parked(1, HELD), None),
        (Parked(1, HELD, expiry_due=True), Task.EXPIRE),
        (Parked(1, UNKNOWN), None),
        (Parked(1, UNKNOWN, expiry_due=True), Task.EXPIRE),
        (Parked(1, UNKNOWN, gone=True, expiry_due=True), Task.BURY),
    ],
)
def test_what_is_parked_is_called_probed_with_given_up_or_left(parked: Parked, task: Task | None) -> None:
    assert one(parked) == (Plan(begin=[("u", task, 1)]) if task else Plan())


@pytest.mark.parametrize("task", Task)
def test_what_is_parked_no_more_is_served_no_more(task: Task) -> None:
    assert one(None, Serving(task, 1, 0, in_hand=True)) == Plan(leave=["u"])


@pytest.mark.parametrize("why", [FAILING, GONE, HELD, UNKNOWN])
def test_what_may_be_called_no_more_is_left_at_once(why: str) -> None:
    assert one(Parked(1, why), Serving(Task.CALL, 8, 0)) == Plan(leave=["u"])


def test_a_probe_goes_on_while_it_is_in_hand_and_ends_when_another_sender_holds_its_delivery() -> None:
    due = Parked(1, FAILING, expiry_due=True)
    assert one(due, Serving(Task.PROBE, 1, 0, in_hand=True), now_s=10 * IDLE_PROBE_SECONDS) == Plan()
    assert one(due, Serving(Task.PROBE, 1, 0), now_s=IDLE_PROBE_SECONDS) == Plan()
    assert one(Parked(1, FAILING), Serving(Task.PROBE, 1, 0), now_s=IDLE_PROBE_SECONDS + 0.1) == Plan(leave=["u"])


def test_an_endpoint_that_came_back_under_a_probe_is_called() -> None:
    assert one(Parked(9, BACKLOGGED), Serving(Task.PROBE, 1, 0, in_hand=True)).begin == [("u", Task.CALL, 1)]


def test_what_began_to_be_given_up_goes_on_however_young_the_next_is() -> None:
    assert one(Parked(9, FAILING, probe_due=True), Serving(Task.EXPIRE, 1, 0)).resize == [("u", 2)]


def test_what_comes_goes_behind_what_is_parked_once_that_is_much() -> None:
    assert one(Parked(MAX_IN_HAND, "")).backlogged == []
    assert one(Parked(MAX_IN_HAND + 1, "")).backlogged == ["u"]
    assert one(Parked(MAX_IN_HAND + 1, BACKLOGGED)).backlogged == []
    assert one(Parked(MAX_IN_HAND + 1, FAILING)).backlogged == []


def rooms(parked: Parked, looks: int) -> list[int]:
    """The room of a Webhook at each of so many looks."""
    found: list[int] = []
    serving: Serving | None = None
    for _ in range(looks):
        made = one(parked, serving)
        if made.begin:
            ((_, task, room),) = made.begin
            serving = Serving(task, room, 0)
        else:
            assert serving is not None
            ((_, serving.room),) = made.resize
        found.append(serving.room)
    return found


def test_an_endpoint_that_came_back_takes_one_call_and_then_twice_as_many_each_time() -> None:
    assert rooms(Parked(999, BACKLOGGED), 8) == [1, 2, 4, 8, 16, 32, 64, 64]
    assert rooms(Parked(999, BACKLOGGED, at_once=5), 5) == [1, 2, 4, 5, 5]


def test_an_endpoint_whose_last_call_failed_gets_no_more_at_once_than_before() -> None:
    assert rooms(Parked(999, BACKLOGGED, failed_last=True), 3) == [1, 1, 1]
    assert one(Parked(9, BACKLOGGED, failed_last=True), Serving(Task.CALL, 8, 0)).resize == [("u", 8)]


def test_an_endpoint_that_is_only_slow_has_its_whole_room_at_once() -> None:
    assert rooms(Parked(999, BACKLOGGED, slow=True, at_once=5), 2) == [5, 5]


def test_a_rate_limit_keeps_no_more_in_hand_than_a_second_s_worth() -> None:
    assert rooms(Parked(999, BACKLOGGED, slow=True, per_second=4.5), 1) == [5]
    assert rooms(Parked(999, BACKLOGGED, slow=True, per_second=0.001), 1) == [1]


@pytest.mark.parametrize(
    "parked", [Parked(999, UNKNOWN, gone=True), Parked(999, HELD, expiry_due=True)], ids=["bury", "expire"]
)
def test_what_is_given_up_is_given_up_faster_and_faster(parked: Parked) -> None:
    assert rooms(parked, 8) == [1, 2, 4, 8, 16, 32, 64, 64]


def test_all_together_have_one_each_and_the_spare_room_by_number_or_by_bytes() -> None:
    assert spare(()) == SPARE_ROOM
    assert spare((1, 2, 3)) == SPARE_ROOM
    assert spare((0,)) == SPARE_ROOM
    assert spare((256 * 1024,) * 10) == min(SPARE_ROOM, SPARE_BYTES // (256 * 1024))
    assert spare((SPARE_BYTES // 4, SPARE_BYTES // 4)) == 4
    parked = {f"u{number}": Parked(999, BACKLOGGED, slow=True) for number in range(12)}
    made = plan(parked, {}, held_bytes=(SPARE_BYTES // 12,) * 3, now_s=0)
    assert [room for _, _, room in made.begin] == [2] * 12


PARKED = st.builds(
    Parked,
    st.integers(1, 200),
    st.sampled_from(WHYS),
    probe_due=st.booleans(),
    expiry_due=st.booleans(),
    slow=st.booleans(),
    failed_last=st.booleans(),
    at_once=st.integers(1, 200),
    per_second=st.sampled_from([0.0, 0.01, 3.0, 1000.0]),
)
SERVING = st.builds(
    Serving, st.sampled_from(Task), st.integers(1, MAX_IN_HAND), st.floats(0, 10), in_hand=st.booleans()
)
UIDS = st.sampled_from("abcdefgh")


@given(
    st.dictionaries(UIDS, PARKED),
    st.dictionaries(UIDS, SERVING),
    st.lists(st.integers(0, SPARE_BYTES), max_size=20),
    st.floats(0, 20),
)
def test_no_plan_takes_more_than_its_room_or_calls_what_may_not_be_called(
    parked: dict[str, Parked], serving: dict[str, Serving], held_bytes: list[int], now_s: float
) -> None:
    made = plan(parked, serving, held_bytes=held_bytes, now_s=now_s)
    given_out = [(uid, room) for uid, _, room in made.begin] + made.resize
    assert len({uid for uid, _ in given_out}) == len(given_out)
    assert all(
        1 <= room <= min(MAX_IN_HAND, max(1, parked[uid].at_once)) or not parked[uid].may_call
        for uid, room in given_out
    )
    assert sum(room for _, room in given_out) <= len(parked) + spare(held_bytes)
    assert serving.keys() - parked.keys() <= set(made.leave) <= serving.keys()
    for uid, task, _ in made.begin:
        assert parked[uid].may_call is (task is Task.CALL)
        assert uid in made.leave or uid not in serving or serving[uid].task is not task
    for uid, _ in made.resize:
        assert uid not in made.leave
        assert parked[uid].may_call is (serving[uid].task is Task.CALL)


@pytest.mark.parametrize("why", WHYS)
def test_what_was_taken_is_called_only_as_its_webhook_may_be_now(why: str) -> None:
    assert step(Serving(Task.CALL, 9, 0), why) is (Step.CALL if why in ("", BACKLOGGED) else Step.STOP)
    assert step(Serving(Task.BURY, 9, 0), why) is Step.STOP
    assert step(Serving(Task.EXPIRE, 9, 0), why) is Step.STOP
    assert step(Serving(Task.PROBE, 1, 0), why) is Step.PROBE
    assert step(Serving(Task.PROBE, 1, 0, in_hand=True), why) is Step.GIVE_BACK


ROUTE = route("u", schedule_seconds=(5, 7200))
STATES = {why: State(generation=1, kind=Kind(why), reason="HTTPStatus") for why in (FAILING, GONE, BACKLOGGED)}


@given(
    st.sampled_from([FAILING, GONE, HELD, UNKNOWN]),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(1, 10**6),
)
def test_what_is_due_is_given_up_then_and_not_two_seconds_before(
    why: str, event_s: int, waited_s: int, kept_s: int
) -> None:
    route, parked_s = None if why == UNKNOWN else ROUTE, event_s + waited_s
    at_s = due_s(route, why, parked_s=parked_s, event_s=event_s, kept_s=kept_s)

    def given_up(now_s: float) -> str:
        ages = {"event_age_s": now_s - event_s, "parked_age_s": now_s - parked_s}
        return parking_plan.spent(route, STATES.get(why), **ages, kept_s=kept_s)

    assert given_up(at_s)
    assert not given_up(at_s - 2)
    word = given_up(at_s).partition(":")[0]
    assert word == PARKED_EXPIRED or why == FAILING


def test_only_a_failing_endpoint_s_schedule_gives_up_what_its_dispatcher_would_still_keep() -> None:
    times = {"parked_s": 100.0, "event_s": 50.0, "kept_s": 604_800.0}
    assert due_s(ROUTE, FAILING, **times) == 50 + 7205 + 1
    for why in (GONE, HELD, UNKNOWN):
        assert due_s(ROUTE, why, **times) == 100 + 604_800 + 1
    assert parking_plan.due_s(ROUTE, FAILING, **{**times, "kept_s": 10.0}) == 111


def why_given_up(
    state: State | None, *, event_age_s: float = 0, parked_age_s: float = 0, schedule: tuple[int, ...] = ()
) -> str:
    known = route("u1", schedule_seconds=schedule)
    reason = spent(known, state, event_age_s=event_age_s, parked_age_s=parked_age_s, kept_s=604_800)
    return reason.partition(":")[0]


def test_what_waits_for_a_failing_endpoint_is_given_up_when_its_schedule_would_be_over() -> None:
    day = (86_400,)
    assert why_given_up(FAILING_STATE, event_age_s=86_400, schedule=day) == ""
    assert why_given_up(FAILING_STATE, event_age_s=86_401, schedule=day) == "ScheduleSpent"


def test_a_short_schedule_does_not_give_up_what_never_had_its_chance() -> None:
    assert why_given_up(FAILING_STATE, event_age_s=SHORTEST_PATIENCE_SECONDS) == ""
    assert why_given_up(FAILING_STATE, event_age_s=SHORTEST_PATIENCE_SECONDS + 1) == "ScheduleSpent"


@pytest.mark.parametrize("state", [None, FAILING_STATE.model_copy(update={"kind": Kind.GONE})])
def test_what_waits_for_anything_else_is_given_up_when_it_was_parked_for_too_long(state: State | None) -> None:
    assert why_given_up(state, event_age_s=10**9, parked_age_s=604_800) == ""
    assert why_given_up(state, event_age_s=10**9, parked_age_s=604_801) == "ParkedExpired"
