from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hookline.delivery.policy.shares import FORGET_SECONDS, Bucket, Members, burst, level, share

pods = st.lists(st.text("abcdef0123456789", min_size=4, max_size=8), min_size=1, max_size=9, unique=True)


@given(st.integers(1, 1000), st.uuids().map(str), pods)
def test_all_senders_together_have_the_limit_and_each_at_least_one(limit: int, uid: str, here: list[str]) -> None:
    shares = [share(limit, uid, pod, tuple(sorted(here))) for pod in here]
    assert sum(shares) == max(limit, len(here))
    assert min(shares) >= 1
    assert max(shares) - min(shares) <= 1


def test_what_is_left_over_goes_to_other_senders_for_other_webhooks() -> None:
    here = ("a", "b", "c")
    assert {tuple(share(4, str(uid), pod, here) for pod in here) for uid in range(50)} == {
        (2, 1, 1),
        (1, 2, 1),
        (1, 1, 2),
    }


def test_a_sender_alone_has_everything() -> None:
    members = Members("me")
    assert (members.share(10, "u"), members.rate(5.0)) == (10, 5.0)


def test_a_sender_that_is_heard_takes_its_share_until_it_leaves_or_falls_silent() -> None:
    members = Members("me")
    assert members.heard("other", 0)
    assert not members.heard("other", 2)
    assert (members.share(10, "u"), members.rate(5.0)) == (5, 2.5)
    members.look(2 + FORGET_SECONDS)
    assert members.share(10, "u") == 5
    members.look(2.1 + FORGET_SECONDS)
    assert members.share(10, "u") == 10
    members.heard("other", 20)
    members.left("other", 20)
    assert members.here == ("me",)


def test_hearing_oneself_changes_nothing() -> None:
    members = Members("me")
    assert not members.heard("me", 0)
    assert members.here == ("me",)


@given(
    st.floats(0.001, 1000),
    st.lists(st.floats(0, 5), min_size=1, max_size=100),
    st.integers(1, 20),
)
def test_in_no_time_are_there_more_calls_than_the_rate_and_one_burst(
    per_second: float, pauses: list[float], at_once: int
) -> None:
    bucket, now_s, taken = Bucket(burst(per_second), 0), 0.0, 0
    for pause in pauses:
        now_s += pause
        taken += sum(bucket.take(per_second, now_s) for _ in range(at_once))
    assert taken <= now_s * per_second + burst(per_second) + 1e-3


def test_a_clock_that_goes_back_gives_no_tokens() -> None:
    bucket = Bucket(1, 100)
    assert bucket.take(1, 100)
    assert not bucket.take(1, 50)
    assert not bucket.take(1, 100.9)
    assert bucket.take(1, 101)


def test_a_room_is_one_for_each_and_what_one_does_not_want_goes_to_others() -> None:
    assert level([], 10) == 1
    assert level([1, 1, 64], 0) == 1
    assert level([64], 1024) == 64
    assert level([1] * 5000 + [64], 1024) == 64
    assert level([64] * 200, 1024) == 6
    assert level([3, 10, 10], 12) == 6


@given(st.lists(st.integers(1, 64), max_size=50), st.integers(0, 1000))
def test_a_room_that_is_shared_is_never_exceeded_and_never_left_while_one_could_use_it(
    wants: list[int], spare: int
) -> None:
    def used(each: int) -> int:
        return sum(min(want, each) - 1 for want in wants)

    each = level(wants, spare)
    assert used(each) <= spare
    assert each >= max(wants, default=1) or used(each + 1) > spare
