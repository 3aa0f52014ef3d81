"""A NATS that takes only small messages: what it takes is delivered, and what would not be is refused at the door."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.ports import free_port
from doubles import own
from doubles.local import count, hook, publish, receiver_of, sender, until, until_stored, write_book
from doubles.nats import nats
from hookline.events.envelope import ROOM_BYTES
from hookline.local.receiver import Answer, ReceivedCall
from hookline.stream import names
from hookline.stream.connection import QueueUnusable, StreamRefused, connect
from hookline.stream.streams import MAX_EVENT_BYTES, Retention, ensure

MAX_PAYLOAD = 65_536


async def test_an_event_that_is_taken_is_delivered_and_its_dead_letter_stored_and_a_larger_one_is_refused(
    tmp_path: Path,
) -> None:
    calls: list[ReceivedCall] = []
    port = free_port()
    async with (
        nats(tmp_path / "nats", port, max_payload=MAX_PAYLOAD),
        receiver_of(calls, Answer(200)) as good,
        receiver_of(calls, Answer(410)) as gone,
    ):
        url = f"nats://127.0.0.1:{port}"
        dead = hook("gone", gone, event="IdentityDeleted", schedule_seconds=())
        write_book(tmp_path / "book", hook("good", good), dead)
        async with sender(tmp_path / "book", url):
            client = await connect(url, name="test")
            with pytest.raises(StreamRefused, match=r"has 65236 bytes and may have 4\d{4}: NATS takes"):
                await publish(client, body=b" " * 65_236)
            largest = MAX_PAYLOAD - ROOM_BYTES - 400
            ids = await publish(client, body=b"1" * largest)
            await until(lambda: ids[0] in {call.webhook_id for call in calls}, what="the largest event")
            await publish(client, event="IdentityDeleted", body=b"1" * largest)
            await until_stored(client, own.DEAD, 1)
            await client.close()


async def test_a_stranger_who_publishes_more_than_can_be_delivered_is_refused_by_nats_itself(tmp_path: Path) -> None:
    port = free_port()
    async with nats(tmp_path / "nats", port, max_payload=MAX_PAYLOAD):
        client = await connect(f"nats://127.0.0.1:{port}", name="test")
        await ensure(client, Retention())
        subject = names.event_subject("default", "A")
        answer = await client.request(subject, bytes(MAX_PAYLOAD - ROOM_BYTES + 1), timeout=5)
        assert b"exceeds maximum" in answer.data
        assert await count(client, own.EVENTS) == 0
        await client.request(subject, bytes(MAX_PAYLOAD - ROOM_BYTES - 200), timeout=5)
        assert await count(client, own.EVENTS) == 1
        await client.close()


async def test_the_bound_follows_what_nats_takes(tmp_path: Path) -> None:
    port = free_port()
    for max_payload, wanted in ((MAX_PAYLOAD, MAX_PAYLOAD - ROOM_BYTES), (1_048_576, MAX_EVENT_BYTES)):
        async with nats(tmp_path / "nats", port, max_payload=max_payload):
            client = await connect(f"nats://127.0.0.1:{port}", name="test")
            await ensure(client, Retention())
            info = await client.jetstream().stream_info(own.EVENTS)
            assert info.config.max_msg_size == wanted
            await client.close()


async def test_a_nats_that_takes_next_to_nothing_is_unfit(tmp_path: Path) -> None:
    port = free_port()
    async with nats(tmp_path / "nats", port, max_payload=16_384):
        client = await connect(f"nats://127.0.0.1:{port}", name="test")
        with pytest.raises(QueueUnusable, match="set max_payload to 294912 or more"):
            await ensure(client, Retention())
        await client.close()
