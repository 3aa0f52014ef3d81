from __future__ import annotations

import asyncio

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from hookline.control.work_queue import FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS, WorkQueue, retry_seconds
from unit.control import clock


def queue() -> WorkQueue[str]:
    return WorkQueue(jitter=lambda: 0.0)


class Journal:
    """What happened, in its order, and how many workers each key has."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.working: set[str] = set()

    def note(self, what: str, key: str) -> None:
        self.lines.append((what, key))

    def last(self, what: str, key: str) -> int:
        return max((place for place, line in enumerate(self.lines) if line == (what, key)), default=-1)


async def worker(work: WorkQueue[str], journal: Journal, seconds: dict[str, float], failures: dict[str, int]) -> None:
    while True:
        key = await work.take()
        assert key not in journal.working
        journal.working.add(key)
        journal.note("take", key)
        await asyncio.sleep(seconds[key])
        if failures.get(key, 0) > 0:
            failures[key] -= 1
            work.retry(key)
            journal.note("fail", key)
        else:
            work.succeeded(key)
        journal.working.discard(key)
        work.done(key)


keys = st.sampled_from("abcd")
moments = st.floats(0, 3)
additions = st.lists(st.tuples(moments, keys, st.none() | moments), min_size=1, max_size=30)


@given(
    additions,
    st.fixed_dictionaries(dict.fromkeys("abcd", moments)),
    st.dictionaries(keys, st.integers(0, 4)),
    st.integers(1, 4),
)
def test_no_key_is_worked_on_twice_at_once_and_none_is_lost(
    added: list[tuple[float, str, float | None]], seconds: dict[str, float], failures: dict[str, int], workers: int
) -> None:
    work, journal = queue(), Journal()

    async def add(moment: float, key: str, later: float | None) -> None:
        await asyncio.sleep(moment)
        journal.note("add", key)
        if later is None:
            work.add(key)
        else:
            work.add_later(key, later)

    async def all_of_it() -> None:
        tasks = [asyncio.create_task(worker(work, journal, seconds, failures)) for _ in range(workers)]
        await asyncio.gather(*(add(*each) for each in added))
        await asyncio.sleep(1000)
        assert work.idle
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in outcomes), outcomes

    clock.run(all_of_it())
    for key in {key for _, key, _ in added}:
        # add_later may be answered by a look that came in between, but never by one that began before it.
        assert journal.last("take", key) > journal.last("add", key)
        assert journal.last("take", key) > journal.last("fail", key)
        assert failures.get(key, 0) == 0


def taken(work: WorkQueue[str], count: int) -> list[str]:
    async def take() -> list[str]:
        return [await work.take() for _ in range(count)]

    return clock.run(take())


def test_keys_are_taken_in_the_order_in_which_they_came_and_once_each() -> None:
    work = queue()
    for key in "bacab":
        work.add(key)
    assert len(work) == 3
    assert taken(work, 3) == ["b", "a", "c"]
    assert len(work) == 0


def test_a_key_that_is_worked_on_lets_others_pass_and_comes_once_more_afterwards() -> None:
    async def scenario() -> None:
        work = queue()
        work.add("a")
        assert await work.take() == "a"
        for key in "aab":
            work.add(key)
        assert await work.take() == "b"
        waiting = asyncio.create_task(work.take())
        await asyncio.sleep(1)
        assert not waiting.done()
        work.done("a")
        assert await waiting == "a"
        work.done("a")
        work.done("b")
        assert work.idle

    clock.run(scenario())


def test_a_later_look_comes_at_its_time_and_the_nearest_one_counts() -> None:
    async def scenario() -> None:
        loop, work = asyncio.get_running_loop(), queue()
        began = loop.time()
        work.add_later("a", 100)
        work.add_later("a", 5)
        work.add_later("a", 50)
        assert work.idle
        assert await work.take() == "a"
        assert loop.time() - began == pytest.approx(5)
        work.done("a")
        await asyncio.sleep(500)
        assert len(work) == 0

    clock.run(scenario())


def test_a_look_at_once_replaces_one_for_later() -> None:
    async def scenario() -> None:
        work = queue()
        work.add_later("a", 5)
        work.add("a")
        work.add_later("a", 5)
        assert await work.take() == "a"
        work.done("a")
        await asyncio.sleep(100)
        assert len(work) == 0

    clock.run(scenario())


def test_failures_wait_longer_and_longer_until_one_success() -> None:
    async def scenario() -> None:
        work = queue()
        waits = [work.retry("a") for _ in range(12)]
        assert waits[:4] == [0.2, 0.4, 0.8, 1.6]
        assert waits[-1] == LONGEST_RETRY_SECONDS
        assert work.retry("b") == FIRST_RETRY_SECONDS
        work.succeeded("a")
        assert work.retry("a") == FIRST_RETRY_SECONDS

    clock.run(scenario())


def test_a_server_that_asks_for_more_time_gets_it() -> None:
    async def scenario() -> None:
        loop, work = asyncio.get_running_loop(), queue()
        began = loop.time()
        assert work.retry("a", 30.0) == 30.0
        await work.take()
        assert loop.time() - began == pytest.approx(30)

    clock.run(scenario())


def test_news_of_a_failing_key_does_not_wait_for_its_next_try() -> None:
    async def scenario() -> None:
        loop, work = asyncio.get_running_loop(), queue()
        work.retry("a", 30.0)
        work.add("a")
        began = loop.time()
        assert await work.take() == "a"
        assert loop.time() == began

    clock.run(scenario())


def test_a_worker_that_goes_away_while_it_waits_takes_nothing_with_it() -> None:
    async def scenario() -> None:
        work = queue()
        going = [asyncio.create_task(work.take()) for _ in range(3)]
        staying = asyncio.create_task(work.take())
        await asyncio.sleep(1)
        for task in going:
            task.cancel()
        work.add("a")
        assert await staying == "a"

    clock.run(scenario())


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_waits_never_shrink_and_are_bounded(failures: int, jitter: float) -> None:
    assert retry_seconds(failures, jitter) <= retry_seconds(failures + 1, jitter)
    assert FIRST_RETRY_SECONDS <= retry_seconds(failures, jitter) <= LONGEST_RETRY_SECONDS * 1.25


def test_what_is_due_at_once_may_be_asked_for_again_before_it_is() -> None:
    """On the loop of the operator, which has another kind of handle for what is due at once."""

    async def twice() -> str:
        work = queue()
        work.add_later("a", 0)
        work.add_later("a", 1)
        return await work.take()

    assert uvloop.run(asyncio.wait_for(twice(), 5)) == "a"
