from __future__ import annotations

from hookline.delivery.recently_acked import RecentlyAcked


def test_what_was_settled_is_known_when_it_comes_again() -> None:
    acked = RecentlyAcked()
    acked.add(("shard-01", 7), 1_000)
    assert acked.has(("shard-01", 7), 1_000)


def test_another_message_is_not() -> None:
    acked = RecentlyAcked()
    acked.add(("shard-01", 7), 1_000)
    assert not acked.has(("shard-02", 7), 1_000)
    assert not acked.has(("shard-01", 8), 1_000)


def test_the_same_place_in_a_stream_made_anew_is_another_message() -> None:
    acked = RecentlyAcked()
    acked.add(("shard-01", 7), 1_000)
    assert not acked.has(("shard-01", 7), 2_000)


def test_the_oldest_are_forgotten() -> None:
    acked = RecentlyAcked(limit=2)
    for seq in (1, 2, 3):
        acked.add(("shard-01", seq), 1_000)
    assert [acked.has(("shard-01", seq), 1_000) for seq in (1, 2, 3)] == [False, True, True]
