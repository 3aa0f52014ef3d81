"""What a sender does with what it holds when the state of an endpoint turns, with all others played."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from doubles.books import route
from doubles.local import until
from hookline.delivery import messages
from hookline.delivery import sender as sender_module
from hookline.delivery.endpoints import Endpoints
from hookline.delivery.holding import DUE_AFTER_SECONDS
from hookline.delivery.http.call import Call
from hookline.delivery.messages import Delivery
from hookline.delivery.open_event import OpenEvent
from hookline.delivery.policy.retry import Outcome, Reason
from hookline.delivery.sender import Sender
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


async def a_long_call(world: Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it has been looked at many times."""
    monkeypatch.setattr(sender_module, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(sender_module, "SAFE_AFTER_SECONDS", 0.01)
    me, metrics = cast(Any, world), SenderMetrics()
    sender = Sender(me, me, Settlement(me, metrics, me), me, me, Endpoints(), me, metrics, me)
    event = Taken(Origin.EVENTS, "fanout", "hookline.events.default.IdentityCreated", {}, b"{}", 1, 11, 1, me, "x")

    async def closed(_: OpenEvent) -> None:
        pass

    sender.call_from(OpenEvent(event, 1, 1, closed, lambda _: None), Delivery("u1", EVENT, 1))
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
