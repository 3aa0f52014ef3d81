"""Messages that another NATS client wrote: what is none of ours is removed, and stops nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from nats.js.errors import APIError

from doubles import own
from doubles.local import (
    dead_letters,
    deliver,
    hook,
    one_webhook,
    publish,
    receiver_of,
    sender,
    until,
    until_stored,
    write_book,
)
from hookline.delivery import fanout
from hookline.events.envelope import MAX_BODY_BYTES
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import Answer, ReceivedCall
from hookline.stream import names
from hookline.stream.connection import Client
from hookline.stream.streams import MAX_EVENT_BYTES

MIB = 1024 * 1024
GOOD = {
    "Hookline-Event-Id": "evt_1",
    "Hookline-Event-Type": "IdentityCreated",
    "Hookline-Tenant": "default",
    "Hookline-Event-Time": "2026-01-01T00:00:00Z",
    "Hookline-Event-Seq": "1",
    "Hookline-Attempt": "1",
}


async def test_events_whose_subject_names_no_type_take_no_room_from_others(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    async with one_webhook(tmp_path, nats_server.url) as one:
        for _ in range(fanout.MAX_IN_HAND):
            await client.jetstream().publish("hookline.events.IdentityCreated", b"{}")
        await publish(client)
        await until(lambda: len(one.calls) == 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"Hookline-Attempt": "0"},
        {"Hookline-Event-Id": "a.b"},
        {"Hookline-Event-Id": ""},
    ],
)
async def test_a_delivery_that_cannot_be_signed_or_counted_is_kept_in_dead_and_not_called(
    tmp_path: Path, nats_server: NatsServer, client: Client, changes: dict[str, str]
) -> None:
    async with one_webhook(tmp_path, nats_server.url, Answer(500)) as one:
        await client.jetstream().publish(names.delivery_subject(one.route.uid), b"{}", headers={**GOOD, **changes})
        await until_stored(client, own.DELIVERIES, 0)
        (letter,) = await dead_letters(client)
    assert letter.word == "Malformed"
    assert one.calls == []


async def test_a_parked_message_of_another_version_is_kept_in_dead(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    async with one_webhook(tmp_path, nats_server.url) as one:
        await client.jetstream().publish(names.parked_subject(one.route.uid), b"{}", headers={"Hookline-New-Id": "7"})
        await until_stored(client, own.DEAD, 1)
        await until_stored(client, own.PARKED, 0)
        (letter,) = await dead_letters(client)
    assert letter.headers["Hookline-New-Id"] == "7"
    assert one.calls == []


async def test_what_is_parked_for_a_name_that_no_webhook_can_have_ends_no_sender_and_holds_up_no_webhook(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    async with receiver_of([]) as receiver:
        gone, _ = hook("gone", receiver)
        write_book(tmp_path / "book", hook("one", receiver))
        async with sender(tmp_path / "book", nats_server.url, gone_seconds=1) as running:
            await client.jetstream().publish("hookline.parked.a/b", b"{}")
            await deliver(client, gone.uid, 3, parked=True)
            await until_stored(client, own.DEAD, 3)
            # What is parked is looked at once more.
            await deliver(client, gone.uid, 1, parked=True)
            await until_stored(client, own.DEAD, 4)
            assert not running.task.done()


async def test_a_parked_message_with_a_time_that_is_none_ends_no_sender(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, Answer(500)) as receiver:
        route, keys = hook("one", receiver, schedule_seconds=(600,), max_concurrency=1)
        write_book(tmp_path / "book", (route, keys))
        async with sender(tmp_path / "book", nats_server.url, probe_seconds=600) as running:
            await publish(client, 20)
            await until(lambda: any(running.pod.endpoints.states()))
            await until_stored(client, own.EVENTS, 20)
        # The next one looks at the oldest, which this is.
        await client.jetstream().purge_stream(own.PARKED)
        subject = names.parked_subject(route.uid)
        await client.jetstream().publish(subject, b"{}", headers={**GOOD, "Hookline-Stored": "9" * 400})
        async with sender(tmp_path / "book", nats_server.url, probe_seconds=600) as running:
            await asyncio.sleep(3)
            assert not running.task.done()


async def test_an_event_that_is_too_large_is_refused_to_whoever_publishes_it(queue: Client) -> None:
    js, subject = queue.jetstream(), names.event_subject("default", "IdentityCreated")
    await js.publish(subject, b"x" * MAX_BODY_BYTES, headers={"Hookline-Event-Id": "evt_1"})
    with pytest.raises(APIError, match="message size exceeds maximum allowed"):
        await js.publish(subject, b"x" * (MAX_EVENT_BYTES + 1))


async def test_an_event_that_leaves_no_room_for_headers_ends_no_connection(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    """It is from before there was a limit."""
    async with one_webhook(tmp_path, nats_server.url) as one:
        config = (await client.jetstream().stream_info(own.EVENTS)).config
        config.max_msg_size = -1
        await client.jetstream().update_stream(config)
        await client.jetstream().publish(names.event_subject("default", "IdentityCreated"), b"x" * (MIB - 100))
        (later,) = await publish(client)
        await until(lambda: later in {each.webhook_id for each in one.calls})
        assert not one.running.task.done()
