from __future__ import annotations

from hookline.delivery.settled import Settled


def test_what_was_settled_is_known_when_it_comes_again() -> None:
    settled = Settled()
    settled.add(("shard-01", 7), "evt_a")
    assert settled.has(("shard-01", 7), "evt_a")


def test_another_message_is_not() -> None:
    settled = Settled()
    settled.add(("shard-01", 7), "evt_a")
    assert not settled.has(("shard-02", 7), "evt_a")
    assert not settled.has(("shard-01", 8), "evt_a")


def test_the_same_place_in_a_stream_made_anew_is_another_message() -> None:
    settled = Settled()
    settled.add(("shard-01", 7), "evt_a")
    assert not settled.has(("shard-01", 7), "evt_b")


def test_the_oldest_are_forgotten() -> None:
    settled = Settled(limit=2)
    for seq in (1, 2, 3):
        settled.add(("shard-01", seq), "evt_a")
    assert [settled.has(("shard-01", seq), "evt_a") for seq in (1, 2, 3)] == [False, True, True]
