from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from doubles.local import until
from doubles.queue import Queue, stored_ns
from hookline.delivery import backlog as module
from hookline.delivery.backlog import (
    AHEAD_BYTES,
    MOST_AHEAD,
    READ_AHEAD,
    TENANTS,
    TURN_SECONDS,
    Backlog,
    read_ahead,
)
from hookline.delivery.set_aside import Place, SetAside, read, written
from hookline.delivery.settlement import EVENT_GONE
from hookline.events.envelope import MAX_BODY_BYTES
from hookline.runtime.tasks import cancel
from hookline.stream import names
from hookline.stream.connection import Client, StreamUnavailable
from hookline.stream.event_reader import StoredEvent
from hookline.stream.pull import Origin, PullLoop, Taken
from hookline.stream.streams import SubjectCounts


def body_of(*seqs: int) -> bytes:
    return written(Place(seq, stored_ns(seq)) for seq in seqs)


class Stand:
    """A backlog whose events, room, pull loop and clock are the test's own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.queue = Queue()
        self.owners: dict[int, str] = {}
        """Tenants of events, other than `a`."""
        self.gone: set[int] = set()
        self.unread: set[int] = set()
        """Events that cannot be read now."""
        self.read: list[int] = []
        self.body = b"{}"
        """Of each event."""
        self.reading, self.most_read = 0, 0
        """Events that are being read, and the most that were at once."""
        self.room = 10_000
        self.taken: list[Taken] = []
        """Events that are in hand."""
        self.counts: Mapping[str, int] = {}
        self.pulled: list[str] = []
        """Consumers that are pulled from."""
        self.now_s = 1000.0
        self.tasks: set[asyncio.Task[None]] = set()
        self.take: Callable[[Taken], Coroutine[Any, Any, None] | None] = self._take
        self.read_event: Callable[[int], Awaitable[StoredEvent | None]] = self.read_stored
        self.aside = SetAside(self.queue.publisher, self.queue.settlement, self.queue.pull, self.queue.metrics)
        self.backlog = Backlog(
            cast(Client, None),
            cast(PullLoop, self),
            self.queue.settlement,
            self.aside,
            lambda seq, _: self.read_event(seq),
            lambda taken: self.take(taken),
            lambda _, __: self.room > 0,
            term=lambda: 1,
            spawn=self.spawn,
        )

        async def counts(_: SubjectCounts) -> Mapping[str, int]:
            return self.counts

        async def opened(_: Client, tenant: str, term: int) -> str:
            return names.backlog_consumer(tenant, term)

        monkeypatch.setattr(SubjectCounts, "counts", counts)
        monkeypatch.setattr(module, "open_backlog", opened)
        monkeypatch.setattr(module, "ACK_WAIT_SECONDS", 0.0)
        monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now_s))

    async def read_stored(self, seq: int) -> StoredEvent | None:
        self.read.append(seq)
        self.reading += 1
        self.most_read = max(self.most_read, self.reading)
        await asyncio.sleep(0)
        self.reading -= 1
        if seq in self.unread:
            raise StreamUnavailable("away")
        if seq in self.gone:
            return None
        subject = names.event_subject(self.owners.get(seq, "a"), "IdentityCreated")
        return StoredEvent(subject, {}, self.body, stored_ns(seq))

    def _take(self, taken: Taken) -> None:
        assert self.room > 0, "an event for which there is no room would be set aside in a circle"
        self.room -= 1
        self.taken.append(taken)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)

    def handle(self, *messages: Taken) -> None:
        for each in messages:
            self.spawn(self.backlog.handle(each))

    def release(self, taken: Taken) -> None:
        self.queue.release(taken)

    def add(self, origin: Origin, consumer: str, _: int) -> None:
        assert origin is Origin.BACKLOG
        self.pulled.append(consumer)

    def remove(self, consumer: str) -> None:
        self.pulled.remove(consumer)

    @property
    def seqs(self) -> list[int]:
        return [each.seq for each in self.taken]

    async def end(self, how: Callable[[Taken], Awaitable[object]], *seqs: int) -> None:
        """End events that are in hand, or those of some sequences."""
        ending = [each for each in self.taken if not seqs or each.seq in seqs]
        self.taken = [each for each in self.taken if each not in ending]
        for each in ending:
            self.room += 1
            await how(each)
        self.backlog.room_given()
        await settled()

    async def settle(self, *seqs: int) -> None:
        await self.end(self.queue.settlement.settle, *seqs)

    async def leave(self, *seqs: int) -> None:
        await self.end(lambda each: each.left(), *seqs)

    def again(self) -> list[list[int]]:
        """What was set aside again, by message."""
        return [[place.seq for place in read(body)] for body in self.queue.bodies(names.BACKLOG)]

    async def look(self) -> None:
        await self.backlog._look()
        await settled()


async def settled() -> None:
    """Until all that can go on has gone on."""
    for _ in range(60):
        await asyncio.sleep(0)


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    return Stand(monkeypatch)


async def test_every_event_goes_its_way_once_and_the_message_is_acked_after_the_last_ended(stand: Stand) -> None:
    message = stand.queue.message(body_of(*range(1, 11)))
    stand.handle(message)
    await settled()
    assert stand.seqs == list(range(1, 11))
    assert {(each.origin, each.stored_ns - each.seq) for each in stand.taken} == {(Origin.BACKLOG, 1_000_000)}
    await stand.settle(*range(1, 10))
    assert not stand.queue.acked(message)
    assert stand.queue.released == []
    await stand.settle(10)
    assert stand.queue.acked(message)
    assert stand.queue.released == [message.seq]
    assert stand.backlog._batches == {}


async def test_events_wait_for_room_and_few_are_read_before_there_is_any(stand: Stand) -> None:
    stand.room = 1
    stand.handle(stand.queue.message(body_of(*range(1, 201))), stand.queue.message(body_of(201, 202)))
    await settled()
    assert stand.seqs == [1]
    assert len(stand.read) == read_ahead(1) + MOST_AHEAD
    await stand.settle(1)
    assert stand.seqs == [2]
    while stand.taken:
        await stand.settle()
    assert sorted(stand.read) == list(range(1, 203))
    assert stand.queue.released == [1, 2]


async def test_events_of_many_small_messages_are_read_at_once(stand: Stand) -> None:
    stand.room = 0
    stand.room = 1
    stand.handle(*(stand.queue.message(body_of(seq), seq=seq) for seq in range(1, 9)))
    await settled()
    assert stand.read == list(range(1, 9))


async def test_an_event_of_which_deliveries_are_being_stored_keeps_no_other_waiting(stand: Stand) -> None:
    async def storing() -> None:
        await asyncio.Event().wait()

    begun: list[int] = []

    def take(taken: Taken) -> Coroutine[Any, Any, None]:
        begun.append(taken.seq)
        return storing()

    stand.take = take
    stand.handle(stand.queue.message(body_of(1, 2)))
    await settled()
    assert begun == [1, 2]
    await cancel(stand.tasks)


async def test_a_tenant_without_room_keeps_no_other_waiting(stand: Stand) -> None:
    stand.owners = {9: "b"}
    full = {"a"}
    stand.backlog._has_room = lambda subject, _: names.event_of(subject)[0] not in full
    stand.handle(stand.queue.message(body_of(1, 2)), stand.queue.message(body_of(9), tenant="b"))
    await settled()
    assert stand.seqs == [9]
    assert stand.aside.behind == {"a"}
    await cancel(stand.tasks)


async def test_an_event_that_was_left_begins_again_in_its_time_and_the_others_do_not(stand: Stand) -> None:
    message = stand.queue.message(body_of(1, 2, 3))
    stand.handle(message)
    await settled()
    await stand.settle(1, 3)
    await stand.leave(2)
    assert not stand.queue.acked(message)
    await until(lambda: stand.seqs == [2])
    assert stand.taken[0].delivered == 2
    assert stand.again() == []
    await stand.settle(2)
    assert stand.queue.acked(message)


async def test_an_event_that_cannot_be_handled_comes_again_but_not_for_ever(stand: Stand) -> None:
    message = stand.queue.message(body_of(1, 2))

    def fails(taken: Taken) -> Coroutine[Any, Any, None]:
        return stand.queue.settlement.failed(taken, ValueError())

    stand.take = fails
    stand.handle(message)
    await until(lambda: stand.queue.acked(message))
    assert len(stand.queue.bodies(names.DEAD)) == 2
    assert stand.read.count(1) == 10


async def test_an_event_that_ends_twice_counts_once(stand: Stand) -> None:
    message = stand.queue.message(body_of(1, 2))
    stand.handle(message)
    await settled()
    first = stand.taken[0]
    await first.left()
    await first.left()
    await first.ack()
    assert not stand.queue.acked(message)
    await stand.settle(2)
    await until(lambda: [each.seq for each in stand.taken].count(1) == 2)


async def test_a_message_that_is_delivered_again_while_it_is_in_hand_is_passed_over(stand: Stand) -> None:
    message = stand.queue.message(body_of(1, 2), seq=5)
    stand.handle(message)
    await settled()
    stand.handle(stand.queue.message(body_of(1, 2), seq=5, delivered=2))
    await settled()
    assert stand.seqs == [1, 2]
    assert stand.queue.did == []
    await stand.settle()
    stand.handle(stand.queue.message(body_of(1, 2), seq=5, delivered=3))
    await settled()
    assert stand.taken == []
    assert stand.queue.did == ["+ACK backlog-a.5"] * 2
    assert stand.queue.released == [5, 5, 5]


@pytest.mark.parametrize("body", [b"", b"x", b"1", b"0 1", b"9" * 99 + b" 1", b"1 2\n" * 300])
async def test_a_message_that_cannot_be_read_is_kept_in_dead(stand: Stand, body: bytes) -> None:
    message = stand.queue.message(body)
    stand.handle(message)
    await settled()
    assert stand.queue.bodies(names.DEAD) == [body]
    assert stand.queue.acked(message)
    assert stand.queue.released == [message.seq]
    assert stand.read == []


async def test_events_that_are_gone_or_of_another_tenant_are_passed_over_and_their_names_kept_in_dead(
    stand: Stand,
) -> None:
    stand.gone, stand.owners = {2}, {3: "b"}
    body = written([Place(1, stored_ns(1)), Place(2, stored_ns(2)), Place(3, stored_ns(3)), Place(4, 1)])
    message = stand.queue.message(body)
    stand.handle(message)
    await settled()
    assert stand.seqs == [1]
    assert not stand.queue.acked(message)
    await stand.settle()
    assert stand.queue.bodies(names.DEAD) == [body]
    assert stand.queue.acked(message)
    died = stand.queue.metrics.registry.get_sample_value("hookline_dead_letters_total", {"reason": EVENT_GONE})
    assert died == 1


async def test_an_event_that_cannot_be_read_now_is_read_later_and_nothing_is_stored_meanwhile(stand: Stand) -> None:
    stand.unread = {1}
    stand.handle(stand.queue.message(body_of(1)))
    await until(lambda: stand.read.count(1) > 3)
    assert stand.queue.stored == []
    stand.unread = set()
    await until(lambda: stand.seqs == [1])


async def test_at_the_end_what_is_not_begun_is_set_aside_again_also_as_it_was(stand: Stand) -> None:
    stand.room = 1
    first, second = stand.queue.message(body_of(1, 2, 3)), stand.queue.message(body_of(4))
    await stand.aside.store("a", read(second.body))
    stand.handle(first, second)
    await settled()
    stand.backlog.close()
    await settled()
    assert stand.seqs == [1]
    assert stand.queue.acked(second)
    assert not stand.queue.acked(first)
    await stand.settle()
    assert stand.again() == [[4], [4], [2, 3]]
    assert stand.queue.acked(first)
    assert stand.backlog._batches == {}
    assert all(task.done() for task in stand.tasks)


async def test_at_the_end_what_waits_to_be_read_or_to_begin_again_is_set_aside_again(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ACK_WAIT_SECONDS", 60.0)
    monkeypatch.setattr(module, "LOOK_SECONDS", 60.0)
    stand.unread = {2}
    stand.handle(stand.queue.message(body_of(1)))
    await settled()
    await stand.leave(1)
    stand.handle(stand.queue.message(body_of(2)))
    await settled()
    stand.backlog.close()
    await settled()
    assert sorted(stand.again()) == [[1], [2]]
    assert all(task.done() for task in stand.tasks)


async def test_what_cannot_be_set_aside_again_is_not_acked(stand: Stand) -> None:
    stand.room = 0
    message = stand.queue.message(body_of(1))
    stand.handle(message)
    await settled()
    stand.queue.problem = StreamUnavailable("away")
    stand.backlog.close()
    await settled()
    assert stand.queue.did == []
    assert stand.queue.released == [message.seq]


@pytest.mark.parametrize("broken", ["take", "ack"])
async def test_a_bug_neither_holds_a_message_nor_reaches_whoever_ended_its_event(stand: Stand, broken: str) -> None:
    def fails(*_: object) -> None:
        raise ValueError

    message = stand.queue.message(body_of(1))
    if broken == "take":
        stand.take = fails
    else:
        stand.queue.publish = fails  # type: ignore[assignment]
    stand.handle(message)
    await settled()
    await stand.settle()
    assert stand.backlog._batches == {}
    assert stand.queue.released == [message.seq]
    assert all(task.exception() is None for task in stand.tasks if task.done())


async def test_a_message_is_in_hand_after_a_bug_until_the_events_of_it_are_not(
    stand: Stand,
) -> None:
    async def fails(seq: int) -> StoredEvent | None:
        if seq == 5:
            raise ValueError
        return await stand.read_stored(seq)

    stand.read_event = fails
    message = stand.queue.message(body_of(1, 2, 3, 4, 5, 6), seq=7)
    stand.handle(message)
    await settled()
    stand.handle(stand.queue.message(body_of(1, 2, 3, 4, 5, 6), seq=7, delivered=2))
    await settled()
    # They would be taken for events that another message holds, and be acked with this one.
    assert stand.seqs == [1, 2, 3, 4]
    await stand.settle(1, 2, 3)
    await stand.leave(4)
    assert not stand.queue.acked(message)
    assert stand.backlog._batches == {}
    assert stand.queue.released == [7, 7]
    stand.read_event = stand.read_stored
    stand.handle(stand.queue.message(body_of(1, 2, 3, 4, 5, 6), seq=7, delivered=3))
    await settled()
    assert set(stand.seqs) >= {4, 5, 6}


async def test_a_tenant_is_live_again_once_all_that_waits_has_begun(stand: Stand) -> None:
    stand.room = 2
    stand.aside.behind.add("a")
    stand.handle(stand.queue.message(body_of(1, 2), pending=1))
    await settled()
    assert stand.aside.behind == {"a"}
    stand.handle(stand.queue.message(body_of(3)))
    await settled()
    assert stand.aside.behind == {"a"}
    await stand.settle(1)
    assert stand.seqs == [2, 3]
    assert stand.aside.behind == set()


async def test_a_tenant_whose_events_wait_for_room_is_behind(stand: Stand) -> None:
    stand.room = 0
    stand.handle(stand.queue.message(body_of(1)))
    await settled()
    assert stand.aside.behind == {"a"}
    await cancel(stand.tasks)


async def test_a_tenant_is_behind_when_others_set_much_of_it_aside_until_nothing_of_it_is_there(stand: Stand) -> None:
    stand.counts = {"a": module.NEARLY_DONE + 1, "b": 1}
    await stand.look()
    assert stand.aside.behind == {"a"}
    assert sorted(stand.pulled) == ["backlog-a", "backlog-b"]
    stand.aside.caught_up("a")
    await stand.look()
    assert stand.aside.behind == set(), "what is in hand here does not wait"
    stand.aside.behind.add("a")
    stand.counts = {}
    await stand.look()
    assert stand.aside.behind == set()
    assert stand.pulled == []


async def test_tenants_beyond_those_served_at_once_have_their_turns_and_none_is_forgotten(stand: Stand) -> None:
    everybody = {f"t{number:04}": 10 for number in range(4 * TENANTS)}
    stand.counts = everybody
    seen: set[str] = set()
    for _ in range(4 * 2):
        await stand.look()
        assert len(stand.pulled) <= TENANTS
        seen |= set(stand.pulled)
        stand.now_s += TURN_SECONDS + 1
    assert seen == {names.backlog_consumer(tenant) for tenant in everybody}


async def test_a_tenant_that_makes_way_holds_no_messages(stand: Stand) -> None:
    stand.room = 1
    stand.counts = {"a": 1}
    await stand.look()
    message = stand.queue.message(body_of(1, 2, 3))
    stand.handle(message)
    await settled()
    stand.now_s += TURN_SECONDS + 1
    stand.counts = {"a": 1, **{f"t{number}": 1 for number in range(TENANTS)}}
    await stand.look()
    assert "backlog-a" not in stand.pulled
    await stand.settle(1)
    assert stand.again() == [[2, 3]]
    assert stand.queue.acked(message)


async def test_what_is_in_hand_is_said_to_be_worked_on_while_the_queue_does_not_answer_a_look(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_: SubjectCounts) -> Mapping[str, int]:
        await asyncio.Event().wait()
        return {}

    monkeypatch.setattr(SubjectCounts, "counts", never)
    stand.handle(stand.queue.message(body_of(1)))
    stand.spawn(stand.backlog.watch())
    stand.spawn(stand.backlog.keep_alive())
    await until(lambda: "+WPI backlog-a.1" in stand.queue.did)
    await cancel(stand.tasks)


async def test_what_is_set_aside_here_is_looked_for_soon(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 3600.0)
    monkeypatch.setattr(module, "REST_SECONDS", 0.0)
    stand.spawn(stand.backlog.watch())
    await settled()
    stand.counts = {"a": 1}
    await settled()
    assert stand.pulled == []
    work = stand.aside.add("a", stand.queue.event(1))
    assert work is not None
    stand.spawn(work)
    await until(lambda: stand.pulled == ["backlog-a"])
    await cancel(stand.tasks)


async def test_a_look_that_takes_long_does_not_put_off_the_next_one(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(_: SubjectCounts) -> Mapping[str, int]:
        stand.now_s += 10
        counts, stand.counts = stand.counts, {"a": 1, "b": 1}
        return counts

    monkeypatch.setattr(SubjectCounts, "counts", slow)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.001)
    stand.counts = {"a": 1}
    stand.spawn(stand.backlog.watch())
    await until(lambda: stand.pulled == ["backlog-a", "backlog-b"], seconds=5)
    await cancel(stand.tasks)


async def test_a_consumer_that_vanished_is_made_anew_at_the_next_look(stand: Stand) -> None:
    stand.counts = {"a": 1}
    await stand.look()
    assert not stand.backlog.lost("shard-03")
    assert stand.backlog.lost("backlog-a")
    assert stand.pulled == []
    await stand.look()
    assert stand.pulled == ["backlog-a"]


async def test_a_tenant_whose_consumer_cannot_be_made_keeps_no_other_from_its_turn(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def opened(_: Client, tenant: str, term: int) -> str:
        if tenant == "a":
            raise StreamUnavailable("another consumer has its filter")
        return names.backlog_consumer(tenant, term)

    monkeypatch.setattr(module, "open_backlog", opened)
    stand.counts = {"a": 1, "b": 1}
    await stand.look()
    assert stand.pulled == ["backlog-b"]


def test_what_is_read_ahead_of_a_tenant_has_a_bound_in_events_and_in_bytes() -> None:
    assert read_ahead(1) * MAX_BODY_BYTES == AHEAD_BYTES
    assert read_ahead(1, 0.0) == read_ahead(1, 1024.0) == MOST_AHEAD
    assert read_ahead(1, 250_000.0) == AHEAD_BYTES // 250_000
    assert read_ahead(TENANTS, 1024.0) == READ_AHEAD // TENANTS
    assert read_ahead(1, 1e9) == read_ahead(TENANTS, 1e9) == 1


@pytest.mark.parametrize(("size_bytes", "at_once"), [(2, MOST_AHEAD), (60_000, 4), (250_000, 1)])
async def test_of_large_events_fewer_are_read_at_once_from_the_first_on(
    stand: Stand, size_bytes: int, at_once: int
) -> None:
    stand.body = bytes(size_bytes)
    stand.handle(stand.queue.message(body_of(*range(1, 201))))
    while len(stand.taken) < 200:
        await settled()
    assert stand.most_read == at_once
    assert sorted(stand.seqs) == list(range(1, 201))
