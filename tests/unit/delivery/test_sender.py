"""What a sender does with what it holds when the state of an endpoint turns, with all others played."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from doubles.books import route
from doubles.local import until
from doubles.played_queue import How, Pod, playing
from hookline.delivery import messages
from hookline.delivery import sender as sender_module
from hookline.delivery.endpoints import Endpoints
from hookline.delivery.holding import DUE_AFTER_SECONDS
from hookline.delivery.http.call import Call
from hookline.delivery.messages import Delivery
from hookline.delivery.open_event import OpenEvent
from hookline.delivery.policy.retry import Outcome, Reason
from hookline.delivery.sender import RETURN_SECONDS, SAFE_AFTER_SECONDS, Sender
from hookline.delivery.settlement import Settlement
from hookline.events.envelope import Event
from hookline.routing.routes import Keys, Route
from hookline.runtime.metrics import SenderMetrics
from hookline.runtime.tasks import cancel
from hookline.stream import names
from hookline.stream.connection import StreamRefused
from hookline.stream.pull import Origin, Taken

ROUTE = route(schedule_seconds=(), rate_limit=(1, 3600))
EVENT = Event("evt_1", "default", "IdentityCreated", "2026-11-24T00:00:00.000+00:00", b"{}")


class World:
    """Books, queue and receiver of one Webhook that may be called once an hour. The receiver answers 410."""

    def __init__(self, header: str = "") -> None:
        keys = Keys(uid="u1", headers=(("x-key", header),))
        self.current = SimpleNamespace(route=lambda _: ROUTE, keys=lambda _: keys)
        self.stored: list[str] = []
        self.calls = 0

    async def call(self, _: Call) -> Outcome:
        self.calls += 1
        return Outcome(Reason.GONE, 410, "gone", 0.1)

    async def store(self, subject: str, *_: object, once: str) -> bool:
        assert once
        self.stored.append(subject)
        return True

    async def publish(self, *_: object) -> None:
        pass

    def release(self, _: Taken) -> None:
        pass

    def share(self, limit: int, _: str) -> int:
        return limit

    def rate(self, per_second: float) -> float:
        return per_second

    def now_s(self) -> float:
        return 1_700_000_000.0


def taken(world: World, seq: int) -> Taken:
    headers = Delivery("u1", EVENT, seq).headers()
    subject, me = names.delivery_subject("u1"), cast(Any, world)
    return Taken(Origin.SHARD, "shard-01", subject, headers, b"{}", seq, 11, 1, me, "$JS.ACK.x")


async def test_what_waits_for_its_rate_is_parked_as_soon_as_its_endpoint_is_gone() -> None:
    world, endpoints = World(), Endpoints()
    me = cast(Any, world)
    sender = Sender(me, me, Settlement(me, SenderMetrics(), me), me, me, endpoints, me, SenderMetrics(), me)
    for seq in (1, 2, 3):
        sender.take(taken(world, seq))
    for _ in range(50):
        await asyncio.sleep(0)
    assert (world.calls, sender.held) == (1, 0)
    assert world.stored == ["hookline.dead.default.u1", *["hookline.parked.u1"] * 2]


@pytest.mark.parametrize(("length", "here"), [(100, True), (4096, False)])
async def test_an_answer_is_searched_for_long_secrets_without_stopping_all_calls(
    length: int, here: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    make = messages.dead_letter

    def noting(*args: Any, **kwargs: Any) -> messages.Message:
        threads.append(threading.get_ident())
        return make(*args, **kwargs)

    monkeypatch.setattr(messages, "dead_letter", noting)
    world = World("k" * length)
    me = cast(Any, world)
    sender = Sender(me, me, Settlement(me, SenderMetrics(), me), me, me, Endpoints(), me, SenderMetrics(), me)
    sender.take(taken(world, 1))
    await until(lambda: world.stored == ["hookline.dead.default.u1"])
    assert (threads == [threading.get_ident()]) is here


class Hanging(World):
    """Its receiver never answers. A copy is stored or refused, as told."""

    def __init__(self, *, refuses: bool) -> None:
        super().__init__()
        self.current = SimpleNamespace(route=lambda _: self.route, keys=lambda _: Keys(uid="u1"))
        self.route: Route | None = route(timeout_seconds=30)
        self.refuses = refuses
        self.copies_at_s: list[float] = []

    async def call(self, _: Call) -> Outcome:
        self.calls += 1
        await asyncio.Event().wait()
        raise AssertionError

    async def store_later(self, *_: object, at_s: float, once: str) -> None:
        self.copies_at_s.append(at_s - self.now_s())
        if self.refuses:
            raise StreamRefused("no room")


async def test_what_is_about_to_be_called_or_has_been_called_just_now_moves_and_what_waits_or_hangs_does_not() -> None:
    world = Hanging(refuses=False)
    world.route = route(timeout_seconds=30, max_concurrency=2)
    me, metrics = cast(Any, world), SenderMetrics()
    sender = Sender(me, me, Settlement(me, metrics, me), me, me, Endpoints(), me, metrics, me)
    for seq in (1, 2, 3, 4):
        sender.take(taken(world, seq))
    now_s = time.monotonic()
    assert sender.moving(now_s) == {"shard-01": 2}
    await until(lambda: world.calls == 2)
    assert sender.moving(now_s) == {"shard-01": 2}
    assert sender.moving(time.monotonic() + sender_module.LONG_SECONDS) == {}
    assert sender.held == 4
    await sender.let_go()


async def a_long_call(world: Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it has been looked at many times."""
    monkeypatch.setattr(sender_module, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(sender_module, "SAFE_AFTER_SECONDS", 0.01)
    me, metrics = cast(Any, world), SenderMetrics()
    sender = Sender(me, me, Settlement(me, metrics, me), me, me, Endpoints(), me, metrics, me)
    event = Taken(Origin.EVENTS, "fanout", "hookline.events.default.IdentityCreated", {}, b"{}", 1, 11, 1, me, "x")

    async def closed(_: OpenEvent) -> None:
        pass

    sender.call_from(OpenEvent(event, ["u1"], closed), Delivery("u1", EVENT, 1))
    await until(lambda: world.calls == 1)
    world.route = None
    looking = asyncio.create_task(sender.keep_alive())
    await until(lambda: bool(world.copies_at_s))
    await asyncio.sleep(0.05)
    await cancel([looking])
    await sender.let_go()


async def test_a_copy_that_is_refused_is_not_tried_again_at_every_look(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Hanging(refuses=True)
    await a_long_call(world, monkeypatch)
    assert len(world.copies_at_s) == 1


async def test_a_copy_is_due_after_the_call_as_it_was_begun_whatever_became_of_its_webhook(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Hanging(refuses=False)
    await a_long_call(world, monkeypatch)
    assert world.copies_at_s == [30 + DUE_AFTER_SECONDS]


HOOK = route(url="https://example.com/u1", timeout_seconds=10, max_concurrency=1)
OTHER = route("u2", url="https://example.com/u2", timeout_seconds=10, max_concurrency=1)
LONG_SECONDS = SAFE_AFTER_SECONDS + 0.5
COPY = "hookline.deliveries.later.u1."


def kinds(pod: Pod) -> list[str]:
    """What is asked of the queue and not answered."""
    return [each.what for each in pod.asked]


def test_the_retry_of_a_call_from_an_event_is_stored_before_the_event_is_acked() -> None:
    with playing(HOOK) as queue:
        pod, event = Pod(queue), queue.publish("e1", HOOK.event or "")
        pod.take(event)
        pod.respond(pod.calls[0], 500)
        assert (kinds(pod), event.acked()) == (["retry"], False)
        pod.answer_all()
        assert (len(queue.later), event.acked(), pod.sender.held) == (1, True, 0)


def test_a_call_that_takes_long_has_a_copy_before_its_event_is_acked_and_none_after_it_ended() -> None:
    with playing(HOOK) as queue:
        pod, event = Pod(queue), queue.publish("e1", HOOK.event or "")
        pod.take(event)
        queue.go_on(LONG_SECONDS)
        assert (kinds(pod), event.acked()) == (["copy"], False)
        pod.answer_all()
        assert (len(queue.later), event.acked()) == (1, True)
        pod.respond(pod.calls[0], 200)
        pod.answer_all()
        assert (queue.later, pod.sender.held, len(queue.called)) == ({}, 0, 1)


def test_calls_that_hang_give_their_places_to_others_of_their_tenant() -> None:
    hangs = HOOK.model_copy(update={"max_concurrency": 1000})
    other = OTHER.model_copy(update={"event": "IdentityDeleted"})
    with playing(hangs, other) as queue:
        pod = Pod(queue)
        for number in range(500):
            pod.take(queue.publish(f"e{number}", hangs.event or ""))
        pod.take(queue.publish("other", "IdentityDeleted"))
        assert len(pod.calls) == 448
        queue.go_on(0.2)
        assert len(pod.calls) == 501


def test_what_follows_a_call_that_took_long_is_stored_before_its_copy_is_forgotten() -> None:
    with playing(HOOK) as queue:
        pod = Pod(queue)
        pod.take(queue.publish("e1", HOOK.event or ""))
        queue.go_on(LONG_SECONDS)
        pod.answer_all()
        pod.respond(pod.calls[0], 500)
        assert kinds(pod) == ["retry"]
        pod.answer(pod.asked[0], How.REFUSED)
        assert (kinds(pod), len(queue.later)) == ([], 1)


def test_a_call_that_ends_while_its_copy_is_stored_leaves_no_copy() -> None:
    with playing(HOOK) as queue:
        pod, event = Pod(queue), queue.publish("e1", HOOK.event or "")
        pod.take(event)
        queue.go_on(LONG_SECONDS)
        pod.respond(pod.calls[0], 200)
        assert (kinds(pod), event.acked()) == (["copy"], False)
        pod.answer_all()
        assert (queue.later, event.acked(), pod.sender.held) == ({}, True, 0)


def test_a_copy_that_could_not_be_stored_is_tried_again_and_its_event_waits() -> None:
    with playing(HOOK) as queue:
        pod, event = Pod(queue), queue.publish("e1", HOOK.event or "")
        pod.take(event)
        queue.go_on(LONG_SECONDS)
        pod.answer(pod.asked[0], How.REFUSED)
        queue.go_on(6)
        assert (kinds(pod), event.acked()) == (["copy"], False)
        pod.answer_all()
        assert event.acked()


@pytest.mark.parametrize("how", [How.REFUSED, How.LOST, How.BUG])
def test_an_event_that_could_not_be_put_aside_comes_again_and_is_taken_up(how: How) -> None:
    with playing(HOOK) as queue:
        pod, event = Pod(queue), queue.publish("e1", HOOK.event or "")
        pod.take(queue.publish("e0", HOOK.event or ""))
        pod.take(event)
        queue.go_on(3.0)  # too long in a lane that does not move
        parking = next(each for each in pod.asked if each.event_id == "e1")
        pod.answer(parking, how)
        assert not event.acked()
        pod.endpoints.forget("u1")
        pod.respond(pod.calls[0], 200)
        pod.answer_all()
        queue.ack_wait_passes(event)
        pod.take(event)
        pod.answer_all()
        assert event.acked()
        assert queue.keeps("u1", "e1")


def test_a_bug_in_a_copy_leaves_the_event_to_its_call() -> None:
    with playing(HOOK) as queue:
        pod, event = Pod(queue), queue.publish("e1", HOOK.event or "")
        pod.take(event)
        queue.go_on(LONG_SECONDS)
        pod.answer(pod.asked[0], How.BUG)
        queue.go_on(LONG_SECONDS)
        assert (kinds(pod), event.acked()) == ([], False)
        pod.respond(pod.calls[0], 200)
        assert event.acked()


def test_at_the_end_what_waits_is_stored_and_another_sender_has_it_at_once() -> None:
    with playing(HOOK) as queue:
        pod, events = Pod(queue), [queue.publish(f"e{number}", HOOK.event or "") for number in range(3)]
        for event in events:
            pod.take(event)
        first = pod.calls[0]
        draining = pod.start(pod.sender.drain(5))
        pod.answer_all()
        assert [event.acked() for event in events] == [False, True, True]
        assert [each.event_id for each in queue.free()] == ["e1", "e2"]
        pod.respond(first, 200)
        assert draining.done()
        assert events[0].acked()


def test_what_outlasts_the_grace_is_stored_or_its_copy_is_due_at_once() -> None:
    with playing(HOOK, OTHER) as queue:
        pod, event = Pod(queue), queue.publish("e1", HOOK.event or "")
        pod.take(event)
        queue.go_on(LONG_SECONDS)
        copies = list(pod.asked)
        pod.answer(copies[0])
        pod.answer(copies[1], How.REFUSED)
        pod.drain(0.0, answers=True)
        assert event.acked()
        queue.go_on(0.25)
        assert sorted(each.uid for each in queue.free()) == ["u1", "u2"]
        assert queue.later == {}


def test_the_end_is_bounded_when_the_queue_does_not_answer_and_nothing_is_let_go() -> None:
    with playing(HOOK, OTHER) as queue:
        pod, events = Pod(queue), [queue.publish(f"e{number}", HOOK.event or "") for number in range(3)]
        for event in events:
            pod.take(event)
        began_s, grace_seconds = queue.loop.now_s, 1.0
        pod.drain(grace_seconds, answers=False)
        assert queue.loop.now_s - began_s <= grace_seconds + RETURN_SECONDS + 0.5
        assert not any(event.acked() for event in events)


def test_at_the_end_a_bug_about_one_delivery_keeps_none_of_the_others() -> None:
    with playing(HOOK, OTHER) as queue:
        pod = Pod(queue)
        pod.take(queue.publish("e1", HOOK.event or ""))
        draining = pod.start(pod.sender.drain(0.0))
        pod.answer(pod.asked[0], How.BUG)
        pod.answer_all()
        assert draining.done()
        draining.result()
        assert [names.uid_of(each) for each in queue.stored] == ["u2"]


def test_a_call_cancelled_while_its_event_is_acked_has_its_copy_and_is_not_stored_besides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    with playing(HOOK) as queue:
        pod = Pod(queue)
        pod.take(queue.publish("e1", HOOK.event or ""))
        queue.go_on(LONG_SECONDS)
        monkeypatch.setattr(pod, "publish", never)
        pod.answer_all()
        pod.drain(0.0, answers=True)
        assert [each.startswith(COPY) for each in queue.stored] == [True, True]


def test_a_call_that_ended_is_cancelled_cleanly_while_it_waits_for_its_copy() -> None:
    with playing(HOOK) as queue:
        pod, event = Pod(queue), queue.publish("e1", HOOK.event or "")
        pod.take(event)
        queue.go_on(LONG_SECONDS)
        pod.respond(pod.calls[0], 500)
        pod.drain(0.0, answers=False)
        gc.collect()  # what was never awaited would be said now
        assert not event.acked()


def test_of_two_jobs_for_one_event_the_end_of_the_first_does_not_let_the_second_go() -> None:
    """Such as after its stream was made anew while a call with a copy was under way."""
    with playing(HOOK) as queue:
        pod, event = Pod(queue), queue.publish("e1", HOOK.event or "")
        pod.take(event)
        queue.go_on(LONG_SECONDS)
        pod.answer_all()
        event.stored_s, event.settled, event.delivered = event.stored_s + 1, False, 0
        pod.take(event)
        pod.respond(pod.calls[0], 200)
        pod.answer_all()
        assert (pod.sender.held, len(pod.calls)) == (1, 1)
