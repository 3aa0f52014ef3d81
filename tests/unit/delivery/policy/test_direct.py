from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hookline.delivery.policy.direct import EVENTS, FEW, GREED, HELD_BYTES, DirectRoom

TENANTS = st.sampled_from(["a", "b", "c"])
SIZES = st.integers(0, HELD_BYTES // 2)


def test_an_event_with_many_webhooks_is_not_called_from() -> None:
    room = DirectRoom()
    assert room.take("a", FEW, 1)
    assert not room.take("a", FEW + 1, 1)


def test_one_tenant_alone_leaves_room_for_the_next() -> None:
    room = DirectRoom()
    taken = 0
    while room.take("a", 1, 0):
        taken += 1
    assert taken == EVENTS * GREED // (GREED + 1)
    assert room.take("b", 1, 0)


def test_bodies_of_one_tenant_leave_room_for_those_of_the_next() -> None:
    room = DirectRoom(held_bytes=80)
    assert [room.take("a", 1, 10) for _ in range(8)] == [True] * 7 + [False]
    assert room.take("b", 1, 10)
    assert not room.take("c", 1, 10)


def test_what_is_given_back_is_there_again() -> None:
    room = DirectRoom(events=2, held_bytes=10)
    assert room.take("a", 1, 8)
    assert not room.take("b", 1, 8)
    room.give("a", 8)
    assert room.take("b", 1, 8)


@given(st.lists(st.tuples(TENANTS, SIZES, st.booleans()), max_size=200))
def test_its_bounds_hold_whoever_takes_and_gives(steps: list[tuple[str, int, bool]]) -> None:
    room = DirectRoom(events=10)
    held: list[tuple[str, int]] = []
    for tenant, size, gives in steps:
        if gives and held:
            room.give(*held.pop())
        elif room.take(tenant, 1, size):
            held.append((tenant, size))
        assert len(held) <= 10
        assert sum(size for _, size in held) <= HELD_BYTES
    while held:
        room.give(*held.pop())
    assert room.take("a", 1, HELD_BYTES * GREED // (GREED + 1))
