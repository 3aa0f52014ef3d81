from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from doubles.books import route
from doubles.played_queue import How, PlayedQueue, Pod, playing
from doubles.queue import Queue, stored_ns
from hookline.delivery import fanout
from hookline.delivery.endpoints import Endpoints
from hookline.delivery.fanout import AT_ONCE, Fanout
from hookline.delivery.messages import Delivery
from hookline.delivery.open_event import OpenEvent
from hookline.delivery.policy.event_room import FEW, HELD_BYTES, EventRoom
from hookline.delivery.route_book import RouteBook
from hookline.delivery.sender import Sender
from hookline.delivery.set_aside import Place, SetAside, written
from hookline.delivery.settlement import Settlement
from hookline.routing.routes import Keys, Route, RouteState, book_of
from hookline.runtime.metrics import SenderMetrics
from hookline.stream import names
from hookline.stream.clock import ServerClock
from hookline.stream.connection import StreamRefused, StreamUnavailable
from hookline.stream.publish import Publisher
from hookline.stream.pull import Origin, PullLoop, Taken

WEBHOOKS = 10 * AT_ONCE


class Slow:
    """Takes a moment for each message, and knows how many it was asked to store at once."""

    now = most = 0

    def __init__(self) -> None:
        self.stored: list[str] = []

    async def store(self, subject: str, body: bytes, headers: Mapping[str, str], *, once: str) -> bool:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        self.stored.append(once)
        return True


class Refusing(Slow):
    """Refuses what is for one Webhook, or for none once `refused` is empty."""

    refused = "u3"

    async def store(self, subject: str, body: bytes, headers: Mapping[str, str], *, once: str) -> bool:
        if self.refused and subject.endswith(f".{self.refused}"):
            raise StreamRefused("full")
        return await super().store(subject, body, headers, once=once)


class Away(Slow):
    """NATS goes away after the first message."""

    tried = 0

    async def store(self, subject: str, body: bytes, headers: Mapping[str, str], *, once: str) -> bool:
        self.tried += 1
        if self.tried > 1:
            raise StreamUnavailable("away")
        return await super().store(subject, body, headers, once=once)


class Words:
    """The connection on which a message is acked."""

    def __init__(self) -> None:
        self.said: list[bytes] = []

    async def publish(self, subject: str, word: bytes) -> None:
        self.said.append(word)


class Room:
    def release(self, taken: Taken) -> None:
        pass


async def handled(publisher: Slow, *, times: int = 1, metrics: SenderMetrics | None = None) -> list[bytes]:
    """What was said of an event that many Webhooks hear, and that came so many times."""
    metrics, words = metrics or SenderMetrics(outcomes=(), deaths=(), parkings=()), Words()
    books = RouteBook(Path("nowhere"), metrics)
    books.current = book_of((route(f"u{number}"), Keys(uid=f"u{number}")) for number in range(WEBHOOKS))
    event = next(books.current.routes())
    subject = f"hookline.events.{event.namespace}.{event.event}"
    reply = "$JS.ACK.EVENTS.fanout.1.7.7.1700000000000000000.0"
    taken = Taken(Origin.EVENTS, "fanout", subject, {}, b"{}", 7, 0, 1, cast(Any, words), reply)
    stores = cast(Publisher, publisher)
    settlement = Settlement(stores, metrics, cast(ServerClock, None))
    pull, nobody = cast(PullLoop, Room()), cast(Sender, None)
    aside = SetAside(stores, settlement, pull, metrics)
    by = Fanout(pull, stores, settlement, books, Endpoints(), nobody, aside, EventRoom(), metrics, on_room=lambda: None)
    for _ in range(times):
        storing = by.take(taken)
        assert storing is not None
        await storing
    return words.said


async def test_few_deliveries_of_an_event_are_stored_at_once_and_all_before_it_is_acked() -> None:
    publisher = Slow()
    assert await handled(publisher) == [b"+ACK"]
    assert len(set(publisher.stored)) == WEBHOOKS
    assert publisher.most == AT_ONCE


async def test_an_event_that_takes_long_is_said_to_be_worked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "ACK_WAIT_SECONDS", 0.0)
    said = await handled(Slow())
    assert said[-1] == b"+ACK"
    assert set(said[:-1]) == {b"+WPI"}


async def test_what_is_refused_for_one_webhook_reaches_all_others_once_however_often_the_event_comes() -> None:
    publisher = Refusing()
    assert await handled(publisher, times=3) == []
    assert len(publisher.stored) == len(set(publisher.stored)) == WEBHOOKS - 1


class Recovering(Refusing):
    """Refuses one delivery once."""

    async def store(self, subject: str, body: bytes, headers: Mapping[str, str], *, once: str) -> bool:
        try:
            return await super().store(subject, body, headers, once=once)
        except StreamRefused:
            self.refused = ""
            raise


async def test_an_event_is_acked_once_the_last_of_its_deliveries_is_no_longer_refused() -> None:
    publisher = Recovering()
    assert await handled(publisher, times=2) == [b"+ACK"]
    assert len(publisher.stored) == len(set(publisher.stored)) == WEBHOOKS


async def test_an_event_is_counted_once_however_often_it_comes_and_so_is_each_delivery() -> None:
    for publisher, times, events, made in ((Refusing(), 3, 0, WEBHOOKS - 1), (Recovering(), 4, 1, WEBHOOKS)):
        metrics = SenderMetrics()
        await handled(publisher, times=times, metrics=metrics)
        assert metrics.registry.get_sample_value("hookline_events_fanned_out_total") == events
        assert metrics.registry.get_sample_value("hookline_deliveries_made_total") == made


async def test_while_nats_is_away_the_rest_of_an_event_is_not_tried() -> None:
    publisher = Away()
    assert await handled(publisher) == []
    assert publisher.tried == AT_ONCE


async def test_an_event_of_a_stream_that_was_made_anew_is_not_taken_for_the_one_that_had_its_place() -> None:
    metrics, called = SenderMetrics(outcomes=(), deaths=(), parkings=()), list[OpenEvent]()
    books = RouteBook(Path("nowhere"), metrics)
    books.current = book_of([(route("u1"), Keys(uid="u1"))])
    event = next(books.current.routes())
    subject = f"hookline.events.{event.namespace}.{event.event}"
    stores, sender = cast(Publisher, Slow()), SimpleNamespace(call_from=lambda opened, _: called.append(opened))
    settlement = Settlement(stores, metrics, cast(ServerClock, None))
    pull, room = cast(PullLoop, Room()), EventRoom()
    aside, calls = SetAside(stores, settlement, pull, metrics), cast(Sender, sender)
    by = Fanout(pull, stores, settlement, books, Endpoints(), calls, aside, room, metrics, on_room=lambda: None)
    old, new = Words(), Words()
    for made, words in enumerate((old, new)):
        by.take(Taken(Origin.EVENTS, "fanout", subject, {}, b"{}", 1, made, 1, cast(Any, words), "$JS.ACK.x"))
    assert len(called) == 2
    await called[0].ended("u1", whole=True)
    # NATS would take it for an ack of the new one, which has the same sequence.
    assert old.said == []
    await called[1].ended("u1", whole=True)
    assert new.said == [b"+ACK"]


EVENT = "IdentityCreated"


def hooks(count: int, **changes: object) -> list[Route]:
    return [route(f"u{number}", url=f"https://example.com/u{number}", **changes) for number in range(1, count + 1)]


def called(queue: PlayedQueue) -> list[str]:
    """The Webhooks that were called, in order."""
    return [each.uid for each in queue.called]


def test_an_event_of_few_webhooks_is_called_from_and_acked_once_the_last_of_them_is_done() -> None:
    with playing(*hooks(FEW)) as queue:
        pod, event = Pod(queue), queue.publish("e1", EVENT)
        pod.take(event)
        for each in list(pod.calls):
            assert not event.acked()
            pod.respond(each, 200)
        assert event.acked()
        assert (len(queue.called), queue.stored) == (FEW, [])


def is_empty(room: EventRoom) -> bool:
    """Whether an event finds room that needs all of it."""
    return room.has("default", 1, HELD_BYTES, behind=False)


def test_a_large_event_is_called_with_its_body_once_that_was_read() -> None:
    with playing(*hooks(2)) as queue:
        pod, event = Pod(queue), queue.publish("e1", EVENT, is_large=True)
        pod.take(event)
        assert ([each.what for each in pod.asked], queue.called) == (["read"], [])
        pod.answer_all()
        for each in list(pod.calls):
            pod.respond(each, 200)
        assert event.acked()
        assert called(queue) == ["u1", "u2"]


@pytest.mark.parametrize("how", [How.REFUSED, How.LOST, How.BUG])
def test_a_large_event_whose_body_cannot_be_read_comes_again_and_takes_no_room(how: How) -> None:
    with playing(*hooks(1)) as queue:
        pod, event = Pod(queue), queue.publish("e1", EVENT, is_large=True)
        pod.take(event)
        assert not is_empty(pod.room)
        pod.answer(pod.asked[0], how)
        assert not event.acked()
        assert is_empty(pod.room)
        other = Pod(queue)
        other.take(event)
        other.answer_all()
        assert event.acked()


def test_a_large_event_that_comes_again_while_its_body_is_read_is_begun_once() -> None:
    with playing(*hooks(1)) as queue:
        pod, event = Pod(queue), queue.publish("e1", EVENT, is_large=True)
        pod.take(event)
        pod.take(event)
        assert [each.what for each in pod.asked] == ["read"]
        pod.answer_all()
        assert called(queue) == ["u1"]


def test_the_size_of_a_large_event_counts_before_its_body_is_read() -> None:
    with playing(*hooks(1)) as queue:
        pod, full = Pod(queue), Pod(queue)
        full.room = full.fanout._room = EventRoom(held_bytes=1)
        event = queue.publish("e1", EVENT, is_large=True)
        full.take(event)
        assert [each.what for each in full.asked] == ["store"]
        pod.take(event)
        assert [each.what for each in pod.asked] == ["read"]


def test_a_large_event_that_nobody_hears_is_acked_unread() -> None:
    with playing(*hooks(1)) as queue:
        pod, event = Pod(queue), queue.publish("e1", "order.created", is_large=True)
        pod.take(event)
        assert (pod.asked, event.acked()) == ([], True)


def test_deliveries_of_an_event_with_more_webhooks_are_stored_and_not_called_from_it() -> None:
    with playing(*hooks(FEW + 1)) as queue:
        pod, event = Pod(queue), queue.publish("e1", EVENT)
        pod.take(event)
        assert not event.acked()
        pod.answer_all()
        assert event.acked()
        assert (len(queue.stored), queue.called) == (FEW + 1, [])


def test_an_event_is_not_acked_while_one_part_cannot_be_stored_and_its_siblings_are_called_once() -> None:
    with playing(*hooks(2)) as queue:
        pod, event = Pod(queue), queue.publish("e1", EVENT)
        pod.take(event)
        for status in (200, 500):
            pod.respond(pod.calls[0], status)
        pod.answer(pod.asked[0], How.REFUSED)
        assert not event.acked()
        queue.ack_wait_passes(event)
        pod.take(event)
        pod.answer_all()
        assert event.acked()
        assert (called(queue), queue.stored) == (["u1", "u2"], [names.delivery_subject("u2")])


def test_what_was_put_aside_before_a_crash_is_called_once_when_its_event_comes_again() -> None:
    with playing(*hooks(1, max_concurrency=1)) as queue:
        pod, events = Pod(queue), [queue.publish(event_id, EVENT) for event_id in ("e1", "e2")]
        for event in events:
            pod.take(event)
        pod.start(pod.sender.drain(5))
        pod.words_leave = False
        pod.answer_all()
        pod.die()
        other = Pod(queue)
        for kept in queue.free():
            other.take(kept)
        while other.asked or other.calls:
            other.answer_all()
            for call in list(other.calls):
                other.respond(call, 200)
            for kept in queue.free():
                other.take(kept)
        assert sorted(each.event_id for each in queue.called) == ["e1", "e1", "e2"]


def test_an_event_that_comes_again_while_it_is_open_is_not_called_again_and_acked_once() -> None:
    with playing(*hooks(2)) as queue:
        pod, event = Pod(queue), queue.publish("e1", EVENT)
        for _ in range(3):
            pod.take(event)
        assert called(queue) == ["u1", "u2"]
        pod.words_leave = False
        for each in list(pod.calls):
            pod.respond(each, 200)
        assert [word for _, word in pod.said] == [b"+ACK"]


def test_an_event_whose_ack_was_lost_is_acked_again_and_not_called_again() -> None:
    with playing(*hooks(1)) as queue:
        pod, event = Pod(queue), queue.publish("e1", EVENT)
        pod.words_leave = False
        pod.take(event)
        pod.respond(pod.calls[0], 200)
        pod.flush(lost=True)
        pod.words_leave = True
        pod.take(event)
        assert event.acked()
        assert called(queue) == ["u1"]


def test_what_cannot_be_called_now_is_stored_before_its_event_is_acked() -> None:
    with playing(route("u1", url="https://example.com/u1"), route("u2", state=RouteState.HELD)) as queue:
        pod, event = Pod(queue), queue.publish("e1", EVENT)
        pod.take(event)
        pod.respond(pod.calls[0], 200)
        assert not event.acked()
        pod.answer_all()
        assert event.acked()
        assert (called(queue), queue.stored) == (["u1"], ["hookline.parked.u2"])


def test_what_cannot_be_stored_beside_a_call_comes_again_alone() -> None:
    with playing(route("u1", url="https://example.com/u1"), route("u2", state=RouteState.HELD)) as queue:
        pod, event = Pod(queue), queue.publish("e1", EVENT)
        pod.take(event)
        pod.answer(pod.asked[0], How.REFUSED)
        pod.respond(pod.calls[0], 200)
        assert not event.acked()
        queue.ack_wait_passes(event)
        pod.take(event)
        pod.answer_all()
        assert event.acked()
        assert called(queue) == ["u1"]


def test_without_room_an_event_is_set_aside_and_acked_and_room_is_there_again_once_another_is_out_of_hand() -> None:
    with playing(*hooks(1)) as queue:
        pod, first = Pod(queue), queue.publish("e1", EVENT)
        pod.take(first)
        while pod.room.take("default", 1, 0, 0.0):
            pass
        second = queue.publish("e2", EVENT)
        pod.take(second)
        pod.answer_all()
        assert (first.acked(), second.acked()) == (False, True)
        assert (len(queue.called), queue.stored) == (1, ["hookline.backlog.default"])
        pod.respond(pod.calls[0], 200)
        assert pod.fanout.has_room(f"hookline.events.default.{EVENT}", 0)


def test_a_bug_while_others_are_stored_leaves_the_event_in_the_queue_and_it_may_come_again() -> None:
    with playing(route("u1", url="https://example.com/u1"), route("u2", state=RouteState.HELD)) as queue:
        pod, event = Pod(queue), queue.publish("e1", EVENT)
        pod.take(event)
        pod.answer(pod.asked[0], How.BUG)
        pod.respond(pod.calls[0], 200)
        assert not event.acked()
        queue.ack_wait_passes(event)
        pod.take(event)
        pod.answer_all()
        assert event.acked()
        assert (called(queue), queue.stored) == (["u1"], ["hookline.parked.u2"])


class Called:
    """Notes which events are called from, and ends none."""

    def __init__(self) -> None:
        self.opened: list[OpenEvent] = []

    def call_from(self, event: OpenEvent, _: Delivery) -> None:
        self.opened.append(event)


@dataclass(eq=False)
class Named(Taken):
    """An event as the backlog takes it up. `said` is what became of it."""

    said: list[str] = field(kw_only=True, default_factory=list)

    async def ack(self) -> None:
        self.said.append("done")

    async def left(self) -> None:
        self.said.append("left")

    async def doubled(self) -> None:
        self.said.append("doubled")

    @property
    def known_as(self) -> str:
        return names.EVENTS


def named(queue: Queue, seq: int) -> Named:
    event = queue.event(seq)
    return Named(
        Origin.BACKLOG,
        names.named_consumer("a"),
        event.subject,
        {},
        b"{}",
        seq,
        event.stored_ns,
        1,
        cast(Any, queue),
        "",
    )


@dataclass
class Stand:
    queue: Queue
    calls: Called
    aside: SetAside
    fanout: Fanout

    async def take(self, taken: Taken) -> None:
        work = self.fanout.take(taken)
        if work is not None:
            await work

    async def end(self) -> None:
        """The calls that are under way."""
        ending, self.calls.opened = self.calls.opened, []
        for each in ending:
            await each.ended("u1", whole=True)
            each.release("u1")


def stand(*, events: int = 8) -> Stand:
    """One Webhook of tenant `a`, and room for the bodies of so many events."""
    queue, calls = Queue(), Called()
    books = RouteBook(Path("nowhere"), queue.metrics)
    books.current = book_of([(route("u1", namespace="a"), Keys(uid="u1"))])
    aside = SetAside(queue.publisher, queue.settlement, queue.pull, queue.metrics)
    room = EventRoom(held_bytes=2 * events + 1)
    sender = cast(Sender, calls)
    return Stand(
        queue,
        calls,
        aside,
        Fanout(
            queue.pull, queue.publisher, queue.settlement, books, Endpoints(), sender, aside, room, queue.metrics,
            on_room=lambda: None,
        ),
    )  # fmt: skip


async def test_an_event_that_finds_no_room_is_set_aside_and_so_are_those_behind_it() -> None:
    it = stand(events=1)
    await it.take(it.queue.event(1))
    await it.take(it.queue.event(2))
    assert it.queue.bodies(names.BACKLOG) == [written([Place(2, stored_ns(2))])]
    await it.end()
    await it.take(it.queue.event(3))
    assert len(it.queue.bodies(names.BACKLOG)) == 2
    it.aside.caught_up("a")
    await it.take(it.queue.event(4))
    assert [each.taken.seq for each in it.calls.opened] == [4]


async def test_a_message_that_names_an_event_of_a_stream_that_was_made_anew_does_not_wait_for_it_for_ever() -> None:
    for whole, said in ((True, ["done"]), (False, ["left"])):
        it = stand()
        old, new = named(it.queue, 1), it.queue.event(1)
        new.stored_ns += 1
        await it.take(old)
        await it.take(new)
        await it.calls.opened[0].ended("u1", whole=whole)
        assert old.said == said
        assert not it.queue.acked(new)


async def test_events_of_two_streams_with_one_sequence_are_both_acked() -> None:
    """Such as of a former stream and of the present one."""
    it = stand()
    former, present = it.queue.event(1), it.queue.event(1)
    present.consumer, present.stored_ns = "HOOKLINE_fanout", former.stored_ns + 1
    words = Words(), Words()
    for taken, said in zip((former, present), words, strict=True):
        taken._client = cast(Any, said)
        await it.take(taken)
    await it.end()
    assert [each.said for each in words] == [[b"+ACK"], [b"+ACK"]]


async def test_what_was_set_aside_does_not_go_behind_itself_and_is_left_where_it_is_without_room() -> None:
    it = stand(events=1)
    it.aside.behind.add("a")
    first, second = named(it.queue, 1), named(it.queue, 2)
    await it.take(first)
    await it.take(second)
    assert [each.taken for each in it.calls.opened] == [first]
    assert second.said == ["left"]
    assert it.queue.stored == []


async def test_an_event_that_two_messages_name_is_called_once_at_a_time_and_the_second_holds_up_nothing() -> None:
    it = stand()
    first, second, third = (named(it.queue, 1) for _ in range(3))
    await it.take(first)
    await it.take(second)
    assert (first.said, second.said) == ([], ["doubled"])
    await it.end()
    await it.take(third)
    assert (first.said, third.said) == (["done"], ["done"])
    assert it.calls.opened == []


async def test_an_event_that_comes_from_where_it_lay_and_is_named_as_well_is_called_once() -> None:
    it = stand()
    event = it.queue.event(1, delivered=2)
    await it.take(named(it.queue, 1))
    await it.take(event)
    assert len(it.calls.opened) == 1
    assert not it.queue.acked(event)
    await it.end()
    await it.take(event)
    assert it.calls.opened == []
    assert it.queue.acked(event)
    assert it.queue.released == [1, 1, 1]


async def test_so_is_one_that_came_from_where_it_lay_before_it_was_named() -> None:
    it = stand()
    first, second = named(it.queue, 1), named(it.queue, 1)
    await it.take(it.queue.event(1))
    await it.take(first)
    await it.end()
    await it.take(second)
    assert (first.said, second.said) == (["doubled"], ["done"])
    assert it.calls.opened == []


async def test_an_event_that_was_set_aside_is_not_taken_for_done_when_its_turn_comes() -> None:
    it = stand(events=1)
    await it.take(it.queue.event(1))
    await it.take(it.queue.event(2))
    assert it.queue.acked(it.queue.event(2))
    await it.end()
    await it.take(named(it.queue, 2))
    assert [each.taken.seq for each in it.calls.opened] == [2]
