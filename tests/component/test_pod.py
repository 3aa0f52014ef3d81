"""A sender over a real nats-server and a real TLS receiver."""

from __future__ import annotations

import asyncio
import base64
import gc
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from crash.scenario import until_fanned_out
from doubles import own
from doubles.frozen import stand_still
from doubles.local import (
    SECRET,
    count,
    dead_letters,
    hook,
    publish,
    receiver_of,
    sender,
    until,
    until_stored,
    write_book,
)
from hookline import __version__
from hookline.delivery.process import LAST_SECONDS
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import Answer, ReceivedCall, Receiver
from hookline.routing.routes import Keys, RouteState
from hookline.routing.signing import Ed25519Key
from hookline.stream import names, streams
from hookline.stream.connection import CLOSE_SECONDS, Client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "routebook"


async def until_nothing_is_left(client: Client) -> None:
    """Each event has become its deliveries, and each of them has ended: no call can follow."""
    await until_fanned_out(client)
    await until_stored(client, own.PARKED, 0)
    await until_stored(client, own.DELIVERIES, 0)


async def test_an_event_arrives_as_a_signed_post_with_its_body_byte_for_byte(
    folder: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    body = b'{ "b": 1.50,\n\t"a": "\xc3\xa9" }'
    async with receiver_of(calls) as receiver:
        write_book(folder, hook("one", receiver))
        async with sender(folder, nats_server.url):
            (event_id,) = await publish(client, body=body)
            await until(lambda: len(calls) == 1)
    (call,) = calls
    assert call.body == body
    assert call.verified == "signature"
    assert (call.webhook_id, call.event_type, call.tenant, call.attempt) == (event_id, "IdentityCreated", "default", 1)
    assert call.headers["content-type"] == "application/json"
    assert call.headers["user-agent"] == f"Hookline/{__version__}"
    assert await count(client, own.DELIVERIES) == 0


async def test_503_503_200_makes_three_attempts_with_one_id_rising_timestamps_and_valid_signatures(
    folder: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, Answer(503, 2), Answer(200)) as receiver:
        write_book(folder, hook("one", receiver))
        async with sender(folder, nats_server.url):
            (event_id,) = await publish(client)
            await until(lambda: len(calls) == 3)
            await until_nothing_is_left(client)
    assert [call.webhook_id for call in calls] == [event_id] * 3
    assert [call.verified for call in calls] == ["signature"] * 3
    assert [call.attempt for call in calls] == [1, 2, 3]
    stamps = [int(call.headers["webhook-timestamp"]) for call in calls]
    assert stamps == sorted(set(stamps))
    assert await count(client, own.DEAD) == 0


async def test_a_private_key_signs_each_attempt_beside_the_shared_one_and_its_public_key_verifies(
    folder: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    private = "whsk_" + base64.b64encode(b"a seed of thirty-two bytes, here").decode()
    public = Ed25519Key.of_seed(b"a seed of thirty-two bytes, here").public
    receiver = Receiver(secret=f"{SECRET} {public}", on_call=calls.append, answers=(Answer(503), Answer(200)))
    async with receiver:
        route, keys = hook("one", receiver)
        write_book(folder, (route, keys.model_copy(update={"signing": f"{SECRET} {private}"})))
        async with sender(folder, nats_server.url):
            await publish(client, body=b'{"a": 1}')
            await until(lambda: len(calls) == 2)
    assert [call.verified for call in calls] == ["signature"] * 2
    stamps = [call.headers["webhook-timestamp"] for call in calls]
    signatures = {each for call in calls for each in call.headers["webhook-signature"].split(" ")}
    assert (len(set(stamps)), len(signatures)) == (2, 4)


async def test_a_delivery_that_always_fails_ends_in_dead_with_its_last_answer(
    folder: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, Answer(500)) as receiver:
        route, keys = hook("one", receiver)
        write_book(folder, (route, keys))
        async with sender(folder, nats_server.url):
            (event_id,) = await publish(client)
            await until(lambda: len(calls) == 3)
            await until_nothing_is_left(client)
    (letter,) = await dead_letters(client)
    assert letter.delivery is not None
    assert letter.last_attempt is not None
    assert (letter.event_id, letter.delivery.attempt, letter.last_attempt.status) == (event_id, 3, 500)
    assert (letter.webhook, letter.word) == ("default/one", "ScheduleSpent")
    assert await count(client, own.DELIVERIES) == 0


async def test_410_ends_in_dead_at_once(folder: Path, nats_server: NatsServer, client: Client) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, Answer(410)) as receiver:
        write_book(folder, hook("one", receiver))
        async with sender(folder, nats_server.url):
            await publish(client)
            await until(lambda: len(calls) == 1)
            await until_nothing_is_left(client)
    assert len(calls) == 1
    assert (await dead_letters(client))[0].word == "Gone"


async def test_each_webhook_of_the_tenant_and_type_is_called_and_no_other(
    folder: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        write_book(
            folder,
            hook("one", receiver),
            hook("two", receiver),
            hook("other-type", receiver, event="IdentityDeleted"),
            hook("other-tenant", receiver, namespace="team"),
            hook("disabled", receiver, state=RouteState.DISABLED),
        )
        async with sender(folder, nats_server.url):
            await publish(client)
            await until(lambda: len(calls) == 2)
            await until_nothing_is_left(client)
    assert sorted(call.path_and_query for call in calls) == ["/one", "/two"]


async def test_events_of_a_held_webhook_wait_and_arrive_once_it_is_whole(
    folder: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        route, keys = hook("one", receiver)
        held = route.model_copy(update={"state": RouteState.HELD})
        write_book(folder, (held, Keys(uid=route.uid)))
        async with sender(folder, nats_server.url):
            ids = await publish(client, 20)
            await until_stored(client, own.PARKED, 20)
            assert calls == []
            write_book(folder, (route, keys))
            await until(lambda: len(calls) == 20)
            await until_stored(client, own.PARKED, 0)
    assert sorted(call.webhook_id for call in calls) == sorted(ids)
    assert {call.verified for call in calls} == {"signature"}


async def test_a_retry_of_a_webhook_disabled_meanwhile_waits_until_it_is_enabled(
    folder: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, Answer(503, 1), Answer(200)) as receiver:
        route, keys = hook("one", receiver, schedule_seconds=(2,))
        write_book(folder, (route, keys))
        async with sender(folder, nats_server.url):
            await publish(client)
            await until(lambda: len(calls) == 1)
            write_book(folder, (route.model_copy(update={"state": RouteState.DISABLED}), keys))
            await until_stored(client, own.PARKED, 1)
            await publish(client)
            assert len(calls) == 1
            write_book(folder, (route, keys))
            await until(lambda: len(calls) == 2)
            await until_nothing_is_left(client)
    assert [call.attempt for call in calls] == [1, 2]


async def test_deliveries_of_a_deleted_webhook_become_dead_letters(
    folder: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, Answer(503)) as receiver:
        write_book(folder, hook("one", receiver), hook("two", receiver))
        async with sender(folder, nats_server.url, gone_seconds=1.2):
            await publish(client)
            await until(lambda: len(calls) == 2)
            write_book(folder, hook("two", receiver))
            await until_stored(client, own.DEAD, 2)
            await until_stored(client, own.PARKED, 0)
    reasons = sorted(letter.word for letter in await dead_letters(client))
    assert reasons == ["ScheduleSpent", "WebhookGone"]
    assert len([c for c in calls if c.path_and_query == "/one"]) == 1


async def test_a_hanging_receiver_is_never_called_more_often_at_once_than_allowed_and_holds_up_nobody(
    folder: Path, nats_server: NatsServer, client: Client
) -> None:
    hanging: list[ReceivedCall] = []
    healthy: list[ReceivedCall] = []
    async with receiver_of(hanging, delay_seconds=60) as slow, receiver_of(healthy) as quick:
        write_book(
            folder,
            hook("slow", slow, max_concurrency=3, event="IdentityDeleted"),
            *(hook(f"quick-{number}", quick) for number in range(20)),
        )
        async with sender(folder, nats_server.url, grace_seconds=0):
            await publish(client, 300, event="IdentityDeleted")
            await until(lambda: len(hanging) == 3)
            started = time.monotonic()
            await publish(client, 10)
            await until(lambda: len(healthy) == 200, seconds=20)
            assert time.monotonic() - started < 20
            assert len(hanging) == 3
    per_path = Counter(call.path_and_query for call in healthy)
    assert set(per_path.values()) == {10}


async def test_draining_lets_calls_end_and_takes_nothing_more(
    folder: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, delay_seconds=1) as receiver:
        write_book(folder, hook("one", receiver, max_concurrency=2))
        async with sender(folder, nats_server.url, grace_seconds=10) as running:
            await publish(client, 10)
            await until(lambda: len(calls) == 2)
            started = time.monotonic()
            await running.end()
            assert time.monotonic() - started < 8
        assert len(calls) == 2
        assert [str(attempt.outcome.reason) for attempt in running.attempts] == ["Delivered"] * 2
        # What was given back is taken by the next sender, and nothing that ended is repeated.
        async with sender(folder, nats_server.url):
            await until(lambda: len({call.webhook_id for call in calls}) == 10)
    assert len(calls) == 10


async def test_a_sender_ends_soon_after_its_grace_while_nats_is_frozen_and_nothing_is_lost(
    folder: Path, nats_server: NatsServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the first sender held comes again after this.
    monkeypatch.setattr(streams, "ACK_WAIT_SECONDS", 3.0)
    await streams.ensure(client, streams.Retention())
    calls: list[ReceivedCall] = []
    assert nats_server.pid is not None
    async with receiver_of(calls, delay_seconds=0.2) as receiver:
        write_book(folder, hook("one", receiver, max_concurrency=2))
        ids = await publish(client, 20)
        async with sender(folder, nats_server.url, grace_seconds=1, patient=True) as running:
            await until(lambda: len(calls) > 1)
            stand_still(nats_server.pid)
            try:
                connection = running.pod._client
                assert connection is not None
                # First more than the network takes, then more than the client keeps without waiting.
                sending = [asyncio.create_task(connection.publish("any", bytes(250_000))) for _ in range(100)]
                await asyncio.sleep(0.5)
                sending += [asyncio.create_task(connection.publish("any", bytes(250_000))) for _ in range(20)]
                await asyncio.sleep(0.1)
                running.stop.set()
                await asyncio.wait([running.task], timeout=1 + LAST_SECONDS + CLOSE_SECONDS + 2)
                assert running.task.done()
            finally:
                os.kill(nats_server.pid, signal.SIGCONT)
            await asyncio.wait_for(asyncio.gather(*sending), 5)
        async with sender(folder, nats_server.url):
            await until(lambda: {call.webhook_id for call in calls} == set(ids))


async def test_a_sender_waits_for_a_first_good_book_and_keeps_it_when_the_next_is_damaged(
    folder: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        folder.mkdir()
        (folder / "book.json").write_text("{}")
        writing = asyncio.get_running_loop().call_later(1, write_book, folder, hook("one", receiver))
        async with sender(folder, nats_server.url):
            assert writing.when() <= asyncio.get_running_loop().time()
            await publish(client)
            await until(lambda: len(calls) == 1)
            (folder / "book.json").write_text('{"format": 1, "shards": []}')
            await asyncio.sleep(0.5)
            await publish(client)
            await until(lambda: len(calls) == 2)


async def test_the_collector_leaves_alone_what_was_there_before_the_first_delivery(
    folder: Path, nats_server: NatsServer
) -> None:
    async with receiver_of([]) as receiver:
        write_book(folder, hook("one", receiver))
        gc.unfreeze()
        try:
            async with sender(folder, nats_server.url):
                assert gc.get_freeze_count() > len(gc.get_objects())
        finally:
            gc.unfreeze()


async def test_a_message_that_is_no_delivery_is_removed_and_the_others_go_on(
    folder: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        route, keys = hook("one", receiver)
        write_book(folder, (route, keys))
        async with sender(folder, nats_server.url):
            await client.jetstream().publish(names.delivery_subject(route.uid), b"stray")
            await publish(client)
            await until(lambda: len(calls) == 1)
            await until_stored(client, own.DELIVERIES, 0)


async def test_an_event_that_another_nats_client_published_without_headers_gets_an_id(
    folder: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        write_book(folder, hook("one", receiver))
        async with sender(folder, nats_server.url):
            await client.jetstream().publish(names.event_subject("default", "IdentityCreated"), b"{}")
            await until(lambda: len(calls) == 1)
    assert (calls[0].webhook_id, calls[0].verified) == ("seq-1", "signature")
