"""What nats-server keeps on disk of a queue that runs empty again and again while a retry waits in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from doubles import own
from doubles.local import count, hook, publish, receiver_of, sender, until, until_stored, write_book
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import Answer, ReceivedCall
from hookline.stream import anchor, names
from hookline.stream.anchor import OVERHEAD_BYTES, RENEW_BYTES, Anchor
from hookline.stream.connection import Client
from hookline.stream.publish import Publisher

FILE_BYTES = 4 * 1024 * 1024
BODY = b'{"a": "' + b"x" * 8000 + b'"}'


async def test_while_a_retry_waits_the_files_of_a_queue_that_runs_empty_do_not_pile_up(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    failed: list[ReceivedCall] = []
    before_the_first = RENEW_BYTES // len(BODY) + 1
    async with receiver_of(calls) as well, receiver_of(failed, Answer(500)) as failing:
        waits = hook("failing", failing, event="DoorOpened", schedule_seconds=(3600,))
        write_book(tmp_path / "routebook", hook("well", well), waits)
        async with sender(tmp_path / "routebook", nats_server.url):
            await publish(client, event="DoorOpened")
            await until(lambda: len(failed) == 1)

            # The retry then lies in an earlier file than what comes.
            await publish(client, FILE_BYTES // len(BODY) + 1, body=BODY)
            await until(lambda: len(calls) > FILE_BYTES // len(BODY))

            async def one() -> None:
                there = len(calls)
                await publish(client, body=BODY)
                await until(lambda: len(calls) > there)

            for _ in range(before_the_first):
                await one()
            files = files_of(tmp_path / "nats", own.DELIVERIES)
            for _ in range(100):
                await one()
            assert files_of(tmp_path / "nats", own.DELIVERIES) <= files + 5


async def test_an_anchor_replaces_the_one_before_and_vanishes_by_itself(
    queue: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anchor, "KEPT_SECONDS", 2)
    renewed = Anchor(Publisher(queue))
    many = RENEW_BYTES // OVERHEAD_BYTES
    await renewed.stored(many, 0)
    assert await count(queue, own.DELIVERIES) == 0
    for _ in range(3):
        await renewed.stored(many, 1)
        message = await queue.jetstream().get_last_msg(own.DELIVERIES, names.ANCHOR_SUBJECT)
        assert await count(queue, own.DELIVERIES) == 1
    assert message.seq == 3
    await until_stored(queue, own.DELIVERIES, 0)


def files_of(data: Path, stream: str) -> int:
    return sum(1 for _ in data.rglob(f"streams/{stream}/msgs/*.blk"))
