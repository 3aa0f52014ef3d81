"""What a sender keeps of attempts for their log, when it writes that, and what is lost."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import cast
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles.books import route
from hookline.delivery import attempts_log
from hookline.delivery.attempts_log import (
    AT_A_LOOK,
    FLUSH_SECONDS,
    FORGET_SECONDS,
    MOST_OF_TENANT_BYTES,
    MOST_UNHEARD,
    AttemptsLog,
    note_of,
)
from hookline.delivery.messages import Delivery
from hookline.delivery.policy.retry import Dead, Done, Outcome, Reason, Retry
from hookline.delivery.recorder import (
    MOST_ANSWER_BYTES,
    Recorder,
)
from hookline.delivery.sender import Attempt
from hookline.events.envelope import Event
from hookline.routing.routes import DispatcherRecord, Keys
from hookline.runtime.metrics import SenderMetrics
from hookline.runtime.tasks import cancel
from hookline.stream.attempt_record import MAX_BATCH_RECORDS, AttemptRecord, decode, decode_unheard
from hookline.stream.attempts_log import AttemptsStream, Lost, NotStored
from hookline.stream.connection import StreamUnavailable
from hookline.stream.owner import Mark

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MARK = Mark("id", "name", "1")


def attempt(
    number: int = 1, *, uid: str = "u1", tenant: str = "default", answer: bytes = b"", **changes: object
) -> Attempt:
    outcome = Outcome(Reason.DELIVERED, 200, "answered 200 OK", 0.01, None, answer, answer_bytes=len(answer))
    fields: dict[str, object] = {"keys": Keys(uid=uid, signing=SECRET), "at_s": 5.0, "called_s": 6.0}
    event = Event(f"evt_{number}", tenant, "IdentityCreated", "", b"{}")
    hooked = route(uid=uid, namespace=tenant)
    return Attempt(Delivery(uid, event, number), hooked, outcome, Done(), **{**fields, **changes})  # type: ignore[arg-type]


class Stream:
    """Stores, or has a problem."""

    def __init__(self) -> None:
        self.problem: Exception | None = None
        self.made: list[object] = []
        self.gaps: list[tuple[float, bool]] = []
        self.offs = 0
        self.stored: list[tuple[str, bytes, str]] = []
        self.connection: int | None = 0
        self.seq = 0
        self.most_bytes = 2**20
        self.has: tuple[int, int] = 2**40, 1
        """Bytes and copies."""
        self.halved = 0

    async def ensure(
        self, bounds: object, *, replicas: int, owner: Mark, now_s: float, has_gap: bool
    ) -> tuple[int, int]:
        if self.problem is not None:
            raise self.problem
        self.gaps.append((now_s, has_gap))
        self.made.append((bounds, replicas, owner))
        return self.has

    async def turn_off(self) -> None:
        if self.problem is not None:
            raise self.problem
        self.offs += 1

    async def halve(self) -> int:
        self.halved += 1
        return 5

    async def store(self, subject: str, body: bytes, *, once: str, sender: str, webhook: str = "") -> int:
        if self.problem is not None:
            raise self.problem
        self.stored.append((subject, body, once))
        self.seq += 1
        return self.seq

    async def last_seq(self) -> int:
        return self.seq

    @property
    def records(self) -> list[AttemptRecord]:
        return [each for _, body, _ in self.stored for each in decode(body)]


class Clock:
    now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(attempts_log, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


class Running:
    """A log whose looks are the test's own."""

    def __init__(self) -> None:
        self.metrics = SenderMetrics(losses=map(str, Lost))
        self.settings = DispatcherRecord()
        self.log = AttemptsLog(self.metrics, lambda: self.settings)
        self.stream = Stream()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        stream = cast(AttemptsStream, self.stream)
        task = asyncio.create_task(self.log.run(stream, lambda: MARK, lambda: 7.0))
        await asyncio.sleep(0)
        try:
            yield
        finally:
            await cancel([task])

    def lost(self, why: Lost) -> float:
        return self._value(f'hookline_attempts_log_lost_total{{reason="{why.value}"}} ')

    async def write(self, clock: Clock) -> None:
        """All that was noted."""
        clock.now_s += attempts_log.LATEST_SECONDS
        await self.log._look()

    async def make_sure(self, clock: Clock) -> None:
        """That it is stored."""
        clock.now_s += attempts_log.SURE_SECONDS
        await self.log._look()

    @property
    def written(self) -> float:
        return self._value("hookline_attempts_log_written_total ")

    def _value(self, begins: str) -> float:
        lines = self.metrics.text().decode().splitlines()
        return next(float(each.removeprefix(begins)) for each in lines if each.startswith(begins))


async def test_a_batch_is_written_once_it_is_old_enough(clock: Clock) -> None:
    running = Running()
    async with running.connected():
        running.log.note(attempt(1))
        running.log.note(attempt(2))
        await running.log._look()
        assert running.stream.stored == []
        clock.now_s += FLUSH_SECONDS
        await running.log._look()
    ((subject, _, _),) = running.stream.stored
    assert subject == "hookline.attempts.default.u1"
    assert [each.event_id for each in running.stream.records] == ["evt_1", "evt_2"]
    assert running.log.held_bytes == 0


async def test_a_full_batch_waits_for_no_time(clock: Clock) -> None:
    running = Running()
    async with running.connected():
        for number in range(MAX_BATCH_RECORDS + 1):
            running.log.note(attempt(number + 1))
        await running.log._look()
        assert len(running.stream.records) == MAX_BATCH_RECORDS


async def test_long_answers_fill_a_batch_sooner(clock: Clock) -> None:
    running = Running()
    async with running.connected():
        for number in range(6):
            running.log.note(attempt(number + 1, answer=b"x" * 16_000))
        await running.log._look()
        assert len(running.stream.stored) == 2
        await running.log.drain(60)
    assert [len(decode(body)) for _, body, _ in running.stream.stored] == [2, 2, 2]


async def test_of_many_webhooks_the_oldest_are_written_first_and_each_in_time(clock: Clock) -> None:
    running = Running()
    async with running.connected():
        for number in range(3 * AT_A_LOOK):
            running.log.note(attempt(uid=f"u{number}"))
        clock.now_s += FLUSH_SECONDS
        await running.log._look()
        assert [subject for subject, _, _ in running.stream.stored] == [
            f"hookline.attempts.default.u{number}" for number in range(AT_A_LOOK)
        ]
        clock.now_s += attempts_log.LATEST_SECONDS
        await running.log._look()
        assert len(running.stream.stored) == 3 * AT_A_LOOK


async def test_no_age_is_waited_for_once_half_of_a_tenant_s_room_is_taken(clock: Clock) -> None:
    running = Running()
    async with running.connected():
        running.log.note(attempt(uid="another", tenant="other"))
        for number in range(MOST_OF_TENANT_BYTES // 1024 * 2 // 3):
            running.log.note(attempt(number + 1, uid=f"u{number % 500}"))
        await running.log._look()
        assert len(running.stream.stored) == 500
        assert running.log._held["default"] == 0


async def test_one_tenant_fills_its_own_room_and_no_other_s(clock: Clock) -> None:
    running = Running()
    too_many = MOST_OF_TENANT_BYTES // 1024 + 10
    for number in range(too_many):
        running.log.note(attempt(number + 1))
    assert running.lost(Lost.ROOM) == 10
    running.log.note(attempt(1, uid="u2", tenant="other"))
    assert running.lost(Lost.ROOM) == 10
    async with running.connected():
        await running.log.drain(60)
    assert len(running.stream.records) == too_many - 10 + 1


async def test_of_answers_that_take_long_to_look_through_some_are_left_out_and_their_lines_are_not(
    clock: Clock,
) -> None:
    running = Running()
    for number in range(400):
        running.log.note(attempt(number + 1, answer=b"y" * 16_000))
    failed = attempt(401, answer=b"z" * 16_000)
    failed.outcome.reason = Reason.HTTP_STATUS
    running.log.note(failed)
    async with running.connected():
        await running.log.drain(60)
    records = running.stream.records
    assert len(records) == 401
    kept = [each for each in records if each.answer]
    assert MOST_ANSWER_BYTES // 2 <= sum(len(each.answer) for each in kept) <= MOST_ANSWER_BYTES
    # A failure tells more.
    assert kept[-1].event_id == "evt_401"
    assert {each.answer_bytes for each in records} == {16_000}


@pytest.mark.parametrize("why", [Lost.DENIED, Lost.FOREIGN])
async def test_where_nothing_may_be_written_nothing_is_kept_or_tried_again_and_again(clock: Clock, why: Lost) -> None:
    running = Running()
    async with running.connected():
        await running.log._look()
        running.stream.problem = NotStored(why, "no")
        running.log.note(attempt(1))
        clock.now_s += FLUSH_SECONDS
        await running.log._look()
        running.log.note(attempt(2))
        assert (running.lost(why), running.log.held_bytes) == (2, 0)
        running.stream.problem = None
        await running.log._look()
        running.log.note(attempt(3))
        assert running.lost(why) == 3
        clock.now_s += attempts_log.CLOSED_SECONDS
        await running.log._look()
        running.log.note(attempt(4))
        await running.log.drain(60)
    assert [each.event_id for each in running.stream.records] == ["evt_4"]


async def test_what_nats_has_no_room_for_is_lost_and_the_next_is_tried(clock: Clock) -> None:
    running = Running()
    async with running.connected():
        await running.log._look()
        running.stream.problem = NotStored(Lost.REFUSED, "no room")
        running.log.note(attempt(1))
        clock.now_s += FLUSH_SECONDS
        await running.log._look()
        running.stream.problem = None
        running.log.note(attempt(2))
        await running.log.drain(60)
    assert running.lost(Lost.REFUSED) == 1
    assert [each.event_id for each in running.stream.records] == ["evt_2"]


async def test_what_is_not_confirmed_is_written_again_under_the_same_name(clock: Clock) -> None:
    running = Running()
    async with running.connected():
        await running.log._look()
        tried: list[str] = []
        whole = running.stream.store

        async def lost(subject: str, body: bytes, *, once: str, sender: str, webhook: str = "") -> int:
            tried.append(once)
            raise StreamUnavailable("away")

        running.stream.store = lost  # type: ignore[method-assign]
        running.log.note(attempt(1))
        clock.now_s += FLUSH_SECONDS
        await running.log._look()
        running.stream.store = whole  # type: ignore[method-assign]
        running.log.note(attempt(2))
        await running.log.drain(60)
    assert [once for *_, once in running.stream.stored][:1] == tried[:1]
    assert [each.event_id for each in running.stream.records] == ["evt_1", "evt_2"]
    assert all(running.lost(why) == 0 for why in Lost)


async def test_what_was_confirmed_just_before_a_connection_was_lost_is_written_once_more_under_its_name(
    clock: Clock,
) -> None:
    running = Running()
    async with running.connected():
        running.log.note(attempt(1))
        await running.write(clock)
        clock.now_s += 10
        running.log.note(attempt(2))
        await running.write(clock)
        running.log.reconnected()
        await running.log._look()
        assert running.written == 1
        await running.make_sure(clock)
    first, second, again = running.stream.stored
    assert again == second
    assert first != second
    assert (running.written, running.log.held_bytes) == (2, 0)


@pytest.mark.parametrize("is_away", [False, True])
async def test_what_was_confirmed_long_before_a_connection_was_lost_is_not_written_again(
    clock: Clock, is_away: bool
) -> None:
    """NATS has forgotten its name: it would be there twice, or again after it was purged. While the connection is away
    nobody knows whether it was on the disk."""
    running = Running()

    async def away() -> int:
        raise StreamUnavailable("away")

    running.stream.last_seq = away  # type: ignore[method-assign]
    async with running.connected():
        running.log.note(attempt(1))
        await running.write(clock)
        running.stream.connection = None if is_away else 0
        clock.now_s += FORGET_SECONDS + 1
        await running.log._look()
        running.stream.connection = 1
        await running.log._look()
        running.log.reconnected()
        await running.log._look()
    assert len(running.stream.stored) == (2 if is_away else 1)
    running.log.end()
    assert (running.written, running.log.held_bytes) == (1, 0)


async def test_what_another_server_says_of_its_place_makes_nothing_sure(clock: Clock) -> None:
    """One that was killed has lost it, and has given its place to others."""
    running = Running()
    async with running.connected():
        running.log.note(attempt(1))
        await running.write(clock)

        async def of_another() -> int:
            running.stream.connection = 1
            return 100

        running.stream.last_seq = of_another  # type: ignore[method-assign]
        await running.make_sure(clock)
        assert running.written == 0
        await running.make_sure(clock)
        running.log.reconnected()
        await running.log._look()
    assert len(running.stream.stored) == 2


async def test_what_is_left_at_the_end_is_counted(clock: Clock) -> None:
    running = Running()
    async with running.connected():
        running.stream.problem = StreamUnavailable("away")
        running.log.note(attempt(1))
        await running.log.drain(0.01)
    assert running.lost(Lost.ENDED) == 1


async def test_who_ends_writes_what_is_left_though_the_stream_is_still_asked_for_after_a_kill_of_nats(
    clock: Clock,
) -> None:
    running = Running()
    async with running.connected():
        await running.log._look()
        asked = asyncio.Event()

        async def never(bounds: object, **_: object) -> tuple[int, int]:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

        running.stream.ensure = never  # type: ignore[method-assign]
        running.log.reconnected()
        await asked.wait()
        running.log.note(attempt(1))
        await running.log.drain(2)
    assert [each.event_id for each in running.stream.records] == ["evt_1"]
    assert running.lost(Lost.ENDED) == 0


async def test_who_ends_writes_what_is_left_though_the_stream_is_still_asked_for_what_it_has(clock: Clock) -> None:
    running = Running()
    async with running.connected():
        asked = asyncio.Event()

        async def never() -> int:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

        running.stream.last_seq = never  # type: ignore[method-assign]
        running.log.note(attempt(1))
        await running.write(clock)
        clock.now_s += attempts_log.SURE_SECONDS
        running.log._wake.set()
        await asked.wait()
        running.log.note(attempt(2))
        await running.log.drain(2)
    assert [each.event_id for each in running.stream.records] == ["evt_1", "evt_2"]
    assert (running.written, running.lost(Lost.ENDED), running.log.held_bytes) == (2, 0, 0)


async def test_what_outlasts_a_connection_is_written_over_the_next(clock: Clock) -> None:
    running = Running()
    async with running.connected():
        await running.log._look()
        running.log.note(attempt(1))
    async with running.connected():
        await running.log.drain(60)
    assert [each.event_id for each in running.stream.records] == ["evt_1"]


async def test_what_is_under_way_when_a_connection_ends_is_written_over_the_next(clock: Clock) -> None:
    running = Running()
    whole, waits = running.stream.store, asyncio.Event()

    async def hangs(subject: str, body: bytes, *, once: str, sender: str, webhook: str = "") -> int:
        waits.set()
        await asyncio.Event().wait()
        raise AssertionError

    running.stream.store = hangs  # type: ignore[method-assign]
    async with running.connected():
        for number in range(MAX_BATCH_RECORDS * 3):
            running.log.note(attempt(number + 1))
        running.log._wake.set()
        await waits.wait()
    running.stream.store = whole  # type: ignore[method-assign]
    async with running.connected():
        await running.log.drain(60)
    assert len(running.stream.records) == MAX_BATCH_RECORDS * 3
    assert (running.log.held_bytes, running.lost(Lost.ENDED)) == (0, 0)


async def test_a_log_that_is_turned_off_keeps_nothing_and_makes_no_stream(clock: Clock) -> None:
    running = Running()
    running.settings = DispatcherRecord(attempts_enabled=False)
    async with running.connected():
        running.log.note(attempt(1))
        running.log.unheard("default", "A")
        await running.log.drain(60)
    assert (running.stream.made, running.stream.stored, running.log.held_bytes) == ([], [], 0)


async def test_events_that_nobody_hears_are_counted_by_type_and_only_so_many_types(clock: Clock) -> None:
    running = Running()
    async with running.connected():
        for number in range(MOST_UNHEARD):
            running.log.unheard("default", f"T{number}")
        for _ in range(3):
            running.log.unheard("default", "T0")
            running.log.unheard("default", "More")
            running.log.unheard("Not a tenant", "T0")
        await running.log.drain(60)
    ((subject, body, _),) = running.stream.stored
    assert subject == "hookline.attempts.default._unheard"
    counts = {each.event_type: each.count for each in decode_unheard(body)}
    assert (len(counts), counts["T0"], counts[""]) == (MOST_UNHEARD + 1, 4, 3)


async def test_what_is_counted_as_lost_at_the_end_is_not_written_after_it_and_what_comes_later_is_lost_too(
    clock: Clock,
) -> None:
    running = Running()
    async with running.connected():
        await running.log._look()
        whole, waits = running.stream.store, asyncio.Event()

        async def late(subject: str, body: bytes, *, once: str, sender: str, webhook: str = "") -> int:
            await waits.wait()
            return await whole(subject, body, once=once, sender=sender, webhook=webhook)

        running.stream.store = late  # type: ignore[method-assign]
        running.log.note(attempt(1))
        await running.log.drain(0.01)
        running.log.note(attempt(2))
        assert (running.lost(Lost.ENDED), running.log.held_bytes) == (2, 0)
        waits.set()
        running.log.reconnected()
        await running.write(clock)
    async with running.connected():
        running.log.note(attempt(3))
        await running.write(clock)
    assert (running.stream.stored, running.written, running.lost(Lost.ENDED)) == ([], 0, 3)


async def test_an_end_while_batches_are_made_counts_each_line_once(clock: Clock) -> None:
    running = Running()
    async with running.connected():
        await running.log._look()
        for number in range(MAX_BATCH_RECORDS * 4):
            running.log.note(attempt(number + 1))
        looking = asyncio.create_task(running.log._look())
        await asyncio.sleep(0)
        running.log.end()
        await looking
    assert running.written + running.lost(Lost.ENDED) == MAX_BATCH_RECORDS * 4
    assert (len(running.stream.records), running.log.held_bytes) == (running.written, 0)


async def test_a_batch_under_way_counts_by_its_own_answer_though_another_was_denied(clock: Clock) -> None:
    running = Running()
    async with running.connected():
        await running.log._look()
        whole, denied = running.stream.store, asyncio.Event()

        async def store(subject: str, body: bytes, *, once: str, sender: str, webhook: str = "") -> int:
            if subject.endswith("u2"):
                denied.set()
                raise NotStored(Lost.DENIED, "no")
            await denied.wait()
            await asyncio.sleep(0)
            return await whole(subject, body, once=once, sender=sender, webhook=webhook)

        running.stream.store = store  # type: ignore[method-assign]
        running.log.note(attempt(1, uid="u1"))
        running.log.note(attempt(2, uid="u2"))
        await running.write(clock)
    assert [each.event_id for each in running.stream.records] == ["evt_1"]
    running.log.end()
    assert (running.written, running.lost(Lost.DENIED), running.log.held_bytes) == (1, 1, 0)


async def test_what_may_be_stored_is_not_lost_because_the_stream_is_refused_meanwhile(clock: Clock) -> None:
    """nats-server stored it, its answer came too late, and then its limits do not allow the stream's settings."""
    running = Running()
    async with running.connected():
        await running.log._look()
        whole = running.stream.store

        async def unheard(subject: str, body: bytes, *, once: str, sender: str, webhook: str = "") -> int:
            await whole(subject, body, once=once, sender=sender, webhook=webhook)
            raise StreamUnavailable("too late")

        running.stream.store = unheard  # type: ignore[method-assign]
        running.log.note(attempt(1))
        await running.write(clock)
        running.stream.problem = NotStored(Lost.REFUSED, "no room")
        running.log.note(attempt(2))
        await running.write(clock)
        assert running.lost(Lost.REFUSED) == 1
        running.stream.problem, running.stream.store = None, whole  # type: ignore[method-assign]
        await running.write(clock)
        await running.make_sure(clock)
    first, again = running.stream.stored
    assert first == again
    assert (running.written, running.lost(Lost.REFUSED), running.log.held_bytes) == (1, 1, 0)


async def test_a_batch_that_is_larger_than_nats_takes_is_written_as_several_and_without_what_fits_into_none(
    clock: Clock,
) -> None:
    running = Running()
    running.stream.most_bytes = 20_000
    async with running.connected():
        running.log.note(attempt(1, answer=b"1" * 15_000))
        running.log.note(attempt(2, answer=b"2" * 15_000))
        # Each of these takes two bytes.
        running.log.note(attempt(3, answer=b'"' * 15_000))
        await running.write(clock)
    assert all(len(body) <= 20_000 for _, body, _ in running.stream.stored)
    assert [(each.event_id, len(each.answer), each.answer_bytes) for each in running.stream.records] == [
        ("evt_1", 15_000, 15_000),
        ("evt_2", 15_000, 15_000),
        ("evt_3", 0, 15_000),
    ]
    running.log.end()
    assert (running.written, running.log.held_bytes) == (3, 0)


async def test_what_is_stored_for_sure_is_not_written_again_after_a_connection_was_lost(clock: Clock) -> None:
    """Its name may be forgotten, and its lines would be there twice."""
    running = Running()
    async with running.connected():
        running.log.note(attempt(1))
        await running.write(clock)
        await running.make_sure(clock)
        running.log.reconnected()
        await running.log._look()
    assert (len(running.stream.stored), running.written, running.log.held_bytes) == (1, 1, 0)


async def test_what_nats_confirmed_and_does_not_have_is_written_again_by_another_name(clock: Clock) -> None:
    """As when its disk is full: it confirms a batch before it writes it, and takes its name for one that it has."""
    running = Running()
    async with running.connected():
        running.log.note(attempt(1, uid="u1"))
        running.log.note(attempt(2, uid="u2"))
        await running.write(clock)
        running.stream.seq = 1
        await running.make_sure(clock)
        assert (running.written, running.log.held_bytes) == (1, 0)
        await running.make_sure(clock)
    assert [each.event_id for each in running.stream.records] == ["evt_1", "evt_2", "evt_2"]
    assert len({once for *_, once in running.stream.stored}) == 3
    assert running.written == 2


async def test_the_stream_is_asked_once_a_second_at_most_and_not_waited_for(clock: Clock) -> None:
    running, asked = Running(), list[float]()

    async def away() -> int:
        asked.append(clock.now_s)
        raise StreamUnavailable("away")

    async with running.connected():
        running.stream.last_seq = away  # type: ignore[method-assign]
        for number in range(12):
            running.log.note(attempt(number + 1, uid=f"u{number}"))
            clock.now_s += FLUSH_SECONDS / 4
            await running.log._look()
        assert [later - sooner for sooner, later in itertools.pairwise(asked)] == [1.0] * (len(asked) - 1)
        assert len(running.stream.stored) == 9
        running.log.end()
    assert running.written + running.lost(Lost.ENDED) == 12


async def test_what_is_not_confirmed_is_not_tried_again_at_each_look(clock: Clock) -> None:
    running = Running()
    async with running.connected():
        await running.log._look()
        tries: list[str] = []

        async def away(subject: str, body: bytes, *, once: str, sender: str, webhook: str = "") -> int:
            tries.append(once)
            raise StreamUnavailable("no stream takes this subject")

        running.stream.store = away  # type: ignore[method-assign]
        running.log.note(attempt(1))
        await running.write(clock)
        await running.log._look()
        assert len(tries) == 1
        clock.now_s += attempts_log.PAUSE_SECONDS
        await running.log._look()
        assert len(tries) == 2
        # After a connection was made anew nothing is waited for.
        running.log.reconnected()
        await running.log._look()
        assert len(tries) == 3


async def test_a_stream_that_refuses_a_batch_is_looked_at_again_and_not_at_each(clock: Clock) -> None:
    running = Running()
    async with running.connected():
        await running.log._look()
        whole = running.stream.store

        async def refused(subject: str, body: bytes, *, once: str, sender: str, webhook: str = "") -> int:
            raise NotStored(Lost.REFUSED, "message size exceeds maximum allowed")

        running.stream.store = refused  # type: ignore[method-assign]
        for number in range(3):
            running.log.note(attempt(number, uid=f"u{number}"))
        await running.write(clock)
        await running.log._look()
        await running.log._look()
        assert len(running.stream.made) == 2
        running.stream.store = whole  # type: ignore[method-assign]
        running.log.note(attempt(4))
        await running.write(clock)
        await running.make_sure(clock)
    assert (running.lost(Lost.REFUSED), running.written, running.stream.halved) == (3, 1, 0)


async def test_the_log_gives_up_its_older_half_where_nats_has_no_room_for_anything(clock: Clock) -> None:
    running = Running()
    async with running.connected():
        await running.log._look()

        async def full(subject: str, body: bytes, *, once: str, sender: str, webhook: str = "") -> int:
            raise NotStored(Lost.REFUSED, "insufficient resources", full=True)

        running.stream.store = full  # type: ignore[method-assign]
        for number in range(3):
            running.log.note(attempt(number, uid=f"u{number}"))
        await running.write(clock)
        await running.log._look()
        assert running.stream.halved == 1
        running.log.note(attempt(4))
        await running.write(clock)
        await running.log._look()
        assert running.stream.halved == 2


async def test_a_log_with_less_room_than_it_is_to_have_asks_for_it_again(clock: Clock) -> None:
    running = Running()
    running.stream.has = 2**24, 1
    async with running.connected():
        await running.log._look()
        await running.log._look()
        assert len(running.stream.made) == 1
        clock.now_s += attempts_log.GROW_SECONDS
        running.stream.has = 2**40, 1
        await running.log._look()
        clock.now_s += attempts_log.GROW_SECONDS
        await running.log._look()
        assert len(running.stream.made) == 2


async def test_who_reads_the_status_is_told_that_the_log_has_fewer_copies_and_what_to_do(clock: Clock) -> None:
    running = Running()
    running.settings = DispatcherRecord(stream_replicas=3)
    async with running.connected():
        await running.log._look()
        assert "delete the stream HOOKLINE_ATTEMPTS" in running.log.advice
        running.settings = DispatcherRecord(stream_replicas=3, attempts_enabled=False)
        assert running.log.advice == ""
        running.settings = DispatcherRecord(stream_replicas=1)
        await running.log._look()
        assert running.log.advice == ""


async def test_what_is_left_when_the_log_is_turned_off_is_written(clock: Clock) -> None:
    running = Running()
    async with running.connected():
        running.log.note(attempt(1))
        await running.log._look()
        running.log.reconnected()
        running.settings = DispatcherRecord(attempts_enabled=False)
        await running.write(clock)
        await running.make_sure(clock)
    assert (running.written, running.log.held_bytes) == (1, 0)


class Fickle(Stream):
    """Answers as `answers` says, for as long as they last: it knows what it confirmed by its name, as nats-server."""

    def __init__(self, answers: Iterator[str]) -> None:
        super().__init__()
        self.answers = answers
        self.names: dict[str, int] = {}
        self.bodies: list[bytes] = []
        self.is_broken = False
        """Whether it lost what it confirmed last: nothing more is stored until its disk has room."""

    async def ensure(
        self, bounds: object, *, replicas: int, owner: Mark, now_s: float, has_gap: bool
    ) -> tuple[int, int]:
        answer = next(self.answers, "stored")
        await asyncio.sleep(0)
        if answer == "refused":
            raise NotStored(Lost.REFUSED, "no")
        if answer == "away":
            raise StreamUnavailable("away")
        return await super().ensure(bounds, replicas=replicas, owner=owner, now_s=now_s, has_gap=has_gap)

    async def last_seq(self) -> int:
        await asyncio.sleep(0)
        return len(self.bodies)

    async def store(self, subject: str, body: bytes, *, once: str, sender: str, webhook: str = "") -> int:
        answer = next(self.answers, "stored")
        for _ in range(len(self.names) % 3):
            await asyncio.sleep(0)
        if answer == "away":
            raise StreamUnavailable("away")
        if once not in self.names:
            if self.is_broken:
                raise StreamUnavailable("nothing is stored")
            if answer == "refused":
                raise NotStored(Lost.REFUSED, "no")
            if answer == "broken":
                raise RuntimeError("a bug")
            self.names[once] = len(self.bodies) + 1
            if answer == "dropped":
                self.is_broken = True
            else:
                self.bodies.append(body)
        if answer == "unheard":
            raise StreamUnavailable("stored, and not heard of")
        return self.names[once]

    @property
    def lines(self) -> int:
        return sum(len(decode(body)) for body in self.bodies)


@given(
    steps=st.lists(
        st.sampled_from(["note", "many", "look", "reconnected", "again", "off", "on", "later"]), max_size=40
    ),
    answers=st.lists(st.sampled_from(["stored", "refused", "away", "unheard", "broken", "dropped"]), max_size=60),
)
def test_each_line_is_in_the_stream_or_counted_as_lost_and_none_is_both(steps: list[str], answers: list[str]) -> None:
    async def lived() -> tuple[int, Running, Fickle]:
        running, clock, noted = Running(), Clock(), 0
        running.stream = stream = Fickle(iter(answers))
        with mock.patch.object(attempts_log, "time", SimpleNamespace(monotonic=clock.monotonic)):
            left = iter(steps)
            while True:
                async with running.connected():
                    for step in left:
                        if step in ("note", "many") and running.settings.attempts_enabled:
                            for _ in range(1 if step == "note" else MAX_BATCH_RECORDS * 3):
                                noted += 1
                                running.log.note(attempt(noted, uid=f"u{noted % 3}"))
                        elif step == "look":
                            await running.log._look()
                        elif step == "reconnected":
                            running.log.reconnected()
                        elif step == "again":
                            break
                        elif step in ("off", "on"):
                            running.settings = DispatcherRecord(attempts_enabled=step == "on")
                        clock.now_s += 1.0 if step != "later" else 7.0
                    else:
                        stream.answers = iter(())
                        for look in range(8):
                            stream.is_broken = stream.is_broken and look < 4
                            clock.now_s += attempts_log.CLOSED_SECONDS
                            await running.log._look()
                        await running.log.drain(60)
                        return noted, running, stream

    with mock.patch.object(attempts_log, "LOOK_SECONDS", 0.0), mock.patch.object(attempts_log, "log"):
        noted, running, stream = asyncio.run(lived())
    assert stream.lines == running.written
    assert running.written + sum(running.lost(why) for why in Lost) == noted
    assert (running.log.held_bytes, dict(running.log._held)) == (0, {})


@pytest.mark.parametrize(
    ("changes", "follows"),
    [
        ({}, "Done"),
        ({"decision": Retry(5), "next_at_s": 9.0}, "Retry"),
        ({"decision": Dead("Gone")}, "Dead"),
        ({"decision": Retry(5), "given_back": True}, "Parked"),
        ({"decision": Retry(5), "next_at_s": 9.0, "settled": False}, "Again"),
    ],
)
def test_what_follows_is_what_was_stored(changes: dict[str, object], follows: str) -> None:
    made = attempt()
    for name, value in changes.items():
        setattr(made, name, value)
    record = Recorder().record(note_of(made))
    assert (record.follows, record.next_at_s) == (follows, 9.0 if follows == "Retry" else None)


async def test_lines_that_were_lost_are_told_in_the_log_and_not_at_each_loss(clock: Clock) -> None:
    running = Running()
    async with running.connected():
        await running.log._look()
        assert running.stream.gaps == [(7.0, False)]
        for _ in range(3):
            running.log._lose(Lost.ROOM, 1)
            await running.log._look()
        assert running.stream.gaps[1:] == [(7.0, True)]
        clock.now_s += attempts_log.GAP_SECONDS
        await running.log._look()
        await running.log._look()
        assert running.stream.gaps[1:] == [(7.0, True)] * 2, "what was lost behind the first word has its own"


async def test_a_loss_that_could_not_be_told_is_told_later(clock: Clock) -> None:
    running = Running()
    async with running.connected():
        await running.log._look()
        running.log._lose(Lost.ROOM, 1)
        running.stream.problem = StreamUnavailable("away")
        await running.log._look()
        running.stream.problem = None
        await running.log._look()
    assert running.stream.gaps[1:] == [(7.0, True)]


@pytest.mark.parametrize("problem", [None, NotStored(Lost.DENIED, "no")])
async def test_a_log_that_is_turned_off_says_so_once_and_when_it_is_on_again_that_lines_are_missing(
    clock: Clock, problem: Exception | None
) -> None:
    running = Running()
    async with running.connected():
        await running.log._look()
        running.settings = DispatcherRecord(attempts_enabled=False)
        running.stream.problem = problem
        await running.log._look()
        await running.log._look()
        assert running.stream.offs == (problem is None)
        running.stream.problem = None
        running.settings = DispatcherRecord()
        await running.log._look()
        await running.log._look()
    assert running.stream.gaps == [(7.0, False), (7.0, True)]
    assert all(running.lost(why) == 0 for why in Lost)


async def test_a_sender_that_begins_with_the_log_turned_off_says_so_over_each_connection(clock: Clock) -> None:
    running = Running()
    running.settings = DispatcherRecord(attempts_enabled=False)
    for number in (1, 2):
        async with running.connected():
            await running.log._look()
            assert running.stream.offs == number
