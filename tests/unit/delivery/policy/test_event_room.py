from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hookline.delivery.policy import event_room
from hookline.delivery.policy.event_room import ALWAYS, FEW, GREED, HELD_BYTES, LEAST, PLACES, EventRoom

TENANTS = st.sampled_from(["a", "b", "c"])
SIZES = st.integers(0, HELD_BYTES // 2)
LATE = 1.0
MOST_OF_ONE = PLACES * GREED // (GREED + 1)


def fill(
    room: EventRoom, tenant: str, *, webhooks: int = 1, size_bytes: int = 0, now_s: float = 0.0, behind: bool = False
) -> int:
    """Take for a tenant until there is no room; how many there are."""
    taken = 0
    while room.take(tenant, webhooks, size_bytes, now_s, behind=behind):
        taken += 1
    return taken


def test_one_tenant_alone_leaves_room_for_the_next() -> None:
    room = EventRoom()
    assert fill(room, "a") == PLACES * GREED // (GREED + 1)
    assert room.take("b", 1, 0, 0.0)


def test_bodies_of_one_tenant_leave_room_for_those_of_the_next() -> None:
    room = EventRoom(held_bytes=80)
    assert fill(room, "a", size_bytes=10) == 7
    assert room.take("b", 1, 10, 0.0)
    assert not room.take("c", 1, 10, 0.0)


def test_a_tenant_that_was_always_alone_takes_as_much_as_before_however_late_the_sender_is() -> None:
    room = EventRoom()
    assert room.take("a", 1, 0, 0.0)
    room.look(LATE, 0.1)
    assert fill(room, "a", now_s=0.1) == PLACES * GREED // (GREED + 1) - 1


def test_what_is_given_back_is_there_again() -> None:
    room = EventRoom(held_bytes=10)
    assert room.take("a", 1, 8, 0.0)
    assert not room.take("b", 1, 8, 0.0)
    room.give("a", 1, 8)
    assert room.take("b", 1, 8, 0.0)


def test_an_event_that_many_webhooks_hear_takes_more_room_and_finds_it_beside_a_full_house() -> None:
    room = EventRoom()
    assert fill(room, "a") == MOST_OF_ONE
    assert room.take("b", 100_000, 0, 0.0)
    assert not room.take("b", 100_000, 0, 0.0)


def test_a_late_sender_takes_less_of_a_tenant_that_has_much_and_as_much_as_before_of_one_that_has_little() -> None:
    room = EventRoom()
    fill(room, "a")
    assert room.take("b", 1, 0, 1.0)
    for _ in range(50):
        room.look(LATE, 1.0)
    for _ in range(MOST_OF_ONE - ALWAYS):
        room.give("a", 1, 0)
    assert not room.take("a", 1, 0, 1.0)
    assert 1 + fill(room, "b", now_s=1.0) == ALWAYS
    assert not room.has("b", 1, 0, behind=True)


def test_a_tenant_of_small_events_finds_room_beside_large_ones_that_fill_what_a_late_sender_has_in_hand() -> None:
    room = EventRoom()
    assert room.take("b", 1, 1024, 0.0)
    assert room.take("a", 1, 250_000, 1.0)
    for _ in range(50):
        room.look(LATE, 1.0)
    large = 1 + fill(room, "a", size_bytes=250_000, now_s=1.0)
    assert 1 + fill(room, "b", size_bytes=1024, now_s=1.0) >= 50
    assert large <= ALWAYS * event_room.LARGE_BYTES // 250_000


def test_whoever_has_less_than_an_even_share_finds_room_beside_one_that_has_all_there_is() -> None:
    room = EventRoom()
    assert fill(room, "a") == MOST_OF_ONE
    assert room.take("b", 1, 0, 1.0)
    for _ in range(8):
        room.look(LATE, 1.0)
    limit = (MOST_OF_ONE + 1) * event_room.SHRINKS**8
    assert 1 + fill(room, "b", now_s=1.0) == int(limit / 3)
    room.give("b", 1, 0)
    assert room.has("b", 1, 0, behind=True)
    assert not room.has("a", 1, 0, behind=True)


def test_calls_that_take_long_leave_others_their_room_when_the_sender_is_late_at_times() -> None:
    room = EventRoom()
    for _ in range(400):
        assert room.take("a", 1, 0, 0.0)
        room.rest("a", 1, 0)
    assert room.take("b", 1, 0, 1.0)
    for number in range(400):
        room.look(event_room.LATE_SECONDS + 0.001 if number % 10 == 0 else 0.0, 1.0)
    assert fill(room, "b", now_s=1.0, behind=True) > LEAST
    for _ in range(400):
        room.give("a", 1, 0, rested=True)
    assert fill(room, "a", now_s=20.0)


def test_a_sender_that_is_in_time_again_takes_more() -> None:
    room = EventRoom()
    assert room.take("b", 1, 0, 1.0)
    assert room.take("a", 1, 0, 1.0)
    for _ in range(50):
        room.look(LATE, 1.0)
    few = 1 + fill(room, "a", now_s=1.0)
    assert few == ALWAYS
    for _ in range(PLACES // event_room.GROWS + 1):
        room.look(0.0, 1.0)
    assert fill(room, "a", now_s=1.0) + few > 800


def test_a_tenant_that_is_alone_is_not_held_back_however_late_the_sender_is() -> None:
    room = EventRoom()
    now_s = 2 * event_room.ALONE_SECONDS
    assert room.take("a", 1, 0, 0.0)
    for _ in range(50):
        room.look(LATE, now_s)
    assert fill(room, "a", now_s=now_s) > 800


def test_a_tenant_that_has_nothing_in_hand_finds_room_however_late_the_sender_is() -> None:
    room = EventRoom()
    assert room.take("a", 1, 0, 0.0)
    assert room.take("b", 1, 0, 0.0)
    for _ in range(50):
        room.look(LATE, 0.0)
    for number in range(100):
        assert room.take(f"c{number}", FEW * 2 if number else 10_000, 0, 0.0)


@given(st.lists(st.tuples(TENANTS, SIZES, st.integers(1, 10_000), st.sampled_from("tgl")), max_size=200))
def test_its_bounds_hold_whoever_takes_and_gives(steps: list[tuple[str, int, int, str]]) -> None:
    room = EventRoom()
    held: list[tuple[str, int, int]] = []
    for now_s, (tenant, size, webhooks, step) in enumerate(steps):
        if step == "l":
            room.look(size / HELD_BYTES / 50, float(now_s))
        elif step == "g" and held:
            room.give(*held.pop())
        elif room.has(tenant, webhooks, size, behind=False):
            assert room.take(tenant, webhooks, size, float(now_s))
            held.append((tenant, webhooks, size))
        assert len(held) <= PLACES
        assert sum(size for _, _, size in held) <= HELD_BYTES
    while held:
        room.give(*held.pop())
    assert room.take("a", 10_000, HELD_BYTES * GREED // (GREED + 1), 0.0)
