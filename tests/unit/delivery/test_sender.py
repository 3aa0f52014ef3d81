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
from hookline.delivery.endpoints import Endpoints
from hookline.delivery.http.call import Call
from hookline.delivery.messages import Delivery
from hookline.delivery.policy.retry import Outcome, Reason
from hookline.delivery.sender import Sender
from hookline.delivery.settlement import Settlement
from hookline.events.envelope import Event
from hookline.routing.routes import Keys
from hookline.runtime.metrics import SenderMetrics
from hookline.stream import names
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
