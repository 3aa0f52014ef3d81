"""Answers that are kept: how long they count, how many questions there are, and what happens when nobody answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.serving.remembered import (
    Answer,
    Bounds,
    Crowded,
    Kept,
    Question,
    Remembered,
    Times,
    Unanswered,
    Use,
    kept,
    use_of,
)

TIMES = Times()
KEY = b"key"


@dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Oracle:
    """Answers questions as a test says. `held` questions wait until they are let go."""

    clock: Clock
    bounds: Bounds = field(default_factory=Bounds)
    times: Times = TIMES
    yes: bool = True
    lasts_seconds: float = inf
    away: bool = False
    asked: int = 0
    at_once: int = 0
    most_at_once: int = 0
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.let_go.set()
        self.answers: Remembered[str] = Remembered(self.times, self.bounds, clock=self.clock)

    async def get(self, key: bytes = KEY, group: str = "team-a") -> str:
        return await self.answers.get(key, lambda: Question((group,), self._ask))

    async def _ask(self) -> Answer[str]:
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.let_go.wait()
        finally:
            self.at_once -= 1
        if self.away:
            raise Unanswered("away", 7)
        return Answer("yes" if self.yes else "no", self.yes, self.lasts_seconds)

    async def settle(self) -> None:
        """Let what is asked beside a request come to its end."""
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture
async def oracle() -> AsyncIterator[Oracle]:
    made = Oracle(Clock())
    yield made
    made.let_go.set()
    await made.answers.close()


async def test_a_yes_is_asked_for_once_and_then_known(oracle: Oracle) -> None:
    assert [await oracle.get() for _ in range(3)] == ["yes"] * 3
    assert oracle.asked == 1


async def test_a_used_yes_is_asked_for_anew_beside_the_request(oracle: Oracle) -> None:
    await oracle.get()
    oracle.clock.now_s += TIMES.refresh_seconds
    oracle.let_go.clear()
    assert [await oracle.get() for _ in range(3)] == ["yes"] * 3
    await oracle.settle()
    assert oracle.asked == 2
    oracle.let_go.set()
    await oracle.settle()
    oracle.clock.now_s += TIMES.refresh_seconds - 1
    assert await oracle.get() == "yes"
    assert oracle.asked == 2


async def test_what_turned_into_a_no_is_a_no_at_once(oracle: Oracle) -> None:
    await oracle.get()
    oracle.clock.now_s += TIMES.refresh_seconds
    oracle.yes = False
    assert await oracle.get() == "yes"
    await oracle.settle()
    assert await oracle.get() == "no"
    assert oracle.asked == 2


async def test_an_old_yes_waits_for_the_answer(oracle: Oracle) -> None:
    await oracle.get()
    oracle.clock.now_s += TIMES.fresh_seconds
    oracle.yes = False
    assert await oracle.get() == "no"


async def test_a_no_counts_for_a_short_while(oracle: Oracle) -> None:
    oracle.yes = False
    assert [await oracle.get(), await oracle.get()] == ["no", "no"]
    assert oracle.asked == 1
    oracle.clock.now_s += TIMES.refused_seconds
    oracle.yes = True
    assert await oracle.get() == "yes"


async def test_the_end_of_a_token_is_the_end_of_its_yes_also_while_nobody_answers(oracle: Oracle) -> None:
    oracle.lasts_seconds = 20
    await oracle.get()
    oracle.away = True
    oracle.clock.now_s += 19.9
    assert await oracle.get() == "yes"
    oracle.clock.now_s += 0.1
    with pytest.raises(Unanswered):
        await oracle.get()


async def test_what_is_known_goes_on_while_nobody_answers_and_not_for_ever(oracle: Oracle) -> None:
    await oracle.get()
    oracle.away = True
    while oracle.clock.now_s < 1000 + TIMES.outage_seconds:
        assert await oracle.get() == "yes"
        await oracle.settle()
        oracle.clock.now_s += 5
    with pytest.raises(Unanswered) as error:
        await oracle.get()
    assert error.value.retry_after_seconds == 7
    oracle.away = False
    assert await oracle.get() == "yes"


async def test_while_nobody_answers_only_the_first_request_waits(oracle: Oracle) -> None:
    await oracle.get()
    oracle.clock.now_s += TIMES.fresh_seconds
    oracle.away = True
    assert await oracle.get() == "yes"
    oracle.let_go.clear()
    oracle.clock.now_s += TIMES.again_seconds
    assert await oracle.get() == "yes"
    await oracle.settle()
    # Its question is still on its way.
    assert (oracle.asked, oracle.at_once) == (3, 1)


async def test_after_an_outage_what_was_deleted_meanwhile_is_refused(oracle: Oracle) -> None:
    await oracle.get()
    oracle.clock.now_s += TIMES.fresh_seconds
    oracle.away = True
    assert await oracle.get() == "yes"
    oracle.away, oracle.yes = False, False
    oracle.clock.now_s += TIMES.failed_seconds
    assert await oracle.get() == "no"


async def test_what_is_not_known_is_told_that_nobody_answers_each_time_anew(oracle: Oracle) -> None:
    oracle.away = True
    for _ in range(2):
        with pytest.raises(Unanswered, match="away"):
            await oracle.get()
    assert oracle.asked == 2


async def test_a_question_that_hangs_has_an_end() -> None:
    oracle = Oracle(Clock(), times=Times(ask_seconds=0.02))
    oracle.let_go.clear()
    with pytest.raises(Unanswered, match="takes too long"):
        await oracle.get()
    assert oracle.at_once == 0


async def test_all_wait_for_one_question_also_when_the_first_one_is_gone(oracle: Oracle) -> None:
    oracle.let_go.clear()
    waiting = [asyncio.create_task(oracle.get()) for _ in range(50)]
    await oracle.settle()
    waiting[0].cancel()
    await oracle.settle()
    oracle.let_go.set()
    assert await asyncio.gather(*waiting[1:]) == ["yes"] * 49
    assert oracle.asked == 1


async def test_a_flood_of_what_is_not_known_neither_floods_who_is_asked_nor_keeps_what_is_known_waiting() -> None:
    oracle = Oracle(Clock(), Bounds(unknown_at_once=3, burst=20, unknown_per_second=10, waiting=45, waiting_of_one=45))
    await oracle.get(b"known")
    oracle.let_go.clear()
    flood = [asyncio.create_task(oracle.get(b"%d" % number, f"team-{number}")) for number in range(500)]
    await oracle.settle()
    assert oracle.most_at_once == 3
    turned_away = [each for each in flood if each.done()]
    assert len(turned_away) == 500 - 3 - 45
    for each in turned_away:
        assert isinstance(each.exception(), Unanswered)
    oracle.clock.now_s += TIMES.fresh_seconds
    known = asyncio.create_task(oracle.get(b"known"))
    await oracle.settle()
    assert oracle.at_once == 4
    oracle.let_go.set()
    assert await known == "yes"
    for each in flood:
        each.cancel()
    await oracle.answers.close()


async def test_one_group_does_not_take_all_the_room_of_what_is_not_known() -> None:
    oracle = Oracle(Clock(), Bounds(waiting_of_one=5))
    oracle.let_go.clear()
    loud = [asyncio.create_task(oracle.get(b"%d" % number, "loud")) for number in range(50)]
    await oracle.settle()
    # Seven are asked, of eight places.
    assert sum(each.done() for each in loud) == 50 - 7 - 5
    quiet = asyncio.create_task(oracle.get(b"quiet", "quiet"))
    await oracle.settle()
    assert (quiet.done(), oracle.at_once) == (False, 8)
    oracle.let_go.set()
    assert await quiet == "yes"
    assert sum(isinstance(each, str) for each in await asyncio.gather(*loud, return_exceptions=True)) == 12
    # And has its room again afterwards.
    assert await oracle.get(b"later", "loud") == "yes"


async def test_however_many_flood_the_first_question_of_another_one_is_answered() -> None:
    """At the pace that there is, and after one turn of each of them."""
    oracle = Oracle(Clock(), Bounds(unknown_per_second=1000, burst=1, waiting=250))
    flood = [asyncio.create_task(oracle.get(b"%d" % number, f"loud-{number % 20}")) for number in range(5000)]
    await oracle.settle()
    assert sum(each.done() for each in flood) >= 5000 - 250 - 8
    asked = oracle.asked
    first = asyncio.create_task(oracle.get(b"first", "quiet"))
    while not first.done():
        oracle.clock.now_s += 0.001
        await asyncio.sleep(0.001)
    assert await first == "yes"
    assert oracle.asked - asked <= 20 + 8
    for each in flood:
        each.cancel()
    await asyncio.gather(*flood, return_exceptions=True)
    await oracle.answers.close()


async def test_who_has_many_answers_looked_at_again_holds_up_nobody_elses() -> None:
    oracle = Oracle(Clock(), Bounds(known_at_once=4, burst=1000))
    for number in range(200):
        await oracle.get(b"%d" % number, "loud")
    await oracle.get(b"known", "quiet")
    oracle.clock.now_s += TIMES.refresh_seconds
    oracle.let_go.clear()
    for number in range(200):
        await oracle.get(b"%d" % number, "loud")
    await oracle.settle()
    assert oracle.at_once == 3, "of four places one is left"
    asked = oracle.asked
    await oracle.get(b"known", "quiet")
    await oracle.settle()
    assert (oracle.asked, oracle.at_once) == (asked + 1, 4)


async def test_who_gives_up_takes_no_turn_from_others() -> None:
    oracle = Oracle(Clock(), Bounds(unknown_at_once=2), times=Times(ask_seconds=0.02))
    oracle.let_go.clear()
    for _ in range(3):
        waiting = [asyncio.create_task(oracle.get(b"%d" % number, f"team-{number}")) for number in range(10)]
        said = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(each, Unanswered) for each in said)
    oracle.let_go.set()
    assert await oracle.get() == "yes"


async def test_whose_turn_did_not_come_is_told_whether_nobody_answers_or_too_many_ask() -> None:
    oracle = Oracle(Clock(), Bounds(unknown_at_once=2, unknown_per_second=1, burst=1), times=Times(ask_seconds=0.02))

    async def said() -> list[type]:
        waiting = [asyncio.create_task(oracle.get(b"%d" % number, f"team-{number}")) for number in range(10)]
        return [type(each) for each in await asyncio.gather(*waiting, return_exceptions=True)]

    assert Counter(await said()) == {str: 2, Crowded: 8}, "nobody's turn comes in time"
    oracle.clock.now_s += TIMES.fresh_seconds * 20
    oracle.let_go.clear()
    assert Counter(await said()) == {Unanswered: 10}, "the first ones have no answer"


async def test_of_a_long_name_nothing_is_kept_but_a_digest(oracle: Oracle) -> None:
    canary = "canary" * 10_000
    await oracle.get(b"a", canary)
    await oracle.get(b"b", canary + "\ud800")
    kept_names = {each.group for each in oracle.answers._yes.values()} | set(oracle.answers._group_sizes)
    assert len(kept_names) == 2
    assert max(map(len, kept_names)) == 64


async def test_what_is_kept_is_bounded_and_the_largest_group_loses_first() -> None:
    oracle = Oracle(Clock(), Bounds(known=10))
    await oracle.get(b"quiet", "quiet")
    for number in range(30):
        await oracle.get(b"%d" % number, "loud")
    asked = oracle.asked
    await oracle.get(b"quiet", "quiet")
    for number in range(21, 30):
        await oracle.get(b"%d" % number, "loud")
    assert oracle.asked == asked
    await oracle.get(b"20", "loud")
    assert oracle.asked == asked + 1


async def test_of_a_group_the_one_that_was_not_used_for_longest_goes_first() -> None:
    oracle = Oracle(Clock(), Bounds(known=3))
    for key in (b"a", b"b", b"c", b"a", b"d"):
        await oracle.get(key)
    asked = oracle.asked
    assert asked == 4
    for key in (b"a", b"c", b"d"):
        await oracle.get(key)
    assert oracle.asked == asked
    await oracle.get(b"b")
    assert oracle.asked == asked + 1


async def test_many_refusals_take_no_place_from_what_is_known() -> None:
    oracle = Oracle(Clock(), Bounds(known=2, refused=3))
    await oracle.get(b"known")
    oracle.yes = False
    for number in range(20):
        await oracle.get(b"%d" % number)
    asked = oracle.asked
    assert (await oracle.get(b"known"), await oracle.get(b"17"), oracle.asked) == ("yes", "no", asked)
    await oracle.get(b"16")
    assert oracle.asked == asked + 1


async def test_what_the_question_itself_refuses_is_raised(oracle: Oracle) -> None:
    def refuse() -> Question[str]:
        raise ValueError("not worth it")

    with pytest.raises(ValueError, match="not worth it"):
        await oracle.answers.get(KEY, refuse)


async def test_an_error_of_ours_is_no_answer_and_leaves_nothing_behind(oracle: Oracle) -> None:
    async def fail() -> Answer[str]:
        raise KeyError("secret")

    with pytest.raises(KeyError):
        await oracle.answers.get(KEY, lambda: Question(("team-a",), fail))
    assert await oracle.get() == "yes"


@given(
    st.floats(0, 1000),
    st.floats(0, 1000) | st.just(inf),
    st.floats(0, 1000),
)
def test_a_yes_is_never_used_longer_than_it_may(
    age_seconds: float, lasts_seconds: float, failed_ago_seconds: float
) -> None:
    yes: Kept[str] = kept(Answer("yes", True, lasts_seconds), "team-a", 0.0, TIMES)
    yes.failed_s = age_seconds - failed_ago_seconds
    use = use_of(yes, age_seconds, TIMES)
    assert (use is Use.NOT) == (age_seconds >= min(lasts_seconds, TIMES.outage_seconds))
    if use in (Use.AS_IT_IS, Use.AND_ASK) and age_seconds >= TIMES.fresh_seconds:
        assert failed_ago_seconds < TIMES.failed_seconds
    if use is Use.AS_IT_IS and age_seconds >= TIMES.refresh_seconds:
        assert failed_ago_seconds < TIMES.again_seconds


def test_a_deleted_account_is_refused_within_60_seconds() -> None:
    """The API server keeps a yes for 10 s (seen: tests/cluster/test_gateway_callers.py)."""
    assert 10 + TIMES.fresh_seconds + TIMES.ask_seconds <= 60
