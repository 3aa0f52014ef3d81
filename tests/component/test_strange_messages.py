"""Messages that another NATS client wrote: what is none of ours is removed, and stops nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from doubles.local import deliver, hook, publish, receiver_of, sender, until, until_stored, write_book
from hookline.delivery import fanout
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import Answer, ReceivedCall
from hookline.stream import names
from hookline.stream.connection import Client

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
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        write_book(tmp_path / "book", hook("one", receiver))
        async with sender(tmp_path / "book", nats_server.url):
            for _ in range(fanout.ROOM):
                await client.jetstream().publish("hookline.events.IdentityCreated", b"{}")
            await publish(client)
            await until(lambda: len(calls) == 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"Hookline-Attempt": "0"},
        {"Hookline-Event-Id": "a.b"},
        {"Hookline-Event-Id": ""},
    ],
)
async def test_a_delivery_that_cannot_be_signed_or_counted_is_removed_and_not_called(
    tmp_path: Path, nats_server: NatsServer, client: Client, changes: dict[str, str]
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, Answer(500)) as receiver:
        route, keys = hook("one", receiver)
        write_book(tmp_path / "book", (route, keys))
        async with sender(tmp_path / "book", nats_server.url):
            await client.jetstream().publish(names.delivery_subject(route.uid), b"{}", headers={**GOOD, **changes})
            await until_stored(client, names.DELIVERIES, 0)
    assert calls == []


async def test_a_shelf_that_no_webhook_can_have_ends_no_sender_and_holds_up_no_other_shelf(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    async with receiver_of([]) as receiver:
        gone, _ = hook("gone", receiver)
        write_book(tmp_path / "book", hook("one", receiver))
        async with sender(tmp_path / "book", nats_server.url, gone_seconds=1) as running:
            await client.jetstream().publish("hookline.parked.a/b", b"{}")
            await deliver(client, gone.uid, 3, parked=True)
            await until_stored(client, names.DEAD, 3)
            await asyncio.sleep(2)
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
            await until(lambda: any(running.pod._endpoints.states()))
            await until_stored(client, names.EVENTS, 20)
        # The next one looks at the oldest, which this is.
        await client.jetstream().purge_stream(names.PARKED)
        subject = names.parked_subject(route.uid)
        await client.jetstream().publish(subject, b"{}", headers={**GOOD, "Hookline-Stored": "9" * 400})
        async with sender(tmp_path / "book", nats_server.url, probe_seconds=600) as running:
            await asyncio.sleep(3)
            assert not running.task.done()
