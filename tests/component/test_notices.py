"""A tenant hears what became of its endpoints and deliveries, once, and never of what hears that."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from controlplane.ports import free_port
from doubles import own
from doubles.local import count, hook, publish, receiver_of, sender, until, until_stored, write_book
from doubles.nats import nats
from hookline.delivery.policy import notices as policy
from hookline.delivery.policy.endpoint_state import OPENS_AFTER, Kind
from hookline.events import notices
from hookline.events.schemas import Catalogue
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import Answer, ReceivedCall
from hookline.routing.routes import RouteState
from hookline.stream import publish as publish_module
from hookline.stream.connection import Client, connect
from hookline.stream.streams import Retention, ensure

CATALOGUE = Catalogue()


def told(calls: list[ReceivedCall], event_type: str) -> list[dict[str, Any]]:
    bodies = {each.webhook_id: each.body for each in calls if each.event_type == event_type}
    assert all(CATALOGUE.check(event_type, body) == () for body in bodies.values())
    return [json.loads(body) for body in bodies.values()]


def noticed(running: Any, outcome: str = "published") -> float:
    return float(running.pod.metrics.registry.get_sample_value("hookline_notices_total", {"outcome": outcome}))


async def test_what_becomes_of_an_endpoint_is_told_once_by_two_senders_and_of_a_listener_nothing_is_told(
    tmp_path: Path, nats_server: NatsServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listener's own receiver fails, too: that would be an endless chain."""
    monkeypatch.setattr(policy, "COLLECT_SECONDS", 0.5)
    calls: list[ReceivedCall] = []
    heard: list[ReceivedCall] = []
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(receiver_of(calls, Answer(500)))
        listener = await stack.enter_async_context(receiver_of(heard, Answer(500)))
        one = hook("one", receiver, schedule_seconds=())
        listeners = [hook(each.name, listener, event=each.name, schedule_seconds=()) for each in notices.NOTICES]
        write_book(tmp_path / "book", one, *listeners)
        senders = [await stack.enter_async_context(sender(tmp_path / "book", nats_server.url)) for _ in range(2)]
        await publish(client, 40)
        await until(lambda: len(told(heard, notices.ENDPOINT_FAILING)) == 1, what="the notice")
        (failing,) = told(heard, notices.ENDPOINT_FAILING)
        assert failing["webhook"] == {
            "namespace": "default", "name": "one", "uid": one[0].uid, "event": "IdentityCreated",
        }  # fmt: skip
        assert (failing["state"], failing["reason"], failing["status"]) == ("Failing", "HTTPStatus", 500)
        receiver._codes = (200,)
        await until(lambda: len(told(heard, notices.ENDPOINT_RECOVERED)) == 1, what="the notice")
        assert told(heard, notices.ENDPOINT_RECOVERED)[0]["reason"] == "Delivered"
        await until_stored(client, own.PARKED, 0)
        await until(lambda: bool(told(heard, notices.DELIVERY_DEAD)), what="the notice")
        # The listeners make dead letters as well, and now so many that they fail.
        for _ in range(2 * OPENS_AFTER):
            event = notices.ENDPOINT_FAILING
            await publish(client, event=event, body=json.dumps(notices.sample_of(notices.NOTICES[0])).encode())
        await until(lambda: senders[0].pod.endpoints.count(Kind.FAILING) == 1, what="the failure of the listener")
        events = await count(client, own.EVENTS)
        stop = [each.end() for each in senders]
        for each in stop:
            await each
        published = sum(map(noticed, senders))
        died = sum(each["count"] for each in told(heard, notices.DELIVERY_DEAD))
        assert 3 <= published <= 4, "dead letters are told by each sender that has some"
        assert events <= 40 + 2 * OPENS_AFTER + published
        assert len([each for each in calls if each.answered == 500]) >= died >= 1


async def test_nothing_is_published_where_nobody_hears_it(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    async with receiver_of([], Answer(410)) as receiver:
        write_book(tmp_path / "book", hook("one", receiver))
        async with sender(tmp_path / "book", nats_server.url) as running:
            await publish(client)
            await until(lambda: running.pod.endpoints.count(Kind.GONE) == 1, what="the end of the endpoint")
            await until_stored(client, own.DEAD, 1)
        assert (noticed(running), noticed(running, "lost"), await count(client, own.EVENTS)) == (0, 0, 1)


async def test_dead_letters_of_the_last_seconds_are_told_when_a_sender_ends(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    async with receiver_of([], Answer(500)) as receiver, receiver_of([]) as listener:
        one = hook("one", receiver, schedule_seconds=())
        write_book(tmp_path / "book", one, hook("two", listener, event=notices.DELIVERY_DEAD))
        async with sender(tmp_path / "book", nats_server.url) as running:
            await publish(client, 3)
            await until_stored(client, own.DEAD, 3)
        assert noticed(running) == 1
        assert await count(client, own.EVENTS) == 4


async def test_what_waited_for_too_long_is_told(tmp_path: Path, nats_server: NatsServer, client: Client) -> None:
    heard: list[ReceivedCall] = []
    async with receiver_of(heard) as receiver:
        held = hook("one", receiver, state=RouteState.HELD)
        write_book(tmp_path / "book", held, hook("two", receiver, event=notices.DELIVERY_DEAD), parked_seconds=1)
        async with sender(tmp_path / "book", nats_server.url):
            await publish(client, event_id="evt_1")
            await until_stored(client, own.DEAD, 1)
        # What was collected is published at the end of that one, and delivered by the next.
        async with sender(tmp_path / "book", nats_server.url):
            await until(lambda: bool(heard), what="the notice")
    (dead,) = told(heard, notices.DELIVERY_DEAD)
    assert (dead["count"], dead["reasons"], dead["webhook"]["name"]) == (1, {"ParkedExpired": 1}, "one")
    assert dead["last"] == {"eventId": "evt_1", "attempts": 0, "reason": "", "status": None}


async def test_a_sender_that_may_not_publish_notices_delivers_and_counts_them_as_lost(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At an existing NATS whose user is that of the version before."""
    monkeypatch.setattr(publish_module, "ACK_SECONDS", 1.0)
    port = free_port()
    permissions = {"publish": {"deny": ["hookline.events.>"]}}
    users = [{"user": "all", "password": "a"}, {"user": "some", "password": "b", "permissions": permissions}]
    async with nats(tmp_path / "nats", port, authorization={"users": users}):
        client = await connect(f"nats://all:a@127.0.0.1:{port}", name="test")
        await ensure(client, Retention())
        calls: list[ReceivedCall] = []
        async with receiver_of(calls, Answer(410)) as receiver, receiver_of([]) as listener:
            write_book(tmp_path / "book", hook("one", receiver), hook("two", listener, event=notices.ENDPOINT_GONE))
            async with sender(tmp_path / "book", f"nats://some:b@127.0.0.1:{port}") as running:
                await publish(client)
                await until_stored(client, own.DEAD, 1)
                await until(lambda: noticed(running, "lost") == 1, what="the loss")
                assert running.pod.unready() is None
        await client.close()
    assert "needed" not in capfd.readouterr().err


async def test_nobody_else_publishes_them_over_http(gateway: httpx.AsyncClient, queue: Client) -> None:
    body = json.dumps(notices.sample_of(notices.NOTICES[0])).encode()
    answer = await gateway.post(f"/v1/events/{notices.ENDPOINT_FAILING}", content=body)
    assert (answer.status_code, "published by Hookline itself" in answer.json()["detail"]) == (403, True)
    assert await count(queue, own.EVENTS) == 0
