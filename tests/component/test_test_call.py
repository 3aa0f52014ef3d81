"""A Webhook is called with a sample because a person asks for it: once, as deliveries are, and with no other effect."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from controlplane.ports import free_port
from doubles import own
from doubles.local import count, hook, publish, receiver_of, sender, until, write_book
from doubles.nats import nats
from hookline.delivery.policy.endpoint_state import OPENS_AFTER, Kind
from hookline.events.builtin_events import event_named, sample_of, to_text
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import Answer, ReceivedCall
from hookline.routing.routes import RouteState
from hookline.stream import names, test_call
from hookline.stream.connection import Client, connect
from hookline.stream.streams import Retention, ensure
from hookline.stream.test_call import NotTested, Question, Serves, Why

EVENT = "IdentityCreated"
BODY = to_text(sample_of(event_named(EVENT))).encode()


async def why_not(client: Client, uid: str) -> str:
    with pytest.raises(NotTested) as caught:
        await test_call.ask_for_test(client, uid, EVENT, BODY)
    return caught.value.reason


async def test_one_sender_that_serves_it_makes_each_call_and_it_counts_for_nothing(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(receiver_of(calls, Answer(500)))
        route, keys = hook("one", receiver)
        write_book(tmp_path / "book", (route, keys))
        write_book(tmp_path / "behind", hook("two", receiver))
        folders = [tmp_path / "behind", tmp_path / "book", tmp_path / "book"]
        senders = [await stack.enter_async_context(sender(each, nats_server.url)) for each in folders]
        # Whatever anybody else asks, and wherever he wants the answer to be stored.
        elsewhere = names.dead_subject("default", "one")
        for question in (b"", b"\xff", b"[" * 5000, Question(uid=route.uid).encoded()):
            await client.publish(names.TEST_SUBJECT, question, reply=elsewhere)
        serves = await test_call.who_serves(client, webhook="default/one")
        assert (serves.uid, serves.event_type, serves.call_seconds) == (route.uid, EVENT, 5)
        records = [await test_call.ask_for_test(client, route.uid, EVENT, BODY) for _ in range(OPENS_AFTER + 1)]
        assert {(each.status, each.reason, each.test, each.url) for each in records} == {
            (500, "HTTPStatus", True, route.url)
        }
        assert [each.webhook_id for each in calls] == [each.event_id for each in records]
        assert {(each.verified, each.headers["hookline-test"], each.body) for each in calls} == {
            ("signature", "true", BODY)
        }
        assert all(each.webhook_id.startswith("test-") for each in calls)
        for each in senders:
            assert (each.attempts, list(each.pod.endpoints.states())) == ([], [])
            assert each.pod.metrics.registry.get_sample_value("hookline_attempts_total", {"reason": "HTTPStatus"}) == 0
        assert [await count(client, each) for each in (own.EVENTS, own.DELIVERIES, own.DEAD)] == [0, 0, 0]


async def test_a_webhook_that_is_paused_or_gone_is_called_and_one_that_is_disabled_or_held_says_why(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, Answer(410)) as receiver:
        gone = hook("gone", receiver)
        paused = hook("paused", receiver, state=RouteState.HELD, paused=True)
        held = hook("held", receiver, state=RouteState.HELD)
        disabled = hook("disabled", receiver, state=RouteState.DISABLED)
        write_book(tmp_path / "book", gone, paused, held, disabled)
        async with sender(tmp_path / "book", nats_server.url) as running:
            await publish(client)
            await until(lambda: running.pod.endpoints.count(Kind.GONE) == 1, what="the end of the endpoint")
            for route, _ in (gone, paused):
                assert (await test_call.ask_for_test(client, route.uid, EVENT, BODY)).status == 410
            assert len(calls) == 3
            assert await why_not(client, held[0].uid) == Why.HELD
            assert await why_not(client, disabled[0].uid) == Why.DISABLED
            assert len(calls) == 3


async def test_whoever_asks_is_told_that_no_sender_does_it(
    tmp_path: Path, queue: Client, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FIND_SECONDS", "BEYOND_CALL_SECONDS"):
        monkeypatch.setattr(test_call, name, 0.2)
    assert await why_not(queue, "u-1") == Why.NO_SENDER
    write_book(tmp_path / "book")
    async with sender(tmp_path / "book", nats_server.url):
        assert await why_not(queue, "u-1") == Why.NOT_SERVED
        with pytest.raises(NotTested, match="did not say how it ended"):
            await test_call.have_called(queue, Serves("gone", "u-1", EVENT, 1), EVENT, BODY, "test-1")


async def test_a_sender_that_may_not_hear_of_tests_delivers_without_a_word(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """At an existing NATS whose user is that of the version before."""
    port = free_port()
    permissions = {"subscribe": {"deny": [names.TEST_SUBJECT]}}
    users = [{"user": "all", "password": "a"}, {"user": "some", "password": "b", "permissions": permissions}]
    async with nats(tmp_path / "nats", port, authorization={"users": users}):
        client = await connect(f"nats://all:a@127.0.0.1:{port}", name="test")
        await ensure(client, Retention())
        calls: list[ReceivedCall] = []
        async with receiver_of(calls) as receiver:
            route, keys = hook("one", receiver)
            write_book(tmp_path / "book", (route, keys))
            async with sender(tmp_path / "book", f"nats://some:b@127.0.0.1:{port}"):
                await publish(client)
                await until(lambda: len(calls) == 1, what="the call")
                assert await why_not(client, route.uid) == Why.NO_SENDER
        await client.close()
    assert "does not permit" not in capfd.readouterr().err
