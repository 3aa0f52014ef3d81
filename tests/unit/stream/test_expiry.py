from __future__ import annotations

from hookline.stream.expiry import Expiry
from hookline.stream.streams import FanoutPlace


def place(*, settled: int, first: int, created: str = "2026-11-30", stream: str = "EVENTS") -> FanoutPlace:
    return FanoutPlace(created, settled, first, stream=stream)


def looks(*places: FanoutPlace) -> list[int]:
    expiry = Expiry()
    return [expiry.look({"fanout": each}) for each in places]


def test_events_that_were_removed_and_never_settled_are_counted() -> None:
    assert looks(place(settled=5, first=16)) == [10]


def test_also_before_the_first_was_settled() -> None:
    assert looks(place(settled=0, first=4)) == [3]


def test_they_are_counted_once_although_the_consumer_is_not_behind_them_yet() -> None:
    assert looks(place(settled=5, first=16), place(settled=5, first=16), place(settled=5, first=19)) == [10, 0, 3]


def test_what_was_settled_may_be_removed() -> None:
    assert looks(place(settled=5, first=1), place(settled=5, first=6), place(settled=9, first=8)) == [0, 0, 0]


def test_an_empty_stream_of_which_all_is_settled_counts_nothing() -> None:
    assert looks(place(settled=0, first=1), place(settled=41, first=42)) == [0, 0]


def test_a_place_that_falls_back_makes_nothing_expired_that_was_settled() -> None:
    # nats-server may forget the acknowledgements of its last 100 ms when it is killed.
    assert looks(place(settled=41, first=30), place(settled=35, first=42)) == [0, 0]


def test_a_stream_that_was_made_anew_is_not_taken_for_the_one_of_before() -> None:
    again = place(settled=0, first=3, created="2026-12-01")
    assert looks(place(settled=100, first=50), again) == [0, 2]


def test_each_stream_is_counted_by_itself() -> None:
    places = {"fanout": place(settled=5, first=8), "a_fanout": place(settled=0, first=2, stream="a_EVENTS")}
    assert Expiry().look(places) == 3


def test_a_consumer_of_which_there_was_nothing_makes_nothing_expired_that_the_other_settled() -> None:
    assert Expiry().look({"fanout": place(settled=0, first=8), "large": place(settled=7, first=8)}) == 0
    assert Expiry().look({"fanout": place(settled=5, first=8), "large": place(settled=0, first=8)}) == 2
